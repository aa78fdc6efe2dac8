// Movement by an index map alone: reshape, permute, expand and their kin. What changes nothing gives
// the operand itself.
#include "ops/families.h"

namespace pd {

namespace {

// ---- reshape

Spec infer_reshape(const OpTraits& t, const Spec* in, int, const Ints& shape) {
  if (numel(shape) != numel(in->shape))
    fail(t.name, "sizes do not match", to_string(in->shape) + " -> " + to_string(shape),
         "a shape with " + std::to_string(numel(in->shape)) + " elements");
  return with_shape(*in, shape);
}
void vjp_reshape(const VjpArgs& a, Var* out) { out[0] = reshape(a.cotangents[0], a.specs[0].shape); }
Var jvp_reshape(const JvpArgs& a) { return reshape(a.tangents[0], a.attrs); }
Var batch_reshape(const BatchArgs& a) { return reshape(a.in[0], join({a.size}, a.attrs)); }

// ---- permute

Spec infer_permute(const OpTraits& t, const Spec* in, int, const Ints& order) {
  int n = in->shape.size();
  Ints seen(n, 0);
  bool ok = order.size() == n;
  for (int k = 0; k < n && ok; ++k) {
    ok = order[k] >= 0 && order[k] < n && !seen[static_cast<int>(order[k])];
    if (ok) seen[static_cast<int>(order[k])] = 1;
  }
  if (!ok)
    fail(t.name, "the axes are not a permutation", to_string(order) + " for " + std::to_string(n) + " dimensions",
         "each axis once");
  Shape s;
  for (int64_t k : order) s.push_back(in->shape[static_cast<int>(k)]);
  return with_shape(*in, s);
}
Ints inverse(const Ints& order) {
  Ints back(order.size());
  for (int k = 0; k < order.size(); ++k) back[static_cast<int>(order[k])] = k;
  return back;
}
void vjp_permute(const VjpArgs& a, Var* out) { out[0] = permute(a.cotangents[0], inverse(a.attrs)); }
Var jvp_permute(const JvpArgs& a) { return permute(a.tangents[0], a.attrs); }
Var batch_permute(const BatchArgs& a) { return permute(a.in[0], join({0}, shifted(a.attrs))); }

// ---- expand

Spec infer_expand(const OpTraits& t, const Spec* in, int, const Ints& shape) {
  const Shape& s = in->shape;
  int extra = shape.size() - s.size();
  bool ok = extra >= 0;
  for (int k = 0; k < s.size() && ok; ++k) ok = s[k] == shape[extra + k] || s[k] == 1;
  for (int64_t d : shape) ok &= d >= 0;
  if (!ok)
    fail(t.name, "the shape does not broadcast", to_string(s) + " -> " + to_string(shape),
         "sizes that are equal, or 1 before, counted from the right");
  check_size(t.name, shape);
  return with_shape(*in, shape);
}
void vjp_expand(const VjpArgs& a, Var* out) { out[0] = sum_to(a.cotangents[0], a.specs[0].shape); }
Var jvp_expand(const JvpArgs& a) { return expand(a.tangents[0], a.attrs); }
// The batch axis leads, so new axes come in behind it first.
Var batch_expand(const BatchArgs& a) {
  Shape s = a.in[0].shape();
  while (s.size() < a.attrs.size() + 1) s.insert(1, 1);
  return expand(reshape(a.in[0], s), join({a.size}, a.attrs));
}

OpTraits movement(const char* name, const char* twin, const char* doc) {
  OpTraits t;
  t.name = name;
  t.family = Family::Movement;
  t.arity = 1;
  t.types = kAll;
  t.twin = twin;
  t.doc = doc;
  return t;
}

}  // namespace

OpTraits movement_row(OpId id) {
  OpTraits t;
  if (id == op::reshape) {
    t = movement("reshape", "np.reshape(x, shape)", "The same elements in row-major order under another shape.");
    t.infer = infer_reshape;
    t.vjp = vjp_reshape;
    t.jvp = jvp_reshape;
    t.batch = batch_reshape;
  } else if (id == op::permute) {
    t = movement("permute", "np.transpose(x, axes)", "The axes in another order.");
    t.infer = infer_permute;
    t.vjp = vjp_permute;
    t.jvp = jvp_permute;
    t.batch = batch_permute;
  } else {
    t = movement("expand", "np.broadcast_to(x, shape)", "Repeated along new axes and along axes of size 1.");
    t.infer = infer_expand;
    t.vjp = vjp_expand;
    t.jvp = jvp_expand;
    t.batch = batch_expand;
  }
  return t;
}

Var reshape(const Var& x, Shape shape) {
  if (shape == x.shape()) return x;
  int64_t n = numel(x.shape()), known = 1;
  int hole = -1;
  auto moved = [&] { return to_string(x.shape()) + " -> " + to_string(shape); };
  for (int k = 0; k < shape.size(); ++k) {
    if (shape[k] < -1) fail("reshape", "a size is negative", moved(), "sizes from 0 up, or a single -1");
    if (shape[k] >= 0) {
      known *= shape[k];
      continue;
    }
    if (hole >= 0) fail("reshape", "more than one size is -1", moved(), "a single -1");
    hole = k;
  }
  if (hole >= 0) {
    if (known == 0) fail("reshape", "-1 beside a size of 0 could be any size", moved(), "naming that size");
    if (n % known != 0)
      fail("reshape", "sizes do not match", moved(), "sizes whose product divides " + std::to_string(n));
    shape[hole] = n / known;
    if (shape == x.shape()) return x;
  }
  return apply(op::reshape, {x}, attrs(shape));
}

namespace {

// A product that nobody else has, its last two axes exchanged: the same product of its operands exchanged, to the bit. So
// the gradient of a weight that is stored across costs no copy.
bool is_turned_product(const Var& x, const Ints& order) {
  const int n = order.size();
  if (x.m || !x.v->pending() || x.v->op != op::dot || x.v->refs > 1 || n < 2) return false;
  for (int k = 0; k < n - 2; ++k)
    if (order[k] != k) return false;
  return order[n - 2] == n - 1;
}

}  // namespace

Var permute(const Var& x, const Ints& axes) {
  int n = x.shape().size();
  if (axes.size() != n)
    fail("permute", "as many axes as dimensions are needed", to_string(axes) + " for shape " + to_string(x.shape()),
         "each axis once");
  Ints order;
  bool same = true;
  for (int k = 0; k < n; ++k) {
    order.push_back(normalize_axis("permute", axes[k], n));
    same &= order[k] == k;
  }
  if (is_turned_product(x, order)) {
    const Var a{ValueRef(x.v->in(0))}, b{ValueRef(x.v->in(1))};
    return apply(op::dot, {swap_axes(b, -2, -1), swap_axes(a, -2, -1)});
  }
  return same ? x : apply(op::permute, {x}, attrs(order));
}

Var swap_axes(const Var& x, int64_t a, int64_t b) {
  int n = x.shape().size();
  int i = normalize_axis("transpose", a, n), j = normalize_axis("transpose", b, n);
  if (i == j) return x;
  Ints order;
  for (int k = 0; k < n; ++k) order.push_back(k == i ? j : k == j ? i : k);
  return permute(x, order);
}

Var expand(const Var& x, const Shape& shape) {
  const Shape& s = x.shape();
  if (shape == s) return x;
  Shape full = shape;
  int extra = full.size() - s.size();
  for (int k = 0; k < full.size(); ++k) {
    if (full[k] != -1) continue;
    if (k < extra)
      fail("expand", "-1 keeps a size, and a new axis has none", to_string(s) + " -> " + to_string(shape),
           "naming that size");
    if (extra >= 0) full[k] = s[k - extra];
  }
  return full == s ? x : apply(op::expand, {x}, attrs(full));
}

Var unsqueeze(const Var& x, int64_t axis) {
  int n = x.shape().size();
  Shape s = x.shape();
  s.insert(normalize_axis("unsqueeze", axis, n + 1), 1);
  return reshape(x, s);
}

Var squeeze(const Var& x, const Axes& axes) {
  Ints gone;
  for (int64_t k : normalize_axes("squeeze", axes, x.shape().size()))
    if (x.shape()[static_cast<int>(k)] == 1) gone.push_back(k);
  return reshape(x, drop_axes(x.shape(), gone));
}

}  // namespace pd
