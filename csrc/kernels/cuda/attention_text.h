// CUDA C++ that all kernels of attention share, behind value_helpers() and element_text.h: where operands lie; and two small
// kernels behind it. A head gives what element_text.h wants, RANK (axes of heads, groups of a head last), E and V (widths of
// a key and of a value), CAUSAL and MASK (0: none, 1: of booleans, 2: numbers to add).
#pragma once

namespace pd {
namespace cuda {

inline const char* const kAttentionText = R"cuda(
struct View { const char* at; i64 row, col, head[RANK]; };  // strides in elements

struct AttentionParams {
  i64 n[RANK];
  View query, key, value, result, log_sum, given, mask;  // `given`: the cotangent
  void* out[3];      // forward: the result and log_sum; backward: cotangents of query, key and value. Null: nobody reads it
  Sum* drop;         // sums of given * result along rows
  const i32* whole;  // not 0: something behind the diagonal is infinite or NaN, so that it counts. Null without CAUSAL
  i64 heads, groups, rows, sources;
  f64 scale;
};

PD_DEVICE Sum infinity() { return (Sum)__uint_as_float(0x7f800000u); }

constexpr bool kBlind = MASK != 0 || CAUSAL;  // a row may see nothing

// Where head `head` begins, of those of the query.
template <class X>
PD_DEVICE const X* head_of(const AttentionParams& p, const View& x, int head) {
  u32 rest = head;
  i64 at = 0;
#pragma unroll
  for (int d = RANK - 1; d > 0; --d) {
    const u32 q = rest / (u32)p.n[d];
    at += (i64)(rest - q * (u32)p.n[d]) * x.head[d];
    rest = q;
  }
  return (const X*)x.at + at + (i64)rest * x.head[0];
}

// The score at (row, col) when the mask has had its say; `unit` is 1 in the unit of the scores.
PD_DEVICE Sum masked(Sum score, const AttentionParams& p, const char* mask, int row, int col, Sum unit) {
  const i64 at = row * p.mask.row + col * p.mask.col;
  if constexpr (MASK == 1) return ((const u8*)mask)[at] ? score : -infinity();
  else if constexpr (MASK == 2) return fma(value_of(((const T*)mask)[at]), unit, score);
  else return score;
}
PD_DEVICE const char* mask_of(const AttentionParams& p, int head) {
  if constexpr (MASK == 1) return (const char*)head_of<u8>(p, p.mask, head);
  else if constexpr (MASK == 2) return (const char*)head_of<T>(p, p.mask, head);
  else return nullptr;
}
)cuda";

inline const char* const kAttentionSmallText = R"cuda(
// A warp a row.
PD_KERNEL __launch_bounds__(256) attention_drop(const AttentionParams p) {
  const int lane = threadIdx.x % 32;
  const i64 all = p.heads * p.groups * p.rows;
  for (i64 r = (i64)blockIdx.x * 8 + threadIdx.x / 32; r < all; r += (i64)gridDim.x * 8) {
    const int head = (int)(r / p.rows);
    const i64 row = r - head * p.rows;
    const T* const x = head_of<T>(p, p.given, head) + row * p.given.row;
    const T* const y = head_of<T>(p, p.result, head) + row * p.result.row;
    Sum sum = 0;
#pragma unroll 4
    for (int c = lane; c < V; c += 32) sum = fma(value_of(x[c * p.given.col]), value_of(y[c * p.result.col]), sum);
#pragma unroll
    for (int d = 16; d; d >>= 1) sum += __shfl_xor_sync(PD_ALL, sum, d);
    if (lane == 0) p.drop[r] = sum;
  }
}

// whole = 1 where an element of x is infinite or NaN: 0 times that is no 0. `step`: only every so many heads are looked at.
PD_KERNEL __launch_bounds__(256) attention_finite(const AttentionParams p, const View x, i64 step, i64 rows, i64 width,
                                                  i32* whole) {
  const int lane = threadIdx.x % 32;
  const i64 all = p.heads * p.groups / step * rows;
  bool bad = false;
  for (i64 r = (i64)blockIdx.x * 8 + threadIdx.x / 32; r < all; r += (i64)gridDim.x * 8) {
    const i64 head = r / rows;
    const T* const from = head_of<T>(p, x, (int)(head * step)) + (r - head * rows) * x.row;
#pragma unroll 4
    for (int c = lane; c < (int)width; c += 32) bad |= !(value_of(from[c * x.col]) * (Sum)0 == (Sum)0);
  }
  if (bad) *whole = 1;
}
)cuda";

}  // namespace cuda
}  // namespace pd
