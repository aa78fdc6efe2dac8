// x[…] and x[…] = v.
//
// An index is parsed once into a basic part, which is a list of steps (views.h), and the advanced
// indices that apply to axes of what the basic part gives. Integers select before arrays do, as in PyTorch.
#include "python/args.h"
#include "python/convert.h"
#include "python/memory_formats.h"
#include "python/views.h"
#include "ops/element.h"  // after pybind11, whose names its macros would meet

namespace pd {
namespace binding {

namespace {

struct Parsing {
  Steps steps;            // the basic part
  Var part;               // what it gives
  std::vector<Var> index; // advanced, int64
  Ints axes;              // of `part`, one an index
  Var mask;               // the one advanced index where it is a mask, before nonzero
  int mask_axis = 0;
};

[[noreturn]] void bad_item(PyObject* o) {
  fail("index", "an index is an integer, a slice, None, ..., or an array of integers or booleans", Py_TYPE(o)->tp_name,
       "tensor(index)", ErrorKind::Index);
}

// The positions where a mask is true, one index tensor an axis.
std::vector<Var> positions(const Var& mask) {
  ensure("index", mask);
  BufferRef b = host_buffer("index", mask);
  const auto* m = static_cast<const uint8_t*>(b->data);
  int64_t n = mask.v->size(), count = 0;
  for (int64_t i = 0; i < n; ++i) count += m[i] != 0;
  int nd = mask.shape().size();
  std::vector<Var> out;
  std::vector<int64_t*> dst;
  for (int k = 0; k < nd; ++k) {
    BufferRef ib = BufferRef::adopt(new_buffer(DeviceId{}, static_cast<size_t>(count) * 8));
    dst.push_back(static_cast<int64_t*>(ib->data));
    out.push_back(Var(make_leaf(Spec{{count}, DType::I64, DeviceId{}}, ib.get())));
  }
  Ints st = contiguous_strides(mask.shape());
  for (int64_t i = 0, at = 0; i < n; ++i) {
    if (!m[i]) continue;
    for (int k = 0; k < nd; ++k) dst[static_cast<size_t>(k)][at] = i / st[k] % mask.shape()[k];
    ++at;
  }
  if (mask.device().kind != DeviceKind::Cpu)
    for (Var& v : out) v = from_data("index", wrapped(v).ptr(), nullptr, mask.device());
  return out;
}

// The tensor that an item of an index stands for; empty: it is none of array, list and tensor.
Var array_item(PyObject* o, DeviceId device) {
  Var v;
  if (is_tensor(o)) v = value_of(o);
  else if (PyList_Check(o) && PyList_GET_SIZE(o) == 0) return zeros({0}, DType::I64, device);
  else if (PyList_Check(o) || PyTuple_Check(o) || PyRange_Check(o) || is_numpy(o)) v = from_data("index", o, nullptr, device);
  else return Var();
  if (!is_bool(v.dtype()) && !is_integer(v.dtype()))
    fail("index", "an index tensor holds integers or booleans", name_of(v.dtype()), ".long()", ErrorKind::Index);
  return v;
}

struct Axis {  // one axis of the part, in the making
  int64_t size;
  bool keep;
};

Parsing parse_index(const Var& x, PyObject* key) {
  Parsing p;
  PyObject* one[1] = {key};
  PyObject* const* items = one;
  Py_ssize_t n = 1;
  if (PyTuple_Check(key)) {
    items = PySequence_Fast_ITEMS(key);
    n = PyTuple_GET_SIZE(key);
  }
  std::vector<PyObject*> replaced;
  std::vector<py::object> owned;
  const Shape& shape = x.shape();
  int nd = shape.size();

  // How many axes the items take, so that an ellipsis knows its share.
  std::vector<Var> arrays(static_cast<size_t>(n));
  int taken = 0, many = 0;
  bool dots = false;
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = items[i];
    if (o == Py_Ellipsis) {
      if (dots) fail("index", "an index has one ellipsis at most", "two", "one ...", ErrorKind::Index);
      dots = true;
    } else if (o == Py_None || PyBool_Check(o)) {
    } else if (PyLong_Check(o) || PySlice_Check(o)) {
      ++taken;
    } else {
      Var v = array_item(o, x.device());
      if (!v) {
        if (!PyIndex_Check(o)) bad_item(o);
        ++taken;
        continue;
      }
      taken += is_bool(v.dtype()) ? v.shape().size() : 1;
      arrays[static_cast<size_t>(i)] = v;
      ++many;
    }
  }
  // Beside other arrays a 0-d one selects, as an integer does; alone it need not be looked at.
  for (Py_ssize_t i = 0; i < n && many > 1; ++i) {
    Var& v = arrays[static_cast<size_t>(i)];
    if (!v || !v.shape().empty() || is_bool(v.dtype()) || v.v->abstract) continue;
    if (replaced.empty()) replaced.assign(items, items + n);
    owned.push_back(item("index", v));
    replaced[static_cast<size_t>(i)] = owned.back().ptr();
    v = Var();
  }
  if (!replaced.empty()) items = replaced.data();
  if (taken > nd)
    fail("index", "too many indices", std::to_string(taken) + " for " + to_string(shape), std::to_string(nd) + " at most",
         ErrorKind::Index);

  Step cut{StepKind::Slice, Ints(nd, 0), shape, Ints(nd, 1)};
  Step turn{StepKind::Flip, {}, {}, {}};
  std::vector<Axis> axes;  // of the part, with those that integers drop
  Shape inner;             // of the part before that
  Ints empties;            // new axes that False makes empty
  bool sliced = false, reshaped = false;
  int at = 0;
  auto whole = [&](int count) {
    for (int k = 0; k < count; ++k, ++at) axes.push_back({shape[at], true});
  };
  struct Pending {
    Var v;
    size_t axis;  // in `axes`
  };
  std::vector<Pending> advanced;

  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* o = items[i];
    if (o == Py_Ellipsis) {
      whole(nd - taken);
    } else if (o == Py_None) {
      axes.push_back({1, true});
      reshaped = true;
    } else if (arrays[static_cast<size_t>(i)]) {
      Var v = arrays[static_cast<size_t>(i)];
      if (is_bool(v.dtype()) && v.shape().empty()) {
        axes.push_back({1, true});
        reshaped = true;
        if (!PyObject_IsTrue(item("index", v).ptr())) empties.push_back(static_cast<int64_t>(axes.size()) - 1);
        continue;
      }
      advanced.push_back({v, axes.size()});
      if (is_bool(v.dtype())) {
        for (int k = 0; k < v.shape().size(); ++k)
          if (v.shape()[k] != shape[at + k])
            fail("index", "the mask's shape differs from the tensor's", to_string(v.shape()) + " on " + to_string(shape),
                 "a mask of the same sizes", ErrorKind::Index);
        whole(v.shape().size());
      } else {
        whole(1);
      }
    } else if (PyBool_Check(o)) {
      axes.push_back({1, true});
      reshaped = true;
      if (o == Py_False) empties.push_back(static_cast<int64_t>(axes.size()) - 1);
    } else if (PySlice_Check(o)) {
      Py_ssize_t start, stop, step;
      if (PySlice_Unpack(o, &start, &stop, &step) < 0) {
        PyErr_Clear();
        fail("index", "a slice has whole numbers and a step that is not zero", std::string(py::repr(py::handle(o))), "x[::1]");
      }
      Py_ssize_t len = PySlice_AdjustIndices(shape[at], &start, &stop, step);
      if (len == 0) {
        cut.a[at] = cut.b[at] = 0;
      } else if (step > 0) {
        cut.a[at] = start;
        cut.b[at] = stop;
        cut.c[at] = step;
      } else {
        cut.a[at] = start + (len - 1) * step;
        cut.b[at] = start + 1;
        cut.c[at] = -step;
        turn.a.push_back(at);
      }
      if (len == 1) cut.c[at] = 1, cut.b[at] = cut.a[at] + 1;
      sliced |= len != shape[at];
      axes.push_back({len, true});
      ++at;
    } else {
      int64_t k = int_arg("index", o, "an index");
      if (k < -shape[at] || k >= shape[at])
        fail("index", "index out of range", std::to_string(k) + " for axis " + std::to_string(at) + " of size " + std::to_string(shape[at]),
             "an index from " + std::to_string(-shape[at]) + " to " + std::to_string(shape[at] - 1), ErrorKind::Index);
      cut.a[at] = k < 0 ? k + shape[at] : k;
      cut.b[at] = cut.a[at] + 1;
      sliced |= shape[at] != 1;
      reshaped = true;
      axes.push_back({1, false});
      ++at;
    }
  }
  whole(nd - at);

  Shape to;
  std::vector<int> place(axes.size() + 1);
  for (size_t k = 0; k < axes.size(); ++k) {
    place[k] = to.size();
    if (axes[k].keep) to.push_back(axes[k].size);
  }
  if (sliced) p.steps.push_back(cut);
  if (!turn.a.empty()) p.steps.push_back(turn);
  if (reshaped) p.steps.push_back(Step{StepKind::Reshape, to, {}, {}});
  if (!empties.empty()) {
    Step none{StepKind::Slice, Ints(to.size(), 0), to, Ints(to.size(), 1)};
    for (int64_t k : empties) none.b[place[static_cast<size_t>(k)]] = 0;
    p.steps.push_back(none);
  }
  p.part = apply_steps(x, p.steps);

  if (advanced.size() == 1 && is_bool(advanced[0].v.dtype())) {
    p.mask = advanced[0].v;
    p.mask_axis = place[advanced[0].axis];
    return p;
  }
  for (Pending& a : advanced) {
    int k = place[a.axis];
    if (is_bool(a.v.dtype())) {
      for (Var& v : positions(a.v)) {
        p.index.push_back(v);
        p.axes.push_back(k++);
      }
    } else {
      p.index.push_back(cast(a.v, DType::I64));
      p.axes.push_back(k);
    }
  }
  return p;
}

void spread_mask(Parsing& p) {
  if (!p.mask) return;
  int k = p.mask_axis;
  for (Var& v : positions(p.mask)) {
    p.index.push_back(v);
    p.axes.push_back(k++);
  }
}

// Indexed axes to the front; where the results' axes go back to afterwards (NumPy's rule: the place of
// the first where the indexed axes are neighbours, else the front).
struct Order {
  Ints to_front;
  bool moved = false;
  int at = 0;
};
Order order_of(const Parsing& p) {
  Order o;
  int nd = p.part.shape().size();
  Ints indexed(nd, 0);
  bool neighbours = true;
  for (int k = 0; k < p.axes.size(); ++k) {
    indexed[static_cast<int>(p.axes[k])] = 1;
    o.to_front.push_back(p.axes[k]);
    if (k && p.axes[k] != p.axes[k - 1] + 1) neighbours = false;
  }
  for (int k = 0; k < nd; ++k)
    if (!indexed[k]) o.to_front.push_back(k);
  for (int k = 0; k < nd; ++k) o.moved |= o.to_front[k] != k;
  o.at = neighbours ? static_cast<int>(p.axes[0]) : 0;
  return o;
}

Shape joint_shape(const std::vector<Var>& index) {
  Shape s;
  for (const Var& v : index) s = broadcast("index", s, v.shape());
  return s;
}

// Axes [0, count) moved behind the `at` axes that follow them.
Ints rotated(int nd, int count, int at) {
  Ints axes;
  for (int k = 0; k < at; ++k) axes.push_back(count + k);
  for (int k = 0; k < count; ++k) axes.push_back(k);
  for (int k = count + at; k < nd; ++k) axes.push_back(k);
  return axes;
}

Var read_advanced(Parsing& p) {
  spread_mask(p);
  Order o = order_of(p);
  Var z = o.moved ? permute(p.part, o.to_front) : p.part;
  Var r = index(z, p.index.data(), static_cast<int>(p.index.size()));
  int count = joint_shape(p.index).size();
  return o.at && count ? permute(r, rotated(r.shape().size(), count, o.at)) : r;
}

// A value as the elements of `shape` that it is written over; leading axes of size 1 may go.
Var fitted(const Var& value, const Shape& shape, const char* op) {
  Var v = value;
  while (v.shape().size() > shape.size() && v.shape()[0] == 1) {
    Shape s = v.shape();
    s.erase(0);
    v = reshape(v, s);
  }
  bool fits = v.shape().size() <= shape.size();
  int off = shape.size() - v.shape().size();
  for (int k = 0; fits && k < v.shape().size(); ++k) fits = v.shape()[k] == 1 || v.shape()[k] == shape[off + k];
  if (!fits)
    fail(op, "the value does not broadcast to the part that it is written to",
         to_string(value.shape()) + " for " + to_string(shape), "a value of that shape", ErrorKind::Runtime);
  return v.shape() == shape ? v : expand(v, shape);
}

Var write_mask(const Parsing& p, const Var& value) {
  Shape m = p.mask.shape();
  const Shape& whole = p.part.shape();
  int rest = whole.size() - p.mask_axis - m.size();
  for (int k = 0; k < rest; ++k) m.push_back(1);
  return select_where(expand(reshape(p.mask, m), whole), expand(value, whole), p.part);
}

Var write_advanced(Parsing& p, const Var& value) {
  if (p.mask) {
    int rest = p.part.shape().size() - p.mask_axis - p.mask.shape().size();
    if (value.shape().size() <= rest) return write_mask(p, value);
    if (value.v->size() == 1) return write_mask(p, reshape(value, {}));
  }
  spread_mask(p);
  Order o = order_of(p);
  Var z = o.moved ? permute(p.part, o.to_front) : p.part;
  Shape joint = joint_shape(p.index), tail(z.shape().data() + p.index.size(), z.shape().size() - static_cast<int>(p.index.size()));
  int count = joint.size(), nd = count + tail.size();
  Shape natural = joint;
  for (int64_t d : tail) natural.push_back(d);
  Ints turn = rotated(nd, count, o.at);
  Shape shown(nd);
  for (int k = 0; k < nd; ++k) shown[k] = natural[static_cast<int>(turn[k])];
  Var v = fitted(value, shown, "index_put");
  Ints back(nd);
  for (int k = 0; k < nd; ++k) back[static_cast<int>(turn[k])] = k;
  if (o.at && count) v = permute(v, back);
  Var r = index_put(z, p.index.data(), static_cast<int>(p.index.size()), v, false);
  if (!o.moved) return r;
  Ints inverse(o.to_front.size());
  for (int k = 0; k < inverse.size(); ++k) inverse[static_cast<int>(o.to_front[k])] = k;
  return permute(r, inverse);
}

PyObject* get(PyObject* self, PyObject* key) {
  TensorObject* t = as_tensor_object(self);
  Parsing p = parse_index(value_of(self), key);
  if (p.mask || !p.index.empty()) return wrap(read_advanced(p));
  return make_view(t, std::move(p.steps), std::move(p.part));
}

void set(PyObject* self, PyObject* key, PyObject* value) {
  TensorObject* t = as_tensor_object(self);
  if (!value) fail("index", "elements of a tensor cannot be deleted", "del x[i]", "a mask, x[keep]", ErrorKind::Type);
  const Var x = value_of(self);
  Parsing p = parse_index(x, key);
  // x[i] += v: the view that += has written through is now assigned to its own place.
  if (!p.mask && p.index.empty() && is_tensor(value) && is_view_of(as_tensor_object(value), t, p.steps)) return;
  check_writable("setitem", t);
  Var v = is_tensor(value) || PyFloat_Check(value) || PyLong_Check(value) ? operand("setitem", value, x.device())
                                                                           : from_data("setitem", value, nullptr, x.device());
  v = as_element("setitem", owned("setitem", v), x.dtype());
  Var part = p.mask || !p.index.empty() ? write_advanced(p, v) : fitted(v, p.part.shape(), "setitem");
  if (p.steps.empty()) assign("setitem", t, part);
  else assign_part("setitem", t, p.steps, part);
  if (over_bound()) flush();
}

// ---- slots

PyObject* subscript(PyObject* self, PyObject* key) {
  return guarded([&] { return get(self, key); });
}
int ass_subscript(PyObject* self, PyObject* key, PyObject* value) {
  return guarded_int([&] { set(self, key, value); });
}

Py_ssize_t length(PyObject* self) {
  Py_ssize_t n = -1;
  int rc = guarded_int([&] {
    const Shape& s = value_of(self).shape();
    if (s.empty()) fail("len", "a 0-d tensor has no length", "()", ".numel()", ErrorKind::Type);
    n = s[0];
  });
  return rc ? -1 : n;
}

PyObject* seq_item(PyObject* self, Py_ssize_t i) {
  return guarded([&]() -> PyObject* {
    const Shape& s = value_of(self).shape();
    if (s.empty() || i < 0 || i >= s[0]) {
      PyErr_SetString(PyExc_IndexError, "[index] index out of range");
      return nullptr;
    }
    py::object key = py::int_(i);
    return get(self, key.ptr());
  });
}

PyObject* iterate(PyObject* self) {
  return guarded([&] {
    if (value_of(self).shape().empty())
      fail("iter", "a 0-d tensor has no elements to go through", "()", ".item()", ErrorKind::Type);
    return checked(PySeqIter_New(self));
  });
}

// ---- gathering and scattering by name

int axis_of(const char* op, const Var& x, PyObject* dim) {
  return normalize_axis(op, int_arg(op, dim, "dim"), x.shape().size());
}

// Whole numbers; of none the dtype does not matter.
Var index_arg(const char* op, PyObject* o) {
  Var i = tensor_arg(op, o);
  if (!is_integer(i.dtype()) && i.v->size())
    fail(op, "an index must be of whole numbers", name_of(i.dtype()), is_bool(i.dtype()) ? "mask.nonzero()" : "idx.long()",
         ErrorKind::Type);
  return cast(i, DType::I64);
}

PyObject* gather_body(PyObject** a) {
  Var x = tensor_arg("gather", a[0]);
  return wrap(gather(x, axis_of("gather", x, a[1]), index_arg("gather", a[2])));
}
PyObject* scattered(const char* op, PyObject** a, bool accumulate) {
  Var x = tensor_arg(op, a[0]), idx = index_arg(op, a[2]);
  Var src = cast(operand(op, a[3], x.device()), x.dtype());
  if (src.shape().empty() && !idx.shape().empty()) src = expand(src, idx.shape());
  return wrap(scatter(x, axis_of(op, x, a[1]), idx, src, accumulate));
}
PyObject* scatter_body(PyObject** a) { return scattered("scatter", a, false); }
PyObject* scatter_add_body(PyObject** a) { return scattered("scatter_add", a, true); }
PyObject* index_select_body(PyObject** a) {
  Var x = tensor_arg("index_select", a[0]);
  Var at = index_arg("index_select", a[2]);
  if (at.shape().size() > 1)
    fail("index_select", "the index is a vector", to_string(at.shape()), "x[index] or take_along_dim");
  return wrap(take(x, at, axis_of("index_select", x, a[1])));
}
PyObject* index_put_body(PyObject** a) {
  Var x = tensor_arg("index_put", a[0]);
  std::vector<Var> idx = tensors_arg("index_put", a[1]);
  for (Var& i : idx) {
    if (is_bool(i.dtype())) fail("index_put", "the indices are integers", "a mask", "x[mask] = v", ErrorKind::Index);
    if (!is_integer(i.dtype()) && i.v->size())
      fail("index_put", "an index must be of whole numbers", name_of(i.dtype()), "idx.long()", ErrorKind::Type);
    i = cast(i, DType::I64);
  }
  Shape to = joint_shape(idx);
  for (int k = static_cast<int>(idx.size()); k < x.shape().size(); ++k) to.push_back(x.shape()[k]);
  Var v = fitted(cast(operand("index_put", a[2], x.device()), x.dtype()), to, "index_put");
  return wrap(index_put(x, idx.data(), static_cast<int>(idx.size()), v, bool_arg(a[3], false)));
}
PyObject* masked_fill_body(PyObject** a) {
  Var x = tensor_arg("masked_fill", a[0]), m = tensor_arg("masked_fill", a[1]);
  Var v = operand("masked_fill", a[2], x.device());
  if (!v.shape().empty())
    fail("masked_fill", "the value is one number", to_string(v.shape()), "where(mask, value, x)", ErrorKind::Runtime);
  return wrap(select_where(m, as_element("masked_fill", v, x.dtype()), x));
}
PyObject* nonzero_body(PyObject** a) {
  Var x = tensor_arg("nonzero", a[0]);
  if (!is_bool(x.dtype())) x = binary(op::ne, x, number(int64_t{0}, x.device()));
  bool tuple = bool_arg(a[1], false);
  if (x.shape().empty()) x = reshape(x, {1});
  std::vector<Var> idx = positions(x);
  if (!tuple) return wrap(stack(idx.data(), static_cast<int>(idx.size()), 1));
  py::tuple out(idx.size());
  for (size_t k = 0; k < idx.size(); ++k) PyTuple_SET_ITEM(out.ptr(), static_cast<Py_ssize_t>(k), wrap(idx[k]));
  return out.release().ptr();
}
PyObject* clamp_body(PyObject** a) {
  Var x = tensor_arg("clamp", a[0]), lo, hi;
  if (given(a[1])) lo = operand("clamp", a[1], x.device());
  if (given(a[2])) hi = operand("clamp", a[2], x.device());
  Var in[3] = {x, lo, hi};
  bool last = turn_operands(a, in, 3);
  Var out = clamp(in[0], lo ? &in[1] : nullptr, hi ? &in[2] : nullptr);
  return last ? wrap_last(out) : wrap(out);
}

#define PD_EXAMPLE(call, result) ">>> import pydiff as pd\n>>> " call "\n" result "\n"
#define PD_DEF(id, name, body, req, doc, ...) constexpr Def id = {name, body, req, -1, doc, {__VA_ARGS__}};

PD_DEF(kGather, "gather", gather_body, 3,
       "gather(input, dim, index)\n--\n\nout[i][j] = input[index[i][j]][j] for dim = 0, and likewise.\n\n" PD_EXAMPLE(
           "pd.tensor([[1, 2], [3, 4]]).gather(1, pd.tensor([[1], [0]])).tolist()", "[[2], [3]]"), "input", "dim", "index")
PD_DEF(kScatter, "scatter", scatter_body, 4,
       "scatter(input, dim, index, src)\n--\n\n`input` with out[index[i][j]][j] = src[i][j] for dim = 0, and likewise.\n\n" PD_EXAMPLE(
           "pd.zeros(3).scatter(0, pd.tensor([1]), 5.0).tolist()", "[0.0, 5.0, 0.0]"), "input", "dim", "index", "src")
PD_DEF(kScatterAdd, "scatter_add", scatter_add_body, 4,
       "scatter_add(input, dim, index, src)\n--\n\n`input` with out[index[i][j]][j] += src[i][j] for dim = 0, and likewise.\n\n" PD_EXAMPLE(
           "pd.zeros(2).scatter_add(0, pd.tensor([1, 1]), pd.ones(2)).tolist()", "[0.0, 2.0]"), "input", "dim", "index", "src")
PD_DEF(kIndexSelect, "index_select", index_select_body, 3,
       "index_select(input, dim, index)\n--\n\nThe positions `index` of an axis.\n\n" PD_EXAMPLE(
           "pd.tensor([5, 6, 7]).index_select(0, pd.tensor([2, 0])).tolist()", "[7, 5]"), "input", "dim", "index")
PD_DEF(kIndexPut, "index_put", index_put_body, 3,
       "index_put(input, indices, values, accumulate=False)\n--\n\n`input` with `values` put, or added, at integer indices of "
       "its first axes.\n\n" PD_EXAMPLE("pd.zeros(2).index_put((pd.tensor([1]),), 3.0).tolist()", "[0.0, 3.0]"),
       "input", "index", "values", "accumulate")
PD_DEF(kMaskedFill, "masked_fill", masked_fill_body, 3,
       "masked_fill(input, mask, value)\n--\n\n`value` where the mask is true.\n\n" PD_EXAMPLE(
           "pd.tensor([1, 2]).masked_fill(pd.tensor([True, False]), 0).tolist()", "[0, 2]"), "input", "mask", "value")
PD_DEF(kNonzero, "nonzero", nonzero_body, 1,
       "nonzero(input, as_tuple=False)\n--\n\nWhere the elements are not zero: (count, ndim), or one tensor an axis. Computes "
       "at once.\n\n" PD_EXAMPLE("pd.tensor([0, 5, 6]).nonzero().tolist()", "[[1], [2]]"), "input", "as_tuple")
PD_DEF(kClamp, "clamp", clamp_body, 1,
       "clamp(input, min=None, max=None)\n--\n\nRaised to `min` and lowered to `max`.\n\n" PD_EXAMPLE(
           "pd.tensor([-2, 2]).clamp(0, 1).tolist()", "[0, 1]"), "input", "min", "max")
PD_DEF(kClip, "clip", clamp_body, 1,
       "clip(input, min=None, max=None)\n--\n\nThe same as `clamp`.\n\n" PD_EXAMPLE("pd.tensor([-2, 2]).clip(0, 1).tolist()", "[0, 1]"),
       "input", "min", "max")

}  // namespace

void add_index_slots(std::vector<PyType_Slot>& slots) {
  slots.push_back({Py_mp_subscript, reinterpret_cast<void*>(subscript)});
  slots.push_back({Py_mp_ass_subscript, reinterpret_cast<void*>(ass_subscript)});
  slots.push_back({Py_mp_length, reinterpret_cast<void*>(length)});
  slots.push_back({Py_sq_length, reinterpret_cast<void*>(length)});
  slots.push_back({Py_sq_item, reinterpret_cast<void*>(seq_item)});
  slots.push_back({Py_tp_iter, reinterpret_cast<void*>(iterate)});
}

void add_index_methods(Methods& type, Methods& module) {
  both<kGather>(type, module);
  both<kScatter>(type, module);
  both<kScatterAdd>(type, module);
  both<kIndexSelect>(type, module);
  both<kIndexPut>(type, module);
  both<kMaskedFill>(type, module);
  both<kNonzero>(type, module);
  both<kClamp>(type, module);
  both<kClip>(type, module);
}

}  // namespace binding
}  // namespace pd
