// Making tensors, and moving them between dtypes and devices.
#include <algorithm>
#include <cstring>

#include "device/device.h"
#include "python/args.h"
#include "python/convert.h"
#include "python/memory_formats.h"
#include "ops/element.h"  // after pybind11, whose names its macros would meet

namespace pd {
namespace binding {

namespace {

// ---- between dtypes and devices

// Between devices: the cotangent goes the way back.
Var moved(const Var& x, DeviceId to);
struct Move : CustomRule {
  DeviceId back;
  explicit Move(DeviceId d) : back(d) {}
  std::vector<Var> vjp(const std::vector<Var>& g) override { return {moved(g[0], back)}; }
  const char* name() const override { return "to"; }
};
Var moved(const Var& x, DeviceId to) {
  if (x.device() == to) return x;
  Var there = from_data("to", wrapped(Var(x.v)).ptr(), nullptr, to);
  return requires_grad(x) ? attach_custom({x}, {there}, new Move(x.device()))[0] : there;
}

// Types without kernels convert through NumPy, at once.
Var converted(const Var& x, DType to) {
  if (x.dtype() == to) return x;
  if ((has_kernels(to) && has_kernels(x.dtype())) || x.v->abstract || requires_grad(x)) return cast(x, to);
  return from_array(to_numpy("to", x).ptr(), &to, x.device());
}

// A constant in any dtype: those without kernels are filled in one that has them.
template <class F>
Var filled(DType d, F&& make) {
  return has_kernels(d) ? make(d) : converted(make(DType::F64), d);
}

PyObject* finished(PyObject* o, PyObject* want_grad) {
  if (!bool_arg(want_grad, false)) return o;
  py::object hold = py::reinterpret_steal<py::object>(o);
  set_requires_grad(as_tensor_object(o), true);
  return hold.release().ptr();
}

PyObject* finished(Var v, PyObject* want_grad) { return finished(wrap(std::move(v)), want_grad); }

// A constant of the shape of `like`, in the memory format that is named or that `like` has.
template <class F>
PyObject* filled_like(const char* op, PyObject* like, const Var& x, DType d, PyObject* format, PyObject* want_grad, F&& make) {
  bool last = is_tensor(like) && wants_last(op, as_tensor_object(like), format_arg(op, format, Format::Preserve));
  Var v = filled(d, [&](DType t) { return make(last ? to_last(x).shape() : x.shape(), t); });
  return finished(last ? wrap_last(v) : wrap(v), want_grad);
}

PyObject* tensor_body(PyObject** a) {
  DeviceId dev = given(a[2]) || !is_tensor(a[0]) ? device_arg(a[2]) : value_of(a[0]).device();
  DType d = DType::F32;
  if (given(a[1])) d = dtype_arg(a[1]);
  return finished(from_data("tensor", a[0], given(a[1]) ? &d : nullptr, dev), a[3]);
}

PyObject* zeros_body(PyObject** a) {
  Shape s = ints_arg("zeros", a[0], "a size");
  DeviceId dev = device_arg(a[2]);
  return finished(filled(dtype_arg(a[1], default_dtype()), [&](DType d) { return zeros(s, d, dev); }), a[3]);
}
PyObject* ones_body(PyObject** a) {
  Shape s = ints_arg("ones", a[0], "a size");
  DeviceId dev = device_arg(a[2]);
  return finished(filled(dtype_arg(a[1], default_dtype()), [&](DType d) { return ones(s, d, dev); }), a[3]);
}
PyObject* empty_body(PyObject** a) {
  Shape s = ints_arg("empty", a[0], "a size");
  DeviceId dev = device_arg(a[2]);
  Format f = format_arg("empty", a[4], Format::Contiguous);
  check_format("empty", s, f);
  Var v = filled(dtype_arg(a[1], default_dtype()), [&](DType d) { return zeros(s, d, dev); });
  return finished(f == Format::ChannelsLast || f == Format::ChannelsLast3d ? wrap_last(to_last(v)) : wrap(v), a[3]);
}

DType natural_type(const Var& v) {
  return is_bool(v.dtype()) ? DType::Bool : is_integer(v.dtype()) ? DType::I64 : default_dtype();
}
PyObject* full_body(PyObject** a) {
  DeviceId dev = device_arg(a[3]);
  Var v = operand("full", a[1], dev);
  if (v.v->size() != 1) fail("full", "the value is one number", to_string(v.shape()), "expand(…)", ErrorKind::Type);
  v = reshape(v, Shape());
  DType d = given(a[2]) ? dtype_arg(a[2]) : is_tensor(a[1]) ? v.dtype() : natural_type(v);
  Shape s = ints_arg("full", a[0], "a size");
  return finished(filled(d, [&](DType t) { return full(s, as_element("full", v, t), t); }), a[4]);
}

// zeros_like, ones_like, full_like: (input, dtype, device, requires_grad), full_like with the value second
PyObject* zeros_like_body(PyObject** a) {
  Var x = tensor_arg("zeros_like", a[0]);
  DeviceId dev = given(a[2]) ? device_arg(a[2]) : x.device();
  return filled_like("zeros_like", a[0], x, dtype_arg(a[1], x.dtype()), a[4], a[3],
                     [&](const Shape& s, DType d) { return zeros(s, d, dev); });
}
PyObject* ones_like_body(PyObject** a) {
  Var x = tensor_arg("ones_like", a[0]);
  DeviceId dev = given(a[2]) ? device_arg(a[2]) : x.device();
  return filled_like("ones_like", a[0], x, dtype_arg(a[1], x.dtype()), a[4], a[3],
                     [&](const Shape& s, DType d) { return ones(s, d, dev); });
}
PyObject* full_like_body(PyObject** a) {
  Var x = tensor_arg("full_like", a[0]);
  DeviceId dev = given(a[3]) ? device_arg(a[3]) : x.device();
  Var v = operand("full_like", a[1], dev);
  return filled_like("full_like", a[0], x, dtype_arg(a[2], x.dtype()), a[5], a[4],
                     [&](const Shape& s, DType d) { return full(s, as_element("full_like", v, d), d); });
}

Shape size_arg(const char* op, PyObject* o) {
  Shape s = ints_arg(op, o, "a size");
  for (int64_t d : s)
    if (d < 0) fail(op, "a size is 0 or more", to_string(s), "a shape without negative sizes");
  return s;
}

PyObject* iota_body(PyObject** a) { return wrap(iota(size_arg("iota", a[0]), device_arg(a[1]))); }

// A draw of the random rows: (name, shape, stream, key, dtype, device)
// The number of a draw, or its key: an integer, or what stands for one.
Var draw_word(const char* op, PyObject* o, const char* what, DeviceId dev) {
  if (is_tensor(o)) return cast(operand(op, o, dev), DType::I64);
  return typed_number(DType::I64, 0, int_arg(op, o, what), dev);
}

PyObject* draw_body(PyObject** a) {
  const char* name = PyUnicode_AsUTF8(a[0]);
  if (!name) throw PythonError();
  OpId id = find_op(name);
  DeviceId dev = device_arg(a[5]);
  Var in[3] = {iota(size_arg("draw", a[1]), dev),
               draw_word("draw", a[2], "stream", dev),
               draw_word("draw", a[3], "key", dev)};
  DType d = dtype_arg(a[4]);
  if (!has_kernels(d))
    fail(name, "the dtype has no kernels", name_of(d), "float32 or float64", ErrorKind::Type);
  if (is_floating(d) == (std::strcmp(name, "random_bits") == 0))
    fail(name, "numbers of this dtype cannot be drawn", name_of(d), "dtype=pydiff.float32", ErrorKind::Type);
  return wrap(cast(apply(id, in, 3, attrs({static_cast<int64_t>(compute_type(d))})), d));
}

// A sample of one of ops/sampling.cpp: (name, parameters of one shape, stream, key)
PyObject* sample_body(PyObject** a) {
  const char* name = PyUnicode_AsUTF8(a[0]);
  if (!name) throw PythonError();
  std::vector<Var> in = tensors_arg(name, a[1]);
  if (in.empty()) fail(name, "no parameters", "", "a tensor of them", ErrorKind::Type);
  const DeviceId dev = in[0].device();
  const int64_t elements = numel(in[0].shape());
  in.push_back(draw_word(name, a[2], "stream", dev));
  in.push_back(draw_word(name, a[3], "key", dev));
  return wrap(apply(find_op(name), in.data(), static_cast<int>(in.size()), attrs({elements})));
}

// (input, low, high, 1 where low is excluded + 2 where high is, the error's text with {} for what was got)
PyObject* check_range_body(PyObject** a) {
  const Var x = tensor_arg("check_range", a[0]);
  const double bounds[2] = {float_arg("check_range", a[1], "low"), float_arg("check_range", a[2], "high")};
  const char* text = PyUnicode_AsUTF8(a[4]);
  if (!text) throw PythonError();
  Ints words;
  for (int k = 0; k < 2; ++k) {
    int64_t bits;
    std::memcpy(&bits, &bounds[k], sizeof bits);
    words.push_back(bits);
  }
  words.push_back(int_arg("check_range", a[3], "flags"));
  for (size_t n = std::strlen(text), k = 0; k < n; k += 8) {
    int64_t word = 0;
    std::memcpy(&word, text + k, std::min<size_t>(8, n - k));
    words.push_back(word);
  }
  const Var in[1] = {cast(x, compute_type(x.dtype()))};
  return wrap(cast(apply(op::check_range, in, 1, attrs(words)), x.dtype()));
}

// ---- to

PyObject* to(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as("to", [&] {
    const Var x = value_of(self);
    DType d = x.dtype();
    DeviceId dev = x.device();
    bool copy = false;
    Format f = Format::Preserve;
    auto take = [&](PyObject* o) {
      if (!given(o) || PyBool_Check(o)) return;
      if (is_tensor(o)) {
        d = value_of(o).dtype();
        dev = value_of(o).device();
        return;
      }
      DType named;
      if (PyUnicode_Check(o) && dtype_from_name(PyUnicode_AsUTF8(o), named)) d = named;
      else if (PyUnicode_Check(o) || PyLong_Check(o) || PyObject_HasAttrString(o, "index")) dev = device_arg(o);
      else d = dtype_arg(o);
    };
    for (Py_ssize_t i = 0; i < n; ++i) take(args[i]);
    Py_ssize_t words = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    for (Py_ssize_t w = 0; w < words; ++w) {
      PyObject *kw = PyTuple_GET_ITEM(kwnames, w), *o = args[n + w];
      if (spells(kw, "dtype")) d = dtype_arg(o, d);
      else if (spells(kw, "device")) dev = given(o) ? device_arg(o) : dev;
      else if (spells(kw, "copy")) copy = bool_arg(o, false);
      else if (spells(kw, "other")) take(o);
      else if (spells(kw, "memory_format")) f = format_arg("to", o, Format::Preserve);
      else if (!spells(kw, "non_blocking"))
        fail("to", "unknown argument", PyUnicode_AsUTF8(kw), "dtype, device, copy, memory_format", ErrorKind::Type);
    }
    bool last = wants_last("to", as_tensor_object(self), f);
    bool as_is = last == is_channels_last(as_tensor_object(self));  // any order that is no format counts as contiguous
    Var from = last && as_is ? to_last(x) : x;
    const bool unchanged = d == x.dtype() && dev == x.device();
    if (dev == x.device() && (!unchanged || copy)) from = owned("to", from);
    Var y = moved(converted(from, d), dev);
    if (unchanged && as_is && !copy) return same(self);
    if (unchanged && requires_grad(x)) y = carry_tangents(grad_enabled() ? make_leaf_var(from) : detach(from), from);
    return last ? wrap_last(as_is ? y : to_last(y)) : wrap(y);
  });
}

constexpr const char* cast_name(DType d) {
  switch (d) {
    case DType::F32: return "float";
    case DType::F64: return "double";
    case DType::I32: return "int";
    case DType::I64: return "long";
    case DType::Bool: return "bool";
    case DType::U8: return "byte";
    case DType::I8: return "char";
    case DType::I16: return "short";
    case DType::F16: return "half";
    default: return name_of(d);
  }
}

template <DType D>
PyObject* as_type(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(cast_name(D), [&] {
    Py_ssize_t words = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
    if (n || words > 1 || (words && !spells(PyTuple_GET_ITEM(kwnames, 0), "memory_format")))
      fail("to", "a cast takes no arguments but memory_format", std::to_string(n + words) + " arguments", "x.to(dtype, copy=True)",
           ErrorKind::Type);
    Format f = words ? format_arg("to", args[n], Format::Preserve) : Format::Preserve;
    bool last = wants_last("to", as_tensor_object(self), f);
    const Var& x = value_of(self);
    if (x.dtype() == D && last == is_channels_last(as_tensor_object(self))) return same(self);
    const Var from = owned(cast_name(D), x);
    return last ? wrap_last(converted(to_last(from), D)) : wrap(converted(from, D));
  });
}

#define PD_EXAMPLE(call, result) ">>> import pydiff as pd\n>>> " call "\n" result "\n"
#define PD_DEF(id, name, body, req, var, doc, ...) constexpr Def id = {name, body, req, var, doc, {__VA_ARGS__}};

PD_DEF(kTensor, "tensor", tensor_body, 1, -1,
       "tensor(data, dtype=None, device=None, requires_grad=False)\n--\n\nA new tensor with a copy of the data: numbers, nested "
       "lists, arrays, tensors.\n\nPython floats get the default dtype, integers int64, booleans bool; arrays keep theirs. "
       "Raises ValueError for ragged lists.\n\n" PD_EXAMPLE("pd.tensor([[1., 2.], [3., 4.]]).sum().item()", "10.0"),
       "data", "dtype", "device", "requires_grad")
PD_DEF(kZeros, "zeros", zeros_body, 1, 0,
       "zeros(*shape, dtype=None, device=None, requires_grad=False)\n--\n\nA tensor of zeros.\n\n" PD_EXAMPLE(
           "pd.zeros(2).tolist()", "[0.0, 0.0]"), "shape", "dtype", "device", "requires_grad")
PD_DEF(kOnes, "ones", ones_body, 1, 0,
       "ones(*shape, dtype=None, device=None, requires_grad=False)\n--\n\nA tensor of ones.\n\n" PD_EXAMPLE(
           "pd.ones(2, dtype=pd.int64).tolist()", "[1, 1]"), "shape", "dtype", "device", "requires_grad")
PD_DEF(kEmpty, "empty", empty_body, 1, 0,
       "empty(*shape, dtype=None, device=None, requires_grad=False, memory_format=None)\n--\n\nA tensor whose elements mean nothing yet.\n\n" PD_EXAMPLE(
           "tuple(pd.empty(2, 3).shape)", "(2, 3)"), "shape", "dtype", "device", "requires_grad", "memory_format")
PD_DEF(kFull, "full", full_body, 2, -1,
       "full(shape, fill_value, dtype=None, device=None, requires_grad=False)\n--\n\nA tensor of one number.\n\n" PD_EXAMPLE(
           "pd.full((2,), 7).tolist()", "[7, 7]"), "shape", "value", "dtype", "device", "requires_grad")
PD_DEF(kZerosLike, "zeros_like", zeros_like_body, 1, -1,
       "zeros_like(input, dtype=None, device=None, requires_grad=False, memory_format=None)\n--\n\nZeros of the shape, dtype and device of "
       "`input`.\n\n" PD_EXAMPLE("pd.zeros_like(pd.tensor([3, 4])).tolist()", "[0, 0]"), "input", "dtype", "device", "requires_grad", "memory_format")
PD_DEF(kOnesLike, "ones_like", ones_like_body, 1, -1,
       "ones_like(input, dtype=None, device=None, requires_grad=False, memory_format=None)\n--\n\nOnes of the shape, dtype and device of "
       "`input`.\n\n" PD_EXAMPLE("pd.ones_like(pd.tensor([3, 4])).tolist()", "[1, 1]"), "input", "dtype", "device", "requires_grad", "memory_format")
PD_DEF(kFullLike, "full_like", full_like_body, 2, -1,
       "full_like(input, fill_value, dtype=None, device=None, requires_grad=False, memory_format=None)\n--\n\nOne number, in the shape, dtype and "
       "device of `input`.\n\n" PD_EXAMPLE("pd.full_like(pd.tensor([3, 4]), 9).tolist()", "[9, 9]"),
       "input", "value", "dtype", "device", "requires_grad", "memory_format")
PD_DEF(kIota, "_iota", iota_body, 1, -1, "_iota(shape, device=None)\n--\n\nEach element's row-major index, int64.", "shape", "device")
PD_DEF(kDraw, "_draw", draw_body, 5, -1,
       "_draw(name, shape, stream, key, dtype, device=None)\n--\n\nNumbers of the random row `name`.", "name", "shape",
       "stream", "key", "dtype", "device")
PD_DEF(kSample, "_sample", sample_body, 4, -1,
       "_sample(name, parameters, stream, key)\n--\n\nSamples of the op `name`, one for each of its parameters.", "name",
       "parameters", "stream", "key")
PD_DEF(kCheckRange, "_check_range", check_range_body, 5, -1,
       "_check_range(input, low, high, flags, text)\n--\n\nThe input, if its elements lie in a range; otherwise an error.",
       "input", "low", "high", "flags", "text")

}  // namespace

void add_creation_methods(Methods& type, Methods& module) {
  function<kTensor>(module);
  function<kZeros>(module);
  function<kOnes>(module);
  function<kEmpty>(module);
  function<kFull>(module);
  function<kZerosLike>(module);
  function<kOnesLike>(module);
  function<kFullLike>(module);
  function<kIota>(module);
  function<kDraw>(module);
  function<kSample>(module);
  function<kCheckRange>(module);
  type.push_back(entry("to", to,
                       "to(*args, dtype=None, device=None, copy=False, non_blocking=False, memory_format=None)\n--\n\nThe value in another dtype, on "
                       "another device, or both, or like another tensor; self where nothing changes.\n\nA copy to a GPU never "
                       "waits for it, one to the CPU always does, so `non_blocking` changes nothing. `memory_format` is the order "
                       "of the elements in memory, by default that of the tensor.\n\n" PD_EXAMPLE(
                           "pd.tensor([1, 2]).to(pd.float32).tolist()", "[1.0, 2.0]")));
  type.push_back(entry("float", as_type<DType::F32>, "The value as float32."));
  type.push_back(entry("double", as_type<DType::F64>, "The value as float64."));
  type.push_back(entry("int", as_type<DType::I32>, "The value as int32."));
  type.push_back(entry("long", as_type<DType::I64>, "The value as int64."));
  type.push_back(entry("bool", as_type<DType::Bool>, "Whether each element differs from 0."));
  type.push_back(entry("byte", as_type<DType::U8>, "The value as uint8."));
  type.push_back(entry("char", as_type<DType::I8>, "The value as int8."));
  type.push_back(entry("short", as_type<DType::I16>, "The value as int16."));
  type.push_back(entry("half", as_type<DType::F16>, "The value as float16."));
  type.push_back(entry("bfloat16", as_type<DType::BF16>, "The value as bfloat16."));
}

}  // namespace binding
}  // namespace pd
