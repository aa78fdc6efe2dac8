// erf and erfc.
#pragma once
#include "ops/vmath/explog.h"
#include "ops/vmath/power.h"

namespace pd::vm {

// erf(x)/x - 1 on |x| < 1, z = x^2.
template <class X> PD_INLINE X erf_small(X z) {
  if constexpr (is_f32<X>) {
    return poly(z, 0.128379166, -0.37612626, 0.112835959, -0.0268544834, 0.00518984767, -0.000802510476,
                7.90758495e-05);
  } else {
    return poly(z, 0.12837916709551259, -0.37612638903184098, 0.11283791670971137, -0.026866170648046413,
                0.0052239776529169508, -0.00085483285528375574, 0.00012055386956898311, -1.4926903006881939e-05,
                1.648145230797424e-06, -1.656177349266594e-07, 1.6047424075579722e-08, -1.6607549827630818e-09,
                1.4601804436468081e-10);
  }
}

// log(erfc(a)) on 1 <= a <= 4 (float) or 6, fitted so that the error of erf, not of erfc, is small.
template <class X> PD_INLINE X log_erfc(X a) {
  if constexpr (is_f32<X>) {
    return poly(a, -0.000320710824, -1.12717092, -0.638013721, -0.103216648, 0.0218887869, -0.00295987609,
                0.00018757864);
  } else {
    return poly(a, -1.5984985835323474e-08, -1.1283789784948741, -0.63662072648412371, -0.10276992686260887,
                0.019124233385783264, 0.00021128313015968968, -0.0016893373133006855, 0.00056925070862768668,
                6.8621819104603242e-06, -0.00010019564746941296, 5.8923781598852905e-05, -2.1730200472721645e-05,
                5.9022624303763542e-06, -1.2298416864610041e-06, 1.9749285219453043e-07, -2.4072185646888619e-08,
                2.153110866225798e-09, -1.3297290001790497e-10, 5.0469458960370085e-12, -8.8226097978720422e-14);
  }
}

template <class X> PD_INLINE X erf(X x) {
  X a = abs(x);
  X tail = exp_normal(log_erfc(at_most(a, is_f32<X> ? 4.0 : 6.0)));
  X large = flip_sign(constant<X>(1) - tail, sign_bit(x));
  return select(lt(a, constant<X>(1)), fma(x, erf_small(x * x), x), large);
}

// For x >= 0: erfc(x) = exp(-x^2) H(q) / (x+3), q = (x-3)/(x+3), where H(q) = (x+3) exp(x^2) erfc(x)
// is nearly linear (the mapping of Shepherd & Laframboise, Math. Comp. 36, 1981). Below: 2 - erfc(-x).

// erfc(a) for functions of float, 0 <= a <= 11.
template <class D> PD_INLINE D erfc_short(D a) {
  D inv = constant<D>(1) / (a + constant<D>(3));
  D h = poly(fma(constant<D>(-6), inv, constant<D>(1)), 1.0740069078931709, -0.88339446586794423,
               0.59022827179470261, -0.3104665735980634, 0.11952942294273146, -0.026835373992861154,
               -0.0012269647568673369, 0.0030664949676233715, -0.0004873766385676788, -0.00031028186141308028,
               9.5453604678733943e-06);
  return exp2_short(a * a * constant<D>(-1.4426950408889634)) * (h * inv);
}

// exp(x^2) erfc(x) of x = a + a_lo, 0 <= a <= 27.5.
template <class X> PD_INLINE Pair<X> erfcx_parts(X a, X a_lo) {
  const X one = constant<X>(1);
  Pair<X> d = two_sum(a, constant<X>(3)), m = two_sum(a, constant<X>(-3));
  X inv = one / d.hi;
  // 1/(a+3) = inv (1 + rho); (a-3)/(a+3) = q + dq.
  X rho = fma(-inv, d.lo, fma(-inv, d.hi, one));
  X q = m.hi * inv;
  X dq = (fma(-q, d.hi, m.hi) + fma(-q, d.lo, m.lo)) * inv;
  // H = c0 + q (c1 + q P), the sums of the two outer steps and c0 in two parts each: near x = 0
  // their roundings would make most of the error. slope is H' to some 5 %.
  X p = poly(q, 0.59022835710410138, -0.310467261900567, 0.11952776128732528, -0.026827234624456162,
             -0.0012124166281300504, 0.0030340620000935126, -0.00054830968073198345, -0.0002767778306179328,
             0.00010756141780534622, 3.0398053661794378e-05, -1.7470332303952483e-05, -4.7487908272025002e-06,
             2.7649930961270881e-06, 9.9786064988223382e-07, -4.0783238860351039e-07, -2.3203130917017689e-07,
             4.6719033482234449e-08, 4.9314077013665542e-08, -2.1089970339397879e-09, -7.7252185317431833e-09,
             -2.5043804540642009e-10, 6.2110908089017535e-10);
  const X c1 = constant<X>(-0.88339445316988363);
  Pair<X> u = two_sum(c1, q * p);
  Pair<X> t = two_prod(q, u.hi);
  Pair<X> h = two_sum(constant<X>(1.0740069070883398), t.hi);
  X slope = fma(q, fma(q, poly(q, -0.31, 0.3), p + p), c1);
  h.lo = h.lo + fma(dq, slope, fma(q, u.lo, t.lo) - constant<X>(8.7415475437923238e-17));
  Pair<X> v = two_prod(h.hi, inv);
  // The relative slope of H / (a+3), to some 10 %, for a_lo.
  X moved = a_lo * inv * fma(constant<X>(21.5) * inv, inv, one);
  return {v.hi, fma(v.hi, rho - moved, fma(h.lo, inv, v.lo))};
}

// The product with exp(-x^2) is formed of the leading parts; what each of them lacks is added as a relative term.
// (hi + lo) 2^n.
template <class X> struct Erfc { X hi, lo; Int<X> biased; };
template <class X> PD_INLINE Erfc<X> erfc_parts(X a, X a_lo) {
  Pair<X> f = erfcx_parts(a, a_lo);
  Pair<X> s = two_prod(a, a);
  s.lo = fma(a + a, a_lo, s.lo);
  ExpArg<X> e = exp_reduce(-s.hi);
  X below = fma(e.n, constant<X>(-ln2_lo<X>), e.above - e.r);
  Pair<X> ex = fast_two_sum(constant<X>(1), fma(e.r * e.r, exp_tail<false>(e.r), e.r));
  Pair<X> v = two_prod(ex.hi, f.hi);
  X lacks = (below - s.lo) + ex.lo;
  return {v.hi, fma(v.hi, lacks, fma(ex.hi, f.lo, v.lo)), e.biased};
}

template <class X> PD_INLINE X erfc(X x) {
  X r;
  if constexpr (is_f32<X>) {
    r = cast<float>(erfc_short(at_most(cast<double>(abs(x)), 11.0)));
  } else {
    Erfc<X> e = erfc_parts(at_most(abs(x), 27.5), constant<X>(0));
    r = scale_biased(e.hi + e.lo, e.biased);
  }
  return select(lt(x, constant<X>(0)), constant<X>(2) - r, r);
}

}  // namespace pd::vm
