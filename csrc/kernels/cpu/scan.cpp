// Running sums along an axis.
//
//   out[0] = x[0]; out[j] = out[j - 1] + x[j]      reverse: from the end
//
// float32 is summed in float64 and each output rounded once from that. float64 carries the rounding errors of its
// additions beside the sum (two-sum, Knuth, The Art of Computer Programming 2, 4.2.2), so that
//   |out[j] - exact| <= u |exact| + 2 (j u)^2 sum |x|,   u = 2^-53
// Integers wrap; a complex number is two floats on an axis of its own, innermost.
#include "kernels/cpu/native_kernels.h"

namespace pd {
namespace cpu {

namespace {

// N sums side by side, each part of their state in an array of its own, so that a loop over them uses vectors.
// The state starts at -0, the neutral element: -0 + -0 = -0, where 0 + -0 = 0.
template <int N>
struct WideSum {
  double s[N];
  WideSum() { std::fill(s, s + N, -0.0); }
  float add(int64_t i, float x) { return static_cast<float>(s[i] += x); }
};

template <int N>
struct CompensatedSum {
  double s[N], error[N] = {};
  CompensatedSum() { std::fill(s, s + N, -0.0); }
  double add(int64_t i, double x) {
    double t = s[i] + x, part = t - s[i];
    error[i] += (s[i] - (t - part)) + (x - part);
    s[i] = t;
    // An infinite or NaN sum has no error term (inf - inf), and an error of 0 would turn -0 into 0.
    bool plain = (t - t != 0) | (error[i] == 0);
    return t + (plain ? -0.0 : error[i]);
  }
};

template <class U>
struct Wrapping {
  template <int N>
  struct Sum {
    U s[N] = {};
    U add(int64_t i, U x) { return s[i] = static_cast<U>(s[i] + x); }
  };
};

constexpr int kTile = 128;

template <class T, template <int> class Sum>
void rows_scan(const T* x, T* out, int64_t n, int64_t b, int64_t e, bool reverse) {
  int64_t first = reverse ? n - 1 : 0, step = reverse ? -1 : 1;
  // Four rows at a time: one alone waits for each addition before the next.
  for (; b + 4 <= e; b += 4) {
    Sum<4> sum;
    const T* p = x + b * n + first;
    T* q = out + b * n + first;
    for (int64_t j = 0; j < n; ++j, p += step, q += step)
      for (int r = 0; r < 4; ++r) q[r * n] = sum.add(r, p[r * n]);
  }
  for (; b < e; ++b) {
    Sum<1> sum;
    const T* p = x + b * n + first;
    T* q = out + b * n + first;
    for (int64_t j = 0; j < n; ++j, p += step, q += step) *q = sum.add(0, *p);
  }
}

template <class T, template <int> class Sum>
void tile_scan(const T* x, T* out, int64_t n, int64_t inner, int64_t width, bool reverse) {
  Sum<kTile> sum;
  for (int64_t j = 0; j < n; ++j) {
    int64_t at = (reverse ? n - 1 - j : j) * inner;
    for (int64_t i = 0; i < width; ++i) out[at + i] = sum.add(i, x[at + i]);
  }
}

template <class T, template <int> class Sum>
void scan(const NativeArgs& a, AxisView v) {
  const T* x = static_cast<const T*>(a.in[0]);
  T* out = static_cast<T*>(a.out);
  bool reverse = (*a.attrs)[1] != 0;
  int64_t total = v.outer * v.n * v.inner;
  if (total == 0) return;
  if (v.inner == 1) {
    for_ranges(v.outer, total, [&](int64_t b, int64_t e) { rows_scan<T, Sum>(x, out, v.n, b, e, reverse); });
    return;
  }
  int64_t tiles = (v.inner + kTile - 1) / kTile;
  for_ranges(v.outer * tiles, total, [&](int64_t b, int64_t e) {
    for (; b < e; ++b) {
      int64_t i = b % tiles * kTile, at = b / tiles * v.n * v.inner + i;
      tile_scan<T, Sum>(x + at, out + at, v.n, v.inner, std::min<int64_t>(kTile, v.inner - i), reverse);
    }
  });
}

}  // namespace

void cumsum(const NativeArgs& a, NativeError& error) {
  DType t = a.out_spec->dtype;
  AxisView v(a.specs[0].shape, (*a.attrs)[0]);
  if (is_complex(t)) v.inner *= 2;
  switch (t) {
    case DType::F32:
    case DType::C64: return scan<float, WideSum>(a, v);
    case DType::F64:
    case DType::C128: return scan<double, CompensatedSum>(a, v);
    default: break;
  }
  if (is_integer(t)) switch (size_of(t)) {
      case 1: return scan<uint8_t, Wrapping<uint8_t>::Sum>(a, v);
      case 2: return scan<uint16_t, Wrapping<uint16_t>::Sum>(a, v);
      case 4: return scan<uint32_t, Wrapping<uint32_t>::Sum>(a, v);
      default: return scan<uint64_t, Wrapping<uint64_t>::Sum>(a, v);
    }
  error.text = std::string("[cumsum] no running sum for this dtype; got ") + name_of(t) + "; try a cast to float32";
}

}  // namespace cpu
}  // namespace pd
