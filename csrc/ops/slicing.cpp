// Regions of a tensor: slice and its transposes pad and slice_update, and flip.
#include <cstring>

#include "ops/families.h"

namespace pd {

namespace {

// ---- the attributes of a region: start…, stop…, step…

struct Region {
  int n;
  const Ints& a;
  explicit Region(const Ints& attrs) : n(attrs.size() / 3), a(attrs) {}
  int64_t start(int k) const { return a[k]; }
  int64_t stop(int k) const { return a[n + k]; }
  int64_t step(int k) const { return a[2 * n + k]; }
  int64_t size(int k) const { return (stop(k) - start(k) + step(k) - 1) / step(k); }
  Ints starts() const { return part(a, 0, n); }
  Ints stops() const { return part(a, n, n); }
  Ints steps() const { return part(a, 2 * n, n); }
  Shape shape() const {
    Shape s;
    for (int k = 0; k < n; ++k) s.push_back(size(k));
    return s;
  }
  bool whole(const Shape& s) const {
    for (int k = 0; k < n; ++k)
      if (start(k) != 0 || stop(k) != s[k] || step(k) != 1) return false;
    return true;
  }
  bool unit_steps() const {
    for (int k = 0; k < n; ++k)
      if (step(k) != 1) return false;
    return true;
  }
};

void check_region(const char* op, const Ints& a, const Shape& s) {
  bool ok = a.size() == 3 * s.size();
  Region r(a);
  for (int k = 0; k < s.size() && ok; ++k)
    ok = r.start(k) >= 0 && r.start(k) <= r.stop(k) && r.stop(k) <= s[k] && r.step(k) > 0;
  if (!ok)
    fail(op, "the region does not lie in the shape", to_string(a) + " of " + to_string(s),
         "0 <= start <= stop <= size and step >= 1 for each axis");
}

// An empty range is one where stop == start.
Ints region_of(const char* op, const Shape& s, const Ints& start, Ints stop, const Ints& step) {
  if (start.size() != s.size() || stop.size() != s.size() || step.size() != s.size())
    fail(op, "a start, a stop and a step are needed for each axis", "shape " + to_string(s),
         std::to_string(s.size()) + " of each");
  for (int k = 0; k < s.size(); ++k)
    if (stop[k] < start[k]) stop[k] = start[k];
  Ints a = join(join(start, stop), step);
  check_region(op, a, s);
  return a;
}

// The region of each element of the batch.
Ints batched_region(const Ints& a, int64_t size) {
  Region r(a);
  return join(join(join({0}, r.starts()), join({size}, r.stops())), join({1}, r.steps()));
}

Var raw_slice(const Var& x, const Ints& region) {
  return Region(region).whole(x.shape()) ? x : apply(op::slice, {x}, attrs(region));
}
Var raw_update(const Var& dst, const Var& src, const Ints& region) {
  return apply(op::slice_update, {dst, src}, attrs(region));
}

// ---- slice

Spec infer_slice(const OpTraits& t, const Spec* in, int, const Ints& a) {
  check_region(t.name, a, in->shape);
  return with_shape(*in, Region(a).shape());
}
void vjp_slice(const VjpArgs& a, Var* out) {
  const Shape& s = a.specs[0].shape;
  Region r(a.attrs);
  if (!r.unit_steps()) {
    out[0] = raw_update(zeros_of(a.specs[0]), a.cotangents[0], a.attrs);
    return;
  }
  Ints after;
  for (int k = 0; k < r.n; ++k) after.push_back(s[k] - r.stop(k));
  out[0] = pad(a.cotangents[0], r.starts(), after, 0.0);
}
Var jvp_slice(const JvpArgs& a) { return raw_slice(a.tangents[0], a.attrs); }
Var batch_slice(const BatchArgs& a) { return raw_slice(a.in[0], batched_region(a.attrs, a.size)); }

// ---- slice_update(dst, src)

Spec infer_update(const OpTraits& t, const Spec* in, int, const Ints& a) {
  check_region(t.name, a, in[0].shape);
  require_equal_types(t, in[0], in[1]);
  if (in[1].shape != Region(a).shape())
    fail(t.name, "the source has not the region's shape",
         to_string(in[1].shape) + " for a region of " + to_string(Region(a).shape()), "source.expand(region's shape)");
  return in[0];
}
void vjp_update(const VjpArgs& a, Var* out) {
  const Var& g = a.cotangents[0];
  if (a.need[0]) out[0] = raw_update(g, zeros_of(a.specs[1]), a.attrs);
  if (a.need[1]) out[1] = raw_slice(g, a.attrs);
}
Var jvp_update(const JvpArgs& a) {
  return raw_update(or_zeros(a.tangents[0], a.specs[0]), or_zeros(a.tangents[1], a.specs[1]), a.attrs);
}
Var batch_update(const BatchArgs& a) {
  return raw_update(with_batch(a, 0), with_batch(a, 1), batched_region(a.attrs, a.size));
}

// ---- flip

Spec infer_flip(const OpTraits& t, const Spec* in, int, const Ints& axes) {
  check_axes(t.name, axes, in->shape.size());
  return *in;
}
void vjp_flip(const VjpArgs& a, Var* out) { out[0] = flip(a.cotangents[0], a.attrs); }
Var jvp_flip(const JvpArgs& a) { return flip(a.tangents[0], a.attrs); }
Var batch_flip(const BatchArgs& a) { return flip(a.in[0], shifted(a.attrs)); }

// ---- pad: lo…, hi…, the fill value's bits

Spec infer_pad(const OpTraits& t, const Spec* in, int, const Ints& a) {
  int n = in->shape.size();
  bool ok = a.size() == 2 * n + 1;
  for (int k = 0; k < 2 * n && ok; ++k) ok = a[k] >= 0;
  if (!ok) fail(t.name, "a width before and one after each axis are needed", to_string(a), "widths from 0 up");
  Shape s = in->shape;
  for (int k = 0; k < n; ++k)
    if (__builtin_add_overflow(s[k], a[k], &s[k]) || __builtin_add_overflow(s[k], a[n + k], &s[k]))
      fail(t.name, "more elements than can be counted", to_string(a), "smaller widths");
  check_size(t.name, s);
  return with_shape(*in, s);
}
void vjp_pad(const VjpArgs& a, Var* out) {
  const Shape& s = a.specs[0].shape;
  Ints start = part(a.attrs, 0, s.size()), stop = start;
  for (int k = 0; k < s.size(); ++k) stop[k] += s[k];
  out[0] = slice(a.cotangents[0], start, stop, Ints(s.size(), 1));
}
Var jvp_pad(const JvpArgs& a) {
  int n = a.specs[0].shape.size();
  return pad(a.tangents[0], part(a.attrs, 0, n), part(a.attrs, n, n), 0.0);
}
Var batch_pad(const BatchArgs& a) {
  int n = a.attrs.size() / 2;
  Ints widths = join(join({0}, part(a.attrs, 0, n)), join({0}, part(a.attrs, n, n)));
  return apply(op::pad, {a.in[0]}, attrs(join(widths, {a.attrs[2 * n]})));
}

}  // namespace

OpTraits slicing_row(OpId id) {
  OpTraits t;
  t.family = Family::Movement;
  t.arity = 1;
  t.types = kAll;
  if (id == op::slice) {
    t.name = "slice";
    t.twin = "x[start:stop:step]";
    t.doc = "Every step-th element from start to before stop, along each axis.";
    t.infer = infer_slice;
    t.vjp = vjp_slice;
    t.jvp = jvp_slice;
    t.batch = batch_slice;
  } else if (id == op::slice_update) {
    t.name = "slice_update";
    t.family = Family::Index;
    t.arity = 2;
    t.doc = "The first operand with the region that slice would read replaced by the second.";
    t.infer = infer_update;
    t.vjp = vjp_update;
    t.jvp = jvp_update;
    t.batch = batch_update;
  } else if (id == op::flip) {
    t.name = "flip";
    t.twin = "np.flip(x, axes)";
    t.doc = "Reversed along axes.";
    t.infer = infer_flip;
    t.vjp = vjp_flip;
    t.jvp = jvp_flip;
    t.batch = batch_flip;
  } else {
    t.name = "pad";
    t.twin = "np.pad(x, widths, constant_values=value)";
    t.doc = "Enlarged by a constant before and after each axis.";
    t.infer = infer_pad;
    t.vjp = vjp_pad;
    t.jvp = jvp_pad;
    t.batch = batch_pad;
  }
  return t;
}

Var slice(const Var& x, const Ints& start, const Ints& stop, const Ints& step) {
  return raw_slice(x, region_of("slice", x.shape(), start, stop, step));
}

Var slice_update(const Var& dst, const Var& src, const Ints& start, const Ints& stop, const Ints& step) {
  Ints a = region_of("slice_update", dst.shape(), start, stop, step);
  Region r(a);
  Shape s = r.shape(), from = src.shape();
  Var values = src;
  // As in NumPy and PyTorch, leading axes of size 1 that the region lacks are dropped.
  while (from.size() > s.size() && from[0] == 1) from.erase(0);
  values = reshape(values, from);
  if (from.size() > s.size() || broadcast("slice_update", from, s) != s)
    fail("slice_update", "the source does not broadcast to the region", to_string(src.shape()) + " into " + to_string(s),
         "a source of shape " + to_string(s));
  values = expand(cast(values, dst.dtype()), s);
  if (r.whole(dst.shape())) return values;
  return numel(s) == 0 ? dst : raw_update(dst, values, a);
}

Var flip(const Var& x, const Ints& axes) {
  Axes listed;
  listed.all = false;
  listed.list = axes;
  Ints work;
  for (int64_t k : normalize_axes("flip", listed, x.shape().size()))
    if (x.shape()[static_cast<int>(k)] > 1) work.push_back(k);
  return work.empty() ? x : apply(op::flip, {x}, attrs(work));
}

Var pad(const Var& x, const Ints& lo, const Ints& hi, double value) {
  int n = x.shape().size();
  if (lo.size() != n || hi.size() != n)
    fail("pad", "a width before and one after each axis are needed", to_string(lo) + " and " + to_string(hi),
         std::to_string(n) + " of each");
  // A negative width cuts.
  Ints start(n, 0), stop = x.shape(), before = lo, after = hi;
  bool grows = false;
  for (int k = 0; k < n; ++k) {
    if (lo[k] < 0) start[k] = -lo[k];
    if (hi[k] < 0) stop[k] += hi[k];
    if (start[k] > stop[k])
      fail("pad", "more is cut than there is", to_string(lo) + " and " + to_string(hi) + " of " + to_string(x.shape()),
           "widths whose sum with the size is not negative");
    before[k] = lo[k] < 0 ? 0 : lo[k];
    after[k] = hi[k] < 0 ? 0 : hi[k];
    grows |= before[k] || after[k];
  }
  Var inner = slice(x, start, stop, Ints(n, 1));
  if (!grows) return inner;
  int64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return apply(op::pad, {inner}, attrs(join(join(before, after), {bits})));
}

}  // namespace pd
