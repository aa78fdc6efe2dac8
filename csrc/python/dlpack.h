// DLPack in both directions.
#pragma once
#include "python/tensor.h"

namespace pd {
namespace binding {

py::object to_dlpack(const Var& v, bool versioned, bool copy);
Var from_dlpack(PyObject* capsule);  // shares the memory and takes the capsule

}  // namespace binding
}  // namespace pd
