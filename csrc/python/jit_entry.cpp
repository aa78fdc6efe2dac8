// Replaying what was traced.
#include "python/jit_entry.h"

#include "exec/exec.h"
#include "python/args.h"
#include "python/autocast.h"
#include "python/gil.h"

namespace pd {
namespace binding {

Mode Mode::now() {
  const Autocast& a = t_autocast;
  return {grad_enabled(), a.on,  a.composed,      {a.enabled[0], a.enabled[1]},
          {a.low[0], a.low[1]}, default_dtype(), default_device()};
}
bool Mode::operator==(const Mode& o) const {
  return grad == o.grad && autocast_on == o.autocast_on && composed == o.composed && enabled[0] == o.enabled[0] &&
         enabled[1] == o.enabled[1] && low[0] == o.low[0] && low[1] == o.low[1] && floating == o.floating && device == o.device;
}

int tape_of(const TensorObject* t) {
  const Meta* m = t->var.m.get();
  if (!m || !m->node) return 0;
  return m->node->leaf && m->node->owner == t ? 1 : 2;
}

// ---- does it serve

bool JitEntry::fits(const Source& s, TensorObject* t) const {
  const Value& v = *value_of(reinterpret_cast<PyObject*>(t)).v;
  if (v.abstract || v.shape != s.spec.shape || v.dtype != s.spec.dtype || v.device != s.spec.device) return false;
  const Meta* m = t->var.m.get();
  if (tape_of(t) != s.tape || (m && !m->tangents.empty())) return false;
  if (s.tape == 1 && m->node->hooks.size() != s.hooks) return false;
  if (s.grad >= 0 && (t->grad != nullptr) != (s.grad == 1)) return false;
  const bool plain = !t->alias && !t->strides;
  return plain ? s.in_order : strides_of(t) == s.strides;
}

// Whatever shares memory with what is written was seen to do so, and the other way round.
bool JitEntry::related(const std::vector<TensorObject*>& handles) const {
  for (const Relation& r : relations_) {
    const Alias *v = handles[static_cast<size_t>(r.view)]->alias, *b = handles[static_cast<size_t>(r.base)]->alias;
    if (!v || !b || v->cell != b->cell || b->cell->base != b->self || !(v->steps == r.steps)) return false;
  }
  for (const Write& w : writes_) {
    const Alias* a = handles[static_cast<size_t>(w.source)]->alias;
    if (!a) continue;
    for (size_t k = 0; k < handles.size(); ++k) {
      if (!handles[k] || static_cast<int>(k) == w.source || !handles[k]->alias || handles[k]->alias->cell != a->cell) continue;
      bool known = false;
      for (const Relation& r : relations_) known |= r.view == static_cast<int>(k) && r.base == w.source;
      if (!known) return false;
    }
  }
  return true;
}

const std::string* JitEntry::refuses(const std::vector<PyObject*>& tensors, const Mode& mode, std::vector<TensorObject*>& handles,
                                     bool& gone) {
  gone = false;
  auto because = [&](const std::string& why) {
    why_ = why;
    return &why_;
  };
  for (size_t k = 0; k < tensors.size(); ++k)
    for (size_t j = 0; j <= k; ++j)
      if (tensors[j] == tensors[k]) {
        if (first_[k] != static_cast<int>(j)) return because("which arguments are one tensor");
        break;
      }
  if (!(mode == mode_)) return because("the mode: gradients, autocast, default dtype or device");
  for (Guard& g : guards_)
    if (const std::string* why = g.failed()) return why;
  const uint32_t stamp = next_epoch();
  handles.assign(sources_.size(), nullptr);
  for (size_t k = 0; k < sources_.size(); ++k) {
    const Source& s = sources_[k];
    PyObject* h = nullptr;
    switch (s.kind) {
      case TraceSource::Host: continue;
      case TraceSource::Arg: h = tensors[static_cast<size_t>(s.of)]; break;
      case TraceSource::Grad: h = handles[static_cast<size_t>(s.of)]->grad; break;
      default:
        h = s.handle.get();
        if (!h) {
          gone = true;
          return because("a tensor that is gone");
        }
    }
    if (!h) return because("whether a tensor has a gradient");
    TensorObject* t = as_tensor_object(h);
    if (t->epoch == stamp) return because("which tensors are one and the same");
    t->epoch = stamp;
    if (!fits(s, t)) {
      if (s.kind == TraceSource::Arg) return because("argument " + std::to_string(s.of) + ": shape, dtype, device, layout or tape");
      return because(s.kind == TraceSource::Grad ? "a gradient" : "a tensor of shape " + to_string(s.spec.shape));
    }
    handles[k] = t;
  }
  for (size_t k = 0; k < sources_.size(); ++k)
    if (sources_[k].grad_is >= 0 &&
        handles[k]->grad != reinterpret_cast<PyObject*>(handles[static_cast<size_t>(sources_[k].grad_is)]))
      return because("which tensor is the gradient of another");
  if ((!relations_.empty() || !writes_.empty()) && !related(handles)) return because("which tensors share memory");
  return nullptr;
}

// ---- replay

namespace {

// Gives a handle, and all that share its memory, a value.
void put(TensorObject* t, Var v, bool tape) {
  if (!t->alias) {
    store(t, std::move(v));
    return;
  }
  struct Mode {
    bool was;
    explicit Mode(bool on) : was(set_grad_enabled(on)) {}
    ~Mode() { set_grad_enabled(was); }
  } mode(tape);
  assign("jit", t, std::move(v));
}

}  // namespace

void JitEntry::perform(const std::vector<TensorObject*>& handles, const std::vector<Var>& cells, std::vector<py::object>& outputs) {
  std::vector<ValueRef> args(sources_.size());
  std::vector<Value*> pending;
  for (size_t k = 0; k < sources_.size(); ++k) {
    if (!recording_->reads(static_cast<int>(k)) && !backward_) continue;
    args[k] = sources_[k].kind == TraceSource::Host ? cells[static_cast<size_t>(sources_[k].of)].v
                                                    : value_of(reinterpret_cast<PyObject*>(handles[k])).v;
    if (args[k]->pending() && recording_->reads(static_cast<int>(k))) pending.push_back(args[k].get());
  }
  std::vector<py::object> alive;  // other threads go on while it runs
  for (const Write& w : writes_)
    alive.push_back(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(handles[static_cast<size_t>(w.source)])));
  for (const GradWrite& g : grads_)
    alive.push_back(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(handles[static_cast<size_t>(g.source)])));
  if (!pending.empty()) evaluate(pending);
  const std::vector<ValueRef> results = recording_->run(args, cells);

  std::vector<Var> taped;
  if (backward_) {
    std::vector<Var> inputs;
    for (size_t k = 0; k < args.size(); ++k) inputs.push_back(handles[k] ? Var(args[k], handles[k]->var.m) : Var(args[k]));
    std::vector<ValueRef> ys;
    for (int r : taped_) ys.push_back(results[static_cast<size_t>(r)]);
    taped = JitBackward::attach(backward_, std::move(inputs), cells, ys, {results.begin() + stored_at_, results.end()});
  }
  auto value = [&](int result, Output::Edge edge, OpId op, int tape) {
    if (edge == Output::Taped) return taped[static_cast<size_t>(tape)];
    Var v(results[static_cast<size_t>(result)]);
    return edge == Output::Freed ? freed_result(v, op) : v;
  };
  for (const Write& w : writes_) {
    TensorObject* t = handles[static_cast<size_t>(w.source)];
    Var v = value(w.result, w.edge, w.op, w.tape);
    put(t, w.edge != Output::None ? std::move(v) : with_edge_of(std::move(v), t->var), w.edge == Output::Taped);
  }
  const bool made = !outputs.empty();
  outputs.resize(outputs_.size());
  for (size_t k = 0; k < outputs_.size(); ++k) {
    const Output& o = outputs_[k];
    Var v = value(o.result, o.edge, o.op, o.tape);
    if (made && outputs[k]) {
      TensorObject* t = as_tensor_object(outputs[k].ptr());
      store(t, std::move(v));
      if (t->alias) t->alias->generation = t->alias->cell->generation;
      if (o.base >= 0 && !o.of_source && !outputs[static_cast<size_t>(o.base)])
        put_base(t->alias->cell, value(outputs_[static_cast<size_t>(o.base)].result, Output::None, 0, 0));
    } else if (o.base >= 0 && !made) {
      PyObject* parent = o.of_source ? reinterpret_cast<PyObject*>(handles[static_cast<size_t>(o.base)])
                                     : outputs[static_cast<size_t>(o.base)].ptr();
      outputs[k] = py::reinterpret_steal<py::object>(make_view(as_tensor_object(parent), o.steps, std::move(v), o.detached));
    } else if (!made) {
      outputs[k] = py::reinterpret_steal<py::object>(
          o.type ? wrap_as(reinterpret_cast<PyTypeObject*>(o.type.ptr()), std::move(v)) : wrap_quietly(std::move(v)));
      if (o.strided) as_tensor_object(outputs[k].ptr())->strides = new Ints(o.strides);
    }
    if (o.edge == Output::Leaf) set_requires_grad(as_tensor_object(outputs[k].ptr()), true);
  }
  for (const GradWrite& g : grads_) {
    TensorObject* t = handles[static_cast<size_t>(g.source)];
    PyObject* now = g.what == PutNone     ? nullptr
                    : g.what == PutOutput ? same(outputs[static_cast<size_t>(g.of)].ptr())
                                          : same(reinterpret_cast<PyObject*>(handles[static_cast<size_t>(g.of)]));
    PyObject* old = t->grad;
    t->grad = now;
    Py_XDECREF(old);
  }
}

py::object JitEntry::run(const std::vector<TensorObject*>& handles) {
  std::vector<Var> cells;
  cells.reserve(cells_);
  std::vector<py::object> held;
  if (!calls_.empty()) {
    for (TensorObject* t : handles)  // a call may run any code
      if (t) held.push_back(py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(t)));
    for (const HostCall& h : calls_) {
      py::object given = called(h.call);
      if (given.is_none()) continue;
      for (const auto& o : given) cells.push_back(is_tensor(o.ptr()) ? Var(value_of(o.ptr()).v) : operand("jit", o.ptr()));
    }
    if (cells.size() != cells_)
      fail("jit", "a number that Python computes at each call is missing", std::to_string(cells.size()) + " for " + std::to_string(cells_),
           "the same numbers at each call", ErrorKind::Runtime);
  }
  std::vector<py::object> outputs;
  perform(handles, cells, outputs);
  std::vector<py::object> tensors;
  tensors.reserve(returned_.size());
  for (const Returned& r : returned_)
    tensors.push_back(r.source ? py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(handles[static_cast<size_t>(r.of)]))
                               : outputs[static_cast<size_t>(r.of)]);
  return build(result_tree_, tensors);
}

py::dict JitEntry::facts() const {
  py::dict d;
  py::list arguments;
  for (const Source& s : sources_)
    if (s.kind == TraceSource::Arg) arguments.append(to_string(s.spec));
  d["arguments"] = arguments;
  size_t lifted = 0;
  for (const Source& s : sources_) lifted += s.kind == TraceSource::Handle || s.kind == TraceSource::Derived;
  d["lifted"] = lifted;
  d["written"] = writes_.size();
  d["gradients"] = grads_.size();
  d["host_calls"] = calls_.size();
  py::list labels;
  for (const Guard& g : guards_) labels.append(g.label() + " (" + std::to_string(g.size()) + ")");
  d["guards"] = labels;
  return d;
}

}  // namespace binding
}  // namespace pd
