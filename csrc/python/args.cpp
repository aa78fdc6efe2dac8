#include "python/args.h"

#include "device/cuda/streams.h"
#include "device/device.h"
#include "graph/placeholders.h"

#include "python/convert.h"

namespace pd {
namespace binding {

namespace {

PyObject* g_dtypes[kNumDTypes] = {};
PyObject* g_device_class = nullptr;
PyObject* g_devices[2][16] = {};
DeviceId g_default_device;
bool g_default_is_current = false;  // the default is "cuda": whatever device is current on the thread

// The one list of other spellings of parameters: NumPy's, and PyTorch's own words for the operands of some functions.
struct Spelling {
  const char *other, *param;
};
constexpr Spelling kSpellings[] = {{"axis", "dim"},      {"keepdims", "keepdim"}, {"axes", "dims"},
                                   {"dim", "dims"},      {"axis", "dims"},        {"a", "input"},
                                   {"x", "input"},       {"x1", "input"},         {"x2", "other"},
                                   {"a_min", "min"},     {"a_max", "max"},        {"newshape", "shape"},
                                   {"size", "shape"},    {"ddof", "correction"},  {"self", "input"},
                                   {"axis1", "dim0"},    {"axis2", "dim1"},       {"exponent", "other"},
                                   {"arrays", "tensors"}, {"indices", "index"},   {"fill_value", "value"},
                                   {"axis0", "dim0"},    {"axis1", "dim1"},       {"tensor", "input"},
                                   {"split_size", "split_size_or_sections"},
                                   {"input", "b"},          {"input", "A"},
                                   {"input", "x"},       {"input", "B"},          {"input", "L"},
                                   {"other", "y"},       {"other", "B"},          {"b", "B"},
                                   {"input2", "L"},      {"input2", "tau"},       {"input3", "other"},
                                   {"input", "values"},  {"tensor", "other"},     {"sections", "indices_or_sections"},
                                   {"indices", "indices_or_sections"},
                                   {"tensor_indices_or_sections", "indices_or_sections"},
                                   {"element", "elements"}, {"test_element", "test_elements"},
                                   {"train", "training"}, {"new_state", "state"}, {"source", "src"},
                                   {"axis2", "dim2"},    {"input", "tensor"},     {"callable", "function"},
                                   {"obj", "data"},      {"src", "source"},       {"other", "source"},
                                   {"from", "a"},        {"from", "low"},         {"to", "b"},
                                   {"to", "high"}};

bool is_word(PyObject* kw, const char* s) { return PyUnicode_CompareWithASCIIString(kw, s) == 0; }

std::string quoted(const char* s) { return std::string("'") + s + "'"; }

}  // namespace

bool spells(PyObject* kw, const char* param) {
  if (is_word(kw, param)) return true;
  for (const Spelling& s : kSpellings)
    if (std::strcmp(s.param, param) == 0 && is_word(kw, s.other)) return true;
  return false;
}

void parse(const Def& d, PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, Parsed& out) {
  int count = 0;
  while (d.params[count]) ++count;
  int at = 0;
  if (self) out.a[at++] = self;
  for (Py_ssize_t i = 0; i < nargs; ++i) {
    bool loose = at == d.variadic && (nargs - i > 1 || PyLong_Check(args[i])) && !PyTuple_Check(args[i]) &&
                 !PyList_Check(args[i]);
    if (loose) {
      out.packed = checked(PyTuple_New(nargs - i));
      for (Py_ssize_t k = i; k < nargs; ++k) PyTuple_SET_ITEM(out.packed, k - i, same(args[k]));
      out.a[at++] = out.packed;
      break;
    }
    if (at == count)
      fail(d.name, "too many arguments", std::to_string(nargs + (self ? 1 : 0)),
           std::to_string(count) + " at most", ErrorKind::Type);
    out.a[at++] = args[i];
  }
  Py_ssize_t words = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t w = 0; w < words; ++w) {
    PyObject* kw = PyTuple_GET_ITEM(kwnames, w);
    int k = 0;
    while (k < count && !is_word(kw, d.params[k])) ++k;
    if (k == count)
      for (k = 0; k < count && (out.a[k] || !spells(kw, d.params[k]));) ++k;
    if (k == count)
      for (k = 0; k < count && !spells(kw, d.params[k]);) ++k;  // to tell what is given twice
    if (k == count || out.a[k]) {
      const char* text = PyUnicode_AsUTF8(kw);
      std::string all;
      for (int i = self ? 1 : 0; i < count; ++i) all += (all.empty() ? "" : ", ") + std::string(d.params[i]);
      fail(d.name, k == count ? "unknown argument" : "an argument is given twice", quoted(text ? text : "?"),
           all.empty() ? "no keywords" : all, ErrorKind::Type);
    }
    out.a[k] = args[nargs + w];
  }
  for (int k = 0; k < d.required; ++k)
    if (!out.a[k])
      fail(d.name, std::string("argument ") + quoted(d.params[k]) + " is missing", std::to_string(nargs + words) + " of them", "giving it", ErrorKind::Type);
}

bool to_operand(PyObject* o, DeviceId device, Var& out) {
  if (is_tensor(o)) {
    out = value_of(o);
    if (out.v->is_scalar() && out.v->abstract && out.device() != device) out = Var(make_cell(out.v.get(), device, cell_of(out.v.get())));
    return true;
  }
  if (PyFloat_Check(o)) {
    out = number(PyFloat_AS_DOUBLE(o), device);
    return true;
  }
  if (PyBool_Check(o)) {
    out = number(o == Py_True, device);
    return true;
  }
  if (PyLong_Check(o)) {
    int over = 0;
    long long i = PyLong_AsLongLongAndOverflow(o, &over);
    if (over) {
      const unsigned long long large = over > 0 ? PyLong_AsUnsignedLongLong(o) : ~0ull;
      if (over < 0 || PyErr_Occurred()) {
        PyErr_Clear();
        fail("number", "a Python integer does not fit 64 bits", over > 0 ? "more than 2**64 - 1" : "less than -2**63",
             "float(n)");
      }
      out = large_number(large, device);
      return true;
    }
    out = number(static_cast<int64_t>(i), device);
    return true;
  }
  if (!is_numpy(o)) return false;
  if (is_numpy_scalar(o)) {
    py::object plain = py::handle(o).attr("item")();
    return !is_numpy(plain.ptr()) && to_operand(plain.ptr(), device, out);
  }
  out = from_array(o, nullptr, device);
  return true;
}

Var operand(const char* op, PyObject* o, DeviceId device) {
  Var v;
  if (!to_operand(o, device, v))
    fail(op, "an operand is neither a tensor nor a number", Py_TYPE(o)->tp_name, "tensor(value)", ErrorKind::Type);
  return v;
}

Var tensor_arg(const char* op, PyObject* o) {
  if (is_tensor(o)) return value_of(o);
  if (PyLong_Check(o) || PyFloat_Check(o) || PyList_Check(o) || PyTuple_Check(o) || is_numpy(o))
    return from_data(op, o, nullptr, default_device());
  fail(op, "a tensor is needed", Py_TYPE(o)->tp_name, "tensor(value)", ErrorKind::Type);
}

TensorObject* tensor_object_arg(const char* op, PyObject* o) {
  if (!is_tensor(o)) fail(op, "a tensor is needed", Py_TYPE(o)->tp_name, "tensor(value)", ErrorKind::Type);
  return as_tensor_object(o);
}

int64_t int_arg(const char* op, PyObject* o, const char* what) {
  PyObject* i = PyNumber_Index(o);
  if (!i) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw PythonError();
    PyErr_Clear();
    fail(op, std::string(what) + " is an integer", Py_TYPE(o)->tp_name, "an int", ErrorKind::Type);
  }
  int64_t r = PyLong_AsLongLong(i);
  Py_DECREF(i);
  if (r == -1 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw PythonError();
    PyErr_Clear();
    fail(op, std::string(what) + " does not fit 64 bits", std::string(py::str(py::handle(o))), "a smaller int");
  }
  return r;
}

double float_arg(const char* op, PyObject* o, const char* what) {
  double r = PyFloat_AsDouble(o);
  if (r == -1.0 && PyErr_Occurred()) {
    if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw PythonError();
    PyErr_Clear();
    fail(op, std::string(what) + " is a number", Py_TYPE(o)->tp_name, "a float", ErrorKind::Type);
  }
  return r;
}

bool bool_arg(PyObject* o, bool otherwise) {
  if (!o || o == Py_None) return otherwise;
  int r = PyObject_IsTrue(o);
  checked(r);
  return r != 0;
}

Ints ints_arg(const char* op, PyObject* o, const char* what) {
  Ints out;
  if (PyTuple_Check(o) || PyList_Check(o)) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    PyObject** items = PySequence_Fast_ITEMS(o);
    // f((2, 3),) reaches here packed once more where it was meant as f((2, 3))
    if (n == 1 && (PyTuple_Check(items[0]) || PyList_Check(items[0]))) return ints_arg(op, items[0], what);
    for (Py_ssize_t i = 0; i < n; ++i) out.push_back(int_arg(op, items[i], what));
    return out;
  }
  if (PyLong_Check(o) || PyIndex_Check(o)) {
    out.push_back(int_arg(op, o, what));
    return out;
  }
  PyObject* list = PySequence_List(o);
  if (!list) {
    PyErr_Clear();
    fail(op, std::string(what) + " is an integer or a tuple of them", Py_TYPE(o)->tp_name, "(2, 3)", ErrorKind::Type);
  }
  py::object hold = py::reinterpret_steal<py::object>(list);
  return ints_arg(op, list, what);
}

Axes axes_arg(const char* op, PyObject* o) {
  Axes a;
  if (!given(o)) return a;
  a.list = ints_arg(op, o, "dim");
  a.all = a.list.empty();  // dim=() is all axes, as in PyTorch
  return a;
}

// ---- dtypes and devices

PyObject* dtype_object(DType t) { return g_dtypes[static_cast<int>(t)]; }

DType dtype_arg(PyObject* o) {
  for (int i = 0; i < kNumDTypes; ++i)
    if (g_dtypes[i] == o) return static_cast<DType>(i);
  if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) return DType::F64;
  if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) return DType::I64;
  if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) return DType::Bool;
  DType t;
  if (PyUnicode_Check(o)) {
    const char* s = PyUnicode_AsUTF8(o);
    if (s && dtype_from_name(s, t)) return t;
  }
  static PyObject* make = py::object(py::module_::import("numpy").attr("dtype")).release().ptr();
  PyObject* d = PyObject_CallOneArg(make, o);
  if (d) {
    py::object hold = py::reinterpret_steal<py::object>(d);
    return dtype_of_array(d);
  }
  PyErr_Clear();
  py::str shown = py::repr(py::handle(o));
  fail("dtype", "unknown dtype", std::string(shown), "pydiff.float32 or 'float32'", ErrorKind::Type);
}

DType dtype_arg(PyObject* o, DType otherwise) { return given(o) ? dtype_arg(o) : otherwise; }

PyObject* device_object(DeviceId d) {
  PyObject*& slot = g_devices[static_cast<int>(d.kind)][d.index & 15];
  if (!slot) slot = checked(PyObject_CallFunction(g_device_class, "s", to_string(d).c_str()));
  return slot;
}

DeviceId default_device() {
  if (g_default_is_current) return {DeviceKind::Cuda, static_cast<int8_t>(cuda_current_device())};
  return g_default_device;
}

namespace {
// A device that is not there is an error where it is named, not where a value is needed.
DeviceId present(DeviceId d) {
  if (d.kind != DeviceKind::Cpu) device(d);
  return d;
}
}  // namespace

DeviceId device_arg(PyObject* o) {
  if (!given(o)) return default_device();
  for (int k = 0; k < 2; ++k)
    for (int i = 0; i < 16; ++i)
      if (g_devices[k][i] == o) return present(DeviceId{static_cast<DeviceKind>(k), static_cast<int8_t>(i)});
  if (PyLong_Check(o))
    return present(DeviceId{DeviceKind::Cuda, static_cast<int8_t>(int_arg("device", o, "a device index"))});
  std::string s = py::str(py::handle(o));
  if (s == "cpu" || s == "cpu:0") return DeviceId{};
  if (s == "cuda") return present(DeviceId{DeviceKind::Cuda, static_cast<int8_t>(cuda_current_device())});
  if (s.size() > 5 && s.size() < 8 && s.compare(0, 5, "cuda:") == 0) {
    int i = 0;
    bool digits = true;
    for (size_t k = 5; k < s.size(); ++k) {
      digits &= s[k] >= '0' && s[k] <= '9';
      i = i * 10 + (s[k] - '0');
    }
    if (digits && i < 16) return present(DeviceId{DeviceKind::Cuda, static_cast<int8_t>(i)});
  }
  if (s == "cuda-host") {  // the stand-in takes the driver's place when the name is first said
    py::object made = py::reinterpret_steal<py::object>(checked(PyObject_CallFunction(g_device_class, "s", s.c_str())));
    return present(DeviceId{DeviceKind::Cuda, 0});
  }
  fail("device", "unknown device", s, "'cpu', 'cuda' or 'cuda:0'", ErrorKind::Runtime);
}

std::vector<Var> tensors_arg(const char* op, PyObject* o) {
  if (is_tensor(o)) {
    if (value_of(o).shape().empty())
      fail(op, "a sequence of tensors is needed", "a 0-d tensor", "[tensor, …]", ErrorKind::Type);
  }
  PyObject* seq = PySequence_List(o);
  if (!seq) {
    PyErr_Clear();
    fail(op, "a sequence of tensors is needed", Py_TYPE(o)->tp_name, "[tensor, …]", ErrorKind::Type);
  }
  py::object hold = py::reinterpret_steal<py::object>(seq);
  std::vector<Var> out;
  Py_ssize_t n = PyList_GET_SIZE(seq);
  out.reserve(static_cast<size_t>(n));
  for (Py_ssize_t i = 0; i < n; ++i) out.push_back(tensor_arg(op, PyList_GET_ITEM(seq, i)));
  if (out.empty()) fail(op, "at least one tensor is needed", "an empty sequence", "[tensor, …]");
  return out;
}

PyObject* tuple_of(const Ints& v) {
  PyObject* t = checked(PyTuple_New(v.size()));
  for (int i = 0; i < v.size(); ++i) PyTuple_SET_ITEM(t, i, PyLong_FromLongLong(v[i]));
  return t;
}

void bind_args(py::module_& m) {
  m.def("set_dtypes", [](const py::dict& objects) {
    for (int i = 0; i < kNumDTypes; ++i) g_dtypes[i] = py::object(objects[kDTypes[i].name]).release().ptr();
  }, "The dtype objects, by name.");
  m.def("set_device_class", [](const py::object& c) { g_device_class = py::object(c).release().ptr(); },
        "What makes a device object of its name.");
  m.def("dtype_facts", [] {
    py::list out;
    for (const DTypeInfo& d : kDTypes) {
      DType t;
      dtype_from_name(d.name, t);
      out.append(py::make_tuple(d.name, static_cast<int>(d.size), static_cast<int>(d.category), has_kernels(t)));
    }
    return out;
  }, "(name, itemsize, category, has_kernels) of each dtype.");
  m.def("get_default_dtype", [] { return py::reinterpret_borrow<py::object>(dtype_object(default_dtype())); });
  m.def("set_default_dtype", [](const py::object& o) {
    DType t = dtype_arg(o.ptr());
    if (!is_floating(t) || !has_kernels(t))
      fail("set_default_dtype", "the default is a floating dtype that has kernels", name_of(t),
           "pydiff.float32 or pydiff.float64", ErrorKind::Type);
    set_default_dtype(t);
  });
  m.def("get_default_device", [] { return py::reinterpret_borrow<py::object>(device_object(default_device())); });
  m.def("default_device_setting", []() -> py::object {
    if (g_default_is_current) return py::str("cuda");
    return py::reinterpret_borrow<py::object>(device_object(g_default_device));
  }, "What set_default_device was given: \"cuda\" follows the current device.");
  m.def("set_default_device", [](const py::object& o) {
    g_default_device = device_arg(o.ptr());
    g_default_is_current = PyUnicode_Check(o.ptr()) && !PyUnicode_CompareWithASCIIString(o.ptr(), "cuda");
  });
  m.def("as_dtype", [](const py::object& o) { return py::reinterpret_borrow<py::object>(dtype_object(dtype_arg(o.ptr()))); });
  m.def("promote_types", [](const py::object& a, const py::object& b) {
    return py::reinterpret_borrow<py::object>(dtype_object(promote(dtype_arg(a.ptr()), dtype_arg(b.ptr()))));
  });
  m.def("result_type", [](const py::args& a) {
    std::vector<Var> in;
    for (const auto& o : a) in.push_back(operand("result_type", o.ptr()));
    return py::reinterpret_borrow<py::object>(dtype_object(result_type(in.data(), static_cast<int>(in.size()))));
  });
}

}  // namespace binding
}  // namespace pd
