// Memory formats. A tensor of shape (n, c, *places) is channels-last where its strides are those of (n, *places, c).
//
// Values lie in the order of their axes, so such a tensor is the permutation of a value of shape (n, *places, c), in a
// handle with those strides. What keeps the format computes on that value and permutes the result; a permutation that
// meets its inverse is neither recorded nor made, so only who reads the tensor in its own axes' order copies.
#pragma once
#include "python/views.h"

namespace pd {
namespace binding {

enum class Format : uint8_t { Preserve, Contiguous, ChannelsLast, ChannelsLast3d };

// Absent or None: `otherwise`.
Format format_arg(const char* op, PyObject* o, Format otherwise);

// Do its strides say that the channels lie together? (PyTorch's is_channels_last_strides_2d and _3d)
bool has_last_strides(TensorObject* t);
inline bool is_channels_last(TensorObject* t) { return (t->alias || t->strides) && has_last_strides(t); }
// Are the elements in that order without gaps?
bool lies_in(TensorObject* t, Format f);

Var to_last(const Var& x);    // (n, c, *places) as (n, *places, c)
Var from_last(const Var& x);  // and back
Ints order_last(const Ints& by_axis);  // a number an axis, in the order of to_last's axes
// A handle of (n, c, *places), channels-last, of a value (n, *places, c).
PyObject* wrap_last(const Var& places_last);
PyObject* wrap_last(stable::Recorded places_last);
// The format of a result that is like t: the one named, else the tensor's own. Fails where the shape has too few axes.
bool wants_last(const char* op, TensorObject* t, Format f);
void check_format(const char* op, const Shape& s, Format f);
// Gives `to` the strides of `like` where that is channels-last.
void lay_out_like(TensorObject* to, TensorObject* like);

// Operands of an elementwise op, of which some may be numbers: turned to (n, *places, c) where the result is channels-last,
// which it is as the first operand of its shape is.
bool turn_operands(PyObject* const* objects, Var* vars, int count);
inline bool turn_operands(PyObject* a, PyObject* b, Var& x, Var& y) {
  PyObject* objects[2] = {a, b};
  Var vars[2] = {x, y};
  if (!turn_operands(objects, vars, 2)) return false;
  x = std::move(vars[0]);
  y = std::move(vars[1]);
  return true;
}

void bind_memory_formats(py::module_& m);

}  // namespace binding
}  // namespace pd
