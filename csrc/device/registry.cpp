// The table of device kinds.
#include <atomic>
#include <string>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/device.h"

namespace pd {

namespace {
constexpr int kKinds = 2;
// What was registered is never freed; it is read without a lock, as every buffer's end asks for its device.
std::atomic<const DeviceDriver*> g_drivers[kKinds];
constexpr int kKeepers = 8;
std::atomic<MemoryKeeper> g_keepers[kKeepers];
}  // namespace

void register_driver(DeviceKind kind, DeviceDriver driver) {
  g_drivers[static_cast<int>(kind)].store(new DeviceDriver(driver), std::memory_order_release);
}

void register_keeper(MemoryKeeper give_back) {
  for (std::atomic<MemoryKeeper>& place : g_keepers) {
    MemoryKeeper nobody = nullptr;
    if (place.compare_exchange_strong(nobody, give_back)) return;
  }
  fail("device", "too many keepers of memory");
}

void ask_keepers(DeviceId id) {
  for (std::atomic<MemoryKeeper>& place : g_keepers)
    if (MemoryKeeper give_back = place.load()) give_back(id);
}

static DeviceDriver driver_of(DeviceKind kind) {
  const DeviceDriver* d = g_drivers[static_cast<int>(kind)].load(std::memory_order_acquire);
  return d ? *d : DeviceDriver();
}

int device_count(DeviceKind kind) {
  if (kind == DeviceKind::Cpu) return 1;
  DeviceDriver d = driver_of(kind);
  return d.count ? d.count() : 0;
}

Device& device(DeviceId id) {
  if (id.kind == DeviceKind::Cpu) return cpu_device();
  DeviceDriver d = driver_of(id.kind);
  if (!d.open) fail("device", "no CUDA device", to_string(id), "device='cpu'", ErrorKind::Runtime);
  return d.open(id.index);
}

}  // namespace pd
