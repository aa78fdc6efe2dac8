// The rows as functions over graph values, and the derivative column as structs.
//
// `G` is Var (records the derivative) or Mention (finds out what the derivative reads).
#pragma once
#include <tuple>

#include "graph/var.h"
#include "ops/op_ids.h"

namespace pd {

// A number of x's type, so that `1.0 - y * y` reads as it does on paper.
Var number_like(const Var& x, double c);

struct Mention {
  uint32_t mask = 0;  // bits 0…2 operands, 3 the result, 4 the cotangent
  Mention() = default;
  explicit Mention(uint32_t m) : mask(m) {}
};
inline Mention number_like(const Mention&, double) { return Mention(); }
inline Mention mention(std::initializer_list<Mention> l) {
  Mention r;
  for (const Mention& m : l) r.mask |= m.mask;
  return r;
}

#define ROW1(name, ...)                                                  \
  inline Var name(const Var& x) { return apply(op::name, {x}); }         \
  inline Mention name(const Mention& x) { return x; }
#define ROW2(name, ...)                                                                      \
  inline Var name(const Var& a, const Var& b) { return apply(op::name, {a, b}); }            \
  inline Mention name(const Mention& a, const Mention& b) { return mention({a, b}); }        \
  template <class G> G name(const G& a, double b) { return name(a, number_like(a, b)); }     \
  template <class G> G name(double a, const G& b) { return name(number_like(b, a), b); }
#define ROW3(name, ...)                                                                          \
  inline Var name(const Var& a, const Var& b, const Var& c) { return apply(op::name, {a, b, c}); } \
  inline Mention name(const Mention& a, const Mention& b, const Mention& c) { return mention({a, b, c}); } \
  template <class G> G name(const G& a, const G& b, double c) { return name(a, b, number_like(b, c)); } \
  template <class G> G name(const G& a, double b, const G& c) { return name(a, number_like(c, b), c); }
#define DRAW(name, ...)
#include "ops/all_rows.inc"

#define PD_OPERATOR(sym, row)                                                            \
  inline Var operator sym(const Var& a, const Var& b) { return row(a, b); }              \
  inline Mention operator sym(const Mention& a, const Mention& b) { return row(a, b); }  \
  inline Var operator sym(const Var& a, double b) { return row(a, b); }                  \
  inline Mention operator sym(const Mention& a, double) { return a; }                    \
  inline Var operator sym(double a, const Var& b) { return row(a, b); }                  \
  inline Mention operator sym(double, const Mention& b) { return b; }
PD_OPERATOR(+, add)
PD_OPERATOR(-, sub)
PD_OPERATOR(*, mul)
PD_OPERATOR(/, div)
#undef PD_OPERATOR
inline Var operator-(const Var& a) { return neg(a); }
inline Mention operator-(const Mention& a) { return a; }

namespace grads {

enum class DKind : uint8_t { Times, Linear, One, MinusOne, Zero, None };

template <class F>
struct Rule {
  DKind kind;
  F make;
};
struct Nothing {
  int operator()() const { return 0; }
};

#define D(...) grads::rule(grads::DKind::Times, [&] { return __VA_ARGS__; })
#define L(...) grads::rule(grads::DKind::Linear, [&] { return __VA_ARGS__; })
#define ONE grads::rule(grads::DKind::One, grads::Nothing())
#define MINUS_ONE grads::rule(grads::DKind::MinusOne, grads::Nothing())
#define ZERO grads::rule(grads::DKind::Zero, grads::Nothing())
#define NONE grads::rule(grads::DKind::None, grads::Nothing())
template <class F> Rule<F> rule(DKind k, F f) { return Rule<F>{k, f}; }

#define PD_RULES(...) std::make_tuple(__VA_ARGS__)

// Applies `visit(operand, rule)` to each rule of a row.
template <class Tuple, class Visit, size_t... I>
void each(Tuple&& t, Visit&& visit, std::index_sequence<I...>) {
  (visit(static_cast<int>(I), std::get<I>(t)), ...);
}

#define ROW1(name, TYPES, OUT, FWD, GRAD, ...)                                                            \
  struct name##_rules {                                                                                           \
    template <class G, class Visit> static void rules(const G* in, const G& y, const G& g, Visit visit) { \
      const G& x = in[0];                                                                                 \
      (void)x, (void)y, (void)g;                                                                          \
      each(PD_RULES GRAD, visit, std::make_index_sequence<1>());                                          \
    }                                                                                                     \
  };
#define ROW2(name, TYPES, OUT, FWD, GRAD, ...)                                                            \
  struct name##_rules {                                                                                           \
    template <class G, class Visit> static void rules(const G* in, const G& y, const G& g, Visit visit) { \
      const G &a = in[0], &b = in[1];                                                                     \
      (void)a, (void)b, (void)y, (void)g;                                                                 \
      each(PD_RULES GRAD, visit, std::make_index_sequence<2>());                                          \
    }                                                                                                     \
  };
#define ROW3(name, TYPES, OUT, FWD, GRAD, ...)                                                            \
  struct name##_rules {                                                                                           \
    template <class G, class Visit> static void rules(const G* in, const G& y, const G& g, Visit visit) { \
      const G &a = in[0], &b = in[1], &c = in[2];                                                         \
      (void)a, (void)b, (void)c, (void)y, (void)g;                                                        \
      each(PD_RULES GRAD, visit, std::make_index_sequence<3>());                                          \
    }                                                                                                     \
  };
#define DRAW(name, ...)                                                                                   \
  struct name##_rules {                                                                                           \
    template <class G, class Visit> static void rules(const G*, const G&, const G&, Visit visit) {        \
      each(PD_RULES(NONE, NONE, NONE), visit, std::make_index_sequence<3>());                             \
    }                                                                                                     \
  };
#include "ops/all_rows.inc"

}  // namespace grads
}  // namespace pd
