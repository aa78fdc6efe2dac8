// Reductions over axes, arg reductions, and what is composed of them.
#include "ops/families.h"

namespace pd {

namespace {

bool is_extremum(OpId id) { return id == op::reduce_max || id == op::reduce_min; }
bool is_logical(OpId id) { return id == op::reduce_any || id == op::reduce_all; }

// "sum" of "reduce_sum": what users call it.
const char* short_name(OpId id) { return traits(id).name + sizeof("reduce_") - 1; }

Var raw(OpId id, const Var& x, const Ints& axes) { return axes.empty() ? x : apply(id, {x}, attrs(axes)); }

Spec infer_reduce(const OpTraits& t, const Spec* in, int, const Ints& axes) {
  check_axes(t.name, axes, in->shape.size());
  bool logical = t.reduce == ReduceKind::Any || t.reduce == ReduceKind::All;
  bool extremum = t.reduce == ReduceKind::Max || t.reduce == ReduceKind::Min;
  require_kernel(t.name, in->dtype, t.types);
  if (extremum && count_along(in->shape, axes) == 0)
    fail(t.name, "there is no extremum of no elements", "shape " + to_string(in->shape) + ", axes " + to_string(axes),
         "testing x.numel() first");
  return Spec{drop_axes(in->shape, axes), logical ? DType::Bool : in->dtype, in->device};
}

Var batch_reduce(const BatchArgs& a) { return apply(a.op, {a.in[0]}, attrs(shifted(a.attrs))); }

// ---- sum: linear, its transpose repeats

void vjp_sum(const VjpArgs& a, Var* out) {
  const Shape& s = a.specs[0].shape;
  out[0] = expand(keep_axes(a.cotangents[0], s, a.attrs), s);
}
Var jvp_sum(const JvpArgs& a) { return raw(a.op, a.tangents[0], a.attrs); }

// ---- max and min: elements that tie share the derivative evenly, as PyTorch's amax

// 1 / (number of ties) at each tie, 0 elsewhere.
Var tie_shares(const RuleArgs& a) {
  const Var& x = a.in[0];
  Var hit = cast(eq(x, keep_axes(a.outs[0], x.shape(), a.attrs)), x.dtype());
  return hit / keep_axes(raw(op::reduce_sum, hit, a.attrs), x.shape(), a.attrs);
}
void vjp_extremum(const VjpArgs& a, Var* out) {
  out[0] = strong_mul(expand(keep_axes(a.cotangents[0], a.specs[0].shape, a.attrs), a.specs[0].shape), tie_shares(a));
}
Var jvp_extremum(const JvpArgs& a) {
  return raw(op::reduce_sum, strong_mul(a.tangents[0], tie_shares(a)), a.attrs);
}

// ---- prod

// Along the last axis, the product of all elements but the own: a polynomial, so that zeros need no
// case and every further derivative is right. A tree of pairs: up by products, down by
//   others(x)[2i]     = others(pairs)[i] * x[2i + 1]
//   others(x)[2i + 1] = others(pairs)[i] * x[2i]
Var others_along_last(const Var& x) {
  int last = x.shape().size() - 1;
  int64_t n = x.shape()[last];
  if (n == 1) return ones(x.shape(), x.dtype(), x.device());
  if (n == 2) return flip(x, {last});
  Ints none(last + 1, 0), odd = none;
  odd[last] = n % 2;
  Var even = pad(x, none, odd, 1.0);
  int64_t half = even.shape()[last] / 2;
  Shape paired = even.shape();
  paired[last] = half;
  Shape product = paired;
  paired.push_back(2);
  Var pairs = reshape(even, paired);
  Ints start(last + 2, 0), step(last + 2, 1), stop = paired;
  start[last + 1] = 1;
  stop[last + 1] = 1;
  Var left = slice(pairs, Ints(last + 2, 0), stop, step), right = slice(pairs, start, paired, step);
  Var up = others_along_last(reshape(left * right, product));
  Var down = reshape(unsqueeze(up, -1) * flip(pairs, {last + 1}), even.shape());
  return slice(down, none, x.shape(), Ints(last + 1, 1));
}

Var others(const Var& x, const Ints& axes) {
  const Shape& s = x.shape();
  if (numel(s) == 0) return zeros_of(spec_of(x));
  Ints order;
  for (int k = 0, j = 0; k < s.size(); ++k)
    if (j < axes.size() && axes[j] == k) ++j;
    else order.push_back(k);
  Shape rows = drop_axes(s, axes);
  rows.push_back(count_along(s, axes));
  order = join(order, axes);
  Ints back(order.size());
  Shape moved;
  for (int k = 0; k < order.size(); ++k) {
    back[static_cast<int>(order[k])] = k;
    moved.push_back(s[static_cast<int>(order[k])]);
  }
  return permute(reshape(others_along_last(reshape(permute(x, order), rows)), moved), back);
}

void vjp_prod(const VjpArgs& a, Var* out) {
  const Shape& s = a.specs[0].shape;
  out[0] = strong_mul(expand(keep_axes(a.cotangents[0], s, a.attrs), s), others(a.in[0], a.attrs));
}
Var jvp_prod(const JvpArgs& a) {
  return raw(op::reduce_sum, strong_mul(a.tangents[0], others(a.in[0], a.attrs)), a.attrs);
}

// ---- arg reductions

Spec infer_arg(const OpTraits& t, const Spec* in, int, const Ints& axis) {
  check_axes(t.name, axis, in->shape.size());
  require_kernel(t.name, in->dtype, t.types);
  if (count_along(in->shape, axis) == 0)
    fail(t.name, "there is no extremum of no elements",
         "shape " + to_string(in->shape) + ", axis " + std::to_string(axis[0]), "testing x.numel() first");
  return Spec{drop_axes(in->shape, axis), DType::I64, in->device};
}

OpTraits reduction(const char* name, ReduceKind kind, uint32_t types, const char* twin, const char* doc) {
  OpTraits t;
  t.name = name;
  t.family = Family::Reduce;
  t.arity = 1;
  t.reduce = kind;
  t.types = types;
  t.twin = twin;
  t.doc = doc;
  t.infer = infer_reduce;
  t.batch = batch_reduce;
  return t;
}

OpTraits linear(OpTraits t) {
  t.vjp = vjp_sum;
  t.jvp = jvp_sum;
  return t;
}
OpTraits product(OpTraits t) {
  t.vjp = vjp_prod;
  t.jvp = jvp_prod;
  t.needs_in = 1;
  return t;
}
OpTraits extremum(OpTraits t) {
  t.vjp = vjp_extremum;
  t.jvp = jvp_extremum;
  t.needs_in = 1;
  t.needs_out = true;
  return t;
}
OpTraits no_derivative(OpTraits t) {
  t.diff[0] = Diff::No;
  return t;
}
OpTraits arg_reduction(const char* name, const char* twin, const char* doc) {
  OpTraits t = no_derivative(reduction(name, ReduceKind::None, kAll, twin, doc));
  t.family = Family::Index;
  t.infer = infer_arg;
  return t;
}

}  // namespace

OpTraits reduce_row(OpId id) {
  switch (id) {
    case op::reduce_sum:
      return linear(reduction("reduce_sum", ReduceKind::Sum, kNum, "np.sum(x, axes)", "Sum over axes."));
    case op::reduce_prod:
      return product(reduction("reduce_prod", ReduceKind::Prod, kNum, "np.prod(x, axes)", "Product over axes."));
    case op::reduce_max:
      return extremum(reduction("reduce_max", ReduceKind::Max, kAll, "np.max(x, axes)",
                                "Largest over axes; NaN wins. Elements that tie share the gradient evenly."));
    case op::reduce_min:
      return extremum(reduction("reduce_min", ReduceKind::Min, kAll, "np.min(x, axes)",
                                "Smallest over axes; NaN wins. Elements that tie share the gradient evenly."));
    case op::reduce_any:
      return no_derivative(reduction("reduce_any", ReduceKind::Any, kB, "np.any(x, axes)", "Whether any is true."));
    case op::reduce_all:
      return no_derivative(reduction("reduce_all", ReduceKind::All, kB, "np.all(x, axes)", "Whether all are true."));
    case op::argmax:
      return arg_reduction("argmax", "np.argmax(x, axis)", "Index of the first largest; a NaN counts as largest.");
    case op::argmin:
      return arg_reduction("argmin", "np.argmin(x, axis)", "Index of the first smallest; a NaN counts as smallest.");
    default: fail("reduce", "no such reduction", std::to_string(id), "", ErrorKind::Runtime);
  }
}

Var reduce(OpId id, const Var& x, const Axes& axes, bool keepdim) {
  const char* name = short_name(id);
  Ints over = normalize_axes(name, axes, x.shape().size());
  Shape kept = x.shape();
  for (int64_t k : over) kept[static_cast<int>(k)] = 1;
  if (is_extremum(id) && count_along(x.shape(), over) == 0)
    fail(name, "there is no " + std::string(name) + " of no elements",
         "shape " + to_string(x.shape()) + ", axes " + to_string(over), "testing x.numel() first");
  Var in = x;
  if (is_logical(id)) in = cast(x, DType::Bool);
  else if (!is_extremum(id) && !is_differentiable(x.dtype())) in = cast(x, DType::I64);
  // 16-bit floats are summed in float32, and the sum is rounded once.
  const DType type = in.dtype();
  in = cast(in, compute_type(type));
  // Along an axis of size 1 nothing is reduced: a reshape drops it.
  Ints work;
  for (int64_t k : over)
    if (x.shape()[static_cast<int>(k)] != 1) work.push_back(k);
  return cast(reshape(raw(id, in, work), keepdim ? kept : drop_axes(x.shape(), over)), is_logical(id) ? DType::Bool : type);
}

Var arg_reduce(OpId id, const Var& x, const int64_t* axis, bool keepdim) {
  const char* name = traits(id).name;
  int ndim = x.shape().size();
  if (numel(x.shape()) == 0 && !axis)
    fail(name, "there is no extremum of no elements", "shape " + to_string(x.shape()), "testing x.numel() first");
  int at = axis ? normalize_axis(name, *axis, ndim) : 0;
  Var in = cast(axis && ndim ? x : reshape(x, {-1}), compute_type(x.dtype()));
  Var y = apply(id, {in}, attrs({at}));
  if (!keepdim) return y;
  Shape s = x.shape();
  for (int k = 0; k < ndim; ++k)
    if (!axis || k == at) s[k] = 1;
  return reshape(y, s);
}

Var sum_to(const Var& x, const Shape& shape) {
  const Shape& s = x.shape();
  if (s == shape) return x;
  int extra = s.size() - shape.size();
  Axes over;
  over.all = false;
  for (int k = 0; k < s.size(); ++k)
    if (k < extra || (shape[k - extra] == 1 && s[k] != 1)) over.list.push_back(k);
  return reshape(reduce(op::reduce_sum, x, over, false), shape);
}

// ---- composed

namespace {

// What is composed is computed in float32 for 16-bit floats, and rounded once.
template <class F> Var in_compute_type(const Var& x, F f) { return cast(f(cast(x, compute_type(x.dtype()))), x.dtype()); }

Axes one_axis(const char* op, const Var& x, int64_t axis) {
  Axes a;
  a.all = false;
  a.list.push_back(normalize_axis(op, axis, x.shape().size()));
  return a;
}

// The largest along the axes, as a constant: what is subtracted before exp cancels in the result, so
// no derivative need pass through it, of any order.
Var constant_max(const Var& x, const Axes& axes) { return reduce(op::reduce_max, Var(x.v), axes, true); }

}  // namespace

Var mean(const Var& x, const Axes& axes, bool keepdim) {
  require_floating("mean", x);
  if (is_narrow(x.dtype())) return in_compute_type(x, [&](const Var& w) { return mean(w, axes, keepdim); });
  int64_t n = count_along(x.shape(), normalize_axes("mean", axes, x.shape().size()));
  Var s = reduce(op::reduce_sum, x, axes, keepdim);
  return n == 1 ? s : s / static_cast<double>(n);
}

// sum((x - mean)^2) / max(0, n - correction)
Var var(const Var& x, const Axes& axes, double correction, bool keepdim) {
  require_floating("var", x);
  if (is_narrow(x.dtype())) return in_compute_type(x, [&](const Var& w) { return var(w, axes, correction, keepdim); });
  double n = static_cast<double>(count_along(x.shape(), normalize_axes("var", axes, x.shape().size()))) - correction;
  Var s = reduce(op::reduce_sum, square(x - mean(x, axes, true)), axes, keepdim);
  return s / (n > 0 ? n : 0.0);
}

// m + log(sum(exp(x - m))) with m the largest where it is finite, else 0: a row of -inf gives -inf
// and one with inf gives inf, where x - m would be NaN.
Var logsumexp(const Var& x, const Axes& axes, bool keepdim) {
  require_floating("logsumexp", x);
  if (is_narrow(x.dtype())) return in_compute_type(x, [&](const Var& w) { return logsumexp(w, axes, keepdim); });
  Ints over = normalize_axes("logsumexp", axes, x.shape().size());
  if (count_along(x.shape(), over) == 0) return log(reduce(op::reduce_sum, exp(x), axes, keepdim));
  Var top = constant_max(x, axes);
  Var m = where(isfinite(top), top, 0.0);
  Var y = log(reduce(op::reduce_sum, exp(x - m), axes, true)) + m;
  return keepdim ? y : reshape(y, drop_axes(x.shape(), over));
}

Var softmax(const Var& x, int64_t axis) {
  require_floating("softmax", x);
  if (is_narrow(x.dtype())) return in_compute_type(x, [&](const Var& w) { return softmax(w, axis); });
  Axes over = one_axis("softmax", x, axis);
  if (numel(x.shape()) == 0) return x;
  Var e = exp(x - constant_max(x, over));
  return e / reduce(op::reduce_sum, e, over, true);
}

Var log_softmax(const Var& x, int64_t axis) {
  require_floating("log_softmax", x);
  if (is_narrow(x.dtype())) return in_compute_type(x, [&](const Var& w) { return log_softmax(w, axis); });
  Axes over = one_axis("log_softmax", x, axis);
  if (numel(x.shape()) == 0) return x;
  Var d = x - constant_max(x, over);
  return d - log(reduce(op::reduce_sum, exp(d), over, true));
}

}  // namespace pd
