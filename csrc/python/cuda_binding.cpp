// What pydiff/cuda.py and pydiff/doctor.py ask of the CUDA back end.
#include <pybind11/stl.h>

#include "device/cuda/cuda.h"
#include "device/cuda/prelude.h"
#include "exec/exec.h"
#include "fuse/cuda/expr_text.h"
#include "fuse/cuda/sheet.h"
#include "kernels/cuda/convolution.h"
#include "kernels/cuda/gemm_timing.h"
#include "kernels/cuda/native_cuda.h"
#include "python/args.h"
#include "python/gil.h"

namespace pd {
namespace binding {

void bind_streams(py::module_& m);  // streams_binding.cpp

void bind_cuda(py::module_& m) {
  bind_streams(m);
  m.def("cuda_report", cuda_report);
  m.def("cuda_properties", [](int index) {
    const CudaProperties& p = cuda_properties(index);
    py::dict d;
    d["name"] = p.name;
    d["major"] = p.major;
    d["minor"] = p.minor;
    d["multi_processor_count"] = p.multiprocessors;
    d["max_threads_per_multi_processor"] = p.max_threads_per_multiprocessor;
    d["total_memory"] = p.memory;
    d["shared_memory_per_block_optin"] = p.shared_per_block_optin;
    return d;
  });
  // (image, log): the image is empty where the text does not compile.
  m.def("cuda_compile", [](const std::string& source, const std::string& arch, bool resources) {
    CudaImage image;
    {
      WithoutGil free;
      image = cuda_compile(source, arch, resources);
    }
    return py::make_tuple(py::bytes(image.ok ? image.bytes : ""), image.log);
  }, py::arg("source"), py::arg("arch"), py::arg("resources") = false);
  // What evaluating these tensors on a CUDA device would compile, wherever they are; nothing is computed.
  // `far`: as a CUDA graph contains them.
  m.def("cuda_texts", [](const py::sequence& tensors, bool far) {
    std::vector<Value*> roots;
    for (const auto& t : tensors) roots.push_back(value_of(t.ptr()).v.get());
    return cuda_texts(roots, far);
  }, py::arg("tensors"), py::arg("far") = false);
  m.def("cuda_native_texts", [] {
    std::vector<std::tuple<std::string, std::string, std::string>> out;
    for (const CudaNativeText& t : cuda_native_texts()) out.emplace_back(t.name, t.source, t.arch);
    out.emplace_back("graph parameters", cuda::kPatchText, "");
    out.emplace_back("graph copies", cuda::kCopyText, "");
    return out;
  });
  m.def("cuda_look_again", cuda_look_again);
  m.def("cuda_prelude", [] { return kCudaPrelude; });
  m.def("cuda_value_helpers", cuda::value_helpers);
  m.def("cuda_allow_tf32", [](const py::object& o) {
    bool before = cuda_allow_tf32();
    if (given(o.ptr())) cuda_allow_tf32() = o.cast<bool>();
    return before;
  }, py::arg("allow") = py::none());
  m.def("cuda_gemm_choice", [](const py::object& o) {
    const char* before = name_of(cuda_gemm_choice());
    if (given(o.ptr())) cuda_gemm_choice() = cuda_gemm_named(o.cast<std::string>());
    return before;
  }, py::arg("name") = py::none());
  // {name: milliseconds} of cuBLAS, of what the table takes, and of each tile; see kernels/cuda/gemm_timing.h.
  m.def("cuda_gemm_times", [](int index, const std::string& dtype, bool trans_a, bool trans_b, int64_t rows, int64_t cols,
                              int64_t depth, double seconds) {
    DType t;
    if (!dtype_from_name(dtype.c_str(), t)) fail("cuda_gemm_times", "no such dtype", dtype, "bfloat16");
    std::vector<std::pair<std::string, double>> times;
    {
      WithoutGil free;
      times = cuda_gemm_times({DeviceKind::Cuda, static_cast<int8_t>(index)}, t, trans_a, trans_b, rows, cols, depth, seconds);
    }
    py::dict out;
    for (const auto& [name, milliseconds] : times) out[py::str(name)] = milliseconds;
    return out;
  }, py::arg("index"), py::arg("dtype"), py::arg("trans_a"), py::arg("trans_b"), py::arg("rows"), py::arg("cols"),
        py::arg("depth"), py::arg("seconds"));
  // Launches of each kernel of convolutions so far.
  m.def("cuda_convolutions", [] {
    const ConvolutionCounts& c = cuda_convolution_counts();
    py::dict d;
    d["tensor cores"] = c.tensor_cores;
    d["tiles"] = c.tiles;
    d["few"] = c.few;
    d["long"] = c.longest;
    d["sums"] = c.sums;
    return d;
  });
  m.def("deterministic", [](const py::object& o) {
    bool before = cuda_deterministic();
    if (given(o.ptr())) cuda_deterministic() = o.cast<bool>();
    return before;
  }, py::arg("on") = py::none());
}

}  // namespace binding
}  // namespace pd
