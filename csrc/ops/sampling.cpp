// Samples that a loop of unknown length draws (kernels/samplers.inc), and what checks their parameters.
//
// A sampler is elementwise in its parameters; the draw of element i is that of i modulo the elements of one draw, so a
// batch of parameters meets one draw, as everywhere inside vmap.
#include "ops/families.h"

namespace pd {

namespace {

// The parameters, all of one shape, then stream and key.
Spec infer_sample(const OpTraits& t, const Spec* in, int nin, const Ints&) {
  const bool whole = t.types == kI64;
  for (int k = 0; k < nin; ++k) {
    const bool number = k >= nin - 2;
    require_kernel(t.name, in[k].dtype, number || whole ? kI64 : kF64);
    if (number ? !in[k].shape.empty() : in[k].shape != in[0].shape)
      fail(t.name, "parameters differ in shape", to_string(in[k].shape) + " and " + to_string(in[0].shape),
           "broadcasting them first");
  }
  return in[0];
}

Var batch_sample(const BatchArgs& a) {
  std::vector<Var> in;
  for (int k = 0; k < a.nin; ++k) in.push_back(k < a.nin - 2 ? with_batch(a, k) : a.in[k]);
  return apply(a.op, in.data(), a.nin, attrs(a.attrs));
}

Var slope(const RuleArgs& a) { return apply(op::log_gamma_slope, {a.in[0], a.outs[0]}); }
void vjp_log_gamma(const VjpArgs& a, Var* out) {
  if (a.need[0]) out[0] = mul(a.cotangents[0], slope(a));
}
Var jvp_log_gamma(const JvpArgs& a) { return a.tangents[0] ? mul(a.tangents[0], slope(a)) : Var(); }

Spec infer_slope(const OpTraits& t, const Spec* in, int, const Ints&) {
  require_kernel(t.name, in[0].dtype, kF64);
  require_equal_types(t, in[0], in[1]);
  if (in[0].shape != in[1].shape)
    fail(t.name, "operands differ in shape", to_string(in[0].shape) + " and " + to_string(in[1].shape), "broadcasting them first");
  return in[0];
}
Var batch_slope(const BatchArgs& a) { return apply(op::log_gamma_slope, {with_batch(a, 0), with_batch(a, 1)}); }

Spec infer_check(const OpTraits& t, const Spec* in, int, const Ints& a) {
  require_kernel(t.name, in[0].dtype, t.types);
  if (a.size() < 3) fail(t.name, "no range", to_string(a), "low, high and flags");
  return in[0];
}
void vjp_check(const VjpArgs& a, Var* out) { out[0] = a.cotangents[0]; }
Var jvp_check(const JvpArgs& a) { return a.tangents[0]; }
Var batch_check(const BatchArgs& a) { return apply(op::check_range, {a.in[0]}, attrs(a.attrs)); }

OpTraits sample(const char* name, int arity, const char* doc) {
  OpTraits t;
  t.name = name;
  t.family = Family::Index;
  t.arity = static_cast<int8_t>(arity);
  t.types = kF64;
  t.doc = doc;
  t.infer = infer_sample;
  t.batch = batch_sample;
  for (Diff& d : t.diff) d = Diff::Zero;
  return t;
}

}  // namespace

OpTraits sampling_row(OpId id) {
  OpTraits t;
  switch (id) {
    case op::sample_log_gamma:
      t = sample("sample_log_gamma", 3, "The logarithm of a standard gamma variable, by shape.");
      t.diff[0] = Diff::Yes;
      t.needs_in = 1;
      t.needs_out = true;
      t.vjp = vjp_log_gamma;
      t.jvp = jvp_log_gamma;
      return t;
    case op::sample_poisson: return sample("sample_poisson", 3, "Poisson's distribution, by rate.");
    case op::sample_binomial: return sample("sample_binomial", 4, "Successes among so many tries, by count and probability.");
    case op::sample_integer:
      t = sample("sample_integer", 3, "Whole numbers below a range, which counts as unsigned (0: 2**64).");
      t.types = kI64;
      return t;
    case op::log_gamma_slope:
      t = sample("log_gamma_slope", 2, "The derivative of a gamma variable's logarithm by its shape, at a fixed quantile.");
      t.infer = infer_slope;
      t.batch = batch_slope;
      for (Diff& d : t.diff) d = Diff::No;
      return t;
    default:
      t.name = "check_range";
      t.family = Family::Index;
      t.arity = 1;
      t.types = kFloats;
      t.may_fail = true;
      t.twin = "x";
      t.doc = "The operand, if its elements lie in a range; otherwise an error.";
      t.infer = infer_check;
      t.vjp = vjp_check;
      t.jvp = jvp_check;
      t.batch = batch_check;
      return t;
  }
}

}  // namespace pd
