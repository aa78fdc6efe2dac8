// The ids of all ops: the elementwise rows, then the families.
#pragma once
#include "graph/value.h"

// name, family
#define PD_FAMILY_OPS(X)                                                                       \
  X(cast, Elementwise) X(iota, Create)                                                         \
  X(reduce_sum, Reduce) X(reduce_prod, Reduce) X(reduce_max, Reduce) X(reduce_min, Reduce)     \
  X(reduce_any, Reduce) X(reduce_all, Reduce)                                                  \
  X(argmax, Index) X(argmin, Index) X(topk, Index)                                             \
  X(reshape, Movement) X(permute, Movement) X(expand, Movement) X(slice, Movement)             \
  X(flip, Movement) X(pad, Movement)                                                           \
  X(concatenate, Index) X(slice_update, Index)                                                 \
  X(index, Index) X(index_put, Index) X(gather, Index) X(scatter, Index)                       \
  X(sample_log_gamma, Index) X(sample_poisson, Index) X(sample_binomial, Index) X(sample_integer, Index) \
  X(log_gamma_slope, Index) X(check_range, Index)                                              \
  X(cumsum, Scan) X(dot, Contraction) X(convolution, Index)                                    \
  X(attention, Index) X(attention_backward, Index)                                             \
  X(fallback, Fallback) X(call, Control) X(foreach, Control) X(custom, Fallback)

namespace pd {
namespace op {
enum : OpId {
  first_row = kFirstOp - 1,
#define ROW1(name, ...) name,
#define ROW2(name, ...) name,
#define ROW3(name, ...) name,
#define DRAW(name, ...) name,
#include "ops/all_rows.inc"
#define X(name, family) name,
  PD_FAMILY_OPS(X)
#undef X
  count
};
}  // namespace op
}  // namespace pd
