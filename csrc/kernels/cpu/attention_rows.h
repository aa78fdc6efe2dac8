// What attention does to rows between its products, for one type and one instruction set.
//
// Rows of a tile are `kAttentionRow` items apart and count up to a multiple of 64 bytes, what is beyond a tile's columns being
// -inf. Sums go by the lanes of 64 bytes, so they have the same bits for every instruction set.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace pd {

constexpr int64_t kAttentionRow = 128;

struct AttentionRows {
  // to[r * cols + c] = factor * from[r * row + c * col]
  void (*load)(const void* from, int64_t row, int64_t col, int64_t rows, int64_t cols, double factor, void* to);
  // No infinity and no NaN in rows of x.
  bool (*finite)(const void* x, int64_t rows, int64_t row, int64_t cols);
  void (*multiply)(void* x, int64_t n, double factor);
  // out[r] = sum over c of a[r * a_row + c] b[r * b_row + c]
  void (*dots)(const void* a, int64_t a_row, const void* b, int64_t b_row, int64_t rows, int64_t cols, void* out);
  // s += mask, or -inf where a boolean mask is false; mask (r, c) at [r * row + c * col].
  void (*mask)(void* s, int64_t rows, int64_t cols, const void* mask, bool boolean, int64_t row, int64_t col);
  // s = -inf from column first + r on.
  void (*cut)(void* s, int64_t rows, int64_t cols, int64_t first);
  // A step of the softmax: s becomes exp(s - most), the largest so far; `sum` and the rows of o, of `width`, follow it. In the
  // first step o is null.
  void (*weigh)(void* s, int64_t rows, int64_t cols, void* most, void* sum, void* o, int64_t width);
  // o /= sum, lse = most + log(sum); a row of sum 0 is as ops/attention.h says. lse may be null.
  void (*finish)(int64_t rows, const void* most, const void* sum, void* o, int64_t width, bool masked, void* lse);
  // s becomes p = exp(s - lse), and d becomes p (d - drop), 0 where s was -inf.
  void (*unweigh)(void* s, void* d, int64_t rows, int64_t cols, const void* lse, const void* drop);
};

const AttentionRows& attention_rows(DType dtype);  // float32, float64

}  // namespace pd
