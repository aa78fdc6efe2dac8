// Types that only memory has: how an element becomes a number to compute with, and how a number becomes an element.
//
// An element of such a type travels as a carrier, an int32 (of uint32 an int64): its bits for a float, its value for an
// integer. `widen` gives the number that the carrier stands for; `narrow` rounds (to nearest, ties to even; too large
// gives infinity) or wraps a number, and gives the carrier.
#pragma once
#include "base/dtype.h"
#include "ops/vmath/scalar.h"

namespace pd {

namespace detail {

// The float32 next to a float64 toward zero, its last bit set where that is not exact: rounding it once more to a
// format of at most 22 bits gives what rounding the float64 once gives (Boldo and Melquiond, "round to odd", 2008).
template <class X> PD_INLINE auto rounded_to_odd(X d) {
  auto f = cast<float>(d);
  auto back = cast<double>(f);
  auto i = bits(f);
  using I = decltype(i);
  i = select(gt(abs(back), abs(d)), i - I(1), i);
  return from_bits(select(ne(back, d), i | I(1), i));
}

template <class X> PD_INLINE auto as_float32(X x) {
  if constexpr (std::is_same<typename X::scalar, double>::value) return rounded_to_odd(x);
  else return x;
}

}  // namespace detail

struct Float16 {
  using memory = uint16_t;
  template <class I> static PD_INLINE auto widen(I h) {
    const I sign = shl(h & I(0x8000), 16), magnitude = shl(h & I(0x7fff), 13), exponent = magnitude & I(0x0f800000);
    const I normal = magnitude + I(0x38000000);  // the exponent's offset, 127 - 15
    // A denormal is its bits times 2^-24: subtracting 2^-14 from a number in [2^-14, 2^-13) is exact.
    const auto small = from_bits(magnitude + I(0x38800000)) - from_bits(I(0x38800000));
    const I special = normal + I(0x38000000);
    const I r = select(eq(exponent, I(0)), bits(small), select(eq(exponent, I(0x0f800000)), special, normal));
    return from_bits(r | sign);
  }
  template <class X> static PD_INLINE auto narrow(X x) {
    const auto i = bits(detail::as_float32(x));
    using I = std::decay_t<decltype(i)>;
    const I magnitude = i & I(0x7fffffff);
    // Below 2^-14: adding 0.5, whose last bit is 2^-24, rounds to a multiple of that.
    const auto half = from_bits(I(0x3f000000));
    const I small = bits(from_bits(magnitude) + half) - I(0x3f000000);
    const I odd = shr(magnitude, 13) & I(1);
    const I normal = shr(magnitude - I(0x38000000) + I(0xfff) + odd, 13);
    const I large = select(gt(magnitude, I(0x7f800000)), I(0x7e00), I(0x7c00));
    const I r = select(lt(magnitude, I(0x38800000)), small, select(lt(magnitude, I(0x47800000)), normal, large));
    return r | shr(i & I(std::numeric_limits<int32_t>::min()), 16);
  }
};

struct BFloat16 {
  using memory = uint16_t;
  template <class I> static PD_INLINE auto widen(I h) { return from_bits(shl(h, 16)); }
  template <class X> static PD_INLINE auto narrow(X x) {
    const auto i = bits(detail::as_float32(x));
    using I = std::decay_t<decltype(i)>;
    const I rounded = shr(i + I(0x7fff) + (shr(i, 16) & I(1)), 16);
    return select(gt(i & I(0x7fffffff), I(0x7f800000)), I(0x7fc0), rounded);
  }
};

// M lies in the low bits of its carrier.
template <class M, class Carrier> struct NarrowInteger {
  using memory = M;
  static constexpr int kOver = 8 * static_cast<int>(sizeof(Carrier) - sizeof(M));
  template <class I> static PD_INLINE I widen(I c) { return c; }
  template <class I> static PD_INLINE I narrow(I x) {
    if constexpr (std::is_signed<M>::value) return sar(shl(x, kOver), kOver);
    else return x & I(static_cast<Carrier>(std::numeric_limits<M>::max()));
  }
};

template <DType T> struct narrow_of;
template <> struct narrow_of<DType::F16> : Float16 {};
template <> struct narrow_of<DType::BF16> : BFloat16 {};
template <> struct narrow_of<DType::U8> : NarrowInteger<uint8_t, int32_t> {};
template <> struct narrow_of<DType::I8> : NarrowInteger<int8_t, int32_t> {};
template <> struct narrow_of<DType::U16> : NarrowInteger<uint16_t, int32_t> {};
template <> struct narrow_of<DType::I16> : NarrowInteger<int16_t, int32_t> {};
template <> struct narrow_of<DType::U32> : NarrowInteger<uint32_t, int64_t> {};

// f(narrow_of<t>()) of a narrow type; f(int()) of another.
template <class F> auto with_narrow(DType t, F f) {
  switch (t) {
    case DType::F16: return f(narrow_of<DType::F16>());
    case DType::BF16: return f(narrow_of<DType::BF16>());
    case DType::U8: return f(narrow_of<DType::U8>());
    case DType::I8: return f(narrow_of<DType::I8>());
    case DType::U16: return f(narrow_of<DType::U16>());
    case DType::I16: return f(narrow_of<DType::I16>());
    case DType::U32: return f(narrow_of<DType::U32>());
    default: return f(0);
  }
}

}  // namespace pd
