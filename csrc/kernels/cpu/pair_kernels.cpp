// Tiles of products of bfloat16: one instruction multiplies two of k for each of sixteen columns and adds both to a float32.
//
// It takes the upper halves of a lane first. So a lane has k = 2 p above k = 2 p + 1, and the chain is that of float32
// operands, k by k, where exact_in_pairs() holds (kernels/cpu/tiles.h).
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cpu/tile_kernels.h"
#include "kernels/cpu/vectors.h"

#if defined(__x86_64__) && (defined(__clang__) || __GNUC__ >= 10)
#define PD_HAS_PAIRS
#define PD_PAIRS __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,avx2,fma")))
#include <immintrin.h>
#else
#define PD_PAIRS
#endif

namespace pd {

PD_PAIRS Exponents exponents(const uint16_t* x, int64_t n) {
  uint16_t most = 0, least = 0xffff;  // of the numbers without sign, least of those less one, so that 0 counts for most
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t size = x[i] & 0x7fff, below = static_cast<uint16_t>(size - 1);
    most = std::max(most, size);
    least = std::min(least, below);
  }
  Exponents e;
  if (most == 0) return e;
  e.largest = most >> 7;
  e.smallest = (least + 1) >> 7;
  return e;
}

#if defined(PD_HAS_PAIRS)

namespace {

constexpr int kRows = 14, kLanes = 16, kWidth = 2 * kLanes;

PD_PAIRS inline uint32_t pair(uint16_t first, uint16_t second) { return static_cast<uint32_t>(first) << 16 | second; }

// Two neighbours in memory, the first one above.
uint32_t neighbours(const uint16_t* at) {
  uint32_t both;
  std::memcpy(&both, at, sizeof both);
  return both << 16 | both >> 16;
}

// out[p * row + i * step] = the pair p of line i, for `count` lines; an odd k ends with half a pair.
void pack_lines(const uint16_t* from, const Places& line, int64_t first, int64_t count, const Places& k, int64_t k0,
                int64_t depth, uint32_t* out, int64_t row) {
  const bool together = !k.list && k.step == 1;
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t* const x = from + line[first + i];
    for (int64_t p = 0; p < depth / 2; ++p)
      out[p * row + i] = together ? neighbours(x + k0 + 2 * p) : pair(x[k[k0 + 2 * p]], x[k[k0 + 2 * p + 1]]);
    if (depth % 2) out[depth / 2 * row + i] = pair(x[k[k0 + depth - 1]], 0);
  }
}

// The same for lines that are neighbours in memory.
PD_PAIRS void pack_neighbours(const uint16_t* from, int64_t count, const Places& k, int64_t k0, int64_t depth,
                              uint32_t* out, int64_t row) {
  static constexpr uint16_t kNone[kWidth] = {};
  for (int64_t p = 0; 2 * p < depth; ++p, out += row) {
    const uint16_t* const upper = from + k[k0 + 2 * p];
    const uint16_t* const lower = 2 * p + 1 < depth ? from + k[k0 + 2 * p + 1] : kNone;
    if (count == kWidth) {
      for (int i = 0; i < kWidth; ++i) out[i] = pair(upper[i], lower[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) out[i] = pair(upper[i], lower[i]);
    }
  }
}

void pack_rows(const void* a, const Places& row, int64_t first, int64_t count, const Places& k, int64_t k0, int64_t depth,
               void* out) {
  const uint16_t* const from = static_cast<const uint16_t*>(a);
  uint32_t* const to = static_cast<uint32_t*>(out);
  if (!row.list && row.step == 1) pack_neighbours(from + first, count, k, k0, depth, to, count);
  else pack_lines(from, row, first, count, k, k0, depth, to, count);
}

void pack_columns(const void* b, const Places& col, int64_t first, int64_t cols, const Places& k, int64_t k0, int64_t depth,
                  int64_t, bool, void* out, BStrip& strip) {
  const uint16_t* const from = static_cast<const uint16_t*>(b);
  uint32_t* const to = static_cast<uint32_t*>(out);
  const int64_t width = cols <= kLanes ? kLanes : kWidth;
  if (cols < width)  // lanes beyond the columns: any number, but written
    for (int64_t p = 0; 2 * p < depth; ++p) std::fill(to + p * width + cols, to + (p + 1) * width, 0u);
  if (!col.list && col.step == 1) pack_neighbours(from + first, cols, k, k0, depth, to, width);
  else pack_lines(from, col, first, cols, k, k0, depth, to, width);
  strip = {out, width, width};
}

template <int Rows, int Vecs>
PD_PAIRS void tile_of(int64_t pairs, const uint32_t* a, const uint32_t* b, float* c, const int64_t* c_rows, int64_t cols,
                      bool accumulate) {
  __m512 acc[Rows][Vecs];
  const int64_t left = cols - (Vecs - 1) * kLanes;  // of the last vector
  const bool whole = left == kLanes;
  const __mmask16 lanes = static_cast<__mmask16>((1 << left) - 1);
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v) {
      const float* const from = c + c_rows[r] + v * kLanes;
      if (!accumulate) acc[r][v] = _mm512_setzero_ps();
      else acc[r][v] = whole || v + 1 < Vecs ? _mm512_loadu_ps(from) : _mm512_maskz_loadu_ps(lanes, from);
    }
  for (int64_t p = 0; p < pairs; ++p) {
    __m512i bv[Vecs];
    for (int v = 0; v < Vecs; ++v) bv[v] = _mm512_loadu_si512(b + (p * Vecs + v) * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i s = _mm512_set1_epi32(static_cast<int>(a[p * Rows + r]));
      for (int v = 0; v < Vecs; ++v) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], (__m512bh)s, (__m512bh)bv[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vecs; ++v) {
      float* const to = c + c_rows[r] + v * kLanes;
      if (whole || v + 1 < Vecs) _mm512_storeu_ps(to, acc[r][v]);
      else _mm512_mask_storeu_ps(to, lanes, acc[r][v]);
    }
}

template <int... I>
void pick(std::integer_sequence<int, I...>, int64_t depth, const AStrip& a, const BStrip& b, int64_t rows, float* c,
          const int64_t* c_rows, int64_t cols, bool accumulate) {
  using Tile = void (*)(int64_t, const uint32_t*, const uint32_t*, float*, const int64_t*, int64_t, bool);
  static constexpr Tile tiles[2][kRows] = {{tile_of<I + 1, 1>...}, {tile_of<I + 1, 2>...}};
  tiles[b.width > kLanes][rows - 1]((depth + 1) / 2, static_cast<const uint32_t*>(a.data),
                                    static_cast<const uint32_t*>(b.data), c, c_rows, cols, accumulate);
}

void tile(int64_t depth, const AStrip& a, const BStrip& b, int64_t rows, void* c, const Places& row, int64_t first_row,
          const Places& col, int64_t first_col, int64_t cols, bool accumulate) {
  int64_t c_rows[kRows];
  for (int64_t r = 0; r < rows; ++r) c_rows[r] = row[first_row + r] + col[first_col];
  pick(std::make_integer_sequence<int, kRows>(), depth, a, b, rows, static_cast<float*>(c), c_rows, cols, accumulate);
}

// Whether the instruction adds as float32's chain does, upper halves first: makers have only documented it.
bool adds_in_order() {
  constexpr int kPairs = 8;
  uint32_t a[kPairs], b[kPairs * kLanes], random = 1;
  auto draw = [&random] {  // exponents from 100 to 155
    random = random * 1664525u + 1013904223u;
    return static_cast<uint16_t>((random >> 16 & 0x8000) | (100 + (random >> 10) % 56) << 7 | (random >> 20 & 0x7f));
  };
  auto value = [](uint16_t half) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  };
  const int64_t rows[1] = {0};
  for (int round = 0; round < 16; ++round) {
    for (uint32_t& x : a) x = pair(draw(), draw());
    for (uint32_t& x : b) x = pair(draw(), draw());
    float got[kLanes];
    tile_of<1, 1>(kPairs, a, b, got, rows, kLanes, false);
    for (int l = 0; l < kLanes; ++l) {
      float sum = 0;
      for (int p = 0; p < kPairs; ++p) {
        const uint32_t x = a[p], y = b[p * kLanes + l];
        sum = std::fma(value(static_cast<uint16_t>(x >> 16)), value(static_cast<uint16_t>(y >> 16)), sum);
        sum = std::fma(value(static_cast<uint16_t>(x)), value(static_cast<uint16_t>(y)), sum);
      }
      if (std::memcmp(&sum, &got[l], sizeof sum) != 0) return false;
    }
  }
  return true;
}

}  // namespace

const TileKernels* pair_kernels() {
  static const TileKernels kernels = {kRows, kWidth, true, pack_rows, pack_columns, tile, nullptr,
                                      tile_kernels(DType::F32).add, nullptr, nullptr, true};
  static const bool serves =
      widest_vectors() == Vectors::Avx512 && __builtin_cpu_supports("avx512bf16") && adds_in_order();
  return serves ? &kernels : nullptr;
}

#else

const TileKernels* pair_kernels() { return nullptr; }

#endif

bool multiplies_pairs() { return pair_kernels() != nullptr; }

}  // namespace pd
