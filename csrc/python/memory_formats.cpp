#include "python/memory_formats.h"

#include "python/args.h"

namespace pd {
namespace binding {

namespace {

PyObject* g_formats[4] = {};

// The axes of (n, *places, c) by those of (n, c, *places), and the inverse.
Ints last_order(int n) {
  Ints order{0};
  for (int k = 2; k < n; ++k) order.push_back(k);
  order.push_back(1);
  return order;
}
Ints first_order(int n) {
  Ints order{0, n - 1};
  for (int k = 1; k < n - 1; ++k) order.push_back(k);
  return order;
}

Ints last_strides(const Shape& s) {
  Ints st(s.size(), 0);
  st[1] = 1;
  int64_t step = std::max<int64_t>(s[1], 1);
  for (int k = s.size() - 1; k > 1; --k) {
    st[k] = step;
    step *= std::max<int64_t>(s[k], 1);
  }
  st[0] = step;
  return st;
}

// A permutation of a pending one that undoes it has the value from before both; the tape keeps both steps.
Var permuted(const Var& x, const Ints& order) {
  Var y = permute(x, order);
  Value* v = x.v.get();
  if (!v->pending() || v->op != op::permute) return y;
  const Ints& before = v->ints();
  for (int k = 0; k < order.size(); ++k)
    if (before[static_cast<int>(order[k])] != k) return y;
  return Var(ValueRef(v->in(0)), y.m);
}

}  // namespace

Format format_arg(const char* op, PyObject* o, Format otherwise) {
  if (!given(o)) return otherwise;
  for (int k = 0; k < 4; ++k)
    if (g_formats[k] == o) return static_cast<Format>(k);
  fail(op, "unknown memory format", std::string(py::str(py::handle(o))), "pydiff.channels_last", ErrorKind::Type);
}

bool has_last_strides(TensorObject* t) {
  const Shape& s = value_of(reinterpret_cast<PyObject*>(t)).shape();
  int n = s.size();
  if (n != 4 && n != 5) return false;
  Ints st = strides_of(t);
  if (st[1] == 0) return false;
  int64_t least = 0;
  auto fits = [&](int k) {
    if (s[k] == 0 || st[k] < least) return false;
    if (k == 0 && least == st[1]) return false;  // all other sizes are 1: any format would fit
    least = st[k];
    if (s[k] > 1) least *= s[k];
    return true;
  };
  if (!fits(1)) return false;
  for (int k = n - 1; k > 1; --k)
    if (!fits(k)) return false;
  return fits(0);
}

bool lies_in(TensorObject* t, Format f) {
  const Shape& s = value_of(reinterpret_cast<PyObject*>(t)).shape();
  bool last = f == Format::ChannelsLast || f == Format::ChannelsLast3d;
  if (last && s.size() != (f == Format::ChannelsLast ? 4 : 5)) return false;
  if (numel(s) == 0) return true;
  Ints st = strides_of(t), want = last ? last_strides(s) : contiguous_strides(s);
  for (int k = 0; k < s.size(); ++k)
    if (s[k] != 1 && st[k] != want[k]) return false;
  return true;
}

Var to_last(const Var& x) { return permuted(x, last_order(x.shape().size())); }
Var from_last(const Var& x) { return permuted(x, first_order(x.shape().size())); }

Ints order_last(const Ints& by_axis) {
  Ints out;
  for (int64_t k : last_order(by_axis.size())) out.push_back(by_axis[static_cast<int>(k)]);
  return out;
}

PyObject* wrap_last(const Var& places_last) {
  PyObject* o = wrap(from_last(places_last));
  TensorObject* t = as_tensor_object(o);
  Ints st = last_strides(t->var.shape());
  if (st != contiguous_strides(t->var.shape())) t->strides = new Ints(st);
  return o;
}

PyObject* wrap_last(stable::Recorded r) {
  PyObject* o = wrap_last(r.v);
  if (r.head) as_tensor_object(o)->head = r.head.detach();
  return o;
}

void check_format(const char* op, const Shape& s, Format f) {
  int n = f == Format::ChannelsLast ? 4 : f == Format::ChannelsLast3d ? 5 : s.size();
  if (s.size() != n)
    fail(op, "channels_last is of 4 axes, channels_last_3d of 5", to_string(s), n == 4 ? "(batch, channels, height, width)" :
         "(batch, channels, depth, height, width)", ErrorKind::Runtime);
}

bool wants_last(const char* op, TensorObject* t, Format f) {
  check_format(op, value_of(reinterpret_cast<PyObject*>(t)).shape(), f);
  return f == Format::Preserve ? is_channels_last(t) : f != Format::Contiguous;
}

void lay_out_like(TensorObject* to, TensorObject* like) {
  if (to->alias || to->strides || !is_channels_last(like)) return;
  to->strides = new Ints(last_strides(to->var.shape()));
}

bool turn_operands(PyObject* const* objects, Var* vars, int count) {
  Shape full;  // of the largest that is channels-last
  for (int k = 0; k < count; ++k)
    if (objects[k] && is_tensor(objects[k]) && is_channels_last(as_tensor_object(objects[k])) &&
        (full.empty() || vars[k].v->size() > numel(full)))
      full = vars[k].shape();
  if (full.empty()) return false;
  for (int k = 0; k < count; ++k)
    if (vars[k] && (vars[k].shape().size() > full.size() || vars[k].v->size() > numel(full))) return false;
  int first = 0;
  while (!vars[first] || vars[first].shape() != full) ++first;
  if (!is_tensor(objects[first]) || !is_channels_last(as_tensor_object(objects[first]))) return false;
  for (int k = 0; k < count; ++k) {
    if (!vars[k] || vars[k].shape().empty()) continue;
    Shape wide = vars[k].shape();
    while (wide.size() < full.size()) wide.insert(0, 1);
    vars[k] = to_last(reshape(vars[k], wide));
  }
  return true;
}

void bind_memory_formats(py::module_& m) {
  m.def("set_memory_formats", [](const py::list& objects) {
    for (size_t k = 0; k < 4; ++k) g_formats[k] = py::object(objects[k]).release().ptr();
  }, "The objects of preserve_format, contiguous_format, channels_last and channels_last_3d.");
  m.def("places_last", [](const py::object& o) -> py::object {
    TensorObject* t = as_tensor_object(o.ptr());
    if (!is_channels_last(t)) return py::none();
    return wrapped(to_last(value_of(o.ptr())));
  }, "Of a channels-last tensor the value of shape (n, *places, c), else None.");
  m.def("channels_last_of", [](const Var& v) { return py::reinterpret_steal<py::object>(wrap_last(v)); },
        "The channels-last tensor (n, c, *places) of a value (n, *places, c).");
}

}  // namespace binding
}  // namespace pd
