// Argument reduction of sin, cos and tan: |x| = (n + y) pi/2, |y| <= 1/2, for every finite x
// (Payne & Hanek 1983). Bits of 2/pi so high that x times them is a multiple of 4 are left out, so
// what must be multiplied is a window of 2/pi that moves with the exponent of x.
#pragma once
#include <utility>

#include "ops/vmath/poly.h"

namespace pd::vm {

// v - 4 rint(v/4), exactly.
template <class X> PD_INLINE X mod4(X v) { return fma(constant<X>(-4), rint(constant<X>(0.25) * v), v); }

// float: x (as a double D, x >= 0) has 24 bits, so its products with the two 29-bit leading parts of
// the window are exact, and a third part of 53 bits brings y to 2^-58. The window moves in steps of
// 26 bits. n is in the low bits of `index`, mod 4.
template <class D> struct Quarter { D y; Int<D> index; };
template <class D> PD_INLINE Quarter<D> quarter_turns_f32(D x) {
  auto window = [&](double w0, double w1, double w2, double w3) {
    D w = select(lt(x, constant<D>(0x1p104)), constant<D>(w2), constant<D>(w3));
    w = select(lt(x, constant<D>(0x1p78)), constant<D>(w1), w);
    return select(lt(x, constant<D>(0x1p52)), constant<D>(w0), w);
  };
  D a = window(0x1.45f306dp-1, 0x1.727220ap-27, 0x1.4a7f09cp-54, 0x1.abe8fa9p-79);
  D b = window(0x1.9391054p-30, 0x1.29fc275p-56, 0x1.5f47d4dp-82, 0x1.4ddc0dbp-108);
  D c = window(0x1.4fe13abe8fa9ap-59, 0x1.f47d4d377036ep-86, 0x1.bb81b6c52b328p-113, 0x1.8a5664f10e410p-138);
  D m0 = mod4(x * a), m1 = mod4(x * b);
  Rounded<D> n = round_to_int(m0 + m1);
  return {fma(x, c, (m0 - n.value) + m1), n.index};
}

// double: 2/pi in 25 words of 48 bits, word i having weight 2^-48(i+1).
inline constexpr int64_t two_over_pi[25] = {
    0xa2f9836e4e44, 0x1529fc2757d1, 0xf534ddc0db62, 0x95993c439041, 0xfe5163abdebb, 0xc561b7246e3a, 0x424dd2e00649,
    0x2eea09d1921c, 0xfe1deb1cb129, 0xa73ee88235f5, 0x2ebb4484e99c, 0x7026b45f7e41, 0x3991d6398353, 0x39f49c845f8b,
    0xbdf9283b1ff8, 0x97ffde05980f, 0xef2f118b5a0a, 0x6d1f6d367ecf, 0x27cb09b74f46, 0x3f669e5fea2d, 0x7527bac7ebe5,
    0xf17b3d0739f7, 0x8a5292ea6bfb, 0x5fb11f8d5d08, 0x56033046fc7b};

template <class X, int N> struct Words { X w[N]; };

template <class X, std::size_t... I> PD_INLINE Words<X, 25> all_words(std::index_sequence<I...>) {
  return {{constant<X>(static_cast<double>(two_over_pi[I]) * 0x1p-48)...}};
}
// One stage of a barrel shifter: the first sizeof...(I) words, `step` further on where c holds.
template <int step, class B, class X, int N, std::size_t... I>
PD_INLINE Words<X, static_cast<int>(sizeof...(I))> shift_words(B c, const Words<X, N>& a, std::index_sequence<I...>) {
  return {{(I + step < N ? select(c, a.w[I + step < N ? I + step : 0], a.w[I]) : a.w[I])...}};
}
template <int bit, int M, class X, int N> PD_INLINE Words<X, M> shift_words(Int<X> j, const Words<X, N>& a) {
  return shift_words<1 << bit>(bit_set<bit>(j), a, std::make_index_sequence<M>());
}

// s += v, returning what the rounding of s dropped; s stays in one binade far above v, so that is exact.
template <class X> PD_INLINE X absorb(X& s, X v) {
  Pair<X> t = fast_two_sum(s, v);
  s = t.hi;
  return t.lo;
}

template <class X> struct Reduced { X r, r_lo; Int<X> index; };

// x >= 0 double; r + r_lo = y pi/2 to a relative 2^-60 or so. The closest that a double comes to a multiple
// of pi/2 is about 2^-61, so y needs some 2^-117 of absolute accuracy.
template <class X> PD_INLINE Reduced<X> reduce_f64(X x) {
  // j words may be left out when x is a multiple of 2^(48 j + 3); its last bit weighs 2^(exponent field - 1075).
  Int<X> t = shr(bits(x), 52) - integer<X>(1078);
  t = select(lt(t, integer<X>(0)), integer<X>(0), t);
  Int<X> j = shr(t * integer<X>(1366), 16);  // t / 48 for t < 970
  Words<X, 20> v16 = shift_words<4, 20>(j, all_words<X>(std::make_index_sequence<25>()));
  Words<X, 12> v8 = shift_words<3, 12>(j, v16);
  Words<X, 8> v4 = shift_words<2, 8>(j, v8);
  Words<X, 6> v2 = shift_words<1, 6>(j, v4);
  Words<X, 5> v = shift_words<0, 5>(j, v2);

  // x 2^-48j, below 2^104, times the five words.
  const X down = constant<X>(0x1p-48);
  X x0 = from_bits(bits(x) - (shl(j, 57) + shl(j, 56)));
  X x1 = x0 * down, x2 = x1 * down, x3 = x2 * down, x4 = x3 * down;
  Pair<X> p0 = two_prod(x0, v.w[0]), p1 = two_prod(x1, v.w[1]), p2 = two_prod(x2, v.w[2]), p3 = two_prod(x3, v.w[3]);

  // Exact sums on two grids: s has steps of 2^-46 and s2 of 2^-90; what s drops goes to s2, what s2 drops to s3.
  const X grid = constant<X>(0x1.8p6), grid2 = constant<X>(0x1.8p-38);
  X s = grid, s2 = grid2;
  X d0 = absorb(s, mod4(p0.hi)), d1 = absorb(s, mod4(p0.lo)), d2 = absorb(s, mod4(p1.hi));
  X d3 = absorb(s, mod4(p2.hi)), d4 = absorb(s, p1.lo);
  X s3 = fma(x4, v.w[4], p3.lo);
  s3 = s3 + absorb(s2, p3.hi);
  s3 = s3 + absorb(s2, p2.lo);
  s3 = s3 + absorb(s2, d0);
  s3 = s3 + absorb(s2, d1);
  s3 = s3 + absorb(s2, d2);
  s3 = s3 + absorb(s2, d3);
  s3 = s3 + absorb(s2, d4);

  Rounded<X> n = round_to_int(s - grid);
  Pair<X> y = two_sum((s - grid) - n.value, s2 - grid2);
  y = fast_two_sum(y.hi, y.lo + s3);
  const X half_pi = constant<X>(0x1.921fb54442d18p+0), half_pi_lo = constant<X>(0x1.1a62633145c07p-54);
  Pair<X> r = two_prod(y.hi, half_pi);
  r.lo = r.lo + fma(y.hi, half_pi_lo, y.lo * half_pi);

  // Below pi/4 x is its own remainder, which also keeps what is too small for the products. The last
  // select is for inf and NaN.
  auto small = lt(x, constant<X>(0.78));
  const X zero = constant<X>(0);
  X hi = select(small, x, select(lt(x, infinity<X>()), r.hi, nan<X>()));
  return {hi, select(small, zero, r.lo), select(small, integer<X>(0), n.index)};
}

}  // namespace pd::vm
