// The modified Bessel functions of the first kind, of orders 0 and 1, plain and times e^-|x|.
#pragma once
#include "ops/vmath/explog.h"

namespace pd::vm {

// For a = |x| < 7.75 the power series in z = a^2/4, cut; beyond, sqrt(a) e^-a I is smooth in 1/a (Abramowitz and Stegun
// 9.6.10, 9.7.1), here in u = 15.5/a - 1 from -1 to 1. Polynomials through the points of Chebyshev. I's relative error is
// that of z times a/2 I1/I0, hence the bound of the first.
template <int order, class X> PD_INLINE X bessel_i_near(X a) {
  X h = constant<X>(0.5) * a, z = h * h;
  if constexpr (order == 0) {
    X p = poly(z, 1.0, 0.24999999999999992, 0.027777777777778193, 0.0017361111111102966, 6.94444444452802e-05,
                    1.9290123451631045e-06, 3.9367599099045727e-08, 6.151186754543613e-10,
                    7.594069551501153e-12, 7.593903557238373e-14, 6.277630532172375e-16, 4.34736861701434e-18,
                    2.6331574754978573e-20, 1.14168242146674e-22, 9.057101759540622e-25);
    return fma(z, p, constant<X>(1));
  } else {
    X p = poly(z, 0.5, 0.08333333333333333, 0.006944444444444468, 0.0003472222222221753, 1.1574074074122209e-05,
                  2.755731922101424e-07, 4.920949873387826e-09, 6.834652255587899e-11,
                  7.594064839120684e-13, 6.9036001887486074e-15, 5.230961402080023e-17,
                  3.3462459024532227e-19, 1.873426145433944e-21, 7.764152311158415e-24, 5.51916538843413e-26);
    return fma(h * z, p, h);
  }
}
template <int order, class X> PD_INLINE X bessel_i_far(X a) {
  X u = constant<X>(15.5) / a - constant<X>(1), p;
  if constexpr (order == 0) {
    p = poly(u, 0.4022850564674586, 0.003478064623595485, 0.00014630498370430667, 1.2470619506991695e-05,
                1.7408594826323462e-06, 3.6969863933323284e-07, 1.1886657428396514e-07,
                5.6374693223420516e-08, 3.0103386632359844e-08, 6.064512875930854e-09,
                -1.6226703181974062e-08, -2.0872319684699343e-08, -2.240678874960561e-09,
                1.539859639937685e-08, 7.565459277473974e-09, -9.440448704624535e-09, -7.034701953327105e-09,
                5.149911202408893e-09, 4.579179840517921e-09, -2.2266653433329146e-09,
                -2.1116695090388936e-09, 6.357159438380997e-10, 6.121712063359067e-10, -8.636190259764532e-11,
                -8.285475316696053e-11);
  } else {
    p = poly(u, 0.38908372789601825, -0.010078728909315644, -0.00023517122407207722, -1.680582722467105e-05,
                -2.1490095327223734e-06, -4.321654960964498e-07, -1.336329280161556e-07,
                -6.175357323416661e-08, -3.2779351957263275e-08, -7.178695346460046e-09, 1.65643446553773e-08,
                2.2052319306175508e-08, 2.958037230660562e-09, -1.5848611972995965e-08, -8.28810200787858e-09,
                9.558566650010088e-09, 7.556027869811482e-09, -5.168605283655262e-09, -4.887772310086781e-09,
                2.226229886974229e-09, 2.24940368348181e-09, -6.347229666496968e-10, -6.518024229998795e-10,
                8.619624135245696e-11, 8.822934919531861e-11);
  }
  return p / sqrt(a);
}

template <int order, bool scaled, class X> PD_INLINE X bessel_i_f64(X x) {
  X a = abs(x);
  auto near = lt(a, constant<X>(7.75));
  X n = bessel_i_near<order>(select(near, a, constant<X>(1)));
  X f = bessel_i_far<order>(select(near, constant<X>(7.75), a));
  X r;
  if constexpr (scaled) {
    r = select(near, n * exp_normal(-at_most(a, 7.75)), f);
  } else {
    // The last product of scale_biased is the one that may overflow.
    ExpArg<X> e = exp_reduce(at_most(a, 720.0));
    r = select(near, n, scale_biased(exp_reduced(e.r) * f, e.biased));
    r = select(gt(a, constant<X>(719)), infinity<X>(), r);
  }
  return order ? flip_sign(r, sign_bit(x)) : r;
}

#define PD_BESSEL(name, order, scaled)                                                        \
  template <class X> PD_INLINE X name(X x) {                                                  \
    if constexpr (is_f32<X>) return cast<float>(bessel_i_f64<order, scaled>(cast<double>(x))); \
    else return bessel_i_f64<order, scaled>(x);                                               \
  }
PD_BESSEL(i0, 0, false)
PD_BESSEL(i1, 1, false)
PD_BESSEL(i0e, 0, true)
PD_BESSEL(i1e, 1, true)
#undef PD_BESSEL

}  // namespace pd::vm
