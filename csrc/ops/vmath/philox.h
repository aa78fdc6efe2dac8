// Philox 4x32-10 (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
// and the distributions drawn from one call of it.
#pragma once
#include "ops/vmath/explog.h"
#include "ops/vmath/trig.h"

namespace pd::vm {

// Four 32-bit words, each in the low half of a 64-bit integer whose high half is zero.
template <class I> struct Philox4 { I w[4]; };

template <class I> PD_INLINE I low32(I a) { return a & I(int64_t{0xffffffff}); }

// Counter words 0, 1 are ctr_lo64, words 2, 3 ctr_hi64 (low half first); so for the key.
template <class I> PD_INLINE Philox4<I> philox(I ctr_lo64, I ctr_hi64, I key64) {
  I c0 = low32(ctr_lo64), c1 = shr(ctr_lo64, 32), c2 = low32(ctr_hi64), c3 = shr(ctr_hi64, 32);
  I k0 = low32(key64), k1 = shr(key64, 32);
  auto round = [&] {
    I p0 = c0 * I(int64_t{0xD2511F53}), p1 = c2 * I(int64_t{0xCD9E8D57});
    I n0 = shr(p1, 32) ^ c1 ^ k0, n2 = shr(p0, 32) ^ c3 ^ k1;
    c0 = n0, c1 = low32(p1), c2 = n2, c3 = low32(p0);
    k0 = low32(k0 + I(int64_t{0x9E3779B9})), k1 = low32(k1 + I(int64_t{0xBB67AE85}));
  };
  round(), round(), round(), round(), round();
  round(), round(), round(), round(), round();
  return {{c0, c1, c2, c3}};
}

template <class I> PD_INLINE I bits32(I index, I stream, I key) { return philox(index, stream, key).w[0]; }

// A word w < 2^52 as a double, exactly: it is put into the significand of 2^52.
template <class I> PD_INLINE rebind<I, double> word_to_double(I w) {
  return from_bits(w | I(int64_t{0x4330000000000000})) - rebind<I, double>(4503599627370496.0);
}

// w0 and the upper 21 bits of w1 as 53 bits in [0, 1).
template <class I> PD_INLINE rebind<I, double> fraction53(I w0, I w1) {
  using D = rebind<I, double>;
  return fma(word_to_double(w0), D(0x1p-32), word_to_double(shr(w1, 11)) * D(0x1p-53));
}

// [0, 1), all multiples of 2^-24 (float) or 2^-53 (double) equally likely.
template <class F, class I> PD_INLINE F uniform(I index, I stream, I key) {
  Philox4<I> p = philox(index, stream, key);
  if constexpr (is_f32<F>) {
    return cast<float>(cast<int32_t>(shr(p.w[0], 8))) * F(0x1p-24f);
  } else {
    return fraction53(p.w[0], p.w[1]);
  }
}

// (0, 1), all odd multiples of 2^-53 equally likely.
template <class I> PD_INLINE rebind<I, double> open52(I index, I stream, I key) {
  using D = rebind<I, double>;
  Philox4<I> p = philox(index, stream, key);
  I top = shl(p.w[0], 20) | shr(p.w[1], 12);
  return (word_to_double(top & I(int64_t{0xfffffffffffff})) + D(0.5)) * D(0x1p-52);
}

// (0, 1), all odd multiples of 2^-24 (float) or 2^-53 (double) equally likely.
template <class F, class I> PD_INLINE F open_uniform(I index, I stream, I key) {
  if constexpr (is_f32<F>) {
    Philox4<I> p = philox(index, stream, key);
    return (cast<float>(cast<int32_t>(shr(p.w[0], 9))) + F(0.5f)) * F(0x1p-23f);
  } else {
    return open52(index, stream, key);
  }
}

// -log u: above 0, and up to 36.7 in float too.
template <class F, class I> PD_INLINE F exponential(I index, I stream, I key) {
  return cast<typename F::scalar>(-log(open52(index, stream, key)));
}

// sqrt(-2 log u1) cos(2 pi u2) (Box & Muller 1958). u1 lies in the middle of its cell of 2^-32 (float) or
// 2^-64 (double), rounded: in (0, 1], and fine near 0, so that the tail ends at 6.7 (float) or 9.5 sigma.
template <class F, class I> PD_INLINE F normal(I index, I stream, I key) {
  using D = rebind<I, double>;
  Philox4<I> p = philox(index, stream, key);
  if constexpr (is_f32<F>) {
    F u1 = cast<float>((word_to_double(p.w[0]) + D(0.5)) * D(0x1p-32));
    F u2 = cast<float>(cast<int32_t>(shr(p.w[1], 8))) * F(0x1p-24f);
    return sqrt(F(-2) * log(u1)) * cos(F(6.28318531f) * u2);
  } else {
    D u1 = fma(word_to_double(p.w[0]), D(0x1p-32), (word_to_double(p.w[1]) + D(0.5)) * D(0x1p-64));
    D u2 = fraction53(p.w[2], p.w[3]);
    return sqrt(F(-2) * log(u1)) * cos(F(6.283185307179586) * u2);
  }
}

}  // namespace pd::vm
