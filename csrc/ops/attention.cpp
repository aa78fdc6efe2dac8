// Attention, whose kernel keeps no matrix of weights. Its derivative is an op with a kernel of its own, which computes the
// weights again; all that is rarer (forward mode, derivatives of derivatives, of the mask) is composed of other ops and has
// the matrices.
#include "ops/attention.h"

#include <limits>

#include "ops/families.h"

namespace pd {

namespace {

Var turned(const Var& x) { return swap_axes(x, -2, -1); }
Var row_sums(const Var& x) { return reduce(op::reduce_sum, x, {false, {x.shape().size() - 1}}, true); }

Extra* results(std::initializer_list<Spec> specs) {
  Extra* e = new Extra;
  e->outs = specs;
  return e;
}

std::vector<Var> record_forward(const Var* in, int nin, const Ints& a) {
  Spec o = spec_of(in[kQuery]), lse = o;
  o.shape.back() = in[kValue].shape().back();
  lse.shape.resize(lse.shape.size() - 1);
  lse.dtype = compute_type(lse.dtype);
  return apply_multi(op::attention, in, nin, attrs(a), results({o, lse}));
}

std::vector<Var> record_backward(const Var* in, int nin, const Ints& a) {
  return apply_multi(op::attention_backward, in, nin, attrs(a),
                     results({spec_of(in[kQuery]), spec_of(in[kKey]), spec_of(in[kValue])}));
}

Spec infer(const OpTraits& t, const Spec*, int, const Ints&) {
  fail(t.name, "the node does not say what its results are", "", "recording it through its function", ErrorKind::Runtime);
}

// ---- the same, composed, of 16-bit floats in float32

// 16-bit floats as what is computed with.
Var wide(const Var& x) { return x && is_floating(x.dtype()) ? cast(x, compute_type(x.dtype())) : x; }

// Rows of a group one after the other: (…, G, L, n) as (…, G L, n). Wide.
Var joined(const Var& narrow, bool grouped) {
  const Var x = wide(narrow);
  if (!grouped) return x;
  const Shape& s = x.shape();
  const int n = s.size();
  return reshape(x, join(part(s, 0, n - 3), {s[n - 3] * s[n - 2], s[n - 1]}));
}

struct Composed {
  Attention a;
  DType dtype;
  bool grouped;
  Shape q_shape, mask_shape;
  Var q, k, v, weights;

  Composed(const Var& query, const Var& key, const Var& value, const Var& mask, const Ints& attributes)
      : a(attributes), dtype(query.dtype()), grouped(query.shape().size() > key.shape().size()), q_shape(query.shape()),
        q(joined(query, grouped)), k(wide(key)), v(wide(value)) {
    const double none = -std::numeric_limits<double>::infinity();
    Var s = matmul(q * a.scale, turned(k));
    if (a.causal) s = select_where(seen(query.shape()[query.shape().size() - 2]), s, number(none, q.device()));
    if (mask) {
      mask_shape = mask.shape();
      const Var m = joined(mask, grouped);
      s = m.dtype() == DType::Bool ? select_where(m, s, number(none, q.device())) : s + m;
    }
    if (!mask && !a.causal) {
      weights = softmax(s, -1);
      return;
    }
    const Var blind = eq(reduce(op::reduce_max, s, {false, {s.shape().size() - 1}}, true), none);
    weights = select_where(blind, number(0.0, q.device()), softmax(select_where(blind, number(0.0, q.device()), s), -1));
  }

  // (G L, S): which sources a row sees.
  Var seen(int64_t rows) const {
    const int64_t all = q.shape()[q.shape().size() - 2], sources = k.shape()[k.shape().size() - 2];
    const Var one = le(iota({1, sources}, q.device()), iota({rows, 1}, q.device()));
    return reshape(expand(one, {all / rows, rows, sources}), {all, sources});
  }

  // Of the operands' type again; `split` also in the query's order of rows, `as_mask` in the mask's.
  Var given(const Var& x) const { return x ? cast(x, dtype) : x; }
  Var split(const Var& x) const {
    if (!grouped) return given(x);
    Shape s = q_shape;
    s.back() = x.shape().back();
    return reshape(given(x), s);
  }
  Var as_mask(const Var& x) const { return grouped ? reshape(given(x), mask_shape) : given(x); }
  // The softmax's Jacobian, which is symmetric, times x.
  Var through_softmax(const Var& x) const { return weights * (x - row_sums(weights * x)); }
  // Tangent of the scores.
  Var of_scores(const Var& tq, const Var& tk, const Var& tm) const {
    Var t;
    auto more = [&](const Var& x) { t = t ? t + x : x; };
    if (tq) more(matmul(joined(tq, grouped), turned(k)) * a.scale);
    if (tk) more(matmul(q, turned(wide(tk))) * a.scale);
    if (tm) more(joined(tm, grouped));
    return t;
  }
};

Var plus(const Var& a, const Var& b) { return a && b ? a + b : a ? a : b; }

// ---- rules of attention

void vjp(const VjpArgs& x, Var* out) {
  if (x.cotangents[1])
    fail("attention", "the logarithms of the sums have no derivative", "a cotangent", "the result's",
         ErrorKind::NotDifferentiable);
  const bool masked = x.nin > 3;
  if (masked && x.need[3]) {
    const Composed c(x.in[0], x.in[1], x.in[2], x.in[3], x.attrs);
    const Var s = c.through_softmax(matmul(joined(x.cotangents[0], c.grouped), turned(c.v)));
    out[3] = c.as_mask(s);
  }
  if (!x.need[0] && !x.need[1] && !x.need[2]) return;
  const Var in[] = {x.in[0], x.in[1], x.in[2], x.outs[0], x.outs[1], x.cotangents[0], masked ? x.in[3] : Var()};
  const std::vector<Var> d = record_backward(in, masked ? 7 : 6, x.attrs);
  for (int k = 0; k < 3; ++k)
    if (x.need[k]) out[k] = d[static_cast<size_t>(k)];
}

std::vector<Var> jvp(const JvpArgs& x) {
  const bool masked = x.nin > 3;
  const Composed c(x.in[0], x.in[1], x.in[2], masked ? x.in[3] : Var(), x.attrs);
  const Var s = c.of_scores(x.tangents[0], x.tangents[1], masked ? x.tangents[3] : Var());
  Var o = s ? matmul(c.through_softmax(s), c.v) : Var(), lse;
  if (s) {
    const Shape rows = part(c.q_shape, 0, c.q_shape.size() - 1);
    lse = reshape(row_sums(c.weights * s), rows);
  }
  if (x.tangents[2]) o = plus(o, matmul(c.weights, wide(x.tangents[2])));
  return {c.split(o), lse};
}

std::vector<Var> batch(const BatchArgs& a) {
  Var in[7];
  for (int k = 0; k < a.nin; ++k) in[k] = with_batch(a, k);
  return a.op == op::attention ? record_forward(in, a.nin, a.attrs) : record_backward(in, a.nin, a.attrs);
}

// ---- rules of its backward pass, which is a function of q, k, v, the cotangent g and the mask:
//
//   p = weights,  h = g vᵀ,  z = p (h - rows(p h)),  dq = scale z k,  dk = scale zᵀ q,  dv = pᵀ g
//
// where rows(x) are the sums of x along its rows, and products without a sign are of elements.

struct Backward : Composed {
  Var g, h, drop, z;
  explicit Backward(const RuleArgs& x)
      : Composed(x.in[kQuery], x.in[kKey], x.in[kValue], x.nin > kMaskBehind ? x.in[kMaskBehind] : Var(), x.attrs),
        g(joined(x.in[kCotangent], grouped)), h(matmul(g, turned(v))), drop(row_sums(weights * h)),
        z(weights * (h - drop)) {}
};

void vjp_backward(const VjpArgs& x, Var* out) {
  const Backward b(x);
  const Var &p = b.weights, of_k = wide(x.cotangents[1]), of_v = wide(x.cotangents[2]);
  const Var of_q = x.cotangents[0] ? joined(x.cotangents[0], b.grouped) : Var();
  const double scale = b.a.scale;
  Var of_z;  // what reaches z, then h, then p, then the scores
  if (of_q) of_z = matmul(of_q, turned(b.k)) * scale;
  if (of_k) of_z = plus(of_z, matmul(b.q, turned(of_k)) * scale);
  Var of_h, of_p;
  if (of_z) {
    const Var lost = row_sums(p * of_z);
    of_h = p * (of_z - lost);
    of_p = of_z * (b.h - b.drop) - lost * b.h;
  }
  if (of_v) of_p = plus(of_p, matmul(b.g, turned(of_v)));
  const Var s = b.through_softmax(of_p);
  if (x.need[kQuery]) {
    Var d = matmul(s, b.k) * scale;
    if (of_k) d = d + matmul(b.z, of_k) * scale;
    out[kQuery] = b.split(d);
  }
  if (x.need[kKey]) {
    Var d = matmul(turned(s), b.q) * scale;
    if (of_q) d = d + matmul(turned(b.z), of_q) * scale;
    out[kKey] = b.given(d);
  }
  if (x.need[kValue] && of_h) out[kValue] = b.given(matmul(turned(of_h), b.g));
  if (x.need[kCotangent]) {
    Var d = of_h ? matmul(of_h, b.v) : Var();
    if (of_v) d = plus(d, matmul(p, of_v));
    out[kCotangent] = b.split(d);
  }
  if (x.nin > kMaskBehind && x.need[kMaskBehind]) out[kMaskBehind] = b.as_mask(s);
}

std::vector<Var> jvp_backward(const JvpArgs& x) {
  const Backward b(x);
  const Var &p = b.weights, tk = wide(x.tangents[kKey]), tv = wide(x.tangents[kValue]);
  const Var tq = x.tangents[kQuery] ? joined(x.tangents[kQuery], b.grouped) : Var();
  const Var tg = x.tangents[kCotangent] ? joined(x.tangents[kCotangent], b.grouped) : Var();
  const Var s = b.of_scores(x.tangents[kQuery], tk, x.nin > kMaskBehind ? x.tangents[kMaskBehind] : Var());
  const double scale = b.a.scale;
  Var tp, th;
  if (s) tp = b.through_softmax(s);
  if (tg) th = matmul(tg, turned(b.v));
  if (tv) th = plus(th, matmul(b.g, turned(tv)));
  Var drop, tz;
  if (tp) drop = row_sums(tp * b.h);
  if (th) drop = plus(drop, row_sums(p * th));
  if (drop) tz = p * (th ? th - drop : -drop);
  if (tp) tz = plus(tz, tp * (b.h - b.drop));
  Var dq, dk, dv;
  if (tz) {
    dq = matmul(tz, b.k) * scale;
    dk = matmul(turned(tz), b.q) * scale;
  }
  if (tk) dq = plus(dq, matmul(b.z, tk) * scale);
  if (tq) dk = plus(dk, matmul(turned(b.z), tq) * scale);
  if (tp) dv = matmul(turned(tp), b.g);
  if (tg) dv = plus(dv, matmul(turned(p), tg));
  return {dq ? b.split(dq) : dq, b.given(dk), b.given(dv)};
}

// ---- which operands the kernel takes

// On CUDA kernels count rows in 32 bits.
constexpr int64_t kMostRowsOfCuda = int64_t(1) << 30;

// On the CPU, where nothing is masked, no keys are shared and the weights of all heads stay in the cache, the definition's
// derivative is faster, since it does not compute them again: with at most so many scores a head, unless there are so few in
// all that recording counts.
constexpr int64_t kFewOfHead = 96 * 96, kFewInAll = 8192;

bool positive(const Shape& s) { return numel(s) > 0; }

// A mask as (…, L, S), or with the heads in groups; its sizes may be 1.
Var laid_out(const Var& mask, int rank, int64_t groups) {
  Shape s = mask.shape();
  while (s.size() < rank) s.insert(0, 1);
  if (groups > 1) {
    const int at = rank - 3;
    const int64_t heads = s[at];
    s[at] = heads == 1 ? 1 : heads / groups;
    s.insert(at + 1, heads == 1 ? 1 : groups);
  }
  return reshape(mask, s);
}

// Sizes that broadcast, from the right; false where they do not.
bool widen(Shape& to, const Shape& from) {
  while (to.size() < from.size()) to.insert(0, 1);
  for (int k = 1; k <= from.size(); ++k) {
    int64_t& n = to[to.size() - k];
    const int64_t m = from[from.size() - k];
    if (n != m && n != 1 && m != 1) return false;
    if (n == 1) n = m;
  }
  return true;
}

}  // namespace

OpTraits attention_row(OpId id) {
  OpTraits t;
  const bool forward = id == op::attention;
  t.name = forward ? "attention" : "attention_backward";
  t.family = Family::Index;
  t.arity = -1;
  t.types = kFloats;
  t.reads_views = true;
  t.needs_in = forward ? 15u : 1u << kQuery | 1u << kKey | 1u << kValue | 1u << kCotangent | 1u << kMaskBehind;
  t.needs_out = forward;
  t.doc = forward ? "softmax(scale Q Kᵀ + mask) V, and the logarithms of the sums of its rows."
                  : "Cotangents of attention's query, key and value.";
  t.infer = infer;
  t.vjp = forward ? vjp : vjp_backward;
  t.jvp_all = forward ? jvp : jvp_backward;
  t.batch_all = batch;
  return t;
}

Var attention(const Var& query, const Var& key, const Var& value, const Var& mask, int64_t groups, const Attention& a) {
  const DType d = query.dtype();
  const int nq = query.shape().size(), nk = key.shape().size(), nv = value.shape().size();
  const int least = groups > 1 ? 3 : 2;
  if (groups < 1 || !is_floating(d) || key.dtype() != d || value.dtype() != d) return {};
  if (nq < least || nk < least || nv < least) return {};
  if (mask && mask.dtype() != DType::Bool && mask.dtype() != d) return {};
  const bool on_cuda = query.device().kind == DeviceKind::Cuda;
  if (is_narrow(d) && !on_cuda) {
    const Var y = attention(wide(query), wide(key), wide(value), wide(mask), groups, a);
    return y ? cast(y, d) : y;
  }
  const int64_t rows = query.shape()[nq - 2], width = query.shape().back();
  const int64_t sources = key.shape()[nk - 2], value_width = value.shape().back();
  if (key.shape().back() != width || value.shape()[nv - 2] != sources) return {};
  if (on_cuda && (std::max(width, value_width) > kWidestOfCuda || std::max(rows, sources) > kMostRowsOfCuda)) return {};
  if (!positive(query.shape()) || !positive(key.shape()) || !positive(value.shape())) return {};

  Var q = query;
  if (groups > 1) {
    const int64_t heads = query.shape()[nq - 3];
    if (heads % groups) return {};
    q = reshape(query, join(part(query.shape(), 0, nq - 3), {heads / groups, groups, rows, width}));
  }
  const int inner = groups > 1 ? 3 : 2;  // axes of q that k has not, and their own
  const Shape in_group = groups > 1 ? Shape{groups, rows} : Shape{rows};
  Shape lead = part(q.shape(), 0, q.shape().size() - inner);
  if (!widen(lead, part(key.shape(), 0, nk - 2)) || !widen(lead, part(value.shape(), 0, nv - 2))) return {};
  Var m;
  if (mask) {
    const int rank = std::max(mask.shape().size(), lead.size() + 2);
    if (groups > 1 && rank < 3) return {};
    if (groups > 1 && mask.shape().size() >= 3) {
      const int64_t heads = mask.shape()[mask.shape().size() - 3];
      if (heads != 1 && heads != query.shape()[nq - 3]) return {};
    }
    m = laid_out(mask, rank, groups);
    if (!positive(m.shape()) || !widen(lead, part(m.shape(), 0, m.shape().size() - inner))) return {};
    const Shape whole = join(in_group, {sources}), own = part(m.shape(), m.shape().size() - inner, inner);
    for (int k = 0; k < inner; ++k)
      if (own[k] != 1 && own[k] != whole[k]) return {};
    m = expand(m, join(lead, whole));
  }
  const int64_t scores = rows * sources, in_all = numel(lead) * (groups > 1 ? groups : 1) * scores;
  if (!on_cuda && !mask && !a.causal && groups == 1 && scores <= kFewOfHead && in_all >= kFewInAll) return {};
  const Var in[] = {expand(q, join(lead, join(in_group, {width}))), expand(key, join(lead, {sources, width})),
                    expand(value, join(lead, {sources, value_width})), m};
  const Var o = record_forward(in, m ? 4 : 3, a.attributes())[0];
  return groups > 1 ? reshape(o, join(part(lead, 0, lead.size() - 1), {lead.back() * groups, rows, value_width})) : o;
}

}  // namespace pd
