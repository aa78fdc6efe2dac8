// pow: 2^(y log2|x|), then the special cases of C99 F.9.4.4.
#pragma once
#include "ops/vmath/explog.h"

namespace pd::vm {

// 2^x in double to 2^-28, |x| <= 1000: for functions of float that compute in double.
template <class D> PD_INLINE D exp2_short(D x) {
  Rounded<D> n = round_to_int(x);
  D r = x - n.value;
  D p = fma(r, poly(r, 0.69314720779716643, 0.240226507298542, 0.055503247235502158, 0.0096180935431221734,
                    0.0013401433656567282, 0.00015447359928291043),
            constant<D>(1));
  return p * from_bits(shl(n.index + Int<D>(int64_t{1023}), 52));
}

// |x|^y of float, in double. Every positive float is a normal double.
template <class X> PD_INLINE X pow_abs_f32(X ax, X y) {
  using D = rebind<X, double>;
  LogArg<D> a = split_normal(cast<double>(ax), constant<D>(log_bias<D>));
  D s = a.f / (constant<D>(2) + a.f);
  D log2 = fma(s, poly(s * s, 2.8853900817902076, 0.96179667322824791, 0.57708360597515318, 0.41167145160563834,
                       0.34075373982580387),
               a.k);
  // y = inf would make NaN of log2(1) = 0.
  D c = at_most(at_least(cast<double>(y), -0x1p128), 0x1p128);
  return cast<float>(exp2_short(at_most(at_least(c * log2, -200.0), 200.0)));
}

// log2 in two doubles to about 2^-65: log(1+f) = 2 atanh(s) = s (2 + z (2/3 + z P(z))), z = s^2,
// s = f/(2+f), with every term but z P(z) in double-double arithmetic.
template <class X> PD_INLINE Pair<X> log2_pair(X x) {
  LogArg<X> a = log_split(x);
  X d = constant<X>(2) + a.f;
  X d_lo = a.f - (d - constant<X>(2));
  X inv = constant<X>(1) / d;
  X s = a.f * inv;
  X s_lo = fma(-s, d_lo, fma(-s, d, a.f)) * inv;
  Pair<X> z = two_prod(s, s);
  z.lo = fma(s + s, s_lo, z.lo);
  X u = z.hi * poly(z.hi, 0.3999999999999998, 0.28571428571443808, 0.22222222217799917, 0.1818181884275458,
                    0.15384558505633295, 0.13336261902334348, 0.11675825622617898, 0.11981441995151386);
  Pair<X> t = fast_two_sum(constant<X>(0x1.5555555555555p-1), u);
  t.lo = t.lo + constant<X>(0x1.5555555555555p-55);
  Pair<X> v = two_prod(z.hi, t.hi);
  v.lo = v.lo + fma(z.hi, t.lo, z.lo * t.hi);
  Pair<X> g = fast_two_sum(constant<X>(2), v.hi);
  g.lo = g.lo + v.lo;
  Pair<X> l = two_prod(s, g.hi);
  l.lo = l.lo + fma(s, g.lo, s_lo * g.hi);
  const X log2e = constant<X>(0x1.71547652b82fep+0), log2e_lo = constant<X>(0x1.777d0ffda0d24p-56);
  Pair<X> m = two_prod(l.hi, log2e);
  m.lo = m.lo + fma(l.hi, log2e_lo, l.lo * log2e);
  Pair<X> r = fast_two_sum(a.k, m.hi);
  return fast_two_sum(r.hi, r.lo + m.lo);
}

template <class X> PD_INLINE X pow_abs_f64(X ax, X y) {
  Pair<X> l = log2_pair(ax);
  // Beyond 2^65 every power but that of 1 has over- or underflowed; the clamp keeps inf - inf away.
  X c = at_most(at_least(y, -0x1p65), 0x1p65);
  Pair<X> p = two_prod(c, l.hi);
  p.lo = fma(c, l.lo, p.lo);
  auto inside = lt(abs(p.hi), constant<X>(1080));
  X hi = at_most(at_least(p.hi, -1080.0), 1080.0);
  X lo = select(inside, p.lo, constant<X>(0));
  X t = hi + constant<X>(exp_magic<X>);
  X e = exp2m1_reduced(hi - (t - constant<X>(exp_magic<X>)));
  X e_lo = lo * constant<X>(0.69314718055994531);
  // 2^(r+lo) = (1+e)(1+e_lo)
  return scale_biased(constant<X>(1) + (e + fma(e, e_lo, e_lo)), biased_exponent(t));
}

template <class X> PD_INLINE X pow_abs(X ax, X y) {
  if constexpr (is_f32<X>) return pow_abs_f32(ax, y);
  else return pow_abs_f64(ax, y);
}

template <class X> PD_INLINE X pow(X x, X y) {
  const X zero = constant<X>(0), one = constant<X>(1);
  X ax = abs(x);
  X r = pow_abs(ax, y);

  X half = constant<X>(0.5) * y;
  auto integral = eq(trunc(y), y);
  auto odd = integral & ne(trunc(half), half);
  // |x| is 0 or inf: the result is 0 or inf whatever y's size.
  r = select(eq(ax, zero), select(lt(y, zero), infinity<X>(), zero), r);
  r = select(eq(ax, infinity<X>()), select(lt(y, zero), zero, infinity<X>()), r);
  r = select(odd, flip_sign(r, sign_bit(x)), r);
  r = select(lt(x, zero) & gt(x, -infinity<X>()) & ~integral, nan<X>(), r);
  r = select(ne(x, x) | ne(y, y), nan<X>(), r);
  return select(eq(x, one) | eq(y, zero), one, r);
}

}  // namespace pd::vm
