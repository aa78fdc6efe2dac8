// C++ exceptions as Python's.
#pragma once
#include "python/tensor.h"

namespace pd {
namespace binding {

void bind_errors(py::module_& m);

}  // namespace binding
}  // namespace pd
