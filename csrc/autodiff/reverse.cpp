// The reverse walk: cotangents from outputs to leaves, newest tape node first.
#include <algorithm>
#include <queue>
#include <unordered_map>
#include <unordered_set>

#include "autodiff/autodiff.h"
#include "ops/api.h"
#include "ops/disjoint.h"

namespace pd {

namespace {

struct Newest {
  bool operator()(const TapeNode* a, const TapeNode* b) const { return a->seq < b->seq; }
};

// A walk's state on the nodes, undone however the walk ends. The nodes hold the state of one walk: a walk that begins while
// another waits for a user's function (a nested one, or one of another thread) packs that one's away, and it comes back with
// `own()`. All this is done under the interpreter's lock.
class Reached {
 public:
  std::vector<TapeRef> nodes;
  uint32_t mark = next_mark();
  std::unordered_map<const TapeNode*, std::vector<std::pair<int, Var>>> parts;  // cotangents that are summed together

  Reached() { own(); }
  ~Reached() {
    if (owner_ != this) return;
    for (TapeRef& n : nodes) n->cotangents.clear();
    owner_ = nullptr;
  }
  Reached(const Reached&) = delete;
  Reached& operator=(const Reached&) = delete;

  bool enter(TapeNode* n) {
    if (n->mark == mark) return false;
    n->mark = mark;
    n->wanted = false;
    n->cotangents.resize(n->outs.size());
    nodes.push_back(TapeRef(n));
    return true;
  }
  // After whatever may have called Python.
  void own() {
    if (owner_ == this) return;
    if (owner_) owner_->pack();
    owner_ = this;
    for (size_t k = 0; k < packed_.size(); ++k) {
      nodes[k]->wanted = packed_[k].wanted;
      nodes[k]->cotangents = std::move(packed_[k].cotangents);
    }
    packed_.clear();
  }

 private:
  struct Packed {
    bool wanted;
    Few<Var, 1> cotangents;
  };
  void pack() {
    packed_.reserve(nodes.size());
    for (TapeRef& n : nodes) {
      packed_.push_back({n->wanted, std::move(n->cotangents)});
      n->cotangents.clear();
    }
  }
  std::vector<Packed> packed_;
  static Reached* owner_;
};
Reached* Reached::owner_ = nullptr;

// All nodes below the outputs; with targets, marks as wanted those from which one can be reached.
void reach(Reached& r, const std::vector<Var>& outputs, const std::vector<Edge>& targets) {
  std::vector<TapeNode*> stack;
  for (const Var& o : outputs)
    if (o.m && o.m->node && r.enter(o.m->node.get())) stack.push_back(o.m->node.get());
  while (!stack.empty()) {
    TapeNode* n = stack.back();
    stack.pop_back();
    for (Edge& e : n->edges)
      if (e.node && r.enter(e.node.get())) stack.push_back(e.node.get());
  }
  if (targets.empty()) {
    for (TapeRef& n : r.nodes) n->wanted = true;
    return;
  }
  for (const Edge& t : targets)
    if (t.node && t.node->mark == r.mark) t.node->wanted = true;
  // Operands are older than results, so one pass from the oldest settles it.
  std::sort(r.nodes.begin(), r.nodes.end(), [](const TapeRef& a, const TapeRef& b) { return a->seq < b->seq; });
  for (TapeRef& n : r.nodes)
    for (Edge& e : n->edges)
      if (e.node && e.node->wanted) n->wanted = true;
}

void add_to(Var& slot, const Var& g) { slot = slot ? apply(op::add, {slot, g}) : g; }

void give(Reached& reached, const Edge& e, const Var& g) {
  if (is_part(g)) {
    reached.parts[e.node.get()].push_back({e.out, g});
  } else {
    add_to(e.node->cotangents[e.out], g);
  }
}

void add_parts(Reached& reached, TapeNode* n) {
  auto found = reached.parts.find(n);
  if (found == reached.parts.end()) return;
  for (int out = 0; out < n->outs.size(); ++out) {
    std::vector<Var> of_out;
    for (auto& [k, g] : found->second)
      if (k == out) of_out.push_back(g);
    if (!of_out.empty()) add_to(n->cotangents[out], sum_of_parts(of_out));
  }
  reached.parts.erase(found);
}

void check_fresh(TapeNode* n) {
  if (n->freed)
    fail("backward", "a second time through a graph that was freed", name_of(n),
         "backward(retain_graph=True) the first time", ErrorKind::Runtime);
}

// Does somebody ask for the cotangent of a node that only the detour of `fork` leads to?
bool is_asked_for(const TapeNode* fork, const std::vector<Edge>& targets) {
  std::vector<TapeNode*> stack, seen;
  auto enter = [&](const Edge& e) {
    TapeNode* n = e.node.get();
    if (!n || std::find(seen.begin(), seen.end(), n) != seen.end()) return;
    for (const TapeRef& end : fork->detour->until)
      if (end.get() == n) return;
    seen.push_back(n);
    stack.push_back(n);
  };
  for (int k = 1; k < fork->edges.size(); ++k) enter(fork->edges[k]);
  while (!stack.empty()) {
    TapeNode* n = stack.back();
    stack.pop_back();
    if (!n->hooks.empty()) return true;
    for (const Edge& t : targets)
      if (t.node.get() == n) return true;
    for (const Edge& e : n->edges) enter(e);
  }
  return false;
}

Var zeros_of(const TapeNode* n, int out) { return zeros(n->outs[out].shape, n->outs[out].dtype, n->outs[out].device); }

// Result k as the derivative rule reads it.
Var result_of(TapeNode* n, int k, bool create_graph) {
  Var y = n->saved_out[k];
  if (!create_graph) return y;
  Meta* m = new Meta;
  if (y.m) m->tangents = y.m->tangents;
  m->node = TapeRef(n);
  m->out = k;
  y.m = Ref<Meta>(m);
  return y;
}

void take_detour(TapeNode* fork, const Var& g, Reached& reached, bool create_graph) {
  check_fresh(fork);
  const std::vector<Var> out = fork->detour->vjp(g, result_of(fork, 0, create_graph), fork->saved[0]);
  for (int k = 1; k < fork->edges.size(); ++k) {
    const Edge& e = fork->edges[k];
    if (e.node && e.node->wanted) give(reached, e, out[static_cast<size_t>(k) - 1]);
  }
}

// Sends a node's cotangents `given` on to its operands. `flat` gets the nodes of those of which the derivative is 0: nothing
// is sent there.
void pull(TapeNode* n, Few<Var, 1> given, Reached& reached, bool create_graph, std::vector<TapeNode*>& flat) {
  int nin = n->edges.size();
  if (n->alias) {
    give(reached, n->edges[0], given[0]);
    return;
  }
  check_fresh(n);
  Few<Var, 3> out;
  out.resize(nin);
  if (n->custom) {
    std::vector<Var> gs;
    for (int k = 0; k < n->outs.size(); ++k)
      gs.push_back(given[k] || n->custom->takes_missing() ? given[k] : zeros_of(n, k));
    std::vector<Var> got = n->custom->vjp(gs);
    for (int k = 0; k < nin && k < static_cast<int>(got.size()); ++k) out[k] = got[static_cast<size_t>(k)];
  } else {
    const OpTraits& t = traits(n->op);
    SmallVec<bool, 8> need(nin, false);
    for (int k = 0; k < nin; ++k) {
      need[k] = n->edges[k].node && n->edges[k].node->wanted;
      if (need[k] && (t.diff[std::min(k, 3)] == Diff::No || !t.vjp))
        fail(t.name, "not differentiable with respect to operand " + std::to_string(k), "a backward pass",
             "detach() on that operand", ErrorKind::NotDifferentiable);
    }
    Few<Var, 1> outs;
    outs.resize(n->saved_out.size());
    for (int k = 0; k < n->saved_out.size(); ++k) outs[k] = result_of(n, k, create_graph);
    static const Ints none;
    VjpArgs a{{n->op, nin, n->saved.data(), n->specs.data(), outs.data(), outs.size(), n->attrs ? n->attrs->v : none,
               n->extra.get()},
              given.data(), need.data()};
    t.vjp(a, out.data());
    for (int k = 0; k < nin; ++k)
      if (need[k] && !out[k] && t.diff[std::min(k, 3)] == Diff::Zero) flat.push_back(n->edges[k].node.get());
  }
  reached.own();
  for (int k = 0; k < nin; ++k)
    if (out[k] && n->edges[k].node && n->edges[k].node->wanted) give(reached, n->edges[k], out[k]);
}

// Calls f(node) for the nodes and all below them, once each.
template <class F>
void for_each_below(std::vector<TapeNode*> stack, F&& f) {
  std::unordered_set<TapeNode*> seen(stack.begin(), stack.end());
  stack.assign(seen.begin(), seen.end());
  while (!stack.empty()) {
    TapeNode* n = stack.back();
    stack.pop_back();
    f(n);
    for (Edge& e : n->edges)
      if (e.node && seen.insert(e.node.get()).second) stack.push_back(e.node.get());
  }
}

struct GradMode {
  bool was;
  explicit GradMode(bool on) : was(set_grad_enabled(on)) {}
  ~GradMode() { set_grad_enabled(was); }
};

}  // namespace

std::vector<Gradient> reverse(const std::vector<Var>& outputs, const std::vector<Var>& cotangents,
                              const std::vector<Edge>& targets, bool retain_graph, bool create_graph) {
  GradMode mode(create_graph);
  Reached reached;
  reach(reached, outputs, targets);
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i].m && outputs[i].m->node) give(reached, Edge{outputs[i].m->node, outputs[i].m->out}, cotangents[i]);

  std::vector<TapeNode*> order;
  for (TapeRef& n : reached.nodes)
    if (n->wanted) order.push_back(n.get());
  std::sort(order.begin(), order.end(), [](const TapeNode* a, const TapeNode* b) { return a->seq > b->seq; });

  std::unordered_set<TapeNode*> detours;
  for (TapeNode* n : order)
    if (n->detour && is_asked_for(n, targets)) detours.insert(n);

  std::vector<Gradient> found;
  std::vector<Var> at_target(targets.size());
  std::vector<TapeNode*> flat;
  for (TapeNode* n : order) {
    if (!reached.parts.empty()) add_parts(reached, n);
    bool any = false;
    for (Var& c : n->cotangents) any |= static_cast<bool>(c);
    if (!any) continue;
    for (auto& [k, hook] : n->hooks)
      if (n->cotangents[k]) {
        const Var given = n->cotangents[k];
        Var g = hook(given);
        reached.own();
        if (g) n->cotangents[k] = g;
      }
    for (size_t i = 0; i < targets.size(); ++i)
      if (targets[i].node.get() == n) at_target[i] = n->cotangents[targets[i].out];
    if (n->leaf) {
      if (targets.empty()) found.push_back({TapeRef(n), 0, n->cotangents[0]});
    } else {
      bool onward = false;
      for (Edge& e : n->edges) onward |= e.node && e.node->wanted;
      if (onward && detours.count(n)) take_detour(n, n->cotangents[0], reached, create_graph);
      else if (onward) pull(n, std::move(n->cotangents), reached, create_graph, flat);
      if (!retain_graph && (!n->alias || n->detour)) free_saved(n);
    }
    n->cotangents.clear();
    n->cotangents.resize(n->outs.size());
  }
  // What is reached where the derivative is 0, and nowhere else, has zeros.
  if (!flat.empty()) {
    std::unordered_set<TapeNode*> has;
    for (const Gradient& g : found) has.insert(g.node.get());
    for_each_below(flat, [&](TapeNode* n) {
      if (targets.empty() && n->leaf && !has.count(n)) found.push_back({TapeRef(n), 0, zeros_of(n, 0)});
      for (size_t i = 0; i < targets.size(); ++i)
        if (targets[i].node.get() == n && !at_target[i]) at_target[i] = zeros_of(n, targets[i].out);
    });
  }
  for (size_t i = 0; i < targets.size(); ++i) found.push_back({targets[i].node, targets[i].out, at_target[i]});
  return found;
}

}  // namespace pd
