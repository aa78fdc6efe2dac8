// What the core asks of Python while it works: the GIL, and the user's line.
#include "exec/exec.h"
#include "python/errors.h"
#include "python/gil.h"
#include "python/public_function.h"
#include "python/tensor.h"

#include <frameobject.h>

namespace pd {
namespace binding {

namespace {

void* unlock() { return PyEval_SaveThread(); }
void lock(void* state) {
  or_sleep([state] { PyEval_RestoreThread(static_cast<PyThreadState*>(state)); });
}

void raise_with_note(std::exception_ptr error, const std::string& note) {
  try {
    std::rethrow_exception(error);
  } catch (py::error_already_set& e) {
    e.value().attr("add_note")(note);
    throw;
  } catch (const Error& e) {
    throw Error(e.kind, e.what() + ("\n" + note));
  }
}

void warn(const char* text) {
  if (PyErr_WarnEx(PyExc_RuntimeWarning, text, 1) < 0) throw PythonError();
}

// pydiff's own Python is not the user's: its code lies in the folder of the package.
bool is_own(PyCodeObject* code) {
  static const std::string folder = [] {
    py::object file = py::module_::import("pydiff._core").attr("__file__");
    std::string f = py::cast<std::string>(file);
    return f.substr(0, f.find_last_of("/\\") + 1);
  }();
  Py_ssize_t n = 0;
  const char* name = PyUnicode_AsUTF8AndSize(code->co_filename, &n);
  return name && static_cast<size_t>(n) >= folder.size() && folder.compare(0, folder.size(), name, folder.size()) == 0;
}

// The user's line, and with it the public function that was called there: the outermost of pydiff's own frames that is one.
// `offset` has the function's number above its lowest bits: a name of its own would need an owner, and places are given up
// without the GIL too.
constexpr int kOffsetBits = 20;

void locate(void** code, int32_t* offset) {
  int name = 0;
  PyFrameObject* f = PyThreadState_GetFrame(PyThreadState_Get());
  while (f) {
    PyCodeObject* c = PyFrame_GetCode(f);
    PyFrameObject* back = PyFrame_GetBack(f);
    if (!is_own(c) || !back) {
      *code = c;
      *offset = PyFrame_GetLasti(f);
      if (*offset >= 0 && *offset < 1 << kOffsetBits && name < 1 << (31 - kOffsetBits)) *offset |= name << kOffsetBits;
      else if (*offset >= 1 << kOffsetBits) *offset = -1;  // a function of a million bytes has no line here
      Py_DECREF(f);
      Py_XDECREF(back);
      return;
    }
    if (int known = public_number(c)) name = known;
    Py_DECREF(c);
    Py_DECREF(f);
    f = back;
  }
}

bool in_own_code() {
  PyFrameObject* f = PyThreadState_GetFrame(PyThreadState_Get());
  if (!f) return false;
  PyCodeObject* c = PyFrame_GetCode(f);
  const bool own = is_own(c);
  Py_DECREF(c);
  Py_DECREF(f);
  return own;
}

void keep(void* code) { Py_INCREF(static_cast<PyObject*>(code)); }
void drop(void* code) { Py_DECREF(static_cast<PyObject*>(code)); }

std::string describe(const std::string& text, void* code, int32_t offset) {
  auto* c = static_cast<PyCodeObject*>(code);
  const char* name = PyUnicode_AsUTF8(c->co_filename);
  int line = PyCode_Addr2Line(c, offset < 0 ? offset : offset & ((1 << kOffsetBits) - 1));
  return in_the_name_of(offset < 0 ? nullptr : public_name(offset >> kOffsetBits), text) + "; recorded at " +
         (name ? name : "?") + ":" + std::to_string(line);
}

}  // namespace

UserLine user_line(void* code, int32_t offset) {
  auto* c = static_cast<PyCodeObject*>(code);
  UserLine u;
  u.file = py::str(py::handle(c->co_filename));
  u.function = py::str(py::handle(c->co_qualname));
  const char* called = offset < 0 ? nullptr : public_name(offset >> kOffsetBits);
  u.called = called ? called : "";
  u.line = PyCode_Addr2Line(c, offset < 0 ? offset : offset & ((1 << kOffsetBits) - 1));
  return u;
}

void install_host_hooks() {
  g_exec.unlock = unlock;
  g_exec.lock = lock;
  g_exec.raise = raise_with_note;
  g_exec.warn = warn;
  stable::g_in_own_code = in_own_code;
  g_location.locate = locate;
  g_location.keep = keep;
  g_location.drop = drop;
  g_location.describe = describe;
}

}  // namespace binding
}  // namespace pd
