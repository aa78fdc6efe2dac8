// Compilation of kernels, between the core and the service in pydiff/_llvm.py (base/host.h names the calls).
#include "base/host.h"
#include "fuse/kernel_cache.h"
#include "python/gil.h"
#include "python/tensor.h"

namespace pd {
namespace binding {

namespace {

// Callables of the service. They live as long as the process: the core may ask at any time.
PyObject* g_start = nullptr;
PyObject* g_compile_now = nullptr;

// An error of the service is no error of the computation: it is shown, and the interpreter goes on. Ctrl-C
// is not the service's: it is raised again, where the user's code runs next. True: it was Ctrl-C.
bool put_aside(PyObject* service) {
  bool interrupted = PyErr_ExceptionMatches(PyExc_KeyboardInterrupt);
  if (interrupted) {
    PyErr_Clear();
    PyErr_SetInterrupt();
  } else {
    PyErr_WriteUnraisable(service);
  }
  return interrupted;
}

bool start_compiler() {
  if (!g_start || !Py_IsInitialized()) return false;
  HoldGil gil;
  PyObject* r = or_sleep([] { return PyObject_CallNoArgs(g_start); });
  if (!r) return put_aside(g_start);  // interrupted: the next kernel asks again
  bool yes = PyObject_IsTrue(r) > 0;
  Py_DECREF(r);
  return yes;
}

void* compile_now(const char* name, const char* ir, const char* error) {
  if (!g_compile_now || !Py_IsInitialized()) return nullptr;
  HoldGil gil;
  PyObject* r = or_sleep([&] { return PyObject_CallFunction(g_compile_now, "sss", name, ir, error); });
  if (!r) {
    put_aside(g_compile_now);
    return nullptr;
  }
  void* address = PyLong_AsVoidPtr(r);
  Py_DECREF(r);
  if (PyErr_Occurred()) {
    PyErr_WriteUnraisable(g_compile_now);
    return nullptr;
  }
  return address;
}

JitMode mode_of(const std::string& name) {
  if (name == "off") return JitMode::Off;
  if (name == "background") return JitMode::Background;
  if (name == "blocking") return JitMode::Blocking;
  fail("set_jit", "unknown mode", name, "'off', 'background' or 'blocking'");
}

const char* name_of_mode(JitMode m) {
  return m == JitMode::Off ? "off" : m == JitMode::Background ? "background" : "blocking";
}

}  // namespace

void bind_compile(py::module_& m) {
  m.def("set_jit", [](const std::string& mode, const py::object& start, const py::object& now) {
    set_jit_mode(mode_of(mode));
    g_start = py::object(start).release().ptr();
    g_compile_now = py::object(now).release().ptr();
    host().start_compiler = start_compiler;
    host().compile_now = compile_now;
  }, "The mode, and the callables of the service that compiles.");
  m.def("set_jit_mode", [](const std::string& mode) {
    const char* was = name_of_mode(jit_mode());
    set_jit_mode(mode_of(mode));
    return was;
  }, "Sets the mode; returns the former one.");
  m.def("jit_mode", [] { return name_of_mode(jit_mode()); });
  m.def("jit_take", []() -> py::object {
    CompileJob job;
    bool got;
    {
      WithoutGil free;
      got = take_compile(job);
    }
    if (!got) return py::none();
    return py::make_tuple(job.id, job.name, job.ir, job.error);
  }, "The next kernel to compile, (id, name, ir, error); None once stopped.");
  m.def("jit_finish", [](uint64_t id, size_t address) { finish_compile(id, reinterpret_cast<void*>(address)); });
  m.def("jit_stop", stop_compiles);
  m.def("jit_after_fork", compiles_after_fork);
  m.def("kernel_stats", [] {
    KernelStats s = kernel_stats();
    py::dict d;
    d["kernels"] = s.kernels;
    d["compiled"] = s.compiled;
    d["failed"] = s.failed;
    d["queued"] = s.queued;
    return d;
  });
}

}  // namespace binding
}  // namespace pd
