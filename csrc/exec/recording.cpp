#include "exec/recording.h"

#include <algorithm>
#include <unordered_map>

#include "base/bytes_text.h"
#include "exec/execution.h"
#include "exec/exec.h"
#include "exec/late_errors.h"
#include "exec/profile.h"
#include "exec/stats.h"
#include "exec/structure.h"
#include "graph/custom.h"
#include "graph/placeholders.h"
#include "ops/api.h"

namespace pd {

struct Recording::Part {
  Work work;
  std::vector<Value*> roots;
  std::vector<ValueRef> alive;  // a constant may be computed for another, and forget its operands
  Planned planned;
  struct Leaf {
    int param;  // -1: `value`
    ValueRef value;
  };
  std::vector<Leaf> leaves;
  struct Number {
    int64_t cell;  // -1: `bits`
    DType dtype;
    int64_t bits;
  };
  std::vector<Number> numbers;
  std::vector<Spec> specs;  // of the outputs

  using Params = std::unordered_map<const Value*, int>;
  void collect();
  void make(const Params& param_of);
  void make_again();
};

namespace {

// What only its host computes cannot be part of a plan.
void check_runnable(const std::vector<Value*>& order) {
  for (const Value* v : order)
    if (v->extra && v->extra->custom && v->extra->custom->code->by_rule)
      fail("jit", "an operation that NumPy or SciPy computes cannot be replayed", v->extra->custom->code->name,
           "calling it outside the function, or without jit", ErrorKind::Runtime);
}

}  // namespace

void Recording::Part::collect() {
  work = Work();
  postorder(roots, is_pending, work.order);
  for (size_t i = 0; i < work.order.size(); ++i) work.order[i]->index = static_cast<uint32_t>(i);
  work.is_output.assign(work.order.size(), 0);
  for (Value* r : roots)
    if (r->pending()) work.is_output[r->index] = 1;
  for (size_t i = 0; i < work.order.size(); ++i)
    if (work.is_output[i]) work.outputs.push_back(work.order[i]);
}

// Under the turn of an execution.
void Recording::Part::make(const Params& param_of) {
  make_key(work);
  planned = plan_of(work);
  leaves.clear();
  numbers.clear();
  for (Value* v : work.leaves) {
    auto it = param_of.find(v);
    if (it == param_of.end() && v->abstract)
      fail("jit", "a placeholder of another function is used", to_string(v->spec()), "passing it as an argument",
           ErrorKind::Runtime);
    leaves.push_back({it == param_of.end() ? -1 : it->second, it == param_of.end() ? ValueRef(v) : ValueRef()});
  }
  for (Value* v : work.numbers) {
    const int64_t cell = cell_of(v);
    numbers.push_back({cell, v->dtype, cell < 0 ? number_bits(v) : 0});
  }
  for (const auto* list : {&work.order, &work.leaves, &work.numbers})
    for (Value* v : *list) alive.push_back(ValueRef(v));
}

// For another memory limit. A constant may be there by now, computed for another graph; it is an operand then. Where it is a
// result too, the plan stays as it is, if it fits.
void Recording::Part::make_again() {
  if (!std::all_of(work.outputs.begin(), work.outputs.end(), is_pending)) {
    if (!memory_limit() || planned.plan->peak <= memory_limit()) return;
    fail("memory_limit", "a traced function's plan does not fit",
         "a peak of " + bytes_text(planned.plan->peak) + " against the limit of " + bytes_text(memory_limit()),
         "setting the limit before the first call", ErrorKind::Memory);
  }
  const AsPlaceholders ends(work.leaves);
  Params param_of;
  for (size_t k = 0; k < leaves.size(); ++k)
    if (leaves[k].param >= 0) param_of[work.leaves[k]] = leaves[k].param;
  const Work was = work;
  try {
    collect();
    make(param_of);
  } catch (...) {
    work = was;  // its leaves and numbers are as they were: a plan that does not fit comes before them
    throw;
  }
}

Recording::~Recording() = default;

Recording::Recording(const std::vector<ValueRef>& results, const std::vector<Value*>& params)
    : results_(results), reads_(params.size(), false) {
  std::unordered_map<const Value*, int> param_of;
  for (size_t k = 0; k < params.size(); ++k) param_of[params[k]] = static_cast<int>(k);
  std::vector<Value*> roots;
  for (const ValueRef& r : results_)
    if (r->pending()) roots.push_back(r.get());
  // Constants that somebody else holds too are computed for both; the others belong to the graph from here on.
  std::vector<Value*> order, shared;
  postorder(roots, is_pending, order);
  for (Value* v : order)
    if (!v->abstract && v->handles > 0) shared.push_back(v);
  if (!shared.empty()) evaluate(shared);
  order.clear();
  roots.clear();
  for (const ValueRef& r : results_)
    if (r->pending()) roots.push_back(r.get());
  postorder(roots, is_pending, order);
  for (Value* v : order)
    if (!v->abstract) leave_pending(v);
  check_runnable(order);

  std::unordered_map<const Value*, std::pair<int, int>> place;  // of a root: part, output
  while (!roots.empty()) {
    const DeviceId device = roots[0]->device;
    std::vector<Value*> here, others;
    for (Value* r : roots) (r->device == device ? here : others).push_back(r);
    auto part = std::make_unique<Part>();
    part->roots = here;
    part->collect();
    const Work& w = part->work;
    for (size_t k = 0; k < w.outputs.size(); ++k) {
      place[w.outputs[k]] = {static_cast<int>(parts_.size()), static_cast<int>(k)};
      part->specs.push_back(w.outputs[k]->spec());
    }
    Turn turn;
    part->make(param_of);
    for (const Part::Leaf& l : part->leaves)
      if (l.param >= 0) reads_[static_cast<size_t>(l.param)] = true;
    parts_.push_back(std::move(part));
    roots = std::move(others);
  }
  for (const ValueRef& r : results_) {
    auto at = place.find(r.get());
    auto param = param_of.find(r.get());
    if (at != place.end()) sources_.push_back({Source::Computed, at->second.first, at->second.second});
    else if (param != param_of.end()) {
      reads_[static_cast<size_t>(param->second)] = true;
      sources_.push_back({Source::Param, 0, param->second});
    } else if (!r->abstract) sources_.push_back({Source::Ready, 0, 0});
    else
      fail("jit", "a placeholder of another function is returned", to_string(r->spec()), "passing it as an argument",
           ErrorKind::Runtime);
  }
}

std::vector<ValueRef> Recording::run(const std::vector<ValueRef>& args, const std::vector<Var>& cells) const {
  std::vector<std::vector<ValueRef>> computed(parts_.size());
  for (size_t p = 0; p < parts_.size(); ++p) {
    Part& part = *parts_[p];
    Turn turn;
    if (part.planned.plan->memory_limit != memory_limit()) part.make_again();
    Plan& plan = *part.planned.plan;
    std::vector<Value*> leaves;
    leaves.reserve(part.leaves.size());
    for (const Part::Leaf& l : part.leaves)
      leaves.push_back(l.param < 0 ? l.value.get() : args[static_cast<size_t>(l.param)].get());
    std::vector<int64_t> numbers;
    numbers.reserve(plan.numbers.size());
    for (const Part::Number& n : part.numbers)
      numbers.push_back(n.cell < 0 ? n.bits : number_bits(cast(cells[static_cast<size_t>(n.cell)], n.dtype).v.get()));
    numbers.insert(numbers.end(), part.planned.body_cells.begin(), part.planned.body_cells.end());
    profile::HostSpan evaluation(profile::Kind::Evaluate, plan.device);
    evaluation.say("replay", part.work.order.size());
    if (plan.device.kind != DeviceKind::Cpu) raise_late_errors();
    check_operands(leaves);
    ++stats().replays;
    std::vector<BufferRef> buffers = execute(plan, part.work, leaves, numbers);
    computed[p].reserve(buffers.size());
    for (size_t k = 0; k < buffers.size(); ++k) computed[p].push_back(make_leaf(part.specs[k], buffers[k].get()));
  }
  std::vector<ValueRef> out;
  out.reserve(sources_.size());
  for (size_t k = 0; k < sources_.size(); ++k) {
    const Source& s = sources_[k];
    if (s.kind == Source::Computed) out.push_back(computed[static_cast<size_t>(s.part)][static_cast<size_t>(s.at)]);
    else if (s.kind == Source::Param) out.push_back(args[static_cast<size_t>(s.at)]);
    else out.push_back(results_[k]);
  }
  return out;
}

}  // namespace pd
