// The table of device kinds.
#include <mutex>
#include <string>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/device.h"

namespace pd {

namespace {
constexpr int kKinds = 2;
std::mutex g_mutex;
DeviceDriver g_drivers[kKinds];
}  // namespace

void register_driver(DeviceKind kind, DeviceDriver driver) {
  std::lock_guard<std::mutex> hold(g_mutex);
  g_drivers[static_cast<int>(kind)] = driver;
}

static DeviceDriver driver_of(DeviceKind kind) {
  std::lock_guard<std::mutex> hold(g_mutex);
  return g_drivers[static_cast<int>(kind)];
}

int device_count(DeviceKind kind) {
  if (kind == DeviceKind::Cpu) return 1;
  DeviceDriver d = driver_of(kind);
  return d.count ? d.count() : 0;
}

Device& device(DeviceId id) {
  if (id.kind == DeviceKind::Cpu) return cpu_device();
  DeviceDriver d = driver_of(id.kind);
  int n = d.count ? d.count() : 0;
  if (n == 0) fail("device", "no CUDA device", to_string(id), "device='cpu'", ErrorKind::Runtime);
  if (id.index < 0 || id.index >= n)
    fail("device", "no such CUDA device", to_string(id) + " of " + std::to_string(n), "device='cuda:0'",
         ErrorKind::Runtime);
  return d.open(id.index);
}

}  // namespace pd
