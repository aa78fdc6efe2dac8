// The GIL, and Python called from C++.
//
// A daemon thread that asks for the GIL when Python has gone down is ended by Python through pthread_exit, which unwinds
// its stack. No destructor of C++ may be left like that: it would touch objects without the GIL, and the program would
// abort. So whatever may give the GIL up for a moment - code of the user's, a large copy of NumPy's - is called through
// `called`, with nothing of C++ between it and Python, and such a thread sleeps until the process is gone, as from Python
// 3.14 on.
#pragma once
#include <pybind11/pybind11.h>

#ifdef __GLIBCXX__
#include <cxxabi.h>
#include <unistd.h>
#endif

namespace pd {
namespace binding {

namespace py = pybind11;

template <class F>
auto or_sleep(F&& f) {
#ifdef __GLIBCXX__
  try {
    return f();
  } catch (const abi::__forced_unwind&) {
    for (;;) pause();
  }
#else
  return f();
#endif
}

// f(args...); throws what it raised.
template <class... Handles>
py::object called(py::handle f, const Handles&... args) {
  PyObject* result = or_sleep([&] { return PyObject_CallFunctionObjArgs(f.ptr(), args.ptr()..., nullptr); });
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}
template <class... Handles>
py::object called_method(py::handle self, const char* name, const Handles&... args) {
  return called(py::object(self.attr(name)), args...);
}

class HoldGil {
 public:
  HoldGil() : state_(or_sleep([] { return PyGILState_Ensure(); })) {}
  ~HoldGil() { PyGILState_Release(state_); }
  HoldGil(const HoldGil&) = delete;
  HoldGil& operator=(const HoldGil&) = delete;

 private:
  PyGILState_STATE state_;
};

// While it lives, other threads of Python go on.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    or_sleep([this] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace binding
}  // namespace pd
