// C++ exceptions as Python's.
#include "python/errors.h"

#include <cstring>
#include <new>

#include "python/public_function.h"

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

// What is only found by a run names its op already, and what memory or a device lacks is nobody's.
bool is_about_the_call(const Error& e) {
  for (const char* part : {"[cuda]", "[evaluate]", "[plan]", "[interpreter]"})
    if (std::strncmp(e.what(), part, std::strlen(part)) == 0) return false;
  return e.kind != ErrorKind::Memory && e.kind != ErrorKind::NotDifferentiable &&
         !std::strstr(e.what(), "; recorded at ");
}
}  // namespace

void set_python_error(const char* name, const char* ending) noexcept {
  try {
    throw;
  } catch (const PythonError&) {
  } catch (const Error& e) {
    if (name && *name != '_' && is_about_the_call(e))
      PyErr_SetString(class_of(e.kind), in_the_name_of((std::string(name) + ending).c_str(), e.what()).c_str());
    else
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
