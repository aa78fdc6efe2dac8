// What pydiff/_streams.py is made of: the calling thread's CUDA device and streams, and events.
#include "device/cuda/streams.h"
#include "python/args.h"
#include "python/gil.h"

namespace pd {
namespace binding {

void bind_streams(py::module_& m) {
  m.def("cuda_current_device", cuda_current_device, py::arg("open") = true);
  m.def("cuda_set_current_device", cuda_set_current_device);
  m.def("cuda_current_stream", cuda_current_stream);
  m.def("cuda_set_current_stream", cuda_set_current_stream);
  m.def("cuda_enter_stream", cuda_enter_stream);
  m.def("cuda_let_follow", cuda_let_follow);
  m.def("cuda_stream_device", cuda_stream_device);
  m.def("cuda_new_stream", cuda_new_stream);
  m.def("cuda_free_stream", cuda_free_stream);
  m.def("cuda_stream_done", cuda_stream_done);
  m.def("cuda_synchronize_stream", [](int index, CudaStream s) {
    WithoutGil free;
    cuda_synchronize_stream(index, s);
  });
  m.def("cuda_new_event", cuda_new_event);
  m.def("cuda_free_event", cuda_free_event);
  m.def("cuda_record_event", cuda_record_event);
  m.def("cuda_wait_event", cuda_wait_event);
  m.def("cuda_event_done", [](int index, CudaEvent e) {
    return device({DeviceKind::Cuda, static_cast<int8_t>(index)}).done({reinterpret_cast<void*>(e)});
  });
  m.def("cuda_synchronize_event", [](int index, CudaEvent e) {
    WithoutGil free;
    device({DeviceKind::Cuda, static_cast<int8_t>(index)}).synchronize(Event{reinterpret_cast<void*>(e)});
  });
  m.def("cuda_elapsed", [](int index, CudaEvent begin, CudaEvent end) {
    return device({DeviceKind::Cuda, static_cast<int8_t>(index)})
        .milliseconds({reinterpret_cast<void*>(begin)}, {reinterpret_cast<void*>(end)});
  });
  m.def("cuda_pool_allocate", [](int index, size_t bytes, CudaStream s) {
    return reinterpret_cast<uintptr_t>(cuda_pool_allocate(index, bytes, s));
  });
  m.def("cuda_pool_free", [](int index, uintptr_t ptr, size_t bytes, CudaStream s) {
    cuda_pool_free(index, reinterpret_cast<void*>(ptr), bytes, s);
  });
}

}  // namespace binding
}  // namespace pd
