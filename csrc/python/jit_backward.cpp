#include "python/jit_backward.h"

#include <algorithm>
#include <unordered_set>

#include "exec/exec.h"
#include "graph/op_traits.h"
#include "graph/placeholders.h"

namespace pd {
namespace binding {

namespace {

constexpr int kStoreEvery = 64;  // of an elementwise chain, in additions: as an evaluation does

struct GradMode {
  bool was;
  explicit GradMode(bool on) : was(set_grad_enabled(on)) {}
  ~GradMode() { set_grad_enabled(was); }
};

// Hooks of leaves run when the gradient arrives there, which is in the pass around this one.
struct WithoutHooks {
  std::vector<std::pair<TapeNode*, std::vector<std::pair<int, Hook>>>> kept;
  explicit WithoutHooks(const std::vector<Edge>& at) {
    for (const Edge& e : at)
      if (!e.node->hooks.empty()) kept.push_back({e.node.get(), std::move(e.node->hooks)}), e.node->hooks.clear();
  }
  ~WithoutHooks() {
    for (auto& k : kept) k.first->hooks = std::move(k.second);
  }
};

bool cheap(const Value* v) {
  if (v->op == kOutput) return false;
  const Family f = traits(v->op).family;
  return f == Family::Elementwise || f == Family::Movement || f == Family::Create;
}

bool pending(const Value* v) { return v->pending(); }

// What products of these read, behind movements.
std::unordered_set<const Value*> read_by_products(const std::vector<Value*>& order) {
  std::unordered_set<const Value*> out;
  for (const Value* v : order)
    if (traits(v->op == kOutput ? OpId(op::add) : v->op).family == Family::Contraction)
      for (int k = 0; k < v->nin; ++k) {
        const Value* x = v->in(k);
        while (x->pending() && x->op != kOutput && traits(x->op).family == Family::Movement && x->nin == 1) x = x->in(0);
        out.insert(x);
      }
  return out;
}

bool has_rule_of_users(const std::vector<Var>& ys) {
  std::vector<TapeNode*> stack;
  std::unordered_set<TapeNode*> seen;
  for (const Var& y : ys)
    if (seen.insert(y.m->node.get()).second) stack.push_back(y.m->node.get());
  while (!stack.empty()) {
    TapeNode* n = stack.back();
    stack.pop_back();
    if (n->custom || !n->hooks.empty()) return true;
    if (n->leaf) continue;
    for (Edge& e : n->edges)
      if (e.node && seen.insert(e.node.get()).second) stack.push_back(e.node.get());
  }
  return false;
}

std::vector<Value*> pointers(const std::vector<ValueRef>& refs) {
  std::vector<Value*> out;
  for (const ValueRef& r : refs) out.push_back(r.get());
  return out;
}

}  // namespace

struct JitBackward::Rule : CustomRule {
  std::shared_ptr<JitBackward> b;
  std::vector<Var> inputs, cells;
  std::vector<ValueRef> stored;

  const char* name() const override { return "jit"; }
  bool takes_missing() const override { return true; }

  std::vector<Var> vjp(const std::vector<Var>& given) override {
    bool values = !grad_enabled();
    for (const std::vector<Var>* list : {&given, static_cast<const std::vector<Var>*>(&inputs)})
      for (const Var& v : *list) values &= !v || (!v.v->abstract && (!v.m || v.m->tangents.empty()));
    return values ? by_plan(given) : recorded(given);
  }

  std::vector<Var> by_plan(const std::vector<Var>& given) {
    uint64_t which = 0;
    const size_t n = given.size();
    for (size_t k = 0; k < n; ++k)
      if (given[k]) which |= uint64_t{1} << k;
    if (b->custom_) which = n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1;
    const Pass& pass = b->pass(which);
    std::vector<ValueRef> args;
    std::vector<Value*> late;
    for (const Var& v : inputs) args.push_back(v.v);
    for (const ValueRef& v : stored) args.push_back(v);
    for (size_t k = 0; k < n; ++k) {
      const Value& y = *b->ys_[k];
      args.push_back(given[k] ? given[k].v : zeros(y.shape, y.dtype, y.device).v);
    }
    for (size_t k = 0; k < args.size(); ++k)
      if (pass.recording->reads(static_cast<int>(k)) && args[k]->pending()) late.push_back(args[k].get());
    if (!late.empty()) evaluate(late);
    const std::vector<ValueRef> got = pass.recording->run(args, cells);
    std::vector<Var> out(b->wanted_.size());
    for (size_t k = 0; k < out.size(); ++k)
      if (pass.gradient[k] >= 0) out[k] = Var(got[static_cast<size_t>(pass.gradient[k])]);
    return out;
  }

  // The function once more on its inputs, so that the pass itself can be differentiated.
  std::vector<Var> recorded(const std::vector<Var>& given) {
    if (b->custom_)
      fail("jit", "a derivative of a derivative goes through a rule or hook of the user's in a traced function", "create_graph=True",
           "the function without jit", ErrorKind::Runtime);
    const bool create = grad_enabled();
    GradMode on(true);
    std::vector<Var> args = inputs, ys, asked;
    std::vector<Edge> targets;
    for (int k : b->wanted_) {
      Var& x = args[static_cast<size_t>(k)];
      x = make_leaf_var(x);
      targets.push_back(Edge{x.m->node, x.m->out});
    }
    for (const ValueRef& c : b->cells_) args.push_back(cast(cells[static_cast<size_t>(cell_of(c.get()))], c->dtype));
    for (size_t k = 0; k < given.size(); ++k)
      if (given[k]) {
        ys.push_back(Var(b->ys_[k]));
        asked.push_back(given[k]);
      }
    std::vector<Var> out;
    for (Gradient& g : reverse(substitute(ys, b->placeholders(), args), asked, targets, true, create)) out.push_back(g.g);
    return out;
  }
};

// Sources, then cells: what the graph is a function of.
std::vector<Var> JitBackward::placeholders() const {
  std::vector<Var> out;
  for (const ValueRef& v : sources_) out.push_back(Var(v));
  for (const ValueRef& v : cells_) out.push_back(Var(v));
  return out;
}

JitBackward::JitBackward(const std::vector<Var>& ys, Tracer& tracer, const std::vector<ValueRef>& forward) {
  if (ys.size() > 64)
    fail("jit", "too many results can be differentiated", std::to_string(ys.size()), "64 at most, stacked or detached", ErrorKind::Runtime);
  std::vector<Edge> targets;
  for (const Var& y : ys) {
    ys_.push_back(y.v);
    cotangents_.push_back(make_param(y.v->spec()));
  }
  for (size_t k = 0; k < tracer.sources.size(); ++k) {
    const Var& x = tracer.sources[k].lifted;
    if (!x || !x.m || !x.m->node) continue;
    wanted_.push_back(static_cast<int>(k));
    targets.push_back(Edge{x.m->node, x.m->out});
  }
  custom_ = has_rule_of_users(ys);
  std::vector<Var> given;
  for (const ValueRef& c : cotangents_) given.push_back(Var(c));
  {
    WithoutHooks quiet(targets);
    for (Gradient& g : reverse(ys, given, targets, true, false)) full_.push_back(Var(g.g ? g.g.v : ValueRef()));
  }
  // A derived view has no placeholder: one that nobody reads keeps the places.
  for (const TraceSource& s : tracer.sources) sources_.push_back(s.lifted ? s.lifted.v : make_param(s.spec));
  choose(full_, forward);
}

void JitBackward::choose(const std::vector<Var>& grads, const std::vector<ValueRef>& forward) {
  std::vector<Value*> order;
  postorder(pointers(forward), pending, order);
  const std::unordered_set<const Value*> known(order.begin(), order.end());
  std::unordered_set<const Value*> scalars;
  for (Value* v : order)
    for (int k = 0; k < v->nin; ++k)
      if (cell_of(v->in(k)) >= 0 && scalars.insert(v->in(k)).second) cells_.push_back(ValueRef(v->in(k)));
  std::vector<Value*> roots, back;
  for (const Var& g : grads)
    if (g) roots.push_back(g.v.get());
  postorder(roots, pending, back);
  std::unordered_set<const Value*> moved;  // depends on a cotangent
  for (const ValueRef& c : cotangents_) moved.insert(c.get());
  std::vector<Value*> stack;
  for (Value* v : back) {
    bool depends = false;
    for (int k = 0; k < v->nin && !depends; ++k) depends = moved.count(v->in(k)) != 0;
    if (!depends) continue;
    moved.insert(v);
    for (int k = 0; k < v->nin; ++k) stack.push_back(v->in(k));
  }
  for (Value* r : roots) stack.push_back(r);
  // What products read lies in memory anyway: where both passes have one of it, it is kept, if memory is not to be saved.
  std::unordered_set<const Value*> again;
  if (!memory_limit()) {
    const std::unordered_set<const Value*> here = read_by_products(order);
    for (const Value* v : read_by_products(back))
      if (here.count(v)) again.insert(v);
  }
  std::unordered_set<const Value*> seen;
  while (!stack.empty()) {
    Value* v = stack.back();
    stack.pop_back();
    if (!v->pending() || moved.count(v) || !seen.insert(v).second) continue;
    int below = 0;
    for (int k = 0; k < v->nin; ++k)
      if (v->in(k)->pending()) below = std::max<int>(below, v->in(k)->depth);
    const bool mark = v->depth / kStoreEvery != below / kStoreEvery && traits(v->op == kOutput ? OpId(op::add) : v->op).family != Family::Movement;
    if (known.count(v) && !v->multi() && v->abstract && (!cheap(v) || mark || again.count(v))) {
      stored_.push_back(ValueRef(v));
      continue;
    }
    for (int k = 0; k < v->nin; ++k) stack.push_back(v->in(k));
  }
}

std::unique_ptr<JitBackward::Pass> JitBackward::make(const std::vector<Var>& grads, const std::vector<ValueRef>& cut) const {
  auto pass = std::make_unique<Pass>();
  std::vector<ValueRef> results;
  for (const Var& g : grads) {
    pass->gradient.push_back(g ? static_cast<int>(results.size()) : -1);
    if (g) results.push_back(g.v->is_scalar() ? full({}, Var(g.v), g.dtype()).v : g.v);
  }
  std::vector<Value*> params = pointers(sources_);
  for (const ValueRef& v : cut) params.push_back(v.get());
  for (const ValueRef& v : cotangents_) params.push_back(v.get());
  const AsPlaceholders ends(pointers(cut));
  pass->recording = std::make_unique<Recording>(results, params);
  return pass;
}

void JitBackward::plan() {
  const size_t n = ys_.size();
  passes_[n == 64 ? ~uint64_t{0} : (uint64_t{1} << n) - 1] = make(full_, stored_);
  full_.clear();
}

const JitBackward::Pass& JitBackward::pass(uint64_t which) {
  std::unique_ptr<Pass>& p = passes_[which];
  if (p) return *p;
  // Only some of the results: the graph once more, with a tape.
  GradMode on(true);
  std::vector<Var> args = placeholders(), outs, given;
  std::vector<Edge> targets;
  for (int k : wanted_) {
    Var& x = args[static_cast<size_t>(k)];
    x = make_leaf_var(x);
    targets.push_back(Edge{x.m->node, x.m->out});
  }
  for (size_t k = 0; k < ys_.size(); ++k)
    if (which >> k & 1) {
      outs.push_back(Var(ys_[k]));
      given.push_back(Var(cotangents_[k]));
    }
  const size_t n = outs.size();
  for (const ValueRef& v : stored_) outs.push_back(Var(v));
  const std::vector<Var> again = substitute(outs, placeholders(), args);
  std::vector<ValueRef> cut;
  for (size_t k = n; k < again.size(); ++k) cut.push_back(again[k].v);
  std::vector<Var> grads;
  for (Gradient& g : reverse({again.begin(), again.begin() + static_cast<long>(n)}, given, targets, true, false))
    grads.push_back(Var(g.g ? g.g.v : ValueRef()));
  p = make(grads, cut);
  return *p;
}

std::vector<Var> JitBackward::attach(const std::shared_ptr<JitBackward>& b, std::vector<Var> inputs, std::vector<Var> cells,
                                     const std::vector<ValueRef>& ys, std::vector<ValueRef> stored) {
  auto rule = std::make_unique<Rule>();
  std::vector<Var> edges, outs;
  for (int k : b->wanted_) edges.push_back(inputs[static_cast<size_t>(k)]);
  for (const ValueRef& y : ys) outs.push_back(Var(y));
  rule->b = b;
  rule->inputs = std::move(inputs);
  rule->cells = std::move(cells);
  rule->stored = std::move(stored);
  return attach_custom(edges, outs, rule.release());
}

}  // namespace binding
}  // namespace pd
