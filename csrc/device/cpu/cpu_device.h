// The one CPU device.
#pragma once
#include "device/device.h"

namespace pd {

Device& cpu_device();

}  // namespace pd
