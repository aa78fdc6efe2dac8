// Division of sizes.
#pragma once
#include <cstdint>

namespace pd {

// The quotient rounded up; b > 0, a of either sign.
inline int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

}  // namespace pd
