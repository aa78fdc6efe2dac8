// Division rounded down, as Python's // and %: the remainder takes the sign of the divisor.
#pragma once
#include "ops/vmath/scalar.h"

namespace pd {

// Floats: exact while the quotient is below 2^24 (float32) or 2^53 (float64) in magnitude.
template <class X> PD_INLINE X floor_remainder(X a, X b) {
  using T = typename X::scalar;
  if constexpr (std::is_floating_point<T>::value) {
    X q = trunc(a / b);
    X r = fma(-q, b, a);
    auto off = ne(r, X(T(0))) & (lt(r, X(T(0))) ^ lt(b, X(T(0))));
    return select(off, r + b, r);
  } else {
    X r = rem(a, b);
    auto off = ne(r, X(T(0))) & ne(b, X(T(0))) & (lt(r, X(T(0))) ^ lt(b, X(T(0))));
    return select(off, r + b, r);
  }
}

template <class X> PD_INLINE X floor_quotient(X a, X b) {
  using T = typename X::scalar;
  if constexpr (std::is_floating_point<T>::value) {
    return floor(a / b);
  } else {
    X q = quot(a, b), r = rem(a, b);
    auto off = ne(r, X(T(0))) & ne(b, X(T(0))) & (lt(r, X(T(0))) ^ lt(b, X(T(0))));
    return select(off, q - X(T(1)), q);
  }
}

}  // namespace pd
