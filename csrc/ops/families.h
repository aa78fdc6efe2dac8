// The op families: what their files share, and where table.cpp takes their rows from.
//
// Attributes of each op (the executor reads the same):
//   reduce_*       the reduced axes, ascending; the result drops them
//   argmax argmin  axis
//   topk           axis, k, largest: the indices, in order
//   reshape expand the new shape          permute  output axis k is input axis attrs[k]
//   slice          start…, stop…, step…   flip     axes
//   pad            lo…, hi…, the bits of the fill value (a double)
//   concatenate    axis                   slice_update(dst, src)  as slice
//   index          n                      index_put(x, values, i0…)  n, accumulate
//   gather         axis                   scatter(x, idx, src)  axis, accumulate
//   cumsum         axis, reverse
//   convolution    as ops/convolution.h says: groups, flags, stride…, before…, after…, spread…, dilation…
//   attention      as ops/attention.h says: causal, the bits of the scale (a double); so has attention_backward
//   sample_*       elements of one draw: further ones are copies of it for other parameters (a batch)
//   check_range    the bits of low and high (doubles), 1 where low is excluded + 2 where high is, a text in words of 8 bytes
//   foreach        operands a segment, segments, shared operands
#pragma once
#include "graph/op_traits.h"
#include "ops/api.h"
#include "ops/rows.h"

namespace pd {

// The row of an op of PD_FAMILY_OPS, but cast and iota.
OpTraits family_op(OpId id);

OpTraits reduce_row(OpId id);
OpTraits movement_row(OpId id);
OpTraits slicing_row(OpId id);
OpTraits concatenate_row();
OpTraits contraction_row();
OpTraits convolution_row();
OpTraits attention_row(OpId id);
OpTraits index_row(OpId id);
OpTraits scan_row();
OpTraits topk_row();
OpTraits sampling_row(OpId id);
OpTraits control_row(OpId id);
OpTraits custom_row();

// ---- shapes and axes

Ints normalize_axes(const char* op, const Axes& axes, int ndim);  // ascending, none twice
void check_axes(const char* op, const Ints& axes, int ndim);      // of attributes
void check_size(const char* op, const Shape& s);                  // its bytes, of any dtype, can be counted
Shape drop_axes(const Shape& s, const Ints& axes);
int64_t count_along(const Shape& s, const Ints& axes);
// A reduction's result with the axes back, each of size 1.
Var keep_axes(const Var& y, const Shape& before, const Ints& axes);
Ints join(const Ints& a, const Ints& b);
inline Ints part(const Ints& v, int from, int n) { return Ints(v.data() + from, n); }
inline Ints shifted(const Ints& axes) {
  Ints out = axes;
  for (int64_t& k : out) ++k;
  return out;
}

// ---- types

inline Spec with_shape(const Spec& s, const Shape& shape) { return Spec{shape, s.dtype, s.device}; }
inline Spec spec_of(const Var& x) { return x.v->spec(); }
inline Var zeros_of(const Spec& s) { return zeros(s.shape, s.dtype, s.device); }
inline Var or_zeros(const Var& x, const Spec& s) { return x ? x : zeros_of(s); }
void require_kernel(const char* op, DType t, uint32_t types);
void require_floating(const char* op, const Var& x);
void require_equal_types(const OpTraits& op, const Spec& a, const Spec& b);

// Operand k with the batch axis, repeated along it where it has none.
Var with_batch(const BatchArgs& a, int k);

}  // namespace pd
