// The calling thread's CUDA device and streams, and events: what pydiff.cuda is made of. Streams are handles of the driver,
// as other libraries know them: 0 is the default stream. Each function may be called from any thread.
#pragma once
#include <cstdint>

#include "device/device.h"

namespace pd {

using CudaStream = uintptr_t;
using CudaEvent = uintptr_t;

// CUDA's own notion, by thread, which CuPy and PyTorch share: the device of the current context, at first 0.
// `open` false: 0 where no driver has been opened yet.
int cuda_current_device(bool open = true);
void cuda_set_current_device(int index);

CudaStream cuda_current_stream(int index);
// Work of this thread goes to `s` from now on; `s` must live until another takes its place.
void cuda_set_current_stream(int index, CudaStream s);
// The current stream, made to come after all work of the device so far.
CudaStream cuda_enter_stream(int index);
// Work that is given to `other` from now on, by anybody, comes after all of pydiff's so far.
void cuda_let_follow(int index, CudaStream other);
// The device that a stream belongs to. An Error where it is a stream of each thread's own, or of a context that pydiff
// does not work in.
int cuda_stream_device(CudaStream s);

CudaStream cuda_new_stream(int index);
void cuda_free_stream(int index, CudaStream s) noexcept;
bool cuda_stream_done(int index, CudaStream s);
// All devices that were opened.
void cuda_synchronize_all();
void cuda_synchronize_stream(int index, CudaStream s);

CudaEvent cuda_new_event(int index, bool timing, bool blocking);
void cuda_free_event(int index, CudaEvent e) noexcept;
// At the end of what `s` was given; with `all`, of all of pydiff's work on the device.
void cuda_record_event(int index, CudaEvent e, CudaStream s, bool all);
// Later work of `s`, a stream of device `index`, comes after `e`.
void cuda_wait_event(int index, CudaEvent e, CudaStream s);

// `bytes` at `from` on one CUDA device to `to` on another, in the order of both.
void cuda_copy_between(DeviceId to_device, void* to, DeviceId from_device, const void* from, size_t bytes);

// Memory of pydiff's pool in the order of any stream: what other libraries allocate by.
void* cuda_pool_allocate(int index, size_t bytes, CudaStream s);
void cuda_pool_free(int index, void* ptr, size_t bytes, CudaStream s) noexcept;

}  // namespace pd
