// The tiles of a product and the packing of their operands, for vectors of 64, 32 and 16 bytes.
#include "kernels/cpu/tile_kernels.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "kernels/cpu/vectors.h"

#if !defined(__clang__)
// One rounding a step where the processor has it. A product need only have the same bits on the same machine.
#pragma GCC optimize("fp-contract=fast")
#else
#pragma clang fp contract(fast)
#endif

#define PD_INLINE inline __attribute__((always_inline))

namespace pd {

namespace {

template <class T>
struct MulAdd {
  using Item = T;
  template <class V>
  static PD_INLINE void step(V& acc, T a, const V& b) {
    acc += a * b;
  }
  // What step() does to a lane. Where the compiler makes vectors of a chain it takes the products first, so this says which.
  template <bool Fused>
  static PD_INLINE T after(T acc, T a, T b) {
    if constexpr (Fused && std::is_same_v<T, float>) return __builtin_fmaf(a, b, acc);
    else if constexpr (Fused && std::is_same_v<T, double>) return __builtin_fma(a, b, acc);
    else return acc + a * b;
  }
  static PD_INLINE T sum(T a, T b) { return a + b; }
};

struct AndOr {
  using Item = uint8_t;
  template <class V>
  static PD_INLINE void step(V& acc, uint8_t a, const V& b) {
    acc |= a & b;
  }
  template <bool>
  static PD_INLINE uint8_t after(uint8_t acc, uint8_t a, uint8_t b) {
    return acc | (a & b);
  }
  static PD_INLINE uint8_t sum(uint8_t a, uint8_t b) { return a | b; }
};

// `Bytes` of T, loaded from and stored to any address that suits a T.
template <class T, int Bytes>
struct Pack {
  typedef T Type __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
  static constexpr int kLanes = Bytes / static_cast<int>(sizeof(T));
};

// Halves of a vector that a tile takes where one and a half suffice. A processor that makes a vector of 64 bytes in two passes
// is done with half of it in one.
template <class Op, int Bytes>
constexpr int middle_halves() {
  return Bytes == 64 && std::is_floating_point_v<typename Op::Item> ? 3 : 4;
}

constexpr int64_t kNear = 16 << 10;  // bytes that stay in the first-level cache beside others

// n items, no more than a vector has lanes: by halves of one, which overlap.
template <class T, int Bytes>
PD_INLINE void copy_lanes(const T* from, T* to, int64_t n) {
  constexpr int64_t kHalf = Pack<T, Bytes>::kLanes / 2;
  if (kHalf > 1 && n >= kHalf) {
    std::memcpy(to, from, Bytes / 2);
    std::memcpy(to + n - kHalf, from + n - kHalf, Bytes / 2);
  } else {
    for (int64_t i = 0; i < n; ++i) to[i] = from[i];
  }
}

// n items, by vectors of which the last overlaps the one before.
template <class T, int Bytes>
PD_INLINE void copy_items(const T* from, T* to, int64_t n) {
  using V = typename Pack<T, Bytes>::Type;
  constexpr int64_t kLanes = Pack<T, Bytes>::kLanes;
  if (n < kLanes) return copy_lanes<T, Bytes>(from, to, n);
  for (int64_t i = 0; i + kLanes <= n; i += kLanes) *reinterpret_cast<V*>(to + i) = *reinterpret_cast<const V*>(from + i);
  if (n % kLanes) *reinterpret_cast<V*>(to + n - kLanes) = *reinterpret_cast<const V*>(from + n - kLanes);
}

// Between a row of a tile and its columns of C, which lie together in runs: `until[i]` columns are in the first i + 1 of them.
template <class T, int Bytes, bool Out>
PD_INLINE void copy_runs(T* row, T* c, const Places& col, int64_t first, const int64_t* until, int64_t runs) {
  for (int64_t i = 0, j = 0; i < runs; j = until[i++]) {
    T* const at = c + col[first + j];
    Out ? copy_items<T, Bytes>(row + j, at, until[i] - j) : copy_items<T, Bytes>(at, row + j, until[i] - j);
  }
}

// One vector wide, or two of which the last may be half as long: `Halves` is 2, 3 or 4.
template <class Op, int Bytes, int Rows, int Halves, bool Packed, class T = typename Op::Item>
PD_INLINE void tile_of(int64_t depth, const T* a, int64_t a_row, int64_t a_k, const T* b, int64_t b_row, T* c,
                       const int64_t* c_rows, const Places& col, int64_t first_col, int64_t cols, bool accumulate) {
  using V = typename Pack<T, Bytes>::Type;
  using Last = typename Pack<T, Halves == 3 ? Bytes / 2 : Bytes>::Type;
  constexpr bool kTwo = Halves > 2;
  constexpr int kLanes = Pack<T, Bytes>::kLanes, kWidth = Halves * kLanes / 2, kLast = kTwo ? kLanes : 0;
  const int64_t start = col[first_col];
  int64_t until[kWidth], runs = 0;
  for (int64_t j = col.list || col.step != 1 ? 1 : cols; j < cols; ++j)
    if (col[first_col + j] != col[first_col + j - 1] + 1) until[runs++] = j;
  until[runs++] = cols;
  const bool solid = runs == 1, whole = solid && cols == kWidth;
  // Rows that touch one another may be read and written by whole vectors, in order: what is written beyond the end of one is
  // the next row's place, which comes after. The last ones go through `near`.
  int64_t open = whole ? Rows : 0;
  if (solid && !whole) {
    bool touching = true;
    for (int r = 1; r < Rows; ++r) touching &= c_rows[r] - c_rows[r - 1] == cols;
    if (touching && Rows * cols >= kWidth) {
      open = Rows;
      for (int64_t behind = cols; behind < kWidth; behind += cols) --open;
    }
  }
  alignas(64) T near[Rows][kWidth];
  V acc[Rows];
  Last last[Rows];
  if (!accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      if constexpr (kTwo) acc[r] = V{};
      last[r] = Last{};
    }
  } else {
    for (int64_t r = open; r < Rows; ++r) {
      for (int64_t j = cols; j < kWidth; ++j) near[r][j] = T(0);
      copy_runs<T, Bytes, false>(near[r], c + c_rows[r], col, first_col, until, runs);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const T* from = r < open ? c + c_rows[r] + start : near[r];
      if constexpr (kTwo) acc[r] = *reinterpret_cast<const V*>(from);
      last[r] = *reinterpret_cast<const Last*>(from + kLast);
    }
  }
  for (int64_t p = 0; p < depth; ++p) {
    const T* const bp = b + p * b_row;
    V b_first;
    if constexpr (kTwo) b_first = *reinterpret_cast<const V*>(bp);
    const Last b_last = *reinterpret_cast<const Last*>(bp + kLast);
    for (int r = 0; r < Rows; ++r) {
      const T s = Packed ? a[p * Rows + r] : a[p * a_k + r * a_row];
      if constexpr (kTwo) Op::step(acc[r], s, b_first);
      Op::step(last[r], s, b_last);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    T* to = r < open ? c + c_rows[r] + start : near[r];
    if constexpr (kTwo) *reinterpret_cast<V*>(to) = acc[r];
    *reinterpret_cast<Last*>(to + kLast) = last[r];
  }
  for (int64_t r = open; r < Rows; ++r) copy_runs<T, Bytes, true>(near[r], c + c_rows[r], col, first_col, until, runs);
}

// Lanes 2 i and 2 i + 1 of the result: lane i of a and of b, from the lower or the upper halves.
template <class T, int Bytes, bool Upper, class V, size_t... I>
PD_INLINE void interleave(V& out, const V& a, const V& b, std::index_sequence<I...>) {
  constexpr int kLanes = Pack<T, Bytes>::kLanes, kFirst = Upper ? kLanes / 2 : 0;
#if defined(__clang__)
  out = __builtin_shufflevector(a, b, (kFirst + static_cast<int>(I) / 2 + (I % 2 ? kLanes : 0))...);
#else
  using Lane = std::conditional_t<sizeof(T) == 8, int64_t, std::conditional_t<sizeof(T) == 4, int32_t, int8_t>>;
  typedef Lane Mask __attribute__((vector_size(Bytes)));
  out = __builtin_shuffle(a, b, Mask{static_cast<Lane>(kFirst + static_cast<int>(I) / 2 + (I % 2 ? kLanes : 0))...});
#endif
}

// A square of vectors, as many as each has lanes: rounds of perfect shuffles turn it.
template <class T, int Bytes, class V = typename Pack<T, Bytes>::Type>
PD_INLINE void turn(V* x) {
  constexpr int kLanes = Pack<T, Bytes>::kLanes;
  V y[kLanes];
  const std::make_index_sequence<kLanes> all;
  for (int round = 1; round < kLanes; round *= 2) {
    for (int i = 0; i < kLanes / 2; ++i) {
      interleave<T, Bytes, false>(y[2 * i], x[i], x[i + kLanes / 2], all);
      interleave<T, Bytes, true>(y[2 * i + 1], x[i], x[i + kLanes / 2], all);
    }
    for (int i = 0; i < kLanes; ++i) x[i] = y[i];
  }
}

// `lanes` items from `line`, whose first half begins at `low` and second at `high`.
template <class T, int Bytes, class V>
PD_INLINE void load_halves(V& out, const T* line, int64_t low, int64_t high) {
  constexpr size_t kHalf = Bytes / 2;
  std::memcpy(&out, line + low, kHalf);
  std::memcpy(reinterpret_cast<char*>(&out) + kHalf, line + high, kHalf);
}

// out[p * row + q] = from[offsets[q] + k[k0 + p]] for q < cols, and zero up to `width`, a multiple of the lanes. Where `row`
// is less than that, what belongs to the next p is overwritten before it gets its own; not beyond the last. Half a vector
// is read wherever a few items of k lie together, though it ends behind them: `seen` is an offset that k still has.
template <class T, int Bytes>
PD_INLINE void turned(const T* from, const int64_t* offsets, int64_t cols, const Places& k, int64_t k0, int64_t depth,
                      int64_t seen, T* out, int64_t row, int64_t width) {
  using V = typename Pack<T, Bytes>::Type;
  constexpr int kLanes = Pack<T, Bytes>::kLanes, kHalf = kLanes / 2;
  const int64_t most = row < width ? row : width, last = depth - (row < width);
  auto by_item = [&](int64_t p) {
    const int64_t here = k[k0 + p];
    for (int64_t q = 0; q < most; ++q) out[p * row + q] = q < cols ? from[offsets[q] + here] : T(0);
  };
  // How many from p on lie together, up to half a vector, and whether half a vector can be read there.
  auto together = [&](int64_t p, int64_t& run) {
    const int64_t here = k[k0 + p];
    for (run = 1; run < kHalf && p + run < last && k[k0 + p + run] == here + run;) ++run;
    return run == kHalf || here + kHalf - 1 <= seen;
  };
  int64_t p = 0;
  while (kHalf > 1 && p + kHalf <= last) {
    int64_t low, high = 0;
    bool readable = together(p, low);
    if (p + low < last) readable &= together(p + low, high);
    if (!readable || low + high < kHalf) {
      for (const int64_t end = p + low; p < end; ++p) by_item(p);
      continue;
    }
    const int64_t first = k[k0 + p], second = high ? k[k0 + p + low] : first;
    for (int64_t q0 = width - kLanes; q0 >= 0; q0 -= kLanes) {
      V square[kLanes];
      for (int64_t q = 0; q < kLanes; ++q) {
        if (q0 + q < cols) {
          load_halves<T, Bytes>(square[q], from + offsets[q0 + q], first, second);
        } else {
          square[q] = V{};
        }
      }
      turn<T, Bytes>(square);
      for (int64_t t = 0; t < low; ++t) *reinterpret_cast<V*>(out + (p + t) * row + q0) = square[t];
      for (int64_t t = 0; t < high; ++t) *reinterpret_cast<V*>(out + (p + low + t) * row + q0) = square[kHalf + t];
    }
    p += low + high;
  }
  for (; p < depth; ++p) by_item(p);
}

template <class T, int Bytes>
PD_INLINE void pack_rows_of(const T* a, const Places& row, int64_t first, int64_t count, const Places& k, int64_t k0,
                            int64_t depth, T* out) {
  constexpr int64_t kLanes = Pack<T, Bytes>::kLanes;
  int64_t offsets[kMostRows];
  for (int64_t r = 0; r < count; ++r) offsets[r] = row[first + r];
  if (!row.list && row.step == 1) {
    for (int64_t p = 0; p < depth; ++p) {
      const T* from = a + offsets[0] + k[k0 + p];
      for (int64_t r = 0; r < count; ++r) out[p * count + r] = from[r];
    }
  } else if (2 * count >= kLanes && count <= 2 * kLanes) {
    turned<T, Bytes>(a, offsets, count, k, k0, depth, k[k0 + depth - 1], out, count, count <= kLanes ? kLanes : 2 * kLanes);
  } else {
    for (int64_t p = 0; p < depth; ++p) {
      const T* from = a + k[k0 + p];
      for (int64_t r = 0; r < count; ++r) out[p * count + r] = from[offsets[r]];
    }
  }
}

// A vector of columns that lie together: those from `column` on begin at `from` in B.
struct Piece {
  int64_t column, from;
};
constexpr int kMostPieces = 8;

// N pieces of each row, or `count` where N is 0. A piece may end behind its columns, where the next one goes; but none begins in
// a row of k that lies beyond `last`, nor ends beyond the last row of `out`: there items are copied.
template <class T, int Bytes, int N>
PD_INLINE void copy_pieces(const T* b, const Piece* pieces, int count, const int64_t* offsets, int64_t cols, const Places& k,
                           int64_t k0, int64_t depth, int64_t last, bool ends_inside, T* out, int64_t width) {
  using V = typename Pack<T, Bytes>::Type;
  Piece all[N ? N : kMostPieces];
  for (int i = 0; i < (N ? N : count); ++i) all[i] = pieces[i];
  for (int64_t p = 0; p < depth; ++p) {
    const int64_t here = k[k0 + p];
    const T* from = b + here;
    T* row = out + p * width;
    if (here > last || (p == depth - 1 && !ends_inside)) {
      for (int64_t q = 0; q < width; ++q) row[q] = q < cols ? from[offsets[q]] : T(0);
      continue;
    }
    for (int i = 0; i < (N ? N : count); ++i)
      *reinterpret_cast<V*>(row + all[i].column) = *reinterpret_cast<const V*>(from + all[i].from);
  }
}

template <class T, int Bytes>
PD_INLINE void pack_columns_of(const T* b, const Places& col, int64_t first, int64_t cols, const Places& k, int64_t k0,
                               int64_t depth, int64_t k_end, bool often, T* out, BStrip& strip) {
  constexpr int64_t kLanes = Pack<T, Bytes>::kLanes, kWidth = 2 * kLanes;
  const int64_t width = cols <= kLanes ? kLanes : kWidth;
  int64_t offsets[kWidth];
  for (int64_t q = 0; q < cols; ++q) offsets[q] = col[first + q];
  strip = {out, width, width};

  // Columns that lie together are copied by vectors, of which the last of a long run overlaps the one before.
  Piece pieces[kMostPieces];
  const int64_t most = std::clamp<int64_t>(cols / 4, 2, kMostPieces);
  const int64_t end = col[first + cols - 1];
  int64_t count = 0, runs = 0, reach = end;
  bool ends_inside = true;
  for (int64_t q = 0, run; q < cols && count <= most; q += run, ++runs) {
    for (run = 1; q + run < cols && offsets[q + run] == offsets[q] + run;) ++run;
    for (int64_t j = 0; j < run; j += kLanes, ++count) {
      if (count == most) {
        ++count;
        break;
      }
      const int64_t start = run < kLanes ? j : std::min(j, run - kLanes);
      pieces[count] = {q + start, offsets[q] + start};
      reach = std::max(reach, offsets[q] + start + kLanes - 1);
      ends_inside &= q + start + kLanes <= width;
    }
  }
  if (runs == 1 && !k.list) {
    // As it lies, if not read again or near enough. A vector may begin in each row though it ends beyond the columns: there are
    // rows behind.
    const int64_t behind = cols == width ? 0 : k.step <= 0 ? k_end : (width - cols + k.step - 1) / k.step;
    if (k0 + depth + behind <= k_end && (!often || depth * k.step * static_cast<int64_t>(sizeof(T)) <= kNear)) {
      strip.data = b + offsets[0] + k[k0];
      strip.row = k.step;
      return;
    }
  }
  if (count > most) return turned<T, Bytes>(b, offsets, cols, k, k0, depth, k[k_end - 1], out, width, width);
  // What is read is below an element of the matrix.
  using Limits = std::numeric_limits<int64_t>;
  const int64_t last = k_end == 0 ? Limits::min() : reach == end ? Limits::max() : end + k[k_end - 1] - reach;
  switch (count) {
    case 1: return copy_pieces<T, Bytes, 1>(b, pieces, 1, offsets, cols, k, k0, depth, last, ends_inside, out, width);
    case 2: return copy_pieces<T, Bytes, 2>(b, pieces, 2, offsets, cols, k, k0, depth, last, ends_inside, out, width);
    case 3: return copy_pieces<T, Bytes, 3>(b, pieces, 3, offsets, cols, k, k0, depth, last, ends_inside, out, width);
    default:
      copy_pieces<T, Bytes, 0>(b, pieces, static_cast<int>(count), offsets, cols, k, k0, depth, last, ends_inside, out, width);
  }
}

// A tile of C whose columns lie together: from `tile`, row-major, to C (`Out`), or the other way.
template <class T, int Bytes, bool Out>
PD_INLINE void turn_tile(T* tile, int64_t rows, int64_t width, T* c, const Places& col, int64_t first, int64_t cols) {
  using V = typename Pack<T, Bytes>::Type;
  constexpr int64_t kLanes = Pack<T, Bytes>::kLanes;
  for (int64_t q0 = 0; q0 < cols; q0 += kLanes)
    for (int64_t r0 = 0; r0 < rows; r0 += kLanes) {
      const int64_t w = std::min(kLanes, cols - q0), n = std::min(kLanes, rows - r0);
      V square[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) {
        square[i] = V{};
        if (Out && i < n) square[i] = *reinterpret_cast<const V*>(tile + (r0 + i) * width + q0);
        if (!Out && i < w) copy_lanes<T, Bytes>(c + col[first + q0 + i] + r0, reinterpret_cast<T*>(square + i), n);
      }
      turn<T, Bytes>(square);
      for (int64_t i = 0; i < kLanes; ++i) {
        if (Out && i < w) copy_lanes<T, Bytes>(reinterpret_cast<const T*>(square + i), c + col[first + q0 + i] + r0, n);
        if (!Out && i < n) *reinterpret_cast<V*>(tile + (r0 + i) * width + q0) = square[i];
      }
    }
}

// N columns of a small product, each element's chain as the tiles have it.
template <class Op, bool Fused, int N, class T = typename Op::Item>
PD_INLINE void small_columns(const TiledProduct& x, const T* a, const T* b, T* c) {
  const int64_t m = x.m, k = x.k, a_row = x.a_row.step, a_k = x.a_k.step, b_k = x.b_k.step, b_col = x.b_col.step;
  for (int64_t i = 0; i < m; ++i, a += a_row, c += x.c_row.step) {
    T acc[N];
    for (int j = 0; j < N; ++j) acc[j] = x.accumulate ? c[j] : T(0);
    for (int64_t p = 0; p < k; ++p) {
      const T s = a[p * a_k];
      const T* const row = b + p * b_k;
      for (int j = 0; j < N; ++j) acc[j] = Op::template after<Fused>(acc[j], s, row[j * b_col]);
    }
    for (int j = 0; j < N; ++j) c[j] = acc[j];
  }
}

template <class Op, bool Fused, class T = typename Op::Item>
PD_INLINE void small_of(TiledProduct x, Strides next, int64_t count) {
  if (x.n == 1 && x.c_row.step == 1) {  // the other way round, for chains side by side
    std::swap(x.m, x.n);
    std::swap(x.a, x.b);
    std::swap(x.a_row, x.b_col);
    std::swap(x.a_k, x.b_k);
    std::swap(next.a, next.b);
  }
  const T *a = static_cast<const T*>(x.a), *b = static_cast<const T*>(x.b);
  T* c = static_cast<T*>(x.c);
  const int64_t step = x.b_col.step;
  for (; count; --count, a += next.a, b += next.b, c += next.c) {
    int64_t j = 0;
    for (; j + 4 <= x.n; j += 4) small_columns<Op, Fused, 4>(x, a, b + j * step, c + j);
    switch (x.n - j) {
      case 3: small_columns<Op, Fused, 3>(x, a, b + j * step, c + j); break;
      case 2: small_columns<Op, Fused, 2>(x, a, b + j * step, c + j); break;
      case 1: small_columns<Op, Fused, 1>(x, a, b + j * step, c + j); break;
      default: break;
    }
  }
}

template <class Op, class T = typename Op::Item>
void add_of(const void* from, int64_t m, int64_t n, void* to, const Places& row, const Places& col) {
  const T* x = static_cast<const T*>(from);
  T* c = static_cast<T*>(to);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      T& y = c[row[i] + col[j]];
      y = Op::sum(y, x[i * n + j]);
    }
}

// The functions of one instruction set. Attributes of a target do not pass through templates by argument, hence a macro.
#define PD_TILE_KERNELS(name, target, Bytes, Rows, Fused)                                                                 \
  template <class Op, int R, int H, bool P>                                                                               \
  target void name##_tile(int64_t depth, const void* a, int64_t a_row, int64_t a_k, const void* b, int64_t b_row, void* c,\
                          const int64_t* c_rows, const Places& col, int64_t first_col, int64_t cols, bool accumulate) {   \
    using T = typename Op::Item;                                                                                          \
    tile_of<Op, Bytes, R, H, P>(depth, static_cast<const T*>(a), a_row, a_k, static_cast<const T*>(b), b_row,             \
                                static_cast<T*>(c), c_rows, col, first_col, cols, accumulate);                            \
  }                                                                                                                       \
  template <class Op, int... I>                                                                                           \
  void name##_pick(std::integer_sequence<int, I...>, int64_t depth, const AStrip& a, const BStrip& b, int64_t rows,       \
                   void* c, const Places& row, int64_t first_row, const Places& col, int64_t first_col, int64_t cols,     \
                   bool accumulate) {                                                                                     \
    using Tile = void (*)(int64_t, const void*, int64_t, int64_t, const void*, int64_t, void*, const int64_t*,            \
                          const Places&, int64_t, int64_t, bool);                                                         \
    constexpr int kMiddle = middle_halves<Op, Bytes>(), kLanes = Pack<typename Op::Item, Bytes>::kLanes;                  \
    static constexpr Tile tiles[6][Rows] = {                                                                              \
        {name##_tile<Op, I + 1, 2, false>...}, {name##_tile<Op, I + 1, kMiddle, false>...},                               \
        {name##_tile<Op, I + 1, 4, false>...}, {name##_tile<Op, I + 1, 2, true>...},                                      \
        {name##_tile<Op, I + 1, kMiddle, true>...}, {name##_tile<Op, I + 1, 4, true>...}};                                \
    int64_t c_rows[kMostRows];                                                                                            \
    for (int64_t r = 0; r < rows; ++r) c_rows[r] = row[first_row + r];                                                    \
    const int width = cols <= kLanes ? 0 : 2 * cols <= 3 * kLanes ? 1 : 2;                                                \
    tiles[3 * a.packed + width][rows - 1](depth, a.data, a.row, a.k, b.data, b.row, c, c_rows, col, first_col, cols,      \
                                         accumulate);                                                                     \
  }                                                                                                                       \
  template <class Op>                                                                                                     \
  void name##_any(int64_t depth, const AStrip& a, const BStrip& b, int64_t rows, void* c, const Places& row,              \
                  int64_t first_row, const Places& col, int64_t first_col, int64_t cols, bool accumulate) {               \
    name##_pick<Op>(std::make_integer_sequence<int, Rows>(), depth, a, b, rows, c, row, first_row, col, first_col, cols,  \
                    accumulate);                                                                                          \
  }                                                                                                                       \
  template <class T>                                                                                                      \
  target void name##_rows(const void* a, const Places& row, int64_t first, int64_t count, const Places& k, int64_t k0,    \
                          int64_t depth, void* out) {                                                                     \
    pack_rows_of<T, Bytes>(static_cast<const T*>(a), row, first, count, k, k0, depth, static_cast<T*>(out));              \
  }                                                                                                                       \
  template <class T>                                                                                                      \
  target void name##_columns(const void* b, const Places& col, int64_t first, int64_t cols, const Places& k, int64_t k0,  \
                             int64_t depth, int64_t k_end, bool often, void* out, BStrip& strip) {                        \
    pack_columns_of<T, Bytes>(static_cast<const T*>(b), col, first, cols, k, k0, depth, k_end, often,                     \
                              static_cast<T*>(out), strip);                                                               \
  }                                                                                                                       \
  template <class T, bool Out>                                                                                            \
  target void name##_turn(void* tile, int64_t rows, void* c, int64_t first_row, const Places& col, int64_t first_col,     \
                          int64_t cols) {                                                                                 \
    turn_tile<T, Bytes, Out>(static_cast<T*>(tile), rows, 2 * Pack<T, Bytes>::kLanes, static_cast<T*>(c) + first_row,     \
                             col, first_col, cols);                                                                       \
  }                                                                                                                       \
  template <class Op>                                                                                                     \
  target void name##_small(const TiledProduct& first, const Strides& next, int64_t count) {                               \
    small_of<Op, Fused>(first, next, count);                                                                              \
  }                                                                                                                       \
  template <class Op>                                                                                                     \
  TileKernels name##_kernels(bool floating) {                                                                             \
    using T = typename Op::Item;                                                                                          \
    return {Rows,           2 * Bytes / static_cast<int>(sizeof(T)), floating, name##_rows<T>, name##_columns<T>,         \
            name##_any<Op>, name##_small<Op>, add_of<Op>, name##_turn<T, false>, name##_turn<T, true>};                   \
  }

#if defined(__x86_64__)
PD_TILE_KERNELS(avx512, PD_AVX512, 64, 14, true)
PD_TILE_KERNELS(avx2, PD_AVX2, 32, 6, true)
#endif
#if defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
PD_TILE_KERNELS(plain, , 16, 6, true)
#else
PD_TILE_KERNELS(plain, , 16, 6, false)
#endif

template <class Op>
TileKernels choose(bool floating) {
#if defined(__x86_64__)
  const Vectors has = widest_vectors();
  if (has == Vectors::Avx512) return avx512_kernels<Op>(floating);
  if (has == Vectors::Avx2) return avx2_kernels<Op>(floating);
#endif
  return plain_kernels<Op>(floating);
}

template <class Op>
const TileKernels& kernels_of(bool floating) {
  static const TileKernels k = choose<Op>(floating);
  return k;
}

}  // namespace

const TileKernels& tile_kernels(DType dtype) {
  switch (dtype) {
    case DType::F32: return kernels_of<MulAdd<float>>(true);
    case DType::F64: return kernels_of<MulAdd<double>>(true);
    case DType::I32: return kernels_of<MulAdd<uint32_t>>(false);
    case DType::I64:
    case DType::U64: return kernels_of<MulAdd<uint64_t>>(false);
    case DType::Bool: return kernels_of<AndOr>(false);
    case DType::BF16:
      if (const TileKernels* pairs = pair_kernels()) return *pairs;
      [[fallthrough]];
    default: fail("matmul", "no kernel for this dtype", name_of(dtype), "float32 or float64", ErrorKind::Type);
  }
}

}  // namespace pd
