#include "device/cuda/streams.h"

#include <string>

#include "base/error.h"
#include "device/cuda/cuda_device.h"

namespace pd {

namespace {

using namespace cuda;

CUstream stream(CudaStream s) { return reinterpret_cast<CUstream>(s); }
CUevent event(CudaEvent e) { return reinterpret_cast<CUevent>(e); }

// The device of the current context.
int device_of_context(const Driver& d) {
  CUdevice device = 0;
  check(d.cuCtxGetDevice(&device), "cuCtxGetDevice", 0);
  for (int i = 0; i < static_cast<int>(d.devices.size()); ++i) {
    CUdevice other = -1;
    if (d.cuDeviceGet(&other, i) == kSuccess && other == device) return i;
  }
  return 0;
}

}  // namespace

int cuda_current_device(bool open) {
  const Driver* found = open ? &driver() : opened_driver();
  CUcontext now = nullptr;
  if (!found || found->cuCtxGetCurrent(&now) != kSuccess || !now) return 0;
  return device_of_context(*found);
}

void cuda_set_current_device(int index) {
  const CUcontext context = cuda_device(index).context();
  check(driver().cuCtxSetCurrent(context), "cuCtxSetCurrent", index);
}

CudaStream cuda_current_stream(int index) {
  cuda_device(index);
  return reinterpret_cast<CudaStream>(current_stream(index));
}

void cuda_set_current_stream(int index, CudaStream s) {
  const Driver& d = driver();
  CudaDevice& device = cuda_device(index);
  CUstream before = current_stream(index);
  current_stream(index) = stream(s);
  if (before == stream(s)) return;
  // Now, not at the next work: nobody needs to keep the stream that is left.
  ContextScope here(d, device.context());
  std::lock_guard<std::mutex> hold(device.order().mutex);
  if (device.order().last() == before) device.order().enter(d, index, stream(s));
}

CudaStream cuda_enter_stream(int index) {
  return reinterpret_cast<CudaStream>(Submission(driver(), cuda_device(index), Stream{}).stream);
}

void cuda_let_follow(int index, CudaStream other) {
  const Driver& d = driver();
  CudaDevice& device = cuda_device(index);
  ContextScope here(d, device.context());
  std::lock_guard<std::mutex> hold(device.order().mutex);
  device.order().let_follow(d, index, stream(other));
}

int cuda_stream_device(CudaStream s) {
  const Driver& d = driver();
  if (s == 0) return cuda_current_device();
  if (s == kPerThreadStream)
    fail("stream", "the per-thread default stream is another one on each thread", "handle 2", "a stream that was made");
  ContextScope here(d, cuda_device(cuda_current_device()).context());
  CUcontext context = nullptr;
  check(d.cuStreamGetCtx(stream(s), &context), "cuStreamGetCtx", cuda_current_device());
  int index = 0;
  {
    ContextScope there(d, context);
    index = device_of_context(d);
  }
  if (cuda_device(index).context() != context)
    fail("stream", "the stream is of a context in which pydiff does not work", "cuda:" + std::to_string(index),
         "a stream of the device's primary context, as CuPy and PyTorch make them");
  return index;
}

CudaStream cuda_new_stream(int index) { return reinterpret_cast<CudaStream>(cuda_device(index).new_stream().handle); }

void cuda_free_stream(int index, CudaStream s) noexcept {
  const Driver* d = find_driver();
  if (!d || !s) return;
  CudaDevice& device = cuda_device(index);
  {
    ContextScope here(*d, device.context());
    std::lock_guard<std::mutex> hold(device.order().mutex);
    try {
      if (device.order().last() == stream(s)) device.order().enter(*d, index, nullptr);
    } catch (const Error&) {  // an older failure's echo: the context is lost
    }
  }
  device.free_stream({stream(s)});
}

bool cuda_stream_done(int index, CudaStream s) {
  const Driver& d = driver();
  ContextScope here(d, cuda_device(index).context());
  CUresult result = d.cuStreamQuery(stream(s));
  if (result == kErrorNotReady) return false;
  check(result, "cuStreamQuery", index);
  return true;
}

void cuda_synchronize_stream(int index, CudaStream s) {
  const Driver& d = driver();
  ContextScope here(d, cuda_device(index).context());
  check(d.cuStreamSynchronize(stream(s)), "cuStreamSynchronize", index);
}

CudaEvent cuda_new_event(int index, bool timing, bool blocking) {
  const Driver& d = driver();
  ContextScope here(d, cuda_device(index).context());
  CUevent made = nullptr;
  const unsigned flags = (timing ? 0u : unsigned(kEventNoTiming)) | (blocking ? unsigned(kEventBlockingSync) : 0u);
  check(d.cuEventCreate(&made, flags), "cuEventCreate", index);
  return reinterpret_cast<CudaEvent>(made);
}

void cuda_free_event(int index, CudaEvent e) noexcept {
  if (find_driver()) cuda_device(index).free_event({event(e)});
}

void cuda_record_event(int index, CudaEvent e, CudaStream s, bool all) {
  const Driver& d = driver();
  CudaDevice& device = cuda_device(index);
  ContextScope here(d, device.context());
  std::lock_guard<std::mutex> hold(device.order().mutex);
  if (all) device.order().let_follow(d, index, stream(s));
  check(d.cuEventRecord(event(e), stream(s)), "cuEventRecord", index);
}

void cuda_wait_event(int index, CudaEvent e, CudaStream s) {
  const Driver& d = driver();
  CudaDevice& device = cuda_device(index);
  ContextScope here(d, device.context());
  std::lock_guard<std::mutex> hold(device.order().mutex);
  // What the thread gives other threads' streams comes after the event too.
  if (stream(s) == current_stream(index)) device.order().enter(d, index, stream(s));
  check(d.cuStreamWaitEvent(stream(s), event(e), 0), "cuStreamWaitEvent", index);
}

void cuda_copy_between(DeviceId to_device, void* to, DeviceId from_device, const void* from, size_t bytes) {
  if (bytes) cuda_device(to_device.index).copy_from(cuda_device(from_device.index), to, from, bytes);
}

void* cuda_pool_allocate(int index, size_t bytes, CudaStream s) {
  const Driver& d = driver();
  CudaDevice& device = cuda_device(index);
  ContextScope here(d, device.context());
  return device.allocate_by(bytes, [&] { return device.memory().try_allocate(d, bytes, stream(s)); });
}

void cuda_pool_free(int index, void* ptr, size_t bytes, CudaStream s) noexcept {
  const Driver* d = find_driver();
  if (!d || !ptr) return;
  CudaDevice& device = cuda_device(index);
  ContextScope here(*d, device.context());
  device.memory().free(*d, ptr, bytes, stream(s));
}

}  // namespace pd
