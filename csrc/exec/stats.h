// Counters of the executor, for tests that must not depend on a clock.
#pragma once
#include "exec/exec.h"

namespace pd {
using Stats = ExecStats;
Stats& stats();
}  // namespace pd
