// The reduction tree in vectors of one instruction set, PD_ISA. Everything but the table lies in an unnamed namespace:
// the linker must not share a function between objects of different instruction sets.
#include "fuse/reduce_loops.h"

#include <cstring>
#include <limits>

#define PD_INLINE inline __attribute__((always_inline))

namespace pd {
namespace {

#if defined(__AVX512F__)
constexpr int kNative = 64;
#elif defined(__AVX2__)
constexpr int kNative = 32;
#else
constexpr int kNative = 16;
#endif

template <class T, int N> struct vector_of { typedef T type __attribute__((vector_size(N * sizeof(T)))); };
template <class T> struct vector_of<T, 1> { using type = T; };
template <class T, int N> using Vec = typename vector_of<T, N>::type;

// Of vectors and of scalars. An operand on the left is what was gathered so far.
struct Sum {
  template <class T> static constexpr T identity() { return 0; }
  template <class X> static PD_INLINE X apply(X a, X b) { return a + b; }
};
struct Prod {
  template <class T> static constexpr T identity() { return 1; }
  template <class X> static PD_INLINE X apply(X a, X b) { return a * b; }
};
struct Max {
  template <class T> static constexpr T identity() {
    using L = std::numeric_limits<T>;
    return L::has_infinity ? -L::infinity() : L::min();
  }
  template <class X> static PD_INLINE X apply(X a, X b) {
    auto left = (a > b) | (a != a);
    return left ? a : b;
  }
};
struct Min {
  template <class T> static constexpr T identity() {
    using L = std::numeric_limits<T>;
    return L::has_infinity ? L::infinity() : L::max();
  }
  template <class X> static PD_INLINE X apply(X a, X b) {
    auto left = (a < b) | (a != a);
    return left ? a : b;
  }
};
struct Or {
  template <class T> static constexpr T identity() { return 0; }
  template <class X> static PD_INLINE X apply(X a, X b) { return a | b; }
};
struct And {
  template <class T> static constexpr T identity() { return 1; }
  template <class X> static PD_INLINE X apply(X a, X b) { return a & b; }
};

template <class X, class T> PD_INLINE X read(const T* p) {
  X v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class X, class T> PD_INLINE X splat(T s) {
  X v;
  if constexpr (sizeof(X) == sizeof(T)) v = s;
  else v = s - X{};
  return v;
}

// Lanes of one vector, halves combined until one is left.
template <class Op, class T, int W> PD_INLINE T fold_lanes(Vec<T, W> v) {
  if constexpr (W == 1) {
    return v;
  } else if constexpr (W * sizeof(T) > 16) {
    Vec<T, W / 2> half[2];
    std::memcpy(half, &v, sizeof v);
    return fold_lanes<Op, T, W / 2>(Op::apply(half[0], half[1]));
  } else {
    T lane[W];
    std::memcpy(lane, &v, sizeof v);
    for (int h = W / 2; h; h /= 2)
      for (int l = 0; l < h; ++l) lane[l] = Op::apply(lane[l], lane[l + h]);
    return lane[0];
  }
}

// Combines values that come one by one in adjacent pairs, level by level: value number i closes as many pairs as i has
// trailing ones. 48 levels hold any length.
template <class Op, class X> struct Pairs {
  X level[48];
  int top = 0;
  PD_INLINE void push(int64_t i, X v) {
    for (; i & 1; i >>= 1) v = Op::apply(level[--top], v);
    level[top++] = v;
  }
  PD_INLINE X finish() {
    while (top > 1) {
      --top;
      level[top - 1] = Op::apply(level[top - 1], level[top]);
    }
    return level[0];
  }
};

template <int N> struct signed_of;
template <> struct signed_of<1> { using type = int8_t; };
template <> struct signed_of<4> { using type = int32_t; };
template <> struct signed_of<8> { using type = int64_t; };

// N blocks of n <= kBlock elements side by side, so that their chains of operations overlap. `padded`: as many elements
// may be read as fill the last kLanes.
template <class Op, class T, int N> PD_INLINE void blocks(const T* const* p, int64_t n, bool padded, T* out) {
  constexpr int W = kNative / int(sizeof(T)) < kLanes ? kNative / int(sizeof(T)) : kLanes;
  constexpr int K = kLanes / W;
  using X = Vec<T, W>;
  X acc[N][K];
  for (int k = 0; k < N; ++k)
    for (int j = 0; j < K; ++j) acc[k][j] = splat<X>(Op::template identity<T>());
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
#pragma GCC unroll 8
    for (int k = 0; k < N; ++k)
#pragma GCC unroll 16
      for (int j = 0; j < K; ++j) acc[k][j] = Op::apply(acc[k][j], read<X>(p[k] + i + j * W));
  if (whole < n && padded) {
    using S = typename signed_of<sizeof(T)>::type;
    using I = Vec<S, W>;
    I lane;
    for (int l = 0; l < W; ++l) lane[l] = static_cast<S>(l);
    const X none = splat<X>(Op::template identity<T>());
#pragma GCC unroll 16
    for (int j = 0; j < K; ++j) {
      const I inside = lane < splat<I>(static_cast<S>(n - whole - j * W));
#pragma GCC unroll 8
      for (int k = 0; k < N; ++k) acc[k][j] = Op::apply(acc[k][j], inside ? read<X>(p[k] + whole + j * W) : none);
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < N; ++k) {
    if (whole < n && !padded) {
      alignas(64) T lane[kLanes];
      std::memcpy(lane, acc[k], sizeof lane);
      for (int64_t i = whole; i < n; ++i) lane[i - whole] = Op::apply(lane[i - whole], p[k][i]);
      std::memcpy(acc[k], lane, sizeof lane);
    }
#pragma GCC unroll 8
    for (int h = K / 2; h; h /= 2)
#pragma GCC unroll 8
      for (int j = 0; j < h; ++j) acc[k][j] = Op::apply(acc[k][j], acc[k][j + h]);
    out[k] = fold_lanes<Op, T, W>(acc[k][0]);
  }
}

// As many blocks at once as leave half of the 16 vector registers free.
template <class T> constexpr int kAtOnce = kNative >= kLanes * int(sizeof(T)) ? 4
                                           : kNative * 2 >= kLanes * int(sizeof(T)) ? 4
                                           : kNative * 4 >= kLanes * int(sizeof(T)) ? 2 : 1;

template <class Op, class T> void rows(const void* x, int64_t R, int64_t C, int64_t ld, void* out) {
  constexpr int N = kAtOnce<T>;
  const T* p = static_cast<const T*>(x);
  T* y = static_cast<T*>(out);
  const T* at[N];
  if (C <= kBlock) {
    const T* end = p + (R - 1) * ld + C;  // what lies beyond a row's end is the next row
    const int64_t filled = (C + kLanes - 1) / kLanes * kLanes;
    int64_t r = 0;
    for (; r + N <= R; r += N) {
      for (int k = 0; k < N; ++k) at[k] = p + (r + k) * ld;
      if (at[N - 1] + filled <= end) blocks<Op, T, N>(at, C, true, y + r);
      else blocks<Op, T, N>(at, C, false, y + r);
    }
    for (; r < R; ++r) {
      at[0] = p + r * ld;
      blocks<Op, T, 1>(at, C, false, y + r);
    }
    return;
  }
  for (int64_t r = 0; r < R; ++r) {
    const T* row = p + r * ld;
    Pairs<Op, T> tree;
    T value[N];
    const int64_t whole = C / kBlock;
    int64_t b = 0;
    for (; b + N <= whole; b += N) {
      for (int k = 0; k < N; ++k) at[k] = row + (b + k) * kBlock;
      blocks<Op, T, N>(at, kBlock, false, value);
      for (int k = 0; k < N; ++k) tree.push(b + k, value[k]);
    }
    for (; b * kBlock < C; ++b) {
      at[0] = row + b * kBlock;
      blocks<Op, T, 1>(at, C - b * kBlock < kBlock ? C - b * kBlock : kBlock, false, value);
      tree.push(b, value[0]);
    }
    y[r] = tree.finish();
  }
}

// `strips` vectors of columns, the last one ending at column `width` (it may overlap the one before). Rows are passed
// in panels; a panel's 16 accumulators of a strip stay in registers. Wide groups take low panels, since rows far apart
// are fetched best along the row.
constexpr int kGroupBytes = 1024;

template <class Op, class T, int W>
void column_group(const T* x, int64_t R, int64_t ld, int64_t width, T* out) {
  using X = Vec<T, W>;
  constexpr int S = W == 1 ? 16 : kGroupBytes / int(sizeof(X));
  X acc[S][kLanes];
  Pairs<Op, X> tree[S];
  const int strips = static_cast<int>((width + W - 1) / W);
  const int64_t panel = strips > 4 ? kLanes : 4 * kLanes;
  auto column = [&](int s) { return s == strips - 1 ? width - W : int64_t(s) * W; };
  for (int64_t b = 0; b * kBlock < R; ++b) {
    for (int s = 0; s < strips; ++s)
      for (int l = 0; l < kLanes; ++l) acc[s][l] = splat<X>(Op::template identity<T>());
    const int64_t end = R < (b + 1) * kBlock ? R : (b + 1) * kBlock;
    for (int64_t p0 = b * kBlock; p0 < end; p0 += panel) {
      const int64_t n = end - p0 < panel ? end - p0 : panel, whole = n / kLanes * kLanes;
      for (int s = 0; s < strips; ++s) {
        const T* p = x + p0 * ld + column(s);
        if (whole) {
          X a[kLanes];
#pragma GCC unroll 16
          for (int l = 0; l < kLanes; ++l) a[l] = acc[s][l];
          for (int64_t r = 0; r < whole; r += kLanes)
#pragma GCC unroll 16
            for (int l = 0; l < kLanes; ++l) a[l] = Op::apply(a[l], read<X>(p + (r + l) * ld));
#pragma GCC unroll 16
          for (int l = 0; l < kLanes; ++l) acc[s][l] = a[l];
        }
        for (int64_t r = whole; r < n; ++r) acc[s][r - whole] = Op::apply(acc[s][r - whole], read<X>(p + r * ld));
      }
    }
    for (int s = 0; s < strips; ++s) {
      for (int h = kLanes / 2; h; h /= 2)
        for (int l = 0; l < h; ++l) acc[s][l] = Op::apply(acc[s][l], acc[s][l + h]);
      tree[s].push(b, acc[s][0]);
    }
  }
  for (int s = 0; s < strips; ++s) {
    X v = R ? tree[s].finish() : splat<X>(Op::template identity<T>());
    std::memcpy(out + column(s), &v, sizeof v);
  }
}

template <class Op, class T, int W>
void column_groups(const T* x, int64_t R, int64_t C, int64_t ld, T* out) {
  constexpr int64_t G = W == 1 ? 16 : kGroupBytes / int(sizeof(T));
  for (int64_t c = 0; c < C; c += G) {
    int64_t width = C - c < G ? C - c : G, first = c;
    if (width < W) first = C - W, width = W;
    column_group<Op, T, W>(x + first, R, ld, width, out + first);
  }
}

template <class Op, class T> void columns(const void* x, int64_t R, int64_t C, int64_t ld, void* out) {
  const T* p = static_cast<const T*>(x);
  T* y = static_cast<T*>(out);
  constexpr int W = kNative / int(sizeof(T)), Small = 16 / int(sizeof(T));
  if (C >= W) column_groups<Op, T, W>(p, R, C, ld, y);
  else if (C >= Small) column_groups<Op, T, Small>(p, R, C, ld, y);
  else column_groups<Op, T, 1>(p, R, C, ld, y);
}

template <class Op, class T> ReduceLoops both() { return {rows<Op, T>, columns<Op, T>}; }

// Unsigned sums and products wrap around.
ReduceLoops pick(ReduceKind kind, DType type) {
  const bool sum = kind == ReduceKind::Sum, max = kind == ReduceKind::Max;
  if (type == DType::Bool) {
    if (kind == ReduceKind::Any || max) return both<Or, uint8_t>();
    if (kind == ReduceKind::All || kind == ReduceKind::Min) return both<And, uint8_t>();
    return {};
  }
  if (kind == ReduceKind::Sum || kind == ReduceKind::Prod) {
    switch (type) {
      case DType::I32: return sum ? both<Sum, uint32_t>() : both<Prod, uint32_t>();
      case DType::I64:
      case DType::U64: return sum ? both<Sum, uint64_t>() : both<Prod, uint64_t>();
      case DType::F32: return sum ? both<Sum, float>() : both<Prod, float>();
      case DType::F64: return sum ? both<Sum, double>() : both<Prod, double>();
      default: return {};
    }
  }
  if (kind == ReduceKind::Max || kind == ReduceKind::Min) {
    switch (type) {
      case DType::I32: return max ? both<Max, int32_t>() : both<Min, int32_t>();
      case DType::I64: return max ? both<Max, int64_t>() : both<Min, int64_t>();
      case DType::U64: return max ? both<Max, uint64_t>() : both<Min, uint64_t>();
      case DType::F32: return max ? both<Max, float>() : both<Min, float>();
      case DType::F64: return max ? both<Max, double>() : both<Min, double>();
      default: return {};
    }
  }
  return {};
}

}  // namespace

#define PD_PASTE(a, b) a##b
#define PD_NAME(isa) PD_PASTE(reduce_, isa)
ReduceLoops PD_NAME(PD_ISA)(ReduceKind kind, DType type) { return pick(kind, type); }

}  // namespace pd
