// Pieces that every family of vmath shares: polynomials, signs, exact sums.
//
// Coefficients in this folder are minimax fits (Remez exchange in 110 to 160 bits over the stated
// interval, weighted for relative error of the final result); low-order ones were rounded to T one
// at a time, the rest refitted after each.
#pragma once
#include "ops/vmath/scalar.h"

namespace pd::vm {

template <class X> inline constexpr bool is_f32 = std::is_same<typename X::scalar, float>::value;

template <class X> PD_INLINE X constant(double c) { return X(static_cast<typename X::scalar>(c)); }
template <class X> PD_INLINE Int<X> integer(int64_t c) {
  return Int<X>(static_cast<int_of_t<typename X::scalar>>(c));
}
template <class X> PD_INLINE X infinity() { return X(std::numeric_limits<typename X::scalar>::infinity()); }
template <class X> PD_INLINE X nan() { return X(std::numeric_limits<typename X::scalar>::quiet_NaN()); }

// c0 + c1 x + c2 x^2 + ..., by Horner's rule.
template <class X> PD_INLINE X poly(X, double c0) { return constant<X>(c0); }
template <class X, class... C> PD_INLINE X poly(X x, double c0, C... rest) {
  return fma(poly(x, rest...), x, constant<X>(c0));
}

template <class X> inline constexpr int mantissa_bits = is_f32<X> ? 23 : 52;

template <class X> PD_INLINE Int<X> sign_bit(X x) {
  constexpr auto mask = std::numeric_limits<int_of_t<typename X::scalar>>::min();
  return bits(x) & Int<X>(mask);
}
// a with its sign flipped where s (a sign_bit) is set.
template <class X> PD_INLINE X flip_sign(X a, Int<X> s) { return from_bits(bits(a) ^ s); }

// Bit k of i. Not (i & 1<<k) != 0: g++ 12 makes that a conversion to a one-bit type where k = 0, which it
// does not vectorise.
template <int k, class I> PD_INLINE typename I::Bool bit_set(I i) {
  using T = typename I::scalar;
  return lt(shl(i, static_cast<int>(sizeof(T)) * 8 - 1 - k), I(T(0)));
}

// a + b = sum + error exactly. fast_two_sum asks |a| >= |b| or a = 0 (Dekker 1971); two_sum asks
// nothing (Knuth, TAOCP 2, 4.2.2).
template <class X> struct Pair { X hi, lo; };
template <class X> PD_INLINE Pair<X> fast_two_sum(X a, X b) {
  X s = a + b;
  return {s, b - (s - a)};
}
template <class X> PD_INLINE Pair<X> two_sum(X a, X b) {
  X s = a + b;
  X t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
template <class X> PD_INLINE Pair<X> two_prod(X a, X b) {
  X p = a * b;
  return {p, fma(a, b, -p)};
}

// Clamps that let NaN through.
template <class X> PD_INLINE X at_least(X x, double lo) { return select(lt(x, constant<X>(lo)), constant<X>(lo), x); }
template <class X> PD_INLINE X at_most(X x, double hi) { return select(gt(x, constant<X>(hi)), constant<X>(hi), x); }

// rint(x) as a float and as an integer, for |x| < 2^(mantissa_bits-2): adding 1.5*2^mantissa_bits
// leaves the integer in the low bits of the significand.
template <class X> struct Rounded { X value; Int<X> index; };
template <class X> PD_INLINE Rounded<X> round_to_int(X x) {
  const X magic = constant<X>(is_f32<X> ? 12582912.0 : 6755399441055744.0);
  X t = x + magic;
  return {t - magic, bits(t)};
}

}  // namespace pd::vm
