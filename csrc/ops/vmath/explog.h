// exp, exp2, expm1 and the logarithms.
#pragma once
#include "ops/vmath/poly.h"

namespace pd::vm {

// x = n ln2 + r, |r| <= ln2/2 (Cody & Waite 1980; ln2 in two parts, the first with so few bits that
// n*ln2_hi is exact), with n + 2*bias in `biased`: halves of it are two exponent fields whose product
// of powers is 2^n, so that a result overflows or rounds to a denormal once, in the last product.
template <class X> struct ExpArg { X n, r, above; Int<X> biased; };

template <class X> inline constexpr int double_bias = is_f32<X> ? 254 : 2046;
template <class X> inline constexpr double exp_magic = (is_f32<X> ? 12582912.0 : 6755399441055744.0) + double_bias<X>;
template <class X> inline constexpr double ln2_hi = is_f32<X> ? 0.693145752 : 0x1.62e42fefa3800p-1;
template <class X> inline constexpr double ln2_lo = is_f32<X> ? 1.42860677e-06 : 0x1.ef35793c76730p-45;

template <class X> PD_INLINE Int<X> biased_exponent(X magic_sum) {
  return bits(magic_sum) & integer<X>(is_f32<X> ? 0x1ff : 0xfff);
}

template <class X> PD_INLINE ExpArg<X> exp_reduce(X x) {
  const X magic = constant<X>(exp_magic<X>);
  X t = fma(x, constant<X>(1.4426950408889634), magic);
  X n = t - magic;
  X above = fma(n, constant<X>(-ln2_hi<X>), x);
  return {n, fma(n, constant<X>(-ln2_lo<X>), above), above, biased_exponent(t)};
}

// p * 2^n
template <class X> PD_INLINE X scale_biased(X p, Int<X> biased) {
  Int<X> half = shr(biased, 1);
  return p * from_bits(shl(half, mantissa_bits<X>)) * from_bits(shl(biased - half, mantissa_bits<X>));
}
// p * 2^(n-k), where 2^(n-k) is a normal number
template <class X> PD_INLINE X power_of_two(Int<X> biased, int k) {
  return from_bits(shl(biased - integer<X>(double_bias<X> / 2 + k), mantissa_bits<X>));
}

// (e^r - 1 - r) / r^2 on |r| <= 1.02 ln2/2. `fine` serves results that are e^r - 1 itself.
template <bool fine, class X> PD_INLINE X exp_tail(X r) {
  if constexpr (!is_f32<X>) {
    return poly(r, 0.5, 0.16666666666666677, 0.041666666666666713, 0.0083333333333218684, 0.001388888888884594,
                0.00019841269885167526, 2.4801587419446732e-05, 2.7557244849415771e-06, 2.7557184363278739e-07,
                2.5109052290198027e-08, 2.0943657377799367e-09);
  } else if constexpr (fine) {
    return poly(r, 0.5, 0.166666657, 0.0416664816, 0.00833352096, 0.00139347313, 0.000197892135);
  } else {
    return poly(r, 0.49999997, 0.16666539, 0.0416672789, 0.00836839341, 0.00138900557);
  }
}

// 1 + r (1 + r tail): the rounding of the inner sum is met by r before it reaches the result.
template <class X> PD_INLINE X exp_reduced(X r) {
  const X one = constant<X>(1);
  return fma(r, fma(r, exp_tail<false>(r), one), one);
}

template <class X> PD_INLINE X exp(X x) {
  x = at_most(at_least(x, is_f32<X> ? -104.0 : -746.0), is_f32<X> ? 89.0 : 710.0);
  ExpArg<X> a = exp_reduce(x);
  return scale_biased(exp_reduced(a.r), a.biased);
}

// e^x where neither the result nor 2^n leaves the normal range.
template <class X> PD_INLINE X exp_normal(X x) {
  ExpArg<X> a = exp_reduce(x);
  return exp_reduced(a.r) * power_of_two<X>(a.biased, 0);
}

// (e^x - 1) / 2^k for k >= 1, x within [-40, 710.6] (float: [-20, 89.4]), as a sum of two. With s = 2^(n-k):
// s r + (s - 2^-k) is summed exactly, and what r lacks is met by the slope e^r, so that the roundings of note are the last.
template <int k, class X> PD_INLINE Pair<X> expm1_pair(X x) {
  ExpArg<X> a = exp_reduce(x);
  X s = power_of_two<X>(a.biased, k);
  X below = fma(a.n, constant<X>(-ln2_lo<X>), a.above - a.r);
  X sr = s * a.r;
  Pair<X> v = fast_two_sum(s, constant<X>(-1.0 / (1 << k)));
  Pair<X> u = fast_two_sum(v.hi, sr);
  return {u.hi, fma(sr * a.r, exp_tail<true>(a.r), fma(s + sr, below, u.lo + v.lo))};
}

template <class X> PD_INLINE X expm1(X x) {
  X c = at_most(at_least(x, is_f32<X> ? -20.0 : -40.0), is_f32<X> ? 89.0 : 710.0);
  Pair<X> p = expm1_pair<1>(c);
  X h = p.hi + p.lo;
  // Halving would lose a denormal's last bit, and the sum loses -0.
  return select(lt(abs(x), constant<X>(1e-30)), x, h + h);
}

// 2^r - 1 on |r| <= 1/2
template <class X> PD_INLINE X exp2m1_reduced(X r) {
  if constexpr (is_f32<X>) {
    return r * poly(r, 0.693147182, 0.240226507, 0.0555035807, 0.0096181035, 0.00133929297, 0.000154469686);
  } else {
    X q = poly(r, 0.24022650695910072, 0.055504108664821604, 0.009618129107628123, 0.0013333558146411577,
               0.00015403530393833469, 1.5252733837383899e-05, 1.3215486539517971e-06, 1.0178058514323266e-07,
               7.0549687574200443e-09, 4.4556474410841635e-10, 2.5659588049783458e-11);
    return fma(r, constant<X>(0.69314718055994531), r * r * q);
  }
}

template <class X> PD_INLINE X exp2(X x) {
  x = at_most(at_least(x, is_f32<X> ? -151.0 : -1076.0), is_f32<X> ? 128.0 : 1024.0);
  X t = x + constant<X>(exp_magic<X>);
  X r = x - (t - constant<X>(exp_magic<X>));
  return scale_biased(constant<X>(1) + exp2m1_reduced(r), biased_exponent(t));
}

// x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2), for finite x > 0.
template <class X> struct LogArg { X k, f; };

// x normal; `shift` is subtracted from k.
template <class X> PD_INLINE LogArg<X> split_normal(X x, X shift) {
  constexpr int64_t sqrt_half = is_f32<X> ? 0x3f3504f3 : 0x3fe6a09e667f3bcd;
  constexpr int64_t one = is_f32<X> ? 0x3f800000 : 0x3ff0000000000000;
  constexpr int64_t two_to_mantissa_bits = is_f32<X> ? 0x4b000000 : 0x4330000000000000;
  Int<X> i = bits(x) + integer<X>(one - sqrt_half);
  // The exponent field becomes a float by being put into the significand of 2^mantissa_bits.
  X e = from_bits(shr(i, mantissa_bits<X>) | integer<X>(two_to_mantissa_bits));
  Int<X> fraction = i & integer<X>((int64_t{1} << mantissa_bits<X>) - 1);
  return {e - shift, from_bits(fraction + integer<X>(sqrt_half)) - constant<X>(1)};
}

template <class X> inline constexpr double log_bias = is_f32<X> ? 8388608.0 + 127 : 4503599627370496.0 + 1023;

template <class X> PD_INLINE LogArg<X> log_split(X x) {
  constexpr int up = is_f32<X> ? 25 : 54;
  auto denormal = lt(x, X(std::numeric_limits<typename X::scalar>::min()));
  X scaled = select(denormal, x * constant<X>(static_cast<double>(int64_t{1} << up)), x);
  return split_normal(scaled, select(denormal, constant<X>(log_bias<X> + up), constant<X>(log_bias<X>)));
}

// log(1+f) - f. Double: f - f^2/2 + s (f^2/2 + R(s^2)), s = f/(2+f), as in fdlibm's e_log.c.
template <class X> PD_INLINE X log1p_tail(X f) {
  X f2 = f * f;
  if constexpr (is_f32<X>) {
    X p = poly(f, 0.333333135, -0.249999791, 0.200019464, -0.166696981, 0.142264009, -0.12383423, 0.118068241,
               -0.117422283, 0.069962658);
    return f2 * fma(f, p, constant<X>(-0.5));
  } else {
    X s = f / (constant<X>(2) + f);
    X z = s * s;
    X r = z * poly(z, 0.6666666666666734, 0.39999999999416125, 0.28571428742262922, 0.22222198569868651,
                   0.18183565194495996, 0.15314013013966599, 0.14796460783247292);
    X h = constant<X>(0.5) * f2;
    return fma(s, h + r, -h);
  }
}

// k ln2 + log(1+f), given log(1+f) - f
template <class X> PD_INLINE X log_sum(LogArg<X> a, X tail) {
  return fma(a.k, constant<X>(ln2_hi<X>), a.f + fma(a.k, constant<X>(ln2_lo<X>), tail));
}

// log's value outside finite x > 0, where r stands inside: -inf at 0, NaN below, x at +inf and NaN.
template <class X> PD_INLINE X log_special(X x, X r) {
  const X zero = constant<X>(0);
  X outside = select(eq(x, zero), -infinity<X>(), select(lt(x, zero), nan<X>(), x));
  return select(gt(x, zero) & lt(x, infinity<X>()), r, outside);
}

template <class X> PD_INLINE X log(X x) {
  LogArg<X> a = log_split(x);
  return log_special(x, log_sum(a, log1p_tail(a.f)));
}

// (k ln2 + log(1+f)) / ln2, given log(1+f) - f
template <class X> PD_INLINE X log2_sum(LogArg<X> a, X tail) {
  const X hi = constant<X>(is_f32<X> ? 1.44269502 : 1.4426950408889634);
  const X lo = constant<X>(is_f32<X> ? 1.92596303e-08 : 2.0355273740931033e-17);
  return a.k + fma(a.f, hi, fma(a.f, lo, tail * hi));
}

template <class X> PD_INLINE X log2(X x) {
  LogArg<X> a = log_split(x);
  return log_special(x, log2_sum(a, log1p_tail(a.f)));
}

template <class X> PD_INLINE X log10(X x) {
  LogArg<X> a = log_split(x);
  const X hi = constant<X>(is_f32<X> ? 0.434294492 : 0.43429448190325182);
  const X lo = constant<X>(is_f32<X> ? -1.010305e-08 : 1.0983196502167651e-17);
  const X log2_hi = constant<X>(is_f32<X> ? 0.301025391 : 0x1.34413509f7000p-2);
  const X log2_lo = constant<X>(is_f32<X> ? 4.60503907e-06 : 0x1.3fde623e2566bp-43);
  X low = fma(a.f, lo, fma(log1p_tail(a.f), hi, a.k * log2_lo));
  return log_special(x, fma(a.k, log2_hi, fma(a.f, hi, low)));
}

// 1 + x, rounded, gives k; then f = 2^-k (1+x) - 1 = x 2^-k + (2^-k - 1), rounded once, and f_lo is what
// that rounding dropped. For k beyond the significand 2^-k may not be a normal number, and 1 + x = x.
// log(1 + x) is `arg` and `tail` as log_sum takes them, for finite x > -1; u = 1 + x.
template <class X> struct Log1p { LogArg<X> arg; X tail, u; };
template <class X> PD_INLINE Log1p<X> log1p_parts(X x) {
  constexpr int64_t one = is_f32<X> ? 0x3f800000 : 0x3ff0000000000000;
  X u = constant<X>(1) + x;
  LogArg<X> a = split_normal(u, constant<X>(log_bias<X>));
  Int<X> k = round_to_int(a.k).index;
  X s = from_bits(integer<X>(one) - shl(k, mantissa_bits<X>));
  X s1 = s - constant<X>(1);
  X f = fma(x, s, s1);
  X f_lo = fma(x, s, s1 - f);
  auto huge = gt(a.k, constant<X>(mantissa_bits<X> + 2));
  a.f = select(huge, a.f, f);
  f_lo = select(huge, constant<X>(0), f_lo);
  return {a, log1p_tail(a.f) + f_lo, u};
}

template <class X> PD_INLINE X log1p(X x) {
  Log1p<X> l = log1p_parts(x);
  return select(lt(abs(x), constant<X>(1e-30)), x, log_special(l.u, log_sum(l.arg, l.tail)));
}

// log2(1 + x) for 0 <= x <= 1
template <class X> PD_INLINE X log2_1p(X x) {
  Log1p<X> l = log1p_parts(x);
  return select(eq(x, x), log2_sum(l.arg, l.tail), x);
}

// y = 1/s, s = sqrt(x), and a step that makes up for what the roundings of both dropped: (1 - s y) - (x - s s) y^2/2.
// Of denormal numbers x - s s would be none: they are scaled.
template <class X> PD_INLINE X rsqrt(X x) {
  const X one = constant<X>(1), zero = constant<X>(0);
  auto small = lt(x, constant<X>(is_f32<X> ? 0x1p-80 : 0x1p-900));
  X c = x * select(small, constant<X>(is_f32<X> ? 0x1p96 : 0x1p1000), one);
  X s = sqrt(c);
  X y = one / s;
  X lacks = fma(constant<X>(-0.5) * y, fma(-s, s, c) * y, fma(-s, y, one));
  X r = fma(y, lacks, y) * select(small, constant<X>(is_f32<X> ? 0x1p48 : 0x1p500), one);
  return select(gt(x, zero) & lt(x, infinity<X>()), r, y);
}

}  // namespace pd::vm
