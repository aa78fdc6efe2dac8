#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

#include "base/error.h"
#include "device/cuda/graph.h"
#include "device/cuda/streams.h"
#include "device/watch.h"

namespace pd {

namespace cuda {

namespace {

CUevent event(Event e) { return static_cast<CUevent>(e.handle); }

// What memset cannot do: items of 8 and 16 bytes.
const char* const kFillText = R"cuda(
PD_KERNEL pd_fill8(u64* to, u64 item, i64 count) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) to[i] = item;
}

PD_KERNEL pd_fill16(u64* to, u64 low, u64 high, i64 count) {
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (i64)gridDim.x * blockDim.x) {
    to[2 * i] = low;
    to[2 * i + 1] = high;
  }
}
)cuda";

CUcontext retain_context(const Driver& d, int index) {
  CUdevice device = 0;
  CUcontext context = nullptr;
  check(d.cuDeviceGet(&device, index), "cuDeviceGet", index);
  check(d.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain", index);
  return context;
}

MemoryPool make_pool(const Driver& d, int index, CUcontext context) {
  ContextScope here(d, context);
  return MemoryPool(d, index);
}

std::atomic<CudaDevice*> g_devices[kMaxDevices];
std::mutex g_open_mutex;

}  // namespace

CudaDevice::CudaDevice(const Driver& d, int index)
    : index_(index), context_(retain_context(d, index)), memory_(make_pool(d, index, context_)) {
  if (index == 0) g_default_context.store(context_);
}

const char* CudaDevice::name() const { return cuda_properties(index_).name.c_str(); }
int CudaDevice::parallelism() const { return cuda_properties(index_).multiprocessors; }

void* CudaDevice::allocate(size_t bytes, Stream s) {
  const Driver& d = driver();
  // The order is held for an attempt only: what is given back between them is freed in it.
  return allocate_by(bytes, [&] {
    const Submission work(d, *this, s);
    return memory_.try_allocate(d, bytes, work.stream);
  });
}

void CudaDevice::free(void* ptr, size_t bytes, Stream s) noexcept {
  const Driver* d = find_driver();  // a forked child drops what it inherited and touches nothing
  if (!d || !ptr) return;
  ContextScope here(*d, context_);
  if (s.handle) return memory_.free(*d, ptr, bytes, stream_of(s));
  // After all work so far; whose stream that is does not matter.
  std::lock_guard<std::mutex> hold(order_.mutex);
  memory_.free(*d, ptr, bytes, order_.last());
}

void* CudaDevice::allocate_host(size_t bytes) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  return allocate_pinned(d, bytes, index_);
}

void CudaDevice::free_host(void* ptr, size_t) noexcept {
  const Driver* d = find_driver();
  if (!d || !ptr) return;
  ContextScope here(*d, context_);
  free_pinned(*d, ptr);
}

MemoryStats CudaDevice::memory_stats() const {
  const Driver& d = driver();
  ContextScope here(d, context_);
  return memory_.stats(d);
}

void CudaDevice::empty_cache() {
  const Driver& d = driver();
  ask_keepers(id());
  ContextScope here(d, context_);
  memory_.empty_cache(d);
}

// Page-locked memory is copied in the order of the stream while the caller goes on, who keeps it until then. Ordinary host
// memory is the caller's again when the call returns: what goes up passes through page-locked memory.
void CudaDevice::copy(void* dst, const void* src, size_t bytes, CopyKind kind, Stream s) {
  if (bytes == 0) return;
  const Driver& d = driver();
  if (kind == CopyKind::DeviceToDevice) {
    Submission work(d, *this, s);
    check(d.cuMemcpyDtoDAsync(address_of(dst), address_of(src), bytes, work.stream), "cuMemcpyDtoDAsync", index_);
    return;
  }
  const WatchedCopy watched(*this, kind, bytes, !s.handle);
  const bool up = kind == CopyKind::HostToDevice, pinned = is_pinned(up ? src : dst, bytes);
  if (!pinned && !s.handle && (up ? staging_.up(d, *this, dst, src, bytes) : staging_.down(d, *this, dst, src, bytes)))
    return;
  CUstream stream;
  {
    Submission work(d, *this, s);
    stream = work.stream;
    if (up) check(d.cuMemcpyHtoDAsync(address_of(dst), src, bytes, stream), "cuMemcpyHtoDAsync", index_);
    else check(d.cuMemcpyDtoHAsync(dst, address_of(src), bytes, stream), "cuMemcpyDtoHAsync", index_);
  }
  if (!pinned) synchronize(Stream{stream});
}

void CudaDevice::copy_from(CudaDevice& other, void* dst, const void* src, size_t bytes) {
  const Driver& d = driver();
  const WatchedCopy watched(*this, CopyKind::DeviceToDevice, bytes, true);
  // Once a pair: both the pool's blocks, and memory from elsewhere.
  other.memory_.open_to(d, index_);
  const uint64_t bit = uint64_t(1) << (other.index_ % 64);
  if (!(peers_[other.index_ / 64].fetch_or(bit) & bit) && d.cuDeviceCanAccessPeer && d.cuCtxEnablePeerAccess) {
    ContextScope here(d, context_);
    CUdevice mine = 0, its = 0;
    int can = 0;
    if (d.cuDeviceGet(&mine, index_) == kSuccess && d.cuDeviceGet(&its, other.index_) == kSuccess &&
        d.cuDeviceCanAccessPeer(&can, mine, its) == kSuccess && can)
      d.cuCtxEnablePeerAccess(other.context_, 0);  // refused: enabled by somebody else already, or too many peers
  }
  Event ready = other.new_event(), done = new_event();
  auto drop = [&] {
    other.free_event(ready);
    free_event(done);
  };
  try {
    other.record(ready, {});
    wait({}, ready);
    {
      Submission work(d, *this, {});
      // Without peer access the driver takes the way through the host, in the same order.
      if (d.cuMemcpyPeerAsync)
        check(d.cuMemcpyPeerAsync(address_of(dst), context_, address_of(src), other.context_, bytes, work.stream),
              "cuMemcpyPeerAsync", index_);
      else check(d.cuMemcpyDtoDAsync(address_of(dst), address_of(src), bytes, work.stream), "cuMemcpyDtoDAsync", index_);
    }
    record(done, {});
    other.wait({}, done);
  } catch (...) {
    drop();
    throw;
  }
  drop();
}

void CudaDevice::fill(void* dst, const void* item, size_t item_bytes, int64_t count, Stream s) {
  if (item_bytes != 1 && item_bytes != 2 && item_bytes != 4 && item_bytes != 8 && item_bytes != 16)
    fail("fill", "no such item size", std::to_string(item_bytes) + " bytes", "1, 2, 4, 8 or 16");
  if (count <= 0) return;
  const Driver& d = driver();
  unsigned char bytes[16];
  std::memcpy(bytes, item, item_bytes);
  size_t n = static_cast<size_t>(count);
  // An item that repeats a shorter one is a memset of that: 0, -1, and float64 numbers such as 2.0 are not rare.
  while (item_bytes > 4 && std::memcmp(bytes, bytes + item_bytes / 2, item_bytes / 2) == 0) {
    item_bytes /= 2;
    n *= 2;
  }
  if (item_bytes <= 4) {
    unsigned value = 0;
    std::memcpy(&value, bytes, item_bytes);
    Submission work(d, *this, s);
    if (item_bytes == 1)
      check(d.cuMemsetD8Async(address_of(dst), bytes[0], n, work.stream), "cuMemsetD8Async", index_);
    else if (item_bytes == 2)
      check(d.cuMemsetD16Async(address_of(dst), static_cast<unsigned short>(value), n, work.stream), "cuMemsetD16Async", index_);
    else
      check(d.cuMemsetD32Async(address_of(dst), value, n, work.stream), "cuMemsetD32Async", index_);
  } else {
    DeviceKernel k = cuda_kernel(id(), kFillText, item_bytes == 8 ? "pd_fill8" : "pd_fill16");
    unsigned long long half[2];
    std::memcpy(half, bytes, item_bytes);
    LaunchSize size;
    size.block[0] = 256;
    size_t full = static_cast<size_t>(parallelism()) * 8;
    size.grid[0] = static_cast<uint32_t>(std::min((n + 255) / 256, full));
    long long items = static_cast<long long>(n);
    void* args8[] = {&dst, &half[0], &items};
    void* args16[] = {&dst, &half[0], &half[1], &items};
    launch(k, size, item_bytes == 8 ? args8 : args16, s);
  }
}

void CudaDevice::zero(void* dst, size_t bytes, Stream s) {
  if (bytes == 0) return;
  const Driver& d = driver();
  Submission work(d, *this, s);
  check(d.cuMemsetD8Async(address_of(dst), 0, bytes, work.stream), "cuMemsetD8Async", index_);
}

Stream CudaDevice::new_stream() {
  const Driver& d = driver();
  ContextScope here(d, context_);
  CUstream s = nullptr;
  check(d.cuStreamCreate(&s, kStreamNonBlocking), "cuStreamCreate", index_);
  return {s};
}

void CudaDevice::free_stream(Stream s) noexcept {
  const Driver* d = find_driver();
  if (!d || !s.handle) return;
  ContextScope here(*d, context_);
  d->cuStreamDestroy(stream_of(s));
}

Event CudaDevice::new_event() {
  const Driver& d = driver();
  ContextScope here(d, context_);
  CUevent e = nullptr;
  check(d.cuEventCreate(&e, 0), "cuEventCreate", index_);
  return {e};
}

void CudaDevice::free_event(Event e) noexcept {
  const Driver* d = find_driver();
  if (!d || !e.handle) return;
  ContextScope here(*d, context_);
  d->cuEventDestroy(event(e));
}

void CudaDevice::record(Event e, Stream s) {
  const Driver& d = driver();
  Submission work(d, *this, s);
  check(d.cuEventRecord(event(e), work.stream), "cuEventRecord", index_);
}

void CudaDevice::wait(Stream s, Event e) {
  const Driver& d = driver();
  Submission work(d, *this, s);
  check(d.cuStreamWaitEvent(work.stream, event(e), 0), "cuStreamWaitEvent", index_);
}

bool CudaDevice::done(Event e) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  CUresult result = d.cuEventQuery(event(e));
  if (result == kErrorNotReady) return false;
  check(result, "cuEventQuery", index_);
  return true;
}

double CudaDevice::milliseconds(Event begin, Event end) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  float t = 0;
  check(d.cuEventElapsedTime(&t, event(begin), event(end)), "cuEventElapsedTime", index_);
  return t;
}

void CudaDevice::synchronize(Event e) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  check(d.cuEventSynchronize(event(e)), "cuEventSynchronize", index_);
}

void CudaDevice::synchronize(Stream s) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  CUstream stream;
  {
    Submission work(d, *this, s);
    stream = work.stream;
  }
  check(d.cuStreamSynchronize(stream), "cuStreamSynchronize", index_);
}

void CudaDevice::synchronize() {
  const Driver& d = driver();
  ContextScope here(d, context_);
  std::lock_guard<std::recursive_mutex> hold(capture_lock());
  check(d.cuCtxSynchronize(), "cuCtxSynchronize", index_);
}

void CudaDevice::launch(const DeviceKernel& k, const LaunchSize& size, void* const* args, Stream s) {
  const uint32_t *g = size.grid, *b = size.block;
  if (g[0] == 0 || g[1] == 0 || g[2] == 0) return;
  const Driver& d = driver();
  CUresult result;
  {
    Submission work(d, *this, s);
    result = d.cuLaunchKernel(static_cast<CUfunction>(k.entry), g[0], g[1], g[2], b[0], b[1], b[2],
                              static_cast<unsigned>(size.shared_bytes), work.stream, const_cast<void**>(args), nullptr);
  }
  if (result == kSuccess) return;
  auto sizes = [](const uint32_t* n) {
    return "(" + std::to_string(n[0]) + ", " + std::to_string(n[1]) + ", " + std::to_string(n[2]) + ")";
  };
  raise(result, "cuLaunchKernel",
        to_string(id()) + ", kernel " + k.name + ", grid " + sizes(g) + ", block " + sizes(b) + ", " +
            std::to_string(size.shared_bytes) + " bytes of shared memory");
}

CudaDevice& cuda_device(int index) {
  if (index >= 0 && index < kMaxDevices)
    if (CudaDevice* open = g_devices[index].load(std::memory_order_acquire)) return *open;
  const Driver& d = driver();
  cuda_properties(index);  // an Error where there is no such device
  std::lock_guard<std::mutex> hold(g_open_mutex);
  if (CudaDevice* open = g_devices[index].load(std::memory_order_acquire)) return *open;
  CudaDevice* made = new CudaDevice(d, index);
  g_devices[index].store(made, std::memory_order_release);
  return *made;
}

}  // namespace cuda

void cuda_synchronize_all() {
  if (!cuda::opened_driver()) return;
  for (auto& place : cuda::g_devices)
    if (cuda::CudaDevice* open = place.load(std::memory_order_acquire)) open->synchronize();
}

void register_cuda() {
  DeviceDriver entry;
  entry.count = [] {
    const cuda::Driver* d = cuda::find_driver();
    return d ? static_cast<int>(d->devices.size()) : 0;
  };
  entry.open = [](int index) -> Device& { return cuda::cuda_device(index); };
  register_driver(DeviceKind::Cuda, entry);
}

namespace {
// Whoever links this back end has it.
[[maybe_unused]] const bool g_registered = (register_cuda(), true);
}  // namespace

}  // namespace pd
