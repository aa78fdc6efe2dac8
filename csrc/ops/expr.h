// E<T>: the value type over which a row's forward becomes a scalar expression tree.
//
// The emitters print the tree. Equal sub-expressions are one node, in the order in which the C++
// expression built them, so the printed kernel is the same from run to run.
#pragma once
#include <cstring>
#include <vector>

#include "base/dtype.h"
#include "ops/vmath/scalar.h"

namespace pd {

// clang-format off
enum class Sc : uint8_t {
  Input, Const, Add, Sub, Mul, Div, Neg, Fma, Sqrt, Abs, Floor, Ceil, Trunc, Rint,
  Lt, Le, Gt, Ge, Eq, Ne, And, Or, Xor, Not, Shl, Shr, Sar, Select, Bits, FromBits, Cast, Quot, Rem
};
// clang-format on

struct ExprNode {
  Sc op;
  DType type;            // of the result
  int32_t a, b, c;       // operands, or the number of an input in `a`
  int64_t imm;           // the bits of a constant, or the count of a shift
  bool operator==(const ExprNode& o) const {
    return op == o.op && type == o.type && a == o.a && b == o.b && c == o.c && imm == o.imm;
  }
};

struct ExprTree {
  std::vector<ExprNode> nodes;  // operands before users
  int32_t result = -1;
  int inputs = 0;

  int32_t add(Sc op, DType type, int32_t a = -1, int32_t b = -1, int32_t c = -1, int64_t imm = 0) {
    ExprNode n{op, type, a, b, c, imm};
    for (size_t i = 0; i < nodes.size(); ++i)
      if (nodes[i] == n) return static_cast<int32_t>(i);
    nodes.push_back(n);
    return static_cast<int32_t>(nodes.size() - 1);
  }
  static ExprTree*& building() {
    static thread_local ExprTree* t = nullptr;
    return t;
  }
};

template <class T>
struct E {
  using scalar = T;
  template <class U> using to = E<U>;
  using Bool = E<bool>;
  int32_t id = -1;

  E() = default;
  explicit E(T c) {
    int64_t imm = 0;
    std::memcpy(&imm, &c, sizeof c);
    id = ExprTree::building()->add(Sc::Const, dtype_of<T>::value, -1, -1, -1, imm);
  }
  static E at(int32_t id) {
    E e;
    e.id = id;
    return e;
  }
};

namespace detail {
template <class R> R node(Sc op, int32_t a, int32_t b = -1, int32_t c = -1, int64_t imm = 0) {
  return R::at(ExprTree::building()->add(op, dtype_of<typename R::scalar>::value, a, b, c, imm));
}
}  // namespace detail

#define PD_E2(op, sc) \
  template <class T> E<T> operator op(E<T> a, E<T> b) { return detail::node<E<T>>(Sc::sc, a.id, b.id); }
PD_E2(+, Add)
PD_E2(-, Sub)
PD_E2(*, Mul)
PD_E2(/, Div)
PD_E2(&, And)
PD_E2(|, Or)
PD_E2(^, Xor)
#undef PD_E2
template <class T> E<T> operator-(E<T> a) { return detail::node<E<T>>(Sc::Neg, a.id); }
template <class T> E<T> operator~(E<T> a) { return detail::node<E<T>>(Sc::Not, a.id); }

#define PD_ECMP(name, sc) \
  template <class T> E<bool> name(E<T> a, E<T> b) { return detail::node<E<bool>>(Sc::sc, a.id, b.id); }
PD_ECMP(lt, Lt)
PD_ECMP(le, Le)
PD_ECMP(gt, Gt)
PD_ECMP(ge, Ge)
PD_ECMP(eq, Eq)
PD_ECMP(ne, Ne)
#undef PD_ECMP

#define PD_E1(name, sc) \
  template <class T> E<T> name(E<T> a) { return detail::node<E<T>>(Sc::sc, a.id); }
PD_E1(sqrt, Sqrt)
PD_E1(floor, Floor)
PD_E1(ceil, Ceil)
PD_E1(trunc, Trunc)
PD_E1(rint, Rint)
#undef PD_E1
template <class T> E<T> abs(E<T> a) {
  if constexpr (std::is_unsigned<T>::value) return a;
  else return detail::node<E<T>>(Sc::Abs, a.id);
}
template <class T> E<T> fma(E<T> a, E<T> b, E<T> c) { return detail::node<E<T>>(Sc::Fma, a.id, b.id, c.id); }
template <class T> E<T> quot(E<T> a, E<T> b) { return detail::node<E<T>>(Sc::Quot, a.id, b.id); }
template <class T> E<T> rem(E<T> a, E<T> b) { return detail::node<E<T>>(Sc::Rem, a.id, b.id); }
template <class T> E<T> shl(E<T> a, int k) { return detail::node<E<T>>(Sc::Shl, a.id, -1, -1, k); }
template <class T> E<T> shr(E<T> a, int k) { return detail::node<E<T>>(Sc::Shr, a.id, -1, -1, k); }
template <class T> E<T> sar(E<T> a, int k) { return detail::node<E<T>>(Sc::Sar, a.id, -1, -1, k); }
template <class T> E<T> select(E<bool> c, E<T> a, E<T> b) {
  return detail::node<E<T>>(Sc::Select, c.id, a.id, b.id);
}
template <class T> E<int_of_t<T>> bits(E<T> a) { return detail::node<E<int_of_t<T>>>(Sc::Bits, a.id); }
inline E<float> from_bits(E<int32_t> a) { return detail::node<E<float>>(Sc::FromBits, a.id); }
inline E<double> from_bits(E<int64_t> a) { return detail::node<E<double>>(Sc::FromBits, a.id); }
template <class U, class T> E<U> cast(E<T> a) {
  if constexpr (std::is_same<U, T>::value) return a;
  else if constexpr (std::is_floating_point<T>::value && std::is_same<U, uint64_t>::value) return float_to_u64(a);
  else return detail::node<E<U>>(Sc::Cast, a.id);
}

}  // namespace pd
