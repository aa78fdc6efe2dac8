// Arguments of hot functions: one parser, one list of spellings, and readers from Python objects.
#pragma once
#include "python/tensor.h"

namespace pd {
namespace binding {

constexpr int kMaxParams = 8;

// A function that is a method of Tensor, a function of the module, or both: its first parameter is the tensor.
struct Def {
  const char* name;
  PyObject* (*body)(PyObject** a);  // an entry a parameter; null where not given
  int required;
  int variadic;  // parameter that `f(x, 2, 3)` and `f(x, (2, 3))` both fill; -1: none
  const char* doc;
  const char* params[kMaxParams + 1];  // null-terminated
};

struct Parsed {
  PyObject* a[kMaxParams] = {};
  PyObject* packed = nullptr;
  Parsed() = default;
  Parsed(const Parsed&) = delete;
  Parsed& operator=(const Parsed&) = delete;
  ~Parsed() { Py_XDECREF(packed); }
};

void parse(const Def& d, PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, Parsed& out);

// Is the keyword `kw` the parameter `param`, in PyTorch's spelling or NumPy's?
bool spells(PyObject* kw, const char* param);

template <const Def& D>
PyObject* as_method(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(D.name, [&] {
    Parsed p;
    parse(D, self, args, n, kwnames, p);
    return D.body(p.a);
  });
}
template <const Def& D>
PyObject* as_function(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(D.name, [&] {
    Parsed p;
    parse(D, nullptr, args, n, kwnames, p);
    return D.body(p.a);
  });
}

using FastCall = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
inline PyMethodDef entry(const char* name, FastCall f, const char* doc) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f)), METH_FASTCALL | METH_KEYWORDS, doc};
}
template <const Def& D>
void method(Methods& type) {
  type.push_back(entry(D.name, as_method<D>, D.doc));
}
template <const Def& D>
void function(Methods& module) {
  module.push_back(entry(D.name, as_function<D>, D.doc));
}
template <const Def& D>
void both(Methods& type, Methods& module) {
  method<D>(type);
  function<D>(module);
}

// ---- readers; each fails in the name of `op`

inline bool given(PyObject* o) { return o && o != Py_None; }
// A tensor, a Python number (weak), or an array (converted). False: none of these.
bool to_operand(PyObject* o, DeviceId device, Var& out);
Var operand(const char* op, PyObject* o, DeviceId device = {});
Var tensor_arg(const char* op, PyObject* o);      // a tensor, or an array or list made into one
TensorObject* tensor_object_arg(const char* op, PyObject* o);  // a tensor, and nothing made into one
int64_t int_arg(const char* op, PyObject* o, const char* what);
double float_arg(const char* op, PyObject* o, const char* what);
bool bool_arg(PyObject* o, bool otherwise);
Ints ints_arg(const char* op, PyObject* o, const char* what);  // an int counts as one
Axes axes_arg(const char* op, PyObject* o);                    // absent or None: all
DType dtype_arg(PyObject* o);
DType dtype_arg(PyObject* o, DType otherwise);
DeviceId device_arg(PyObject* o);  // absent or None: the default one
std::vector<Var> tensors_arg(const char* op, PyObject* o);

PyObject* dtype_object(DType t);    // borrowed
PyObject* device_object(DeviceId d);  // borrowed
PyObject* tuple_of(const Ints& v);  // new
void bind_args(py::module_& m);

DeviceId default_device();

}  // namespace binding
}  // namespace pd
