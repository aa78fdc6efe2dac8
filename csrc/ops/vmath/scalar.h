// The value types that mathematical functions are written over.
//
// A function of vmath is a template over X, which is V<T> (a number: the interpreter's loops) or
// E<T> (an expression tree: what the emitters print, see ops/expr.h). It is built of the
// primitives below and nothing else, so that every back end computes the same bits:
//
//   a+b a-b a*b -a            float: IEEE, never contracted; integer: wrap-around
//   a/b                       float only
//   fma(a,b,c) sqrt(a)        correctly rounded
//   abs floor ceil trunc rint float (rint: to nearest, ties to even); abs of an integer wraps, of an unsigned one is it
//   lt le gt ge eq ne         IEEE comparisons, X::Bool
//   a&b a|b a^b ~a            integer and Bool
//   shl(a,k) shr(a,k) sar(a,k)  integer by a constant k: left, logical right, arithmetic right (uint64: logical)
//   select(c,a,b)             c ? a : b, without evaluating less
//   bits(a) from_bits(i)      float <-> integer of the same width, the same bits
//   cast<U>(a)                to another scalar type: float->int truncates, saturates, NaN gives 0;
//                             int->int wraps; anything->bool is a != 0; of uint64 see float_to_u64
//   quot(a,b) rem(a,b)        integer division toward zero; b==0 gives quot of all bits set and rem a, MIN/-1 wraps
//   X(c)                      a constant of type T
//
// X::scalar is T; rebind<X,U> the same kind of value over U; Int<X> the integer of T's width.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#define PD_INLINE inline __attribute__((always_inline))

namespace pd {

template <class T> struct int_of { using type = T; };
template <> struct int_of<float> { using type = int32_t; };
template <> struct int_of<double> { using type = int64_t; };
template <class T> using int_of_t = typename int_of<T>::type;

template <class T>
struct V {
  using scalar = T;
  template <class U> using to = V<U>;
  using Bool = V<bool>;
  T v;
  V() = default;
  PD_INLINE constexpr V(T x) : v(x) {}
};

template <class X, class U> using rebind = typename X::template to<U>;
template <class X> using Int = rebind<X, int_of_t<typename X::scalar>>;

namespace detail {
template <class T> using wrap_t = std::conditional_t<std::is_same<T, bool>::value, bool, std::make_unsigned<T>>;
template <class T, class F> PD_INLINE T wrap(T a, T b, F f) {
  if constexpr (std::is_integral<T>::value && !std::is_same<T, bool>::value) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(f(static_cast<U>(a), static_cast<U>(b)));
  } else {
    return static_cast<T>(f(a, b));
  }
}
}  // namespace detail

#define PD_ARITH(op)                                                                        \
  template <class T> PD_INLINE V<T> operator op(V<T> a, V<T> b) {                           \
    return detail::wrap(a.v, b.v, [](auto x, auto y) { return x op y; });                   \
  }
PD_ARITH(+)
PD_ARITH(-)
PD_ARITH(*)
#undef PD_ARITH
template <class T> PD_INLINE V<T> operator/(V<T> a, V<T> b) { return V<T>(a.v / b.v); }
template <class T> PD_INLINE V<T> operator-(V<T> a) {
  if constexpr (std::is_floating_point<T>::value) return V<T>(-a.v);
  else return V<T>(T(0)) - a;
}

#define PD_CMP(name, op) \
  template <class T> PD_INLINE V<bool> name(V<T> a, V<T> b) { return V<bool>(a.v op b.v); }
PD_CMP(lt, <)
PD_CMP(le, <=)
PD_CMP(gt, >)
PD_CMP(ge, >=)
PD_CMP(eq, ==)
PD_CMP(ne, !=)
#undef PD_CMP

#define PD_BIT(op) \
  template <class T> PD_INLINE V<T> operator op(V<T> a, V<T> b) { return V<T>(static_cast<T>(a.v op b.v)); }
PD_BIT(&)
PD_BIT(|)
PD_BIT(^)
#undef PD_BIT
template <class T> PD_INLINE V<T> operator~(V<T> a) {
  if constexpr (std::is_same<T, bool>::value) return V<T>(!a.v);
  else return V<T>(static_cast<T>(~a.v));
}
template <class T> PD_INLINE V<T> shl(V<T> a, int k) {
  return V<T>(static_cast<T>(static_cast<std::make_unsigned_t<T>>(a.v) << k));
}
template <class T> PD_INLINE V<T> shr(V<T> a, int k) {
  return V<T>(static_cast<T>(static_cast<std::make_unsigned_t<T>>(a.v) >> k));
}
template <class T> PD_INLINE V<T> sar(V<T> a, int k) { return V<T>(static_cast<T>(a.v >> k)); }

template <class T> PD_INLINE V<T> select(V<bool> c, V<T> a, V<T> b) { return V<T>(c.v ? a.v : b.v); }

PD_INLINE V<float> fma(V<float> a, V<float> b, V<float> c) { return __builtin_fmaf(a.v, b.v, c.v); }
PD_INLINE V<double> fma(V<double> a, V<double> b, V<double> c) { return __builtin_fma(a.v, b.v, c.v); }
PD_INLINE V<float> sqrt(V<float> a) { return __builtin_sqrtf(a.v); }
PD_INLINE V<double> sqrt(V<double> a) { return __builtin_sqrt(a.v); }
#define PD_ROUND(name, builtin)                                              \
  PD_INLINE V<float> name(V<float> a) { return __builtin_##builtin##f(a.v); } \
  PD_INLINE V<double> name(V<double> a) { return __builtin_##builtin(a.v); }
PD_ROUND(floor, floor)
PD_ROUND(ceil, ceil)
PD_ROUND(trunc, trunc)
PD_ROUND(rint, rint)
#undef PD_ROUND
template <class T> PD_INLINE V<T> abs(V<T> a) {
  if constexpr (std::is_same<T, float>::value) return V<T>(__builtin_fabsf(a.v));
  else if constexpr (std::is_same<T, double>::value) return V<T>(__builtin_fabs(a.v));
  else if constexpr (std::is_unsigned<T>::value) return a;
  else return select(lt(a, V<T>(T(0))), -a, a);
}

template <class T> PD_INLINE V<int_of_t<T>> bits(V<T> a) {
  int_of_t<T> r;
  std::memcpy(&r, &a.v, sizeof r);
  return V<int_of_t<T>>(r);
}
PD_INLINE V<float> from_bits(V<int32_t> a) {
  float r;
  std::memcpy(&r, &a.v, sizeof r);
  return V<float>(r);
}
PD_INLINE V<double> from_bits(V<int64_t> a) {
  double r;
  std::memcpy(&r, &a.v, sizeof r);
  return V<double>(r);
}

template <class U, class T> V<U> cast(V<T> a);

// To uint64 by way of int64: toward zero; what is negative wraps as its int64 does, what is too large gives the largest,
// NaN gives 0.
template <class X> PD_INLINE auto float_to_u64(X a) {
  using I = typename X::template to<int64_t>;
  const X half(static_cast<typename X::scalar>(9223372036854775808.0));
  const auto upper = ge(a, half);
  const I low = cast<int64_t>(select(upper, a - half, a));
  return cast<uint64_t>(select(upper, low ^ I(std::numeric_limits<int64_t>::min()), low));
}

template <class U, class T> PD_INLINE V<U> cast(V<T> a) {
  if constexpr (std::is_same<U, bool>::value) {
    return V<bool>(a.v != T(0));
  } else if constexpr (std::is_floating_point<T>::value && std::is_same<U, uint64_t>::value) {
    return float_to_u64(a);
  } else if constexpr (std::is_floating_point<T>::value && std::is_integral<U>::value) {
    // 2^(bits-1) is exact in T; below it the conversion is defined.
    constexpr T top = static_cast<T>(sizeof(U) == 4 ? 2147483648.0 : 9223372036854775808.0);
    T inside = (a.v < top && a.v >= -top) ? a.v : T(0);
    U r = static_cast<U>(inside);
    r = a.v >= top ? std::numeric_limits<U>::max() : r;
    return V<U>(a.v < -top ? std::numeric_limits<U>::min() : r);
  } else {
    return V<U>(static_cast<U>(a.v));
  }
}

template <class T> PD_INLINE V<T> quot(V<T> a, V<T> b) {
  if (b.v == 0) return V<T>(T(-1));
  if (std::is_signed<T>::value && b.v == T(-1)) return -a;
  return V<T>(static_cast<T>(a.v / b.v));
}
template <class T> PD_INLINE V<T> rem(V<T> a, V<T> b) {
  if (b.v == 0) return a;
  if (std::is_signed<T>::value && b.v == T(-1)) return V<T>(T(0));
  return V<T>(static_cast<T>(a.v % b.v));
}

}  // namespace pd
