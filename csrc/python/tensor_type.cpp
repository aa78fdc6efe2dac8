#include "python/args.h"
#include "python/convert.h"
#include "python/dlpack.h"
#include "python/memory_formats.h"

#include <structmember.h>

namespace pd {
namespace binding {

PyTypeObject* g_tensor_type = nullptr;
int64_t g_latest_scope = 0;

namespace {

// ---- objects

constexpr int kMaxFree = 512;
TensorObject* g_free[kMaxFree];
int g_free_count = 0;

void fill_in(TensorObject* t, Var v) {
  new (&t->var) Var(std::move(v));
  if (t->var.v) ++t->var.v->handles;
  t->alias = nullptr;
  t->strides = nullptr;
  t->grad = nullptr;
  t->weakrefs = nullptr;
  t->head = nullptr;
  t->retains_grad = false;
  t->born = g_latest_scope;
  t->epoch = 0;
  if (g_tracing) trace_born(t);
}

void tensor_dealloc(PyObject* o) {
  TensorObject* t = as_tensor_object(o);
  PyTypeObject* type = Py_TYPE(o);
  if (g_tracing) trace_dead(t);
  if (t->weakrefs) PyObject_ClearWeakRefs(o);
  leave_cell(t);
  disown_leaf(t);
  delete t->strides;
  drop_head(t);
  Py_CLEAR(t->grad);
  if (t->var.v) --t->var.v->handles;
  t->var.~Var();
  if (type == g_tensor_type && g_free_count < kMaxFree) g_free[g_free_count++] = t;
  else type->tp_free(o);
  Py_DECREF(type);
}

PyObject* tensor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guarded([&] {
    static const char* names[] = {"data", "requires_grad", nullptr};
    PyObject* data = nullptr;
    int want = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|Op:Tensor", const_cast<char**>(names), &data, &want))
      throw PythonError();
    Var v;
    if (!data) v = zeros({0}, default_dtype());
    else if (is_tensor(data)) v = Var(value_of(data).v);
    else {
      DType dtype = default_dtype();
      v = from_data("Tensor", data, is_numpy(data) ? nullptr : &dtype, default_device());
    }
    PyObject* out = wrap_as(type, std::move(v));
    if (data && is_tensor(data)) lay_out_like(as_tensor_object(out), as_tensor_object(data));
    if (want) {
      try {
        set_requires_grad(as_tensor_object(out), true);
      } catch (...) {
        Py_DECREF(out);
        throw;
      }
    }
    return out;
  });
}

Py_hash_t tensor_hash(PyObject* o) {
  // The lowest bits of an address are always 0.
  return static_cast<Py_hash_t>(reinterpret_cast<size_t>(o) >> 4);
}

// ---- attributes

#define PD_GET(name) PyObject* get_##name(PyObject* self, void*)

PD_GET(shape) {
  return guarded([&] { return tuple_of(value_of(self).shape()); });
}
PD_GET(dtype) {
  return guarded([&] { return same(dtype_object(value_of(self).dtype())); });
}
PD_GET(device) {
  return guarded([&] { return same(device_object(value_of(self).device())); });
}
PD_GET(ndim) {
  return guarded([&] { return PyLong_FromLong(value_of(self).shape().size()); });
}
PD_GET(nbytes) {
  return guarded([&] { return PyLong_FromLongLong(value_of(self).v->nbytes()); });
}
PD_GET(itemsize) {
  return guarded([&] { return PyLong_FromSize_t(size_of(value_of(self).dtype())); });
}
PD_GET(is_abstract) {
  return guarded([&] { return PyBool_FromLong(value_of(self).v->abstract); });
}

PyObject* permuted_view(PyObject* self, bool all) {
  int n = value_of(self).shape().size();
  if (!all && n < 2)
    fail("mT", "a matrix has two axes at least", to_string(value_of(self).shape()), "unsqueeze(0) or unsqueeze(1)",
         ErrorKind::Runtime);
  Ints axes(n);
  for (int i = 0; i < n; ++i) axes[i] = all ? n - 1 - i : i;
  if (!all) std::swap(axes[n - 1], axes[n - 2]);
  return make_view(as_tensor_object(self), Step{StepKind::Permute, axes, {}, {}});
}
PD_GET(T) {
  return guarded([&] { return permuted_view(self, true); });
}
PD_GET(mT) {
  return guarded([&] { return permuted_view(self, false); });
}

PD_GET(requires_grad) {
  return guarded([&] { return PyBool_FromLong(requires_grad(value_of(self))); });
}
int set_requires_grad_attr(PyObject* self, PyObject* value, void*) {
  return guarded_int([&] {
    if (!value) fail("requires_grad", "the attribute cannot be deleted", "", "requires_grad = False", ErrorKind::Type);
    int on = PyObject_IsTrue(value);
    checked(on);
    set_requires_grad(as_tensor_object(self), on != 0);
  });
}
PD_GET(is_leaf) {
  return guarded([&] { return PyBool_FromLong(is_leaf(as_tensor_object(self))); });
}
PD_GET(retains_grad) { return PyBool_FromLong(as_tensor_object(self)->retains_grad); }

PD_GET(grad) {
  if (g_tracing) trace_grad(as_tensor_object(self), true);
  PyObject* g = as_tensor_object(self)->grad;
  return same(g ? g : Py_None);
}
int set_grad(PyObject* self, PyObject* value, void*) {
  return guarded_int([&] {
    TensorObject* t = as_tensor_object(self);
    if (g_tracing) trace_grad(t, false);
    if (!value || value == Py_None) {
      Py_CLEAR(t->grad);
      return;
    }
    if (!is_tensor(value))
      fail("grad", "a gradient is a tensor or None", Py_TYPE(value)->tp_name, "tensor(value)", ErrorKind::Type);
    if (value == self)
      fail("grad", "a tensor is not its own gradient", "", ".detach().clone()", ErrorKind::Runtime);
    const Var &g = value_of(value), &x = value_of(self);
    if (g.shape() != x.shape() || g.dtype() != x.dtype() || g.device() != x.device())
      fail("grad", "a gradient is like its tensor", to_string(g.v->spec()) + " for " + to_string(x.v->spec()),
           "a gradient of the same shape, dtype and device", ErrorKind::Runtime);
    check_no_escape("grad", t, g);
    PyObject* old = t->grad;
    t->grad = same(value);
    Py_XDECREF(old);
  });
}

PD_GET(data) {
  return guarded([&] { return make_view(as_tensor_object(self), Steps(), Var(value_of(self).v), true); });
}
int set_data(PyObject* self, PyObject* value, void*) {
  return guarded_int([&] {
    if (!value || !is_tensor(value))
      fail("data", "the data of a tensor is a tensor", value ? Py_TYPE(value)->tp_name : "nothing", "tensor(value)",
           ErrorKind::Type);
    TensorObject* t = as_tensor_object(self);
    Var next(value_of(value).v), cur = value_of(self);
    check_no_escape("data", t, next);
    bool last = is_channels_last(as_tensor_object(value));
    leave_cell(t);
    delete t->strides;
    t->strides = last ? new Ints(strides_of(as_tensor_object(value))) : nullptr;
    bool like = next.shape() == cur.shape() && next.dtype() == cur.dtype() && next.device() == cur.device();
    if (like || !requires_grad(cur)) {
      store(t, with_edge_of(next, cur));
      return;
    }
    if (!is_leaf(t))
      fail("data", "the data of a result keeps its shape and dtype",
           to_string(next.v->spec()) + " for " + to_string(cur.v->spec()), "a leaf, or .detach() first",
           ErrorKind::Runtime);
    // The tape knows the leaf by its spec: another spec is another leaf.
    disown_leaf(t);
    store(t, make_leaf_var(next));
    own_leaf(t);
  });
}
PD_GET(cuda_array_interface) {
  return guarded([&] {
    if (requires_grad(value_of(self)))
      fail("__cuda_array_interface__", "the tensor requires grad, and what is exported keeps no tape",
           to_string(value_of(self).v->spec()), ".detach()", ErrorKind::Runtime);
    return cuda_array_interface(value_of(self)).release().ptr();
  });
}
#undef PD_GET

PyGetSetDef g_getset[] = {
    {"shape", get_shape, nullptr, "Sizes of the axes, a tuple.", nullptr},
    {"dtype", get_dtype, nullptr, "Type of the elements.", nullptr},
    {"device", get_device, nullptr, "Where the value lives.", nullptr},
    {"ndim", get_ndim, nullptr, "Number of axes.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes of all elements.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes of one element.", nullptr},
    {"is_abstract", get_is_abstract, nullptr, "Whether it stands for a value, as inside vmap and jit.", nullptr},
    {"T", get_T, nullptr, "The axes in reverse order; a view.", nullptr},
    {"mT", get_mT, nullptr, "The last two axes swapped; a view.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad_attr, "Whether operations on it are taped.", nullptr},
    {"is_leaf", get_is_leaf, nullptr, "Whether it is no result of a taped operation.", nullptr},
    {"retains_grad", get_retains_grad, nullptr, "Whether a result keeps its gradient.", nullptr},
    {"grad", get_grad, set_grad, "The gradient that backward() has added up, or None.", nullptr},
    {"data", get_data, set_data, "The value without tape; shares memory. Setting it replaces the value.", nullptr},
    {"__cuda_array_interface__", get_cuda_array_interface, nullptr, "Version 3; of tensors on a CUDA device.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMemberDef g_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(TensorObject, weakrefs), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr}};

const char* const kDoc =
    "Tensor(data, requires_grad=False)\n--\n\n"
    "A handle to an immutable value of one dtype on one device.\n\n"
    "Operations are recorded and computed when a value is looked at. What changes a tensor in place gives the\n"
    "handle, and every view of it, another value. Tensors are made by `pydiff.tensor` and its kin; called itself,\n"
    "the class shares the value of a tensor, or converts data to the default dtype.\n\n"
    ">>> import pydiff as pd\n>>> pd.Tensor([1, 2]) * 2\ntensor([2., 4.])\n";

}  // namespace

// ---- making handles

PyObject* wrap_quietly(Var v) {
  TensorObject* t = g_free_count ? g_free[--g_free_count]
                                 : static_cast<TensorObject*>(PyObject_Malloc(sizeof(TensorObject)));
  if (!t) {
    PyErr_NoMemory();
    throw PythonError();
  }
  fill_in(t, std::move(v));
  return PyObject_Init(reinterpret_cast<PyObject*>(t), g_tensor_type);
}

PyObject* wrap(Var v) {
  PyObject* o = wrap_quietly(std::move(v));
  if (over_bound()) {
    py::object hold = py::reinterpret_steal<py::object>(o);
    flush();
    return hold.release().ptr();
  }
  return o;
}

PyObject* wrap(stable::Recorded r) {
  PyObject* o = wrap(std::move(r.v));
  if (r.head) as_tensor_object(o)->head = r.head.detach();
  return o;
}

PyObject* wrap_as(PyTypeObject* type, Var v) {
  if (type == g_tensor_type) return wrap(std::move(v));
  PyObject* o = checked(type->tp_alloc(type, 0));
  fill_in(as_tensor_object(o), std::move(v));
  return o;
}

void own_leaf(TensorObject* t) {
  if (t->var.m && t->var.m->node && t->var.m->node->leaf) t->var.m->node->owner = t;
}

void disown_leaf(TensorObject* t) {
  if (t->var.m && t->var.m->node && t->var.m->node->owner == t) t->var.m->node->owner = nullptr;
}

bool is_leaf(TensorObject* t) {
  const Var& v = t->var;
  return !v.m || !v.m->node || (v.m->node->leaf && v.m->node->owner == t);
}

void set_requires_grad(TensorObject* t, bool on) {
  Var v = value_of(reinterpret_cast<PyObject*>(t));
  if (on == requires_grad(v)) return;
  if (!on) {
    if (!is_leaf(t))
      fail("requires_grad", "only a leaf can stop requiring grad", to_string(v.v->spec()), ".detach()",
           ErrorKind::Runtime);
    disown_leaf(t);
    store(t, carry_tangents(detach(v), v));
    return;
  }
  if (!is_differentiable(v.dtype()))
    fail("requires_grad", "only floating-point tensors carry a gradient", name_of(v.dtype()), ".float() first",
         ErrorKind::Runtime);
  store(t, carry_tangents(make_leaf_var(v), v));
  own_leaf(t);
  if (!t->alias) return;
  // From here on the leaf's edge is its own: neither does a view of it, taken when it was none, follow
  // it into the tape, nor does it follow the tensor of which it is a view.
  if (t->alias->cell->base != t) t->alias->detached = true;
  else
    for (Alias* a = t->alias->cell->members; a; a = a->next)
      if (a->self != t) a->detached = true;
}

Var with_edge_of(Var value, const Var& x) {
  if (!x.m || !x.m->node) return requires_grad(value) ? carry_tangents(detach(value), value) : value;
  if (x.m->tangents.empty() && (!value.m || value.m->tangents.empty())) return Var(value.v, x.m);
  Meta* m = new Meta;
  Ref<Meta> hold(m);
  m->node = x.m->node;
  m->out = x.m->out;
  if (value.m) m->tangents = value.m->tangents;
  return Var(value.v, hold);
}

Var carry_tangents(Var to, const Var& from) {
  if (!from.m) return to;
  for (const Tangent& t : from.m->tangents)
    if (!tangent_of(to, t.level)) to = with_tangent(to, t.t, t.level);
  return to;
}

void make_tensor_type(py::module_& m, Methods& methods) {
  methods.push_back({nullptr, nullptr, 0, nullptr});
  std::vector<PyType_Slot> slots = {{Py_tp_dealloc, reinterpret_cast<void*>(tensor_dealloc)},
                                    {Py_tp_new, reinterpret_cast<void*>(tensor_new)},
                                    {Py_tp_hash, reinterpret_cast<void*>(tensor_hash)},
                                    {Py_tp_getset, g_getset},
                                    {Py_tp_members, g_members},
                                    {Py_tp_methods, methods.data()},
                                    {Py_tp_doc, const_cast<char*>(kDoc)}};
  add_number_slots(slots);
  add_index_slots(slots);
  add_convert_slots(slots);
  slots.push_back({0, nullptr});
  PyType_Spec spec = {"pydiff.Tensor", sizeof(TensorObject), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots.data()};
  g_tensor_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
  m.add_object("Tensor", py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(g_tensor_type)));
}

}  // namespace binding
}  // namespace pd
