#include "device/cuda/order.h"

#include "device/cuda/cuda_device.h"

namespace pd::cuda {

CUstream& current_stream(int index) {
  static thread_local CUstream chosen[kMaxDevices] = {};
  return chosen[index];
}

void StreamOrder::let_follow(const Driver& d, int index, CUstream other) {
  if (other == last_) return;
  if (!event_) check(d.cuEventCreate(&event_, kEventNoTiming), "cuEventCreate", index);
  // A stream that its owner has destroyed takes no event: then everything is waited for.
  if (d.cuEventRecord(event_, last_) != kSuccess) check(d.cuCtxSynchronize(), "cuCtxSynchronize", index);
  else check(d.cuStreamWaitEvent(other, event_, 0), "cuStreamWaitEvent", index);
}

void StreamOrder::enter(const Driver& d, int index, CUstream to) {
  let_follow(d, index, to);
  last_ = to;
}

Submission::Submission(const Driver& d, CudaDevice& device, Stream s)
    : stream(static_cast<CUstream>(s.handle)), here_(d, device.context()) {
  if (s.handle) return;
  const int index = device.id().index;
  hold_ = std::unique_lock<std::mutex>(device.order().mutex);
  stream = current_stream(index);
  device.order().enter(d, index, stream);
}

}  // namespace pd::cuda
