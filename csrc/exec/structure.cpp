// Plans by structure: the key, the piece of graph, the cache.
#include "exec/structure.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "device/cuda/cuda.h"
#include "exec/profile.h"
#include "exec/stats.h"
#include "graph/placeholders.h"
#include "ops/element.h"
#include "ops/loops.h"

namespace pd {

namespace {

constexpr size_t kMaxPlans = 1024;

struct Hash {
  size_t operator()(const std::vector<uint64_t>& k) const {
    uint64_t h = 0x9e3779b97f4a7c15ull;
    for (uint64_t x : k) {
      h ^= x;
      h *= 0xff51afd7ed558ccdull;
      h ^= h >> 32;
    }
    return static_cast<size_t>(h);
  }
};

// A body is part of the structure: by its printed form, once a graph.
uint64_t body_id(const Graph* g) {
  static std::unordered_map<std::string, uint64_t> ids;
  std::string text = print(*g);
  return ids.emplace(text, ids.size() + 1).first->second;
}

// ---- the piece of graph of a plan

class PieceMaker {
 public:
  explicit PieceMaker(const Work& w) : w_(w) {}

  Piece make(std::vector<int>& outputs) {
    p_.nodes.reserve(w_.leaves.size() + w_.numbers.size() + w_.order.size());
    for (size_t i = 0; i < w_.leaves.size(); ++i) add_argument(w_.leaves[i], NodeKind::Leaf, static_cast<int>(i));
    for (size_t i = 0; i < w_.numbers.size(); ++i) add_argument(w_.numbers[i], NodeKind::Number, static_cast<int>(i));
    at_.reserve(w_.order.size());
    for (size_t i = 0; i < w_.order.size(); ++i) {
      Value* v = w_.order[i];
      origin_ = static_cast<int>(i);
      int n = add(v, nullptr);
      at_.push_back(n);
      if (w_.is_output[i]) {
        p_.nodes[static_cast<size_t>(n)].output = true;
        outputs.push_back(n);
      }
    }
    return std::move(p_);
  }

 private:
  using Places = std::unordered_map<const Value*, int>;  // of the values of a body

  void add_argument(Value* v, NodeKind kind, int number) {
    PieceNode n;
    n.kind = kind;
    n.dtype = v->dtype;
    n.shape = v->shape;
    n.leaf = number;
    push(std::move(n));
  }

  int push(PieceNode n) {
    p_.nodes.push_back(std::move(n));
    return static_cast<int>(p_.nodes.size()) - 1;
  }

  // `body` is null for what the graph itself has: its values know their numbers.
  int add(Value* v, Places* body) {
    int n = node_of(v, body);
    if (body) (*body)[v] = n;
    return n;
  }

  int node_of(Value* v, Places* body) {
    if (v->op == kOutput) {
      auto inlined = results_.find(v->in(0));
      if (inlined != results_.end()) {
        int r = inlined->second[static_cast<size_t>(v->ints()[0])];
        // An output flag belongs to one node: what is already one gets a copy in name.
        if (p_.nodes[static_cast<size_t>(r)].output || p_.nodes[static_cast<size_t>(r)].kind == NodeKind::Leaf ||
            p_.nodes[static_cast<size_t>(r)].kind == NodeKind::Number)
          r = copy_of(r);
        return r;
      }
    }
    PieceNode n;
    n.op = v->op;
    n.dtype = v->dtype;
    n.shape = v->shape;
    n.attrs = v->ints();
    n.origin = origin_;
    for (int k = 0; k < v->nin; ++k) n.in.push_back(place(v->in(k), body));
    if (v->op == kOutput) {
      n.kind = NodeKind::Opaque;
      n.part = static_cast<int>(v->ints()[0]);
      return push(std::move(n));
    }
    switch (traits(v->op).family) {
      case Family::Elementwise: n.kind = NodeKind::Fusible; break;
      case Family::Create: n.kind = NodeKind::Index; n.attrs.clear(); break;
      case Family::Reduce: n.kind = NodeKind::Reduce; break;
      case Family::Movement: n.kind = NodeKind::Move; break;
      default: n.kind = NodeKind::Opaque;
    }
    if (v->extra && v->extra->custom) {
      n.custom = v->extra->custom->code;
      n.outs = v->extra->outs;
    } else if (v->multi() && v->extra->subs.empty()) {
      n.outs = v->extra->outs;
    } else if (v->multi()) {
      const Graph& sub = *v->extra->subs[0];
      if (sub.params.size() == v->nin && v->ints().empty()) return inline_body(v, sub, n.in);
      n.body = v->extra->subs[0];
      n.outs = v->extra->outs;
    }
    return push(std::move(n));
  }

  // A number inside a body is made when the plan runs, from the same bits.
  int place(Value* v, Places* body) {
    if (!body) {
      if (v->pending()) return at_[v->index];
      return static_cast<int>(v->index + (v->is_scalar() ? w_.leaves.size() : 0));
    }
    auto it = body->find(v);
    if (it != body->end()) return it->second;
    if (!v->is_scalar()) fail("evaluate", "an operand outside the graph", "", "reporting this", ErrorKind::Runtime);
    PieceNode n;
    n.kind = NodeKind::Number;
    n.dtype = v->dtype;
    n.leaf = static_cast<int>(w_.numbers.size()) + static_cast<int>(body_numbers.size());
    body_numbers.push_back(v);
    return (*body)[v] = push(std::move(n));
  }

  int inline_body(Value* v, const Graph& body, const SmallVec<int, 4>& args) {
    Places inner;
    for (int k = 0; k < args.size(); ++k) inner[body.params[static_cast<size_t>(k)].get()] = args[k];
    std::vector<Value*> roots, order;
    for (const ValueRef& r : body.results) roots.push_back(r.get());
    postorder(roots, [](const Value* x) { return x->pending(); }, order);
    for (Value* x : order) add(x, &inner);
    std::vector<int>& results = results_[v];
    for (const ValueRef& r : body.results) results.push_back(place(r.get(), &inner));
    return results.empty() ? -1 : results[0];
  }

  int copy_of(int r) {
    PieceNode n;
    n.op = find_op("cast");
    n.kind = NodeKind::Fusible;
    n.dtype = p_.nodes[static_cast<size_t>(r)].dtype;
    n.shape = p_.nodes[static_cast<size_t>(r)].shape;
    n.attrs = {static_cast<int64_t>(n.dtype)};
    n.in = {r};
    return push(std::move(n));
  }

  const Work& w_;
  Piece p_;
  std::vector<int> at_;  // place in the walk -> node
  int origin_ = -1;
  std::unordered_map<const Value*, std::vector<int>> results_;

 public:
  std::vector<const Value*> body_numbers;
};

// ---- plans by structure, least recently used first out

using Cache = std::unordered_map<std::vector<uint64_t>, Planned, Hash>;
Cache& cache() {
  static auto* c = new Cache;
  return *c;
}
uint64_t g_tick = 0;

void trim() {
  Cache& c = cache();
  if (c.size() <= kMaxPlans) return;
  std::vector<uint64_t> ticks;
  for (auto& e : c) ticks.push_back(e.second.used);
  std::nth_element(ticks.begin(), ticks.begin() + static_cast<long>(kMaxPlans / 4), ticks.end());
  uint64_t limit = ticks[kMaxPlans / 4];
  for (auto it = c.begin(); it != c.end();) it = it->second.used < limit ? c.erase(it) : std::next(it);
}

// Once a kernel.
void warn_unfused(const CudaCompileError& e) {
  static auto* told = new std::unordered_set<std::string>;
  if (told->insert(e.kernel).second && g_exec.warn)
    g_exec.warn((std::string(e.what()) + "; its operations run each in a kernel of its own").c_str());
}

// The numbers of formulas that were met, by their bits: open addressing over places in `numbers`.
class Constants {
 public:
  // The place of a number with the same bits and dtype, or `place`, which it has from now on.
  uint32_t place_of(const Value* v, uint32_t place) {
    if (2 * (used_ + 1) > table_.size()) grow();
    const Entry e{number_bits(v), v->dtype, place};
    return put(e);
  }

 private:
  struct Entry {
    int64_t bits;
    DType dtype;
    uint32_t place;
  };
  uint32_t put(const Entry& e) {
    uint64_t h = static_cast<uint64_t>(e.bits) * 0xff51afd7ed558ccdull + static_cast<uint64_t>(e.dtype);
    for (size_t i = (h ^ h >> 32) & (table_.size() - 1);; i = (i + 1) & (table_.size() - 1)) {
      if (table_[i] == 0) {
        entries_.push_back(e);
        table_[i] = static_cast<uint32_t>(entries_.size());
        ++used_;
        return e.place;
      }
      const Entry& o = entries_[table_[i] - 1];
      if (o.bits == e.bits && o.dtype == e.dtype) return o.place;
    }
  }
  void grow() {
    std::vector<Entry> old = std::move(entries_);
    entries_.clear();
    used_ = 0;
    table_.assign(table_.empty() ? 32 : table_.size() * 2, 0);
    for (const Entry& e : old) put(e);
  }
  std::vector<uint32_t> table_;  // 1 + a place in entries_; 0: free
  std::vector<Entry> entries_;
  size_t used_ = 0;
};

}  // namespace

void make_key(Work& w) {
  std::vector<uint64_t>& k = w.key;
  k.reserve(w.order.size() * 6);
  const DeviceId d = w.order.empty() ? DeviceId{} : w.order[0]->device;
  k.push_back(static_cast<uint64_t>(d.kind) << 8 | static_cast<uint8_t>(d.index));
  k.push_back(static_cast<uint64_t>(memory_limit()));
  uint32_t mark = next_mark();
  Constants constants;
  auto shape = [&](const Ints& s) {
    for (int64_t d : s) k.push_back(static_cast<uint64_t>(d));
  };
  for (size_t i = 0; i < w.order.size(); ++i) {
    Value* v = w.order[i];
    size_t na = v->attrs ? static_cast<size_t>(v->attrs->v.size()) : 0;
    k.push_back(uint64_t(v->op) | uint64_t(v->dtype) << 16 | uint64_t(w.is_output[i]) << 24 | uint64_t(v->nin) << 32 |
                uint64_t(v->shape.size()) << 48 | uint64_t(na & 0xff) << 56);
    shape(v->shape);
    if (na) shape(v->attrs->v);
    for (int j = 0; j < v->nin; ++j) {
      Value* o = v->in(j);
      if (o->pending()) {
        k.push_back(o->index);
        continue;
      }
      bool number = o->is_scalar();
      if (o->mark != mark) {
        o->mark = mark;
        auto& list = number ? w.numbers : w.leaves;
        const uint32_t place = static_cast<uint32_t>(list.size());
        o->index = number && (o->flags & kConstant) ? constants.place_of(o, place) : place;
        if (o->index == place) list.push_back(o);
        k.push_back(uint64_t(number ? 2 : 1) << 62 | uint64_t(o->dtype) << 48 | uint64_t(o->shape.size()) << 40 | o->index);
        shape(o->shape);
      } else {
        k.push_back(uint64_t(number ? 2 : 1) << 62 | o->index);
      }
    }
    if (v->extra) {
      for (const GraphRef& g : v->extra->subs) k.push_back(body_id(g.get()));
      if (v->extra->custom) k.push_back(v->extra->custom->code->id);
    }
    w.size += v->size();
  }
}

Piece piece_of(const Work& w, std::vector<int>& outputs, std::vector<const Value*>& body_numbers) {
  PieceMaker maker(w);
  Piece piece = maker.make(outputs);
  body_numbers = std::move(maker.body_numbers);
  return piece;
}

Planned make_plan(const Work& w, DeviceId device, bool compile, Piece* used) {
  Planned c;
  auto build = [&](const FuseOptions& options) {
    std::vector<int> outputs;
    std::vector<const Value*> body_numbers;
    Piece piece = piece_of(w, outputs, body_numbers);
    std::vector<DType> numbers;
    for (Value* v : w.numbers) numbers.push_back(v->dtype);
    c.body_cells.clear();
    for (const Value* v : body_numbers) {
      numbers.push_back(v->dtype);
      c.body_cells.push_back(number_bits(v));
    }
    c.plan = build_plan(device, std::move(piece), outputs, static_cast<int>(w.leaves.size()), numbers, options, compile, used);
  };
  FuseOptions options = fuse_options();
  try {
    build(options);
  } catch (const CudaCompileError& e) {
    if (!options.fuse) throw;
    // Each operation by itself is a smaller text, which may compile; if not, its error is the one to read.
    options.fuse = false;
    build(options);
    warn_unfused(e);
  }
  return c;
}

Planned plan_of(const Work& w, bool* met) {
  auto it = cache().find(w.key);
  if (met) *met = it != cache().end();
  if (it == cache().end()) {
    profile::HostSpan planning(profile::Kind::Plan, w.order[0]->device);
    Planned c = make_plan(w, w.order[0]->device);
    planning.say(c.plan->limited() ? c.plan->fit_text().c_str() : "plan", c.plan->steps.size());
    ++stats().plans;
    it = cache().emplace(w.key, std::move(c)).first;
  } else {
    ++stats().replays;
  }
  it->second.used = ++g_tick;
  Planned found = it->second;
  trim();
  return found;
}

void describe(Plan& plan, const Work& w) {
  if (plan.steps.empty() || plan.steps[0].facts) return;
  std::unique_ptr<Plan> again;
  const AsPlaceholders ends(w.leaves);
  if (std::all_of(w.order.begin(), w.order.end(), is_pending)) {
    Work now;  // of a recording the numbers in the nodes are other evaluations' by now
    now.order = w.order;
    now.is_output = w.is_output;
    for (size_t i = 0; i < now.order.size(); ++i) now.order[i]->index = static_cast<uint32_t>(i);
    make_key(now);
    std::vector<int> outputs;
    std::vector<const Value*> body_numbers;
    Piece piece = piece_of(now, outputs, body_numbers);
    FuseOptions options;
    options.fuse = plan.fused;
    options.memory_limit = plan.memory_limit;
    again = build_plan(plan.device, std::move(piece), outputs, plan.leaves, plan.numbers, options, false);
  }
  const bool same = again && again->steps.size() == plan.steps.size();  // other switches might be set by now
  for (size_t k = 0; k < plan.steps.size(); ++k)
    plan.steps[k].facts = same ? again->steps[k].facts : std::make_shared<const StepFacts>();
}

void clear_plans() { cache().clear(); }

}  // namespace pd
