// Matrix products.
#include <algorithm>

#include "ops/families.h"

namespace pd {

namespace {

Var raw_dot(const Var& a, const Var& b) { return apply(op::dot, {a, b}); }
Var transposed(const Var& x) { return swap_axes(x, -2, -1); }

// a (B…, m, k), b (B…, k, n)
Spec infer_dot(const OpTraits& t, const Spec* in, int, const Ints&) {
  const Shape &a = in[0].shape, &b = in[1].shape;
  require_equal_types(t, in[0], in[1]);
  require_kernel(t.name, compute_type(in[0].dtype), t.types);
  int n = a.size();
  bool ok = n >= 2 && b.size() == n && a[n - 1] == b[n - 2];
  for (int k = 0; k < n - 2 && ok; ++k) ok = a[k] == b[k];
  if (!ok)
    fail(t.name, "the shapes do not multiply", to_string(a) + " @ " + to_string(b), "(…, m, k) @ (…, k, n)");
  Shape s = a;
  s[n - 1] = b[n - 1];
  return with_shape(in[0], s);
}

void vjp_dot(const VjpArgs& a, Var* out) {
  const Var& g = a.cotangents[0];
  if (a.need[0]) out[0] = raw_dot(g, transposed(a.in[1]));
  if (a.need[1]) out[1] = raw_dot(transposed(a.in[0]), g);
}

Var jvp_dot(const JvpArgs& a) {
  Var l = a.tangents[0] ? raw_dot(a.tangents[0], a.in[1]) : Var();
  Var r = a.tangents[1] ? raw_dot(a.in[0], a.tangents[1]) : Var();
  return l && r ? l + r : l ? l : r;
}

// One large product where the batch can be folded into the rows of one side:
//   (B, m, k) @ (k, n)  is  (B m, k) @ (k, n)
//   (m, k) @ (B, k, 1)  is  ((B, k) @ (k, m)), the batch being the rows
Var batch_dot(const BatchArgs& a) {
  const Shape &l = a.in[0].shape(), &r = a.in[1].shape();
  if (!a.batched[1] && r.size() == 2)
    return reshape(raw_dot(reshape(a.in[0], {a.size * l[1], l[2]}), a.in[1]), {a.size, l[1], r[1]});
  if (!a.batched[0] && l.size() == 2 && r[2] == 1)
    return reshape(raw_dot(reshape(a.in[1], {a.size, r[1]}), transposed(a.in[0])), {a.size, l[0], 1});
  return raw_dot(with_batch(a, 0), with_batch(a, 1));
}

void check_inner(const Shape& a, const Shape& b) {
  int64_t k = a.back(), l = b.size() == 1 ? b[0] : b[b.size() - 2];
  if (k == l) return;
  const char* advice = "(…, m, k) @ (…, k, n)";
  if (b.size() >= 2 && b.back() == k) advice = "transposing the right operand: a @ b.mT";
  else if (a.size() >= 2 && a[a.size() - 2] == l) advice = "transposing the left operand: a.mT @ b";
  fail("matmul", "inner sizes differ", to_string(a) + " @ " + to_string(b), advice);
}

Shape broadcast_batches(const Shape& a, const Shape& b, const Shape& lead_a, const Shape& lead_b) {
  for (int k = 1; k <= std::min(lead_a.size(), lead_b.size()); ++k) {
    int64_t l = lead_a[lead_a.size() - k], r = lead_b[lead_b.size() - k];
    if (l != r && l != 1 && r != 1)
      fail("matmul", "batch sizes do not broadcast", to_string(a) + " @ " + to_string(b),
           "sizes before the last two axes that are equal or 1, counted from the right");
  }
  return broadcast("matmul", lead_a, lead_b);
}

}  // namespace

OpTraits contraction_row() {
  OpTraits t;
  t.name = "dot";
  t.family = Family::Contraction;
  t.arity = 2;
  t.types = kNum;
  t.needs_in = 3;
  t.twin = "np.matmul(a, b)";
  t.doc = "Matrix product over the last two axes, one for each index of the axes before.";
  t.infer = infer_dot;
  t.vjp = vjp_dot;
  t.jvp = jvp_dot;
  t.batch = batch_dot;
  return t;
}

Var matmul(const Var& a, const Var& b) {
  if (a.shape().empty() || b.shape().empty())
    fail("matmul", "both operands need an axis", to_string(a.shape()) + " @ " + to_string(b.shape()), "a * b");
  check_inner(a.shape(), b.shape());
  Var both[2] = {a, b};
  DType d = result_type(both, 2);
  // cuBLAS multiplies 16-bit floats itself, and adds in float32.
  const bool device_does = is_floating(d) && a.device().kind == DeviceKind::Cuda;
  if (is_narrow(d) && !device_does) return cast(matmul(cast(a, compute_type(d)), cast(b, compute_type(d))), d);
  require_kernel("matmul", compute_type(d), kNum);
  bool row = a.shape().size() == 1, column = b.shape().size() == 1;
  Var l = cast(row ? unsqueeze(a, 0) : a, d), r = cast(column ? unsqueeze(b, 1) : b, d);
  int64_t m = l.shape()[l.shape().size() - 2], k = l.shape().back(), n = r.shape().back();
  Shape lead_l = part(l.shape(), 0, l.shape().size() - 2), lead_r = part(r.shape(), 0, r.shape().size() - 2);
  Shape lead = broadcast_batches(a.shape(), b.shape(), lead_l, lead_r);

  Var y;
  if (numel(lead_r) == 1 && lead == lead_l) {
    // One matrix on the right: all rows of the left in one product.
    y = raw_dot(reshape(l, {numel(lead) * m, k}), reshape(r, {k, n}));
  } else {
    y = raw_dot(expand(l, join(lead, {m, k})), expand(r, join(lead, {k, n})));
  }
  Shape s = lead;
  if (!row) s.push_back(m);
  if (!column) s.push_back(n);
  return reshape(y, s);
}

}  // namespace pd
