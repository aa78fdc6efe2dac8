// The normal distribution: ndtr, log_ndtr, its inverse ndtri, gelu; and their kin erfcx, erfinv.
#pragma once
#include "ops/vmath/error_function.h"

namespace pd::vm {

// a / sqrt(2), in two parts
template <class X> PD_INLINE Pair<X> over_root_two(X a) {
  const X c = constant<X>(0x1.6a09e667f3bcdp-1), c_lo = constant<X>(-0x1.bdd3413b26456p-55);
  Pair<X> p = two_prod(a, c);
  return {p.hi, fma(a, c_lo, p.lo)};
}

// erfc(|x| / sqrt(2)) / 2 as in erfc_parts; beyond 38.8 it underflows, and so does its product with x.
template <class X> PD_INLINE Erfc<X> half_erfc(X x) {
  Pair<X> p = over_root_two(at_most(abs(x), 38.8));
  Erfc<X> e = erfc_parts(p.hi, p.lo);
  return {constant<X>(0.5) * e.hi, constant<X>(0.5) * e.lo, e.biased};
}
template <class D> PD_INLINE D half_erfc_short(D x) {
  return constant<D>(0.5) * erfc_short(at_most(abs(x), 15.5) * constant<D>(0.70710678118654752));
}

// The distribution function of the standard normal, erfc(-x / sqrt(2)) / 2.
template <class X> PD_INLINE X ndtr(X x) {
  X r;
  if constexpr (is_f32<X>) {
    r = cast<float>(half_erfc_short(cast<double>(x)));
  } else {
    Erfc<X> e = half_erfc(x);
    r = scale_biased(e.hi + e.lo, e.biased);
  }
  return select(gt(x, constant<X>(0)), constant<X>(1) - r, r);
}

// x ndtr(x). Below 0 the product is formed before it is scaled to a denormal number.
template <class X> PD_INLINE X gelu(X x) {
  const X zero = constant<X>(0), one = constant<X>(1);
  X r;
  if constexpr (is_f32<X>) {
    auto d = cast<double>(x), tail = half_erfc_short(d);
    r = cast<float>(at_least(d, -15.5) * select(gt(d, constant<decltype(d)>(0)), constant<decltype(d)>(1) - tail, tail));
  } else {
    Erfc<X> e = half_erfc(x);
    X c = at_least(x, -38.8);
    Pair<X> p = two_prod(c, e.hi);
    X below = scale_biased(p.hi + fma(c, e.lo, p.lo), e.biased);
    r = select(gt(x, zero), x * (one - scale_biased(e.hi + e.lo, e.biased)), below);
  }
  return select(eq(x, zero), x, select(eq(x, -infinity<X>()), nan<X>(), r));
}

// exp(z^2) erfc(z), z = a + a_lo >= 0: beyond 27.5 its asymptotic series (Abramowitz and Stegun 7.1.23).
template <class X> PD_INLINE X erfcx_of(X a, X a_lo) {
  const X one = constant<X>(1);
  auto far = gt(a, constant<X>(27.5));
  Pair<X> p = erfcx_parts(at_most(a, 27.5), select(far, constant<X>(0), a_lo));
  X inv = one / select(far, a, one);
  X z = constant<X>(0.5) * inv * inv;
  X t = inv * constant<X>(0.56418958354775629);
  return select(far, fma(t, z * poly(z, -1.0, 3.0, -15.0, 105.0, -945.0, 10395.0), t), p.hi + p.lo);
}
template <class X> PD_INLINE X erfcx_f64(X x) {
  X a = abs(x);
  X right = erfcx_of(a, constant<X>(0));
  // 2 exp(x^2) - erfcx(-x) below 0
  X c = at_most(a, 27.0);
  Pair<X> s = two_prod(c, c);
  ExpArg<X> e = exp_reduce(s.hi);
  X p = exp_reduced(e.r);
  X left = scale_biased(fma(p, s.lo, p), e.biased);
  return select(lt(x, constant<X>(0)), fma(constant<X>(2), left, -right), right);
}
template <class X> PD_INLINE X log_ndtr_f64(X x) {
  X a = abs(x);
  Erfc<X> e = half_erfc(x);
  X right = log1p(-scale_biased(e.hi + e.lo, e.biased));
  Pair<X> z = over_root_two(a);
  X l = log(constant<X>(0.5) * erfcx_of(z.hi, z.lo));
  Pair<X> s = two_prod(constant<X>(0.5) * a, a);
  X left = select(lt(s.hi, infinity<X>()), l - s.lo, l) - s.hi;
  return select(gt(x, constant<X>(0)), right, left);
}

// The x >= 0 with erfc(x) = q = 1 - y, in w = -log(q (2 - q)) as Giles (Approximating the erfinv function, GPU Computing
// Gems, 2010) has it: x/y of w up to 6.25, x of sqrt(w) up to 4, then x / sqrt(w) of its reciprocal. Polynomials through
// the points of Chebyshev.
template <class X> PD_INLINE X erfc_inverse(X q, X y) {
  const X one = constant<X>(1);
  X w = -log(q * (constant<X>(2) - q));
  X s = sqrt(w), t = one / s;
  X u0 = fma(w, constant<X>(0.32), -one);
  X x0 = y * poly(u0, 1.6536545626831027, 0.7504943200799635, -0.05892256710377784, -0.022604447453449802,
              0.017808361818295655, -0.00413731437741443, -0.0012716922684373015, 0.0012324855686812834,
              -0.0002643936684366174, -0.0001168888399309713, 9.33673917780479e-05, -1.5027710420277575e-05,
              -1.1257319182677936e-05, 7.1300572630824496e-06, -6.83718721812117e-07, -1.059321402540731e-06,
              5.394320648707009e-07, -1.0185147576818285e-08, -9.867713140174249e-08, 3.915473114023045e-08,
              4.792369996100387e-09, -8.562787796742932e-09, 1.5401738716654886e-09, 7.689312733742569e-10,
              -2.7032254091069344e-10);
  X u1 = (s - constant<X>(3.25)) * constant<X>(1.3333333333333333);
  X x1 = poly(u1, 3.0838457231032423, 0.7541289264339746, 0.002617093034561066, -0.0010318612832442456,
              0.000270851998894991, -5.268561726060566e-05, 4.2973140442473735e-06, 2.279206406146542e-06,
              -1.3823380649571941e-06, 3.816032835419866e-07, -2.6170722946640138e-08, -2.6160928562857912e-08,
              1.2592109544818386e-08, -2.290375590406745e-09, -3.2218910807246937e-10, 3.402395619249768e-10,
              -8.751467234477264e-11, -7.578082151342628e-12, 7.299871955552817e-12);
  X u2 = (t - constant<X>(0.1875)) * constant<X>(16);
  X x2 = s * poly(u2, 0.9724970078808042, -0.012549815785287894, -0.00018347575473076768, 0.0002008541827726417,
              -2.0588835236298165e-05, 2.2292135106881917e-06, -3.778962059305511e-07, 7.618776914488226e-08,
              -1.6265996847423797e-08, 3.359063644155933e-09, -1.0067516305566879e-09, 9.525017059207832e-11,
              -7.479372944745482e-11, 3.0933259672471146e-11, 9.730147299989065e-12, 3.2712175112419987e-13,
              -2.113596873474651e-12);
  X u3 = (t - constant<X>(0.080357142857142857)) * constant<X>(22.4);
  X x3 = s * poly(u3, 0.9922342013571792, -0.00684407412760611, -0.0009118327463235839, 0.00018211394697168254,
              -2.5629321912069725e-05, 5.629893902950177e-06, -1.583852348725076e-06, 5.036645313583593e-07,
              -1.7478127473425292e-07, 6.468211497462732e-08, -2.5144033813603482e-08, 1.023339005109149e-08,
              -4.268251143279085e-09, 1.666742011673963e-09, -7.201717724533651e-10, 5.231277645778143e-10,
              -2.423362232630622e-10, -5.019229599429133e-11, 2.617450964317838e-11, 5.925093192323686e-11,
              -2.856825505998747e-11);
  X x = select(lt(w, constant<X>(6.25)), x0, select(lt(s, constant<X>(4)), x1, select(gt(t, constant<X>(0.125)), x2, x3)));
  return select(eq(q, constant<X>(0)), infinity<X>(), x);
}
template <class X> PD_INLINE X erfinv_f64(X x) {
  X a = abs(x);
  return flip_sign(erfc_inverse(constant<X>(1) - a, a), sign_bit(x));
}
template <class X> PD_INLINE X ndtri_f64(X p) {
  const X one = constant<X>(1), half = constant<X>(0.5);
  auto upper = gt(p, half);
  X q = constant<X>(2) * select(upper, one - p, p);
  X x = constant<X>(1.4142135623730951) * erfc_inverse(q, one - q);
  return select(upper | eq(p, half), x, -x);
}

#define PD_NORMAL(name)                                                                \
  template <class X> PD_INLINE X name(X x) {                                           \
    if constexpr (is_f32<X>) return cast<float>(name##_f64(cast<double>(x)));          \
    else return name##_f64(x);                                                         \
  }
PD_NORMAL(erfcx)
PD_NORMAL(log_ndtr)
PD_NORMAL(erfinv)
PD_NORMAL(ndtri)
#undef PD_NORMAL

}  // namespace pd::vm
