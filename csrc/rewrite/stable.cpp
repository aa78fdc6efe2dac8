#include "rewrite/stable.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/debug.h"
#include "ops/families.h"

namespace pd {
namespace stable {

bool (*g_in_own_code)() = nullptr;

bool& enabled() {
  static bool on = [] {
    const char* text = std::getenv("PYDIFF_STABLE");
    return !text || (std::strcmp(text, "off") != 0 && std::strcmp(text, "0") != 0);
  }();
  return on;
}

// ---- heads

namespace {

// A head keeps its operand alive. Where the value has an edge into the tape that is as long as its handle lives. Where it
// has none (no_grad, data), and where only digits or time are at stake (the forms from 1 + x on), only these latest ones do.
constexpr int kBrief = 64;
constexpr int kMaxTerms = 16;  // of a sum of exponentials
Head* g_brief[kBrief];
int g_next_brief = 0;

std::vector<Head*>& free_heads() {
  static auto* f = new std::vector<Head*>;
  return *f;
}

Head* new_head() {
  auto& pool = free_heads();
  if (pool.empty()) return new Head;
  Head* h = pool.back();
  pool.pop_back();
  return h;
}

void forget(Head* h) {
  h->form = Form::None;
  h->x = Var();
  h->root.reset();
  h->left.reset();
  h->right.reset();
}

void make_brief(Head* h) {
  Head*& place = g_brief[g_next_brief];
  if (place) {
    place->brief = -1;
    forget(place);
  }
  place = h;
  h->brief = g_next_brief;
  g_next_brief = (g_next_brief + 1) % kBrief;
}

// x as a value with y's place in the differentiation sees it: what y does not carry, x does not either.
Var like(const Var& x, const Var& y) {
  if (!x.v) return x;
  if (!y.m) return Var(x.v);
  if (!requires_grad(x) || requires_grad(y)) return x;
  Var out(x.v);
  for (const Tangent& t : x.m->tangents) out = with_tangent(out, t.t, t.level);
  return out;
}

HeadRef head_of(Form form, const Var& x, const Var& y, bool last) {
  HeadRef h(new_head());
  h->form = form;
  h->last = last;
  h->x = like(x, y);
  if (!requires_grad(y) || form >= Form::OneAnd) make_brief(h.get());
  return h;
}

// ---- the better forms

Var softplus(const Var& x) { return logaddexp(x, number_like(x, 0)); }
Var log_sigmoid(const Var& x) { return number_like(x, 0) - softplus(-x); }  // 0 where it vanishes, not -0
Var one_less_exp(const Var& x) { return number_like(x, 0) - expm1(x); }

// log(1 - exp(x)) for x < 0: near 0 exp(x) is 1 but for its last digits, far from it 1 - exp(x) is (Mächler 2012).
Var log1mexp(const Var& x) { return where(gt(x, -0.693147180559945309417), log(one_less_exp(x)), log1p(-exp(x))); }

Axes over(const Ints& list) {
  Axes a;
  a.all = false;
  a.list = list;
  return a;
}

Var softmax_over(const Var& x, const Ints& axes) {
  if (axes.size() == 1) return pd::softmax(x, axes[0]);
  if (numel(x.shape()) == 0) return x;
  const Var w = cast(x, compute_type(x.dtype()));
  const Var e = exp(w - reduce(op::reduce_max, Var(w.v), over(axes), true));
  return cast(e / reduce(op::reduce_sum, e, over(axes), true), x.dtype());
}

// The logarithm of what a head stands for.
Var log_of(const Head& h) {
  switch (h.form) {
    case Form::Exp: return h.x;
    case Form::OneAndExp: return softplus(h.x);
    case Form::ExpAndExp: return logaddexp(log_of(*h.left), log_of(*h.right));
    case Form::ExpLessOne: return h.x + log1mexp(-h.x);
    case Form::OneLessExp: return log1mexp(h.x);
    case Form::SumExp: return logsumexp(h.x, over(h.axes), h.keepdim);
    case Form::MeanExp: {
      const double n = static_cast<double>(count_along(h.x.shape(), h.axes));
      return pd::binary(op::sub, logsumexp(h.x, over(h.axes), h.keepdim), number(std::log(n), h.x.device()));
    }
    case Form::Sigmoid: return log_sigmoid(h.x);
    case Form::Softmax:
      if (h.axes.size() == 1) return log_softmax(h.x, h.axes[0]);
      return h.x - logsumexp(h.x, over(h.axes), true);
    case Form::OneAnd: return log1p(h.x);
    case Form::OneLess: return log1p(-h.x);
    default: fail("log", "a form without a logarithm", "", "PYDIFF_STABLE=off", ErrorKind::Runtime);
  }
}

// ---- the rules

// How the result z depends on the operands as they were written, for who asks for the gradient of those.
enum class Slope : uint8_t {
  None,
  One,         // z = a + c
  MinusOne,    // z = c - a
  OfLog,       // z = log(c + a):  exp(-z)
  Reciprocal,  // z = 1 / a:  -z * z
  Quotient     // z = a / b
};

struct Match {
  const Head* a;  // of the operands; null where they have none
  const Head* b;
  Var x;          // of the first of them
};

struct Rule {
  const char* written;
  OpId op;
  Form a, b;                        // of the operands; of an operation that commutes in any order
  Form made;                        // of the result; its x is the operand's own where that is Any, else the head's, but:
  bool made_of_minus_x;             // its x is -x
  Var (*record)(const Match& m);    // null: as it is written
  Slope slope;
};

// Of exp(x) as the numerator: is the denominator of the same x, and, where it is a sum, does each element meet the one that it
// is part of?
bool is_denominator(const Head& sum, const Head& e) {
  if (sum.x.v != e.x.v || sum.x.m != e.x.m) return false;
  if (sum.keepdim || sum.form != Form::SumExp) return true;
  for (int k = 0; k < sum.axes.size(); ++k)
    if (sum.axes[k] != k) return false;
  return true;
}

Var log_of_a(const Match& m) { return log_of(*m.a); }
Var softplus_of_x(const Match& m) { return softplus(m.x); }
Var log1mexp_of_x(const Match& m) { return log1mexp(m.x); }
Var log_sigmoid_of_minus_x(const Match& m) { return log_sigmoid(-m.x); }
Var expm1_of_x(const Match& m) { return expm1(m.x); }
Var one_less_exp_of_x(const Match& m) { return one_less_exp(m.x); }
Var sigmoid_of_x(const Match& m) { return sigmoid(m.x); }
Var sigmoid_of_minus_x(const Match& m) { return sigmoid(-m.x); }
Var softmax_of_x(const Match& m) { return softmax_over(m.x, m.b->axes); }

constexpr Form F_ = Form::None;
// The first that fits is taken.
const Rule kRules[] = {
    // what begins a form, recorded as it is written
    {"exp(x)", op::exp, Form::Any, F_, Form::Exp, false, nullptr, Slope::None},
    {"expm1(x)", op::expm1, Form::Any, F_, Form::ExpLessOne, false, nullptr, Slope::None},
    {"sigmoid(x)", op::sigmoid, Form::Any, F_, Form::Sigmoid, false, nullptr, Slope::None},
    {"-exp(x)", op::neg, Form::Exp, F_, Form::NegExp, false, nullptr, Slope::None},
    {"-sigmoid(x)", op::neg, Form::Sigmoid, F_, Form::NegSigmoid, false, nullptr, Slope::None},
    {"-(exp(x) - 1)", op::neg, Form::ExpLessOne, F_, Form::OneLessExp, false, nullptr, Slope::None},
    {"1 + exp(x)", op::add, Form::One, Form::Exp, Form::OneAndExp, false, nullptr, Slope::None},
    // what is recorded in another form
    {"log(exp(x))", op::log, Form::Exp, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(1 + exp(x))", op::log, Form::OneAndExp, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(exp(x) + exp(y))", op::log, Form::ExpAndExp, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(exp(x) - 1)", op::log, Form::ExpLessOne, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(1 - exp(x))", op::log, Form::OneLessExp, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(sum(exp(x)))", op::log, Form::SumExp, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(mean(exp(x)))", op::log, Form::MeanExp, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(sigmoid(x))", op::log, Form::Sigmoid, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(softmax(x))", op::log, Form::Softmax, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(1 + x)", op::log, Form::OneAnd, F_, F_, false, log_of_a, Slope::OfLog},
    {"log(1 - x)", op::log, Form::OneLess, F_, F_, false, log_of_a, Slope::OfLog},
    {"log1p(exp(x))", op::log1p, Form::Exp, F_, F_, false, softplus_of_x, Slope::OfLog},
    {"log1p(-exp(x))", op::log1p, Form::NegExp, F_, F_, false, log1mexp_of_x, Slope::OfLog},
    {"log1p(-sigmoid(x))", op::log1p, Form::NegSigmoid, F_, F_, false, log_sigmoid_of_minus_x, Slope::OfLog},
    {"exp(x) - 1", op::sub, Form::Exp, Form::One, Form::ExpLessOne, false, expm1_of_x, Slope::One},
    {"exp(x) + (-1)", op::add, Form::Exp, Form::MinusOne, Form::ExpLessOne, false, expm1_of_x, Slope::One},
    {"1 - exp(x)", op::sub, Form::One, Form::Exp, Form::OneLessExp, false, one_less_exp_of_x, Slope::MinusOne},
    {"-exp(x) + 1", op::add, Form::NegExp, Form::One, Form::OneLessExp, false, one_less_exp_of_x, Slope::One},
    {"1 - sigmoid(x)", op::sub, Form::One, Form::Sigmoid, Form::Sigmoid, true, sigmoid_of_minus_x, Slope::MinusOne},
    {"-sigmoid(x) + 1", op::add, Form::NegSigmoid, Form::One, Form::Sigmoid, true, sigmoid_of_minus_x, Slope::One},
    {"1 / (1 + exp(x))", op::div, Form::One, Form::OneAndExp, Form::Sigmoid, true, sigmoid_of_minus_x, Slope::Reciprocal},
    {"reciprocal(1 + exp(x))", op::reciprocal, Form::OneAndExp, F_, Form::Sigmoid, true, sigmoid_of_minus_x, Slope::Reciprocal},
    {"(1 + exp(x)) ** -1", op::pow, Form::OneAndExp, Form::MinusOne, Form::Sigmoid, true, sigmoid_of_minus_x, Slope::Reciprocal},
    {"exp(x) / (1 + exp(x))", op::div, Form::Exp, Form::OneAndExp, Form::Sigmoid, false, sigmoid_of_x, Slope::Quotient},
    {"exp(x) / sum(exp(x))", op::div, Form::Exp, Form::SumExp, Form::Softmax, false, softmax_of_x, Slope::Quotient},
    // what begins a form whatever the operand is
    {"1 + x", op::add, Form::One, Form::Any, Form::OneAnd, false, nullptr, Slope::None},
    {"1 - x", op::sub, Form::One, Form::Any, Form::OneLess, false, nullptr, Slope::None},
    {"x - max(x)", op::sub, Form::Any, Form::Max, Form::Shifted, false, nullptr, Slope::None},
};
constexpr size_t kRuleCount = sizeof kRules / sizeof kRules[0];
int64_t g_counts[kRuleCount];

// The rules of an operation, in the order of the table.
const std::vector<const Rule*>& rules_of(OpId id) {
  static const auto* by_op = [] {
    auto* all = new std::vector<std::vector<const Rule*>>(op::count);
    for (const Rule& r : kRules) (*all)[r.op].push_back(&r);
    return all;
  }();
  return (*by_op)[id];
}

// ---- who asks for the gradient of what was written

struct Written : Detour {
  Slope slope;
  Ints axes;  // Quotient: of the sum that is the denominator; none: it is 1 + the numerator
  bool keepdim = false;

  std::vector<Var> vjp(const Var& g, const Var& z, const Var& numerator) const override {
    switch (slope) {
      case Slope::MinusOne: return {-g};
      case Slope::OfLog: return {strong_mul(g, exp(-z))};
      case Slope::Reciprocal: return {strong_mul(g, -(z * z))};
      case Slope::Quotient: {
        const Var b = axes.empty() ? numerator + 1.0 : reduce(op::reduce_sum, numerator, over(axes), keepdim);
        return {true_divide(g, b), sum_to(-strong_mul(g, true_divide(z, b)), b.shape())};
      }
      default: return {g};
    }
  }
};

TapeRef root_of(const Head& h) { return h.root || !requires_grad(h.x) ? h.root : h.x.m->node; }

// Where the ways to the two forms of a value meet.
void roots_of(const Head& h, std::vector<TapeRef>& out) {
  if (h.form == Form::ExpAndExp) {
    roots_of(*h.left, out);
    roots_of(*h.right, out);
  } else if (TapeRef root = root_of(h)) {
    out.push_back(root);
  }
}

void tell(const Rule& r) {
  std::string line = std::string("pydiff: stable form of ") + r.written;
  void* code = nullptr;
  int32_t offset = -1;
  if (g_location.locate) g_location.locate(&code, &offset);
  if (code) {
    line = g_location.describe(line, code, offset);
    g_location.drop(code);
  }
  std::fprintf(stderr, "%s\n", line.c_str());
}

// ---- matching

bool is_float(const Var& x) { return is_floating(x.dtype()) && has_kernels(x.dtype()); }

// Are the terms of a sum there still?
bool is_whole(const Head& h) {
  if (h.form != Form::ExpAndExp) return h.form != Form::None;
  return is_whole(*h.left) && is_whole(*h.right);
}

bool fits(Form wanted, const Var& v, const Head* h) {
  switch (wanted) {
    case Form::None: return true;
    case Form::Any: return !v.v->is_scalar() && is_float(v);
    case Form::One: return is_unit(v) && v.v->number() == 1;
    case Form::MinusOne: return is_unit(v) && v.v->number() == -1;
    default: return h && h->form == wanted && is_whole(*h);
  }
}

bool is_term(const Head* h) {
  return h && (h->form == Form::Exp || h->form == Form::OneAndExp || (h->form == Form::ExpAndExp && is_whole(*h)));
}

Var as_written(OpId id, const Var* in, int nin) {
  if (nin == 1) return pd::unary(id, in[0]);
  if (id == op::div) return true_divide(in[0], in[1]);
  if (id == op::pow) return power(in[0], in[1]);
  return pd::binary(id, in[0], in[1]);
}

// The rule for op `id` of these operands, which it puts into its own order; null: there is none.
const Rule* find(OpId id, Var* in, const Head** heads, int nin) {
  auto fit = [&](const Rule& r, int first) {
    return fits(r.a, in[first], heads[first]) && (nin == 1 || fits(r.b, in[1 - first], heads[1 - first]));
  };
  for (const Rule* each : rules_of(id)) {
    const Rule& r = *each;
    const bool turned = id == op::add && !fit(r, 0);
    if (!fit(r, turned ? 1 : 0)) continue;
    if (r.slope == Slope::Quotient && !(in[0].dtype() == in[1].dtype() && is_denominator(*heads[1], *heads[0]))) continue;
    if (r.made == Form::Shifted && in[0].v != heads[1]->x.v) continue;
    if (turned) {
      std::swap(in[0], in[1]);
      std::swap(heads[0], heads[1]);
    }
    return &r;
  }
  return nullptr;
}

// The better form y, and beside its edge those into the tape of what was written.
Var with_detour(const Rule& r, const Var& y, const Var* in, const Head* const* heads, int nin) {
  auto rule = std::make_unique<Written>();
  rule->slope = r.slope;
  std::vector<Var> written;
  for (int k = 0; k < nin; ++k)
    if (heads[k]) {
      written.push_back(in[k]);
      roots_of(*heads[k], rule->until);
    }
  if (r.slope == Slope::Quotient) {
    rule->axes = heads[1]->axes;
    rule->keepdim = heads[1]->keepdim;
  }
  return attach_detour(y, written, r.slope == Slope::Quotient ? in[0] : Var(), std::move(rule));
}

Recorded apply_rule(const Rule& r, Var* in, const Head** heads, int nin, bool last) {
  if (!r.record) {
    Var y = as_written(r.op, in, nin);
    const int any = r.a == Form::Any ? 0 : r.b == Form::Any ? 1 : -1;
    const Var& x = any >= 0 ? in[any] : (heads[0] ? heads[0] : heads[1])->x;
    if (y.dtype() != x.dtype()) return y;
    HeadRef made = head_of(r.made, x, y, last);
    if (r.made == Form::Shifted) made->axes = heads[1]->axes;
    if (r.made == Form::Exp && heads[0] && heads[0]->form == Form::Shifted) made->axes = heads[0]->axes;
    return {y, made};
  }
  const Match m{heads[0], nin == 2 ? heads[1] : nullptr, (heads[0] ? heads[0] : heads[1])->x};
  Var y = r.record(m);
  ++g_counts[&r - kRules];
  if (debug_level() >= 3) tell(r);
  if (grad_enabled() && requires_grad(y)) y = with_detour(r, y, in, heads, nin);
  if (r.made == Form::None) return y;
  HeadRef made = head_of(r.made, r.made_of_minus_x ? -m.x : m.x, y, last);
  if (r.made_of_minus_x && requires_grad(made->x)) made->root = root_of(heads[0] ? *heads[0] : *heads[1]);
  if (r.made == Form::Softmax) made->axes = m.b->axes;
  return {y, made};
}

// (n, *places, c) as (n, c, *places)
Var in_order(const Var& x) {
  const int n = x.shape().size();
  Ints axes = {0, n - 1};
  for (int k = 1; k < n - 1; ++k) axes.push_back(k);
  return permute(x, axes);
}

bool is_within(const Ints& few, const Ints& many) {
  for (int64_t k : few)
    if (std::find(many.begin(), many.end(), k) == many.end()) return false;
  return true;
}

Recorded over_axes(Form form, Var y, const Head* head, const char* op, const Var& x, const Axes& axes, bool keepdim) {
  if (!enabled() || !head || head->form != Form::Exp || y.dtype() != x.dtype()) return y;
  Ints list = normalize_axes(op, axes, x.shape().size());
  if (list.empty() || (!head->axes.empty() && !head->last && is_within(head->axes, list))) return y;
  HeadRef h = head_of(form, head->last ? in_order(head->x) : head->x, y, false);
  h->root = root_of(*head);
  h->axes = list;
  h->keepdim = keepdim;
  return {y, h};
}

}  // namespace

void retain(Head* h) { ++h->refs; }
void release(Head* h) {
  if (--h->refs) return;
  if (h->brief >= 0) g_brief[h->brief] = nullptr;
  forget(h);
  h->keepdim = h->last = false;
  h->terms = 1;
  h->brief = -1;
  h->axes.resize(0);
  free_heads().push_back(h);
}

Recorded unary(OpId id, const Var& x, const Head* head, bool last) {
  if (enabled()) {
    Var in[1] = {x};
    const Head* heads[1] = {head && head->last == last ? head : nullptr};
    const Rule* r = find(id, in, heads, 1);
    if (r && !(r->record && g_in_own_code && g_in_own_code())) return apply_rule(*r, in, heads, 1, last);
  }
  return pd::unary(id, x);
}

Recorded binary(OpId id, const Var& a, const Head* ha, const Var& b, const Head* hb, bool last) {
  Var in[2] = {a, b};
  if (!enabled()) return as_written(id, in, 2);
  const Head* heads[2] = {ha && ha->last == last ? ha : nullptr, hb && hb->last == last ? hb : nullptr};
  if (id == op::add && is_term(heads[0]) && is_term(heads[1]) && a.dtype() == b.dtype()) {
    Var y = as_written(id, in, 2);
    const int terms = heads[0]->terms + heads[1]->terms;
    if (terms > kMaxTerms) return y;
    HeadRef h = head_of(Form::ExpAndExp, Var(), y, last);
    h->left = HeadRef(const_cast<Head*>(heads[0]));
    h->right = HeadRef(const_cast<Head*>(heads[1]));
    h->terms = terms;
    return {y, h};
  }
  const Rule* r = find(id, in, heads, 2);
  if (!r || (r->record && g_in_own_code && g_in_own_code())) return as_written(id, in, 2);
  return apply_rule(*r, in, heads, 2, last);
}

Recorded sum(const Var& x, const Head* head, const Axes& axes, bool keepdim) {
  return over_axes(Form::SumExp, reduce(op::reduce_sum, x, axes, keepdim), head, "sum", x, axes, keepdim);
}

Recorded mean(const Var& x, const Head* head, const Axes& axes, bool keepdim) {
  return over_axes(Form::MeanExp, pd::mean(x, axes, keepdim), head, "mean", x, axes, keepdim);
}

Recorded softmax(const Var& x, int64_t axis) {
  Var y = pd::softmax(x, axis);
  if (!enabled() || x.shape().empty()) return y;
  HeadRef h = head_of(Form::Softmax, x, y, false);
  h->axes = {normalize_axis("softmax", axis, x.shape().size())};
  return {y, h};
}

Recorded largest(Var y, const Var& x, const Axes& axes) {
  if (!enabled() || !is_float(x)) return y;
  HeadRef h = head_of(Form::Max, Var(x.v), y, false);
  h->axes = normalize_axes("max", axes, x.shape().size());
  return {y, h};
}

Recorded detached(Var y, const Head* head) {
  if (!head || head->form != Form::Max) return y;
  HeadRef h = head_of(Form::Max, head->x, y, false);
  h->axes = head->axes;
  return {y, h};
}

std::vector<std::pair<std::string, int64_t>> counts() {
  std::vector<std::pair<std::string, int64_t>> out;
  for (size_t k = 0; k < kRuleCount; ++k)
    if (kRules[k].record) out.emplace_back(kRules[k].written, g_counts[k]);
  return out;
}

}  // namespace stable
}  // namespace pd
