// sin, cos, tan and their inverses; sinc.
#pragma once
#include "ops/vmath/trig_reduction.h"

namespace pd::vm {

template <class X> inline constexpr double half_pi_hi = is_f32<X> ? 1.57079637 : 0x1.921fb54442d18p+0;
template <class X> inline constexpr double half_pi_lo = is_f32<X> ? -4.37113883e-08 : 0x1.1a62633145c07p-54;

// On |r| <= pi/4, float: sin and cos of r.
template <class X> PD_INLINE X sin_f32(X r) {
  X z = r * r;
  return fma(r * z, poly(z, -0.166666493, 0.00833182968, -0.000194716413), r);
}
template <class X> PD_INLINE X cos_f32(X r) {
  X z = r * r;
  return fma(z * z, poly(z, 0.0416666344, -0.00138867961, 2.43769264e-05), fma(z, constant<X>(-0.5), constant<X>(1)));
}

// On |r| <= pi/4, double: a leading part and a correction, of sin and cos of r + r_lo (the arrangement
// of fdlibm's k_sin.c and k_cos.c).
template <class X> PD_INLINE Pair<X> sin_f64(X r, X r_lo) {
  X z = r * r;
  X p = poly(z, -0.1666666666666663, 0.0083333333333217869, -0.00019841269829281127, 2.7557313501670562e-06,
             -2.5050727275138899e-08, 1.5894952705969829e-10);
  return {r, fma(r * z, p, r_lo * fma(z, constant<X>(-0.5), constant<X>(1)))};
}
template <class X> PD_INLINE Pair<X> cos_f64(X r, X r_lo) {
  X z = r * r;
  X h = constant<X>(0.5) * z;
  X w = constant<X>(1) - h;
  X p = poly(z, 0.041666666666666595, -0.0013888888888873303, 2.4801587288944925e-05, -2.7557314190435859e-07,
             2.0875700419791589e-09, -1.1358423781834189e-11);
  return {w, ((constant<X>(1) - w) - h) + fma(z * z, p, -(r * r_lo))};
}

// The value at a quarter turn of `index` more than r: sin, cos, -sin, -cos.
template <class X> PD_INLINE X by_quarter(Int<X> index, X sin, X cos) {
  X v = select(bit_set<0>(index), cos, sin);
  return flip_sign(v, shl(index & integer<X>(2), is_f32<X> ? 30 : 62));
}

// sin(|x| + quarters pi/2)
template <class X> PD_INLINE X sin_of_abs(X x, int quarters) {
  if constexpr (is_f32<X>) {
    using D = rebind<X, double>;
    Quarter<D> q = quarter_turns_f32(cast<double>(abs(x)));
    X r = cast<float>(q.y * constant<D>(1.5707963267948966));
    return by_quarter(cast<int32_t>(q.index) + integer<X>(quarters), sin_f32(r), cos_f32(r));
  } else {
    Reduced<X> q = reduce_f64(abs(x));
    Pair<X> s = sin_f64(q.r, q.r_lo), c = cos_f64(q.r, q.r_lo);
    return by_quarter(q.index + integer<X>(quarters), s.hi + s.lo, c.hi + c.lo);
  }
}

template <class X> PD_INLINE X sin(X x) { return flip_sign(sin_of_abs(x, 0), sign_bit(x)); }
template <class X> PD_INLINE X cos(X x) { return sin_of_abs(x, 1); }

// On |r| <= pi/4, in double to 2^-33: for functions of float.
template <class D> struct SinCos { D s, c; };
template <class D> PD_INLINE SinCos<D> sin_cos_short(D r) {
  D z = r * r;
  return {r * poly(z, 0.99999999999153311, -0.16666666606757097, 0.0083333265366693152, -0.00019838569117691708,
                   2.7118732296285209e-06),
          poly(z, 0.99999999988705934, -0.49999999254214772, 0.04166658590493038, -0.0013885785461539436,
               2.4310089852251629e-05)};
}

template <class X> PD_INLINE X tan(X x) {
  if constexpr (is_f32<X>) {
    using D = rebind<X, double>;
    Quarter<D> q = quarter_turns_f32(cast<double>(abs(x)));
    auto [s, c] = sin_cos_short(q.y * constant<D>(1.5707963267948966));
    auto odd = bit_set<0>(q.index);
    X t = cast<float>(select(odd, -c, s) / select(odd, s, c));
    return flip_sign(t, sign_bit(x));
  } else {
    Reduced<X> q = reduce_f64(abs(x));
    Pair<X> s = sin_f64(q.r, q.r_lo), c = cos_f64(q.r, q.r_lo);
    s = fast_two_sum(s.hi, s.lo);
    c = fast_two_sum(c.hi, c.lo);
    auto odd = bit_set<0>(q.index);
    X num = select(odd, -c.hi, s.hi), num_lo = select(odd, -c.lo, s.lo);
    X den = select(odd, s.hi, c.hi), den_lo = select(odd, s.lo, c.lo);
    X inv = constant<X>(1) / den;
    X t = num * inv;
    X rest = fma(-t, den, num) + fma(-t, den_lo, num_lo);
    // No remainder is formed where inv or t is not finite or num is denormal: tan x = x there.
    X v = select(lt(abs(x), constant<X>(1e-30)), abs(x), fma(rest, inv, t));
    return flip_sign(v, sign_bit(x));
  }
}

// sin(pi x) / (pi x), 1 at 0. 2|x| = n + y, |y| <= 1/2, without error; beyond 2^52 every x is whole, and the result +0.
template <class D> struct HalfTurns { D y; Int<D> index; };
template <class D> PD_INLINE HalfTurns<D> half_turns(D a) {
  D v = a + a, n = rint(v);
  return {v - n, round_to_int(mod4(n)).index};
}
template <class X> PD_INLINE X sinc(X x) {
  const X zero = constant<X>(0), one = constant<X>(1);
  X r;
  if constexpr (is_f32<X>) {
    using D = rebind<X, double>;
    D a = at_most(cast<double>(abs(x)), 0x1p52);
    HalfTurns<D> t = half_turns(a);
    auto [s, c] = sin_cos_short(t.y * constant<D>(1.5707963267948966));
    D v = by_quarter(t.index, s, c) / (a * constant<D>(3.1415926535897931));
    r = cast<float>(v) + zero;  // no -0
  } else {
    X a = at_most(abs(x), 0x1p52);
    HalfTurns<X> t = half_turns(a);
    Pair<X> angle = two_prod(t.y, constant<X>(half_pi_hi<X>));
    angle.lo = fma(t.y, constant<X>(half_pi_lo<X>), angle.lo);
    Pair<X> s = sin_f64(angle.hi, angle.lo), c = cos_f64(angle.hi, angle.lo);
    auto odd = bit_set<0>(t.index);
    Pair<X> num = fast_two_sum(select(odd, c.hi, s.hi), select(odd, c.lo, s.lo));
    Pair<X> den = two_prod(a, constant<X>(2 * half_pi_hi<X>));
    den.lo = fma(a, constant<X>(2 * half_pi_lo<X>), den.lo);
    X inv = one / den.hi, q = num.hi * inv;
    X rest = fma(-q, den.hi, num.hi) + fma(-q, den.lo, num.lo);
    r = flip_sign(fma(rest, inv, q), shl(t.index & integer<X>(2), 62)) + zero;
  }
  r = select(lt(abs(x), constant<X>(1e-30)), one, r);
  return select(eq(abs(x), infinity<X>()), nan<X>(), r);
}

// (asin(s) - s) / s and (atan(t) - t) / t, as functions of z = s^2 <= 1/4.
template <class X> PD_INLINE X asin_tail(X z) {
  if constexpr (is_f32<X>) {
    return z * poly(z, 0.166667536, 0.0749525204, 0.0454760529, 0.0241519753, 0.0422121026);
  } else {
    return z * poly(z, 0.16666666666665383, 0.075000000003428519, 0.044642856823667407, 0.030381959327117906,
                    0.022371753449084528, 0.017359775783039537, 0.013884510982409838, 0.01217415190445215,
                    0.0065057080262638433, 0.019591911489697068, -0.016328711841036452, 0.031987224918858387);
  }
}
template <class X> PD_INLINE X atan_tail(X z) {
  if constexpr (is_f32<X>) {
    return z * poly(z, -0.33333236, 0.199942723, -0.141753659, 0.101608597, -0.051326707);
  } else {
    return z * poly(z, -0.33333333333332993, 0.19999999999905535, -0.14285714276573944, 0.1111111066733122,
                    -0.090908964413728532, 0.076920772318242292, -0.066638478566079476, 0.058585746208127072,
                    -0.051233286202604061, 0.041904480824040358, -0.027501223886096882, 0.010164766820463692);
  }
}

// |x| < 1/2: asin x = s + s tail, s = |x|. Else s = sqrt((1-|x|)/2) and asin |x| = pi/2 - 2 asin s.
// Beyond 1 the square root makes NaN.
template <class X> struct AsinArg { typename X::Bool near; X s, tail; };
template <class X> PD_INLINE AsinArg<X> asin_arg(X x) {
  X a = abs(x);
  auto near = lt(a, constant<X>(0.5));
  X z = select(near, a * a, constant<X>(0.5) - constant<X>(0.5) * a);
  X s = select(near, a, sqrt(z));
  return {near, s, s * asin_tail(z)};
}

template <class X> PD_INLINE X asin(X x) {
  AsinArg<X> a = asin_arg(x);
  const X minus2 = constant<X>(-2);
  Pair<X> u = fast_two_sum(constant<X>(half_pi_hi<X>), minus2 * a.s);
  X far = u.hi + (u.lo + fma(minus2, a.tail, constant<X>(half_pi_lo<X>)));
  return flip_sign(select(a.near, a.s + a.tail, far), sign_bit(x));
}

// |x| < 1/2: pi/2 - asin x. Else 2 asin s for x > 0 and pi - 2 asin s for x < 0.
template <class X> PD_INLINE X acos(X x) {
  AsinArg<X> a = asin_arg(x);
  auto negative = lt(x, constant<X>(0));
  X k = select(a.near, constant<X>(1), constant<X>(2));
  Int<X> minus = sign_bit(select(a.near, -x, x));
  X s = flip_sign(k * a.s, minus), tail = flip_sign(k * a.tail, minus);
  X quarters = select(a.near | negative, k, constant<X>(0));
  X hi = quarters * constant<X>(half_pi_hi<X>), lo = quarters * constant<X>(half_pi_lo<X>);
  Pair<X> u = fast_two_sum(hi, s);
  return u.hi + (u.lo + (tail + lo));
}

// atan(num/den) for 0 <= num <= den, as an angle in three parts: a multiple of pi/4 in two, p. Above 1/2,
// atan(t) = pi/4 + atan((num-den)/(num+den)), whose numerator is exact.
template <class X> struct Angle { X base, base_lo, t, tail; };
template <class X> PD_INLINE Angle<X> atan_quotient(X num, X den) {
  const X zero = constant<X>(0);
  auto fold = gt(num, constant<X>(0.5) * den);
  X t = select(fold, num - den, num) / select(fold, num + den, den);
  X base = select(fold, constant<X>(0.5 * half_pi_hi<X>), zero);
  X base_lo = select(fold, constant<X>(0.5 * half_pi_lo<X>), zero);
  return {base, base_lo, t, t * atan_tail(t * t)};
}

// offset - a where `minus`, a elsewhere.
template <class X, class B> PD_INLINE Angle<X> reflect(Angle<X> a, B minus, double quarters) {
  const X hi = constant<X>(quarters * half_pi_hi<X>), lo = constant<X>(quarters * half_pi_lo<X>);
  Pair<X> base = fast_two_sum(hi, -a.base);
  return {select(minus, base.hi, a.base), select(minus, base.lo + (lo - a.base_lo), a.base_lo),
          select(minus, -a.t, a.t), select(minus, -a.tail, a.tail)};
}
template <class X> PD_INLINE X sum_angle(Angle<X> a) {
  Pair<X> u = fast_two_sum(a.base, a.t);
  return u.hi + (u.lo + (a.tail + a.base_lo));
}

template <class X> PD_INLINE X atan(X x) {
  X a = abs(x);
  const X one = constant<X>(1);
  auto steep = gt(a, one);
  // At infinity num/den would be 1/inf in both forms of the quotient, which is right.
  Angle<X> r = reflect(atan_quotient(select(steep, one, a), select(steep, a, one)), steep, 1);
  return flip_sign(sum_angle(r), sign_bit(x));
}

template <class X> PD_INLINE X atan2(X y, X x) {
  const X zero = constant<X>(0), one = constant<X>(1);
  X ay = abs(y), ax = abs(x);
  auto steep = gt(ay, ax);
  X num = select(steep, ax, ay), den = select(steep, ay, ax);
  auto both_infinite = eq(num, infinity<X>()) & eq(den, infinity<X>());
  num = select(both_infinite, one, num);
  den = select(both_infinite | eq(den, zero), one, den);
  // Keeps num + den finite; where this makes num denormal the quotient underflows anyway.
  X down = select(gt(den, constant<X>(is_f32<X> ? 0x1p100 : 0x1p1000)), constant<X>(0.25), one);
  Angle<X> r = reflect(atan_quotient(num * down, den * down), steep, 1);
  // The sign bit of x decides, so that -0 counts as negative.
  r = reflect(r, lt(flip_sign(one, sign_bit(x)), zero), 2);
  return flip_sign(sum_angle(r), sign_bit(y));
}

}  // namespace pd::vm
