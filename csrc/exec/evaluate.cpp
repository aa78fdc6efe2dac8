// Evaluation: which values to compute, the plan for them (made or found), and their buffers.
#include "exec/exec.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <unordered_map>
#include <unordered_set>

#include "device/cuda/cuda.h"
#include "exec/late_errors.h"
#include "exec/plan.h"
#include "exec/stats.h"
#include "kernels/cuda/product_tail.h"
#include "ops/element.h"
#include "ops/loops.h"

namespace pd {

ExecHooks g_exec;

Stats& stats() {
  static Stats s;
  return s;
}
const ExecStats& exec_stats() { return stats(); }

int64_t& pending_node_limit() {
  static int64_t n = 20000;
  return n;
}
int64_t& pending_byte_limit() {
  static int64_t n = int64_t(2) << 30;
  return n;
}

namespace {

constexpr int kStoreEvery = 64;        // of a kept elementwise chain, in additions
constexpr size_t kMaxPlans = 1024;
constexpr int64_t kQuickWork = 20000;  // elements · nodes below which the GIL is not worth releasing

bool is_pending(const Value* v) { return v->pending(); }

bool cheap(const Value* v) {
  Family f = v->op == kOutput ? Family::Control : traits(v->op).family;
  return f == Family::Elementwise || f == Family::Movement || f == Family::Create;
}

// One evaluation's view of the pending graph.
struct Work {
  std::vector<Value*> order;    // pending, operands first
  std::vector<Value*> leaves;   // ready operands by first use
  std::vector<Value*> numbers;
  std::vector<Value*> outputs;
  std::vector<char> is_output;  // by place in `order`
  std::vector<uint64_t> key;
  int64_t size = 0;             // elements over all nodes
};

// Which values get buffers: the roots; what a tensor holds; what is dear and still wanted; of cheap
// values that stay pending, one in every kStoreEvery additions.
void choose_outputs(Work& w, const std::vector<Value*>& roots, bool store_all) {
  size_t n = w.order.size();
  std::vector<int32_t> inside(n, 0);
  for (size_t i = 0; i < n; ++i) w.order[i]->index = static_cast<uint32_t>(i);
  for (Value* v : w.order)
    for (int k = 0; k < v->nin; ++k)
      if (v->in(k)->pending()) ++inside[v->in(k)->index];
  w.is_output.assign(n, 0);
  for (Value* r : roots)
    if (r->pending()) w.is_output[r->index] = 1;
  std::vector<char> kept(n, 0), needed(n, 0);  // stays pending and alive; a kept value reads it
  for (size_t i = n; i-- > 0;) {
    Value* v = w.order[i];
    if (v->multi()) continue;  // its outputs have the memory
    bool outside = v->refs > inside[i];
    if (!w.is_output[i] && (outside || needed[i])) {
      int below = 0;
      for (int k = 0; k < v->nin; ++k)
        if (v->in(k)->pending()) below = std::max<int>(below, v->in(k)->depth);
      bool mark = v->depth / kStoreEvery != below / kStoreEvery;
      if (!cheap(v) || store_all || v->handles > 0 || (outside && mark && traits(v->op).family != Family::Movement))
        w.is_output[i] = 1;
      else
        kept[i] = 1;
    }
    if (kept[i])
      for (int k = 0; k < v->nin; ++k)
        if (v->in(k)->pending()) needed[v->in(k)->index] = 1;
  }
  for (size_t i = 0; i < n; ++i)
    if (w.is_output[i]) w.outputs.push_back(w.order[i]);
}

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

// The structure: every node's op, type, shape, attributes and operands by number; leaves by first use.
void make_key(Work& w) {
  std::vector<uint64_t>& k = w.key;
  k.reserve(w.order.size() * 6);
  const DeviceId d = w.order.empty() ? DeviceId{} : w.order[0]->device;
  k.push_back(static_cast<uint64_t>(d.kind) << 8 | static_cast<uint8_t>(d.index));
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
  std::vector<const Value*> body_numbers;  // of inlined bodies: constants of the structure
};

// ---- plans by structure, least recently used first out

struct Cached {
  std::shared_ptr<Plan> plan;
  std::vector<int64_t> body_cells;
  uint64_t used = 0;
};
using Cache = std::unordered_map<std::vector<uint64_t>, Cached, Hash>;
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

Cached make_plan(const Work& w, DeviceId device, bool compile = true) {
  std::vector<int> outputs;
  PieceMaker maker(w);
  Piece piece = maker.make(outputs);
  std::vector<DType> numbers;
  for (Value* v : w.numbers) numbers.push_back(v->dtype);
  Cached c;
  for (const Value* v : maker.body_numbers) {
    numbers.push_back(v->dtype);
    c.body_cells.push_back(number_bits(v));
  }
  auto build = [&](const FuseOptions& options) {
    c.plan = build_plan(device, piece, outputs, static_cast<int>(w.leaves.size()), numbers, options, compile);
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

// The results of an operation of the user's own are computed together, so those that nobody asked for yet are stored as
// well. They stand behind their node in the order of recording.
void add_other_results(Work& w) {
  for (size_t i = 0, n = w.order.size(); i < n; ++i) {
    Value* node = w.order[i];
    if (!node->extra || !node->extra->custom) continue;
    for (Value* v = node->next; v && v->op == kOutput && v->in(0) == node; v = v->next)
      if (v->mark != w.order[0]->mark && v->refs > 0) w.order.push_back(v);
  }
}

Work collect(const std::vector<Value*>& roots, bool store_all) {
  Work w;
  postorder(roots, is_pending, w.order);
  add_other_results(w);
  choose_outputs(w, roots, store_all);
  make_key(w);
  return w;
}

// One evaluation at a time; who waits for it gives up the GIL meanwhile.
std::mutex& running() {
  static auto* m = new std::mutex;
  return *m;
}
thread_local bool t_my_turn = false;
// The child of a fork has none of the parent's threads, so nobody to give the turn back.
const int g_forked = pthread_atfork(nullptr, nullptr, [] {
  new (&running()) std::mutex;
  t_my_turn = false;
});
class Turn {
 public:
  Turn() {
    if (t_my_turn)
      fail("evaluate", "a tensor's value is asked for while another is computed", "a call from a custom op's cpu function",
           "computing with NumPy alone there", ErrorKind::Runtime);
    if (!running().try_lock()) {
      void* gil = g_exec.unlock ? g_exec.unlock() : nullptr;
      running().lock();
      if (g_exec.lock) g_exec.lock(gil);
    }
    t_my_turn = true;
  }
  ~Turn() {
    t_my_turn = false;
    running().unlock();
  }
};

class WithoutGil {
 public:
  explicit WithoutGil(bool on) : on_(on && g_exec.unlock), state_(on_ ? g_exec.unlock() : nullptr) {}
  ~WithoutGil() {
    if (on_) g_exec.lock(state_);
  }

 private:
  bool on_;
  void* state_;
};

// `text` with the line that recorded what failed.
std::string located(const std::string& text, const Work& w, int origin) {
  if (origin < 0 || static_cast<size_t>(origin) >= w.order.size() || !g_location.describe) return text;
  const Extra* e = w.order[static_cast<size_t>(origin)]->extra;
  return e && e->code ? g_location.describe(text, e->code, e->code_offset) : text;
}

void run(Work& w) {
  check_operands(w.leaves);
  auto it = cache().find(w.key);
  if (it == cache().end()) {
    Cached c = make_plan(w, w.order[0]->device);
    ++stats().plans;
    it = cache().emplace(w.key, std::move(c)).first;
  } else {
    ++stats().replays;
  }
  it->second.used = ++g_tick;
  std::shared_ptr<Plan> plan = it->second.plan;

  std::vector<int64_t> numbers;
  numbers.reserve(plan->numbers.size());
  for (Value* v : w.numbers) numbers.push_back(number_bits(v));
  numbers.insert(numbers.end(), it->second.body_cells.begin(), it->second.body_cells.end());
  trim();

  size_t n = plan->outputs.size();
  std::vector<BufferRef> keep;   // the operands' memory and the results', whatever other threads do meanwhile
  std::vector<void*> leaf_data, out_data(n, nullptr);
  std::vector<BufferRef> results(n);
  for (Value* v : w.leaves) {
    keep.push_back(BufferRef(v->buffer));
    leaf_data.push_back(v->buffer->data);
  }
  for (size_t k = 0; k < n; ++k) {
    if (!plan->outputs[k].fresh) continue;
    results[k] = BufferRef::adopt(new_buffer(w.outputs[k]->device, static_cast<size_t>(plan->outputs[k].bytes)));
    out_data[k] = results[k]->data;
  }
  std::vector<ValueRef> alive;
  for (Value* v : w.outputs) alive.push_back(ValueRef(v));
  std::vector<Buffer*> owners;
  if (plan->has_custom)
    for (Value* v : w.leaves) owners.push_back(v->buffer);
  NativeError error;
  {
    WithoutGil free(w.size > kQuickWork || plan->has_custom);
    run_plan(*plan, leaf_data.data(), numbers.data(), out_data.data(), error, owners.data());
  }
  if (error.late) keep_lines(error.late, w.order);  // whatever else went wrong: until then nobody reads its findings
  if (error.raised) g_exec.raise(error.raised, located("[" + error.text + "] raised by its cpu function", w, error.origin));
  if (!error.text.empty()) throw Error(error.kind, located(error.text, w, error.origin));
  if (const uint64_t suspect = suspect_of(w.leaves, error.late))
    for (size_t k = 0; k < n; ++k)
      if (results[k]) results[k]->suspect = suspect;
  for (size_t k = 0; k < n; ++k) {
    if (plan->outputs[k].fresh) continue;
    int slot = plan->outputs[k].slot;
    if (slot < plan->leaves) {
      results[k] = keep[static_cast<size_t>(slot)];
      continue;
    }
    for (size_t j = 0; j < n; ++j)
      if (plan->outputs[j].fresh && plan->outputs[j].slot == slot) results[k] = results[j];
  }
  for (size_t k = 0; k < n; ++k)
    if (alive[k]->pending()) make_ready(alive[k].get(), results[k].get());
}

void evaluate_with(const std::vector<Value*>& roots, bool store_all) {
  bool any = false;
  for (Value* r : roots) {
    if (r->abstract)
      fail("evaluate", "a value that only stands for another has no elements",
           r->pending() && r->op != kOutput ? traits(r->op).name : "a placeholder",
           "keeping to tensor operations inside vmap and jit", ErrorKind::Runtime);
    any |= r->pending();
  }
  if (!any) return;
  std::vector<ValueRef> hold;
  for (Value* r : roots) hold.push_back(ValueRef(r));
  // One device at a time: values of two devices never meet in one piece of graph.
  for (Value* r : roots) {
    if (r->device == roots[0]->device) continue;
    std::vector<Value*> same, others;
    for (Value* v : roots) (v->device == roots[0]->device ? same : others).push_back(v);
    evaluate_with(same, store_all);
    return evaluate_with(others, store_all);
  }
  Turn turn;
  if (roots[0]->device.kind != DeviceKind::Cpu) raise_late_errors();
  // `hold` adds references that are nobody's: they do not make a value wanted.
  for (Value* r : roots) --r->refs;
  Work w;
  try {
    w = collect(roots, store_all);
  } catch (...) {
    for (Value* r : roots) ++r->refs;
    throw;
  }
  for (Value* r : roots) ++r->refs;
  if (w.order.empty()) return;
  run(w);
}

}  // namespace

void evaluate(const std::vector<Value*>& roots) { evaluate_with(roots, false); }

void flush() {
  std::vector<Value*> roots;
  // The pending values form a ring through its head, which is no value.
  if (Value* first = first_pending())
    for (Value *head = first->prev, *v = first; v != head; v = v->next)
      if (v->handles > 0) roots.push_back(v);
  if (!roots.empty()) evaluate_with(roots, true);
}

void clear_plans() { cache().clear(); }

std::vector<std::string> cuda_texts(const std::vector<Value*>& roots, bool far) {
  const Work w = collect(roots, false);
  const std::shared_ptr<Plan> plan = make_plan(w, DeviceId{DeviceKind::Cuda, 0}, false).plan;
  std::vector<std::string> texts;
  std::unique_ptr<cuda::Launch> other;
  for (const Step& s : plan->steps)
    if (s.fused)
      for (const FusedLaunch& l : s.fused->launches) {
        const cuda::Launch& launch = far ? *(other = std::make_unique<cuda::Launch>(l.make(true, true))) : *l.cuda;
        if (launch.build) texts.push_back(launch.build->source);
        for (const cuda::Launch::Combine& c : launch.combines) texts.push_back(c.build->source);
      }
  return texts;
}

std::string explain(const std::vector<Value*>& roots) {
  Work w = collect(roots, false);
  std::vector<int> outputs;
  PieceMaker maker(w);
  Piece piece = maker.make(outputs);
  if (!w.order.empty()) piece = rewritten(w.order[0]->device, piece, outputs, fuse_options());
  Partition part = partition(piece, fuse_options(), [](const PieceNode& n, int) { return traits(n.op).family == Family::Contraction; });
  std::string out;
  for (size_t g = 0; g < part.groups.size(); ++g) {
    const Group& group = part.groups[g];
    out += "kernel " + std::to_string(g) + (group.kind == GroupKind::Fused ? " fused " : " ") + to_string(group.dims) + ":";
    for (int m : group.members) {
      const PieceNode& n = piece[m];
      out += " " + (n.op == kOutput ? "output" : n.custom ? n.custom->name : std::string(traits(n.op).name));
      if (group.kind == GroupKind::Opaque && traits(n.op).family == Family::Contraction)
        out += std::string(has_bias(n) ? "+bias" : "") + (has_relu(n) ? "+relu" : "");
    }
    out += "\n";
    if (group.kind == GroupKind::Fused) out += print(lower(piece, part, static_cast<int>(g)).program);
  }
  return out;
}

}  // namespace pd
