// An operation of the user's own: its rules are the host's (graph/custom.h).
#include "graph/custom.h"
#include "ops/families.h"

namespace pd {

namespace {

Spec infer_custom(const OpTraits& t, const Spec*, int, const Ints&) {
  fail(t.name, "the node does not say what its results are", "", "recording it through its function", ErrorKind::Runtime);
}

void vjp_custom(const VjpArgs& a, Var* out) { g_custom.vjp(*a.extra->custom, a, out); }
std::vector<Var> jvp_custom(const JvpArgs& a) { return g_custom.jvp(*a.extra->custom, a); }
std::vector<Var> batch_custom(const BatchArgs& a) { return g_custom.batch(*a.extra->custom, a); }

}  // namespace

OpTraits custom_row() {
  OpTraits t;
  t.name = "custom";
  t.family = Family::Fallback;
  t.arity = -1;
  t.types = kAll;
  t.may_fail = true;
  t.needs_in = ~0u;
  t.needs_out = true;
  t.doc = "An operation of the user's own: a kernel for each device, with a shape rule and derivative rules.";
  t.infer = infer_custom;
  t.vjp = vjp_custom;
  t.jvp_all = jvp_custom;
  t.batch_all = batch_custom;
  return t;
}

}  // namespace pd
