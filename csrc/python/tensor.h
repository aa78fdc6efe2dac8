// Tensor: the handle in the user's hands, a hand-written heap type.
//
// Not a py::class_, because recording an op must cost a fraction of a microsecond: the object holds
// its Var in place, comes from a freelist, and its number slots are plain function pointers.
#pragma once
#include <pybind11/pybind11.h>

#include "autodiff/autodiff.h"
#include "exec/exec.h"
#include "ops/api.h"
#include "rewrite/stable.h"

namespace pd {
namespace binding {

namespace py = pybind11;

struct Alias;  // views.h

struct TensorObject {
  PyObject_HEAD
  Var var;            // what it holds; perhaps old where `alias` says so
  Alias* alias;       // null: no other tensor shares its memory
  Ints* strides;      // of a view that outlived what it was a view of, where not in order; else null
  PyObject* grad;     // null: None
  PyObject* weakrefs;
  stable::Head* head; // of `var`: how it was written, where a stable form may begin with it; else null
  bool retains_grad;
  int64_t born;       // the scope of placeholders that was the latest when the handle was made
  uint32_t epoch;     // of the trace that has seen it (tracer.h)
};

// Placeholders that stand for many values (vmap) are made in scopes, numbered from 1; 0 before the first.
extern int64_t g_latest_scope;

extern PyTypeObject* g_tensor_type;

inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o) == g_tensor_type || PyType_IsSubtype(Py_TYPE(o), g_tensor_type);
}
inline TensorObject* as_tensor_object(PyObject* o) { return reinterpret_cast<TensorObject*>(o); }

void refresh(TensorObject* t);  // re-derives a view whose base was written

// A function is being traced (tracer.h): what reads and writes handles tells it first.
extern bool g_tracing;
void trace_touch(TensorObject* t);  // its value is read or replaced
void trace_grad(TensorObject* t, bool read);  // so is its gradient
void trace_born(TensorObject* t);
void trace_dead(TensorObject* t) noexcept;

// The Var of an object known to be a tensor.
inline const Var& value_of(PyObject* o) {
  TensorObject* t = as_tensor_object(o);
  if (g_tracing) trace_touch(t);
  if (t->alias) refresh(t);
  return t->var;
}

inline void drop_head(TensorObject* t) {
  if (t->head) release(t->head);
  t->head = nullptr;
}
// Once t->var is the result.
inline void keep_head(TensorObject* t, stable::Recorded& r) {
  drop_head(t);
  if (r.head && t->var.v == r.v.v && t->var.m == r.v.m) t->head = r.head.detach();
}

// Puts another value into the handle, and nothing else: neither views nor checks.
inline void store(TensorObject* t, Var v) {
  if (g_tracing) trace_touch(t);
  if (v.v) ++v.v->handles;
  if (t->var.v) --t->var.v->handles;
  t->var = std::move(v);
  if (t->head) drop_head(t);
}
// How the object was written of which `as` is the value, turned or cast; null where nothing is known, and after a cast.
inline const stable::Head* head_of(PyObject* o, const Var& as) {
  if (!is_tensor(o)) return nullptr;
  TensorObject* t = as_tensor_object(o);
  return t->head && t->var.dtype() == as.dtype() ? t->head : nullptr;
}
// May a stable form begin or end with an operation `id` of these operands?
template <OpId id>
bool may_be_stable(PyObject* a, const Var& x, PyObject* b, const Var& y) {
  if constexpr (!stable::concerns_pair(id)) return false;
  else
    return head_of(a, x) || head_of(b, y) ||
           ((id == op::add || id == op::sub) && (stable::is_unit(x) || stable::is_unit(y)));
}

// A new Tensor; flushes pending work that has passed its bound.
PyObject* wrap(Var v);
// The same, without looking at pending work: for values already computed.
PyObject* wrap_quietly(Var v);
PyObject* wrap(stable::Recorded r);
inline py::object wrapped(Var v) { return py::reinterpret_steal<py::object>(wrap(std::move(v))); }
// A tensor of another class than Tensor itself.
PyObject* wrap_as(PyTypeObject* type, Var v);

// A leaf belongs to the handle that gradients are put into.
void own_leaf(TensorObject* t);
void disown_leaf(TensorObject* t);
bool is_leaf(TensorObject* t);
void set_requires_grad(TensorObject* t, bool on);
// The same value with x's edge into the tape, and the value's own tangents.
Var with_edge_of(Var value, const Var& x);
// What `to` lacks of `from`'s tangents.
Var carry_tangents(Var to, const Var& from);

// ---- errors

// The error indicator of Python is set already.
struct PythonError {};
// From the C++ exception in flight; in the name of the function `name` + `ending`, where one is given.
void set_python_error(const char* name = nullptr, const char* ending = "") noexcept;
inline PyObject* checked(PyObject* o) {
  if (!o) throw PythonError();
  return o;
}
inline void checked(int rc) {
  if (rc < 0) throw PythonError();
}
template <class F>
PyObject* guarded(F&& f) noexcept {
  try {
    return f();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}
template <class F>
PyObject* guarded_as(const char* name, F&& f, const char* ending = "") noexcept {
  try {
    return f();
  } catch (...) {
    set_python_error(name, ending);
    return nullptr;
  }
}
template <class F>
int guarded_int(F&& f) noexcept {
  try {
    f();
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}
inline PyObject* none() { Py_RETURN_NONE; }
inline PyObject* same(PyObject* o) {
  Py_INCREF(o);
  return o;
}

// ---- what the parts contribute to the type and the module

using Methods = std::vector<PyMethodDef>;
void add_row_methods(Methods& type, Methods& module);
void add_reduction_methods(Methods& type, Methods& module);
void add_movement_methods(Methods& type, Methods& module);
void add_index_methods(Methods& type, Methods& module);
void add_creation_methods(Methods& type, Methods& module);
void add_convert_methods(Methods& type, Methods& module);
void add_autograd_methods(Methods& type, Methods& module);
void add_number_slots(std::vector<PyType_Slot>& slots);
void add_index_slots(std::vector<PyType_Slot>& slots);
void add_convert_slots(std::vector<PyType_Slot>& slots);

void make_tensor_type(py::module_& m, Methods& type);
void bind_autograd(py::module_& m);
void bind_services(py::module_& m);
void bind_op_table(py::module_& m);
void bind_compile(py::module_& m);
void bind_cuda(py::module_& m);
void bind_custom(py::module_& m);
void bind_public(py::module_& m);
void bind_trace(py::module_& m);
void install_host_hooks();  // the GIL and the user's line, for exec/ and graph/
void bind_convert(py::module_& m);

}  // namespace binding
}  // namespace pd

// pybind11 functions take and return Vars as tensors.
namespace pybind11 {
namespace detail {
template <>
struct type_caster<pd::Var> {
  PYBIND11_TYPE_CASTER(pd::Var, const_name("Tensor"));
  bool load(handle src, bool) {
    if (!src || !pd::binding::is_tensor(src.ptr())) return false;
    value = pd::binding::value_of(src.ptr());
    return true;
  }
  static handle cast(const pd::Var& v, return_value_policy, handle) { return pd::binding::wrap(v); }
};
}  // namespace detail
}  // namespace pybind11
