// Recording on the tape, and tangents that travel with the values.
#include <algorithm>

#include "autodiff/autodiff.h"
#include "graph/custom.h"
#include "ops/api.h"

namespace pd {

namespace {

thread_local bool g_grad = true;
int64_t g_seq = 0;
int32_t g_level = 0;

// Tape nodes that hold tangents of a level still open; the level forgets them when it closes.
struct OpenLevel {
  int32_t level;
  std::vector<TapeRef> nodes;
};
std::vector<OpenLevel>& open_levels() {
  static auto* l = new std::vector<OpenLevel>;
  return *l;
}

std::vector<TapeNode*>& free_nodes() {
  static auto* f = new std::vector<TapeNode*>;
  return *f;
}

TapeNode* new_node() {
  auto& pool = free_nodes();
  TapeNode* n;
  if (pool.empty()) {
    n = new TapeNode;
  } else {
    n = pool.back();
    pool.pop_back();
  }
  n->seq = ++g_seq;
  return n;
}

void drop_saved(TapeNode* n) {
  for (Var& v : n->saved)
    if (v) --v.v->taped;
  for (Var& v : n->saved_out)
    if (v) --v.v->taped;
  n->saved.clear();
  n->saved_out.clear();
}

void recycle(TapeNode* n) {
  drop_saved(n);
  n->leaf = n->alias = n->freed = n->wanted = false;
  n->op = kLeaf;
  n->mark = 0;
  n->attrs.reset();
  n->extra.reset();
  n->edges.clear();
  n->specs.clear();
  n->outs.clear();
  n->cotangents.clear();
  n->hooks.clear();
  n->custom.reset();
  n->detour.reset();
  n->owner = nullptr;
  free_nodes().push_back(n);
}

Meta* new_meta() { return new Meta; }

bool has_edge(const Var& x) { return x.m && x.m->node; }

int top_level(const Var* in, int nin) {
  int top = 0;
  for (int k = 0; k < nin; ++k)
    if (in[k].m && !in[k].m->tangents.empty()) top = std::max(top, static_cast<int>(in[k].m->tangents.back().level));
  return top;
}

void note_tangents(TapeNode* n) {
  auto note = [&](const Var& v) {
    if (!v.m) return;
    for (const Tangent& t : v.m->tangents)
      for (OpenLevel& l : open_levels())
        if (l.level == t.level && (l.nodes.empty() || l.nodes.back().get() != n)) l.nodes.push_back(TapeRef(n));
  };
  for (const Var& v : n->saved) note(v);
  for (const Var& v : n->saved_out) note(v);
}

void forget_level(Var& v, int32_t level) {
  if (v.m && tangent_of(v, level)) v = strip_level(v, level);
}

// Saves what the derivative of `op` mentions and links the edges. `outs` have their values.
TapeNode* record_tape(OpId op, const Var* in, int nin, const AttrsRef& a, Var* outs, int nout) {
  const OpTraits& t = traits(op);
  TapeNode* n = new_node();
  n->op = op;
  n->attrs = a;
  n->edges.resize(nin);
  n->specs.resize(nin);
  n->saved.resize(nin);
  for (int k = 0; k < nin; ++k) {
    n->specs[k].shape = in[k].shape();
    n->specs[k].dtype = in[k].dtype();
    n->specs[k].device = in[k].device();
    if (has_edge(in[k]) && is_differentiable(in[k].dtype())) {
      n->edges[k].node = in[k].m->node;
      n->edges[k].out = in[k].m->out;
    }
  }
  // What the derivatives of the operands with an edge read, and no more.
  uint32_t needs_in = t.needs_in;
  bool needs_out = t.needs_out;
  if (nin <= 3 && t.mentions[0] != OpTraits::kUnknown) {
    uint32_t m = 0;
    for (int k = 0; k < nin; ++k)
      if (n->edges[k].node) m |= t.mentions[k];
    needs_in = m & 7;
    needs_out = m & 8;
  }
  for (int k = 0; k < nin; ++k)
    if (needs_in >> std::min(k, 31) & 1) {
      n->saved[k] = in[k];
      ++in[k].v->taped;
    }
  n->outs.resize(nout);
  n->saved_out.resize(needs_out ? nout : 0);
  for (int k = 0; k < nout; ++k) {
    n->outs[k] = outs[k].v->spec();
    if (needs_out) {
      n->saved_out[k] = Var(outs[k].v);
      ++outs[k].v->taped;
    }
  }
  return n;
}

void attach(Var& out, TapeNode* n, int k) {
  Meta* m = new_meta();
  if (out.m) m->tangents = out.m->tangents;
  m->node = TapeRef(n);
  m->out = k;
  out.m = Ref<Meta>(m);
}

// Records a node and gives its outputs as plain values.
std::vector<Var> record_values(OpId op, const Var* in, int nin, AttrsRef a, Extra* extra) {
  std::vector<Value*> vals(static_cast<size_t>(nin));
  for (int k = 0; k < nin; ++k) vals[static_cast<size_t>(k)] = in[k].v.get();
  ValueRef v = record(op, vals.data(), nin, std::move(a), extra);
  if (v->abstract) {
    // A walk that records this again needs what is known of the operands that it finds captured.
    for (int k = 0; k < nin; ++k) {
      if (!in[k].m) continue;
      if (!v->extra) v->extra = new Extra;
      v->extra->metas.resize(static_cast<size_t>(nin));
      v->extra->metas[static_cast<size_t>(k)] = in[k].m;
    }
  }
  std::vector<Var> outs;
  if (v->multi())
    for (size_t k = 0; k < v->extra->outs.size(); ++k) outs.push_back(Var(output_of(v.get(), static_cast<int>(k))));
  else
    outs.push_back(Var(v));
  return outs;
}

std::unique_ptr<Extra> copy_subs(const Extra* e) {
  if (!e || (e->subs.empty() && !e->custom)) return nullptr;
  auto c = std::make_unique<Extra>();
  c->subs = e->subs;
  c->custom = e->custom;
  c->outs = e->outs;
  return c;
}

// The op on operands freed of their tangents, then the tangents level by level, lowest first: the
// primals of a level carry the tangents of the levels below it.
void push_tangents(OpId op, const Var* in, int nin, const AttrsRef& a, const Extra* extra, std::vector<Var>& outs) {
  static const Ints none;
  bool carries = false;
  for (const Var& o : outs) carries |= is_differentiable(o.dtype());
  if (!carries) return;
  std::vector<int32_t> levels;
  for (int k = 0; k < nin; ++k)
    if (in[k].m)
      for (const Tangent& t : in[k].m->tangents)
        if (std::find(levels.begin(), levels.end(), t.level) == levels.end()) levels.push_back(t.level);
  std::sort(levels.begin(), levels.end());
  const OpTraits& t = traits(op);
  size_t n = static_cast<size_t>(nin);
  for (int32_t level : levels) {
    std::vector<Var> primals(n), tangents(n);
    std::vector<Spec> specs(n);
    bool any = false;
    for (int k = 0; k < nin; ++k) {
      size_t i = static_cast<size_t>(k);
      specs[i] = in[k].v->spec();
      tangents[i] = tangent_of(in[k], level);
      primals[i] = in[k];
      if (in[k].m) {
        // levels at or above this one do not reach into its primals
        while (primals[i].m && !primals[i].m->tangents.empty() && primals[i].m->tangents.back().level >= level)
          primals[i] = strip_level(primals[i], primals[i].m->tangents.back().level);
      }
      if (tangents[i]) {
        Diff d = t.diff[std::min(k, 3)];
        if (d == Diff::No) fail(t.name, "not differentiable with respect to operand " + std::to_string(k), "a tangent",
                                "detach() on that operand", ErrorKind::NotDifferentiable);
        if (d == Diff::Zero) tangents[i] = Var();
        any |= static_cast<bool>(tangents[i]);
      }
    }
    if (!any) continue;
    std::vector<Var> results;
    if (t.jvp_all) {
      results = t.jvp_all(JvpArgs{{op, nin, primals.data(), specs.data(), outs.data(), static_cast<int>(outs.size()),
                                   a ? a->v : none, extra}, tangents.data()});
    } else if (extra && !extra->subs.empty() && g_autodiff.jvp_of) {
      results = g_autodiff.jvp_of(*extra->subs[0], primals, tangents);
    } else {
      if (outs.size() != 1 || !t.jvp)
        fail(t.name, "has no forward-mode derivative", "a tangent", "reverse mode (grad, vjp)", ErrorKind::NotDifferentiable);
      JvpArgs args{{op, nin, primals.data(), specs.data(), outs.data(), 1, a ? a->v : none, extra}, tangents.data()};
      results.push_back(t.jvp(args));
    }
    for (size_t k = 0; k < outs.size(); ++k)
      if (results[k] && is_differentiable(outs[k].dtype())) outs[k] = with_tangent(outs[k], results[k], level);
  }
}

std::vector<Var> apply_all(OpId op, const Var* in, int nin, AttrsRef a, Extra* extra) {
  std::unique_ptr<Extra> subs = copy_subs(extra);
  std::vector<Var> outs = record_values(op, in, nin, a, extra);
  bool edges = false;
  if (g_grad)
    for (int k = 0; k < nin; ++k) edges |= has_edge(in[k]);
  bool differentiable = false;
  for (const Var& o : outs) differentiable |= is_differentiable(o.dtype());
  TapeRef node;
  if (edges && differentiable) {
    node = TapeRef(record_tape(op, in, nin, a, outs.data(), static_cast<int>(outs.size())));
    bool linked = false;
    for (const Edge& e : node->edges) linked |= static_cast<bool>(e.node);
    if (!linked) node.reset();
    else node->extra = copy_subs(subs.get());
  }
  if (node)
    for (size_t k = 0; k < outs.size(); ++k)
      if (is_differentiable(outs[k].dtype())) attach(outs[k], node.get(), static_cast<int>(k));
  if (top_level(in, nin)) {
    push_tangents(op, in, nin, a, subs.get(), outs);
    if (node) {
      for (int k = 0; k < node->saved_out.size(); ++k) {
        const Var& o = outs[static_cast<size_t>(k)];
        if (!o.m || o.m->tangents.empty()) continue;
        Meta* m = new_meta();
        m->tangents = o.m->tangents;
        node->saved_out[k].m = Ref<Meta>(m);
      }
      note_tangents(node.get());
    }
  }
  return outs;
}

Var apply_one(OpId op, const Var* in, int nin, AttrsRef a, Extra* extra) {
  return apply_all(op, in, nin, std::move(a), extra)[0];
}

void destroy_meta(Meta* m) { delete m; }

}  // namespace

void retain(TapeNode* n) { ++n->refs; }
void release(TapeNode* n) {
  if (--n->refs) return;
  // A long chain is taken apart by a work list.
  static thread_local std::vector<TapeNode*> dead;
  static thread_local bool busy = false;
  dead.push_back(n);
  if (busy) return;
  busy = true;
  while (!dead.empty()) {
    TapeNode* d = dead.back();
    dead.pop_back();
    recycle(d);
  }
  busy = false;
}

const char* name_of(const TapeNode* n) {
  if (n->custom) return n->custom->name();
  return n->extra && n->extra->custom ? n->extra->custom->code->name.c_str() : traits(n->op).name;
}

bool grad_enabled() { return g_grad; }
bool set_grad_enabled(bool on) {
  bool was = g_grad;
  g_grad = on;
  return was;
}

bool requires_grad(const Var& x) { return has_edge(x); }
Var detach(const Var& x) { return Var(x.v); }

Var make_leaf_var(const Var& x) {
  TapeNode* n = new_node();
  TapeRef ref(n);
  n->outs.resize(1);
  n->outs[0] = x.v->spec();
  if (has_edge(x)) {
    n->alias = true;
    n->edges.resize(1);
    n->specs.resize(1);
    n->edges[0].node = x.m->node;
    n->edges[0].out = x.m->out;
    n->specs[0] = x.v->spec();
  } else {
    n->leaf = true;
  }
  Var out = x;
  attach(out, n, 0);
  return out;
}

std::vector<Var> attach_custom(const std::vector<Var>& inputs, const std::vector<Var>& outputs, CustomRule* rule) {
  std::unique_ptr<CustomRule> owned(rule);
  std::vector<Var> outs;
  for (const Var& o : outputs) outs.push_back(Var(o.v));
  bool edges = false;
  if (g_grad)
    for (const Var& i : inputs) edges |= has_edge(i);
  if (!edges) return outs;
  TapeNode* n = new_node();
  TapeRef ref(n);
  n->custom = std::move(owned);
  int nin = static_cast<int>(inputs.size()), nout = static_cast<int>(outs.size());
  n->edges.resize(nin);
  n->specs.resize(nin);
  for (int k = 0; k < nin; ++k) {
    const Var& i = inputs[static_cast<size_t>(k)];
    n->specs[k] = i.v->spec();
    if (has_edge(i)) {
      n->edges[k].node = i.m->node;
      n->edges[k].out = i.m->out;
    }
  }
  n->outs.resize(nout);
  for (int k = 0; k < nout; ++k) {
    n->outs[k] = outs[static_cast<size_t>(k)].v->spec();
    if (is_differentiable(outs[static_cast<size_t>(k)].dtype())) attach(outs[static_cast<size_t>(k)], n, k);
  }
  return outs;
}

Var freed_result(const Var& x, OpId op) {
  Var out(x.v);
  const Var leaf = make_leaf_var(out);
  TapeNode* n = new_node();
  TapeRef ref(n);
  n->op = op;
  n->freed = true;
  n->edges.resize(1);
  n->specs.resize(1);
  n->edges[0].node = leaf.m->node;
  n->specs[0] = x.v->spec();
  n->outs.resize(1);
  n->outs[0] = x.v->spec();
  attach(out, n, 0);
  return out;
}

Var attach_detour(const Var& y, const std::vector<Var>& written, const Var& kept, std::unique_ptr<Detour> rule) {
  bool leads = false;
  for (const Var& w : written) leads |= has_edge(w);
  if (!has_edge(y) || !leads) return y;
  TapeNode* n = new_node();
  TapeRef ref(n);
  n->alias = true;
  const int ways = 1 + static_cast<int>(written.size());
  n->edges.resize(ways);
  n->specs.resize(ways);
  for (int k = 0; k < ways; ++k) {
    const Var& v = k ? written[static_cast<size_t>(k) - 1] : y;
    n->specs[k] = v.v->spec();
    if (!has_edge(v)) continue;
    n->edges[k].node = v.m->node;
    n->edges[k].out = v.m->out;
  }
  n->outs.resize(1);
  n->outs[0] = y.v->spec();
  n->detour = std::move(rule);
  n->saved.resize(1);
  if (kept) {
    n->saved[0] = kept;
    ++kept.v->taped;
  }
  n->saved_out.resize(1);
  n->saved_out[0] = Var(y.v);
  ++y.v->taped;
  if (!y.m->tangents.empty()) {
    Meta* m = new_meta();
    m->tangents = y.m->tangents;
    n->saved_out[0].m = Ref<Meta>(m);
  }
  note_tangents(n);
  Var out = y;
  attach(out, n, 0);
  return out;
}

// ---- tangents

int32_t push_level() {
  open_levels().push_back({++g_level, {}});
  return g_level;
}

void pop_level(int32_t level) {
  auto& open = open_levels();
  for (size_t i = 0; i < open.size(); ++i) {
    if (open[i].level != level) continue;
    std::vector<TapeRef> nodes = std::move(open[i].nodes);
    open.erase(open.begin() + static_cast<long>(i));
    for (TapeRef& n : nodes) {
      for (Var& v : n->saved) forget_level(v, level);
      for (Var& v : n->saved_out) forget_level(v, level);
    }
    return;
  }
}

Var with_tangent(const Var& x, const Var& t, int32_t level) {
  Meta* m = new_meta();
  if (x.m) {
    m->node = x.m->node;
    m->out = x.m->out;
    m->tangents = x.m->tangents;
  }
  auto at = std::find_if(m->tangents.begin(), m->tangents.end(), [&](const Tangent& o) { return o.level >= level; });
  if (at != m->tangents.end() && at->level == level) at->t = t;
  else m->tangents.insert(at, Tangent{level, t});
  return Var(x.v, Ref<Meta>(m));
}

Var tangent_of(const Var& x, int32_t level) {
  if (x.m)
    for (const Tangent& t : x.m->tangents)
      if (t.level == level) return t.t;
  return Var();
}

Var strip_level(const Var& x, int32_t level) {
  if (!tangent_of(x, level)) return x;
  Meta* m = new_meta();
  Ref<Meta> ref(m);
  m->node = x.m->node;
  m->out = x.m->out;
  for (const Tangent& t : x.m->tangents)
    if (t.level != level) m->tangents.push_back(t);
  return m->node || !m->tangents.empty() ? Var(x.v, ref) : Var(x.v);
}

std::vector<Var> apply_multi(OpId op, const Var* in, int nin, AttrsRef a, Extra* extra) {
  return apply_all(op, in, nin, std::move(a), extra);
}

void install_autodiff() {
  g_autodiff.apply = apply_one;
  g_autodiff.destroy_meta = destroy_meta;
  install_walks();
}

// Saved values are dropped once a backward pass that does not retain the graph went through.
void free_saved(TapeNode* n) {
  drop_saved(n);
  if (n->detour) {
    for (int k = 1; k < n->edges.size(); ++k) n->edges[k].node.reset();
    n->detour->until.clear();
  }
  n->freed = true;
}

}  // namespace pd
