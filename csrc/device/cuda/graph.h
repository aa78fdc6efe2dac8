// CUDA graphs: work that is given to a stream is recorded instead of done, and launched as often as one likes.
#pragma once
#include <functional>
#include <mutex>

#include "device/device.h"

namespace pd {

// An executable graph of one device.
struct CudaGraph {
  void* handle = nullptr;
};

// Does this driver have them?
bool cuda_has_graphs();
// What `issue` gives to the stream that it gets, in that order. Nothing of it is done. Meanwhile this thread must not
// wait for the device, nor allocate, nor load a kernel for the first time. Throws what `issue` throws, and an Error where
// the driver refuses; no capture is left open.
CudaGraph cuda_capture(DeviceId id, const std::function<void(Stream)>& issue);
void cuda_launch(DeviceId id, CudaGraph graph, Stream s);
// A graph that is under way is finished first. Nothing in a forked child.
void cuda_free(DeviceId id, CudaGraph graph) noexcept;

namespace cuda {

// Held by a thread that captures, and by those that wait for a whole device: the driver refuses that while any stream of
// the device is captured, on whichever thread (CUDA programming guide, stream capture, prohibited operations).
std::recursive_mutex& capture_lock();
bool is_capturing(int index, Stream s);

}  // namespace cuda
}  // namespace pd
