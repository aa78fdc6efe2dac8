// Guards: what of Python a traced function may have read besides tensors, and whether it still is as it was.
#pragma once
#include <string>
#include <vector>

#include "python/tensor.h"

namespace pd {
namespace binding {

// Is `o` the value that `expected` was: the same type and equal? (floats: the same bits)
bool same_value(PyObject* o, PyObject* expected);

// An object held weakly where it can be, else strongly.
class Held {
 public:
  Held() = default;
  explicit Held(PyObject* o);
  bool is(PyObject* o) const { return get() == o; }
  PyObject* get() const;  // borrowed; null: it is gone

 private:
  py::object ref_;
  bool weak_ = false;
};

// The items of one container: an object's attributes, a dict, a list or tuple, the cell of a closure.
class Guard {
 public:
  // As pydiff/_jit/guards.py gives it: (owner or None, container, length or -1, [(key, expected, mode)], label)
  explicit Guard(const py::tuple& told);
  // Null: all is as it was. Otherwise the label of what is not.
  const std::string* failed();
  const std::string& label() const { return label_; }
  size_t size() const { return items_.size(); }

 private:
  enum Mode : uint8_t { Same, Equal, Truth, NoTensor };
  struct Item {
    py::object key;
    Held held;            // Same
    py::object expected;  // Equal, Truth
    Mode mode;
    Py_ssize_t place;
  };
  bool holds(const Item& i, PyObject* now) const;
  Held owner_;
  bool owned_ = false;
  PyObject* container_;  // of an owner: its attributes, looked up anew
  py::object keep_;
  Py_ssize_t length_;
  uint64_t version_ = 0;
  std::vector<Item> items_;
  std::string label_, failed_;
};

}  // namespace binding
}  // namespace pd
