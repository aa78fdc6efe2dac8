// lgamma and digamma, in double-double arithmetic: both have zeros, next to which their terms cancel.
#pragma once
#include "ops/vmath/power.h"
#include "ops/vmath/trig.h"

namespace pd::vm {

template <class X> PD_INLINE Pair<X> add_pairs(Pair<X> a, Pair<X> b) {
  Pair<X> s = two_sum(a.hi, b.hi);
  return fast_two_sum(s.hi, s.lo + (a.lo + b.lo));
}
template <class X> PD_INLINE Pair<X> mul_pairs(Pair<X> a, Pair<X> b) {
  Pair<X> p = two_prod(a.hi, b.hi);
  return fast_two_sum(p.hi, p.lo + fma(a.hi, b.lo, a.lo * b.hi));
}
template <class X> PD_INLINE Pair<X> div_pairs(Pair<X> a, Pair<X> b) {
  X q = a.hi / b.hi;
  return fast_two_sum(q, (fma(-q, b.hi, a.hi) + (a.lo - q * b.lo)) / b.hi);
}
template <class X> PD_INLINE Pair<X> negative(Pair<X> a) { return {-a.hi, -a.lo}; }
template <class X, class B> PD_INLINE Pair<X> select_pair(B c, Pair<X> a, Pair<X> b) {
  return {select(c, a.hi, b.hi), select(c, a.lo, b.lo)};
}
// log(hi + lo) to some 2^-64, hi > 0 and finite.
template <class X> PD_INLINE Pair<X> log_pair(Pair<X> a) {
  Pair<X> l = mul_pairs(log2_pair(a.hi), {constant<X>(0x1.62e42fefa39efp-1), constant<X>(0x1.abc9e3b39803fp-56)});
  return fast_two_sum(l.hi, l.lo + a.lo / a.hi);
}
// sin and cos of pi a, a >= 0, without their signs; `even` where the nearest multiple of 1/2 is a whole number.
template <class X> struct PairTurns { Pair<X> sin, cos; typename X::Bool even; };
template <class X> PD_INLINE PairTurns<X> sin_cos_pi(X a) {
  HalfTurns<X> t = half_turns(at_most(a, 0x1p52));
  Pair<X> angle = two_prod(t.y, constant<X>(half_pi_hi<X>));
  angle.lo = fma(t.y, constant<X>(half_pi_lo<X>), angle.lo);
  Pair<X> s = sin_f64(angle.hi, angle.lo), c = cos_f64(angle.hi, angle.lo);
  return {fast_two_sum(s.hi, s.lo), fast_two_sum(c.hi, c.lo), ~bit_set<0>(t.index)};
}

// Stirling's series at y = a, or where a = |x| < 10 at y = a + 10, log of a (a+1) … (a+9) subtracted (Abramowitz and
// Stegun 6.1.40). For x < 0: log(pi / |a sin(pi a)|) - lgamma(a) (6.1.17), the sine in the same logarithm.
template <class X> PD_INLINE X lgamma_f64(X x) {
  const X zero = constant<X>(0), one = constant<X>(1);
  X a = abs(x);
  auto low = lt(a, constant<X>(10));
  // Around 0 the reflection has nothing to add.
  auto reflected = lt(x, constant<X>(-1e-20));
  Pair<X> product = {a, zero};
#pragma GCC unroll 9  // a loop inside would keep the loop around it from being vectorised
  for (int k = 1; k < 10; ++k) product = mul_pairs(product, two_sum(a, constant<X>(k)));
  product = select_pair(low, product, Pair<X>{one, zero});
  Pair<X> y = select_pair(low, two_sum(constant<X>(10), a), Pair<X>{a, zero});
  y.hi = at_most(y.hi, 0x1p1015);  // beyond, the result is infinite
  // (y - 1/2) log y - y, without a product that overflows before the result
  Pair<X> log_y = log_pair(y);
  Pair<X> sum = mul_pairs(y, add_pairs(log_y, {constant<X>(-1), zero}));
  sum = add_pairs(sum, {constant<X>(-0.5) * log_y.hi, constant<X>(-0.5) * log_y.lo});
  X inv = one / y.hi;
  X series = inv * poly(inv * inv, 0.083333333333333329, -0.0027777777777777779, 0.00079365079365079365,
                        -0.00059523809523809529, 0.00084175084175084171, -0.0019175269175269176, 0.0064102564102564101,
                        -0.029550653594771242, 0.17964437236883057);
  // log(2 pi) / 2
  sum = add_pairs(sum, {constant<X>(0x1.d67f1c864beb5p-1), constant<X>(-0x1.65b5a1b7ff5dfp-55)});
  sum = add_pairs(sum, {series, zero});
  PairTurns<X> t = sin_cos_pi(select(reflected, a, one));
  Pair<X> odd = t.cos, even = t.sin;
  Pair<X> sine = mul_pairs(select_pair(t.even, even, odd), Pair<X>{a, zero});
  auto pole = le(x, zero) & eq(a, rint(a));
  sine = select_pair(lt(sine.hi, zero), negative(sine), sine);
  sine = select_pair(reflected & ~pole, sine, Pair<X>{one, zero});
  Pair<X> l = log_pair(select_pair(reflected, div_pairs(sine, product), product));
  // log(pi)
  Pair<X> mirror = add_pairs({constant<X>(0x1.250d048e7a1bdp+0), constant<X>(0x1.7abf2ad8d5088p-57)}, negative(sum));
  Pair<X> r = add_pairs(select_pair(reflected, mirror, sum), negative(l));
  r.hi = select(eq(x, one) | eq(x, constant<X>(2)), zero, r.hi + r.lo);
  X v = select(pole | gt(a, constant<X>(2.5599833278516383e+305)), infinity<X>(), r.hi);
  return select(ne(x, x), x, v);
}

// log y - 1/(2y) - sum of B_2k / (2k y^2k) (6.3.18) at y = a, or where a = |x| < 10 at y = a + 10, the reciprocals of
// a, a+1 … a+9 subtracted (6.3.6). For x < 0: digamma(a) + 1/a + pi cot(pi a) (6.3.7).
template <class X> PD_INLINE X digamma_f64(X x) {
  const X zero = constant<X>(0), one = constant<X>(1);
  X a = abs(x);
  auto low = lt(a, constant<X>(10)), mirror = lt(x, zero);
  // 1/a as a term of the sum, or of the reflection, or of both and so of none.
  X first = one / a;
  X first_lo = select(gt(a, constant<X>(1e-290)) & lt(a, constant<X>(1e290)), first * fma(-first, a, one), zero);
  X take = select(mirror, select(low, zero, constant<X>(-1)), select(low, one, zero));
  Pair<X> sum = {select(eq(take, zero), zero, take * first), take * first_lo};
#pragma GCC unroll 9
  for (int k = 1; k < 10; ++k) {
    Pair<X> d = two_sum(constant<X>(k), select(low, a, one));
    X q = one / d.hi;
    X q_lo = q * (fma(-q, d.hi, one) - q * d.lo);
    sum = add_pairs(sum, {select(low, q, zero), select(low, q_lo, zero)});
  }
  Pair<X> y = select_pair(low, two_sum(constant<X>(10), a), Pair<X>{a, zero});
  y.hi = at_most(y.hi, 0x1.fffffffffffffp1023);
  X inv = one / y.hi, z = inv * inv;
  X series = inv * fma(inv, poly(z, 0.083333333333333329, -0.0083333333333333332, 0.003968253968253968,
                                 -0.0041666666666666666, 0.0075757575757575760, -0.021092796092796094,
                                 0.083333333333333329, -0.44325980392156861, 3.0539543302701198),
                       constant<X>(0.5));
  Pair<X> l = log_pair(y);
  l = add_pairs(l, {-series, zero});
  PairTurns<X> t = sin_cos_pi(select(mirror, a, constant<X>(0.25)));
  auto whole = mirror & eq(a, rint(a));
  // cot of the angle itself, or where it is counted from an odd number of quarters minus its tangent
  Pair<X> num = select_pair(t.even, t.cos, negative(t.sin)), den = select_pair(t.even, t.sin, t.cos);
  den.hi = select(whole, one, den.hi);
  Pair<X> cot = mul_pairs(div_pairs(num, den), {constant<X>(2 * half_pi_hi<X>), constant<X>(2 * half_pi_lo<X>)});
  l = add_pairs(l, select_pair(mirror, cot, Pair<X>{zero, zero}));
  Pair<X> r = two_sum(l.hi, -sum.hi);
  X v = select(lt(abs(sum.hi), constant<X>(1e300)), r.hi + (r.lo + (l.lo - sum.lo)), -sum.hi);
  v = select(eq(x, infinity<X>()), x, select(whole, nan<X>(), v));
  v = select(lt(a, constant<X>(1e-280)), constant<X>(-1) / x, v);
  return select(ne(x, x), x, v);
}

// f of float through double.
template <class X> PD_INLINE X lgamma(X x) {
  if constexpr (is_f32<X>) return cast<float>(lgamma_f64(cast<double>(x)));
  else return lgamma_f64(x);
}
template <class X> PD_INLINE X digamma(X x) {
  if constexpr (is_f32<X>) return cast<float>(digamma_f64(cast<double>(x)));
  else return digamma_f64(x);
}

}  // namespace pd::vm
