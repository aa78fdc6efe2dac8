// Measures the functions of csrc/ops/vmath against higher precision; test_vmath.py compiles and runs it.
//
//   driver f32 NAME START STRIDE     every STRIDE-th float bit pattern from START, oracle: double
//   driver f64 NAME COUNT            COUNT sampled doubles, oracle: long double
//   driver special NAME              special values in both types
//   driver checksum                 a hash of every function's results over a sample
//   driver philox                   the words for the known-answer inputs
//   driver moments                  means of x..x^4, minimum and maximum of uniform and normal draws
//
// A measurement prints: the greatest distance from the correctly rounded value in ulps (counting
// representable numbers), the greatest error in ulps of the exact value, and where the first is.
// A NaN, infinity or signed zero that should or should not be there counts as 1e9.
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "ops/vmath/vmath.h"

using pd::V;
namespace vm = pd::vm;

#define KERNEL1(T, f) \
  static void f##_##T(const T* __restrict a, const T*, T* __restrict o, int n) { \
    for (int i = 0; i < n; i++) o[i] = vm::f(V<T>(a[i])).v; }
#define KERNEL2(T, f) \
  static void f##_##T(const T* __restrict a, const T* __restrict b, T* __restrict o, int n) { \
    for (int i = 0; i < n; i++) o[i] = vm::f(V<T>(a[i]), V<T>(b[i])).v; }

// One kernel a line: the test looks for each line in the compiler's report of vectorised loops.
KERNEL1(float, exp)
KERNEL1(double, exp)
KERNEL1(float, exp2)
KERNEL1(double, exp2)
KERNEL1(float, expm1)
KERNEL1(double, expm1)
KERNEL1(float, log)
KERNEL1(double, log)
KERNEL1(float, log2)
KERNEL1(double, log2)
KERNEL1(float, log10)
KERNEL1(double, log10)
KERNEL1(float, log1p)
KERNEL1(double, log1p)
KERNEL1(float, rsqrt)
KERNEL1(double, rsqrt)
KERNEL1(float, tanh)
KERNEL1(double, tanh)
KERNEL1(float, sigmoid)
KERNEL1(double, sigmoid)
KERNEL1(float, erf)
KERNEL1(double, erf)
KERNEL1(float, erfc)
KERNEL1(double, erfc)
KERNEL1(float, sin)
KERNEL1(double, sin)
KERNEL1(float, cos)
KERNEL1(double, cos)
KERNEL1(float, tan)
KERNEL1(double, tan)
KERNEL1(float, sinh)
KERNEL1(double, sinh)
KERNEL1(float, cosh)
KERNEL1(double, cosh)
KERNEL1(float, asin)
KERNEL1(double, asin)
KERNEL1(float, acos)
KERNEL1(double, acos)
KERNEL1(float, atan)
KERNEL1(double, atan)
KERNEL2(float, pow)
KERNEL2(double, pow)
KERNEL2(float, atan2)
KERNEL2(double, atan2)
KERNEL1(float, asinh)
KERNEL1(double, asinh)
KERNEL1(float, acosh)
KERNEL1(double, acosh)
KERNEL1(float, atanh)
KERNEL1(double, atanh)
KERNEL1(float, silu)
KERNEL1(double, silu)
KERNEL1(float, sinc)
KERNEL1(double, sinc)
KERNEL1(float, gelu)
KERNEL1(double, gelu)
KERNEL1(float, ndtr)
KERNEL1(double, ndtr)
KERNEL1(float, ndtri)
KERNEL1(double, ndtri)
KERNEL1(float, log_ndtr)
KERNEL1(double, log_ndtr)
KERNEL1(float, erfcx)
KERNEL1(double, erfcx)
KERNEL1(float, erfinv)
KERNEL1(double, erfinv)
KERNEL1(float, i0)
KERNEL1(double, i0)
KERNEL1(float, i1)
KERNEL1(double, i1)
KERNEL1(float, i0e)
KERNEL1(double, i0e)
KERNEL1(float, i1e)
KERNEL1(double, i1e)
KERNEL1(float, lgamma)
KERNEL1(double, lgamma)
KERNEL1(float, digamma)
KERNEL1(double, digamma)
KERNEL2(float, hypot)
KERNEL2(double, hypot)
KERNEL2(float, logaddexp)
KERNEL2(double, logaddexp)
KERNEL2(float, logaddexp2)
KERNEL2(double, logaddexp2)

#define DRAW(name, T, f) \
  static void name(const int64_t* __restrict a, T* __restrict o, int n) { \
    for (int i = 0; i < n; i++) o[i] = vm::f(V<int64_t>(a[i]), V<int64_t>(3), V<int64_t>(17)).v; }
DRAW(uniform_float, float, uniform<V<float>>)
DRAW(uniform_double, double, uniform<V<double>>)
DRAW(normal_float, float, normal<V<float>>)
DRAW(normal_double, double, normal<V<double>>)

namespace {

#define ORACLE(name, d, l)                               \
  double name(double x, double y) { return (void)y, d; } \
  long double name(long double x, long double y) { return (void)y, l; }
#define ORACLE1(f) ORACLE(ref_##f, ::f(x), ::f##l(x))
#define ORACLE2(f) ORACLE(ref_##f, ::f(x, y), ::f##l(x, y))
ORACLE1(exp) ORACLE1(exp2) ORACLE1(expm1) ORACLE1(log) ORACLE1(log2) ORACLE1(log10) ORACLE1(log1p)
ORACLE1(tanh) ORACLE1(erf) ORACLE1(erfc) ORACLE1(sin) ORACLE1(cos) ORACLE1(tan) ORACLE1(sinh) ORACLE1(cosh)
ORACLE1(asin) ORACLE1(acos) ORACLE1(atan) ORACLE2(pow) ORACLE2(atan2) ORACLE1(asinh) ORACLE1(acosh) ORACLE1(atanh) ORACLE2(hypot)
ORACLE(ref_rsqrt, 1 / ::sqrt(x), 1 / ::sqrtl(x))
ORACLE(ref_sigmoid, 1 / (1 + ::exp(-x)), 1 / (1 + ::expl(-x)))

template <class T> using Kernel = void (*)(const T*, const T*, T*, int);
struct Function {
  const char* name;
  int arity;
  Kernel<float> f32;
  Kernel<double> f64;
  double (*ref_d)(double, double);
  long double (*ref_l)(long double, long double);
};
#define ROW(f, arity) {#f, arity, f##_float, f##_double, ref_##f, ref_##f},
const Function table[] = {
    ROW(exp, 1) ROW(exp2, 1) ROW(expm1, 1) ROW(log, 1) ROW(log2, 1) ROW(log10, 1) ROW(log1p, 1) ROW(rsqrt, 1)
    ROW(tanh, 1) ROW(sigmoid, 1) ROW(erf, 1) ROW(erfc, 1) ROW(sin, 1) ROW(cos, 1) ROW(tan, 1) ROW(sinh, 1)
    ROW(cosh, 1) ROW(asin, 1) ROW(acos, 1) ROW(atan, 1) ROW(pow, 2) ROW(atan2, 2) ROW(asinh, 1) ROW(acosh, 1)
    ROW(atanh, 1) ROW(hypot, 2)};
// Those that tests/accuracy.py alone measures: their bits and their loops.
#define MORE(f, arity) {#f, arity, f##_float, f##_double, nullptr, nullptr},
const Function more[] = {
    MORE(silu, 1) MORE(sinc, 1) MORE(gelu, 1) MORE(ndtr, 1) MORE(ndtri, 1) MORE(log_ndtr, 1) MORE(erfcx, 1) MORE(erfinv, 1)
    MORE(i0, 1) MORE(i1, 1) MORE(i0e, 1) MORE(i1e, 1) MORE(lgamma, 1) MORE(digamma, 1) MORE(logaddexp, 2)
    MORE(logaddexp2, 2)};

template <class T> T from_pattern(uint64_t u) {
  pd::int_of_t<T> i = static_cast<pd::int_of_t<T>>(u);
  T x;
  std::memcpy(&x, &i, sizeof x);
  return x;
}
// Consecutive numbers have consecutive places; both zeros have place 0.
template <class T> int64_t place(T x) {
  pd::int_of_t<T> i;
  std::memcpy(&i, &x, sizeof i);
  return i < 0 ? -static_cast<int64_t>(i & std::numeric_limits<pd::int_of_t<T>>::max()) : i;
}

struct Worst {
  double ulps = 0, error = 0, x = 0, y = 0;
  template <class T, class W> void add(T x_, T y_, T got, W exact) {
    T want = static_cast<T>(exact);
    double u, e = 0;
    if (std::isnan(want) || std::isnan(got)) u = std::isnan(want) && std::isnan(got) ? 0 : 1e9;
    else if (std::isinf(want) && std::isinf(got)) u = want == got ? 0 : 1e9;
    else if (want == 0 && got == 0) u = std::signbit(want) == std::signbit(got) ? 0 : 1e9;
    else {
      u = static_cast<double>(std::llabs(place(got) - place(want)));
      if (!std::isinf(got) && !std::isinf(want)) {
        int k = want == 0 ? -2000 : std::ilogb(want);
        int least = std::numeric_limits<T>::min_exponent - 1;
        k = (k < least ? least : k) - std::numeric_limits<T>::digits + 1;
        W d = (static_cast<W>(got) - exact) * static_cast<W>(std::ldexp(1.0L, -k));
        e = std::fabs(static_cast<double>(d));
      }
    }
    if (u > ulps) ulps = u, x = x_, y = y_;
    if (e > error) error = e;
  }
};

uint64_t random_state = 1;
uint64_t random_bits() {  // splitmix64 (Steele, Lea & Flood 2014)
  uint64_t z = random_state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
double unit() { return static_cast<double>(random_bits() >> 11) * 0x1p-53; }

// A third each: any bit pattern; any exponent from 2^-40 to 2^11; where the function is steep or ends.
template <class T> T sample(int i) {
  double sign = random_bits() & 1 ? -1 : 1;
  switch (i % 3) {
    case 0: return from_pattern<T>(random_bits());
    case 1: return static_cast<T>(sign * std::exp2(-40 + 51 * unit()));
    default: return static_cast<T>(sign * unit() * (i % 2 ? 2 : 40));
  }
}
template <class T> void sample_pair(const std::string& name, int i, T& x, T& y) {
  x = sample<T>(i);
  y = sample<T>(static_cast<int>(random_bits() % 3));
  const double top = sizeof(T) == 4 ? 150 : 1080;
  if (name != "pow") {
    if (i & 4) y = static_cast<T>(x * (0.25 + 3 * unit()));
  } else if (i & 4) {  // results all over the range
    x = i & 8 ? static_cast<T>(std::fabs(x)) : static_cast<T>(1 + (unit() - 0.5) * std::exp2(-30 * unit()));
    double l = std::log2(static_cast<double>(x));
    if (l != 0 && std::isfinite(l)) y = static_cast<T>((2 * unit() - 1) * top / l);
  } else if (i & 8) {
    y = static_cast<T>(std::rint(40 * (unit() - 0.5)));
  }
}

constexpr int block = 2048;

template <class T, class W>
void check_block(Kernel<T> f, W (*ref)(W, W), const T* a, const T* b, int n, Worst& w) {
  static T o[block];
  f(a, b, o, n);
  for (int i = 0; i < n; i++) w.add(a[i], b[i], o[i], ref(a[i], b[i]));
}

void print(const Worst& w) { std::printf("%.0f %.4f %.17g %.17g\n", w.ulps, w.error, w.x, w.y); }

void sweep_f32(const Function& f, uint64_t start, uint64_t stride) {
  static float a[block], b[block];
  Worst w;
  for (uint64_t u = start; u < (uint64_t{1} << 32);) {
    int n = 0;
    for (; n < block && u < (uint64_t{1} << 32); u += stride, n++) {
      a[n] = from_pattern<float>(u);
      if (f.arity == 2) sample_pair<float>(f.name, static_cast<int>(u / stride), a[n], b[n]);
    }
    check_block(f.f32, f.ref_d, a, b, n, w);
  }
  print(w);
}

template <class W> void sample_f64(const Function& f, W (*ref)(W, W), int64_t count) {
  static double a[block], b[block];
  Worst w;
  for (int64_t i = 0; i < count;) {
    int n = 0;
    for (; n < block && i < count; i++, n++) {
      if (f.arity == 2) sample_pair<double>(f.name, static_cast<int>(i), a[n], b[n]);
      else a[n] = sample<double>(static_cast<int>(i));
    }
    check_block(f.f64, ref, a, b, n, w);
  }
  print(w);
}

template <class T> std::vector<T> special_values() {
  using L = std::numeric_limits<T>;
  std::vector<T> v = {0, L::infinity(), L::quiet_NaN(), L::denorm_min(), 3 * L::denorm_min(), L::min(), L::max(),
                      L::epsilon(), 1, std::nextafter(T(1), T(0)), std::nextafter(T(1), T(2)), T(0.5), 2, 3, 4,
                      T(1.5), 1 / L::epsilon(), 1 / L::epsilon() + 1, 2 / L::epsilon(), T(1e30), T(88.7), T(89),
                      T(103.97), T(709.7), T(710.3), T(745.2), T(1074), T(149), 128, 1024, T(1.57079632679489662),
                      // hard cases of argument reduction (Muller et al., Handbook of Floating-Point Arithmetic)
                      T(6381956970095103) * T(sizeof(T) == 8 ? 0x1p797 : 0x1p70), T(16367173) * T(0x1p72)};
  size_t n = v.size();
  for (size_t i = 0; i < n; i++) v.push_back(-v[i]);
  return v;
}
template <class T, class W> void special(const Function& f, Kernel<T> kernel, W (*ref)(W, W)) {
  std::vector<T> v = special_values<T>(), a, b;
  for (T x : v)
    for (T y : v) {
      if (f.arity == 1 && b.size() >= v.size()) continue;
      a.push_back(f.arity == 1 ? v[a.size()] : x);
      b.push_back(y);
    }
  Worst w;
  for (size_t i = 0; i < a.size(); i += block)
    check_block(kernel, ref, &a[i], &b[i], static_cast<int>(a.size() - i < block ? a.size() - i : block), w);
  print(w);
}

void philox_words() {
  const uint64_t in[3][3] = {{0, 0, 0}, {~0ull, ~0ull, ~0ull},
                             {0x85a308d3243f6a88, 0x0370734413198a2e, 0x299f31d0a4093822}};
  for (auto& c : in) {
    auto p = vm::philox(V<int64_t>(static_cast<int64_t>(c[0])), V<int64_t>(static_cast<int64_t>(c[1])),
                        V<int64_t>(static_cast<int64_t>(c[2])));
    for (auto& w : p.w) std::printf("%08" PRIx64 " ", static_cast<uint64_t>(w.v));
    std::printf("\n");
  }
}

template <class T> void moments(void (*draw)(const int64_t*, T*, int)) {
  static int64_t index[block];
  static T o[block];
  const int blocks = 500;
  double s[5] = {}, low = 1e9, high = -1e9;
  for (int k = 0; k < blocks; k++) {
    for (int i = 0; i < block; i++) index[i] = int64_t{k} * block + i;
    draw(index, o, block);
    for (T x : o) {
      double p = 1;
      for (double& m : s) m += p, p *= x;
      low = x < low ? x : low, high = x > high ? x : high;
    }
  }
  std::printf("%.6f %.6f %.6f %.6f %.9g %.9g\n", s[1] / s[0], s[2] / s[0], s[3] / s[0], s[4] / s[0], low, high);
}

template <class T> uint64_t hash_results(Kernel<T> f, const std::string& name) {
  static T a[block], b[block], o[block];
  uint64_t h = 0;
  for (int k = 0; k < 20; k++) {
    for (int i = 0; i < block; i++) sample_pair<T>(name, i, a[i], b[i]);
    f(a, b, o, block);
    for (T x : o) {
      uint64_t u = 0;
      if (!std::isnan(x)) std::memcpy(&u, &x, sizeof x);
      h = (h ^ u) * 0x100000001b3;
      h ^= h >> 29;
    }
  }
  return h;
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "philox") return philox_words(), 0;
  if (mode == "moments") {
    moments(uniform_float), moments(uniform_double), moments(normal_float), moments(normal_double);
    return 0;
  }
  if (mode == "checksum") {
    auto hash = [](const Function& f) {
      std::printf("%s %" PRIx64 " %" PRIx64 "\n", f.name, hash_results(f.f32, f.name), hash_results(f.f64, f.name));
    };
    for (const Function& f : table) hash(f);
    for (const Function& f : more) hash(f);
    return 0;
  }
  for (const Function& f : table) {
    if (argc < 3 || std::string(argv[2]) != f.name) continue;
    long long p = argc > 3 ? std::atoll(argv[3]) : 0, q = argc > 4 ? std::atoll(argv[4]) : 1;
    if (mode == "f32") sweep_f32(f, static_cast<uint64_t>(p), static_cast<uint64_t>(q));
    else if (mode == "f64") sample_f64(f, f.ref_l, p);
    else if (mode == "special") special(f, f.f32, f.ref_d), special(f, f.f64, f.ref_l);
    else break;
    return 0;
  }
  std::fprintf(stderr, "usage: see the top of vmath_driver.cpp\n");
  return 2;
}
