// Matrix products on the CPU, by tiles that stay in registers. An operand's elements may lie anywhere that two lists of
// offsets say, so a convolution is such a product too, with no copy of its windows.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace pd {

// Index i lies at list[i], or at i * step where there is no list; in items.
struct Places {
  int64_t step = 1;
  const int64_t* list = nullptr;
  int64_t operator[](int64_t i) const { return list ? list[i] : i * step; }
};

struct TiledProduct {
  DType dtype;
  int64_t m, n, k;
  const void* a;
  Places a_row, a_k;
  const void* b;
  Places b_k, b_col;
  void* c;
  Places c_row, c_col;
  bool accumulate;
};

// C = A B, plus C where `accumulate`; k > 0. Float32, float64; int32, int64 (wrapping); bool (any of and). An element of
// C is one chain of fused multiply-adds over k in rising order, or the sum of a few chains over parts of k where C is
// small and k long: its bits depend on the shape alone. Shares the work among threads.
//
// Of bfloat16, where multiplies_pairs(): C is float32, without a list and with c_col 1; n is at least 16. The bits are those of
// float32 operands of the same values where these are `exact_in_pairs`.
void tiled_product(const TiledProduct& x);

// The processor multiplies pairs of bfloat16 and adds the products to a float32 (AVX512_BF16).
bool multiplies_pairs();

// The largest and the smallest exponent among numbers of bfloat16 that are not 0, as they are stored. Only where
// multiplies_pairs().
struct Exponents {
  int largest = 1, smallest = 255;
  void join(const Exponents& o) {
    largest = o.largest > largest ? o.largest : largest;
    smallest = o.smallest < smallest ? o.smallest : smallest;
  }
};
Exponents exponents(const uint16_t* x, int64_t n);

// The instruction takes subnormal numbers for 0 and rounds nothing beyond float32's range. Neither can happen where all
// products are in that range, and are multiples of a normal number, as are then their sums.
inline bool exact_in_pairs(const Exponents& a, const Exponents& b) {
  constexpr int kBias = 127, kDigits = 7;  // a number is a multiple of 2^(exponent - kBias - kDigits), below 2^(exponent - kBias + 1)
  const bool finite = a.largest + b.largest - 2 * kBias + 2 <= kBias;
  const bool normal = a.smallest + b.smallest - 2 * (kBias + kDigits) >= 1 - kBias;
  return finite && normal && a.smallest > 0 && b.smallest > 0;
}

// So small that tiles cost more than the arithmetic.
inline bool is_small_product(int64_t m, int64_t n, int64_t k) {
  const int64_t work = m * n * k;
  if (m == 1 || n == 1) return work <= 256;
  return work <= 256 || (k <= 4 && work <= 1024) || (n <= 4 && k <= 16 && work <= 16384);
}

// `count` small products on the calling thread, without lists and with c_col 1; the operands and C of the next one lie so many
// items on. To the bits of tiled_product.
struct Strides {
  int64_t a, b, c;
};
void small_products(const TiledProduct& first, const Strides& next, int64_t count);

}  // namespace pd
