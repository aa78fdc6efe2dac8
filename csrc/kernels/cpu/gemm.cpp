// Which products are of matrices with vectors, read once by BLAS, and which go to the tiles; who computes one of a batch.
#include "kernels/cpu/gemm.h"

#include <algorithm>
#include <climits>
#include <cstring>
#include <utility>
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

// One of a batch.
struct Product {
  DType dt;
  int64_t m, n, k;
  const char* a;
  int64_t a_row, a_col;
  const char* b;
  int64_t b_row, b_col;
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
  return std::max({x.m, x.n, x.k, x.a_row, x.a_col, x.b_row, x.b_col, x.ldc}) <= INT_MAX;
}

// dst (rows, cols) from strided src, in squares that stay in cache.
template <class T>
void gather(T* dst, const T* src, int64_t row, int64_t col, int64_t rows, int64_t cols) {
  constexpr int64_t kSide = 16;
  for (int64_t i0 = 0; i0 < rows; i0 += kSide)
    for (int64_t j0 = 0; j0 < cols; j0 += kSide)
      for (int64_t i = i0, i1 = std::min(rows, i0 + kSide); i < i1; ++i)
        for (int64_t j = j0, j1 = std::min(cols, j0 + kSide); j < j1; ++j) dst[i * cols + j] = src[i * row + j * col];
}

// Elements [begin, end) of y = M x (+ y), where M's rows, of k items, belong to the elements. BLAS's kernel for the transposed
// matrix has other bits, so a matrix whose rows do not lie one behind the other is copied first, as is a vector that BLAS
// would not take as it lies: a view equals its copy.
template <class T>
void vector_piece(const Product& x, int64_t begin, int64_t end) {
  const bool column = x.n == 1;
  const T* matrix = reinterpret_cast<const T*>(column ? x.a : x.b);
  const T* vector = reinterpret_cast<const T*>(column ? x.b : x.a);
  const int64_t row = column ? x.a_row : x.b_col, col = column ? x.a_col : x.b_row, rows = end - begin;
  const bool lies = x.k == 1 ? row > 0 : col == 1 && (row >= x.k || x.m * x.n == 1);
  const int64_t step = column ? x.b_row : x.a_col;
  const bool along = step > 0 || x.k == 1;
  T* y = reinterpret_cast<T*>(x.c) + begin * (column ? x.ldc : 1);
  const int64_t y_step = column ? x.ldc : 1;
  static thread_local std::vector<T> room;
  room.resize(static_cast<size_t>((lies ? 0 : rows * x.k) + (along ? 0 : x.k)));
  matrix += begin * row;
  T* free = room.data();
  if (!lies) {
    gather(free, matrix, row, col, rows, x.k);
    matrix = std::exchange(free, free + rows * x.k);
  }
  if (!along) {
    gather(free, vector, 0, step, 1, x.k);
    vector = free;
  }
  blas::gemv(false, rows, x.k, matrix, lies ? std::max(row, x.k) : x.k, vector, along ? std::max<int64_t>(step, 1) : 1, y, y_step,
             x.accumulate);
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
  auto every = [](int64_t step) { return Places{step, nullptr}; };
  return {x.dt, x.m, x.n, x.k, x.a, every(x.a_row), every(x.a_col), x.b, every(x.b_row), every(x.b_col), x.c, every(x.ldc), every(1),
          x.accumulate};
}

void clear(const Product& x, size_t item) {
  for (int64_t i = 0; i < x.m; ++i)
    std::memset(x.c + static_cast<size_t>(i * x.ldc) * item, 0, static_cast<size_t>(x.n) * item);
}

}  // namespace

void gemm(DType dt, int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* c, int64_t ldc, bool accumulate,
          const Batch& batch, int64_t stride_c) {
  const int64_t count = batch.count();
  if (m <= 0 || n <= 0 || count <= 0) return;
  const int64_t item = static_cast<int64_t>(size_of(dt)), c_item = dt == DType::BF16 ? 4 : item;
  const Product first{dt,    m,     n,     k, static_cast<const char*>(a.data), a.row, a.col, static_cast<const char*>(b.data),
                      b.row, b.col, static_cast<char*>(c), ldc, accumulate};
  const bool use_blas = k > 0 && suits_blas(first);
  if (use_blas) blas::hold_one_thread();
  auto nth = [&](int64_t i) {
    const int64_t p = i / batch.inner, q = i % batch.inner;
    Product x = first;
    x.a += (p * a.outer + q * a.inner) * item;
    x.b += (p * b.outer + q * b.inner) * item;
    x.c += i * stride_c * c_item;
    return x;
  };
  auto one = [&](int64_t i) {
    const Product x = nth(i);
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
  if ((count == 1 && !is_small_product(m, n, k)) || work > 8.0 * kTaskWork) {
    for (int64_t i = 0; i < count; ++i) one(i);
    return;
  }
  const bool small = k > 0 && is_small_product(m, n, k);
  const double all = static_cast<double>(count) * (small ? std::max<double>(kSmallWork, work) : work);
  const int64_t threads = std::min<int64_t>(num_threads(), 1 + static_cast<int64_t>(all / kTaskWork));
  // What a thread computes lies together, as what it computes next will; of long work there is more than one task a thread, so
  // that one that was late does not hold up the others.
  const int64_t tasks = std::min(count, threads * std::clamp<int64_t>(static_cast<int64_t>(all / (8.0 * kTaskWork)) / threads, 1, 4));
  parallel_for(tasks, [&](int64_t t, int) {
    const int64_t end = count * (t + 1) / tasks;
    for (int64_t i = count * t / tasks; i < end;) {
      const int64_t run = small ? std::min(end - i, batch.inner - i % batch.inner) : 1;
      if (small) small_products(by_tiles(nth(i)), {a.inner, b.inner, stride_c}, run);
      else one(i);
      i += run;
    }
  }, static_cast<int>(threads));
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

void bf16_gemm(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, float* c, const Batch& batch) {
  auto stored = [&](const Matrices& x, int64_t rows, int64_t cols) {
    const bool across = x.col != 1;
    return Stored{static_cast<const uint16_t*>(x.data), across ? cols : rows, across ? rows : cols, across ? x.col : x.row,
                  x.inner ? batch.inner : 1, x.inner};
  };
  const Stored left = stored(a, m, k), right = stored(b, k, n);
  if (suits_bf16_gemm(m, n, k) && exact_in_pairs(exponents_of(left), exponents_of(right)))
    return gemm(DType::BF16, m, n, k, a, b, c, n, false, batch, m * n);
  const int64_t of_left = left.lines() * left.cols, of_right = right.lines() * right.cols;
  CallMemory wide(static_cast<size_t>(of_left + of_right) * sizeof(float));
  float* const wide_a = reinterpret_cast<float*>(wide.data());
  auto widened = [&](const Stored& s, const Matrices& x, float* to) {
    widen(s, to);
    return Matrices{to, x.col == 1 ? s.cols : 1, x.col == 1 ? 1 : s.cols, 0, x.inner ? s.rows * s.cols : 0};
  };
  const Matrices of_a = widened(left, a, wide_a), of_b = widened(right, b, wide_a + of_left);
  gemm(DType::F32, m, n, k, of_a, of_b, c, n, false, batch, m * n);
}

}  // namespace pd
