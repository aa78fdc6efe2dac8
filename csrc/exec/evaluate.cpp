// Evaluation: which values to compute, the plan for them (made or found), and their buffers.
#include "exec/exec.h"

#include <algorithm>

#include "exec/along.h"
#include "exec/execution.h"
#include "exec/late_errors.h"
#include "exec/profile.h"
#include "exec/stats.h"
#include "exec/structure.h"
#include "kernels/cuda/product_tail.h"

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

int64_t& memory_limit() {
  static int64_t n = 0;
  return n;
}

namespace {

// What of the values that nobody asked for, and that are wanted still, is stored: what is dear; all; as little as can be,
// where the memory limit leaves no room.
enum class Store { Dear, All, Least };

constexpr int kStoreEvery = 64;        // of a kept elementwise chain, in additions

bool cheap(const Value* v) {
  Family f = v->op == kOutput ? Family::Control : traits(v->op).family;
  return f == Family::Elementwise || f == Family::Movement || f == Family::Create;
}

// The user's own code runs once.
bool runs_once(const Value* v) {
  if (v->op == kOutput) return runs_once(v->in(0));
  const Family f = traits(v->op).family;
  return f == Family::Fallback || f == Family::Control || (v->extra && v->extra->custom);
}

// Which values get buffers: the roots; what a tensor holds; what is dear and still wanted; of cheap
// values that stay pending, one in every kStoreEvery additions.
void choose_outputs(Work& w, const std::vector<Value*>& roots, Store store) {
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
      const bool dear = !cheap(v) || (outside && mark && traits(v->op).family != Family::Movement);
      if (v->handles > 0 || store == Store::All || (store == Store::Least ? runs_once(v) : dear))
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

// The results of an operation of several that has no body are computed together, so those that nobody asked for yet are
// stored as well. They stand behind their node in the order of recording.
void add_other_results(Work& w) {
  for (size_t i = 0, n = w.order.size(); i < n; ++i) {
    Value* node = w.order[i];
    if (!node->multi() || !node->extra->subs.empty()) continue;
    for (Value* v = node->next; v && v->op == kOutput && v->in(0) == node; v = v->next)
      if (v->mark != w.order[0]->mark && v->refs > 0) w.order.push_back(v);
  }
}

Work collect(const std::vector<Value*>& roots, Store store) {
  Work w;
  postorder(roots, is_pending, w.order);
  add_other_results(w);
  choose_outputs(w, roots, store);
  make_key(w);
  return w;
}

void run(Work& w, profile::HostSpan& evaluation) {
  check_operands(w.leaves);
  bool met;
  Planned planned = plan_of(w, &met);
  evaluation.say(met ? "replay" : "first run", w.order.size());
  std::vector<int64_t> numbers;
  numbers.reserve(planned.plan->numbers.size());
  for (Value* v : w.numbers) numbers.push_back(number_bits(v));
  numbers.insert(numbers.end(), planned.body_cells.begin(), planned.body_cells.end());
  std::vector<ValueRef> alive;
  for (Value* v : w.outputs) alive.push_back(ValueRef(v));
  std::vector<BufferRef> results = execute(*planned.plan, w, w.leaves, numbers);
  for (size_t k = 0; k < results.size(); ++k)
    if (alive[k]->pending()) make_ready(alive[k].get(), results[k].get());
}

void evaluate_with(const std::vector<Value*>& roots, Store store) {
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
    evaluate_with(same, store);
    return evaluate_with(others, store);
  }
  Turn turn;
  profile::HostSpan evaluation(profile::Kind::Evaluate, roots[0]->device);
  if (roots[0]->device.kind != DeviceKind::Cpu) raise_late_errors();
  std::vector<Value*> more;
  // `hold` adds references that are nobody's: they do not make a value wanted.
  auto collected = [&](bool with_more, Store store) {
    for (Value* r : roots) --r->refs;
    try {
      Work w = collect(roots, store);
      if (with_more && store == Store::Dear && !w.order.empty()) more = computed_along(w.order, w.is_output);
      if (with_more && !more.empty()) {
        more.insert(more.end(), roots.begin(), roots.end());
        w = collect(more, store);
      }
      for (Value* r : roots) ++r->refs;
      return w;
    } catch (...) {
      for (Value* r : roots) ++r->refs;
      throw;
    }
  };
  Work w = collected(true, store);
  if (w.order.empty()) return;
  // What is asked for first with what comes along, then alone, then with nothing stored that can be computed again.
  bool leaner = false;
  auto done = [&](Work& work, bool others) {
    try {
      run(work, evaluation);
      return true;
    } catch (const Error& e) {
      leaner = e.kind == ErrorKind::Memory && memory_limit() && store == Store::Dear;
      if (!others && !leaner) throw;
      return false;
    }
  };
  if (done(w, !more.empty())) return;
  if (!more.empty()) {
    Work alone = collected(false, store);
    if (done(alone, false)) return;
  }
  Work least = collected(false, Store::Least);
  run(least, evaluation);
}

}  // namespace

void evaluate(const std::vector<Value*>& roots) { evaluate_with(roots, Store::Dear); }

void flush() {
  std::vector<Value*> roots;
  // The pending values form a ring through its head, which is no value.
  if (Value* first = first_pending())
    for (Value *head = first->prev, *v = first; v != head; v = v->next)
      if (v->handles > 0) roots.push_back(v);
  if (!roots.empty()) evaluate_with(roots, Store::All);
}

std::vector<std::string> cuda_texts(const std::vector<Value*>& roots, bool far) {
  const Work w = collect(roots, Store::Dear);
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

PlanMemory plan_memory(const std::vector<Value*>& roots) {
  const Work w = collect(roots, Store::Dear);
  if (w.order.empty()) return {};
  const std::shared_ptr<Plan> plan = make_plan(w, w.order[0]->device, false).plan;
  return {plan->peak, plan->unlimited, plan->recomputed};
}

std::string explain(const std::vector<Value*>& roots) {
  Work w = collect(roots, Store::Dear);
  Piece piece;
  if (!w.order.empty()) make_plan(w, w.order[0]->device, false, &piece);
  Partition part = partition(piece, fuse_options(), [](const PieceNode& n, int) { return may_read_views(n); });
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