// Nested containers of arguments and results: as pydiff/tree.py has them, but that a leaf is a tensor or stays as it is.
#include "python/jit_entry.h"

namespace pd {
namespace binding {

namespace {

bool is_named(PyObject* o) { return PyTuple_Check(o) && PyObject_HasAttrString(o, "_fields"); }

// What equality tells all of.
bool is_plain(PyObject* o) {
  if (PyTuple_CheckExact(o)) {
    for (Py_ssize_t k = 0; k < PyTuple_GET_SIZE(o); ++k)
      if (!is_plain(PyTuple_GET_ITEM(o, k))) return false;
    return true;
  }
  return o == Py_None || PyBool_Check(o) || PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyUnicode_CheckExact(o) ||
         PyBytes_CheckExact(o) || PyComplex_CheckExact(o) || Py_TYPE(o) == &PySlice_Type || PyRange_Check(o);
}

}  // namespace

Tree tree_of(PyObject* o, bool keep, std::vector<PyObject*>& tensors) {
  Tree t;
  if (is_tensor(o)) {
    t.kind = Tree::Tensor;
    t.index = static_cast<int>(tensors.size());
    tensors.push_back(o);
    return t;
  }
  const bool named = is_named(o);
  if (PyTuple_CheckExact(o) || PyList_CheckExact(o) || named) {
    t.kind = named ? Tree::Named : PyTuple_CheckExact(o) ? Tree::Tuple : Tree::List;
    t.value = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(o); ++k)
      t.items.push_back(tree_of(PySequence_Fast_GET_ITEM(o, k), keep, tensors));
    return t;
  }
  if (PyDict_Check(o)) {
    t.kind = Tree::Dict;
    t.value = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(Py_TYPE(o)));
    PyObject *key, *item;
    Py_ssize_t at = 0;
    while (PyDict_Next(o, &at, &key, &item)) {
      t.keys.push_back(py::reinterpret_borrow<py::object>(key));
      t.items.push_back(tree_of(item, keep, tensors));
    }
    return t;
  }
  if (keep || is_plain(o)) t.value = py::reinterpret_borrow<py::object>(o);
  else t.held = Held(o);
  return t;
}

bool match(const Tree& t, PyObject* o, std::vector<PyObject*>& tensors) {
  switch (t.kind) {
    case Tree::Tensor:
      if (!is_tensor(o)) return false;
      tensors.push_back(o);
      return true;
    case Tree::Static:
      if (is_tensor(o)) return false;
      return t.value ? same_value(o, t.value.ptr()) : t.held.is(o);
    case Tree::Dict: {
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != t.value.ptr()) return false;
      if (PyDict_GET_SIZE(o) != static_cast<Py_ssize_t>(t.items.size())) return false;
      PyObject *key, *item;
      Py_ssize_t at = 0;
      size_t k = 0;
      while (PyDict_Next(o, &at, &key, &item)) {
        if (key != t.keys[k].ptr() && !same_value(key, t.keys[k].ptr())) return false;
        if (!match(t.items[k], item, tensors)) return false;
        ++k;
      }
      return true;
    }
    default:
      if (reinterpret_cast<PyObject*>(Py_TYPE(o)) != t.value.ptr()) return false;
      if (PySequence_Fast_GET_SIZE(o) != static_cast<Py_ssize_t>(t.items.size())) return false;
      for (size_t k = 0; k < t.items.size(); ++k)
        if (!match(t.items[k], PySequence_Fast_GET_ITEM(o, static_cast<Py_ssize_t>(k)), tensors)) return false;
      return true;
  }
}

py::object build(const Tree& t, const std::vector<py::object>& tensors) {
  switch (t.kind) {
    case Tree::Tensor: return tensors[static_cast<size_t>(t.index)];
    case Tree::Static: return t.value;
    case Tree::List: {
      py::list out(t.items.size());
      for (size_t k = 0; k < t.items.size(); ++k) out[k] = build(t.items[k], tensors);
      return std::move(out);
    }
    case Tree::Dict: {
      py::dict out;
      for (size_t k = 0; k < t.items.size(); ++k) out[t.keys[k]] = build(t.items[k], tensors);
      if (t.value.ptr() == reinterpret_cast<PyObject*>(&PyDict_Type)) return std::move(out);
      return t.value(out);
    }
    default: {
      py::tuple out(t.items.size());
      for (size_t k = 0; k < t.items.size(); ++k) out[k] = build(t.items[k], tensors);
      if (t.kind == Tree::Named) return t.value(*out);
      return std::move(out);
    }
  }
}

}  // namespace binding
}  // namespace pd
