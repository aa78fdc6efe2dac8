// The tape as Python sees it: backward, grad, hooks, custom functions.
#include <algorithm>
#include <unordered_set>

#include <pybind11/stl.h>

#include "python/args.h"
#include "python/convert.h"
#include "python/memory_formats.h"
#include "python/tracer.h"

namespace pd {
namespace binding {

namespace {

char g_fresh;  // the owner of a transform's leaf: no tensor, but somebody

// ---- backward and grad

std::vector<Var> outputs_of(const char* op, const py::sequence& outputs) {
  std::vector<Var> out;
  for (const auto& o : outputs) {
    Var v = tensor_arg(op, o.ptr());
    if (!requires_grad(v))
      fail(op, "the tensor has no path to anything that requires grad", to_string(v.v->spec()),
           "requires_grad=True on what it is computed from, outside no_grad()", ErrorKind::Runtime);
    out.push_back(v);
  }
  return out;
}

std::vector<Var> cotangents_of(const char* op, const std::vector<Var>& outputs, const py::sequence& given_ones) {
  if (given_ones.size() != outputs.size())
    fail(op, "one gradient for each output is needed", std::to_string(given_ones.size()) + " for " + std::to_string(outputs.size()),
         "a list of that length", ErrorKind::Runtime);
  std::vector<Var> out;
  for (size_t i = 0; i < outputs.size(); ++i) {
    py::object g = given_ones[i];
    const Var& y = outputs[i];
    if (g.is_none()) {
      if (y.v->size() != 1)
        fail(op, "a gradient is needed for an output that is not a scalar", to_string(y.shape()),
             std::string(".sum() first, or ") + (std::string(op) == "grad" ? "grad_outputs=" : "gradient=") + "a tensor of its shape",
             ErrorKind::Runtime);
      out.push_back(ones(y.shape(), y.dtype(), y.device()));
      continue;
    }
    Var v = tensor_arg(op, g.ptr());
    if (v.shape() != y.shape())
      fail(op, "a gradient has the shape of its output", to_string(v.shape()) + " for " + to_string(y.shape()),
           "a tensor of that shape", ErrorKind::Runtime);
    out.push_back(cast(v, y.dtype()));
  }
  return out;
}

void accumulate(TensorObject* t, Var g, bool create_graph) {
  g = owned("backward", g);
  if (!create_graph) g = carry_tangents(detach(g), g);
  check_no_escape("backward", t, g);
  if (g_tracing) trace_grad(t, true);
  if (!t->grad) {
    t->grad = wrap_quietly(g);
    lay_out_like(as_tensor_object(t->grad), t);
    return;
  }
  Var old = value_of(t->grad);
  Var total = binary(op::add, old, g);
  if (create_graph || requires_grad(old)) {
    PyObject* fresh = wrap_quietly(total);
    Py_DECREF(t->grad);
    t->grad = fresh;
    return;
  }
  // In place, as in PyTorch: whoever holds the gradient sees it grow.
  bool was = set_grad_enabled(false);
  try {
    assign("backward", as_tensor_object(t->grad), total);
  } catch (...) {
    set_grad_enabled(was);
    throw;
  }
  set_grad_enabled(was);
}

Edge edge_of(const char* op, PyObject* o) {
  const Var& v = value_of(o);
  if (!requires_grad(v))
    fail(op, "an input does not require grad", to_string(v.v->spec()), "requires_grad_() on it before computing", ErrorKind::Runtime);
  return Edge{v.m->node, v.m->out};
}

void backward(const py::sequence& outputs, const py::sequence& gradients, bool retain, bool create, const py::object& inputs) {
  std::vector<Var> ys = outputs_of("backward", outputs);
  std::vector<Var> gs = cotangents_of("backward", ys, gradients);
  std::vector<Edge> targets;
  std::vector<py::object> wanted;
  if (!inputs.is_none()) {
    for (const auto& o : inputs) {
      targets.push_back(edge_of("backward", o.ptr()));
      wanted.push_back(py::reinterpret_borrow<py::object>(o));
    }
    if (targets.empty()) fail("backward", "inputs is empty", "[]", "inputs=None for all leaves", ErrorKind::Runtime);
  }
  std::vector<Gradient> found = reverse(ys, gs, targets, retain, create);
  for (size_t i = 0; i < found.size(); ++i) {
    if (!found[i].g) continue;
    void* owner = wanted.empty() ? found[i].node->owner : wanted[i].ptr();
    if (owner == outside_trace())
      fail("backward", "the gradient flows to an operation outside the function that is traced", "a result of it",
           ".detach() of what the function is given, or backward() outside it", ErrorKind::Runtime);
    if (owner && owner != &g_fresh) accumulate(static_cast<TensorObject*>(owner), found[i].g, create);
  }
  found.clear();
  if (over_bound()) flush();
}

py::list gradients(const py::sequence& outputs, const py::sequence& gradients, const py::sequence& inputs, bool retain,
                   bool create) {
  std::vector<Var> ys = outputs_of("grad", outputs);
  std::vector<Var> gs = cotangents_of("grad", ys, gradients);
  std::vector<Edge> targets;
  for (const auto& o : inputs) targets.push_back(edge_of("grad", o.ptr()));
  py::list out;
  if (targets.empty()) return out;
  for (Gradient& g : reverse(ys, gs, targets, retain, create)) {
    if (g.g) out.append(wrapped(create ? g.g : carry_tangents(detach(g.g), g.g)));
    else out.append(py::none());
  }
  return out;
}

// The pullback of vjp: cotangents may be missing on both sides, and outputs without a path are zeros.
py::list pullback(const std::vector<py::object>& outputs, const std::vector<py::object>& gradients,
                  const std::vector<py::object>& inputs) {
  std::vector<Var> ys, gs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    Var y = value_of(outputs[i].ptr());
    if (!requires_grad(y) || gradients[i].is_none()) continue;
    ys.push_back(y);
    gs.push_back(cast(value_of(gradients[i].ptr()), y.dtype()));
  }
  std::vector<Edge> targets;
  for (const auto& o : inputs) targets.push_back(edge_of("vjp", o.ptr()));
  py::list out;
  std::vector<Gradient> found;
  if (!ys.empty()) found = reverse(ys, gs, targets, true, true);
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i < found.size() && found[i].g) out.append(wrapped(found[i].g));
    else out.append(py::none());
  }
  return out;
}

// ---- hooks

struct HookState {
  py::object call;
  bool removed = false;
};

TapeNode* node_of(const char* op, PyObject* self) {
  const Var& v = value_of(self);
  if (!requires_grad(v))
    fail(op, "the tensor does not require grad", to_string(v.v->spec()), "requires_grad_() first", ErrorKind::Runtime);
  return v.m->node.get();
}

py::object register_hook(const py::object& self, const py::object& f) {
  TapeNode* n = node_of("register_hook", self.ptr());
  auto state = std::make_shared<HookState>(HookState{f});
  n->hooks.emplace_back(value_of(self.ptr()).m->out, [state](const Var& g) -> Var {
    if (state->removed) return Var();
    py::object r = called(state->call, wrapped(g));
    if (r.is_none()) return Var();
    Var v = tensor_arg("register_hook", r.ptr());
    if (v.shape() != g.shape())
      fail("register_hook", "a hook keeps the gradient's shape", to_string(v.shape()) + " for " + to_string(g.shape()),
           "a tensor of that shape", ErrorKind::Runtime);
    return v;
  });
  return py::cpp_function([state] {
    state->removed = true;
    state->call = py::none();
  });
}

void retain_grad(const py::object& self) {
  TensorObject* t = tensor_object_arg("retain_grad", self.ptr());
  TapeNode* n = node_of("retain_grad", self.ptr());
  if (is_leaf(t) || t->retains_grad) return;
  t->retains_grad = true;
  py::weakref ref(self);
  auto held = std::make_shared<py::object>(std::move(ref));
  n->hooks.emplace_back(t->var.m->out, [held](const Var& g) -> Var {
    py::object o = (*held)();
    if (!o.is_none()) accumulate(as_tensor_object(o.ptr()), g, requires_grad(g));
    return Var();
  });
}

// ---- the node behind a result

struct Node {
  TapeRef n;
};

std::string node_name(const TapeNode* n) {
  if (n->leaf) return "AccumulateGrad";
  if (n->detour) return "StableFormBackward";
  if (n->alias) return "AliasBackward";
  std::string raw = name_of(n), out;
  bool up = true;
  for (char c : raw) {
    if (c == '_') {
      up = true;
      continue;
    }
    out += up ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
    up = false;
  }
  return out + "Backward";
}

// ---- autograd.Function

// The results that the rule reads are kept as values: their edge leads to the very node that holds the
// rule, so it is made anew when they are read, or nothing of it would ever be freed.
struct PythonRule : CustomRule {
  py::object call;
  std::string title;
  std::vector<Var> kept;
  TapeNode* node = nullptr;
  PythonRule(py::object c, std::string t) : call(std::move(c)), title(std::move(t)) {}
  ~PythonRule() override {
    for (Var& v : kept)
      if (v) --v.v->taped;
  }
  const char* name() const override { return title.c_str(); }
  std::vector<Var> vjp(const std::vector<Var>& cotangents) override {
    py::list gs, results;
    for (const Var& g : cotangents) gs.append(wrapped(g));
    for (size_t k = 0; k < kept.size(); ++k) {
      if (!kept[k]) {
        results.append(py::none());
        continue;
      }
      Var v = kept[k];
      if (grad_enabled() && is_differentiable(v.dtype())) {
        Meta* m = new Meta;
        m->node = TapeRef(node);
        m->out = static_cast<int>(k);
        if (v.m) m->tangents = v.m->tangents;
        v.m = Ref<Meta>(m);
      }
      results.append(wrapped(v));
    }
    py::object r = called(call, gs, results);
    std::vector<Var> out;
    for (const auto& o : r) out.push_back(o.is_none() ? Var() : tensor_arg(title.c_str(), o.ptr()));
    return out;
  }
};

// Rules whose kept results carry tangents of a level that is still open. The tangents may lead back to
// the rule's own node, so the end of the level has to take them away.
std::vector<std::pair<int32_t, TapeRef>>& with_level() {
  static auto* v = new std::vector<std::pair<int32_t, TapeRef>>;
  return *v;
}

void note_levels(const TapeRef& node, const Var& kept) {
  if (!kept.m) return;
  for (const Tangent& t : kept.m->tangents) with_level().emplace_back(t.level, node);
}

void end_level(int32_t level) {
  pop_level(level);
  auto& open = with_level();
  std::vector<TapeRef> ended;
  for (size_t i = 0; i < open.size();) {
    if (open[i].first == level) {
      ended.push_back(open[i].second);
      open[i] = open.back();
      open.pop_back();
    } else {
      ++i;
    }
  }
  for (TapeRef& n : ended)
    if (auto* rule = dynamic_cast<PythonRule*>(n->custom.get()))
      for (Var& v : rule->kept)
        if (v) v = strip_level(v, level);
}

// The results of a function got tangents after they were attached: its rule is to see them too.
void keep_tangents(const std::vector<py::object>& outputs) {
  for (const auto& o : outputs) {
    const Var& y = value_of(o.ptr());
    if (!requires_grad(y)) continue;
    auto* rule = dynamic_cast<PythonRule*>(y.m->node->custom.get());
    if (!rule) continue;
    Var& kept = rule->kept[static_cast<size_t>(y.m->out)];
    if (!kept) continue;
    kept = carry_tangents(Var(kept.v), y);
    note_levels(y.m->node, kept);
  }
}

py::list attach(const std::vector<py::object>& inputs, const std::vector<py::object>& outputs, const py::object& call,
                const std::string& name, const std::vector<bool>& keep) {
  std::vector<Var> in, out;
  for (const auto& o : inputs) in.push_back(value_of(o.ptr()));
  for (const auto& o : outputs) out.push_back(value_of(o.ptr()));
  auto* rule = new PythonRule(call, name);
  for (size_t k = 0; k < out.size(); ++k) {
    rule->kept.push_back(keep[k] ? carry_tangents(Var(out[k].v), out[k]) : Var());
    if (keep[k]) ++out[k].v->taped;
  }
  std::vector<Var> attached = attach_custom(in, out, rule);
  py::list result;
  for (size_t k = 0; k < attached.size(); ++k) {
    if (requires_grad(attached[k])) {
      rule->node = attached[k].m->node.get();
      note_levels(attached[k].m->node, rule->kept[k]);
    }
    result.append(wrapped(carry_tangents(attached[k], out[k])));
  }
  return result;
}

// ---- leaves of a transform (grad, vjp): live while the function runs

Var make_fresh(const Var& x) {
  Var v = carry_tangents(make_leaf_var(x), x);
  if (v.m->node->leaf) v.m->node->owner = &g_fresh;
  return v;
}

void close_fresh(const py::sequence& leaves) {
  for (const auto& o : leaves) {
    const Var& v = value_of(o.ptr());
    if (requires_grad(v) && v.m->node->owner == &g_fresh) v.m->node->owner = nullptr;
  }
}

// Does the tape behind the node reach a leaf that anybody but `own` asks the gradient of?
bool reaches_others(TapeNode* from, const std::vector<TapeNode*>& own) {
  std::vector<TapeNode*> stack = {from};
  std::unordered_set<TapeNode*> seen = {from};
  while (!stack.empty()) {
    TapeNode* n = stack.back();
    stack.pop_back();
    if (n->leaf && n->owner && std::find(own.begin(), own.end(), n) == own.end()) return true;
    for (Edge& e : n->edges)
      if (e.node && seen.insert(e.node.get()).second) stack.push_back(e.node.get());
  }
  return false;
}

// The outputs, without tape where it leads to the transform's own leaves alone.
py::list settled(const py::sequence& outputs, const py::sequence& leaves) {
  std::vector<TapeNode*> own;
  for (const auto& o : leaves) {
    const Var& v = value_of(o.ptr());
    if (requires_grad(v)) own.push_back(v.m->node.get());
  }
  py::list out;
  for (const auto& o : outputs) {
    const Var& v = value_of(o.ptr());
    if (!requires_grad(v) || reaches_others(v.m->node.get(), own)) out.append(o);
    else out.append(wrapped(carry_tangents(detach(v), v)));
  }
  return out;
}

// ---- methods

PyObject* detach_body(PyObject** a) {
  const Var& x = value_of(a[0]);
  PyObject* out = make_view(as_tensor_object(a[0]), Steps(), Var(x.v), true);
  stable::Recorded r = stable::detached(Var(x.v), head_of(a[0], x));
  if (r.head) keep_head(as_tensor_object(out), r);
  return out;
}
constexpr Def kDetach = {"detach", detach_body, 1, -1,
                         "detach()\n--\n\nThe value without tape or tangents; shares memory.\n\n>>> import pydiff as pd\n"
                         ">>> pd.ones(2, requires_grad=True).detach().requires_grad\nFalse\n",
                         {"input"}};
PyObject* requires_grad_body(PyObject** a) {
  set_requires_grad(as_tensor_object(a[0]), bool_arg(a[1], true));
  return same(a[0]);
}
constexpr Def kRequiresGrad = {"requires_grad_", requires_grad_body, 1, -1,
                               "requires_grad_(requires_grad=True)\n--\n\nSets whether operations on it are taped; returns self.\n\n"
                               ">>> import pydiff as pd\n>>> pd.ones(2).requires_grad_().requires_grad\nTrue\n",
                               {"input", "requires_grad"}};

PyObject* mode_is(PyObject*, PyObject*) { return PyBool_FromLong(grad_enabled()); }
PyObject* mode_set(PyObject*, PyObject* on) {
  int b = PyObject_IsTrue(on);
  return b < 0 ? nullptr : PyBool_FromLong(set_grad_enabled(b != 0));
}

}  // namespace

void add_autograd_methods(Methods& type, Methods& module) {
  method<kDetach>(type);
  method<kRequiresGrad>(type);
  module.push_back({"is_grad_enabled", mode_is, METH_NOARGS, "Whether operations are taped now."});
  module.push_back({"set_grad_enabled", mode_set, METH_O, "Sets whether operations are taped; returns the former state."});
}

void bind_autograd(py::module_& m) {
  m.def("backward", backward, py::arg("outputs"), py::arg("gradients"), py::arg("retain_graph"), py::arg("create_graph"),
        py::arg("inputs"));
  m.def("grad", gradients, py::arg("outputs"), py::arg("gradients"), py::arg("inputs"), py::arg("retain_graph"),
        py::arg("create_graph"));
  m.def("pullback", pullback);
  m.def("register_hook", register_hook);
  m.def("retain_grad", retain_grad);
  m.def("cut", [](const py::object& o) {
    TensorObject* t = tensor_object_arg("detach_", o.ptr());
    Var v = value_of(o.ptr());
    leave_cell(t);
    disown_leaf(t);
    store(t, carry_tangents(detach(v), v));
    return o;
  }, "Takes the handle off the tape; returns it.");
  m.def("attach_custom", attach);
  m.def("keep_tangents", keep_tangents);

  py::class_<Node>(m, "Node", "What the tape knows of the operation behind a result.")
      .def("name", [](const Node& n) { return node_name(n.n.get()); }, "The name of the operation.")
      .def_property_readonly("next_functions", [](const Node& n) {
        py::list out;
        for (Edge& e : n.n->edges) {
          if (e.node) out.append(py::make_tuple(Node{e.node}, e.out));
          else out.append(py::make_tuple(py::none(), 0));
        }
        return py::tuple(out);
      }, "The nodes behind the operands, each with the number of its output.")
      .def("__repr__", [](const Node& n) { return "<" + node_name(n.n.get()) + ">"; });
  m.def("grad_fn", [](const py::object& o) -> py::object {
    const Var& v = value_of(o.ptr());
    if (!requires_grad(v) || is_leaf(as_tensor_object(o.ptr()))) return py::none();
    return py::cast(Node{v.m->node});
  });

  // ---- levels of forward mode
  m.def("push_level", push_level);
  m.def("pop_level", end_level);
  m.def("with_tangent", with_tangent);
  m.def("strip_level", strip_level);
  m.def("tangent_of", [](const Var& x, int32_t level) -> py::object {
    Var t = tangent_of(x, level);
    return t ? wrapped(t) : py::none();
  });
  m.def("tangent_levels", [](const Var& x) {
    std::vector<int32_t> out;
    if (x.m)
      for (const Tangent& t : x.m->tangents) out.push_back(t.level);
    return out;
  });

  // ---- leaves of reverse transforms
  m.def("make_fresh", make_fresh, "The same value with an edge of its own, behind which the tape of the original goes on.");
  m.def("close_fresh", close_fresh, "Nobody asks for the gradients of these any more.");
  m.def("settled", settled);
}

}  // namespace binding
}  // namespace pd
