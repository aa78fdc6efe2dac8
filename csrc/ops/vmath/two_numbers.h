// hypot, logaddexp, logaddexp2.
#pragma once
#include "ops/vmath/explog.h"

namespace pd::vm {

// sqrt(a^2 + b^2). float: in double, where nothing overflows and products are exact. double: scaled away from overflow
// and underflow; what the roundings of the squares, their sum s and r = sqrt(s) dropped comes back divided by 2r.
template <class X> PD_INLINE X hypot(X a, X b) {
  a = abs(a), b = abs(b);
  X r;
  if constexpr (is_f32<X>) {
    auto x = cast<double>(a), y = cast<double>(b);
    r = cast<float>(sqrt(fma(x, x, y * y)));
  } else {
    const X one = constant<X>(1);
    auto order = gt(a, b);
    X m = select(order, a, b), n = select(order, b, a);
    auto big = gt(m, constant<X>(0x1p500)), small = lt(m, constant<X>(0x1p-480));
    X up = select(big, constant<X>(0x1p-600), select(small, constant<X>(0x1p600), one));
    X down = select(big, constant<X>(0x1p600), select(small, constant<X>(0x1p-600), one));
    m = m * up, n = n * up;
    Pair<X> p = two_prod(m, m), q = two_prod(n, n);
    Pair<X> s = fast_two_sum(p.hi, q.hi);
    X root = sqrt(s.hi);
    X lacks = fma(-root, root, s.hi) + (s.lo + (p.lo + q.lo));
    X step = lacks * (constant<X>(0.5) / select(eq(root, constant<X>(0)), one, root));
    r = (root + step) * down;
  }
  return select(eq(a, infinity<X>()) | eq(b, infinity<X>()), infinity<X>(), r);
}

// The larger of two, and how far the smaller is below it: 0 between infinities of one sign.
template <class X> struct TopGap { X top, gap; };
template <class X> PD_INLINE TopGap<X> top_and_gap(X a, X b) {
  auto order = gt(a, b);
  X top = select(order, a, b), low = select(order, b, a);
  return {top, select(eq(top, low), constant<X>(0), low - top)};
}

template <class X> PD_INLINE X logaddexp(X a, X b) {
  TopGap<X> t = top_and_gap(a, b);
  return t.top + log1p(exp(t.gap));
}
template <class X> PD_INLINE X logaddexp2(X a, X b) {
  TopGap<X> t = top_and_gap(a, b);
  return t.top + log2_1p(exp2(t.gap));
}

}  // namespace pd::vm
