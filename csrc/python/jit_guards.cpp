#include "python/jit_guards.h"

#include <cstring>

namespace pd {
namespace binding {

bool same_value(PyObject* o, PyObject* expected) {
  if (o == expected) return true;
  if (Py_TYPE(o) != Py_TYPE(expected)) return false;
  if (PyFloat_CheckExact(o)) {
    const double a = PyFloat_AS_DOUBLE(o), b = PyFloat_AS_DOUBLE(expected);
    return std::memcmp(&a, &b, sizeof a) == 0;
  }
  const int equal = PyObject_RichCompareBool(o, expected, Py_EQ);
  if (equal < 0) PyErr_Clear();
  return equal == 1;
}

Held::Held(PyObject* o) {
  PyObject* ref = PyWeakref_NewRef(o, nullptr);
  weak_ = ref != nullptr;
  if (!ref) {
    PyErr_Clear();
    ref = same(o);
  }
  ref_ = py::reinterpret_steal<py::object>(ref);
}

PyObject* Held::get() const {
  if (!weak_) return ref_.ptr();
  PyObject* o = PyWeakref_GET_OBJECT(ref_.ptr());
  return o == Py_None ? nullptr : o;
}

namespace {

// Python counts the changes of a dict, until 3.14. 0: unknown.
uint64_t version_of(PyObject* dict) {
#if PY_VERSION_HEX < 0x030e0000
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  return reinterpret_cast<PyDictObject*>(dict)->ma_version_tag;
#pragma GCC diagnostic pop
#else
  (void)dict;
  return 0;
#endif
}

}  // namespace

Guard::Guard(const py::tuple& told) {
  if (!told[0].is_none()) {
    owner_ = Held(py::object(told[0]).ptr());
    owned_ = true;
  } else {
    keep_ = told[1];
  }
  container_ = py::object(told[1]).ptr();
  length_ = told[2].cast<Py_ssize_t>();
  for (const auto& o : py::reinterpret_borrow<py::list>(py::object(told[3]))) {
    auto t = py::reinterpret_borrow<py::tuple>(o);
    Item i;
    i.key = t[0];
    i.mode = static_cast<Mode>(t[2].cast<int>());
    if (i.mode == Same) i.held = Held(py::object(t[1]).ptr());
    else i.expected = t[1];
    i.place = PyLong_Check(i.key.ptr()) ? PyLong_AsSsize_t(i.key.ptr()) : 0;
    if (PyErr_Occurred()) PyErr_Clear();
    items_.push_back(std::move(i));
  }
  label_ = told[4].cast<std::string>();
}

bool Guard::holds(const Item& i, PyObject* now) const {
  switch (i.mode) {
    case Same: return now && i.held.is(now);
    case Equal: return now && same_value(now, i.expected.ptr());
    case Truth: return now && !is_tensor(now) && PyObject_IsTrue(now) == PyObject_IsTrue(i.expected.ptr());
    case NoTensor: return now && !is_tensor(now);
  }
  return false;
}

const std::string* Guard::failed() {
  py::object alive;
  if (owned_) {
    PyObject* owner = owner_.get();
    if (!owner) return &label_;
    PyObject* dict = PyObject_GenericGetDict(owner, nullptr);
    if (!dict) PyErr_Clear();
    alive = py::reinterpret_steal<py::object>(dict);
    if (dict != container_) return &label_;
  }
  PyObject* c = container_;
  if (PyType_Check(c)) {
#if PY_VERSION_HEX >= 0x030c0000
    alive = py::reinterpret_steal<py::object>(PyType_GetDict(reinterpret_cast<PyTypeObject*>(c)));
    c = alive.ptr();
#else
    c = reinterpret_cast<PyTypeObject*>(c)->tp_dict;
#endif
  }
  if (PyDict_Check(c)) {
    const uint64_t now = version_of(c);
    if (now && now == version_) return nullptr;
    if (length_ >= 0 && PyDict_GET_SIZE(c) != length_) return &label_;
    for (const Item& i : items_)
      if (!holds(i, PyDict_GetItem(c, i.key.ptr()))) {
        failed_ = label_ + "[" + std::string(py::repr(i.key)) + "]";
        return &failed_;
      }
    version_ = now;
    return nullptr;
  }
  if (PyList_Check(c) || PyTuple_Check(c)) {
    if (PySequence_Fast_GET_SIZE(c) != length_) return &label_;
    for (const Item& i : items_)
      if (!holds(i, PySequence_Fast_GET_ITEM(c, i.place))) {
        failed_ = label_ + "[" + std::to_string(i.place) + "]";
        return &failed_;
      }
    return nullptr;
  }
  if (PyCell_Check(c)) {
    for (const Item& i : items_)
      if (!holds(i, PyCell_GET(c))) return &label_;
    return nullptr;
  }
  return nullptr;
}

}  // namespace binding
}  // namespace pd
