// Device memory from a stream-ordered pool of the driver, one a device, and page-locked host memory.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "device/cuda/driver.h"

namespace pd::cuda {

// The driver's pool does the caching: it keeps what is freed (release threshold at its maximum) and hands it out again
// in the order of streams. The device's context must be current; every function may be called from any thread.
class MemoryPool {
 public:
  MemoryPool(const Driver& d, int index);
  // Opens the pool's blocks to another device, where that can reach this one; once a device.
  void open_to(const Driver& d, int peer);

  // Null where there is no memory now; an Error for more than any device has.
  void* try_allocate(const Driver& d, size_t bytes, CUstream s);
  [[noreturn]] void out_of_memory(const Driver& d, size_t bytes);
  void free(const Driver& d, void* ptr, size_t bytes, CUstream s) noexcept;
  void empty_cache(const Driver& d);
  MemoryStats stats(const Driver& d) const;
  void reset_peak() { peak_ = live_.load(); }

 private:
  CUmemoryPool pool_ = nullptr;
  int index_;
  std::atomic<uint64_t> open_to_[2] = {};  // a bit a device
  std::atomic<size_t> live_{0}, peak_{0};
  std::atomic<int64_t> allocations_{0}, live_blocks_{0};
};

// The size of the block that serves a request, a multiple of the driver's granularity.
size_t block_bytes(size_t bytes);
// "1.3 GiB"
std::string readable_bytes(size_t bytes);

void* allocate_pinned(const Driver& d, size_t bytes, int index);
void free_pinned(const Driver& d, void* ptr) noexcept;
// Whether all of [ptr, ptr + bytes) came from allocate_pinned.
bool is_pinned(const void* ptr, size_t bytes);

}  // namespace pd::cuda
