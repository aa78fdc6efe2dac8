// Public functions that are composed in Python: a callable that hands a vector call on as it is.
//
// It costs no frame. Other spellings of keywords (args.cpp) become those of the function, and an error that rises out of it is
// told in its name: `pydiff/_public.py` does that, when there is one.
#include "python/public_function.h"

#include <structmember.h>

#include <unordered_map>
#include <vector>

#include "python/args.h"
#include "python/autocast.h"

namespace pd {
namespace binding {

namespace {

struct PublicObject {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* function;
  PyObject* params;  // names of its parameters; null where it takes any keyword
  PyObject* dict;    // __name__, __doc__ and the like
  PyObject* weakrefs;
};

PyTypeObject* g_type = nullptr;
PyObject* g_explain = nullptr;  // pydiff._public.explain

// Names, and places in that list by code object; of one that two functions share nothing is known, and the place is 0.
struct Names {
  std::vector<std::string> list{""};
  std::unordered_map<PyCodeObject*, std::pair<int, PyObject*>> of;  // with the function
};
Names& names() {
  static auto* table = new Names;
  return *table;
}

PublicObject* self_of(PyObject* o) { return reinterpret_cast<PublicObject*>(o); }

bool same_word(PyObject* a, PyObject* b) { return a == b || PyUnicode_Compare(a, b) == 0; }

bool has_word(PyObject* words, PyObject* word) {
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(words); ++k)
    if (PyTuple_GET_ITEM(words, k) == word) return true;  // names of keywords are interned nearly always
  for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(words); ++k)
    if (same_word(PyTuple_GET_ITEM(words, k), word)) return true;
  return false;
}

// `kwnames` in the function's spelling, each the first parameter that it may mean and that is not given; a new reference.
PyObject* spelled(PyObject* params, Py_ssize_t nargs, PyObject* kwnames) {
  Py_ssize_t n = PyTuple_GET_SIZE(kwnames);
  PyObject* out = nullptr;
  for (Py_ssize_t w = 0; w < n; ++w) {
    PyObject* kw = PyTuple_GET_ITEM(kwnames, w);
    if (has_word(params, kw)) continue;
    Py_ssize_t count = PyTuple_GET_SIZE(params);
    for (Py_ssize_t i = nargs; i < 2 * count; ++i) {  // at last those that are given, so that the error says so
      PyObject* param = PyTuple_GET_ITEM(params, i % count);
      const char* text = PyUnicode_AsUTF8(param);
      if (!text || !spells(kw, text) || (i < count && has_word(out ? out : kwnames, param))) continue;
      if (!out) {
        out = PyTuple_New(n);
        if (!out) return nullptr;
        for (Py_ssize_t i = 0; i < n; ++i) PyTuple_SET_ITEM(out, i, same(PyTuple_GET_ITEM(kwnames, i)));
      }
      Py_DECREF(PyTuple_GET_ITEM(out, w));
      PyTuple_SET_ITEM(out, w, same(param));
      break;
    }
  }
  return out ? out : same(kwnames);
}

// Replaces the error that is set by what `explain` makes of it.
void explain(PublicObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  if (!g_explain || !PyErr_ExceptionMatches(PyExc_Exception)) return;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (value && trace) PyException_SetTraceback(value, trace);
  PyObject* positional = PyTuple_New(n);
  PyObject* named = PyDict_New();
  PyObject* better = nullptr;
  if (value && positional && named) {
    for (Py_ssize_t i = 0; i < n; ++i) PyTuple_SET_ITEM(positional, i, same(args[i]));
    for (Py_ssize_t w = 0; kwnames && w < PyTuple_GET_SIZE(kwnames); ++w)
      PyDict_SetItem(named, PyTuple_GET_ITEM(kwnames, w), args[n + w]);
    better = PyObject_CallFunctionObjArgs(g_explain, reinterpret_cast<PyObject*>(self), value, positional, named, nullptr);
  }
  Py_XDECREF(positional);
  Py_XDECREF(named);
  if (!better || !PyExceptionInstance_Check(better)) {  // whatever went wrong there, the error stays what it was
    PyErr_Clear();
    Py_XDECREF(better);
    PyErr_Restore(type, value, trace);
    return;
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  PyErr_Restore(same(reinterpret_cast<PyObject*>(Py_TYPE(better))), better, PyException_GetTraceback(better));
}

PyObject* call(PyObject* o, PyObject* const* args, size_t nargsf, PyObject* kwnames) {
  PublicObject* self = self_of(o);
  PyObject* words = nullptr;
  if (kwnames && self->params) {
    words = spelled(self->params, PyVectorcall_NARGS(nargsf), kwnames);
    if (!words) return nullptr;
  }
  PyObject* result = nullptr;
  if (t_autocast.on) {
    PyObject* name = PyDict_GetItemString(self->dict, "__name__");
    result = call_by_rule(self->function, name, args, PyVectorcall_NARGS(nargsf), words ? words : kwnames);
    if (!result && !PyErr_Occurred()) {
      const bool was = t_autocast.composed;
      t_autocast.composed = true;
      result = PyObject_Vectorcall(self->function, args, nargsf, words ? words : kwnames);
      t_autocast.composed = was;
    }
  } else {
    result = PyObject_Vectorcall(self->function, args, nargsf, words ? words : kwnames);
  }
  if (!result) explain(self, args, PyVectorcall_NARGS(nargsf), words ? words : kwnames);
  Py_XDECREF(words);
  return result;
}

PyObject* bound(PyObject* o, PyObject* instance, PyObject*) {
  return instance && instance != Py_None ? PyMethod_New(o, instance) : same(o);
}

int traverse(PyObject* o, visitproc visit, void* arg) {
  Py_VISIT(self_of(o)->function);
  Py_VISIT(self_of(o)->params);
  Py_VISIT(self_of(o)->dict);
  Py_VISIT(Py_TYPE(o));
  return 0;
}

int clear(PyObject* o) {
  Py_CLEAR(self_of(o)->function);
  Py_CLEAR(self_of(o)->params);
  Py_CLEAR(self_of(o)->dict);
  return 0;
}

void dealloc(PyObject* o) {
  PyTypeObject* type = Py_TYPE(o);
  PyObject_GC_UnTrack(o);
  if (self_of(o)->weakrefs) PyObject_ClearWeakRefs(o);
  clear(o);
  type->tp_free(o);
  Py_DECREF(type);
}

// Pickled by reference, as functions are: where it is found stands in its facts.
PyObject* reduce(PyObject* o, PyObject*) { return PyObject_GetAttrString(o, "_found"); }

PyObject* repr(PyObject* o) {
  PyObject* name = PyObject_GetAttrString(o, "__qualname__");
  PyObject* module = name ? PyObject_GetAttrString(o, "__module__") : nullptr;
  PyObject* text = module ? PyUnicode_FromFormat("<function %S.%S>", module, name) : nullptr;
  Py_XDECREF(name);
  Py_XDECREF(module);
  return text;
}

// What stands behind decorators that hand calls on.
py::object innermost(py::object function) {
  while (py::hasattr(function, "__wrapped__")) function = function.attr("__wrapped__");
  return function;
}

// What `function` can be given by name, or null where that is anything.
PyObject* params_of(PyObject* function) {
  if (!PyFunction_Check(function)) return nullptr;
  auto* code = reinterpret_cast<PyCodeObject*>(PyFunction_GET_CODE(function));
  if (code->co_flags & CO_VARKEYWORDS) return nullptr;
  py::tuple all = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(code)).attr("co_varnames");
  return checked(PyTuple_GetSlice(all.ptr(), 0, code->co_argcount + code->co_kwonlyargcount));
}

py::object make(const py::object& function, const py::dict& facts) {
  PyObject* o = checked(g_type->tp_alloc(g_type, 0));
  PublicObject* self = self_of(o);
  py::object made = py::reinterpret_steal<py::object>(o);
  self->vectorcall = call;
  self->function = same(function.ptr());
  py::object inner = innermost(function);
  self->params = params_of(inner.ptr());
  self->dict = checked(PyDict_Copy(facts.ptr()));
  if (PyFunction_Check(inner.ptr())) {
    auto* code = reinterpret_cast<PyCodeObject*>(PyFunction_GET_CODE(inner.ptr()));
    std::string name = py::str(facts["__name__"]);
    Names& n = names();
    auto [at, fresh] = n.of.emplace(code, std::make_pair(static_cast<int>(n.list.size()), inner.ptr()));
    if (fresh) {
      Py_INCREF(code);
      n.list.push_back(name);
    } else if (at->second.second != inner.ptr()) {  // a second name of one function is no news
      at->second.first = 0;
    }
  }
  return made;
}

void make_type() {
  static PyMemberDef members[] = {
      {"__vectorcalloffset__", T_PYSSIZET, offsetof(PublicObject, vectorcall), READONLY, nullptr},
      {"__dictoffset__", T_PYSSIZET, offsetof(PublicObject, dict), READONLY, nullptr},
      {"__weaklistoffset__", T_PYSSIZET, offsetof(PublicObject, weakrefs), READONLY, nullptr},
      {nullptr, 0, 0, 0, nullptr}};
  static PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getset[] = {
      {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr}, {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {
      {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
      {Py_tp_descr_get, reinterpret_cast<void*>(bound)},
      {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
      {Py_tp_clear, reinterpret_cast<void*>(clear)},
      {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
      {Py_tp_repr, reinterpret_cast<void*>(repr)},
      {Py_tp_members, members},
      {Py_tp_methods, methods},
      {Py_tp_getset, getset},
      {0, nullptr}};
  static PyType_Spec spec = {"pydiff.function", sizeof(PublicObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                                 Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             slots};
  g_type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
}

}  // namespace

int public_number(PyCodeObject* code) {
  auto at = names().of.find(code);
  return at == names().of.end() ? 0 : at->second.first;
}

const char* public_name(int number) {
  return number > 0 && static_cast<size_t>(number) < names().list.size() ? names().list[static_cast<size_t>(number)].c_str()
                                                                          : nullptr;
}

std::string in_the_name_of(const char* name, const std::string& text) {
  size_t end = text.find(']');
  if (!name || text.empty() || text[0] != '[' || end == std::string::npos) return text;
  return std::string("[") + name + text.substr(end);
}

void bind_public(py::module_& m) {
  make_type();
  m.attr("PublicFunction") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(g_type));
  m.def("public_function", make, "A public function that hands its calls on to `function`; `facts`: its name, doc and the like.");
  m.def("set_explain", [](const py::object& f) { g_explain = py::object(f).release().ptr(); },
        "`explain(function, error, args, kwargs)` returns the error to raise in its place.");
}

}  // namespace binding
}  // namespace pd
