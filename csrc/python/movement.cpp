// Reshaping, reordering, cutting and joining. What PyTorch makes a view shares memory here too.
#include "python/args.h"
#include "python/autocast.h"
#include "python/convert.h"
#include "python/memory_formats.h"

namespace pd {
namespace binding {

namespace {

// The tensor an op is about: the object itself, since a view needs it, or a new one made of data.
struct Subject {
  py::object hold;
  TensorObject* t;
  Subject(const char* op, PyObject* o) {
    hold = is_tensor(o) ? py::reinterpret_borrow<py::object>(o) : wrapped(tensor_arg(op, o));
    t = as_tensor_object(hold.ptr());
  }
  const Var& var() const { return value_of(hold.ptr()); }
  int ndim() const { return var().shape().size(); }
};

PyObject* reshaped(const char* op, const Subject& s, const Shape& to, bool must_share) {
  Var v = reshape(s.var(), to);
  if (reshape_shares(s.t, v.shape())) {
    Steps steps;
    steps.push_back(Step{StepKind::Reshape, v.shape(), {}, {}});
    return make_view(s.t, std::move(steps), v);
  }
  if (must_share)
    fail(op, "the tensor's memory cannot be seen in this shape", to_string(s.var().shape()) + " as " + to_string(v.shape()),
         "reshape(…), which copies", ErrorKind::Runtime);
  return wrap(owned("reshape", v));
}

PyObject* reshape_body(PyObject** a) {
  return reshaped("reshape", Subject("reshape", a[0]), ints_arg("reshape", a[1], "a size"), false);
}
// The same bits as another type: a copy, made at once.
PyObject* bits_as(PyObject* self, DType d) {
  const Var& v = value_of(self);
  if (requires_grad(v))
    fail("view", "bits read as another type have no derivative", to_string(v.v->spec()), ".detach()", ErrorKind::Runtime);
  py::object array = to_numpy("view", v);
  if (v.shape().empty() && size_of(d) != size_of(v.dtype()))
    fail("view", "a 0-d tensor has one element, of its type's size", name_of(d), "a dtype of as many bytes", ErrorKind::Runtime);
  return wrap(from_array(called_method(array, "view", numpy_dtype(d)).ptr(), nullptr, v.device()));
}
PyObject* view_body(PyObject** a) {
  if (given(a[2])) return bits_as(a[0], dtype_arg(a[2]));
  if (!given(a[1])) fail("view", "a shape or a dtype is needed", "neither", "view(-1)", ErrorKind::Type);
  for (int k = 0; k < kNumDTypes; ++k)
    if (dtype_object(static_cast<DType>(k)) == a[1]) return bits_as(a[0], static_cast<DType>(k));
  return reshaped("view", Subject("view", a[0]), ints_arg("view", a[1], "a size"), true);
}

PyObject* flatten_body(PyObject** a) {
  Subject s("flatten", a[0]);
  Shape sh = s.var().shape();
  if (sh.empty()) return reshaped("flatten", s, {1}, false);
  int from = normalize_axis("flatten", given(a[1]) ? int_arg("flatten", a[1], "start_dim") : 0, sh.size());
  int to = normalize_axis("flatten", given(a[2]) ? int_arg("flatten", a[2], "end_dim") : -1, sh.size());
  if (from > to)
    fail("flatten", "start_dim comes after end_dim", std::to_string(from) + " and " + std::to_string(to),
         "start_dim <= end_dim", ErrorKind::Runtime);
  Shape out;
  for (int i = 0; i < sh.size(); ++i)
    if (i > from && i <= to) out.back() *= sh[i];
    else out.push_back(sh[i]);
  return reshaped("flatten", s, out, false);
}

PyObject* permuted(const Subject& s, Ints axes) { return make_view(s.t, Step{StepKind::Permute, std::move(axes), {}, {}}); }

PyObject* permute_body(PyObject** a) {
  Subject s("permute", a[0]);
  Ints axes = ints_arg("permute", a[1], "an axis");
  int n = s.ndim();
  Ints seen(n, 0);
  if (axes.size() != n)
    fail("permute", "one axis for each of the tensor's is needed", to_string(axes) + " for " + to_string(s.var().shape()),
         "a permutation of all axes", ErrorKind::Runtime);
  for (int64_t& k : axes) {
    k = normalize_axis("permute", k, n);
    if (seen[static_cast<int>(k)]++)
      fail("permute", "an axis comes twice", to_string(axes), "a permutation of all axes", ErrorKind::Runtime);
  }
  return permuted(s, axes);
}

PyObject* transpose_body(PyObject** a) {
  Subject s("transpose", a[0]);
  int n = s.ndim();
  int i = normalize_axis("transpose", int_arg("transpose", a[1], "dim0"), n);
  int j = normalize_axis("transpose", int_arg("transpose", a[2], "dim1"), n);
  Ints axes(n);
  for (int k = 0; k < n; ++k) axes[k] = k == i ? j : k == j ? i : k;
  return permuted(s, axes);
}

PyObject* t_body(PyObject** a) {
  Subject s("t", a[0]);
  int n = s.ndim();
  if (n > 2) fail("t", "only a matrix has a transpose", to_string(s.var().shape()), ".mT", ErrorKind::Runtime);
  return permuted(s, n == 2 ? Ints{1, 0} : n == 1 ? Ints{0} : Ints());
}

PyObject* squeeze_body(PyObject** a) {
  Subject s("squeeze", a[0]);
  Shape to, from = s.var().shape();
  Ints drop(from.size(), given(a[1]) ? 0 : 1);
  if (given(a[1]))
    for (int64_t d : ints_arg("squeeze", a[1], "dim")) {
      int k = normalize_axis("squeeze", d, from.size());
      if (k < from.size() && drop[k]) fail("squeeze", "an axis is given twice", to_string(ints_arg("squeeze", a[1], "dim")), "each axis once");
      if (k < from.size()) drop[k] = 1;
    }
  for (int i = 0; i < from.size(); ++i)
    if (from[i] != 1 || !drop[i]) to.push_back(from[i]);
  return reshaped("squeeze", s, to, true);
}

PyObject* unsqueeze_body(PyObject** a) {
  Subject s("unsqueeze", a[0]);
  Shape to = s.var().shape();
  Ints at = ints_arg("unsqueeze", a[1], "dim");
  for (int64_t d : at) to.insert(normalize_axis("unsqueeze", d, to.size() + 1), 1);
  return reshaped("unsqueeze", s, to, true);
}

PyObject* expanded(const Subject& s, const Shape& to) {
  Var v = expand(s.var(), to);
  Steps steps;
  steps.push_back(Step{StepKind::Expand, v.shape(), {}, {}});
  return make_view(s.t, std::move(steps), v);
}
PyObject* expand_body(PyObject** a) {
  return expanded(Subject("expand", a[0]), ints_arg("expand", a[1], "a size"));
}
PyObject* expand_as_body(PyObject** a) {
  return expanded(Subject("expand_as", a[0]), tensor_arg("expand_as", a[1]).shape());
}

PyObject* flip_body(PyObject** a) {
  Var x = tensor_arg("flip", a[0]);
  Ints axes;
  if (given(a[1])) {
    axes = ints_arg("flip", a[1], "an axis");
    for (int64_t& k : axes) k = normalize_axis("flip", k, x.shape().size());
  } else {
    for (int k = 0; k < x.shape().size(); ++k) axes.push_back(k);
  }
  return wrap(x.shape().empty() ? x : flip(x, axes));
}

// ---- parts

Step part(const Shape& s, int axis, int64_t from, int64_t to) {
  Step st{StepKind::Slice, Ints(s.size(), 0), s, Ints(s.size(), 1)};
  st.a[axis] = from;
  st.b[axis] = to;
  return st;
}

PyObject* narrow_body(PyObject** a) {
  Subject s("narrow", a[0]);
  const Shape& sh = s.var().shape();
  int axis = normalize_axis("narrow", int_arg("narrow", a[1], "dim"), sh.size());
  int64_t from = int_arg("narrow", a[2], "start"), len = int_arg("narrow", a[3], "length");
  if (sh.empty() || from < -sh[axis] || from > sh[axis])
    fail("narrow", "start out of range", std::to_string(from) + " for " + to_string(sh), "a start within the axis",
         ErrorKind::Index);
  if (from < 0) from += sh[axis];
  if (len < 0 || from + len > sh[axis])
    fail("narrow", "start + length passes the end", std::to_string(from) + " + " + std::to_string(len) + " for " + to_string(sh),
         "a shorter length", ErrorKind::Runtime);
  return make_view(s.t, part(sh, axis, from, from + len));
}

PyObject* select_body(PyObject** a) {
  Subject s("select", a[0]);
  Shape sh = s.var().shape();
  int axis = normalize_axis("select", int_arg("select", a[1], "dim"), sh.size());
  int64_t i = int_arg("select", a[2], "index");
  if (sh.empty() || i < -sh[axis] || i >= sh[axis])
    fail("select", "index out of range", std::to_string(i) + " for " + to_string(sh), "an index within the axis",
         ErrorKind::Index);
  if (i < 0) i += sh[axis];
  Steps steps;
  steps.push_back(part(sh, axis, i, i + 1));
  sh.erase(axis);
  steps.push_back(Step{StepKind::Reshape, sh, {}, {}});
  Var v = apply_steps(s.var(), steps);
  return make_view(s.t, std::move(steps), v);
}

// The diagonal of two axes as the last one: every (columns + 1)-th element of both together, from the one it begins with.
PyObject* diagonal_body(PyObject** a) {
  Subject s("diagonal", a[0]);
  int64_t offset = int_arg("diagonal", a[1], "offset");
  int n = s.ndim(), i = static_cast<int>(int_arg("diagonal", a[2], "dim1")), j = static_cast<int>(int_arg("diagonal", a[3], "dim2"));
  Ints order;
  for (int k = 0; k < n; ++k)
    if (k != i && k != j) order.push_back(k);
  order.push_back(i);
  order.push_back(j);
  Steps steps;
  steps.push_back(Step{StepKind::Permute, order, {}, {}});
  Shape sh = apply_step(s.var(), steps[0]).shape();
  int64_t rows = sh[n - 2], columns = sh[n - 1];
  int64_t count = std::max<int64_t>(0, std::min(rows + std::min<int64_t>(offset, 0), columns - std::max<int64_t>(offset, 0)));
  Shape flat = sh;
  flat.pop_back();
  flat.back() = rows * columns;
  steps.push_back(Step{StepKind::Reshape, flat, {}, {}});
  int64_t from = count ? (offset < 0 ? -offset * columns : offset) : 0;
  Step slice = part(flat, n - 2, from, count ? from + (count - 1) * (columns + 1) + 1 : 0);
  slice.c[n - 2] = columns + 1;
  steps.push_back(std::move(slice));
  Var v = apply_steps(s.var(), steps);
  return make_view(s.t, std::move(steps), v);
}

PyObject* pieces(const Subject& s, int axis, const Ints& sizes) {
  py::tuple out(static_cast<size_t>(sizes.size()));
  int64_t at = 0;
  Shape sh = s.var().shape();
  for (int i = 0; i < sizes.size(); ++i) {
    PyTuple_SET_ITEM(out.ptr(), i, make_view(s.t, part(sh, axis, at, at + sizes[i])));
    at += sizes[i];
  }
  return out.release().ptr();
}

PyObject* split_body(PyObject** a) {
  Subject s("split", a[0]);
  const Shape& sh = s.var().shape();
  int axis = normalize_axis("split", given(a[2]) ? int_arg("split", a[2], "dim") : 0, sh.size());
  if (sh.empty()) fail("split", "a 0-d tensor cannot be split", "", "reshape(1)", ErrorKind::Runtime);
  Ints sizes;
  if (PyIndex_Check(a[1])) {
    int64_t each = int_arg("split", a[1], "split_size"), n = sh[axis];
    if (each < 0 || (each == 0 && n)) fail("split", "the split size is positive", std::to_string(each), "1", ErrorKind::Runtime);
    for (int64_t at = 0; at < n; at += each) sizes.push_back(std::min(each, n - at));
    if (sizes.empty()) sizes.push_back(0);
  } else {
    sizes = ints_arg("split", a[1], "a section");
    int64_t total = 0;
    for (int64_t k : sizes) {
      if (k < 0) fail("split", "a section is 0 or more", to_string(sizes), "sections without negative sizes", ErrorKind::Runtime);
      total += k;
    }
    if (total != sh[axis])
      fail("split", "the sections do not add up to the axis", to_string(sizes) + " for " + std::to_string(sh[axis]),
           "sections of that sum", ErrorKind::Runtime);
  }
  return pieces(s, axis, sizes);
}

PyObject* chunk_body(PyObject** a) {
  Subject s("chunk", a[0]);
  const Shape& sh = s.var().shape();
  int64_t n = int_arg("chunk", a[1], "chunks");
  if (n <= 0 || sh.empty()) fail("chunk", "the number of chunks is positive", std::to_string(n), "1", ErrorKind::Runtime);
  int axis = normalize_axis("chunk", given(a[2]) ? int_arg("chunk", a[2], "dim") : 0, sh.size());
  int64_t each = std::max<int64_t>(1, (sh[axis] + n - 1) / n);
  Ints sizes;
  for (int64_t at = 0; at < sh[axis]; at += each) sizes.push_back(std::min(each, sh[axis] - at));
  if (sizes.empty()) sizes.push_back(0);
  return pieces(s, axis, sizes);
}

PyObject* unbind_body(PyObject** a) {
  Subject s("unbind", a[0]);
  Shape sh = s.var().shape();
  if (sh.empty()) fail("unbind", "a 0-d tensor has no parts", "", "reshape(1)", ErrorKind::Runtime);
  int axis = normalize_axis("unbind", given(a[1]) ? int_arg("unbind", a[1], "dim") : 0, sh.size());
  Shape less = sh;
  less.erase(axis);
  py::tuple out(static_cast<size_t>(sh[axis]));
  for (int64_t i = 0; i < sh[axis]; ++i) {
    Steps steps;
    steps.push_back(part(sh, axis, i, i + 1));
    steps.push_back(Step{StepKind::Reshape, less, {}, {}});
    Var v = apply_steps(s.var(), steps);
    PyTuple_SET_ITEM(out.ptr(), i, make_view(s.t, std::move(steps), v));
  }
  return out.release().ptr();
}

// ---- joining

template <Var (*F)(const Var*, int, int64_t)>
PyObject* joined(const char* op, PyObject** a) {
  std::vector<Var> in = tensors_arg(op, a[0]);
  DType d = result_type(in.data(), static_cast<int>(in.size()));
  for (Var& v : in) v = cast(v, d);
  return wrap(F(in.data(), static_cast<int>(in.size()), given(a[1]) ? int_arg(op, a[1], "dim") : 0));
}

// Are they all channels-last, and of one number of axes?
bool all_last(PyObject* list) {
  if (!PyTuple_Check(list) && !PyList_Check(list)) return false;
  int n = 0;
  for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(list); ++k) {
    PyObject* o = PySequence_Fast_GET_ITEM(list, k);
    if (!is_tensor(o) || !is_channels_last(as_tensor_object(o))) return false;
    int axes = value_of(o).shape().size();
    if (k && axes != n) return false;
    n = axes;
  }
  return n > 0;
}
PyObject* cat_body(PyObject** a) {
  if (!all_last(a[0])) return joined<concatenate>("cat", a);
  std::vector<Var> in = tensors_arg("cat", a[0]);
  DType d = result_type(in.data(), static_cast<int>(in.size()));
  int n = in[0].shape().size(), axis = normalize_axis("cat", given(a[1]) ? int_arg("cat", a[1], "dim") : 0, n);
  for (Var& v : in) v = to_last(cast(v, d));
  return wrap_last(concatenate(in.data(), static_cast<int>(in.size()), axis == 0 ? 0 : axis == 1 ? n - 1 : axis - 1));
}
PyObject* stack_body(PyObject** a) { return joined<stack>("stack", a); }

PyObject* pad_body(PyObject** a) {
  Var x = tensor_arg("pad", a[0]);
  Ints low = ints_arg("pad", a[1], "padding"), high = ints_arg("pad", a[2], "padding");
  double value = given(a[3]) ? float_arg("pad", a[3], "value") : 0.0;
  if (is_tensor(a[0]) && is_channels_last(as_tensor_object(a[0])))
    return wrap_last(pad(to_last(x), order_last(low), order_last(high), value));
  return wrap(pad(x, low, high, value));
}

// ---- memory

PyObject* contiguous_body(PyObject** a) {
  TensorObject* t = as_tensor_object(a[0]);
  Format f = format_arg("contiguous", a[1], Format::Contiguous);
  check_format("contiguous", value_of(a[0]).shape(), f);
  if (f == Format::Preserve)
    fail("contiguous", "preserve_format names no order", "preserve_format", "contiguous_format or channels_last", ErrorKind::Runtime);
  if (lies_in(t, f)) return same(a[0]);
  const Var v = owned("contiguous", value_of(a[0]));
  return f == Format::Contiguous ? wrap(v) : wrap_last(to_last(v));
}
PyObject* is_contiguous_body(PyObject** a) {
  return PyBool_FromLong(lies_in(as_tensor_object(a[0]), format_arg("is_contiguous", a[1], Format::Contiguous)));
}
PyObject* stride_body(PyObject** a) {
  value_of(a[0]);
  Ints st = strides_of(as_tensor_object(a[0]));
  if (!given(a[1])) return tuple_of(st);
  return PyLong_FromLongLong(st[normalize_axis("stride", int_arg("stride", a[1], "dim"), st.size())]);
}
PyObject* clone_body(PyObject** a) {
  Var v = owned("clone", tensor_arg("clone", a[0]));
  // An edge of its own, so that a hook on the copy is not one on the original.
  if (requires_grad(v)) v = grad_enabled() ? carry_tangents(make_leaf_var(v), v) : carry_tangents(detach(v), v);
  bool last = is_tensor(a[0]) && wants_last("clone", as_tensor_object(a[0]), format_arg("clone", a[1], Format::Preserve));
  return last ? wrap_last(to_last(v)) : wrap(v);
}

PyObject* matmul_body(PyObject** a) {
  Var x = tensor_arg("matmul", a[0]), y = tensor_arg("matmul", a[1]);
  return wrap(matmul(low(x), low(y)));
}

#define PD_EXAMPLE(call, result) ">>> import pydiff as pd\n>>> " call "\n" result "\n"
#define PD_DEF(id, name, body, req, var, doc, ...) constexpr Def id = {name, body, req, var, doc, {__VA_ARGS__}};

PD_DEF(kReshape, "reshape", reshape_body, 2, 1,
       "reshape(input, *shape)\n--\n\nThe same elements in another shape; one size may be -1. A view where the memory allows.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(2, 3).reshape(3, -1).shape)", "(3, 2)"), "input", "shape")
PD_DEF(kView, "view", view_body, 1, 1,
       "view(input, *shape, dtype=None)\n--\n\nThe same memory in another shape. Raises RuntimeError where that cannot be.\n\nOf a "
       "dtype in place of a shape: the same bits as elements of it, a copy that is computed at once; the last axis is as many times "
       "longer as elements are smaller.\n\n" PD_EXAMPLE("tuple(pd.zeros(2, 3).view(-1).shape)", "(6,)"), "input", "shape", "dtype")
PD_DEF(kFlatten, "flatten", flatten_body, 1, -1,
       "flatten(input, start_dim=0, end_dim=-1)\n--\n\nThe axes from start_dim to end_dim joined into one.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(2, 3, 4).flatten(1).shape)", "(2, 12)"), "input", "start_dim", "end_dim")
PD_DEF(kPermute, "permute", permute_body, 2, 1,
       "permute(input, *dims)\n--\n\nThe axes in another order; a view.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(2, 3, 4).permute(2, 0, 1).shape)", "(4, 2, 3)"), "input", "dims")
PD_DEF(kTranspose, "transpose", transpose_body, 3, -1,
       "transpose(input, dim0, dim1)\n--\n\nTwo axes swapped; a view.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(2, 3).transpose(0, 1).shape)", "(3, 2)"), "input", "dim0", "dim1")
PD_DEF(kSwapaxes, "swapaxes", transpose_body, 3, -1,
       "swapaxes(input, dim0, dim1)\n--\n\nTwo axes swapped; a view.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(2, 3).swapaxes(0, 1).shape)", "(3, 2)"), "input", "dim0", "dim1")
PD_DEF(kT, "t", t_body, 1, -1,
       "t(input)\n--\n\nThe transpose of a matrix; a view.\n\n" PD_EXAMPLE("tuple(pd.zeros(2, 3).t().shape)", "(3, 2)"), "input")
PD_DEF(kSqueeze, "squeeze", squeeze_body, 1, 1,
       "squeeze(input, dim=None)\n--\n\nWithout its axes of size 1, or without those among `dim`; a view.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(1, 3, 1).squeeze().shape)", "(3,)"), "input", "dim")
PD_DEF(kUnsqueeze, "unsqueeze", unsqueeze_body, 2, -1,
       "unsqueeze(input, dim)\n--\n\nA new axis of size 1 at `dim`; a view.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(3).unsqueeze(-1).shape)", "(3, 1)"), "input", "dim")
PD_DEF(kExpand, "expand", expand_body, 2, 1,
       "expand(input, *shape)\n--\n\nAxes of size 1 repeated without copying; -1 keeps a size, new axes come first.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(3, 1).expand(2, -1, 4).shape)", "(2, 3, 4)"), "input", "shape")
PD_DEF(kBroadcastTo, "broadcast_to", expand_body, 2, 1,
       "broadcast_to(input, shape)\n--\n\nBroadcast to a shape without copying.\n\n" PD_EXAMPLE(
           "tuple(pd.broadcast_to(pd.zeros(3), (2, 3)).shape)", "(2, 3)"), "input", "shape")
PD_DEF(kExpandAs, "expand_as", expand_as_body, 2, -1,
       "expand_as(input, other)\n--\n\nExpanded to the shape of `other`.\n\n" PD_EXAMPLE(
           "tuple(pd.zeros(1).expand_as(pd.zeros(4)).shape)", "(4,)"), "input", "other")
PD_DEF(kFlip, "flip", flip_body, 1, 1,
       "flip(input, dims=None)\n--\n\nThe elements along `dims` in reverse order; a copy.\n\n" PD_EXAMPLE(
           "pd.tensor([1, 2, 3]).flip(0).tolist()", "[3, 2, 1]"), "input", "dims")
PD_DEF(kNarrow, "narrow", narrow_body, 4, -1,
       "narrow(input, dim, start, length)\n--\n\nThe part of an axis from `start`, of `length`; a view.\n\n" PD_EXAMPLE(
           "pd.tensor([1, 2, 3]).narrow(0, 1, 2).tolist()", "[2, 3]"), "input", "dim", "start", "length")
PD_DEF(kSelect, "select", select_body, 3, -1,
       "select(input, dim, index)\n--\n\nOne position of an axis, which goes away; a view.\n\n" PD_EXAMPLE(
           "pd.tensor([1, 2, 3]).select(0, 2).item()", "3"), "input", "dim", "index")
PD_DEF(kSplit, "split", split_body, 2, -1,
       "split(input, split_size_or_sections, dim=0)\n--\n\nParts of one size (the last may be smaller) or of the given "
       "sizes; a tuple of views.\n\n" PD_EXAMPLE("[p.tolist() for p in pd.tensor([1, 2, 3]).split(2)]", "[[1, 2], [3]]"),
       "input", "split_size_or_sections", "dim")
PD_DEF(kChunk, "chunk", chunk_body, 2, -1,
       "chunk(input, chunks, dim=0)\n--\n\nAt most `chunks` parts of equal size; a tuple of views.\n\n" PD_EXAMPLE(
           "[p.tolist() for p in pd.tensor([1, 2, 3]).chunk(2)]", "[[1, 2], [3]]"), "input", "chunks", "dim")
PD_DEF(kUnbind, "unbind", unbind_body, 1, -1,
       "unbind(input, dim=0)\n--\n\nAll positions of an axis, which goes away; a tuple of views.\n\n" PD_EXAMPLE(
           "[p.item() for p in pd.tensor([1, 2]).unbind()]", "[1, 2]"), "input", "dim")
PD_DEF(kCat, "cat", cat_body, 1, -1,
       "cat(tensors, dim=0)\n--\n\nTensors joined along an axis.\n\n" PD_EXAMPLE(
           "pd.cat([pd.tensor([1]), pd.tensor([2, 3])]).tolist()", "[1, 2, 3]"), "tensors", "dim")
PD_DEF(kStack, "stack", stack_body, 1, -1,
       "stack(tensors, dim=0)\n--\n\nTensors of one shape joined along a new axis.\n\n" PD_EXAMPLE(
           "pd.stack([pd.tensor([1]), pd.tensor([2])]).tolist()", "[[1], [2]]"), "tensors", "dim")
PD_DEF(kPad, "_pad", pad_body, 3, -1, "_pad(input, low, high, value=0)\n--\n\nAdds `low` and `high` elements to each axis.",
       "input", "low", "high", "value")
PD_DEF(kContiguous, "contiguous", contiguous_body, 1, -1,
       "contiguous(self, memory_format=None)\n--\n\nself where its memory is in order of the axes, or in that of the "
       "memory format, else a copy that is.", "input", "memory_format")
PD_DEF(kIsContiguous, "is_contiguous", is_contiguous_body, 1, -1,
       "is_contiguous(self, memory_format=None)\n--\n\nWhether its memory is in order of the axes, or in that of the "
       "memory format.", "input", "memory_format")
PD_DEF(kStride, "stride", stride_body, 1, -1,
       "stride(self, dim=None)\n--\n\nDistance in memory from one position of an axis to the next, in elements.", "input", "dim")
PD_DEF(kClone, "clone", clone_body, 1, -1,
       "clone(input, memory_format=None)\n--\n\nA tensor of the same value that shares memory with none; taped.\n\n" PD_EXAMPLE(
           "pd.tensor([1]).clone().tolist()", "[1]"), "input", "memory_format")
PD_DEF(kDiagonal, "_diagonal", diagonal_body, 4, -1, "_diagonal(input, offset, dim1, dim2)\n--\n\nOf pydiff.diagonal.", "input", "offset", "dim1",
       "dim2")
PD_DEF(kMatmul, "matmul", matmul_body, 2, -1,
       "matmul(input, other)\n--\n\nMatrix product over the last two axes, the others broadcast; vectors stand for a row or a "
       "column.\n\n" PD_EXAMPLE("tuple(pd.matmul(pd.zeros(5, 2, 3), pd.zeros(3, 4)).shape)", "(5, 2, 4)"), "input", "other")

}  // namespace

void add_movement_methods(Methods& type, Methods& module) {
  both<kReshape>(type, module);
  method<kView>(type);
  both<kFlatten>(type, module);
  both<kPermute>(type, module);
  both<kTranspose>(type, module);
  both<kSwapaxes>(type, module);
  both<kT>(type, module);
  both<kSqueeze>(type, module);
  both<kUnsqueeze>(type, module);
  method<kExpand>(type);
  both<kBroadcastTo>(type, module);
  method<kExpandAs>(type);
  both<kFlip>(type, module);
  both<kNarrow>(type, module);
  both<kSelect>(type, module);
  both<kSplit>(type, module);
  both<kChunk>(type, module);
  both<kUnbind>(type, module);
  function<kCat>(module);
  function<kStack>(module);
  function<kPad>(module);
  function<kDiagonal>(module);
  method<kContiguous>(type);
  method<kIsContiguous>(type);
  method<kStride>(type);
  both<kClone>(type, module);
  both<kMatmul>(type, module);
}

}  // namespace binding
}  // namespace pd
