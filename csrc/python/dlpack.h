// DLPack in both directions.
#pragma once
#include "python/tensor.h"

namespace pd {
namespace binding {

// `stream`: the consumer's, as DLPack numbers them; absent or None: CUDA's default stream
py::object to_dlpack(const Var& v, PyObject* stream, bool versioned, bool copy);
// Version 3. An AttributeError for a tensor on the CPU.
py::dict cuda_array_interface(const Var& v);
Var from_dlpack(PyObject* capsule);  // shares the memory and takes the capsule

}  // namespace binding
}  // namespace pd
