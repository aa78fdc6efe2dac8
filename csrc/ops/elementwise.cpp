// Elementwise ops as users mean them: numbers, promotion, selection, powers, creation.
#include <cmath>
#include <cstring>

#include "ops/element.h"
#include "graph/op_traits.h"
#include "graph/placeholders.h"
#include "ops/loops.h"
#include "ops/rows.h"

namespace pd {

namespace {

Var weak(DType t, double f, int64_t i, DeviceId device) {
  ValueRef v = make_scalar(t, device, f, i);
  v->flags |= kWeak;
  return Var(std::move(v));
}

bool is_weak(const Var& x) { return x.v->is_scalar() && (x.v->flags & kWeak); }

// A weak float counts as the default dtype, a weak integer as int64, or uint64 if it is beyond.
DType weak_type(const Var& x) { return is_floating(x.dtype()) ? default_dtype() : x.dtype(); }

// torch.result_type: a higher priority yields only to a lower one of a higher category.
struct Category {
  bool set = false;
  DType t = DType::Bool;
  void join(DType o) {
    t = set ? promote(t, o) : o;
    set = true;
  }
};
Category combine(Category high, Category low) {
  if (!high.set) return low;
  if (!low.set || info(high.t).category >= info(low.t).category) return high;
  if (is_floating(high.t) && is_complex(low.t)) {
    high.t = high.t == DType::F64 ? DType::C128 : DType::C64;
    return high;
  }
  if (is_bool(high.t) || !is_integer(low.t)) high.t = promote(high.t, low.t);
  return high;
}

// A number that the type can hold: what a kernel reads of it is what is known of it here.
Var scalar(DType t, DeviceId device, double f, int64_t i) {
  if (is_narrow(t)) {
    const int64_t bits = number_bits(t, f, i);
    const DType wide = compute_type(t);
    const void* in[1] = {&bits};
    int64_t value = 0;
    loop_for(op::cast, t, wide)(in, &value, 1);
    if (is_floating(t)) {
      float rounded;
      std::memcpy(&rounded, &value, sizeof rounded);
      f = static_cast<double>(rounded);
    } else {
      i = wide == DType::I32 ? static_cast<int32_t>(value) : value;
    }
  }
  return Var(make_scalar(t, device, f, i));
}

bool in_types(const OpTraits& t, DType d) {
  switch (compute_type(d)) {
    case DType::Bool: return t.types & kB;
    case DType::I32: return t.types & kI32;
    case DType::I64: return t.types & kI64;
    case DType::U64: return t.types & kU64;
    case DType::F32: return t.types & kF32;
    case DType::F64: return t.types & kF64;
    default: return false;
  }
}

// The type in which a row computes on operands of type d.
DType row_type(const OpTraits& t, DType d) {
  if (!has_kernels(d))
    fail(t.name, "no kernel for this type", name_of(d), "the real and the imaginary part apart", ErrorKind::Type);
  if (in_types(t, d)) return d;
  if ((t.types & kFloats) && !(t.types & (kI32 | kI64)) && !is_floating(d)) return default_dtype();
  fail(t.name, "not defined for this type", name_of(d),
       is_bool(d)       ? "a cast to an integer, or a logical op"
       : (t.types & kB) ? "an integer or bool tensor"
                        : "an integer tensor",
       ErrorKind::Type);
}

}  // namespace

Var number(double v, DeviceId device) { return weak(DType::F64, v, 0, device); }
Var number(int64_t v, DeviceId device) { return weak(DType::I64, 0, v, device); }
Var number(bool v, DeviceId device) { return weak(DType::Bool, 0, v ? 1 : 0, device); }
Var large_number(uint64_t v, DeviceId device) { return weak(DType::U64, 0, static_cast<int64_t>(v), device); }
Var typed_number(DType dtype, double f, int64_t i, DeviceId device) {
  return scalar(dtype, device, f, i);
}
Var number_like(const Var& x, double c) {
  Var n = scalar(x.dtype(), x.device(), c, static_cast<int64_t>(c));
  n.v->flags |= kConstant;
  return n;
}

DType result_type(const Var* in, int nin) {
  Category dimensioned, zero, wrapped;
  for (int k = 0; k < nin; ++k) {
    if (is_weak(in[k])) wrapped.join(weak_type(in[k]));
    else (in[k].shape().empty() ? zero : dimensioned).join(in[k].dtype());
  }
  return combine(dimensioned, combine(zero, wrapped)).t;
}

Var cast(const Var& x, DType dtype) {
  if (x.v->is_scalar()) {
    const Value& v = *x.v;
    if (x.dtype() == dtype && !is_weak(x)) return x;
    if (v.abstract && !is_weak(x)) return apply(op::cast, {x}, attrs({static_cast<int64_t>(dtype)}));
    if (is_weak(x) && v.dtype == DType::U64 && is_integer(dtype) && dtype != DType::U64)
      fail("number", "a Python integer does not fit the type",
           std::to_string(static_cast<uint64_t>(v.num.i)) + " for " + name_of(dtype), "a uint64 tensor, or float(n)");
    int64_t i = is_floating(v.dtype) && !is_floating(dtype) ? whole_number(dtype, v.num.f) : v.num.i;
    if (is_bool(dtype)) i = i != 0;
    if (dtype == DType::I32) i = static_cast<int32_t>(i);
    const Var typed = scalar(dtype, v.device, v.number(), i);
    // What a run gives for the number is converted then, in one step.
    return v.abstract ? Var(make_cell(typed.v.get(), v.device, cell_of(&v))) : typed;
  }
  if (x.dtype() == dtype) return x;
  if (!has_kernels(dtype) || !has_kernels(x.dtype()))
    fail("cast", "no kernel for this type", std::string(name_of(x.dtype())) + " to " + name_of(dtype),
         "the real and the imaginary part apart", ErrorKind::Type);
  return apply(op::cast, {x}, attrs({static_cast<int64_t>(dtype)}));
}

bool fits(int64_t i, DType dtype) {
  const int bits = static_cast<int>(8 * size_of(dtype));
  if (!is_integer(dtype) || bits == 64) return true;
  const int64_t most = (int64_t{1} << (is_unsigned(dtype) ? bits : bits - 1)) - 1;
  return i <= most && i >= (is_unsigned(dtype) ? -most : -most - 1);
}

Var as_element(const char* op, const Var& x, DType dtype) {
  if (is_weak(x) && x.dtype() == DType::I64 && !fits(x.v->num.i, dtype))
    fail(op, "a Python integer does not fit the type", std::to_string(x.v->num.i) + " for " + name_of(dtype),
         "a wider dtype, or a tensor's cast, which keeps the low bits");
  return cast(x, dtype);
}

// What is a whole number is rounded already, and the square of a truth is a number.
static bool is_own_result(OpId op, DType d) {
  if (op == op::floor || op == op::ceil || op == op::trunc || op == op::round) return !is_floating(d);
  return op == op::sign && is_bool(d);
}

Var unary(OpId op, const Var& x) {
  const OpTraits& t = traits(op);
  const DType given = is_weak(x) ? weak_type(x) : x.dtype();
  if (has_kernels(given) && is_own_result(op, given)) return x;
  if (op == op::square && is_bool(given)) return unary(op, cast(x, DType::I64));
  DType d = row_type(t, given);
  Var c = cast(x, d);
  return apply(op, &c, 1);
}

Var binary(OpId op, const Var& a, const Var& b) {
  // Both of one type, and it has a loop: nothing to decide.
  if (a.dtype() == b.dtype() && !((a.v->flags | b.v->flags) & kWeak) && in_types(traits(op), a.dtype())) {
    Var in[2] = {a, b};
    return apply(op, in, 2);
  }
  Var in[2] = {a, b};
  const OpTraits& t = traits(op);
  DType d = row_type(t, result_type(in, 2));
  in[0] = cast(a, d);
  in[1] = cast(b, d);
  return apply(op, in, 2);
}

Var true_divide(const Var& a, const Var& b) { return binary(op::div, a, b); }

Var trunc_divide(const Var& a, const Var& b) {
  Var both[2] = {a, b};
  const DType d = result_type(both, 2);
  if (!is_integer(d)) return cast(unary(op::trunc, true_divide(a, b)), d);
  const Var x = cast(a, d), y = cast(b, d), zero = typed_number(d, 0, 0, x.device());
  // Rounded down is one below where a remainder is left and the signs differ; not where b is 0, whose quotient has all
  // bits set.
  Var up = binary(op::bitwise_and, binary(op::ne, binary(op::remainder, x, y), zero), binary(op::ne, y, zero));
  up = binary(op::bitwise_and, up, binary(op::ne, binary(op::lt, x, zero), binary(op::lt, y, zero)));
  return binary(op::add, binary(op::floor_divide, x, y), cast(up, d));
}

Var select_where(const Var& cond, const Var& a, const Var& b) {
  if (!is_bool(cond.dtype()))
    fail("where", "the condition is not bool", name_of(cond.dtype()), "a comparison, or .bool()", ErrorKind::Type);
  Var two[2] = {a, b};
  DType d = row_type(traits(op::where), result_type(two, 2));
  Var in[3] = {cond, cast(a, d), cast(b, d)};
  return apply(op::where, in, 3);
}

namespace {
// x to a whole power by squaring, in the type of x.
Var whole_power(const Var& x, uint64_t n) {
  Var result, base = x;
  for (; n; n >>= 1) {
    if (n & 1) result = result ? binary(op::mul, result, base) : base;
    if (n > 1) base = unary(op::square, base);
  }
  return result;
}

// Whole numbers to whole powers, by squaring over the bits of the exponent. Of a negative exponent only the powers of 1
// and -1 are whole; the rest is 0.
Var whole_powers(const Var& a, const Var& b, DType d) {
  const Var x = cast(a, d), e = cast(b, d);
  auto number = [&](int64_t n) { return typed_number(d, static_cast<double>(n), n, x.device()); };
  auto has_bit = [&](int k) {
    const Var bit = number(static_cast<int64_t>(uint64_t{1} << k));
    return binary(op::ne, binary(op::bitwise_and, e, bit), number(0));
  };
  const bool is_signed = !is_unsigned(d);
  const int bits = static_cast<int>(8 * size_of(d)) - (is_signed ? 1 : 0);
  Var result = select_where(has_bit(0), x, number(1)), base = x;
  for (int k = 1; k < bits; ++k) {
    base = unary(op::square, base);
    result = select_where(has_bit(k), binary(op::mul, result, base), result);
  }
  if (!is_signed) return result;
  Var of_minus_one = select_where(has_bit(0), number(-1), number(1));
  Var whole = select_where(binary(op::eq, x, number(1)), number(1),
                           select_where(binary(op::eq, x, number(-1)), of_minus_one, number(0)));
  return select_where(binary(op::lt, e, number(0)), whole, result);
}
}  // namespace

Var power(const Var& a, const Var& b) {
  if (b.v->is_scalar() && !a.v->is_scalar() && !b.v->abstract) {
    const Value& e = *b.v;
    const double n = e.number();
    Var in[2] = {a, b};
    DType d = result_type(in, 2);
    if (is_floating(d)) {
      Var x = cast(a, d);
      if (n == 0) return ones(a.shape(), d, a.device());
      if (n == 1) return x;
      if (n == 2) return unary(op::square, x);
      if (n == 3) return binary(op::mul, unary(op::square, x), x);
      if (n == 0.5) return unary(op::sqrt, x);
      if (n == -0.5) return unary(op::rsqrt, x);
      if (n == -1) return unary(op::reciprocal, x);
    } else {
      int64_t k = e.num.i;
      if (k < 0 && e.dtype != DType::U64)
        fail("pow", "an integer to a negative power", std::to_string(k), "a floating tensor, x.float() ** -1");
      Var x = cast(a, is_bool(d) ? DType::I64 : d);
      return k == 0 ? ones(a.shape(), x.dtype(), a.device()) : whole_power(x, static_cast<uint64_t>(k));
    }
  }
  Var in[2] = {a, b};
  DType d = result_type(in, 2);
  if (!is_floating(d)) return whole_powers(a, b, is_bool(d) ? DType::I64 : d);
  return binary(op::pow, a, b);
}

Var clamp(const Var& x, const Var* lo, const Var* hi) {
  if (!lo && !hi) fail("clamp", "neither bound is given", "None and None", "clamp(min=…) or clamp(max=…)");
  // The bound passes no gradient and at the bound x keeps all of it, as in PyTorch: select, not maximum.
  Var r = x;
  auto bound = [&](const Var& b, OpId beyond) {
    Var in[2] = {r, b};
    DType d = result_type(in, 2);
    Var c = cast(b, d), v = cast(r, d);
    r = select_where(binary(beyond, v, c), c, v);
  };
  if (lo) bound(*lo, op::lt);
  if (hi) bound(*hi, op::gt);
  return r;
}

Var full(const Shape& shape, const Var& value, DType dtype) {
  Var v = cast(value, dtype);
  return shape.empty() && !v.v->is_scalar() ? v : apply(op::expand, {v}, attrs(shape));
}
Var zeros(const Shape& shape, DType dtype, DeviceId device) {
  return full(shape, typed_number(dtype, 0, 0, device), dtype);
}
Var ones(const Shape& shape, DType dtype, DeviceId device) {
  return full(shape, typed_number(dtype, 1, 1, device), dtype);
}

Var iota(const Shape& shape, DeviceId device) {
  Ints a = shape;
  a.push_back(static_cast<int64_t>(device.kind));
  a.push_back(device.index);
  return apply(op::iota, nullptr, 0, attrs(a));
}

}  // namespace pd
