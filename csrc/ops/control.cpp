// Nodes with a body: call, and foreach, which applies one elementwise body to many segments.
//
// A body is a closed graph of explicit parameters. The derivative of a call is a call of the
// derivative: the walks differentiate the body once over placeholders, so a derivative of any order
// is again a plain node, and nothing of the body's inside is kept between forward and backward.
#include <algorithm>
#include <memory>

#include "ops/families.h"

namespace pd {

namespace {

using Vars = std::vector<Var>;

constexpr size_t kMaxOperands = 60000;  // Value::nin has 16 bits

Spec infer_outs(const OpTraits& t, const Spec*, int, const Ints&) {
  fail(t.name, "the node does not say what its results are", "", "recording it through its function",
       ErrorKind::Runtime);
}

void vjp_call(const VjpArgs& a, Var* out) {
  const Graph& body = *a.extra->subs[0];
  GraphRef derivative(new Graph);
  Vars primals, cotangents, args;
  auto parameter = [&](const Spec& s, const Var& arg) {
    Var p(make_param(s));
    derivative->params.push_back(p.v);
    args.push_back(arg);
    return p;
  };
  for (int k = 0; k < a.nin; ++k) {
    if (!a.in[k])
      fail("call", "an operand was not kept for the derivative", "operand " + std::to_string(k),
           "reporting this graph", ErrorKind::Runtime);
    primals.push_back(parameter(a.specs[k], a.in[k]));
  }
  for (size_t k = 0; k < body.results.size(); ++k) {
    const Var& g = a.cotangents[k];
    cotangents.push_back(g ? parameter(spec_of(g), g) : Var());
  }
  Vars grads = g_autodiff.vjp_of_body(body, primals, cotangents);
  std::vector<int> which;
  for (int k = 0; k < a.nin; ++k) {
    const Var& g = grads[static_cast<size_t>(k)];
    if (!a.need[k] || !g) continue;
    which.push_back(k);
    derivative->results.push_back(g.v);
  }
  Vars got = call(derivative, args);
  for (size_t i = 0; i < which.size(); ++i) out[which[i]] = got[i];
}

std::unique_ptr<Extra> with_body(const GraphRef& body) {
  auto e = std::make_unique<Extra>();
  e->subs.push_back(body);
  return e;
}

void check_elementwise(const Graph& body) {
  std::vector<Value*> roots, order;
  for (const ValueRef& r : body.results) roots.push_back(r.get());
  postorder(roots, [](const Value*) { return true; }, order);
  for (const Value* v : order)
    if (v->pending() && traits(v->op).family != Family::Elementwise)
      fail("foreach", "the body is not elementwise", traits(v->op).name, "call", ErrorKind::Runtime);
}

// One node for all segments in [from, to); results segment by segment.
Vars foreach_node(const GraphRef& body, const std::vector<Vars>& segments, size_t from, size_t to, const Vars& shared) {
  Vars in;
  std::unique_ptr<Extra> extra = with_body(body);
  for (size_t k = from; k < to; ++k) {
    in.insert(in.end(), segments[k].begin(), segments[k].end());
    for (const ValueRef& r : body->results)
      extra->outs.push_back(Spec{segments[k][0].shape(), r->dtype, segments[k][0].device()});
  }
  in.insert(in.end(), shared.begin(), shared.end());
  Ints a = {static_cast<int64_t>(segments[from].size()), static_cast<int64_t>(to - from),
            static_cast<int64_t>(shared.size())};
  return apply_multi(op::foreach, in.data(), static_cast<int>(in.size()), attrs(a), extra.release());
}

}  // namespace

OpTraits control_row(OpId id) {
  OpTraits t;
  t.family = Family::Control;
  t.arity = -1;
  t.types = kAll;
  t.infer = infer_outs;
  if (id == op::call) {
    t.name = "call";
    t.doc = "The results of a graph applied to the operands.";
    t.needs_in = ~0u;
    t.vjp = vjp_call;
    return t;
  }
  if (id == op::foreach) {
    t.name = "foreach";
    t.doc = "One elementwise graph applied to each segment of operands: an optimizer's update in one launch.";
  } else {
    t.name = "fallback";
    t.family = Family::Fallback;
    t.may_fail = true;
    t.doc = "A host function of NumPy arrays.";
  }
  for (Diff& d : t.diff) d = Diff::No;
  return t;
}

Vars call(const GraphRef& body, const Vars& args) {
  if (args.size() != body->params.size())
    fail("call", "wrong number of arguments", std::to_string(args.size()),
         std::to_string(body->params.size()) + " arguments", ErrorKind::Type);
  if (args.size() > kMaxOperands)
    fail("call", "too many arguments", std::to_string(args.size()), "at most " + std::to_string(kMaxOperands));
  for (size_t k = 0; k < args.size(); ++k) {
    Spec want = body->params[k]->spec(), got = spec_of(args[k]);
    if (!(want == got))
      fail("call", "argument " + std::to_string(k) + " is not what the graph was recorded for",
           to_string(got) + " on " + to_string(got.device) + " for " + to_string(want) + " on " + to_string(want.device),
           "recording the graph again", ErrorKind::Type);
  }
  if (body->results.empty()) return {};
  std::unique_ptr<Extra> extra = with_body(body);
  for (const ValueRef& r : body->results) extra->outs.push_back(r->spec());
  return apply_multi(op::call, args.data(), static_cast<int>(args.size()), AttrsRef(), extra.release());
}

std::vector<Vars> foreach(const GraphRef& body, const std::vector<Vars>& segments, const Vars& shared) {
  if (segments.empty() || body->results.empty()) return std::vector<Vars>(segments.size());
  check_elementwise(*body);
  size_t np = segments[0].size(), nr = body->results.size();
  if (np == 0 || np + shared.size() != body->params.size())
    fail("foreach", "operands do not match the body's parameters",
         std::to_string(np) + " a segment and " + std::to_string(shared.size()) + " shared",
         std::to_string(body->params.size()) + " in all, at least one a segment", ErrorKind::Type);

  // Each operand in its parameter's type, all of a segment in one shape.
  std::vector<Vars> in = segments;
  Vars scalars = shared;
  for (Vars& s : in) {
    if (s.size() != np)
      fail("foreach", "segments differ in length", std::to_string(s.size()) + " and " + std::to_string(np),
           "the same operands in each", ErrorKind::Type);
    for (size_t k = 0; k < np; ++k) {
      if (s[k].shape() != s[0].shape())
        fail("foreach", "shapes of one segment differ", to_string(s[0].shape()) + " and " + to_string(s[k].shape()),
             "equal shapes");
      s[k] = cast(s[k], body->params[k]->dtype);
    }
  }
  for (size_t k = 0; k < scalars.size(); ++k) {
    if (!scalars[k].shape().empty())
      fail("foreach", "a shared operand is not 0-d", to_string(scalars[k].shape()), "an operand of each segment");
    scalars[k] = cast(scalars[k], body->params[np + k]->dtype);
  }

  std::vector<Vars> out;
  size_t chunk = std::max<size_t>(1, (kMaxOperands - std::min(scalars.size(), kMaxOperands)) / np);
  for (size_t from = 0; from < in.size(); from += chunk) {
    size_t to = std::min(in.size(), from + chunk);
    Vars got = foreach_node(body, in, from, to, scalars);
    for (size_t k = 0; k < to - from; ++k)
      out.emplace_back(got.begin() + static_cast<long>(k * nr), got.begin() + static_cast<long>((k + 1) * nr));
  }
  return out;
}

}  // namespace pd
