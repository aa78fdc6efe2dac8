// What the functions of tests/accuracy.py are, to far more digits than what is measured has: in __float128 for float64,
// in double for float32. accuracy.py compiles this into a library and calls it with arrays; it also compares it with
// mpmath. A formula here is chosen for plainness and for having no cancellation, not for speed.
#include <quadmath.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace {

using quad = __float128;

#define ONE(f)                              \
  inline double m_##f(double x) { return ::f(x); } \
  inline quad m_##f(quad x) { return ::f##q(x); }
ONE(exp) ONE(exp2) ONE(expm1) ONE(log) ONE(log2) ONE(log10) ONE(log1p) ONE(sqrt) ONE(sin) ONE(cos) ONE(tan)
ONE(sinh) ONE(cosh) ONE(tanh) ONE(asin) ONE(acos) ONE(atan) ONE(asinh) ONE(acosh) ONE(atanh) ONE(erf) ONE(erfc)
ONE(lgamma) ONE(fabs) ONE(floor) ONE(rint) ONE(j0) ONE(j1) ONE(y0) ONE(y1)
#undef ONE
#define TWO(f)                                                   \
  inline double m_##f(double x, double y) { return ::f(x, y); } \
  inline quad m_##f(quad x, quad y) { return ::f##q(x, y); }
TWO(pow) TWO(atan2) TWO(hypot) TWO(fmod)
#undef TWO
inline bool nan_of(double x) { return x != x; }
inline bool nan_of(quad x) { return x != x; }
inline bool inf_of(double x) { return std::isinf(x); }
inline bool inf_of(quad x) { return isinfq(x); }
inline bool sign_of(double x) { return std::signbit(x); }
inline bool sign_of(quad x) { return signbitq(x); }
inline int ilogb_of(double x) { return std::ilogb(x); }
inline int ilogb_of(quad x) { return ilogbq(x); }
inline double scale_of(double x, int k) { return std::ldexp(x, k); }
inline quad scale_of(quad x, int k) { return scalbnq(x, k); }

template <class W> const W inf = std::numeric_limits<double>::infinity();
template <class W> const W nan_ = std::numeric_limits<double>::quiet_NaN();
template <class W> const W pi = static_cast<W>(M_PIq);
template <class W> const W digits = sizeof(W) == 16 ? W(1e-36Q) : W(1e-19);  // where a series may end

// ---- elementary

template <class W> W ref_rsqrt(W x) { return 1 / m_sqrt(x); }
template <class W> W ref_sigmoid(W x) {
  W t = m_exp(-m_fabs(x));
  return (sign_of(x) ? t : W(1)) / (1 + t);
}
template <class W> W ref_logaddexp(W a, W b) {
  if (nan_of(a) || nan_of(b)) return nan_<W>;
  W top = a > b ? a : b, low = a > b ? b : a;
  return inf_of(top) || inf_of(low) ? top + 0 : top + m_log1p(m_exp(low - top));
}
template <class W> W ref_logaddexp2(W a, W b) {
  if (nan_of(a) || nan_of(b)) return nan_<W>;
  W top = a > b ? a : b, low = a > b ? b : a;
  return inf_of(top) || inf_of(low) ? top + 0 : top + m_log1p(m_exp2(low - top)) / m_log(W(2));
}
template <class W> W ref_xlogy(W x, W y) { return x == 0 && !nan_of(y) ? W(0) : x * m_log(y); }
template <class W> W ref_xlog1py(W x, W y) { return x == 0 && !nan_of(y) ? W(0) : x * m_log1p(y); }
template <class W> W sin_pi(W x) {
  W r = m_fmod(x, W(2));
  if (r > 1) r -= 2;
  if (r < -1) r += 2;
  if (r > W(0.5)) r = 1 - r;
  if (r < W(-0.5)) r = -1 - r;
  return m_sin(pi<W> * r);
}
template <class W> W ref_sinc(W x) { return x == 0 ? W(1) : inf_of(x) ? nan_<W> : sin_pi(m_fabs(x)) / (pi<W> * m_fabs(x)); }
template <class W> W ref_spherical_bessel_j0(W x) { return x == 0 ? W(1) : inf_of(x) ? W(0) : m_sin(x) / x; }
template <class W> W ref_logit(W p) {
  if (p <= W(0.25) || p >= W(0.75) || nan_of(p)) return m_log(p) - m_log1p(-p);
  return m_log1p((2 * p - 1) / (1 - p));
}
template <class W> W ref_deg2rad(W x) { return x * (pi<W> / 180); }
template <class W> W ref_rad2deg(W x) { return x * (180 / pi<W>); }

// ---- activations

template <class W> W ref_softplus(W x) { return x > 20 ? x : m_log1p(m_exp(x)); }  // with PyTorch's threshold
template <class W> W ref_logsigmoid(W x) { return x < 0 ? x - m_log1p(m_exp(x)) : -m_log1p(m_exp(-x)); }
template <class W> W ref_silu(W x) { return x == -inf<W> ? nan_<W> : x * ref_sigmoid(x); }
template <class W> W ref_mish(W x) {
  if (x == -inf<W>) return nan_<W>;
  W t = m_exp(-m_fabs(x));
  return x > 0 ? x * ((1 + 2 * t) / (1 + 2 * t + 2 * t * t)) : x * (t * (t + 2) / (t * (t + 2) + 2));
}
template <class W> W ref_elu(W x) { return x > 0 ? x : m_expm1(x); }
template <class W> W ref_selu(W x) {
  return W(1.0507009873554804934193349852946Q) * (x > 0 ? x : W(1.6732632423543772848170429916717Q) * m_expm1(x));
}
template <class W> W ref_softsign(W x) { return inf_of(x) ? nan_<W> : x / (1 + m_fabs(x)); }
template <class W> W ref_tanhshrink(W x) { return x - m_tanh(x); }

// ---- the normal distribution

template <class W> W half_root() { return m_sqrt(W(0.5)); }
template <class W> W ref_ndtr(W x) { return m_erfc(-x * half_root<W>()) / 2; }
template <class W> W ref_gelu(W x) { return x == -inf<W> ? nan_<W> : x * ref_ndtr(x); }
// sqrt(pi) x exp(x^2) erfc(x) - 1 for large x (Abramowitz and Stegun 7.1.23).
template <class W> W erfcx_rest(W x) {
  W term = 1, sum = 0, z = 2 * x * x;
  for (int k = 1; k < 80; k++) {
    W next = -term * (2 * k - 1) / z;
    if (m_fabs(next) >= m_fabs(term)) break;
    sum += term = next;
    if (m_fabs(term) < digits<W>) break;
  }
  return sum;
}
template <class W> W ref_erfcx(W x) {
  if (x > 14) return (1 + erfcx_rest(x)) / (x * m_sqrt(pi<W>));
  return m_exp(x * x) * m_erfc(x);
}
template <class W> W ref_log_ndtr(W x) {
  if (x > -1) return m_log1p(-ref_ndtr(-x));
  if (x > -20 || nan_of(x)) return m_log(ref_ndtr(x));
  return -x * x / 2 - m_log(-x * m_sqrt(2 * pi<W>)) + m_log1p(erfcx_rest(-x * half_root<W>()));
}
// The x >= 0 with erfc(x) = q, 0 < q <= 1, by Halley's method.
template <class W> W erfc_inverse(W q) {
  W l = -m_log(q);
  W x = q > W(0.1) ? (1 - q) * W(0.8862) : m_sqrt(l - m_log(m_sqrt(pi<W> * l)) );
  for (int k = 0; k < 12; k++) {
    W slope = -2 / m_sqrt(pi<W>) * m_exp(-x * x);
    W u = (m_erfc(x) - q) / slope;
    W step = u / (1 + x * u);
    x -= step;
    if (m_fabs(step) < m_fabs(x) * (sizeof(W) == 16 ? W(1e-22) : W(1e-13))) break;
  }
  return x;
}
template <class W> W ref_erfinv(W y) {
  W a = m_fabs(y);
  if (nan_of(y) || a > 1) return nan_<W>;
  if (a == 1) return y * inf<W>;
  W x;
  if (a > W(0.25)) {
    x = erfc_inverse(1 - a);
  } else {
    x = a * W(0.886);
    for (int k = 0; k < 8 && a > 0; k++) {
      W u = (m_erf(x) - a) * m_exp(x * x) * m_sqrt(pi<W>) / 2;
      x -= u / (1 + x * u);
      if (m_fabs(u) < x * (sizeof(W) == 16 ? W(1e-22) : W(1e-13))) break;
    }
  }
  return sign_of(y) ? -x : x;
}
template <class W> W ref_ndtri(W p) {
  if (nan_of(p) || p < 0 || p > 1) return nan_<W>;
  if (p == 0 || p == 1) return p == 0 ? -inf<W> : inf<W>;
  if (p > W(0.375) && p < W(0.625)) return 2 * half_root<W>() * ref_erfinv(2 * p - 1);
  return 2 * half_root<W>() * (p < W(0.5) ? -erfc_inverse(2 * p) : erfc_inverse(2 * (1 - p)));
}
template <class W> W ref_entr(W x) { return x == 0 ? W(0) : x < 0 ? -inf<W> : -x * m_log(x); }

// ---- the gamma function

// log|Γ(x)|; near a negative zero its relative error is large, which the table's measure allows for.
template <class W> W ref_lgamma(W x) { return x == -inf<W> ? inf<W> : m_lgamma(x); }

const double bernoulli[][2] = {{1, 6}, {-1, 30}, {1, 42}, {-1, 30}, {5, 66}, {-691, 2730}, {7, 6}, {-3617, 510},
                               {43867, 798}, {-174611, 330}, {854513, 138}, {-236364091, 2730}, {8553103, 6}};

// Recurrence to 40 and beyond, then the asymptotic series (Abramowitz and Stegun 6.3.18).
template <class W> W digamma_positive(W x) {
  W shift = 0;
  for (; x < 40; x += 1) shift += 1 / x;
  W z = 1 / (x * x), p = z, sum = 0;
  for (int k = 1; k <= 13; k++, p *= z) sum += p * W(bernoulli[k - 1][0]) / W(bernoulli[k - 1][1]) / (2 * k);
  return m_log(x) - 1 / (2 * x) - sum - shift;
}
template <class W> W ref_digamma(W x) {
  if (x == 0) return sign_of(x) ? inf<W> : -inf<W>;
  if (x > 0 || nan_of(x)) return digamma_positive(x);
  W r = x - m_rint(x);
  if (inf_of(x) || r == 0) return nan_<W>;
  return digamma_positive(1 - x) - pi<W> / m_tan(pi<W> * r);
}
// ---- Bessel functions

// exp(-x) I_n(x), x >= 0: the series of positive terms, or for large x the asymptotic one (9.6.10, 9.7.1).
template <class W> W bessel_i_scaled(int n, W x) {
  if (x < 45) {
    W z = x * x / 4, term = n ? x / 2 : W(1), sum = term;
    for (int k = 1; k < 400 && term > sum * digits<W>; k++) sum += term *= z / (W(k) * (k + n));
    return m_exp(-x) * sum;
  }
  if (inf_of(x)) return 0;
  W term = 1, sum = 1;
  for (int k = 1; k < 100; k++) {
    W next = -term * (4 * n * n - (2 * k - 1) * (2 * k - 1)) / (8 * W(k) * x);
    if (m_fabs(next) >= m_fabs(term)) break;
    sum += term = next;
    if (m_fabs(term) < digits<W>) break;
  }
  return sum / m_sqrt(2 * pi<W> * x);
}
template <class W> W ref_i0e(W x) { return nan_of(x) ? x : bessel_i_scaled(0, m_fabs(x)); }
template <class W> W ref_i1e(W x) {
  W y = nan_of(x) ? x : bessel_i_scaled(1, m_fabs(x));
  return sign_of(x) ? -y : y;
}
template <class W> W ref_i0(W x) { return inf_of(x) ? inf<W> : ref_i0e(x) * m_exp(m_fabs(x)); }
template <class W> W ref_i1(W x) { return inf_of(x) ? x : ref_i1e(x) * m_exp(m_fabs(x)); }

// exp(x) K_n(x): the integral of exp(-x (cosh t - 1)) cosh nt over t >= 0 by the trapezoidal rule, which converges
// faster than any power of the step; below 1e-12 two terms of the series (9.6.8, 9.6.9).
template <class W> W bessel_k_scaled(int n, W x) {
  if (nan_of(x) || x < 0) return nan_<W>;
  if (x == 0) return inf<W>;
  if (inf_of(x)) return 0;
  if (x < W(1e-12)) return m_exp(x) * (n ? 1 / x : -m_log(x / 2) - W(0.577215664901532860606512090082402431Q));
  const W step = W(1) / 24;
  W scale = m_sqrt(x) < 8 ? W(1) : 8 / m_sqrt(x);  // the integrand is as wide as 1 / sqrt(x)
  W h = step * scale, sum = W(0.5);
  for (int k = 1; k < 4000; k++) {
    W s = m_sinh(k * h / 2), term = m_exp(-2 * x * s * s) * (n ? m_cosh(k * h) : W(1));
    sum += term;
    if (term < sum * digits<W>) break;
  }
  return sum * h;
}
template <class W> W ref_k0e(W x) { return bessel_k_scaled(0, x); }
template <class W> W ref_k1e(W x) { return bessel_k_scaled(1, x); }
template <class W> W ref_k0(W x) { return inf_of(x) ? ref_k0e(x) : m_exp(-x) * ref_k0e(x); }
template <class W> W ref_k1(W x) { return inf_of(x) ? ref_k1e(x) : m_exp(-x) * ref_k1e(x); }

// ---- the table

struct Row {
  const char* name;
  double (*narrow)(double, double);
  quad (*wide)(quad, quad);
};
#define LIB1(f) {#f, [](double x, double) { return m_##f(x); }, [](quad x, quad) { return m_##f(x); }},
#define LIB2(f) {#f, [](double x, double y) { return m_##f(x, y); }, [](quad x, quad y) { return m_##f(x, y); }},
#define REF1(f) {#f, [](double x, double) { return ref_##f(x); }, [](quad x, quad) { return ref_##f(x); }},
#define REF2(f) {#f, [](double x, double y) { return ref_##f(x, y); }, [](quad x, quad y) { return ref_##f(x, y); }},
const Row table[] = {
    LIB1(exp) LIB1(exp2) LIB1(expm1) LIB1(log) LIB1(log2) LIB1(log10) LIB1(log1p) LIB1(sqrt) LIB1(sin)
    LIB1(cos) LIB1(tan) LIB1(sinh) LIB1(cosh) LIB1(tanh) LIB1(asin) LIB1(acos) LIB1(atan) LIB1(asinh) LIB1(acosh)
    LIB1(atanh) LIB1(erf) LIB1(erfc) LIB2(pow) LIB2(atan2) LIB2(hypot) LIB1(j0) LIB1(j1) LIB1(y0) LIB1(y1)
    REF1(rsqrt) REF1(sigmoid) REF2(logaddexp) REF2(logaddexp2) REF2(xlogy) REF2(xlog1py) REF1(sinc)
    REF1(spherical_bessel_j0) REF1(logit) REF1(deg2rad) REF1(rad2deg) REF1(softplus) REF1(logsigmoid) REF1(silu)
    REF1(mish) REF1(elu) REF1(selu) REF1(softsign) REF1(tanhshrink) REF1(ndtr) REF1(gelu) REF1(erfcx) REF1(log_ndtr)
    REF1(erfinv) REF1(ndtri) REF1(entr) REF1(lgamma) REF1(digamma) REF1(i0) REF1(i1) REF1(i0e)
    REF1(i1e) REF1(k0) REF1(k1) REF1(k0e) REF1(k1e)};

// |got - exact| in ulps of the larger of |exact| and `least`; -1 where one is NaN, an infinity or a zero and should not
// be, or the other way round, or a zero has the wrong sign. A result that overflows counts as the first number that is
// too large.
template <class T, class W> double ulps(T got, W exact, double least) {
  using limits = std::numeric_limits<T>;
  if (nan_of(exact) || std::isnan(got)) return nan_of(exact) && std::isnan(got) ? 0 : -1;
  const W top = scale_of(W(1), limits::max_exponent);
  if (inf_of(exact)) return std::isinf(got) && std::signbit(got) == sign_of(exact) ? 0 : -1;
  if (got == 0 && sign_of(exact) != std::signbit(got) && m_fabs(exact) >= W(least) * limits::epsilon()) return -1;
  if (std::isinf(got) && m_fabs(exact) < top / 2) return -1;
  if (exact > top) exact = top;
  if (exact < -top) exact = -top;
  W value = std::isinf(got) ? (got > 0 ? top : -top) : W(got);
  W size = m_fabs(exact) > least ? m_fabs(exact) : W(least);
  int k = size == 0 ? limits::min_exponent - 1 : ilogb_of(size);
  if (k < limits::min_exponent - 1) k = limits::min_exponent - 1;
  if (k > limits::max_exponent - 1) k = limits::max_exponent - 1;
  return static_cast<double>(scale_of(m_fabs(value - exact), limits::digits - 1 - k));
}

// The same of float32 and double without branches and all in 64 bits, so that it becomes vectors, for all 2^32 arguments.
// The power of two of the scale is put together from the exponent's bits.
inline uint64_t bits_of(double x) {
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline double of_bits(uint64_t bits) {
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline double ulps_of_float(double got, double exact, double least) {
  const double top = 0x1p128;
  const uint64_t sign = uint64_t{1} << 63, exponent = uint64_t{0x7ff} << 52;
  const double size_of_exact = of_bits(bits_of(exact) & ~sign), size_of_got = of_bits(bits_of(got) & ~sign);
  const double other_sign = (bits_of(exact) ^ bits_of(got)) & sign ? 1 : 0;
  double wrong = exact != exact ? 1 : 0;
  wrong = got != got ? 1 - wrong : wrong;  // one of them
  wrong = size_of_got == 0 ? (size_of_exact >= least * 0x1p-23 ? other_sign : wrong) : wrong;
  wrong = size_of_exact == INFINITY ? (size_of_got == INFINITY ? other_sign : 1) : wrong;
  wrong = size_of_got == INFINITY ? (size_of_exact < top / 2 ? 1 : wrong) : wrong;
  const double value = of_bits(bits_of(size_of_got > top ? top : size_of_got) | (bits_of(got) & sign));
  const double near = of_bits(bits_of(size_of_exact > top ? top : size_of_exact) | (bits_of(exact) & sign));
  double size = size_of_exact > least ? size_of_exact : least;
  size = size < 0x1p-126 ? 0x1p-126 : size;
  size = size < 0x1p127 ? size : 0x1p127;
  double off = of_bits(bits_of(value - near) & ~sign) * of_bits((uint64_t{1023 * 2 + 23} << 52) - (bits_of(size) & exponent));
  off = exact != exact ? 0 : off;
  off = size_of_exact == INFINITY ? 0 : off;
  return wrong != 0 ? -1 : off;
}

}  // namespace

extern "C" {

int find(const char* name) {
  for (int i = 0; i < static_cast<int>(sizeof table / sizeof *table); i++)
    if (!std::strcmp(table[i].name, name)) return i;
  return -1;
}
void exact_float(int row, const float* x, const float* y, double* out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = table[row].narrow(x[i], y[i]);
}
void exact_double(int row, const double* x, const double* y, quad* out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = table[row].wide(x[i], y[i]);
}
void ulps_float(const float* got, const double* exact, const double* least, double* out, int64_t n) {
  if (least)
    for (int64_t i = 0; i < n; i++) out[i] = ulps_of_float(got[i], exact[i], least[i]);
  else
    for (int64_t i = 0; i < n; i++) out[i] = ulps_of_float(got[i], exact[i], 0);
}
// The same by the definition above, for a test.
void by_definition_float(const float* got, const double* exact, const double* least, double* out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = ulps(got[i], exact[i], least ? least[i] : 0);
}
void ulps_double(const double* got, const quad* exact, const double* least, double* out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = ulps(got[i], exact[i], least ? least[i] : 0);
}
// The number as a sum of two doubles, for mpmath.
void halves(const quad* exact, double* hi, double* lo, int64_t n) {
  for (int64_t i = 0; i < n; i++) hi[i] = static_cast<double>(exact[i]), lo[i] = static_cast<double>(exact[i] - hi[i]);
}
}
