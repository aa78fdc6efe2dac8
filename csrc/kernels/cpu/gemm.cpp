// Which products are of matrices with vectors, read once by BLAS, and which go to the tiles; who computes one of a batch.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <vector>

#include "base/divide.h"
#include "device/cpu/pool.h"
#include "device/cpu/scratch.h"
#include "kernels/cpu/blas.h"
#include "kernels/cpu/tiles.h"

namespace pd {

namespace {

// Of bfloat16: below, the operands' exponents take longer to look at than the product.
constexpr int64_t kPairsWork = int64_t(1) << 18;
constexpr int64_t kPairsSide = 16;

// Multiply-adds that repay handing a task to another thread: some tens of microseconds.
constexpr int64_t kTaskWork = int64_t(1) << 20;
// What a small product counts as: its arithmetic is not by vectors.
constexpr int64_t kSmallWork = 256;
// A matrix times a vector reads each element once, so its tasks are measured by memory, not arithmetic.
constexpr int64_t kVectorTaskWork = int64_t(1) << 17;
// From here on BLAS, which packs nothing, multiplies by a vector.
constexpr int64_t kVectorWork = int64_t(1) << 18;

// C (m, n) = op(A) op(B) (+ C), row-major.
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

// Where A is a row or B a column, so that the other operand is read once.
bool is_vector(const Product& x) { return x.m == 1 || x.n == 1; }

bool suits_blas(const Product& x) {
  if ((x.dt != DType::F32 && x.dt != DType::F64) || !blas_available() || !is_vector(x)) return false;
  const double work = static_cast<double>(x.m) * static_cast<double>(x.n) * static_cast<double>(x.k);
  if (work < static_cast<double>(kVectorWork)) return false;
  return std::max({x.m, x.n, x.k, x.lda, x.ldb, x.ldc}) <= INT_MAX;
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

// Elements [begin, end) of y = M x (+ y), where M's rows, of k items, belong to the elements. BLAS's kernel for the transposed
// matrix has other bits, so a matrix that is stored so is copied first: a view equals its copy.
template <class T>
void vector_piece(const Product& x, int64_t begin, int64_t end) {
  const bool column = x.n == 1;
  const T* matrix = reinterpret_cast<const T*>(column ? x.a : x.b);
  const T* vector = reinterpret_cast<const T*>(column ? x.b : x.a);
  const bool stored_across = column ? x.trans_a : !x.trans_b;
  const int64_t lead = column ? x.lda : x.ldb, rows = end - begin;
  const int64_t step = column ? (x.trans_b ? 1 : x.ldb) : (x.trans_a ? x.lda : 1);
  T* y = reinterpret_cast<T*>(x.c) + begin * (column ? x.ldc : 1);
  const int64_t y_step = column ? x.ldc : 1;
  if (!stored_across)
    return blas::gemv(false, rows, x.k, matrix + begin * lead, std::max(lead, x.k), vector, step, y, y_step, x.accumulate);
  static thread_local std::vector<T> room;
  room.resize(static_cast<size_t>(rows * x.k));
  transpose(room.data(), matrix + begin, lead, rows, x.k);
  blas::gemv(false, rows, x.k, room.data(), x.k, vector, step, y, y_step, x.accumulate);
  if (room.size() > (size_t(4) << 20)) std::vector<T>().swap(room);
}

int64_t vector_cut(int64_t length, int64_t k) {
  const int64_t least = std::max<int64_t>(64, kVectorTaskWork / std::max<int64_t>(k, 1));
  const int64_t pieces = std::clamp<int64_t>(length / least, 1, 16);
  return ceil_div(ceil_div(length, pieces), int64_t(16)) * 16;
}

void by_vector(const Product& x) {
  const int64_t length = std::max(x.m, x.n), cut = vector_cut(length, x.k);
  parallel_for(ceil_div(length, cut), [&](int64_t t, int) {
    const int64_t begin = t * cut, end = std::min(length, begin + cut);
    x.dt == DType::F32 ? vector_piece<float>(x, begin, end) : vector_piece<double>(x, begin, end);
  });
}

TiledProduct by_tiles(const Product& x) {
  const Places along{1, nullptr};
  const Places a_lead{x.lda, nullptr}, b_lead{x.ldb, nullptr}, c_lead{x.ldc, nullptr};
  return {x.dt, x.m, x.n, x.k, x.a, x.trans_a ? along : a_lead, x.trans_a ? a_lead : along, x.b,
          x.trans_b ? along : b_lead, x.trans_b ? b_lead : along, x.c, c_lead, along, x.accumulate};
}

void clear(const Product& x, size_t item) {
  for (int64_t i = 0; i < x.m; ++i)
    std::memset(x.c + static_cast<size_t>(i * x.ldc) * item, 0, static_cast<size_t>(x.n) * item);
}

}  // namespace

void batched_gemm(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
                  const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate, int64_t batch, int64_t stride_a,
                  int64_t stride_b, int64_t stride_c) {
  if (m <= 0 || n <= 0 || batch <= 0) return;
  const int64_t item = static_cast<int64_t>(size_of(dt)), c_item = dt == DType::BF16 ? 4 : item;
  const Product whole{dt,  trans_a, trans_b, m, n, k, static_cast<const char*>(a), lda, static_cast<const char*>(b),
                      ldb, static_cast<char*>(c), ldc, accumulate};
  const bool use_blas = k > 0 && suits_blas(whole);
  if (use_blas) blas::hold_one_thread();
  auto one = [&](int64_t i) {
    Product x = whole;
    x.a += i * stride_a * item;
    x.b += i * stride_b * item;
    x.c += i * stride_c * c_item;
    if (k == 0) {
      if (!accumulate) clear(x, static_cast<size_t>(item));
    } else if (use_blas) {
      by_vector(x);
    } else {
      tiled_product(by_tiles(x));
    }
  };
  // Products too small for a task of their own travel together, large ones share the threads one by one.
  const double work = static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(std::max<int64_t>(k, 1));
  if ((batch == 1 && !is_small_product(m, n, k)) || work > 8.0 * kTaskWork) {
    for (int64_t i = 0; i < batch; ++i) one(i);
    return;
  }
  const bool small = k > 0 && is_small_product(m, n, k);
  const int64_t group = std::max<int64_t>(1, kTaskWork / static_cast<int64_t>(small ? std::max<double>(kSmallWork, work) : work));
  parallel_for(ceil_div(batch, group), [&](int64_t t, int) {
    const int64_t begin = t * group, end = std::min(batch, begin + group);
    if (small) {
      Product x = whole;
      x.a += begin * stride_a * item;
      x.b += begin * stride_b * item;
      x.c += begin * stride_c * item;
      return small_products(by_tiles(x), {stride_a, stride_b, stride_c}, end - begin);
    }
    for (int64_t i = begin; i < end; ++i) one(i);
  });
}

void gemm(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
          const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate) {
  batched_gemm(dt, trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc, accumulate, 1, 0, 0, 0);
}

namespace {

// The matrices of a batch as they are stored: `rows` of `cols` items, `lead` apart.
struct Stored {
  const uint16_t* data;
  int64_t rows, cols, lead, count, stride;
  int64_t lines() const { return rows * count; }
  const uint16_t* line(int64_t i) const { return data + i / rows * stride + i % rows * lead; }
};

constexpr int64_t kLinesWork = int64_t(1) << 16;  // items that repay a task

template <class F> void in_lines(const Stored& x, F f) {
  const int64_t step = std::max<int64_t>(1, kLinesWork / std::max<int64_t>(1, x.cols)), tasks = ceil_div(x.lines(), step);
  parallel_for(tasks, [&](int64_t t, int) { f(t, t * step, std::min(x.lines(), (t + 1) * step)); });
}

Exponents exponents_of(const Stored& x) {
  const int64_t step = std::max<int64_t>(1, kLinesWork / std::max<int64_t>(1, x.cols));
  std::vector<Exponents> found(static_cast<size_t>(ceil_div(x.lines(), step)));
  in_lines(x, [&](int64_t t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) found[static_cast<size_t>(t)].join(exponents(x.line(i), x.cols));
  });
  Exponents all;
  for (const Exponents& e : found) all.join(e);
  return all;
}

void widen(const Stored& x, float* to) {
  in_lines(x, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t* const from = x.line(i);
      for (int64_t j = 0; j < x.cols; ++j) {
        const uint32_t bits = static_cast<uint32_t>(from[j]) << 16;
        std::memcpy(to + i * x.cols + j, &bits, sizeof bits);
      }
    }
  });
}

}  // namespace

bool suits_bf16_gemm(int64_t m, int64_t n, int64_t k) {
  return multiplies_pairs() && std::min({m, n, k}) >= kPairsSide && m * n * k >= kPairsWork;
}

void bf16_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda, const void* b,
               int64_t ldb, float* c, int64_t batch, int64_t stride_a, int64_t stride_b) {
  const Stored left{static_cast<const uint16_t*>(a), trans_a ? k : m, trans_a ? m : k, lda, stride_a ? batch : 1, stride_a};
  const Stored right{static_cast<const uint16_t*>(b), trans_b ? n : k, trans_b ? k : n, ldb, stride_b ? batch : 1, stride_b};
  if (suits_bf16_gemm(m, n, k) && exact_in_pairs(exponents_of(left), exponents_of(right))) {
    return batched_gemm(DType::BF16, trans_a, trans_b, m, n, k, a, lda, b, ldb, c, n, false, batch, stride_a, stride_b, m * n);
  }
  const int64_t of_left = left.lines() * left.cols, of_right = right.lines() * right.cols;
  CallMemory wide(static_cast<size_t>(of_left + of_right) * sizeof(float));
  float *const wide_a = reinterpret_cast<float*>(wide.data()), *const wide_b = wide_a + of_left;
  widen(left, wide_a);
  widen(right, wide_b);
  batched_gemm(DType::F32, trans_a, trans_b, m, n, k, wide_a, left.cols, wide_b, right.cols, c, n, false, batch,
               stride_a ? m * k : 0, stride_b ? k * n : 0, m * n);
}

}  // namespace pd
