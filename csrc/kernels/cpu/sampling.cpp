// Samplers, element by element, and the check of parameters.
#include <atomic>
#include <cmath>

#include "kernels/check_range.h"
#include "kernels/cpu/native_kernels.h"

namespace pd {
namespace cpu {

namespace {

using i64 = int64_t;
using u64 = uint64_t;
using f64 = double;

#define PD_DEVICE static inline
PD_DEVICE i64 pd_bits_of(f64 x) {
  i64 r;
  std::memcpy(&r, &x, sizeof r);
  return r;
}
PD_DEVICE f64 pd_of_bits(i64 x) {
  f64 r;
  std::memcpy(&r, &x, sizeof r);
  return r;
}
using std::floor;
using std::sqrt;
#define PD_SAMPLERS(...) __VA_ARGS__
#include "kernels/samplers.inc"
#undef PD_SAMPLERS
#undef PD_DEVICE

constexpr int64_t kWork = 100;  // a sample's work, in that of an ordinary element

// out[i] = f(draws, i)
template <class T, class F>
void sample(const NativeArgs& a, F f) {
  const int64_t n = numel(a.out_spec->shape), once = (*a.attrs)[0];
  const int64_t stream = *static_cast<const int64_t*>(a.in[a.nin - 2]), key = *static_cast<const int64_t*>(a.in[a.nin - 1]);
  T* out = static_cast<T*>(a.out);
  for_ranges(n, n * kWork, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      PdDraws draws = pd_draws(i % once, stream, key);
      out[i] = f(draws, i);
    }
  });
}

template <class T>
void check(const NativeArgs& a, NativeError& error) {
  const int64_t n = numel(a.out_spec->shape);
  const T* x = static_cast<const T*>(a.in[0]);
  const Range range(*a.attrs);
  std::atomic<int64_t> first{n};
  for_ranges(n, n, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      if (range.has(static_cast<double>(x[i]))) continue;
      int64_t seen = first.load();
      while (i < seen && !first.compare_exchange_weak(seen, i)) {}
      return;
    }
  });
  if (first < n) {
    error.kind = ErrorKind::Value;
    error.text = range_error(*a.attrs, pd_bits_of(static_cast<double>(x[first])));
    return;
  }
  copy_bytes(a.out, a.in[0], n * static_cast<int64_t>(sizeof(T)));
}

}  // namespace

void sample_log_gamma(const NativeArgs& a, NativeError&) {
  const f64* shape = static_cast<const f64*>(a.in[0]);
  sample<f64>(a, [&](PdDraws& d, int64_t i) { return pd_log_gamma_draw(shape[i], d); });
}

void sample_poisson(const NativeArgs& a, NativeError&) {
  const f64* rate = static_cast<const f64*>(a.in[0]);
  sample<f64>(a, [&](PdDraws& d, int64_t i) { return pd_poisson_draw(rate[i], d); });
}

void sample_binomial(const NativeArgs& a, NativeError&) {
  const f64 *count = static_cast<const f64*>(a.in[0]), *p = static_cast<const f64*>(a.in[1]);
  sample<f64>(a, [&](PdDraws& d, int64_t i) { return pd_binomial_draw(count[i], p[i], d); });
}

void sample_integer(const NativeArgs& a, NativeError&) {
  const i64* range = static_cast<const i64*>(a.in[0]);
  sample<i64>(a, [&](PdDraws& d, int64_t i) { return pd_integer_draw(range[i], d); });
}

void log_gamma_slope(const NativeArgs& a, NativeError&) {
  const f64 *shape = static_cast<const f64*>(a.in[0]), *y = static_cast<const f64*>(a.in[1]);
  f64* out = static_cast<f64*>(a.out);
  const int64_t n = numel(a.out_spec->shape);
  for_ranges(n, n * kWork, [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) out[i] = pd_log_gamma_slope(shape[i], y[i]);
  });
}

void check_range(const NativeArgs& a, NativeError& error) {
  if (a.specs[0].dtype == DType::F32) check<float>(a, error);
  else check<double>(a, error);
}

}  // namespace cpu
}  // namespace pd
