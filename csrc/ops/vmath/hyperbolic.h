// tanh, sigmoid, silu, sinh, cosh, and the inverses asinh, acosh, atanh.
#pragma once
#include "ops/vmath/explog.h"

namespace pd::vm {

// h / (h + 1) with h = (e^{2|x|} - 1) / 2. What the roundings of h and of d = h + 1 dropped comes back with the factor
// 1/d = 1 - q.
template <class X> PD_INLINE X tanh(X x) {
  const X one = constant<X>(1);
  X a = at_most(abs(x), is_f32<X> ? 10.0 : 22.0);
  Pair<X> p = expm1_pair<1>(a + a);
  Pair<X> h = fast_two_sum(p.hi, p.lo);
  Pair<X> d = two_sum(h.hi, one);
  X q = h.hi / d.hi;
  return flip_sign(fma(fma(-q, d.lo + h.lo, h.lo), one - q, q), sign_bit(x));
}

// 1 / (1 + t) for x >= 0 and t / (1 + t) below, t = e^-|x|: no overflow, and denormal results are kept. What the
// rounding of 1 + t dropped comes back with the factor 1 / (1 + t).
template <class X> PD_INLINE X sigmoid(X x) {
  const X one = constant<X>(1);
  X t = exp(-abs(x));
  Pair<X> d = fast_two_sum(one, t);
  auto negative = lt(x, constant<X>(0));
  X q = select(negative, t, one) / d.hi;
  return fma(-(q * d.lo), select(negative, one - q, q), q);
}

// x / (1 + e^-x). Below 0 the product x e^x is formed before it is scaled to a denormal number.
template <class X> PD_INLINE X silu(X x) {
  const X one = constant<X>(1), zero = constant<X>(0);
  X c = at_least(x, is_f32<X> ? -110.0 : -760.0);
  ExpArg<X> a = exp_reduce(-abs(at_most(c, is_f32<X> ? 110.0 : 760.0)));
  X p = exp_reduced(a.r);
  X t = scale_biased(p, a.biased);
  auto negative = lt(x, zero);
  X q = select(negative, c * p, c) / (one + t);
  return select(eq(x, -infinity<X>()), nan<X>(), select(negative, scale_biased(q, a.biased), q));
}

// With h = (e^|x| - 1) / 4: sinh = 2 (h + q), q = h / d, d = 4h + 1. The quarter keeps h finite wherever sinh is.
// What h and d dropped comes back as in tanh; 1/d = 1 - 4q.
template <class X> PD_INLINE X sinh(X x) {
  const X one = constant<X>(1), four = constant<X>(4);
  Pair<X> p = expm1_pair<2>(at_most(abs(x), is_f32<X> ? 89.5 : 710.6));
  Pair<X> h = fast_two_sum(p.hi, p.lo);
  Pair<X> d = two_sum(four * h.hi, one);
  X q = h.hi / d.hi;
  X lacks = fma(fma(-q, fma(four, h.lo, d.lo), h.lo), fma(-four, q, one), h.lo);
  // d may have overflowed.
  X r = h.hi + (q + select(lt(h.hi, constant<X>(1e30)), lacks, h.lo));
  return select(lt(abs(x), constant<X>(1e-30)), x, flip_sign(r + r, sign_bit(x)));
}

// With h = e^|x| / 4: cosh = 2 (h + 1 / (16 h)).
template <class X> PD_INLINE X cosh(X x) {
  ExpArg<X> a = exp_reduce(at_most(abs(x), is_f32<X> ? 89.5 : 710.6));
  X h = exp_reduced(a.r) * power_of_two<X>(a.biased, 2);
  X r = h + constant<X>(0.0625) / h;
  return r + r;
}

// log(1 + x) + low, or where `twice` log(2x), x being beyond 2^60 then.
template <class X, class B> PD_INLINE X log1p_or_twice(X x, B twice, X low) {
  Log1p<X> l = log1p_parts(x);
  l.arg.k = l.arg.k + select(twice, constant<X>(1), constant<X>(0));
  return log_special(l.u, log_sum(l.arg, l.tail + low));
}

// log(a + sqrt(a^2 + 1)), a = |x|, with the 1 taken out (Abramowitz and Stegun 4.6.20).
template <class X> PD_INLINE X asinh(X x) {
  const X one = constant<X>(1);
  X a = abs(x);
  auto far = gt(a, constant<X>(0x1p60));
  X b = select(far, one, a);
  X u = fma(b, b / (one + sqrt(fma(b, b, one))), b);
  X r = log1p_or_twice(select(far, a, u), far, constant<X>(0));
  return select(lt(a, constant<X>(1e-30)), x, flip_sign(r, sign_bit(x)));
}

// log(1 + u), u = t + s, s = sqrt(t^2 + 2t), t = x - 1. What the sum drops counts by 1 / (1 + u) = x - s.
template <class X> PD_INLINE X acosh(X x) {
  const X one = constant<X>(1), zero = constant<X>(0);
  auto far = gt(x, constant<X>(0x1p60));
  X t = select(far, one, x) - one;
  X s = sqrt(fma(t, t, t + t));
  Pair<X> u = fast_two_sum(s, t);
  X low = select(lt(x, constant<X>(2)), u.lo * (x - s), zero);
  X r = log1p_or_twice(select(far, x, u.hi), far, low);
  return select(lt(x, one), nan<X>(), r);
}

// log(1 + q) / 2, q = 2a / (1 - a), a = |x|. What the quotient drops counts by 1 / (1 + q).
template <class X> PD_INLINE X atanh(X x) {
  const X one = constant<X>(1);
  X a = abs(x), twice = a + a;
  Pair<X> d = fast_two_sum(one, -a);
  X q = twice / d.hi;
  X rest = fma(-q, d.lo, fma(-q, d.hi, twice));
  Log1p<X> l = log1p_parts(q);
  X r = constant<X>(0.5) * log_special(l.u, log_sum(l.arg, l.tail + select(lt(a, one), rest / (one + a), constant<X>(0))));
  return select(lt(a, constant<X>(1e-30)), x, flip_sign(r, sign_bit(x)));
}

}  // namespace pd::vm
