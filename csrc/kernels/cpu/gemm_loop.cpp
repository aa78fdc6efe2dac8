// For each slice of k, for each strip of columns, for each block of rows: a tile of C in registers, taken up from C where
// the slice before left it, which breaks no chain,
//
//   tile[r][:] += a[r][p] * b[p][:]      for p in the slice
//
// with b read from the strip of B, packed to k x width where B is transposed, ragged, or read often from far apart.
// Compiled once for each instruction set, which the processor chooses when first called.
#include "kernels/cpu/gemm_loop.h"

#include <cstring>

#include "base/error.h"
#include "device/cpu/allocator.h"

#if !defined(__clang__)
// One rounding a step where the processor has it. A product need only have the same bits on the same machine.
#pragma GCC optimize("fp-contract=fast")
#else
#pragma clang fp contract(fast)
#endif

#define PD_INLINE inline __attribute__((always_inline))

namespace pd {

namespace {

struct Args {
  bool trans_a, trans_b;
  int64_t m, n, k;
  const void* a;
  int64_t lda;
  const void* b;
  int64_t ldb;
  void* c;
  int64_t ldc;
  bool accumulate;
};

template <class T>
struct MulAdd {
  using Item = T;
  template <class V>
  static PD_INLINE void step(V& acc, T a, const V& b) {
    acc += a * b;
  }
};

struct AndOr {
  using Item = uint8_t;
  template <class V>
  static PD_INLINE void step(V& acc, uint8_t a, const V& b) {
    acc |= a & b;
  }
};

// `Bytes` of T, loaded from and stored to any address that suits a T.
template <class T, int Bytes>
struct Pack {
  typedef T Type __attribute__((vector_size(Bytes), aligned(alignof(T)), may_alias));
  static constexpr int kLanes = Bytes / static_cast<int>(sizeof(T));
};

template <class Op, int Bytes, int Rows, int Vecs, class T = typename Op::Item>
PD_INLINE void tile(int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row, T* c, int64_t ldc,
                    int64_t cols, bool accumulate) {
  using V = typename Pack<T, Bytes>::Type;
  constexpr int kLanes = Pack<T, Bytes>::kLanes;
  const bool whole = cols == Vecs * kLanes;
  V acc[Rows][Vecs] = {};
  if (accumulate)
    for (int r = 0; r < Rows; ++r) {
      if (whole) {
        for (int v = 0; v < Vecs; ++v) acc[r][v] = *reinterpret_cast<const V*>(c + r * ldc + v * kLanes);
      } else {
        T row[Vecs * kLanes] = {};
        for (int64_t j = 0; j < cols; ++j) row[j] = c[r * ldc + j];
        std::memcpy(acc[r], row, sizeof row);
      }
    }
  for (int64_t p = 0; p < k; ++p) {
    V bv[Vecs];
    for (int v = 0; v < Vecs; ++v) bv[v] = *reinterpret_cast<const V*>(b + p * b_row + v * kLanes);
    for (int r = 0; r < Rows; ++r) {
      T s = a[r * a_row + p * a_col];
      for (int v = 0; v < Vecs; ++v) Op::step(acc[r][v], s, bv[v]);
    }
  }
  for (int r = 0; r < Rows; ++r) {
    if (whole) {
      for (int v = 0; v < Vecs; ++v) *reinterpret_cast<V*>(c + r * ldc + v * kLanes) = acc[r][v];
    } else {
      T row[Vecs * kLanes];
      std::memcpy(row, acc[r], sizeof row);
      for (int64_t j = 0; j < cols; ++j) c[r * ldc + j] = row[j];
    }
  }
}

template <class Op, int Bytes, int Vecs, class T = typename Op::Item>
PD_INLINE void strip(const Args& x, const T* b, int64_t b_row, T* c, int64_t cols) {
  const T* a = static_cast<const T*>(x.a);
  int64_t a_row = x.trans_a ? 1 : x.lda, a_col = x.trans_a ? x.lda : 1, i = 0;
#define PD_ROWS(rows)                                                                                       \
  for (; i + rows <= x.m; i += rows)                                                                        \
    tile<Op, Bytes, rows, Vecs>(x.k, a + i * a_row, a_row, a_col, b, b_row, c + i * x.ldc, x.ldc, cols,     \
                                x.accumulate);
  PD_ROWS(6)
  PD_ROWS(3)
  PD_ROWS(1)
#undef PD_ROWS
}

template <class Op, int Bytes, class T = typename Op::Item>
PD_INLINE void slice(const Args& x) {
  constexpr int kLanes = Pack<T, Bytes>::kLanes, kWidth = 2 * kLanes;
  constexpr size_t kOnStack = 16 << 10, kNear = 32 << 10;
  alignas(64) unsigned char stack[kOnStack];
  const T* b = static_cast<const T*>(x.b);
  T* c = static_cast<T*>(x.c);
  size_t room = static_cast<size_t>(x.k) * kWidth * sizeof(T);
  bool near = x.m <= 12 || static_cast<size_t>(x.k) * static_cast<size_t>(x.ldb) * sizeof(T) <= kNear;
  T* packed = nullptr;
  for (int64_t j = 0; j < x.n; j += kWidth) {
    int64_t cols = x.n - j < kWidth ? x.n - j : kWidth;
    int64_t width = cols <= kLanes ? kLanes : kWidth, b_row = x.ldb;
    const T* from = b + j;
    if (x.trans_b || cols < width || !near) {
      if (!packed) packed = room <= kOnStack ? reinterpret_cast<T*>(stack) : static_cast<T*>(cpu_allocate(room));
      if (x.trans_b) {
        for (int64_t q = 0; q < cols; ++q)
          for (int64_t p = 0; p < x.k; ++p) packed[p * width + q] = b[(j + q) * x.ldb + p];
      } else {
        for (int64_t p = 0; p < x.k; ++p)
          std::memcpy(packed + p * width, from + p * x.ldb, static_cast<size_t>(cols) * sizeof(T));
      }
      for (int64_t p = 0; cols < width && p < x.k; ++p)
        std::memset(static_cast<void*>(packed + p * width + cols), 0, static_cast<size_t>(width - cols) * sizeof(T));
      from = packed;
      b_row = width;
    }
    if (width == kLanes) {
      strip<Op, Bytes, 1>(x, from, b_row, c + j, cols);
    } else {
      strip<Op, Bytes, 2>(x, from, b_row, c + j, cols);
    }
  }
  if (packed && room > kOnStack) cpu_free(packed, room);
}

// A strip of this many rows of B stays in the second-level cache.
constexpr int64_t kDepth = 512;

template <class Op, int Bytes, class T = typename Op::Item>
PD_INLINE void product(const Args& x) {
  Args y = x;
  for (int64_t p = 0; p < x.k; p += kDepth) {
    y.k = x.k - p < kDepth ? x.k - p : kDepth;
    y.a = static_cast<const T*>(x.a) + p * (x.trans_a ? x.lda : 1);
    y.b = static_cast<const T*>(x.b) + p * (x.trans_b ? 1 : x.ldb);
    y.accumulate = x.accumulate || p > 0;
    slice<Op, Bytes>(y);
  }
}

using Product = void (*)(const Args&);

#if defined(__x86_64__)
template <class Op>
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"))) void product_avx512(const Args& x) {
  product<Op, 64>(x);
}
template <class Op>
__attribute__((target("avx2,fma"))) void product_avx2(const Args& x) {
  product<Op, 32>(x);
}
#endif
template <class Op>
void product_plain(const Args& x) {
  product<Op, 16>(x);
}

#if defined(__x86_64__)
const int g_isa = [] {
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
  return avx512 ? 2 : avx2 ? 1 : 0;
}();
#endif

template <class Op>
Product choose() {
#if defined(__x86_64__)
  if (g_isa == 2) return product_avx512<Op>;
  if (g_isa == 1) return product_avx2<Op>;
#endif
  return product_plain<Op>;
}

}  // namespace

void gemm_loop(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
               const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate) {
  Args x{trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc, accumulate};
  switch (dt) {
    case DType::F32: return choose<MulAdd<float>>()(x);
    case DType::F64: return choose<MulAdd<double>>()(x);
    case DType::I32: return choose<MulAdd<uint32_t>>()(x);
    case DType::I64:
    case DType::U64: return choose<MulAdd<uint64_t>>()(x);
    case DType::Bool: return choose<AndOr>()(x);
    default: fail("matmul", "no kernel for this dtype", name_of(dt), "float32 or float64", ErrorKind::Type);
  }
}

}  // namespace pd
