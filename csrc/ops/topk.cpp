// The places of the largest or smallest elements along an axis.
#include "ops/families.h"

namespace pd {

namespace {

Spec infer_topk(const OpTraits& t, const Spec* in, int, const Ints& a) {
  check_axes(t.name, part(a, 0, 1), in->shape.size());
  require_kernel(t.name, in->dtype, t.types);
  Shape out = in->shape;
  int64_t& n = out[static_cast<int>(a[0])];
  if (a[1] < 0 || a[1] > n)
    fail(t.name, "k is at most the size of the axis", std::to_string(a[1]) + " for " + to_string(in->shape), "less",
         ErrorKind::Runtime);
  if (in->device.kind == DeviceKind::Cuda && (a[1] > kMostTop || n > kLongestTop))
    fail(t.name, "no kernel for rows as long as these on a CUDA device",
         std::to_string(a[1]) + " of " + std::to_string(n), "argsort", ErrorKind::Runtime);
  n = a[1];
  return Spec{out, DType::I64, in->device};
}

Var batch_topk(const BatchArgs& a) { return apply(op::topk, {a.in[0]}, attrs({a.attrs[0] + 1, a.attrs[1], a.attrs[2]})); }

}  // namespace

OpTraits topk_row() {
  OpTraits t;
  t.name = "topk";
  t.family = Family::Index;
  t.arity = 1;
  t.types = kNum;
  t.twin = "np.argsort(-x, axis, kind='stable')";
  t.doc = "Indices of the k largest, or smallest, along an axis; a NaN counts as largest.";
  t.infer = infer_topk;
  t.batch = batch_topk;
  t.diff[0] = Diff::No;
  return t;
}

Var topk_indices(const Var& x, int64_t k, int64_t axis, bool largest) {
  return apply(op::topk, {cast(x, compute_type(x.dtype()))}, attrs({normalize_axis("topk", axis, x.shape().size()), k, largest}));
}

}  // namespace pd
