// item, tolist, numpy, the buffer protocol, and sharing memory with the outside.
#include <pybind11/numpy.h>

#include "python/args.h"
#include "python/convert.h"
#include "python/dlpack.h"
#include "python/views.h"

namespace pd {
namespace binding {

namespace {

void check_no_tape(const char* op, const Var& v) {
  if (requires_grad(v))
    fail(op, "the tensor requires grad, and NumPy keeps no tape", to_string(v.v->spec()), ".detach().numpy()",
         ErrorKind::Runtime);
}

PyObject* item_method(PyObject* self, PyObject*) {
  return guarded([&] { return item("item", value_of(self)).release().ptr(); });
}

PyObject* tolist_method(PyObject* self, PyObject*) {
  return guarded([&] {
    const Var& v = value_of(self);
    if (v.shape().empty()) return item("tolist", v).release().ptr();
    return called_method(to_numpy("tolist", v), "tolist").release().ptr();
  });
}

PyObject* numpy_body(PyObject** a) {
  const Var& v = value_of(a[0]);
  if (!bool_arg(a[1], false)) check_no_tape("numpy", v);
  return to_numpy("numpy", v).release().ptr();
}
constexpr Def kNumpy = {"numpy", numpy_body, 1, -1,
                        "numpy(force=False)\n--\n\nThe value as an ndarray that shares the memory and cannot be written to.\n\n"
                        "Raises RuntimeError for a tensor that requires grad, unless `force`.\n\n>>> import pydiff as pd\n"
                        ">>> pd.tensor([1, 2]).numpy().sum() == 3\nnp.True_\n",
                        {"input", "force"}};

PyObject* array_body(PyObject** a) {
  const Var& v = value_of(a[0]);
  check_no_tape("__array__", v);
  py::object arr = to_numpy("__array__", v);
  if (given(a[1])) {
    const py::bool_ subok(true), copy(false);
    arr = called_method(arr, "astype", py::handle(a[1]), py::str("K"), py::str("unsafe"), subok, copy);
  }
  if (given(a[2]) && PyObject_IsTrue(a[2])) arr = called_method(arr, "copy");
  return arr.release().ptr();
}
constexpr Def kArray = {"__array__", array_body, 1, -1, "What NumPy makes an array of.", {"input", "dtype", "copy"}};

PyObject* dlpack_body(PyObject** a) {
  const Var& v = value_of(a[0]);
  if (requires_grad(v))
    fail("__dlpack__", "the tensor requires grad, and what is exported keeps no tape", to_string(v.v->spec()), ".detach()",
         ErrorKind::Runtime);
  bool versioned = false;
  if (given(a[2])) {
    py::object major = py::handle(a[2]).attr("__getitem__")(0);
    versioned = int_arg("__dlpack__", major.ptr(), "max_version") >= 1;
  }
  return to_dlpack(v, a[1], versioned, bool_arg(a[4], false)).release().ptr();
}
constexpr Def kDlpack = {"__dlpack__", dlpack_body, 1, -1,
                         "The value as a DLPack capsule: read-only where the protocol can say so, else a copy.",
                         {"input", "stream", "max_version", "dl_device", "copy"}};

PyObject* dlpack_device(PyObject* self, PyObject*) {
  return guarded([&] {
    DeviceId d = value_of(self).device();
    return Py_BuildValue("(ii)", d.kind == DeviceKind::Cpu ? 1 : 2, static_cast<int>(d.index));
  });
}

// ---- the buffer protocol

struct Held {
  BufferRef buffer;
  std::vector<Py_ssize_t> shape, strides;
};

const char* format_of(DType t) {
  switch (t) {
    case DType::Bool: return "?";
    case DType::U8: return "B";
    case DType::I8: return "b";
    case DType::I16: return "h";
    case DType::U16: return "H";
    case DType::I32: return "i";
    case DType::U32: return "I";
    case DType::I64: return "q";
    case DType::U64: return "Q";
    case DType::F16: return "e";
    case DType::F32: return "f";
    case DType::F64: return "d";
    case DType::C64: return "Zf";
    case DType::C128: return "Zd";
    case DType::BF16: break;
  }
  fail("buffer", "the buffer protocol has no such element type", name_of(t), ".float()", ErrorKind::Type);
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  if (flags & PyBUF_WRITABLE) {
    PyErr_SetString(PyExc_BufferError, "[buffer] a tensor's memory cannot be written to from outside; try .numpy().copy()");
    return -1;
  }
  return guarded_int([&] {
    const Var& v = value_of(self);
    check_no_tape("buffer", v);
    auto held = std::make_unique<Held>();
    held->buffer = host_buffer("buffer", v);
    Py_ssize_t size = static_cast<Py_ssize_t>(size_of(v.dtype()));
    for (int64_t d : v.shape()) held->shape.push_back(static_cast<Py_ssize_t>(d));
    for (int64_t s : contiguous_strides(v.shape())) held->strides.push_back(static_cast<Py_ssize_t>(s) * size);
    view->format = flags & PyBUF_FORMAT ? const_cast<char*>(format_of(v.dtype())) : nullptr;
    view->buf = held->buffer->data;
    view->len = static_cast<Py_ssize_t>(v.v->nbytes());
    view->readonly = 1;
    view->itemsize = size;
    view->ndim = v.shape().size();
    view->shape = flags & PyBUF_ND ? held->shape.data() : nullptr;
    view->strides = (flags & PyBUF_STRIDES) == PyBUF_STRIDES ? held->strides.data() : nullptr;
    view->suboffsets = nullptr;
    view->internal = held.release();
    view->obj = same(self);
  });
}
void release_buffer(PyObject*, Py_buffer* view) { delete static_cast<Held*>(view->internal); }

// ---- from outside, sharing

void drop_object(void* owner) {
  if (!Py_IsInitialized()) return;
  HoldGil gil;
  or_sleep([owner] { Py_DECREF(static_cast<PyObject*>(owner)); });
}

Var from_numpy(const py::object& o) {
  if (!is_numpy(o.ptr()) || is_numpy_scalar(o.ptr()))
    fail("from_numpy", "an ndarray is needed", Py_TYPE(o.ptr())->tp_name, "tensor(data)", ErrorKind::Type);
  auto a = py::reinterpret_borrow<py::array>(o);
  if (a.dtype().kind() == 'O')
    fail("from_numpy", "an array of objects has no element type", "object", "a.astype('float32')", ErrorKind::Type);
  if (!(a.flags() & py::array::c_style) || a.dtype().byteorder() == '>')
    fail("from_numpy", "the array's memory is not in order of its axes and in native bytes",
         std::string(py::str(a.attr("shape"))), "tensor(array), which copies");
  Spec s;
  s.dtype = dtype_of_array(py::object(a.attr("dtype")).ptr());
  for (py::ssize_t i = 0; i < a.ndim(); ++i) s.shape.push_back(a.shape(i));
  BufferRef b = BufferRef::adopt(
      wrap_external(const_cast<void*>(a.data()), static_cast<size_t>(a.nbytes()), DeviceId{}, same(o.ptr()), drop_object));
  return Var(make_leaf(s, b.get()));
}

}  // namespace

void add_convert_slots(std::vector<PyType_Slot>& slots) {
  slots.push_back({Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)});
  slots.push_back({Py_bf_releasebuffer, reinterpret_cast<void*>(release_buffer)});
}

void add_convert_methods(Methods& type, Methods&) {
  type.push_back({"item", item_method, METH_NOARGS, "item()\n--\n\nThe one element as a Python number; computes it."});
  type.push_back({"tolist", tolist_method, METH_NOARGS, "tolist()\n--\n\nThe value as nested lists of Python numbers."});
  method<kNumpy>(type);
  method<kArray>(type);
  method<kDlpack>(type);
  type.push_back({"__dlpack_device__", dlpack_device, METH_NOARGS, "The DLPack device (type, index)."});
}

void bind_convert(py::module_& m) {
  m.def("from_numpy", from_numpy,
        "A tensor that shares the memory of a contiguous ndarray. Writing to the array later changes the tensor.\n\n"
        "It changes, too, what was computed from the tensor and is still pending: that reads the array when it is computed.\n"
        "What copies reads the array at once: clone, copy_, x[i] = t, pydiff.tensor, to and the casts. So where an array\n"
        "is filled again and again, compute with from_numpy(array).clone().\n\n>>> import numpy as np, pydiff as pd\n>>> array = np.zeros(2)\n"
        ">>> shared, own = pd.from_numpy(array), pd.from_numpy(array).clone()\n>>> array[:] = 1\n"
        ">>> shared.tolist(), own.tolist()\n([1.0, 1.0], [0.0, 0.0])\n");
  m.def("from_capsule", [](const py::object& c) { return from_dlpack(c.ptr()); }, "A tensor of a DLPack capsule's memory.");
  m.def("numpy_dtype", [](const py::object& d) { return numpy_dtype(dtype_arg(d.ptr())); }, "NumPy's counterpart of a dtype.");
  m.def("assign", [](const char* op, const py::object& t, const Var& value) {
    check_writable(op, tensor_object_arg(op, t.ptr()));
    assign(op, as_tensor_object(t.ptr()), value);
    if (over_bound()) flush();
    return t;
  }, "Gives a tensor, and all that share its memory, another value, on the tape; returns the tensor.");
  m.def("become", [](const char* op, const py::object& t, const py::object& view) {
    value_of(t.ptr());
    become(op, as_tensor_object(t.ptr()), as_tensor_object(view.ptr()));
    return t;
  }, "A tensor turns into a view of it; returns the tensor.");
  m.def("check_writable", [](const char* op, const py::object& t) { check_writable(op, tensor_object_arg(op, t.ptr())); });
}

}  // namespace binding
}  // namespace pd
