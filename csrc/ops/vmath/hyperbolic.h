// tanh, sigmoid, sinh, cosh.
#pragma once
#include "ops/vmath/explog.h"

namespace pd::vm {

// (e^{2|x|} - 1) / (e^{2|x|} + 1), halves of both.
template <class X> PD_INLINE X tanh(X x) {
  X a = at_most(abs(x), is_f32<X> ? 10.0 : 22.0);
  X h = expm1_scaled<1>(a + a);
  return flip_sign(h / (h + constant<X>(1)), sign_bit(x));
}

// 1 / (1 + e^-x) for x >= 0 and e^x / (1 + e^x) below: no overflow, and denormal results are kept.
template <class X> PD_INLINE X sigmoid(X x) {
  X t = exp(-abs(x));
  return select(lt(x, constant<X>(0)), t, constant<X>(1)) / (constant<X>(1) + t);
}

// With h = (e^|x| - 1) / 4: sinh = 2 (h + h / (4h + 1)). The quarter keeps h finite wherever sinh is.
template <class X> PD_INLINE X sinh(X x) {
  X h = expm1_scaled<2>(at_most(abs(x), is_f32<X> ? 89.5 : 710.6));
  X r = h + h / fma(constant<X>(4), h, constant<X>(1));
  return select(lt(abs(x), constant<X>(1e-30)), x, flip_sign(r + r, sign_bit(x)));
}

// With h = e^|x| / 4: cosh = 2 (h + 1 / (16 h)).
template <class X> PD_INLINE X cosh(X x) {
  ExpArg<X> a = exp_reduce(at_most(abs(x), is_f32<X> ? 89.5 : 710.6));
  X h = exp_reduced(a.r) * power_of_two<X>(a.biased, 2);
  X r = h + constant<X>(0.0625) / h;
  return r + r;
}

}  // namespace pd::vm
