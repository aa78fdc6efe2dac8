// Random products by tiles of small whole numbers, of which every order of additions gives the same: the operands lie in
// memory of exactly their extent, so a sanitizer sees any step beyond; gaps in it must be left alone.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "device/cpu/pool.h"
#include "kernels/cpu/tiles.h"

namespace {

std::mt19937_64 g_random;

int64_t draw(int64_t low, int64_t high) { return low + static_cast<int64_t>(g_random() % static_cast<uint64_t>(high - low + 1)); }

// Two axes of a matrix in memory: either one is the inner, the outer one's step leaves a gap or not, and an axis may be a
// list of places in any order, or of runs in any order.
struct Laid {
  pd::Places row, col;
  std::vector<int64_t> row_list, col_list;
  int64_t extent = 0;
};

void listed(pd::Places& p, std::vector<int64_t>& list, int64_t n) {
  for (int64_t i = 0; i < n; ++i) list.push_back(i * p.step);
  switch (draw(0, 2)) {
    case 0: break;
    case 1: std::shuffle(list.begin(), list.end(), g_random); break;
    case 2:  // runs that change places, as rows of an image are runs
      for (int64_t run = draw(2, 20), i = 0; i + 2 * run <= n; i += run)
        if (draw(0, 1)) std::swap_ranges(list.begin() + i, list.begin() + i + run, list.begin() + i + run);
  }
  p.list = list.data();
}

void lay(Laid& l, int64_t rows, int64_t cols) {
  const int64_t gap = draw(0, 2) ? 0 : draw(1, 20);
  if (draw(0, 2)) {
    l.row.step = cols + gap;
    l.col.step = 1;
  } else {
    l.row.step = 1;
    l.col.step = rows + gap;
  }
  l.extent = (rows - 1) * l.row.step + (cols - 1) * l.col.step + 1;
  if (draw(0, 3) == 0) listed(l.row, l.row_list, rows);
  if (draw(0, 3) == 0) listed(l.col, l.col_list, cols);
}

template <class T> bool one(pd::DType dtype, std::string& what) {
  const bool deep = draw(0, 9) == 0;
  const int64_t m = draw(1, deep ? 20 : 70), n = draw(1, deep ? 20 : 70), k = deep ? draw(180, 5000) : draw(1, 40);
  const bool accumulate = draw(0, 1);
  Laid la, lb, lc;
  lay(la, m, k), lay(lb, k, n), lay(lc, m, n);
  std::unique_ptr<T[]> a(new T[la.extent]), b(new T[lb.extent]), c(new T[lc.extent]), before(new T[lc.extent]);
  for (int64_t i = 0; i < la.extent; ++i) a[i] = static_cast<T>(draw(0, 3));
  for (int64_t i = 0; i < lb.extent; ++i) b[i] = static_cast<T>(draw(0, 3));
  for (int64_t i = 0; i < lc.extent; ++i) before[i] = c[i] = static_cast<T>(draw(0, 3));
  what = std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + (accumulate ? " onto C" : "");
  pd::tiled_product({dtype, m, n, k, a.get(), la.row, la.col, b.get(), lb.row, lb.col, c.get(), lc.row, lc.col, accumulate});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      T& was = before[lc.row[i] + lc.col[j]];
      T sum = accumulate ? was : T(0);
      for (int64_t p = 0; p < k; ++p) sum += a[la.row[i] + la.col[p]] * b[lb.row[p] + lb.col[j]];
      was = sum;
    }
  return std::memcmp(before.get(), c.get(), sizeof(T) * static_cast<size_t>(lc.extent)) == 0;  // what is between, too
}

// Of bfloat16, whose float32 result has no lists; n as the caller of tiled_product has to see to.
bool pairs(std::string& what) {
  const bool deep = draw(0, 9) == 0;
  const int64_t m = draw(1, deep ? 20 : 70), n = draw(16, 90), k = deep ? draw(180, 5000) : draw(1, 40);
  const bool accumulate = draw(0, 1);
  Laid la, lb;
  lay(la, m, k), lay(lb, k, n);
  const int64_t gap = draw(0, 1) ? 0 : draw(1, 20), extent = (m - 1) * (n + gap) + n;
  std::unique_ptr<uint16_t[]> a(new uint16_t[la.extent]), b(new uint16_t[lb.extent]);
  std::unique_ptr<float[]> c(new float[extent]), before(new float[extent]);
  static constexpr uint16_t kBits[4] = {0, 0x3f80, 0x4000, 0x4040};  // 0 to 3
  for (int64_t i = 0; i < la.extent; ++i) a[i] = kBits[draw(0, 3)];
  for (int64_t i = 0; i < lb.extent; ++i) b[i] = kBits[draw(0, 3)];
  auto value = [](uint16_t bits) { return static_cast<float>(std::find(kBits, kBits + 4, bits) - kBits); };
  for (int64_t i = 0; i < extent; ++i) before[i] = c[i] = static_cast<float>(draw(0, 3));
  what = std::to_string(m) + " x " + std::to_string(n) + " x " + std::to_string(k) + " of bfloat16" + (accumulate ? " onto C" : "");
  pd::tiled_product({pd::DType::BF16, m, n, k, a.get(), la.row, la.col, b.get(), lb.row, lb.col, c.get(), {n + gap, nullptr},
                     {1, nullptr}, accumulate});
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      float& was = before[i * (n + gap) + j];
      float sum = accumulate ? was : 0;
      for (int64_t p = 0; p < k; ++p) sum += value(a[la.row[i] + la.col[p]]) * value(b[lb.row[p] + lb.col[j]]);
      was = sum;
    }
  return std::memcmp(before.get(), c.get(), sizeof(float) * static_cast<size_t>(extent)) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t count = std::atoll(argv[1]);
  g_random.seed(argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0);
  pd::set_num_threads(2);
  for (int64_t i = 0; i < count; ++i) {
    std::string what;
    bool right = false;
    switch (i % 5) {
      case 0: right = one<float>(pd::DType::F32, what); break;
      case 1: right = one<double>(pd::DType::F64, what); break;
      case 2: right = one<int32_t>(pd::DType::I32, what); break;
      case 3: right = one<int64_t>(pd::DType::I64, what); break;
      case 4: right = !pd::multiplies_pairs() || pairs(what); break;
    }
    if (!right) {
      std::printf("product %lld is wrong: %s\n", static_cast<long long>(i), what.c_str());
      return 1;
    }
  }
  pd::shutdown_pool();
  std::printf("%lld products\n", static_cast<long long>(count));
}
