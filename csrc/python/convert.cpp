#include "python/convert.h"

#include <pybind11/numpy.h>

#include <cstring>

#include "device/cuda/streams.h"
#include "device/device.h"
#include "exec/late_errors.h"
#include "graph/op_traits.h"
#include "ops/element.h"
#include "ops/loops.h"
#include "python/args.h"

namespace pd {
namespace binding {

namespace {

// ---- NumPy's types, looked up once

struct NumPy {
  py::object ndarray, generic, asarray, ascontiguous;
  NumPy() {
    py::module_ np = py::module_::import("numpy");
    ndarray = np.attr("ndarray");
    generic = np.attr("generic");
    asarray = np.attr("asarray");
    ascontiguous = np.attr("ascontiguousarray");
  }
};
NumPy& numpy() {
  static NumPy* n = new NumPy;  // never destroyed: Python is gone by then
  return *n;
}

bool instance(PyObject* o, const py::object& type) {
  return PyType_IsSubtype(Py_TYPE(o), reinterpret_cast<PyTypeObject*>(type.ptr()));
}

// ---- buffers

// The device copies while the caller goes on: `host` has been read when this returns.
Var uploaded(const Spec& spec, const void* host, size_t bytes) {
  BufferRef there = BufferRef::adopt(new_buffer(spec.device, bytes));
  device(spec.device).copy(there->data, host, bytes, CopyKind::HostToDevice);
  return Var(make_leaf(spec, there.get()));
}

Var to_device(const Spec& spec, BufferRef host) {
  if (spec.device.kind == DeviceKind::Cpu) return Var(make_leaf(spec, host.get()));
  return uploaded(spec, host->data, host->bytes);
}

size_t bytes_of(const Spec& s) { return static_cast<size_t>(numel(s.shape)) * size_of(s.dtype); }

// ---- nested lists

struct Nest {
  const char* op;
  Shape shape;
  bool leaf_seen = false;
  int category = -1;
  bool arrays = false;  // NumPy values or tensors among the leaves
};

[[noreturn]] void ragged(const Nest& n, int depth, const std::string& got) {
  fail(n.op, "ragged nesting at depth " + std::to_string(depth), got, "lists of one length at each depth");
}

void look(Nest& n, PyObject* o, int depth) {
  if (PyList_Check(o) || PyTuple_Check(o)) {
    Py_ssize_t len = PySequence_Fast_GET_SIZE(o);
    if (depth == n.shape.size()) {
      if (n.leaf_seen) ragged(n, depth, "a list where another item is a number");
      n.shape.push_back(len);
    } else if (n.shape[depth] != len) {
      ragged(n, depth, "lengths " + std::to_string(n.shape[depth]) + " and " + std::to_string(len));
    }
    if (depth > 64) fail(n.op, "the nesting is too deep", "more than 64 axes", "a flatter list");
    if (len == 0) n.leaf_seen = true;
    for (Py_ssize_t i = 0; i < len; ++i) look(n, PySequence_Fast_ITEMS(o)[i], depth + 1);
    return;
  }
  int cat;
  if (PyBool_Check(o)) cat = 0;
  else if (PyLong_Check(o)) cat = 1;
  else if (PyFloat_CheckExact(o)) cat = 2;
  else if (is_numpy(o) || is_tensor(o)) {
    n.arrays = true;
    return;
  } else if (PyFloat_Check(o)) cat = 2;
  else {
    fail(n.op, "the data has no numbers", Py_TYPE(o)->tp_name, "numbers, nested lists of them, or arrays",
         ErrorKind::Type);
  }
  if (depth != n.shape.size()) ragged(n, depth, "a number where another item is a list");
  n.leaf_seen = true;
  if (cat > n.category) n.category = cat;
}

double as_double(PyObject* o) {
  double d = PyFloat_Check(o) ? PyFloat_AS_DOUBLE(o) : PyLong_AsDouble(o);
  if (d == -1.0 && PyErr_Occurred()) throw PythonError();
  return d;
}
// As an element of an integer type; of uint64 its bits.
int64_t as_int(PyObject* o, DType type) {
  if (PyFloat_Check(o)) return whole_number(type, PyFloat_AS_DOUBLE(o));
  int over = 0;
  long long i = PyLong_AsLongLongAndOverflow(o, &over);
  if (over > 0 && type == DType::U64) i = static_cast<long long>(PyLong_AsUnsignedLongLong(o));
  else if (over) i = PyLong_AsLongLong(o);  // says so
  if (i == -1 && PyErr_Occurred()) throw PythonError();
  return i;
}

template <class T>
void fill(PyObject* o, T*& dst) {
  if (PyList_Check(o) || PyTuple_Check(o)) {
    Py_ssize_t n = PySequence_Fast_GET_SIZE(o);
    for (Py_ssize_t i = 0; i < n; ++i) fill(PySequence_Fast_ITEMS(o)[i], dst);
    return;
  }
  if constexpr (std::is_same<T, bool>::value) *dst++ = PyObject_IsTrue(o) > 0;
  else if constexpr (std::is_floating_point<T>::value) *dst++ = static_cast<T>(as_double(o));
  else *dst++ = static_cast<T>(as_int(o, dtype_of<T>::value));
}

// Tensors below lists become arrays, so that NumPy can join them.
py::object without_tensors(const char* op, PyObject* o) {
  if (is_tensor(o)) return to_numpy(op, value_of(o));
  if (!PyList_Check(o) && !PyTuple_Check(o)) return py::reinterpret_borrow<py::object>(o);
  py::list out;
  for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i)
    out.append(without_tensors(op, PySequence_Fast_ITEMS(o)[i]));
  return out;
}

void check_fits(const char* op, PyObject* o, DType type) {
  if (PyList_Check(o) || PyTuple_Check(o)) {
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(o); ++i) check_fits(op, PySequence_Fast_ITEMS(o)[i], type);
    return;
  }
  if (!PyLong_Check(o) || fits(as_int(o, DType::I64), type)) return;
  fail(op, "a Python integer does not fit the type", std::string(py::str(o)) + " for " + name_of(type),
       "a wider dtype, or a tensor's cast, which keeps the low bits");
}

Var from_list(const char* op, PyObject* data, const DType* dtype, DeviceId dev) {
  Nest n;
  n.op = op;
  look(n, data, 0);
  if (n.arrays) {
    py::object a;
    try {
      a = called(numpy().asarray, without_tensors(op, data));
    } catch (const py::error_already_set&) {
      fail(op, "ragged nesting", "arrays of different shapes", "arrays of one shape");
    }
    return from_array(a.ptr(), dtype, dev);
  }
  Spec s;
  s.shape = n.shape;
  s.device = dev;
  s.dtype = dtype             ? *dtype
            : n.category == 0 ? DType::Bool
            : n.category == 1 ? DType::I64
                              : default_dtype();
  if (is_integer(s.dtype) && size_of(s.dtype) < 8) check_fits(op, data, s.dtype);
  if (is_narrow(s.dtype)) {
    const DType wide = is_floating(s.dtype) ? DType::F64 : compute_type(s.dtype);
    return cast(from_list(op, data, &wide, dev), s.dtype);
  }
  if (!has_kernels(s.dtype)) {
    py::object a = called_method(called(numpy().asarray, py::handle(data)), "astype", numpy_dtype(s.dtype));
    return from_array(a.ptr(), &s.dtype, dev);
  }
  Spec host = s;
  BufferRef b = BufferRef::adopt(new_buffer(DeviceId{}, bytes_of(host)));
  switch (s.dtype) {
#define X(id, T)                            \
  case DType::id: {                         \
    T* p = static_cast<T*>(b->data);        \
    fill<T>(data, p);                       \
    break;                                  \
  }
    X(Bool, bool) X(I32, int32_t) X(I64, int64_t) X(U64, uint64_t) X(F32, float) X(F64, double)
#undef X
    default: break;
  }
  Var v = to_device(s, b);
  if (s.shape.empty() && dev.kind == DeviceKind::Cpu) {
    if (is_floating(s.dtype)) v.v->num.f = as_double(data);
    else v.v->num.i = as_int(data, s.dtype);
  }
  return v;
}

}  // namespace

bool is_numpy_scalar(PyObject* o) { return instance(o, numpy().generic); }
bool is_numpy(PyObject* o) { return instance(o, numpy().ndarray) || is_numpy_scalar(o); }

py::object numpy_dtype(DType t) {
  static PyObject* known[kNumDTypes] = {};
  PyObject*& slot = known[static_cast<int>(t)];
  if (!slot) {
    py::object d = py::module_::import("numpy").attr("dtype");
    slot = (t == DType::BF16 ? d(py::module_::import("ml_dtypes").attr("bfloat16")) : d(name_of(t))).release().ptr();
  }
  return py::reinterpret_borrow<py::object>(slot);
}

DType dtype_of_array(PyObject* o) {
  auto d = py::reinterpret_borrow<py::dtype>(o);
  char kind = d.kind();
  auto size = static_cast<size_t>(d.itemsize());
  for (int i = 0; i < kNumDTypes; ++i)
    if (kDTypes[i].kind == kind && kDTypes[i].size == size && kind != 'V') return static_cast<DType>(i);
  std::string name = py::str(d);
  if (name == "bfloat16") return DType::BF16;
  fail("dtype", "NumPy's dtype has no counterpart", name, "numbers: a.astype('float32')", ErrorKind::Type);
}

Var from_array(PyObject* o, const DType* dtype, DeviceId dev) {
  py::object a = called(numpy().asarray, py::handle(o));
  auto d = py::reinterpret_borrow<py::dtype>(a.attr("dtype"));
  if (d.kind() == 'O')
    fail("tensor", "an array of objects has no element type", to_string(Ints{static_cast<int64_t>(py::len(a.attr("shape")))}) + " axes of objects",
         "numbers in lists of one length at each depth", ErrorKind::Type);
  if (d.byteorder() == '>') a = called_method(a, "astype", called_method(d, "newbyteorder", py::str("=")));
  Spec s;
  s.dtype = dtype_of_array(py::object(a.attr("dtype")).ptr());
  s.device = dev;
  if (dtype && *dtype != s.dtype) {
    // What NumPy makes of a float beyond an integer type depends on the machine.
    if (is_floating(s.dtype) && is_integer(*dtype)) return cast(from_array(a.ptr(), nullptr, dev), *dtype);
    a = called_method(a, "astype", numpy_dtype(*dtype));
    s.dtype = *dtype;
  }
  auto shaped = py::reinterpret_borrow<py::array>(a);
  for (py::ssize_t i = 0; i < shaped.ndim(); ++i) s.shape.push_back(shaped.shape(i));
  auto arr = py::array(called(numpy().ascontiguous, a));
  if (dev.kind != DeviceKind::Cpu) return uploaded(s, arr.data(), bytes_of(s));
  BufferRef b = BufferRef::adopt(new_buffer(DeviceId{}, bytes_of(s)));
  if (b->bytes) std::memcpy(b->data, arr.data(), bytes_of(s));
  return to_device(s, b);
}

Var from_data(const char* op, PyObject* data, const DType* dtype, DeviceId dev) {
  if (is_tensor(data)) {
    Var v(value_of(data).v);
    if (v.device() == dev) v = owned(op, v);
    if (dtype && *dtype != v.dtype()) v = cast(v, *dtype);
    if (v.device() != dev) {
      ensure(op, v);
      const Spec there{v.shape(), v.dtype(), dev};
      if (v.device().kind == DeviceKind::Cuda && dev.kind == DeviceKind::Cuda && !v.v->is_scalar()) {
        BufferRef b = BufferRef::adopt(new_buffer(dev, bytes_of(there)));
        cuda_copy_between(dev, b->data, v.device(), v.v->buffer->data, bytes_of(there));
        b->suspect = v.v->buffer->suspect;
        return Var(make_leaf(there, b.get()));
      }
      v = to_device(there, host_buffer(op, v));
    }
    return v;
  }
  if (PyList_Check(data) || PyTuple_Check(data) || PyLong_Check(data) || PyFloat_CheckExact(data))
    return from_list(op, data, dtype, dev);
  // A tensor of another library with a tape: NumPy takes neither that nor bfloat16.
  if (!is_numpy(data) && PyObject_HasAttrString(data, "__dlpack__") && PyObject_HasAttrString(data, "detach"))
    return from_data(op, py::module_::import("pydiff._foreign").attr("lent")(py::str(op), py::handle(data)).ptr(), dtype, dev);
  if (is_numpy(data) || PyObject_HasAttrString(data, "__array__")) return from_array(data, dtype, dev);
  if (PyObject_CheckBuffer(data) && !PyUnicode_Check(data) && !PyBytes_Check(data)) return from_array(data, dtype, dev);
  if (PyComplex_Check(data)) return from_array(data, dtype, dev);
  if (PySequence_Check(data) && !PyUnicode_Check(data) && !PyBytes_Check(data)) {
    py::object list = py::reinterpret_steal<py::object>(checked(PySequence_List(data)));
    return from_list(op, list.ptr(), dtype, dev);
  }
  return from_list(op, data, dtype, dev);  // says what is wrong with it
}

Var scalar_leaf(DType dtype, double f, int64_t i, DeviceId dev) {
  Spec s{{}, dtype, dev};
  BufferRef b = BufferRef::adopt(new_buffer(DeviceId{}, size_of(dtype)));
  if (!has_kernels(dtype))
    fail("tensor", "the dtype has no kernels", name_of(dtype), "int64 or float64", ErrorKind::Type);
  const int64_t bits = number_bits(dtype, f, is_bool(dtype) ? i != 0 : i);
  std::memcpy(b->data, &bits, size_of(dtype));
  Var v = to_device(s, b);
  if (is_floating(dtype)) v.v->num.f = f;
  else v.v->num.i = i;
  return v;
}

// ---- back

void ensure(const char* op, const Var& v) { ensure(op, std::vector<Var>{v}); }

void ensure(const char* op, const std::vector<Var>& vs) {
  std::vector<Value*> roots;
  for (const Var& v : vs) {
    if (v.v->abstract)
      fail(op, "the tensor stands for a value that is not there yet (inside vmap or jit)", to_string(v.v->spec()),
           "where(condition, a, b) in place of a Python decision, or computing it outside", ErrorKind::Runtime);
    if (v.v->pending()) roots.push_back(v.v.get());
  }
  if (!roots.empty()) evaluate(roots);
}

BufferRef host_buffer(const char* op, const Var& v) {
  ensure(op, v);
  if (v.v->is_scalar()) {
    Var leaf = scalar_leaf(v.dtype(), v.v->number(),
                           is_floating(v.dtype()) ? 0 : v.v->num.i, DeviceId{});
    return BufferRef(leaf.v->buffer);
  }
  if (v.device().kind == DeviceKind::Cpu) return BufferRef(v.v->buffer);
  // Another thread may give the tensor another value meanwhile.
  const BufferRef there(v.v->buffer);
  const size_t bytes = bytes_of(v.v->spec());
  BufferRef host = BufferRef::adopt(new_buffer(DeviceId{}, bytes));
  Device& d = device(there->device);
  {
    WithoutGil free;
    d.copy(host->data, there->data, bytes, CopyKind::DeviceToHost);  // waits for what it reads
  }
  check_buffer(there.get());
  return host;
}

BufferRef copy_of(const BufferRef& b) {
  BufferRef c = BufferRef::adopt(new_buffer(b->device, b->bytes));
  device(b->device).copy(c->data, b->data, b->bytes, CopyKind::DeviceToDevice);
  c->suspect = b->suspect;
  return c;
}

Var owned(const char* op, const Var& v) {
  const Value* below = v.v.get();
  while (below->pending() && (traits(below->op).move != MoveKind::None || traits(below->op).is_cast)) below = below->in(0);
  if (!below->ready() || !below->buffer->external) return v;
  ensure(op, v);  // of a reshape the result still lies in the same memory
  if (!v.v->buffer->external) return v;
  return Var(make_leaf(v.v->spec(), copy_of(BufferRef(v.v->buffer)).get()), v.m);
}

py::object item(const char* op, const Var& given) {
  const Var v = given;
  if (v.v->size() != 1)
    fail(op, "only a tensor of one element is a Python number", to_string(v.shape()), ".tolist()", ErrorKind::Runtime);
  BufferRef b = host_buffer(op, v);
  switch (v.dtype()) {
    case DType::Bool: return py::bool_(*static_cast<const uint8_t*>(b->data) != 0);
    case DType::I32: return py::int_(*static_cast<const int32_t*>(b->data));
    case DType::I64: return py::int_(*static_cast<const int64_t*>(b->data));
    case DType::U64: return py::int_(*static_cast<const uint64_t*>(b->data));
    case DType::F32: return py::float_(static_cast<double>(*static_cast<const float*>(b->data)));
    case DType::F64: return py::float_(*static_cast<const double*>(b->data));
    case DType::F16:
    case DType::BF16: {
      const void* in[1] = {b->data};
      float wide;
      loop_for(find_op("cast"), v.dtype(), DType::F32)(in, &wide, 1);
      return py::float_(static_cast<double>(wide));
    }
    default: return to_numpy(op, v).attr("item")();
  }
}

py::object to_numpy(const char* op, const Var& given) {
  const Var v = given;
  BufferRef b = host_buffer(op, v);
  std::vector<py::ssize_t> shape(v.shape().begin(), v.shape().end()), strides;
  for (int64_t st : contiguous_strides(v.shape()))
    strides.push_back(static_cast<py::ssize_t>(st) * static_cast<py::ssize_t>(size_of(v.dtype())));
  void* data = b->data;
  // The array keeps the buffer: one that two hold is never written into.
  py::capsule owner(b.detach(), [](void* p) { release(static_cast<Buffer*>(p)); });
  py::array a(py::reinterpret_borrow<py::dtype>(numpy_dtype(v.dtype())), shape, strides, data, owner);
  py::detail::array_proxy(a.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return a;
}

}  // namespace binding
}  // namespace pd
