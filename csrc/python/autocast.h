// Autocast: in which dtype operations compute while a thread's switch is on. What is done where stands in pydiff/amp/.
#pragma once
#include "python/tensor.h"

namespace pd {
namespace binding {

// Of a thread; by kind of device. `on`: some device's is. `composed`: within a public function that has no rule; what it is
// composed of adds and exponentiates in the dtype that it was given.
struct Autocast {
  bool on = false;
  bool composed = false;
  bool enabled[2] = {false, false};
  DType low[2] = {DType::BF16, DType::F16};
};
extern thread_local Autocast t_autocast;

Var to_low(const Var& x);
Var to_wide(const Var& x);

// What a product is given: 16-bit floats in the place of float32, where the switch is on.
inline Var low(const Var& x) { return t_autocast.on ? to_low(x) : x; }
// What an exponential, a sum and their kin are given on CUDA: float32 in the place of 16-bit floats.
inline Var wide(const Var& x) { return t_autocast.on ? to_wide(x) : x; }

// A call of the public function `name` by its rule; null, and no error set, where it has none.
PyObject* call_by_rule(PyObject* function, PyObject* name, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames);

void bind_autocast(py::module_& m);

}  // namespace binding
}  // namespace pd
