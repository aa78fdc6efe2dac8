// Scans along an axis.
#include "ops/families.h"

namespace pd {

namespace {

Var raw_cumsum(const Var& x, int64_t axis, bool reverse) { return apply(op::cumsum, {x}, attrs({axis, reverse})); }

Spec infer_scan(const OpTraits& t, const Spec* in, int, const Ints& a) {
  check_axes(t.name, part(a, 0, 1), in->shape.size());
  require_kernel(t.name, in->dtype, t.types);
  return *in;
}

// Each element reaches all later sums; so its cotangent is the sum of all later ones.
void vjp_cumsum(const VjpArgs& a, Var* out) { out[0] = raw_cumsum(a.cotangents[0], a.attrs[0], !a.attrs[1]); }
Var jvp_cumsum(const JvpArgs& a) { return raw_cumsum(a.tangents[0], a.attrs[0], a.attrs[1]); }
Var batch_cumsum(const BatchArgs& a) { return raw_cumsum(a.in[0], a.attrs[0] + 1, a.attrs[1]); }

}  // namespace

OpTraits scan_row() {
  OpTraits t;
  t.name = "cumsum";
  t.family = Family::Scan;
  t.arity = 1;
  t.types = kNum;
  t.twin = "np.cumsum(x, axis)";
  t.doc = "Running sum along an axis, from either end.";
  t.infer = infer_scan;
  t.vjp = vjp_cumsum;
  t.jvp = jvp_cumsum;
  t.batch = batch_cumsum;
  return t;
}

Var cumsum(const Var& x, int64_t axis) {
  int at = normalize_axis("cumsum", axis, x.shape().size());
  const DType type = is_differentiable(x.dtype()) ? x.dtype() : DType::I64;
  const Var wide = cast(x, compute_type(type));
  return cast(x.shape().empty() ? wide : raw_cumsum(wide, at, false), type);
}

}  // namespace pd
