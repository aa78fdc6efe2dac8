// Where along an axis the largest or smallest element is: the first of equals, and the first NaN before all numbers.
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cpu/native_kernels.h"

namespace pd {
namespace cpu {

namespace {

template <class T>
bool is_nan(T x) {
  if constexpr (std::is_floating_point<T>::value)
    return x != x;
  else
    return (void)x, false;
}

template <bool Max, class T>
bool beats(T x, T best) {
  return Max ? x > best : x < best;
}

// Does x, further along the axis, take the place of best? Without branches, for loops over lanes.
template <bool Max, class T>
bool replaces(T x, T best) {
  return beats<Max>(x, best) | (is_nan(x) & !is_nan(best));
}

constexpr int kLanes = 32;  // 16 would be unrolled before the vectoriser of g++ 12 sees the loop
constexpr int64_t kBlock = 2048;
constexpr int64_t kTile = 256;
constexpr int64_t kShortRow = 64;
constexpr int64_t kChunk = 1 << 16;

// Largest or smallest of n >= 1; any value where there is a NaN, which is said.
template <bool Max, class T>
T block_best(const T* x, int64_t n, bool& has_nan) {
  T best = x[0];
  bool nan = false;
  int64_t j = 0;
  if (n >= kLanes) {
    T lane[kLanes];
    std::conditional_t<sizeof(T) == 8, int64_t, int32_t> bad[kLanes] = {};  // as wide as most T, for whole vectors
    for (int l = 0; l < kLanes; ++l) lane[l] = x[l];
    for (; j + kLanes <= n; j += kLanes)
      for (int l = 0; l < kLanes; ++l) {
        T y = x[j + l];
        bad[l] |= is_nan(y);
        lane[l] = beats<Max>(y, lane[l]) ? y : lane[l];
      }
    for (int l = 0; l < kLanes; ++l) {
      nan |= bad[l] != 0;
      best = beats<Max>(lane[l], best) ? lane[l] : best;
    }
  }
  for (; j < n; ++j) {
    nan |= is_nan(x[j]);
    best = beats<Max>(x[j], best) ? x[j] : best;
  }
  has_nan = nan;
  return best;
}

// A long row: the best value block by block, then its place in the first block that has it.
template <bool Max, class T>
int64_t arg_row(const T* x, int64_t n) {
  if (n <= kShortRow) {
    // Two passes of conditional moves: a branch on new bests would be mispredicted in most rows.
    T best = x[0];
    bool nan = is_nan(best);
    for (int64_t j = 1; j < n; ++j) {
      nan |= is_nan(x[j]);
      best = beats<Max>(x[j], best) ? x[j] : best;
    }
    int64_t at = 0;
    if (nan) {
      while (!is_nan(x[at])) ++at;
      return at;
    }
    for (int64_t j = n; j-- > 0;) at = beats<Max>(best, x[j]) ? at : j;
    return at;
  }
  int64_t at = 0;
  T best = x[0];
  for (int64_t b = 0; b < n; b += kBlock) {
    int64_t m = std::min(kBlock, n - b);
    bool nan = false;
    T y = block_best<Max>(x + b, m, nan);
    if (nan) {
      while (!is_nan(x[b])) ++b;
      return b;
    }
    if (beats<Max>(y, best)) {
      best = y;
      at = b;
    }
  }
  while (x[at] != best) ++at;
  return at;
}

// Places of a tile of neighbouring columns at once; Place as wide as T lets the loop use whole vectors.
template <bool Max, class Place, class T>
void arg_columns(const T* x, int64_t* out, int64_t n, int64_t inner, int64_t width) {
  T best[kTile];
  Place at[kTile];
  for (int64_t i = 0; i < width; ++i) {
    best[i] = x[i];
    at[i] = 0;
  }
  for (int64_t j = 1; j < n; ++j) {
    const T* row = x + j * inner;
    for (int64_t i = 0; i < width; ++i) {
      bool up = replaces<Max>(row[i], best[i]);
      best[i] = up ? row[i] : best[i];
      at[i] = up ? static_cast<Place>(j) : at[i];
    }
  }
  for (int64_t i = 0; i < width; ++i) out[i] = at[i];
}

template <bool Max, class T>
void arg_reduce(const NativeArgs& a, const AxisView& v) {
  const T* x = static_cast<const T*>(a.in[0]);
  int64_t* out = static_cast<int64_t*>(a.out);
  int64_t total = v.outer * v.n * v.inner;

  if (v.inner == 1 && v.n >= 2 * kChunk) {
    int64_t chunks = (v.n + kChunk - 1) / kChunk;
    std::vector<int64_t> place(static_cast<size_t>(v.outer * chunks));
    for_ranges(v.outer * chunks, total, [&](int64_t b, int64_t e) {
      for (; b < e; ++b) {
        int64_t first = b % chunks * kChunk;
        place[b] = first + arg_row<Max>(x + b / chunks * v.n + first, std::min(kChunk, v.n - first));
      }
    });
    for (int64_t r = 0; r < v.outer; ++r) {
      const T* row = x + r * v.n;
      int64_t at = place[r * chunks];
      for (int64_t c = 1; c < chunks; ++c)
        if (replaces<Max>(row[place[r * chunks + c]], row[at])) at = place[r * chunks + c];
      out[r] = at;
    }
    return;
  }
  if (v.inner == 1) {
    for_ranges(v.outer, total, [&](int64_t b, int64_t e) {
      for (; b < e; ++b) out[b] = arg_row<Max>(x + b * v.n, v.n);
    });
    return;
  }
  int64_t tiles = (v.inner + kTile - 1) / kTile;
  for_ranges(v.outer * tiles, total, [&](int64_t b, int64_t e) {
    for (; b < e; ++b) {
      int64_t o = b / tiles, i = b % tiles * kTile, width = std::min(kTile, v.inner - i);
      const T* from = x + o * v.n * v.inner + i;
      int64_t* to = out + o * v.inner + i;
      if (sizeof(T) == 8 || v.n > std::numeric_limits<int32_t>::max())
        arg_columns<Max, int64_t>(from, to, v.n, v.inner, width);
      else
        arg_columns<Max, int32_t>(from, to, v.n, v.inner, width);
    }
  });
}

template <bool Max>
void arg_reduce(const NativeArgs& a, NativeError& error) {
  const char* name = Max ? "argmax" : "argmin";
  AxisView v(a.specs[0].shape, (*a.attrs)[0]);
  if (v.outer * v.inner == 0) return;
  if (v.n == 0) {
    std::memset(a.out, 0, static_cast<size_t>(v.outer * v.inner) * sizeof(int64_t));
    error.text = std::string("[") + name + "] no element to choose; got an axis of size 0; try an axis that is not empty";
    return;
  }
  switch (a.specs[0].dtype) {
    case DType::Bool:
    case DType::U8: return arg_reduce<Max, uint8_t>(a, v);
    case DType::I8: return arg_reduce<Max, int8_t>(a, v);
    case DType::I16: return arg_reduce<Max, int16_t>(a, v);
    case DType::U16: return arg_reduce<Max, uint16_t>(a, v);
    case DType::I32: return arg_reduce<Max, int32_t>(a, v);
    case DType::U32: return arg_reduce<Max, uint32_t>(a, v);
    case DType::I64: return arg_reduce<Max, int64_t>(a, v);
    case DType::U64: return arg_reduce<Max, uint64_t>(a, v);
    case DType::F32: return arg_reduce<Max, float>(a, v);
    case DType::F64: return arg_reduce<Max, double>(a, v);
    default:
      error.text = std::string("[") + name + "] no order for this dtype here; got " + name_of(a.specs[0].dtype) +
                   "; try a cast to float32";
  }
}

}  // namespace

void argmax(const NativeArgs& a, NativeError& error) { arg_reduce<true>(a, error); }
void argmin(const NativeArgs& a, NativeError& error) { arg_reduce<false>(a, error); }

}  // namespace cpu
}  // namespace pd
