// From a trace to an entry: which of the handles are results, what was written, what has escaped.
#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "python/args.h"
#include "python/jit_entry.h"

namespace pd {
namespace binding {

int tape_of(const TensorObject* t);

namespace {

// Has a backward pass gone through what is behind the node?
bool is_freed(TapeNode* from) {
  std::vector<TapeNode*> stack = {from};
  std::unordered_set<TapeNode*> seen = {from};
  while (!stack.empty()) {
    TapeNode* n = stack.back();
    stack.pop_back();
    if (n->freed) return true;
    for (Edge& e : n->edges)
      if (e.node && seen.insert(e.node.get()).second) stack.push_back(e.node.get());
  }
  return false;
}

OpId op_of(const TapeNode* n) { return n->custom || n->alias ? OpId(op::add) : n->op; }

}  // namespace

class JitEntry::Maker {
 public:
  Maker(JitEntry& entry, Tracer& tracer) : e(entry), tr(tracer) {}

  std::vector<ValueRef> results;
  std::vector<Var> taped;           // results that can be differentiated, with their tape
  std::vector<py::object> handles;  // of the outputs; empty: a base that is gone

  int result(const Var& v) {
    results.push_back(v.v->is_scalar() ? full({}, v, v.dtype()).v : v.v);
    return static_cast<int>(results.size()) - 1;
  }

  // What a result's edge will be.
  Output::Edge edge_of(TensorObject* t, OpId& op, int& tape) {
    switch (tape_of(t)) {
      case 0: return Output::None;
      case 1: return Output::Leaf;
      default: break;
    }
    TapeNode* n = t->var.m->node.get();
    if (!is_freed(n)) {
      tape = static_cast<int>(taped.size());
      taped.push_back(t->var);
      return Output::Taped;
    }
    op = op_of(n);
    return Output::Freed;
  }

  int output(TensorObject* t) {
    auto known = outputs_.find(t);
    if (known != outputs_.end()) return known->second;
    const Var v = value_of(reinterpret_cast<PyObject*>(t));
    Output o;
    o.edge = edge_of(t, o.op, o.tape);
    o.result = result(v);
    if (o.edge == Output::Taped) e.taped_.push_back(o.result);
    if (t->strides) {
      o.strided = true;
      o.strides = *t->strides;
    }
    if (Py_TYPE(t) != g_tensor_type)
      o.type = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(t)));
    if (t->alias && t->alias->cell->base != t) {
      Alias* a = t->alias;
      o.steps = a->steps;
      o.detached = a->detached;
      if (TensorObject* base = a->cell->base) {
        auto source = tr.source_of.find(base);
        o.of_source = source != tr.source_of.end();
        o.base = o.of_source ? source->second : output(base);
      } else {
        o.base = orphan(a->cell);
      }
    }
    const int at = static_cast<int>(e.outputs_.size());
    e.outputs_.push_back(std::move(o));
    handles.push_back(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(t)));
    outputs_[t] = at;
    return at;
  }

  bool is_output(TensorObject* t) const { return outputs_.count(t) != 0; }

 private:
  // The base of views that is gone, once for all of them.
  int orphan(Cell* c) {
    auto known = orphans_.find(c);
    if (known != orphans_.end()) return known->second;
    Output o;
    if (c->strides) {
      o.strided = true;
      o.strides = *c->strides;
    }
    o.result = result(c->orphan);
    const int at = static_cast<int>(e.outputs_.size());
    e.outputs_.push_back(std::move(o));
    handles.push_back(py::object());
    return orphans_[c] = at;
  }

  JitEntry& e;
  Tracer& tr;
  std::unordered_map<TensorObject*, int> outputs_;
  std::unordered_map<Cell*, int> orphans_;
};

JitEntry::JitEntry(Tracer& tracer, const Tree& args, const std::vector<PyObject*>& tensors, const Mode& mode,
                   std::vector<Guard> guards, const py::object& result)
    : args_(args), mode_(mode), guards_(std::move(guards)) {
  for (size_t k = 0; k < tensors.size(); ++k)
    first_.push_back(static_cast<int>(std::find(tensors.begin(), tensors.end(), tensors[k]) - tensors.begin()));
  Maker m(*this, tracer);
  const std::vector<TraceSource>& lifted = tracer.sources;

  // What was written, and the gradients that were set.
  for (size_t k = 0; k < lifted.size(); ++k) {
    const TraceSource& s = lifted[k];
    if (s.kind == TraceSource::Host) continue;
    TensorObject* t = s.tensor();
    const Spec now = t->var.v->spec();
    const bool moved = t->alias ? t->alias != s.alias && t->alias->cell->base != t : s.alias && t->var.v != s.lifted.v;
    if (!(now == s.spec) || moved)
      fail("jit", "a tensor from outside is given another shape, dtype or memory in place",
           to_string(now) + " for " + to_string(s.spec), "the operation that returns a new tensor", ErrorKind::Runtime);
    if (s.kind == TraceSource::Derived || (t->var.v == s.lifted.v && t->var.m == s.lifted.m)) continue;
    Alias* a = t->alias;
    if (a && a->cell->base != t) {
      value_of(s.handle.ptr());
      auto base = a->cell->base ? tracer.source_of.find(a->cell->base) : tracer.source_of.end();
      const bool written = base != tracer.source_of.end() &&
                           a->cell->base->var.v != lifted[static_cast<size_t>(base->second)].lifted.v;
      if (written) continue;  // its base is
    }
    Write w{static_cast<int>(k), 0, Output::None, 0, 0};
    if (t->var.m != s.lifted.m && tape_of(t) != 0) {
      w.edge = m.edge_of(t, w.op, w.tape);
      if (w.edge == Output::Leaf)
        fail("jit", "requires_grad of a tensor from outside is changed", to_string(now), "doing so outside the function",
             ErrorKind::Runtime);
    } else if (requires_grad(s.lifted) != requires_grad(t->var)) {
      fail("jit", "requires_grad of a tensor from outside is changed", to_string(now), "doing so outside the function",
           ErrorKind::Runtime);
    }
    w.result = m.result(t->var);
    if (w.edge == Output::Taped) taped_.push_back(w.result);
    writes_.push_back(w);
  }
  for (size_t k = 0; k < lifted.size(); ++k) {
    const TraceSource& s = lifted[k];
    if (s.kind == TraceSource::Host) continue;
    TensorObject* t = s.tensor();
    if (Alias* a = t->alias; a && a->cell->base && a->cell->base != t) {
      auto base = tracer.source_of.find(a->cell->base);
      if (base != tracer.source_of.end() &&
          (s.kind == TraceSource::Derived ||
           a->cell->base->var.v != lifted[static_cast<size_t>(base->second)].lifted.v))
        relations_.push_back({static_cast<int>(k), base->second, a->steps});
    }
    if (!s.grad_noted) continue;
    PyObject* was = s.grad.ptr();
    PyObject* now = t->grad ? t->grad : Py_None;
    if (now == was && (s.grad_read || now != Py_None)) continue;
    GradWrite g{static_cast<int>(k), PutNone, 0};
    if (now != Py_None) {
      auto known = tracer.source_of.find(as_tensor_object(now));
      g.what = known == tracer.source_of.end() ? PutOutput : PutSource;
      g.of = g.what == PutSource ? known->second : m.output(as_tensor_object(now));
    }
    grads_.push_back(g);
  }

  // What it returns.
  std::vector<PyObject*> parts;
  result_tree_ = tree_of(result.ptr(), true, parts);
  for (PyObject* o : parts) {
    auto known = tracer.source_of.find(as_tensor_object(o));
    if (known != tracer.source_of.end()) returned_.push_back({true, known->second});
    else returned_.push_back({false, m.output(as_tensor_object(o))});
  }

  if (!m.taped.empty()) backward_ = std::make_shared<JitBackward>(m.taped, tracer, m.results);
  m.taped.clear();

  // The tape has served: it would hold what nobody else does.
  std::vector<Value*> roots, order;
  auto forget = [&] {
    for (py::object& h : m.handles)
      if (h) {
        TensorObject* t = as_tensor_object(h.ptr());
        disown_leaf(t);
        store(t, Var(t->var.v));
      }
    roots.clear();
    order.clear();
    for (const ValueRef& r : m.results) roots.push_back(r.get());
    postorder(roots, [](const Value* v) { return v->pending(); }, order);
    for (Value* v : order)
      if (v->extra) v->extra->metas.clear();
  };
  forget();
  for (TraceSource& s : tracer.sources)
    if (s.kind != TraceSource::Host && s.kind != TraceSource::Derived) store(s.tensor(), Var(s.tensor()->var.v));
  std::vector<TensorObject*> left;
  for (TensorObject* t : tracer.born)
    if (!m.is_output(t) && Py_REFCNT(t) > 0) left.push_back(t);
  escaped_ = static_cast<int>(left.size());
  for (TensorObject* t : left) m.output(t);
  if (!m.taped.empty())
    fail("jit", "a tensor that the function keeps outside can still be differentiated", to_string(m.taped[0].v->spec()),
         "returning it, or .detach()", ErrorKind::Runtime);
  if (escaped_) forget();
  stored_at_ = static_cast<int>(m.results.size());
  if (backward_) m.results.insert(m.results.end(), backward_->stored().begin(), backward_->stored().end());

  // The sources, as they have to be again.
  std::vector<TensorObject*> handles;
  std::vector<Value*> params;
  std::vector<py::object> keep;
  for (const TraceSource& s : lifted) {
    Source g;
    g.kind = s.kind;
    g.of = s.of;
    g.spec = s.spec;
    g.grad_is = s.grad_is;
    params.push_back(s.lifted.v.get());
    if (s.kind != TraceSource::Host) keep.push_back(s.handle);
    handles.push_back(s.kind == TraceSource::Host ? nullptr : s.tensor());
    sources_.push_back(std::move(g));
  }
  std::vector<std::pair<bool, bool>> grads;  // read, there
  for (const TraceSource& s : lifted) grads.push_back({s.grad_noted && s.grad_read, s.grad && !s.grad.is_none()});
  tracer.restore();
  for (size_t k = 0; k < sources_.size(); ++k) {
    Source& g = sources_[k];
    TensorObject* t = handles[k];
    if (!t) continue;
    if (g.kind == TraceSource::Handle || g.kind == TraceSource::Derived) g.handle = Held(reinterpret_cast<PyObject*>(t));
    g.tape = tape_of(t);
    if (g.tape == 1) g.hooks = t->var.m->node->hooks.size();
    g.strides = strides_of(t);
    g.in_order = g.strides == contiguous_strides(g.spec.shape);
    if (grads[k].first) g.grad = grads[k].second ? 1 : 0;
  }
  calls_ = tracer.calls;
  cells_ = tracer.cells.size();
  recording_ = std::make_unique<Recording>(m.results, params);
  if (backward_) backward_->plan();

  // This call: what the trace made has its values now.
  std::vector<py::object> outputs = m.handles;
  outputs.resize(outputs_.size());
  perform(handles, tracer.cells, outputs);
}

}  // namespace binding
}  // namespace pd
