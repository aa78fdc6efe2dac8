// The loops over rows of attention, compiled once for each instruction set, which the processor chooses when first called.
#include "kernels/cpu/attention_rows.h"

#include <limits>

#include "base/error.h"
#include "kernels/cpu/vectors.h"
#include "ops/vmath/explog.h"

namespace pd {

namespace {

template <class T>
struct Wide {
  typedef T Lanes __attribute__((vector_size(64), aligned(alignof(T)), may_alias));
  static constexpr int64_t kLanes = 64 / static_cast<int64_t>(sizeof(T));
};

template <class T>
constexpr T kNone = -std::numeric_limits<T>::infinity();

template <class T>
PD_INLINE const typename Wide<T>::Lanes& lanes(const T* x) {
  return *reinterpret_cast<const typename Wide<T>::Lanes*>(x);
}
template <class T>
PD_INLINE typename Wide<T>::Lanes& lanes(T* x) {
  return *reinterpret_cast<typename Wide<T>::Lanes*>(x);
}

template <class T>
PD_INLINE int64_t rounded(int64_t cols) {
  return (cols + Wide<T>::kLanes - 1) / Wide<T>::kLanes * Wide<T>::kLanes;
}

// By halves: lane i of N takes lane i + N / 2. The sum, or the largest, where NaN does not count: it reaches the sum.
template <class T, int N, bool sum>
PD_INLINE T folded(const T* x) {
  if constexpr (N == 2) {
    return sum ? x[0] + x[1] : x[0] > x[1] ? x[0] : x[1];
  } else {
    typedef T Half __attribute__((vector_size(N / 2 * sizeof(T)), aligned(alignof(T)), may_alias));
    const Half low = reinterpret_cast<const Half*>(x)[0], high = reinterpret_cast<const Half*>(x)[1];
    T rest[N / 2];
    *reinterpret_cast<Half*>(rest) = sum ? low + high : low > high ? low : high;
    return folded<T, N / 2, sum>(rest);
  }
}

template <class T>
PD_INLINE T sum_of(const typename Wide<T>::Lanes& x) {
  T part[Wide<T>::kLanes];
  lanes(part) = x;
  return folded<T, Wide<T>::kLanes, true>(part);
}

template <class T>
PD_INLINE T largest_of(const typename Wide<T>::Lanes& x) {
  T part[Wide<T>::kLanes];
  lanes(part) = x;
  return folded<T, Wide<T>::kLanes, false>(part);
}

template <class T>
PD_INLINE void load_of(const T* from, int64_t row, int64_t col, int64_t rows, int64_t cols, T factor, T* to) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* x = from + r * row;
    T* y = to + r * cols;
    if (col == 1) {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) y[c] = factor * x[c];
    } else {
      for (int64_t c = 0; c < cols; ++c) y[c] = factor * x[c * col];
    }
  }
}

// 0 x is 0, or NaN where x is infinite or NaN, which stays in a sum.
template <class T>
PD_INLINE bool finite_of(const T* x, int64_t rows, int64_t row, int64_t cols) {
  using Lanes = typename Wide<T>::Lanes;
  Lanes all{};
  T rest = 0;
  for (int64_t r = 0; r < rows; ++r) {
    const T* y = x + r * row;
    int64_t c = 0;
    for (; c + Wide<T>::kLanes <= cols; c += Wide<T>::kLanes) all += lanes(y + c) * T(0);
    for (; c < cols; ++c) rest += y[c] * T(0);
  }
  return rest + sum_of<T>(all) == T(0);
}

template <class T>
PD_INLINE void multiply_of(T* x, int64_t n, T factor) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

template <class T>
PD_INLINE void dots_of(const T* a, int64_t a_row, const T* b, int64_t b_row, int64_t rows, int64_t cols, T* out) {
  using Lanes = typename Wide<T>::Lanes;
  for (int64_t r = 0; r < rows; ++r) {
    const T *x = a + r * a_row, *y = b + r * b_row;
    Lanes all{};
    int64_t c = 0;
    for (; c + Wide<T>::kLanes <= cols; c += Wide<T>::kLanes) all += lanes(x + c) * lanes(y + c);
    T sum = sum_of<T>(all);
    for (; c < cols; ++c) sum += x[c] * y[c];
    out[r] = sum;
  }
}

template <class T>
PD_INLINE void mask_of(T* s, int64_t rows, int64_t cols, const void* mask, bool boolean, int64_t row, int64_t col) {
  for (int64_t r = 0; r < rows; ++r) {
    T* x = s + r * kAttentionRow;
    if (boolean) {
      const uint8_t* m = static_cast<const uint8_t*>(mask) + r * row;
      if (col == 1) {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) x[c] = m[c] ? x[c] : kNone<T>;
      } else {
        for (int64_t c = 0; c < cols; ++c) x[c] = m[c * col] ? x[c] : kNone<T>;
      }
    } else {
      const T* m = static_cast<const T*>(mask) + r * row;
      if (col == 1) {
#pragma omp simd
        for (int64_t c = 0; c < cols; ++c) x[c] += m[c];
      } else {
        for (int64_t c = 0; c < cols; ++c) x[c] += m[c * col];
      }
    }
  }
}

template <class T>
PD_INLINE void cut_of(T* s, int64_t rows, int64_t cols, int64_t first) {
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t from = first + r < 0 ? 0 : first + r;
    for (int64_t c = from; c < cols; ++c) s[r * kAttentionRow + c] = kNone<T>;
  }
}

template <class T>
PD_INLINE void weigh_of(T* s, int64_t rows, int64_t cols, T* most, T* sum, T* o, int64_t width) {
  using Lanes = typename Wide<T>::Lanes;
  constexpr int64_t kLanes = Wide<T>::kLanes;
  const int64_t end = rounded<T>(cols);
  for (int64_t r = 0; r < rows; ++r) {
    T* x = s + r * kAttentionRow;
    for (int64_t c = cols; c < end; ++c) x[c] = kNone<T>;
    Lanes top = Lanes{} + kNone<T>;
    for (int64_t c = 0; c < end; c += kLanes) {
      const Lanes here = lanes(x + c);
      top = here > top ? here : top;
    }
    T now = largest_of<T>(top);
    now = now > most[r] ? now : most[r];
    const T shift = now == kNone<T> ? T(0) : now;
#pragma omp simd
    for (int64_t c = 0; c < end; ++c) x[c] = vm::exp(V<T>(x[c] - shift)).v;
    Lanes all{};
    for (int64_t c = 0; c < end; c += kLanes) all += lanes(x + c);
    const bool same = most[r] == shift;
    const T keep = same ? T(1) : most[r] == kNone<T> ? T(0) : vm::exp(V<T>(most[r] - shift)).v;
    sum[r] = sum[r] * keep + sum_of<T>(all);
    most[r] = now;
    if (same || !o) continue;
    T* y = o + r * width;
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) y[c] *= keep;
  }
}

template <class T>
PD_INLINE void finish_of(int64_t rows, const T* most, const T* sum, T* o, int64_t width, bool masked, T* lse) {
  for (int64_t r = 0; r < rows; ++r) {
    const bool blind = masked && sum[r] == T(0);
    const T whole = blind ? T(1) : sum[r];
    T* y = o + r * width;
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) y[c] /= whole;
    if (!lse) continue;
    const T log_sum = sum[r] == T(0) ? std::numeric_limits<T>::quiet_NaN() : most[r] + vm::log(V<T>(sum[r])).v;
    lse[r] = blind ? -kNone<T> : log_sum;
  }
}

template <class T>
PD_INLINE void unweigh_of(T* s, T* d, int64_t rows, int64_t cols, const T* lse, const T* drop) {
  for (int64_t r = 0; r < rows; ++r) {
    T *x = s + r * kAttentionRow, *y = d + r * kAttentionRow;
    const T shift = lse[r], less = drop[r];
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) {
      const T p = vm::exp(V<T>(x[c] - shift)).v, change = p * (y[c] - less);
      y[c] = x[c] == kNone<T> ? T(0) : change;
      x[c] = p;
    }
  }
}

// Attributes of a target do not pass through templates by argument, hence a macro.
#define PD_ATTENTION_ROWS(name, target)                                                                                       \
  template <class T>                                                                                                          \
  struct name {                                                                                                               \
    target static void load(const void* from, int64_t row, int64_t col, int64_t rows, int64_t cols, double factor, void* to) {\
      load_of(static_cast<const T*>(from), row, col, rows, cols, static_cast<T>(factor), static_cast<T*>(to));                \
    }                                                                                                                         \
    target static bool finite(const void* x, int64_t rows, int64_t row, int64_t cols) {                                       \
      return finite_of(static_cast<const T*>(x), rows, row, cols);                                                            \
    }                                                                                                                         \
    target static void multiply(void* x, int64_t n, double factor) {                                                          \
      multiply_of(static_cast<T*>(x), n, static_cast<T>(factor));                                                             \
    }                                                                                                                         \
    target static void dots(const void* a, int64_t a_row, const void* b, int64_t b_row, int64_t rows, int64_t cols,           \
                            void* out) {                                                                                      \
      dots_of(static_cast<const T*>(a), a_row, static_cast<const T*>(b), b_row, rows, cols, static_cast<T*>(out));            \
    }                                                                                                                         \
    target static void mask(void* s, int64_t rows, int64_t cols, const void* m, bool boolean, int64_t row, int64_t col) {     \
      mask_of(static_cast<T*>(s), rows, cols, m, boolean, row, col);                                                          \
    }                                                                                                                         \
    target static void cut(void* s, int64_t rows, int64_t cols, int64_t first) {                                              \
      cut_of(static_cast<T*>(s), rows, cols, first);                                                                          \
    }                                                                                                                         \
    target static void weigh(void* s, int64_t rows, int64_t cols, void* most, void* sum, void* o, int64_t width) {            \
      weigh_of(static_cast<T*>(s), rows, cols, static_cast<T*>(most), static_cast<T*>(sum), static_cast<T*>(o), width);       \
    }                                                                                                                         \
    target static void finish(int64_t rows, const void* most, const void* sum, void* o, int64_t width, bool masked,           \
                              void* lse) {                                                                                    \
      finish_of(rows, static_cast<const T*>(most), static_cast<const T*>(sum), static_cast<T*>(o), width, masked,             \
                static_cast<T*>(lse));                                                                                        \
    }                                                                                                                         \
    target static void unweigh(void* s, void* d, int64_t rows, int64_t cols, const void* lse, const void* drop) {             \
      unweigh_of(static_cast<T*>(s), static_cast<T*>(d), rows, cols, static_cast<const T*>(lse), static_cast<const T*>(drop));\
    }                                                                                                                         \
    static AttentionRows all() { return {load, finite, multiply, dots, mask, cut, weigh, finish, unweigh}; }                  \
  };

#if defined(__x86_64__)
PD_ATTENTION_ROWS(Avx512Rows, PD_AVX512)
PD_ATTENTION_ROWS(Avx2Rows, PD_AVX2)
#endif
PD_ATTENTION_ROWS(PlainRows, )

template <class T>
AttentionRows choose() {
#if defined(__x86_64__)
  const Vectors has = widest_vectors();
  if (has == Vectors::Avx512) return Avx512Rows<T>::all();
  if (has == Vectors::Avx2) return Avx2Rows<T>::all();
#endif
  return PlainRows<T>::all();
}

template <class T>
const AttentionRows& rows_of() {
  static const AttentionRows rows = choose<T>();
  return rows;
}

}  // namespace

const AttentionRows& attention_rows(DType dtype) {
  if (dtype == DType::F32) return rows_of<float>();
  if (dtype == DType::F64) return rows_of<double>();
  fail("attention", "no kernel for this dtype", name_of(dtype), "float32 or float64", ErrorKind::Type);
}

}  // namespace pd
