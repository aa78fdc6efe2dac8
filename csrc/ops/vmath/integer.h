// Division rounded down, as Python's // and %: the remainder takes the sign of the divisor. Shifts by any number of places.
#pragma once
#include "ops/vmath/scalar.h"

namespace pd {

// Floats: exact while the quotient is below 2^24 (float32) or 2^53 (float64) in magnitude. Where rounding
// lifted a / b to a whole number, what is left has the wrong sign, and both step back: 1 // 0.1 is 9.
namespace floored {

template <class X> PD_INLINE X left(X a, X b, X q) {
  using T = typename X::scalar;
  if constexpr (std::is_floating_point<T>::value) return select(eq(q, X(T(0))), a, fma(-q, b, a));  // b may be infinite
  else return rem(a, b);
}

template <class X> PD_INLINE auto differs(X r, X b) {
  using T = typename X::scalar;
  return ne(r, X(T(0))) & ne(b, X(T(0))) & (lt(r, X(T(0))) ^ lt(b, X(T(0))));
}

}  // namespace floored

template <class X> PD_INLINE X floor_remainder(X a, X b) {
  using T = typename X::scalar;
  X q = a;
  if constexpr (std::is_floating_point<T>::value) q = trunc(a / b);
  X r = floored::left(a, b, q);
  return select(floored::differs(r, b), r + b, r);
}

template <class X> PD_INLINE X floor_quotient(X a, X b) {
  using T = typename X::scalar;
  if constexpr (std::is_floating_point<T>::value) {
    X exact = a / b, q = trunc(exact), r = floored::left(a, b, q);
    X down = select(floored::differs(r, b), q - X(T(1)), q);
    return select(eq(b, X(T(0))), exact, select(eq(r, r), down, r));
  } else {
    return select(floored::differs(rem(a, b), b), quot(a, b) - X(T(1)), quot(a, b));
  }
}

// By as many places as there are bits, or more, or by fewer than 0: nothing is left, but copies of the sign on the right.
// Of a narrow type (int8 in an int32) the bits beyond it are cut off afterwards.
namespace shifts {

template <class X> constexpr int kBits = 8 * static_cast<int>(sizeof(typename X::scalar));
template <class X> PD_INLINE auto too_far(X b) {
  using T = typename X::scalar;
  return ne(b & X(static_cast<T>(~static_cast<T>(kBits<X> - 1))), X(T(0)));
}
// One step for each bit of the count.
template <class X, class Step> PD_INLINE X by(X a, X b, Step step) {
  using T = typename X::scalar;
  for (int k = 1; k < kBits<X>; k *= 2) a = select(ne(b & X(static_cast<T>(k)), X(T(0))), step(a, k), a);
  return a;
}

}  // namespace shifts

template <class X> PD_INLINE X shift_left(X a, X b) {
  X moved = shifts::by(a, b, [](X x, int k) { return shl(x, k); });
  return select(shifts::too_far(b), X(typename X::scalar(0)), moved);
}

template <class X> PD_INLINE X shift_right(X a, X b) {
  using T = typename X::scalar;
  X moved = shifts::by(a, b, [](X x, int k) { return sar(x, k); });
  X gone(T(0));
  if constexpr (std::is_signed<T>::value) gone = sar(a, shifts::kBits<X> - 1);
  return select(shifts::too_far(b), gone, moved);
}

}  // namespace pd
