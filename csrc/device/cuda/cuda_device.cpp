#include "device/cuda/cuda_device.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <string>

#include "base/error.h"

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

constexpr int kMaxDevices = 128;  // DeviceId::index is an int8_t
std::atomic<CudaDevice*> g_devices[kMaxDevices];
std::mutex g_open_mutex;

}  // namespace

CudaDevice::CudaDevice(const Driver& d, int index)
    : index_(index), context_(retain_context(d, index)), memory_(make_pool(d, index, context_)) {}

const char* CudaDevice::name() const { return cuda_properties(index_).name.c_str(); }
int CudaDevice::parallelism() const { return cuda_properties(index_).multiprocessors; }

void* CudaDevice::allocate(size_t bytes, Stream s) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  return memory_.allocate(d, bytes, stream_of(s));
}

void CudaDevice::free(void* ptr, size_t bytes, Stream s) noexcept {
  const Driver* d = find_driver();  // a forked child drops what it inherited and touches nothing
  if (!d || !ptr) return;
  ContextScope here(*d, context_);
  memory_.free(*d, ptr, bytes, stream_of(s));
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
  ContextScope here(d, context_);
  memory_.empty_cache(d);
}

// Page-locked memory is copied in the order of the stream while the caller goes on. Ordinary host memory is not the
// driver's to keep: such a copy is done, in the order of the stream, when the call returns.
void CudaDevice::copy(void* dst, const void* src, size_t bytes, CopyKind kind, Stream s) {
  if (bytes == 0) return;
  const Driver& d = driver();
  ContextScope here(d, context_);
  CUstream stream = stream_of(s);
  if (kind == CopyKind::DeviceToDevice) {
    // cuMemcpyAsync finds out which devices the two addresses belong to.
    bool several = d.devices.size() > 1 && d.cuMemcpyAsync;
    check((several ? d.cuMemcpyAsync : d.cuMemcpyDtoDAsync)(address_of(dst), address_of(src), bytes, stream),
          several ? "cuMemcpyAsync" : "cuMemcpyDtoDAsync", index_);
    return;
  }
  bool up = kind == CopyKind::HostToDevice, pinned = is_pinned(up ? src : dst, bytes);
  if (!pinned && !stream) {
    if (up) check(d.cuMemcpyHtoD(address_of(dst), src, bytes), "cuMemcpyHtoD", index_);
    else check(d.cuMemcpyDtoH(dst, address_of(src), bytes), "cuMemcpyDtoH", index_);
    return;
  }
  if (up) check(d.cuMemcpyHtoDAsync(address_of(dst), src, bytes, stream), "cuMemcpyHtoDAsync", index_);
  else check(d.cuMemcpyDtoHAsync(dst, address_of(src), bytes, stream), "cuMemcpyDtoHAsync", index_);
  if (!pinned) check(d.cuStreamSynchronize(stream), "cuStreamSynchronize", index_);
}

void CudaDevice::fill(void* dst, const void* item, size_t item_bytes, int64_t count, Stream s) {
  if (item_bytes != 1 && item_bytes != 2 && item_bytes != 4 && item_bytes != 8 && item_bytes != 16)
    fail("fill", "no such item size", std::to_string(item_bytes) + " bytes", "1, 2, 4, 8 or 16");
  if (count <= 0) return;
  const Driver& d = driver();
  ContextScope here(d, context_);
  unsigned char bytes[16];
  std::memcpy(bytes, item, item_bytes);
  size_t n = static_cast<size_t>(count);
  // An item that repeats a shorter one is a memset of that: 0, -1, and float64 numbers such as 2.0 are not rare.
  while (item_bytes > 4 && std::memcmp(bytes, bytes + item_bytes / 2, item_bytes / 2) == 0) {
    item_bytes /= 2;
    n *= 2;
  }
  CUstream stream = stream_of(s);
  if (item_bytes == 1) {
    check(d.cuMemsetD8Async(address_of(dst), bytes[0], n, stream), "cuMemsetD8Async", index_);
  } else if (item_bytes == 2) {
    unsigned short value;
    std::memcpy(&value, bytes, 2);
    check(d.cuMemsetD16Async(address_of(dst), value, n, stream), "cuMemsetD16Async", index_);
  } else if (item_bytes == 4) {
    unsigned value;
    std::memcpy(&value, bytes, 4);
    check(d.cuMemsetD32Async(address_of(dst), value, n, stream), "cuMemsetD32Async", index_);
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
  ContextScope here(d, context_);
  check(d.cuMemsetD8Async(address_of(dst), 0, bytes, stream_of(s)), "cuMemsetD8Async", index_);
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
  ContextScope here(d, context_);
  check(d.cuEventRecord(event(e), stream_of(s)), "cuEventRecord", index_);
}

void CudaDevice::wait(Stream s, Event e) {
  const Driver& d = driver();
  ContextScope here(d, context_);
  check(d.cuStreamWaitEvent(stream_of(s), event(e), 0), "cuStreamWaitEvent", index_);
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
  check(d.cuStreamSynchronize(stream_of(s)), "cuStreamSynchronize", index_);
}

void CudaDevice::synchronize() {
  const Driver& d = driver();
  ContextScope here(d, context_);
  check(d.cuCtxSynchronize(), "cuCtxSynchronize", index_);
}

void CudaDevice::launch(const DeviceKernel& k, const LaunchSize& size, void* const* args, Stream s) {
  const uint32_t *g = size.grid, *b = size.block;
  if (g[0] == 0 || g[1] == 0 || g[2] == 0) return;
  const Driver& d = driver();
  ContextScope here(d, context_);
  CUresult result = d.cuLaunchKernel(static_cast<CUfunction>(k.entry), g[0], g[1], g[2], b[0], b[1], b[2],
                                     static_cast<unsigned>(size.shared_bytes), stream_of(s),
                                     const_cast<void**>(args), nullptr);
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
