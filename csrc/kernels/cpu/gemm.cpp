// The cut of a product into panels, and who computes one.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/divide.h"
#include "device/cpu/pool.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/gemm_loop.h"

namespace pd {

namespace {

// Multiply-adds that repay handing a task to another thread: some tens of microseconds.
constexpr int64_t kTaskWork = int64_t(1) << 20;
// A matrix times a vector reads each element once, so its tasks are measured by memory, not arithmetic.
constexpr int64_t kVectorTaskWork = int64_t(1) << 17;
// From here on gemv, which packs nothing, is faster than gemm on one row or column.
constexpr int64_t kVectorWork = int64_t(1) << 18;


// n in `pieces` that are equal but for the last, each a multiple of `unit` (the micro-kernels' width).
int64_t even_cut(int64_t n, int64_t pieces, int64_t unit) {
  return std::min(n, ceil_div(ceil_div(n, std::max<int64_t>(1, pieces)), unit) * unit);
}

// About 16 panels, as many as the threads of a usual machine, while each is large enough that packing its operands is a
// small part. Measured with OpenBLAS on one thread against one whole call: panels of 64x64 cost 8 to 24 %, 128x64 7 to
// 15 %, 128x128 4 to 11 %, and 512x512 of a product of 2048 cubed 7 %. Tall panels cost less than wide ones.
GemmPanels panels(int64_t m, int64_t n, int64_t k) {
  int64_t depth = std::max<int64_t>(k, 1);
  // In floating point, as the product of three sizes may overflow; the same everywhere all the same.
  double area = static_cast<double>(m) * static_cast<double>(n), work = area * static_cast<double>(depth);
  if (m == 1 || n == 1) {
    int64_t len = m * n, least = std::max<int64_t>(64, kVectorTaskWork / depth);
    int64_t cut = work < static_cast<double>(kVectorWork) ? len : even_cut(len, std::min<int64_t>(16, len / least), 16);
    return m == 1 ? GemmPanels{1, cut} : GemmPanels{cut, 1};
  }
  if (work < 2.0 * kTaskWork) return {m, n};
  double least = std::max(static_cast<double>(std::min<int64_t>(m, 128) * std::min<int64_t>(n, 64)),
                          static_cast<double>(kTaskWork) / static_cast<double>(depth));
  double goal = std::max(least, std::min(area / 16.0, 512.0 * 512.0));
  double pieces = area / goal;
  // Twice as tall as wide, and a power of two across, so that the two numbers of pieces multiply to about `pieces`.
  double side = std::max(64.0, std::sqrt(goal / 2));
  int64_t across = 1;
  while (static_cast<double>(2 * across) * side <= static_cast<double>(n) && 2.0 * static_cast<double>(across) <= pieces)
    across *= 2;
  // Rows in one piece are too few to be cut: the columns take what is left.
  double down = std::floor(pieces / static_cast<double>(across) + 0.5), most = std::floor(static_cast<double>(m) / 64.0);
  if (down > most) {
    down = std::max(1.0, most);
    across = static_cast<int64_t>(std::min(pieces / down, std::max(1.0, static_cast<double>(n) / 64.0)));
  }
  return {even_cut(m, static_cast<int64_t>(down), 8), even_cut(n, across, 16)};
}

struct Product {
  DType dt;
  bool trans_a, trans_b;
  int64_t m, n, k;
  const char* a;
  int64_t lda;
  const char* b;
  int64_t ldb;
  char* c;
  int64_t ldc;
  bool accumulate;
};

template <class T>
void by_blas(const Product& x, int64_t work) {
  const T *a = reinterpret_cast<const T*>(x.a), *b = reinterpret_cast<const T*>(x.b);
  T* c = reinterpret_cast<T*>(x.c);
  if (work < kVectorWork || (x.m != 1 && x.n != 1))
    blas::gemm(x.trans_a, x.trans_b, x.m, x.n, x.k, a, x.lda, b, x.ldb, c, x.ldc, x.accumulate);
  else if (x.n == 1)
    blas::gemv(x.trans_a, x.trans_a ? x.k : x.m, x.trans_a ? x.m : x.k, a, x.lda, b, x.trans_b ? 1 : x.ldb, c, x.ldc,
               x.accumulate);
  else
    blas::gemv(!x.trans_b, x.trans_b ? x.n : x.k, x.trans_b ? x.k : x.n, b, x.ldb, a, x.trans_a ? x.lda : 1, c, 1,
               x.accumulate);
}

// The stored matrix has `rows` rows of `cols` items. BLAS refuses a leading dimension below cols; with one row it is free.
bool lead_for_blas(int64_t rows, int64_t cols, int64_t& lead) {
  if (rows <= 1) lead = std::max<int64_t>(cols, 1);
  return lead >= cols && lead <= INT_MAX;
}

// Sets the leading dimensions that BLAS accepts; false where it cannot compute the product.
bool suits_blas(Product& x) {
  if ((x.dt != DType::F32 && x.dt != DType::F64) || !blas_available()) return false;
  if (std::max({x.m, x.n, x.k}) > INT_MAX) return false;
  Product y = x;
  bool ok = lead_for_blas(x.trans_a ? x.k : x.m, x.trans_a ? x.m : x.k, y.lda) &&
            lead_for_blas(x.trans_b ? x.n : x.k, x.trans_b ? x.k : x.n, y.ldb) && lead_for_blas(x.m, x.n, y.ldc);
  if (ok) x = y;
  return ok;
}

// OpenBLAS has kernels of their own for small products (up to 1e6 multiply-adds on AVX-512) and for vectors, whose
// bits depend on which operand is stored transposed; larger ones are packed first, and then it does not matter. The
// bits must be those of the product of the same matrices however they are stored: a transposed view equals its copy.
constexpr double kPackedWork = 1.25e6;

bool storage_shows(const Product& x) {
  return x.m == 1 || x.n == 1 ||
         static_cast<double>(x.m) * static_cast<double>(x.n) * static_cast<double>(x.k) <= kPackedWork;
}

// dst (rows, cols) from src stored (cols, rows), in squares that stay in cache.
template <class T>
void transpose(T* dst, const T* src, int64_t lead, int64_t rows, int64_t cols) {
  constexpr int64_t kSide = 16;
  for (int64_t i0 = 0; i0 < rows; i0 += kSide)
    for (int64_t j0 = 0; j0 < cols; j0 += kSide)
      for (int64_t i = i0, i1 = std::min(rows, i0 + kSide); i < i1; ++i)
        for (int64_t j = j0, j1 = std::min(cols, j0 + kSide); j < j1; ++j) dst[i * cols + j] = src[j * lead + i];
}

// The same product with both operands stored as they are multiplied.
template <class T>
Product straightened(Product x, std::vector<T>& room) {
  const size_t need = static_cast<size_t>((x.trans_a ? x.m * x.k : 0) + (x.trans_b ? x.k * x.n : 0));
  if (room.size() < need) room.resize(need);
  T* next = room.data();
  if (x.trans_a) {
    transpose(next, reinterpret_cast<const T*>(x.a), x.lda, x.m, x.k);
    x.a = reinterpret_cast<const char*>(next);
    x.lda = x.k;
    x.trans_a = false;
    next += x.m * x.k;
  }
  if (x.trans_b) {
    transpose(next, reinterpret_cast<const T*>(x.b), x.ldb, x.k, x.n);
    x.b = reinterpret_cast<const char*>(next);
    x.ldb = x.n;
    x.trans_b = false;
  }
  return x;
}

template <class T>
void panel_by_blas(const Product& x, int64_t work) {
  if (!(x.trans_a || x.trans_b) || !storage_shows(x)) return by_blas<T>(x, work);
  static thread_local std::vector<T> room;
  by_blas<T>(straightened(x, room), work);
  if (room.size() > (size_t(4) << 20)) std::vector<T>().swap(room);
}

void clear(const Product& x, size_t item) {
  for (int64_t i = 0; i < x.m; ++i)
    std::memset(x.c + static_cast<size_t>(i * x.ldc) * item, 0, static_cast<size_t>(x.n) * item);
}

}  // namespace

GemmPanels gemm_panels(int64_t m, int64_t n, int64_t k) { return panels(m, n, k); }

void batched_gemm(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
                  const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate, int64_t batch, int64_t stride_a,
                  int64_t stride_b, int64_t stride_c) {
  if (m <= 0 || n <= 0 || batch <= 0) return;
  const int64_t item = static_cast<int64_t>(size_of(dt));
  Product whole{dt,  trans_a, trans_b, m, n, k, static_cast<const char*>(a), lda, static_cast<const char*>(b),
                ldb, static_cast<char*>(c), ldc, accumulate};
  const bool use_blas = k > 0 && suits_blas(whole);
  if (use_blas) blas::hold_one_thread();

  const GemmPanels cut = panels(m, n, k);
  const int64_t down = ceil_div(m, cut.rows), across = ceil_div(n, cut.cols), per_item = down * across;
  const double item_work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(std::max<int64_t>(k, 1));
  // By the whole product's size, not the panel's: a ragged last panel is computed as its neighbours are.
  const int64_t work = item_work < 9e18 ? static_cast<int64_t>(item_work) : INT64_MAX;

  auto panel = [&](int64_t index) {
    int64_t i = index / per_item, at = index % per_item, row = at / across * cut.rows, col = at % across * cut.cols;
    Product x = whole;
    x.m = std::min(cut.rows, m - row);
    x.n = std::min(cut.cols, n - col);
    x.a += (i * stride_a + row * (trans_a ? 1 : whole.lda)) * item;
    x.b += (i * stride_b + col * (trans_b ? whole.ldb : 1)) * item;
    x.c += (i * stride_c + row * whole.ldc + col) * item;
    if (k == 0) {
      if (!accumulate) clear(x, static_cast<size_t>(item));
    } else if (!use_blas) {
      gemm_loop(dt, trans_a, trans_b, x.m, x.n, k, x.a, x.lda, x.b, x.ldb, x.c, x.ldc, accumulate);
    } else if (dt == DType::F32) {
      panel_by_blas<float>(x, work);
    } else {
      panel_by_blas<double>(x, work);
    }
  };

  // Panels too small for a task of their own travel together; that changes who computes them, not what.
  const int64_t total = batch * per_item;
  const int64_t enough = m == 1 || n == 1 ? kVectorTaskWork : kTaskWork;
  const int64_t group = per_item > 1 ? 1 : std::max<int64_t>(1, enough / work);
  parallel_for(ceil_div(total, group), [&](int64_t t, int) {
    for (int64_t i = t * group, end = std::min(total, i + group); i < end; ++i) panel(i);
  });
}

void gemm(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
          const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate) {
  batched_gemm(dt, trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc, accumulate, 1, 0, 0, 0);
}

}  // namespace pd
