// What the rooms below exec/ tell the profiler (exec/profile.h) of memory, copies and compilation. While nobody profiles
// this is a look at one pointer.
#pragma once
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "device/device.h"

namespace pd {

struct Watch {
  // A block of a device's memory, with the bytes that it was given: after it was taken, before it is given back. Any thread.
  void (*allocated)(DeviceId id, const void* block, size_t bytes);
  void (*freed)(DeviceId id, const void* block, size_t bytes);
  // A copy between the host and this device, or to it from another one. What begin() returns is handed to end().
  void* (*copy_begin)(Device& device, CopyKind kind, size_t bytes);
  void (*copy_end)(Device& device, void* copy);
  // A kernel is there, `way` says whence; on the thread that compiled it.
  void (*compiled)(const char* kernel, const char* way, int64_t begin);
};
inline std::atomic<const Watch*> g_watch{nullptr};
inline const Watch* watch() { return g_watch.load(std::memory_order_acquire); }

// Nanoseconds of the clock that Python's time.perf_counter_ns() has.
inline int64_t watch_clock() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Around a copy.
class WatchedCopy {
 public:
  WatchedCopy(Device& device, CopyKind kind, size_t bytes, bool wanted)
      : device_(device), watch_(wanted ? watch() : nullptr) {
    if (watch_) copy_ = watch_->copy_begin(device, kind, bytes);
  }
  ~WatchedCopy() {
    if (copy_) watch_->copy_end(device_, copy_);
  }
  WatchedCopy(const WatchedCopy&) = delete;
  WatchedCopy& operator=(const WatchedCopy&) = delete;

 private:
  Device& device_;
  const Watch* watch_;
  void* copy_ = nullptr;
};

}  // namespace pd
