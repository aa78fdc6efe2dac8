#include "device/cuda/memory.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <mutex>

#include "base/error.h"
#include "device/cuda/graph.h"
#include "device/watch.h"

namespace pd::cuda {

namespace {

constexpr size_t kGranularity = 512;
// No device has a block this large; below it the arithmetic cannot overflow.
constexpr size_t kLargest = size_t(1) << 47;

// Page-locked blocks by address. Never destroyed: blocks may be freed while the process ends.
struct Pinned {
  std::mutex mutex;
  std::map<uintptr_t, size_t> blocks;
};
Pinned& pinned() {
  static Pinned& all = *new Pinned;
  return all;
}

}  // namespace

size_t block_bytes(size_t bytes) {
  return std::max(kGranularity, (bytes + kGranularity - 1) / kGranularity * kGranularity);
}

std::string readable_bytes(size_t bytes) {
  const char* const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 6; ++unit) value /= 1024;
  char text[64];
  // Whole numbers of a unit, and three digits and more, need no fraction.
  std::snprintf(text, sizeof text, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

MemoryPool::MemoryPool(const Driver& d, int index) : index_(index) {
  CUdevice device = 0;
  check(d.cuDeviceGet(&device, index), "cuDeviceGet", index);
  int pools = 0;
  check(d.cuDeviceGetAttribute(&pools, kAttributeMemoryPools, device), "cuDeviceGetAttribute", index);
  if (!pools)
    fail("cuda", "the device has no stream-ordered memory pools", "cuda:" + std::to_string(index),
         "a newer driver or another device", ErrorKind::Runtime);
  CUmemPoolProps props = {};
  props.allocType = kAllocationPinned;
  props.location = {kLocationDevice, device};
  check(d.cuMemPoolCreate(&pool_, &props), "cuMemPoolCreate", index);
  uint64_t everything = UINT64_MAX;
  check(d.cuMemPoolSetAttribute(pool_, kPoolReleaseThreshold, &everything), "cuMemPoolSetAttribute", index);
}

void MemoryPool::open_to(const Driver& d, int peer) {
  const uint64_t bit = uint64_t(1) << (peer % 64);
  if (open_to_[peer / 64].fetch_or(bit) & bit) return;
  if (!d.cuDeviceCanAccessPeer || !d.cuMemPoolSetAccess) return;
  CUdevice mine = 0, other = 0;
  int can = 0;
  if (d.cuDeviceGet(&mine, index_) != kSuccess || d.cuDeviceGet(&other, peer) != kSuccess) return;
  if (d.cuDeviceCanAccessPeer(&can, other, mine) != kSuccess || !can) return;
  CUmemAccessDesc access = {{kLocationDevice, other}, kAccessReadWrite};
  d.cuMemPoolSetAccess(pool_, &access, 1);  // without it copies between the devices go through the host
}

void* MemoryPool::try_allocate(const Driver& d, size_t bytes, CUstream s) {
  if (bytes > kLargest) out_of_memory(d, bytes);
  size_t size = block_bytes(bytes);
  CUdeviceptr at = 0;
  CUresult result = d.cuMemAllocFromPoolAsync(&at, size, pool_, s);
  if (result == kErrorOutOfMemory) return nullptr;
  check(result, "cuMemAllocFromPoolAsync", index_);
  size_t live = live_.fetch_add(size) + size, peak = peak_.load();
  while (live > peak && !peak_.compare_exchange_weak(peak, live)) {
  }
  allocations_.fetch_add(1);
  live_blocks_.fetch_add(1);
  void* const p = reinterpret_cast<void*>(static_cast<uintptr_t>(at));
  if (const Watch* w = watch()) w->allocated({DeviceKind::Cuda, static_cast<int8_t>(index_)}, p, size);
  return p;
}

void MemoryPool::free(const Driver& d, void* ptr, size_t bytes, CUstream s) noexcept {
  if (const Watch* w = watch()) w->freed({DeviceKind::Cuda, static_cast<int8_t>(index_)}, ptr, block_bytes(bytes));
  // A failure here is an older one's echo (a lost context, the end of the process).
  d.cuMemFreeAsync(static_cast<CUdeviceptr>(reinterpret_cast<uintptr_t>(ptr)), s);
  live_.fetch_sub(block_bytes(bytes));
  live_blocks_.fetch_sub(1);
}

void MemoryPool::empty_cache(const Driver& d) {
  // What was freed is the pool's only when the work before it is done.
  std::lock_guard<std::recursive_mutex> hold(capture_lock());
  check(d.cuCtxSynchronize(), "cuCtxSynchronize", index_);
  check(d.cuMemPoolTrimTo(pool_, 0), "cuMemPoolTrimTo", index_);
}

MemoryStats MemoryPool::stats(const Driver& d) const {
  MemoryStats s;
  uint64_t reserved = 0;
  check(d.cuMemPoolGetAttribute(pool_, kPoolReservedCurrent, &reserved), "cuMemPoolGetAttribute", index_);
  s.live = live_.load();
  s.peak = std::max(s.live, peak_.load());
  s.cached = reserved > s.live ? static_cast<size_t>(reserved) - s.live : 0;
  s.allocations = allocations_.load();
  s.live_blocks = live_blocks_.load();
  return s;
}

void MemoryPool::out_of_memory(const Driver& d, size_t bytes) {
  size_t free = 0, total = 0;
  std::string got = "a request of " + readable_bytes(bytes);
  if (d.cuMemGetInfo(&free, &total) == kSuccess)
    got += ", " + readable_bytes(free) + " free of " + readable_bytes(total);
  got += ", " + readable_bytes(live_.load()) + " in live tensors";
  fail("memory", "out of memory on cuda:" + std::to_string(index_), got,
       "a smaller batch, or dropping references to tensors that are no longer needed", ErrorKind::Memory);
}

void* allocate_pinned(const Driver& d, size_t bytes, int index) {
  void* p = nullptr;
  bytes = std::max<size_t>(bytes, 1);
  CUresult result = d.cuMemHostAlloc(&p, bytes, kHostPortable);
  if (result == kErrorOutOfMemory)
    fail("memory", "out of page-locked host memory", "a request of " + readable_bytes(bytes),
         "a smaller block, or ordinary host memory", ErrorKind::Memory);
  check(result, "cuMemHostAlloc", index);
  std::lock_guard<std::mutex> hold(pinned().mutex);
  pinned().blocks[reinterpret_cast<uintptr_t>(p)] = bytes;
  return p;
}

void free_pinned(const Driver& d, void* ptr) noexcept {
  {
    std::lock_guard<std::mutex> hold(pinned().mutex);
    pinned().blocks.erase(reinterpret_cast<uintptr_t>(ptr));
  }
  d.cuMemFreeHost(ptr);
}

bool is_pinned(const void* ptr, size_t bytes) {
  std::lock_guard<std::mutex> hold(pinned().mutex);
  uintptr_t at = reinterpret_cast<uintptr_t>(ptr);
  auto next = pinned().blocks.upper_bound(at);
  if (next == pinned().blocks.begin()) return false;
  auto block = std::prev(next);
  return at + bytes <= block->first + block->second;
}

}  // namespace pd::cuda
