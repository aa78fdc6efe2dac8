// A jitted function: its entries, and which of them serves a call.
#include <list>

#include "python/args.h"
#include "python/gil.h"
#include "python/jit_entry.h"

namespace pd {
namespace binding {

namespace {

int64_t g_traces = 0;

struct JitFunction {
  py::object function;
  py::object guards;  // guards(args, kwargs): what the function may read, as it is now
  py::object tell;    // tell(reason, escaped): it was traced anew
  size_t limit;
  std::list<std::shared_ptr<JitEntry>> entries;  // latest use first
  int64_t traces = 0, replays = 0;
};

std::vector<Guard> guards_of(const py::object& told) {
  std::vector<Guard> out;
  for (const auto& g : told) out.emplace_back(py::reinterpret_borrow<py::tuple>(g));
  return out;
}

py::object plain_call(const JitFunction& f, PyObject* args, PyObject* kwargs) {
  PyObject* r = or_sleep([&] { return PyObject_Call(f.function.ptr(), args, kwargs); });
  if (!r) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(r);
}

py::object trace(JitFunction& f, const py::tuple& both, PyObject* args, PyObject* kwargs, const std::string& why) {
  std::vector<PyObject*> tensors;
  const Tree tree = tree_of(both.ptr(), false, tensors);
  std::vector<Guard> guards = guards_of(called(f.guards, py::handle(args), py::handle(kwargs)));
  const Mode mode = Mode::now();
  ++f.traces;
  ++g_traces;
  py::object result;
  std::shared_ptr<JitEntry> entry;
  {
    Tracer tracer(tensors);
    try {
      result = plain_call(f, args, kwargs);
      if (!(Mode::now() == mode))
        fail("jit", "the function changes the mode of what comes after it", "set_grad_enabled, autocast or a default",
             "doing so outside the function", ErrorKind::Runtime);
      entry = std::make_shared<JitEntry>(tracer, tree, tensors, mode, std::move(guards), result);
    } catch (...) {
      const std::exception_ptr error = std::current_exception();
      tracer.restore();
      PyObject *type, *value, *traceback;
      PyErr_Fetch(&type, &value, &traceback);
      try {
        tracer.undo_host();
      } catch (...) {
        PyErr_Clear();
      }
      PyErr_Restore(type, value, traceback);
      std::rethrow_exception(error);
    }
  }
  const int escaped = entry->escaped();
  if (entry->reusable()) {
    f.entries.push_front(std::move(entry));
    if (f.entries.size() > f.limit) f.entries.pop_back();
  }
  called(f.tell, py::str(why), py::int_(escaped));
  return result;
}

py::object call(JitFunction& f, PyObject* args, PyObject* kwargs) {
  wait_for_trace();
  if (tracing_here()) return plain_call(f, args, kwargs);
  py::tuple both = py::make_tuple(py::handle(args), py::handle(kwargs));
  const Mode mode = Mode::now();
  std::vector<PyObject*> tensors;
  std::vector<TensorObject*> handles;
  std::string why;
  bool inlined = false, looked = false;
  auto look = [&] {
    looked = true;
    for (PyObject* t : tensors) {
      const Var& v = value_of(t);
      inlined |= v.v->abstract || (v.m && !v.m->tangents.empty());
    }
  };
  for (auto it = f.entries.begin(); it != f.entries.end();) {
    tensors.clear();
    if (!match((*it)->args(), both.ptr(), tensors)) {
      ++it;
      continue;
    }
    if (!looked) look();
    if (inlined) break;
    bool gone = false;
    if (const std::string* reason = (*it)->refuses(tensors, mode, handles, gone)) {
      if (why.empty()) why = *reason;
      it = gone ? f.entries.erase(it) : std::next(it);
      continue;
    }
    ++f.replays;
    const std::shared_ptr<JitEntry> entry = *it;  // another thread may forget it meanwhile
    if (it != f.entries.begin()) f.entries.splice(f.entries.begin(), f.entries, it);
    return entry->run(handles);
  }
  if (!looked) {
    tensors.clear();
    tree_of(both.ptr(), false, tensors);
    look();
  }
  if (inlined) return plain_call(f, args, kwargs);
  if (why.empty() && !f.entries.empty()) why = "the arguments: their structure, or what is no tensor";
  return trace(f, both, args, kwargs, why);
}

PyObject* call_method(PyObject* self, PyObject* const* a, Py_ssize_t n) {
  return guarded([&]() -> PyObject* {
    if (n != 2) fail("jit", "called with its arguments in a tuple and a dict", std::to_string(n), "f(args, kwargs)", ErrorKind::Type);
    auto f = py::reinterpret_borrow<py::object>(self).cast<std::shared_ptr<JitFunction>>();
    return call(*f, a[0], a[1]).release().ptr();
  });
}
PyMethodDef g_call = {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(call_method)), METH_FASTCALL, ""};

// What it holds is often what holds it: a method its class, a function its closure.
int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!py::detail::is_holder_constructed(self)) return 0;
  const JitFunction& f = py::cast<const JitFunction&>(py::handle(self));
  Py_VISIT(f.function.ptr());
  Py_VISIT(f.guards.ptr());
  Py_VISIT(f.tell.ptr());
  for (const auto& e : f.entries)
    for (const HostCall& h : e->calls()) {
      Py_VISIT(h.call.ptr());
      Py_VISIT(h.undo.ptr());
    }
  return 0;
}
int clear(PyObject* self) {
  if (!py::detail::is_holder_constructed(self)) return 0;
  JitFunction& f = py::cast<JitFunction&>(py::handle(self));
  const py::object function = std::move(f.function), guards = std::move(f.guards), tell = std::move(f.tell);
  const auto entries = std::move(f.entries);
  f.entries.clear();
  return 0;
}
void set_up(PyHeapTypeObject* type) {
  type->ht_type.tp_flags |= Py_TPFLAGS_HAVE_GC;
  type->ht_type.tp_traverse = traverse;
  type->ht_type.tp_clear = clear;
}

}  // namespace

int64_t traces_made() { return g_traces; }

void bind_trace(py::module_& m) {
  py::class_<JitFunction, std::shared_ptr<JitFunction>>(m, "JitFunction", py::custom_type_setup(set_up), "The traces of a function.")
      .def(py::init([](const py::object& function, const py::object& guards, const py::object& tell, size_t limit) {
        auto f = std::make_shared<JitFunction>();
        f->function = function;
        f->guards = guards;
        f->tell = tell;
        f->limit = limit;
        return f;
      }))
      .def_property_readonly("call", [](const py::object& self) {
        return py::reinterpret_steal<py::object>(PyCFunction_New(&g_call, self.ptr()));
      }, "call(args, kwargs), the function itself.")
      .def_readonly("traces", &JitFunction::traces)
      .def_readonly("replays", &JitFunction::replays)
      .def("clear", [](JitFunction& f) { f.entries.clear(); })
      .def("facts", [](const JitFunction& f) {
        py::list out;
        for (const auto& e : f.entries) out.append(e->facts());
        return out;
      });
  m.def("tracing", [] { return tracing_here() && !g_tracer->paused; }, "Whether this thread is tracing a function.");
  m.def("host_numbers", [](const py::object& call, const py::object& undo, const py::object& device) -> py::object {
    if (!tracing_here() || g_tracer->paused) return called(call);
    return g_tracer->host(call, undo, device_arg(device.ptr()));
  }, "What `call()` returns: numbers, or None. In a trace they stand for what it returns at each replay; `undo()` takes the first "
     "call back.");
}

}  // namespace binding
}  // namespace pd
