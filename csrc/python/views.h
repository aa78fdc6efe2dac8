// Views: tensors that share memory, by functionalisation.
//
//   cell     what the tensors that share memory have in common: the base's value, and a generation
//   steps    the movements that lead from the base's value to a view's
//
// A write through any of them scatters into the base's value and raises the generation; a view whose
// own generation is older re-derives its value when read. A cell exists only while at least two
// tensors share: an ordinary result has none.
#pragma once
#include "python/tensor.h"

namespace pd {
namespace binding {

enum class StepKind : uint8_t { Slice, Reshape, Permute, Flip, Expand };

struct Step {
  StepKind kind;
  Ints a, b, c;  // Slice: start, stop, step; Reshape, Expand: the shape; Permute, Flip: the axes
  bool operator==(const Step& o) const { return kind == o.kind && a == o.a && b == o.b && c == o.c; }
};
using Steps = std::vector<Step>;

struct Cell {
  uint64_t generation = 0;
  TensorObject* base = nullptr;  // null: it is gone, and `orphan` has the value
  Var orphan;
  Ints* strides = nullptr;       // of the base that is gone, where not in order
  Alias* members = nullptr;
  int count = 0;
};

struct Alias {
  Cell* cell;
  TensorObject* self;
  Alias *prev, *next;  // of the cell's members
  Steps steps;
  uint64_t generation;
  bool detached;  // reads drop the tape; writes leave the base's edge as it is
  bool of_leaf;   // a view of a detached handle that has become a leaf itself
};

Var apply_step(const Var& x, const Step& s);
Var apply_steps(Var x, const Steps& steps);
// `base` with the part that `steps` reads replaced by `part`.
Var scatter_steps(const char* op, const Var& base, const Steps& steps, const Var& part);

// A handle of `value`, which is `steps` of parent's value, sharing its memory.
PyObject* make_view(TensorObject* parent, Steps steps, Var value, bool detached = false);
inline PyObject* make_view(TensorObject* parent, Step s) {
  Var v = apply_step(value_of(reinterpret_cast<PyObject*>(parent)), s);
  Steps steps;
  steps.push_back(std::move(s));
  return make_view(parent, std::move(steps), std::move(v));
}

// Puts another value into the base, which may be gone, and nothing else.
void put_base(Cell* c, Var v);

// Fails where the tensor is a leaf that requires grad (or a view of one), and the tape is on.
void check_writable(const char* op, TensorObject* t);
// Fails where the tensor, or one that shares its memory, was made outside the vmap whose placeholders `next` is computed from:
// it would outlive them.
void check_no_escape(const char* op, TensorObject* t, const Var& next);
// The handle, and all that share its memory, take the new value: same shape, cast to its dtype.
void assign(const char* op, TensorObject* t, Var next);
// The same for the part of the tensor that `steps` reads.
void assign_part(const char* op, TensorObject* t, const Steps& steps, const Var& part);
// Does `view` read, up to date, exactly `steps` of t?
bool is_view_of(TensorObject* view, TensorObject* t, const Steps& steps);
// t turns into `view`, a view of it that nobody else holds: what t was stays as the base of those that share its memory.
void become(const char* op, TensorObject* t, TensorObject* view);
// Shares memory with nobody from now on.
void leave_cell(TensorObject* t) noexcept;

// In elements, of the memory that the tensor would lie in.
Ints strides_of(TensorObject* t);
bool reshape_shares(TensorObject* t, const Shape& to);

}  // namespace binding
}  // namespace pd
