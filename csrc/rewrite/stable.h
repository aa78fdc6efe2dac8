// Stable forms: what a user writes and what loses digits, overflows or has a derivative of 0 * inf, recorded in the form
// that does not. log(1 + exp(x)) becomes logaddexp(x, 0).
//
// This happens while recording, so derivatives are those of the better form, and nothing depends on what was looked at.
// A tensor in the user's hands whose operation may begin such a form remembers its operand in a Head. python/ keeps it in
// the handle, so neither values nor the tape know of it: a Head ends with the handle, or when the handle is written to.
// The rules are a table in stable.cpp; docs/REWRITES.md lists them.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "autodiff/autodiff.h"
#include "ops/api.h"

namespace pd {
namespace stable {

// How a value was written, in terms of x.
enum class Form : uint8_t {
  None,
  Any,          // anything of a floating type; the number 1 too
  One,          // the Python number 1
  MinusOne,     // the Python number -1
  Exp,          // exp(x)
  NegExp,       // -exp(x)
  ExpLessOne,   // exp(x) - 1
  OneLessExp,   // 1 - exp(x)
  OneAndExp,    // 1 + exp(x)
  ExpAndExp,    // a sum of exp(x), exp(y), 1 + exp(z): `left` and `right`
  SumExp,       // sum(exp(x), axes)
  MeanExp,      // mean(exp(x), axes)
  Sigmoid,      // sigmoid(x)
  NegSigmoid,   // -sigmoid(x)
  Softmax,      // softmax(x, axes)
  OneAnd,       // 1 + x
  OneLess,      // 1 - x
  Max,          // the largest of x over axes
  Shifted       // x less that: a sum of its exponentials over these axes, or over more, is stable as it is written
};

struct Head;
void retain(Head* h);
void release(Head* h);
using HeadRef = Ref<Head>;

struct Head {
  int32_t refs = 0;
  Form form = Form::None;
  bool keepdim = false;
  bool last = false;   // x is turned to (n, *places, c), as the value is
  int terms = 1;       // of a sum of exponentials
  int brief = -1;      // its place among the heads that only the next ones keep
  Ints axes;           // of Exp: those over which x was shifted
  Var x;               // without an edge into the tape where the value has none
  TapeRef root;        // where x was made for the form: the node of what it was made of
  HeadRef left, right;
};

// A recorded result, with its head where it has one.
struct Recorded {
  Var v;
  HeadRef head;
  Recorded(Var v, HeadRef head = {}) : v(std::move(v)), head(std::move(head)) {}
};

bool& enabled();  // PYDIFF_STABLE; of the whole process

// May a form begin with this operation, whatever its operand? May a rule concern it, where the operand has a head?
constexpr bool begins(OpId id) { return id == op::exp || id == op::expm1 || id == op::sigmoid; }
constexpr bool concerns(OpId id) {
  return begins(id) || id == op::log || id == op::log1p || id == op::neg || id == op::reciprocal;
}
constexpr bool concerns_pair(OpId id) { return id == op::add || id == op::sub || id == op::div || id == op::pow; }
// Is it the Python number 1 or -1?
inline bool is_unit(const Var& x) {
  if (!x.v->is_scalar() || !(x.v->flags & kWeak)) return false;
  const double n = x.v->number();
  return n == 1 || n == -1;
}

// As unary and binary, true_divide, power of api.h. A head is that of the operand beside it, or null.
Recorded unary(OpId id, const Var& x, const Head* head, bool last = false);
Recorded binary(OpId id, const Var& a, const Head* ha, const Var& b, const Head* hb, bool last = false);
// As reduce(op::reduce_sum, …), mean and softmax.
Recorded sum(const Var& x, const Head* head, const Axes& axes, bool keepdim);
Recorded mean(const Var& x, const Head* head, const Axes& axes, bool keepdim);
Recorded softmax(const Var& x, int64_t axis);
// y, which is the largest of x over the axes.
Recorded largest(Var y, const Var& x, const Axes& axes);
// y, which is the same value without its place in the differentiation.
Recorded detached(Var y, const Head* head);

// How often each rule was applied.
std::vector<std::pair<std::string, int64_t>> counts();

// Filled by python/: is pydiff's own Python recording? What it composes is written in stable forms already.
extern bool (*g_in_own_code)();

}  // namespace stable
}  // namespace pd
