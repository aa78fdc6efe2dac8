// Checks of products on the CPU (kernels/cpu/gemm.h, tiles.h).
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "base/vec.h"
#include "device/cpu/pool.h"
#include "driver_checks.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/tiles.h"

struct Case {
  bool ta, tb;
  int64_t m, n, k;
  bool accumulate;
  int64_t pad = 0;  // added to the leading dimensions
  int64_t lda() const { return (ta ? m : k) + pad; }
  int64_t ldb() const { return (tb ? k : n) + pad; }
  int64_t ldc() const { return n + pad; }
  Matrices a(const void* at, int64_t next = 0) const { return {at, ta ? 1 : lda(), ta ? lda() : 1, 0, next}; }
  Matrices b(const void* at, int64_t next = 0) const { return {at, tb ? 1 : ldb(), tb ? ldb() : 1, 0, next}; }
  size_t size_a() const { return static_cast<size_t>((ta ? k : m) * lda() + 1); }
  size_t size_b() const { return static_cast<size_t>((tb ? n : k) * ldb() + 1); }
  size_t size_c() const { return static_cast<size_t>(m * ldc() + 1); }
};

template <class T>
std::vector<T> random_items(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<T> v(n);
  for (T& x : v) {
    if (std::is_floating_point<T>::value)
      x = static_cast<T>(static_cast<double>(random()) / 2147483648.0 - 1.0);
    else
      x = static_cast<T>(sizeof(T) == 1 ? (random() % 13 == 0) : random() * uint64_t(2654435761u));
  }
  return v;
}

template <class T>
void run(const Case& s, const std::vector<T>& a, const std::vector<T>& b, std::vector<T>& c) {
  gemm(dtype_of<T>::value, s.m, s.n, s.k, s.a(a.data()), s.b(b.data()), c.data(), s.ldc(), s.accumulate);
}

// Within (k + 2) eps sum |a||b| of the product in double (exact for integers); what lies between rows is untouched.
template <class T>
void check_case(const Case& s, bool all_threads = true) {
  auto a = random_items<T>(s.size_a(), 1), b = random_items<T>(s.size_b(), 2), c = random_items<T>(s.size_c(), 3);
  std::vector<T> start = c;
  if (!s.accumulate && std::is_floating_point<T>::value)
    for (int64_t i = 0; i < s.m; ++i)
      for (int64_t j = 0; j < s.n; ++j)
        c[static_cast<size_t>(i * s.ldc() + j)] = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> fresh = c;
  set_num_threads(1);
  run(s, a, b, c);
  if (all_threads)
    for (int threads : {2, 5}) {
      std::vector<T> again = fresh;
      set_num_threads(threads);
      run(s, a, b, again);
      CHECK(std::memcmp(again.data(), c.data(), c.size() * sizeof(T)) == 0);
    }
  int64_t rows_step = s.m * s.n * s.k > 3000000 ? 7 : 1;
  for (int64_t i = 0; i < s.m; i += rows_step)
    for (int64_t j = 0; j < s.ldc(); ++j) {
      size_t at = static_cast<size_t>(i * s.ldc() + j);
      if (j >= s.n) {
        CHECK(std::memcmp(&c[at], &start[at], sizeof(T)) == 0);
        continue;
      }
      double sum = 0, size = 0;
      uint64_t whole = 0;
      bool any = false;
      for (int64_t p = 0; p < s.k; ++p) {
        T x = a[static_cast<size_t>(s.ta ? p * s.lda() + i : i * s.lda() + p)];
        T y = b[static_cast<size_t>(s.tb ? j * s.ldb() + p : p * s.ldb() + j)];
        sum += static_cast<double>(x) * static_cast<double>(y);
        size += std::fabs(static_cast<double>(x) * static_cast<double>(y));
        whole += static_cast<uint64_t>(x) * static_cast<uint64_t>(y);
        any = any || (x && y);
      }
      if (s.accumulate) {
        sum += static_cast<double>(start[at]);
        size += std::fabs(static_cast<double>(start[at]));
        whole += static_cast<uint64_t>(start[at]);
        any = any || start[at];
      }
      bool good = std::is_floating_point<T>::value
                      ? std::fabs(static_cast<double>(c[at]) - sum) <=
                            static_cast<double>(s.k + 2) * static_cast<double>(std::numeric_limits<T>::epsilon()) * size
                      : sizeof(T) == 1 ? c[at] == static_cast<T>(any) : c[at] == static_cast<T>(whole);
      if (!good)
        std::printf("%d%d m=%ld n=%ld k=%ld acc=%d at (%ld, %ld): %.9g, not %.9g\n", s.ta, s.tb, long(s.m), long(s.n),
                    long(s.k), s.accumulate, long(i), long(j), static_cast<double>(c[at]), sum);
      CHECK(good);
    }
}

const int64_t kShapes[][3] = {{1, 1, 1},     {1, 1, 300},   {3, 2, 5},     {1, 70, 40},    {70, 1, 40},  {6, 32, 9},
                              {7, 33, 10},   {13, 65, 31},  {17, 100, 3},  {64, 64, 64},   {128, 10, 128}, {4, 256, 16},
                              {5, 7, 2000},  {130, 70, 300}, {257, 129, 65}, {128, 300, 100}, {1, 700, 500}, {900, 1, 400}};

template <class T>
void check_type() {
  for (auto& s : kShapes)
    for (int bits = 0; bits < 8; ++bits)
      check_case<T>({(bits & 1) != 0, (bits & 2) != 0, s[0], s[1], s[2], (bits & 4) != 0, bits % 3 == 0 ? 5 : 0},
                    bits % 4 == 0);
  for (auto& s : {Case{false, false, 3, 4, 0, false}, Case{false, false, 3, 4, 0, true, 2}, Case{true, true, 0, 4, 3, false},
                  Case{false, true, 4, 0, 3, false}})
    check_case<T>(s);
}

void gemm_float32() { check_type<float>(); }
void gemm_float64() { check_type<double>(); }
void gemm_integers() {
  check_type<int32_t>();
  check_type<int64_t>();
  check_type<uint8_t>();
  char c[1];
  CHECK(has(error_of([&] { gemm(DType::I8, 1, 1, 1, {c, 1, 1}, {c, 1, 1}, c, 1, false); }, ErrorKind::Type), "int8"));
}

// A row stride of 0 repeats one row; BLAS does not know it.
void gemm_broadcast_rows() {
  auto a = random_items<float>(40, 1), b = random_items<float>(40 * 30, 2);
  std::vector<float> one(30), all(20 * 30), rows;
  for (int i = 0; i < 20; ++i) rows.insert(rows.end(), a.begin(), a.end());
  gemm(DType::F32, 20, 30, 40, {a.data(), 0, 1}, {b.data(), 30, 1}, all.data(), 30, false);
  for (int i = 0; i < 20; ++i)
    for (int j = 0; j < 30; ++j) {
      double sum = 0, size = 0;
      for (int p = 0; p < 40; ++p) sum += double(a[p]) * b[p * 30 + j], size += std::fabs(double(a[p]) * b[p * 30 + j]);
      CHECK(std::fabs(all[i * 30 + j] - sum) <= 42 * 1.2e-7 * size);
    }
}

// Same bits for 1, 2 and 5 threads, for memory at other addresses, and while other threads multiply too.
template <class T>
void bits_of(int64_t m, int64_t n, int64_t k) {
  const DType dt = dtype_of<T>::value;
  for (int bits = 0; bits < 4; ++bits) {
    Case s{(bits & 1) != 0, (bits & 2) != 0, m, n, k, false};
    auto a = random_items<T>(s.size_a(), 1), b = random_items<T>(s.size_b(), 2);
    std::vector<T> want(s.size_c());
    set_num_threads(1);
    run(s, a, b, want);
    std::vector<T> a1(a.size() + 3), b1(b.size() + 1), got(want.size() + 1);
    std::copy(a.begin(), a.end(), a1.begin() + 3);
    std::copy(b.begin(), b.end(), b1.begin() + 1);
    for (int threads : {1, 2, 5})
      for (int r = 0; r < 3; ++r) {
        set_num_threads(threads);
        std::fill(got.begin(), got.end(), T(-1));
        gemm(dt, m, n, k, s.a(a1.data() + 3), s.b(b1.data() + 1), got.data() + 1, s.ldc(), false);
        CHECK(std::memcmp(got.data() + 1, want.data(), sizeof(T) * static_cast<size_t>(m * n)) == 0);
      }
    std::vector<std::thread> others;
    std::atomic<bool> good{true};
    for (int t = 0; t < 3; ++t)
      others.emplace_back([&] {
        std::vector<T> mine(want.size());
        for (int r = 0; r < 3; ++r) {
          run(s, a, b, mine);
          if (std::memcmp(mine.data(), want.data(), sizeof(T) * static_cast<size_t>(m * n)) != 0) good = false;
        }
      });
    for (std::thread& t : others) t.join();
    CHECK(good);
  }
}

void gemm_bits() {
  for (auto& s : {Ints{128, 512, 784}, Ints{512, 130, 257}, Ints{1, 2000, 700}, Ints{2000, 1, 700}, Ints{33, 17, 90},
                  Ints{1000, 40, 64}}) {
    bits_of<float>(s[0], s[1], s[2]);
    bits_of<double>(s[0], s[1], s[2]);
  }
}

void gemm_batched() {
  for (auto& s : {Ints{5, 6, 7, 50}, Ints{32, 32, 32, 100}, Ints{130, 140, 150, 3}, Ints{1, 64, 64, 9}, Ints{4, 4, 0, 3}})
    for (int bits = 0; bits < 16; ++bits) {
      Case x{(bits & 1) != 0, (bits & 2) != 0, s[0], s[1], s[2], false};
      int64_t batch = s[3], stride_a = bits & 4 ? 0 : static_cast<int64_t>(x.size_a()),
              stride_b = bits & 8 ? 0 : static_cast<int64_t>(x.size_b()), stride_c = static_cast<int64_t>(x.size_c());
      auto a = random_items<float>(x.size_a() * static_cast<size_t>(batch), 1);
      auto b = random_items<float>(x.size_b() * static_cast<size_t>(batch), 2);
      std::vector<float> want(x.size_c() * static_cast<size_t>(batch), 9.f), got = want;
      set_num_threads(1);
      for (int64_t i = 0; i < batch; ++i)
        gemm(DType::F32, x.m, x.n, x.k, x.a(a.data() + i * stride_a), x.b(b.data() + i * stride_b), want.data() + i * stride_c,
             x.ldc(), false);
      for (int threads : {1, 2, 5}) {
        set_num_threads(threads);
        std::fill(got.begin(), got.end(), 9.f);
        gemm(DType::F32, x.m, x.n, x.k, x.a(a.data(), stride_a), x.b(b.data(), stride_b), got.data(), x.ldc(), false, {1, batch},
             stride_c);
        CHECK(std::memcmp(got.data(), want.data(), want.size() * sizeof(float)) == 0);
      }
    }
}

// Operands of any strides, 0 and backwards among them, and a batch of two axes: the bits of the same product of copies. Shapes
// for the small products, the tiles, and BLAS's vectors.
template <class T>
void of_strides(int64_t m, int64_t n, int64_t k, int64_t outer, int64_t inner) {
  struct Layout {
    int64_t row, col, outer, inner;  // in places of the least that tells all elements apart; negative: from the end
  };
  auto lay = [&](int64_t rows, int64_t cols, int kind) -> Layout {
    switch (kind) {
      case 0: return {inner * cols, inner, inner * rows * cols, 1};      // the batch's last axis runs fastest
      case 1: return {1, rows, 0, rows * cols};                          // columns one behind the other; shared by the outer axis
      case 2: return {-cols, -1, inner * rows * cols, rows * cols};      // backwards
      case 3: return {0, 1, cols, outer * cols};                         // one row for all
      case 4: return {1, 0, inner * rows, rows};                         // one column for all
      case 5: return {outer * cols + 3, 1, cols, rows * (outer * cols + 3)};
      default: return {2 * cols + 1, 2, 0, 0};
    }
  };
  const DType dt = dtype_of<T>::value;
  auto stored = random_items<T>(static_cast<size_t>(outer * inner * (2 * std::max(m, n) + 8) * (2 * k + 8)), 5);
  auto begin = [&](const Layout& l, int64_t rows, int64_t cols) {
    return stored.data() - std::min<int64_t>(l.row, 0) * (rows - 1) - std::min<int64_t>(l.col, 0) * (cols - 1);
  };
  auto copy = [&](const T* from, const Layout& l, int64_t rows, int64_t cols) {
    std::vector<T> to;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j) to.push_back(from[i * l.row + j * l.col]);
    return to;
  };
  std::vector<T> want(static_cast<size_t>(outer * inner * m * n)), got = want;
  for (int of_a = 0; of_a < 7; ++of_a)
    for (int of_b = 0; of_b < 7; ++of_b) {
      const Layout la = lay(m, k, of_a), lb = lay(k, n, of_b);
      const T *a = begin(la, m, k), *b = begin(lb, k, n);
      for (int64_t p = 0; p < outer; ++p)
        for (int64_t q = 0; q < inner; ++q) {
          const std::vector<T> one_a = copy(a + p * la.outer + q * la.inner, la, m, k), one_b = copy(b + p * lb.outer + q * lb.inner, lb, k, n);
          gemm(dt, m, n, k, {one_a.data(), k, 1}, {one_b.data(), n, 1}, want.data() + (p * inner + q) * m * n, n, false);
        }
      for (int threads : {1, 3}) {
        set_num_threads(threads);
        std::fill(got.begin(), got.end(), T(9));
        gemm(dt, m, n, k, {a, la.row, la.col, la.outer, la.inner}, {b, lb.row, lb.col, lb.outer, lb.inner}, got.data(), n, false,
             {outer, inner}, m * n);
        CHECK(std::memcmp(got.data(), want.data(), got.size() * sizeof(T)) == 0);
      }
    }
}

void gemm_strides() {
  for (auto& s : {Ints{4, 3, 3, 5, 7}, Ints{1, 3, 4, 26, 60}, Ints{3, 1, 4, 40, 30}, Ints{33, 20, 40, 3, 2}, Ints{20, 70, 200, 2, 2},
                  Ints{1, 600, 700, 2, 1}, Ints{600, 1, 700, 1, 2}, Ints{1, 1, 300000, 1, 1}}) {
    of_strides<float>(s[0], s[1], s[2], s[3], s[4]);
    of_strides<double>(s[0], s[1], s[2], s[3], s[4]);
    of_strides<int64_t>(s[0], s[1], s[2], s[3], s[4]);
  }
}

// Operands and results whose elements lie where lists say, in runs of every length that is packed in its own way, against
// the same product of copies; more rows than columns and fewer; k long enough to be cut.
template <class T>
void by_lists(int64_t m, int64_t n, int64_t k, int64_t run_n, int64_t run_k) {
  auto list = [](int64_t count, int64_t run, int64_t lead) {
    std::vector<int64_t> at;
    for (int64_t i = 0; i < count; ++i) at.push_back(i / run * lead + i % run);
    return at;
  };
  const auto rows = list(m, 3, 5), col = list(n, run_n, run_n + 2), deep = list(k, run_k, run_k + 1);
  const int64_t lead_k = deep.back() + 4, lead_n = col.back() + 3;
  auto a = random_items<T>(static_cast<size_t>((rows.back() + 1) * lead_k), 1);
  auto b = random_items<T>(static_cast<size_t>((deep.back() + 1) * lead_n), 2);
  std::vector<int64_t> a_row, b_deep, c_row;
  for (int64_t r : rows) a_row.push_back(r * lead_k);
  for (int64_t r : deep) b_deep.push_back(r * lead_n);
  for (int64_t r : rows) c_row.push_back(r * lead_n);
  std::vector<T> pa, pb;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t p = 0; p < k; ++p) pa.push_back(a[static_cast<size_t>(a_row[i] + deep[p])]);
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) pb.push_back(b[static_cast<size_t>(b_deep[p] + col[j])]);
  std::vector<T> want(static_cast<size_t>(m * n)), c(static_cast<size_t>((rows.back() + 1) * lead_n), T(7));
  gemm(dtype_of<T>::value, m, n, k, {pa.data(), k, 1}, {pb.data(), n, 1}, want.data(), n, false);
  const std::vector<T> before = c;
  for (int threads : {1, 3}) {
    set_num_threads(threads);
    c = before;
    tiled_product({dtype_of<T>::value, m, n, k, a.data(), {1, a_row.data()}, {1, deep.data()}, b.data(), {1, b_deep.data()},
                   {1, col.data()}, c.data(), {1, c_row.data()}, {1, col.data()}, false});
    std::vector<T> left = before;
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) left[static_cast<size_t>(c_row[i] + col[j])] = want[static_cast<size_t>(i * n + j)];
    CHECK(std::memcmp(c.data(), left.data(), c.size() * sizeof(T)) == 0);
  }
}

void tiles_of_lists() {
  for (auto& s : {Ints{32, 64, 27, 32, 9}, Ints{64, 256, 288, 16, 9}, Ints{13, 100, 70, 8, 8}, Ints{5, 37, 33, 4, 16}, Ints{40, 96, 200, 1, 8},
                  Ints{30, 64, 129, 7, 3}, Ints{200, 3, 50, 3, 50}, Ints{16, 27, 9000, 3, 1024}, Ints{3, 300, 4500, 5, 12}}) {
    by_lists<float>(s[0], s[1], s[2], s[3], s[4]);
    by_lists<double>(s[0], s[1], s[2], s[3], s[4]);
    by_lists<int32_t>(s[0], s[1], s[2], s[3], s[4]);
  }
}
