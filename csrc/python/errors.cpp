// C++ exceptions as Python's.
#include "python/errors.h"

#include <new>

namespace pd {
namespace binding {

namespace {
PyObject* g_not_differentiable = nullptr;

PyObject* class_of(ErrorKind k) {
  switch (k) {
    case ErrorKind::Value: return PyExc_ValueError;
    case ErrorKind::Type: return PyExc_TypeError;
    case ErrorKind::Index: return PyExc_IndexError;
    case ErrorKind::Runtime: return PyExc_RuntimeError;
    case ErrorKind::Memory: return PyExc_MemoryError;
    case ErrorKind::NotDifferentiable: return g_not_differentiable;
  }
  return PyExc_RuntimeError;
}
}  // namespace

void set_python_error() noexcept {
  try {
    throw;
  } catch (const PythonError&) {
  } catch (const Error& e) {
    PyErr_SetString(class_of(e.kind), e.what());
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const py::builtin_exception& e) {
    e.set_error();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

void bind_errors(py::module_& m) {
  g_not_differentiable = PyErr_NewExceptionWithDoc(
      "pydiff.NotDifferentiableError", "A gradient was asked for of an operation that has none.\n", PyExc_RuntimeError,
      nullptr);
  m.add_object("NotDifferentiableError", py::reinterpret_borrow<py::object>(g_not_differentiable));
  py::register_exception_translator([](std::exception_ptr p) {
    if (!p) return;
    try {
      std::rethrow_exception(p);
    } catch (const PythonError&) {
    } catch (const Error& e) {
      PyErr_SetString(class_of(e.kind), e.what());
    }
  });
}

}  // namespace binding
}  // namespace pd
