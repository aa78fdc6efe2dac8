// Walks over abstract graphs: the batch walk and substitution, both by recording the graph once more.
#include <unordered_map>

#include "autodiff/autodiff.h"
#include "graph/custom.h"
#include "ops/api.h"

namespace pd {

namespace {

struct Image {
  std::vector<Var> outs;  // one, or one an output of the node
  bool batched = false;
};
using Env = std::unordered_map<const Value*, Image>;

bool is_abstract(const Value* v) { return v->abstract; }

// What operand k of a node is now: its image, or itself where it was captured.
Var operand(const Value* v, int k, const Env& env, bool* batched) {
  Value* o = v->in(k);
  auto it = env.find(o);
  *batched = it != env.end() && it->second.batched;
  if (it != env.end()) return it->second.outs[0];
  Ref<Meta> m;
  if (v->extra && static_cast<size_t>(k) < v->extra->metas.size()) m = v->extra->metas[static_cast<size_t>(k)];
  return Var(ValueRef(o), m);
}

std::unique_ptr<Extra> subs_of(const Value* v) {
  if (!v->extra || (v->extra->subs.empty() && v->extra->outs.empty())) return nullptr;
  auto e = std::make_unique<Extra>();
  e->subs = v->extra->subs;
  e->custom = v->extra->custom;
  e->outs = v->extra->outs;
  return e;
}

Var with_axis(const Var& x, int64_t size) {
  Shape s = x.shape();
  s.insert(0, size);
  return expand(x, s);
}

void walk(const std::vector<Value*>& roots, Env& env, int64_t size);

Image image_of(Value* v, const Env& env, int64_t size) {
  Image r;
  if (v->op == kOutput) {
    const Image& node = env.at(v->in(0));
    r.outs = {node.outs[static_cast<size_t>(v->ints()[0])]};
    r.batched = node.batched;
    return r;
  }
  size_t n = v->nin;
  std::vector<Var> in(n);
  std::unique_ptr<bool[]> batched(new bool[n + 1]);
  for (size_t k = 0; k < n; ++k) {
    in[k] = operand(v, static_cast<int>(k), env, &batched[k]);
    r.batched |= batched[k];
  }
  AttrsRef a = v->attrs ? AttrsRef(v->attrs) : AttrsRef();
  std::unique_ptr<Extra> extra = subs_of(v);
  const bool by_rule = extra && extra->custom && extra->custom->code->by_rule;
  if (!r.batched && !by_rule) {
    r.outs = v->multi() ? apply_multi(v->op, in.data(), v->nin, a, extra.release())
                        : std::vector<Var>{apply(v->op, in.data(), v->nin, a, extra.release())};
    return r;
  }
  const OpTraits& t = traits(v->op);
  static const Ints none;
  BatchArgs args{v->op, v->nin, in.data(), batched.get(), size, v->attrs ? v->attrs->v : none, extra.get()};
  if (t.batch_all) {
    r.outs = t.batch_all(args);
    return r;
  }
  if (v->multi()) {
    // A node whose body takes its operands one to one is its body, batched.
    const Graph* body = extra && extra->subs.size() == 1 ? extra->subs[0].get() : nullptr;
    if (!body || body->params.size() != n)
      fail(t.name, "has no batch rule", "vmap over it", "a loop in place of vmap", ErrorKind::NotDifferentiable);
    Env inner;
    std::vector<Value*> roots;
    for (size_t k = 0; k < n; ++k) inner[body->params[k].get()] = Image{{in[k]}, batched[k]};
    for (const ValueRef& x : body->results) roots.push_back(x.get());
    walk(roots, inner, size);
    for (Value* x : roots) {
      auto i = inner.find(x);
      Var one = i == inner.end() ? Var(ValueRef(x)) : i->second.outs[0];
      r.outs.push_back(i != inner.end() && i->second.batched ? one : with_axis(one, size));
    }
    return r;
  }
  if (!t.batch) fail(t.name, "has no batch rule", "vmap over it", "a loop in place of vmap", ErrorKind::NotDifferentiable);
  r.outs = {t.batch(args)};
  return r;
}

void walk(const std::vector<Value*>& roots, Env& env, int64_t size) {
  std::vector<Value*> order;
  postorder(roots, is_abstract, order);
  // Only what is computed from something with an image changes; the rest was captured.
  for (Value* v : order) {
    bool depends = false;
    for (int k = 0; k < v->nin && !depends; ++k) depends = env.count(v->in(k)) != 0;
    if (depends && !env.count(v)) env[v] = image_of(v, env, size);
  }
}

std::vector<Value*> values_of(const std::vector<Var>& vars) {
  std::vector<Value*> r;
  for (const Var& v : vars) r.push_back(v.v.get());
  return r;
}

std::vector<Var> rerecord(const std::vector<Var>& outputs, const std::vector<Var>& params,
                          const std::vector<Var>& args, const std::vector<bool>& batched, int64_t size,
                          std::vector<bool>& out_batched) {
  Env env;
  for (size_t k = 0; k < params.size(); ++k) env[params[k].v.get()] = Image{{args[k]}, batched[k]};
  walk(values_of(outputs), env, size);
  std::vector<Var> result;
  out_batched.clear();
  for (const Var& o : outputs) {
    auto it = env.find(o.v.get());
    bool computed = it != env.end();
    result.push_back(computed ? it->second.outs[0] : o);
    out_batched.push_back(computed && it->second.batched);
  }
  return result;
}

// ---- what control flow asks of the walks (graph/var.h)

// Cotangents of a body's parameters, recorded over placeholders that stand for them.
std::vector<Var> vjp_of_body(const Graph& body, const std::vector<Var>& primals, const std::vector<Var>& cotangents) {
  struct Enabled {
    bool was = set_grad_enabled(true);
    ~Enabled() { set_grad_enabled(was); }
  } enabled;
  std::vector<Var> params, leaves, outs, used, given;
  std::vector<Edge> targets;
  for (const ValueRef& p : body.params) params.push_back(Var(p));
  for (const ValueRef& r : body.results) outs.push_back(Var(r));
  for (const Var& p : primals) {
    leaves.push_back(is_differentiable(p.dtype()) ? make_leaf_var(p) : p);
    targets.push_back(leaves.back().m ? Edge{leaves.back().m->node, leaves.back().m->out} : Edge());
  }
  outs = substitute(outs, params, leaves);
  for (size_t k = 0; k < outs.size(); ++k)
    if (cotangents[k]) {
      used.push_back(outs[k]);
      given.push_back(cotangents[k]);
    }
  std::vector<Var> result;
  for (Gradient& g : reverse(used, given, targets, false, false)) result.push_back(g.g);
  return result;
}

std::vector<Var> jvp_of(const Graph& body, const std::vector<Var>& primals, const std::vector<Var>& tangents) {
  int32_t level = push_level();
  std::vector<Var> params, args, outs;
  for (const ValueRef& p : body.params) params.push_back(Var(p));
  for (const ValueRef& r : body.results) outs.push_back(Var(r));
  for (size_t k = 0; k < primals.size(); ++k)
    args.push_back(tangents[k] ? with_tangent(primals[k], tangents[k], level) : primals[k]);
  std::vector<Var> result;
  try {
    for (const Var& o : substitute(outs, params, args)) result.push_back(tangent_of(o, level));
  } catch (...) {
    pop_level(level);
    throw;
  }
  pop_level(level);
  return result;
}

}  // namespace

std::vector<Var> batch(const std::vector<Var>& outputs, const std::vector<Var>& params, const std::vector<Var>& args,
                       const std::vector<bool>& batched, int64_t size, std::vector<bool>& out_batched) {
  return rerecord(outputs, params, args, batched, size, out_batched);
}

std::vector<Var> substitute(const std::vector<Var>& outputs, const std::vector<Var>& params,
                            const std::vector<Var>& args) {
  std::vector<bool> batched(params.size(), false), ignored;
  return rerecord(outputs, params, args, batched, 0, ignored);
}

GraphRef close_graph(const std::vector<Var>& outputs, const std::vector<Var>& params) {
  GraphRef g(new Graph);
  for (const Var& p : params) g->params.push_back(p.v);
  for (const Var& o : outputs) g->results.push_back(o.v);
  verify(*g);
  return g;
}

void install_walks() {
  g_autodiff.vjp_of_body = vjp_of_body;
  g_autodiff.jvp_of = jvp_of;
}

}  // namespace pd
