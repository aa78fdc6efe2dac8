// Where the k largest or smallest elements along an axis are, in order. The order of (key, place) is total: equal
// elements go by their place, -0 equals 0, NaN is largest.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cpu/native_kernels.h"

namespace pd {
namespace cpu {

namespace {

// An unsigned number that is larger where an element comes earlier.
template <class T> struct KeyOf { using type = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>; };

template <class T>
typename KeyOf<T>::type key_of(T x, bool largest) {
  using Key = typename KeyOf<T>::type;
  constexpr Key high = Key(1) << (8 * sizeof(T) - 1);
  Key bits;
  if constexpr (std::is_floating_point<T>::value) {
    x += T(0);  // -0 becomes 0
    std::memcpy(&bits, &x, sizeof bits);
    bits = x != x ? ~Key(0) : bits & high ? ~bits : bits | high;
  } else {
    bits = static_cast<Key>(x) ^ (std::is_signed<T>::value ? high : 0);
  }
  return largest ? bits : ~bits;
}

constexpr int64_t kFew = 64;

// The best k of n, x[j * step] being element j; the places go to out[r * step].
template <class T>
void few(const T* x, int64_t* out, int64_t n, int64_t step, int64_t k, bool largest) {
  using Key = typename KeyOf<T>::type;
  Key best[kFew];
  int64_t at[kFew], count = 0;
  for (int64_t j = 0; j < n; ++j) {
    const Key key = key_of(x[j * step], largest);
    if (count == k && key <= best[k - 1]) continue;  // of equals the first stays
    int64_t r = count < k ? count++ : k - 1;
    for (; r > 0 && best[r - 1] < key; --r) best[r] = best[r - 1], at[r] = at[r - 1];
    best[r] = key, at[r] = j;
  }
  for (int64_t r = 0; r < k; ++r) out[r * step] = at[r];
}

template <class T>
void many(const T* x, int64_t* out, int64_t n, int64_t step, int64_t k, bool largest) {
  using Item = std::pair<typename KeyOf<T>::type, int64_t>;
  std::vector<Item> items(static_cast<size_t>(n));
  for (int64_t j = 0; j < n; ++j) items[static_cast<size_t>(j)] = {key_of(x[j * step], largest), j};
  auto earlier = [](const Item& a, const Item& b) { return a.first > b.first || (a.first == b.first && a.second < b.second); };
  if (k < n) std::nth_element(items.begin(), items.begin() + k, items.end(), earlier);
  std::sort(items.begin(), items.begin() + k, earlier);
  for (int64_t r = 0; r < k; ++r) out[r * step] = items[static_cast<size_t>(r)].second;
}

template <class T>
void topk(const NativeArgs& a) {
  const AxisView v(a.specs[0].shape, (*a.attrs)[0]);
  const int64_t k = (*a.attrs)[1];
  const bool largest = (*a.attrs)[2] != 0;
  const T* x = static_cast<const T*>(a.in[0]);
  int64_t* out = static_cast<int64_t*>(a.out);
  if (k == 0) return;
  for_ranges(v.outer * v.inner, v.outer * v.n * v.inner, [&](int64_t b, int64_t e) {
    for (; b < e; ++b) {
      const int64_t o = b / v.inner, i = b % v.inner;
      const T* from = x + o * v.n * v.inner + i;
      int64_t* to = out + o * k * v.inner + i;
      (k <= kFew ? few<T> : many<T>)(from, to, v.n, v.inner, k, largest);
    }
  });
}

}  // namespace

void topk(const NativeArgs& a, NativeError& error) {
  switch (a.specs[0].dtype) {
    case DType::I32: return topk<int32_t>(a);
    case DType::I64: return topk<int64_t>(a);
    case DType::U64: return topk<uint64_t>(a);
    case DType::F32: return topk<float>(a);
    case DType::F64: return topk<double>(a);
    default:
      error.text = std::string("[topk] no order for this dtype here; got ") + name_of(a.specs[0].dtype) +
                   "; try a cast to float32";
  }
}

}  // namespace cpu
}  // namespace pd
