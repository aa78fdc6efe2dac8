// The number protocol: a + b, a += b, abs(a), bool(a), a < b.
#include "python/args.h"
#include "python/autocast.h"
#include "python/convert.h"
#include "python/memory_formats.h"

namespace pd {
namespace binding {

namespace {

// Both operands, one of which is a tensor; false where the other is of a foreign type.
bool operands(PyObject* a, PyObject* b, Var& x, Var& y) {
  if (is_tensor(a)) {
    x = value_of(a);
    return to_operand(b, x.device(), y);
  }
  y = value_of(b);
  return to_operand(a, y.device(), x);
}

bool in_order(PyObject* o) { return !as_tensor_object(o)->alias && !as_tensor_object(o)->strides; }

// The operation F, which is `id` where a stable form may concern it.
template <Var (*F)(const Var&, const Var&), OpId id>
stable::Recorded recorded(PyObject* a, const Var& x, PyObject* b, const Var& y, bool last) {
  if (may_be_stable<id>(a, x, b, y)) return stable::binary(id, x, head_of(a, x), y, head_of(b, y), last);
  return F(x, y);
}

template <Var (*F)(const Var&, const Var&), bool Elementwise = true, OpId id = kLeaf>
PyObject* slot2(PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    if (Py_TYPE(a) == g_tensor_type && Py_TYPE(b) == g_tensor_type && in_order(a) && in_order(b)) {
      const Var &x = value_of(a), &y = value_of(b);
      if (may_be_stable<id>(a, x, b, y)) return wrap(recorded<F, id>(a, x, b, y, false));
      return wrap(F(x, y));
    }
    Var x, y;
    if (!operands(a, b, x, y)) return same(Py_NotImplemented);
    if (Elementwise && turn_operands(a, b, x, y)) return wrap_last(recorded<F, id>(a, x, b, y, true));
    return wrap(recorded<F, id>(a, x, b, y, false));
  });
}

template <Var (*F)(const Var&, const Var&), const char* const& Name, bool Elementwise = true, OpId id = kLeaf>
PyObject* slot_inplace(PyObject* a, PyObject* b) {
  return guarded([&]() -> PyObject* {
    Var x = value_of(a), y;
    if (!to_operand(b, x.device(), y)) return same(Py_NotImplemented);
    check_writable(Name, as_tensor_object(a));
    bool last = Elementwise && turn_operands(a, b, x, y);
    stable::Recorded next = recorded<F, id>(a, x, b, y, last);
    assign(Name, as_tensor_object(a), last ? from_last(next.v) : next.v);
    keep_head(as_tensor_object(a), next);
    if (over_bound()) flush();
    return same(a);
  });
}

template <OpId id>
Var row2(const Var& a, const Var& b) {
  return binary(id, a, b);
}
template <OpId id>
PyObject* slot1(PyObject* a) {
  return guarded([&] {
    const Var& x = value_of(a);
    const stable::Head* head = stable::concerns(id) ? head_of(a, x) : nullptr;
    if (is_channels_last(as_tensor_object(a))) return wrap_last(head ? stable::unary(id, to_last(x), head, true) : unary(id, to_last(x)));
    return head ? wrap(stable::unary(id, x, head)) : wrap(unary(id, x));
  });
}

Var product(const Var& a, const Var& b) { return t_autocast.on ? matmul(low(a), low(b)) : matmul(a, b); }
Var wide_power(const Var& a, const Var& b) { return t_autocast.on ? power(wide(a), wide(b)) : power(a, b); }

PyObject* positive(PyObject* a) { return same(a); }

PyObject* pow_slot(PyObject* a, PyObject* b, PyObject* mod) {
  if (mod != Py_None) return same(Py_NotImplemented);
  if (t_autocast.on) return slot2<wide_power>(a, b);
  return slot2<power, true, op::pow>(a, b);
}

#define PD_INPLACE_NAMES(X) X(add) X(sub) X(mul) X(div) X(floor_divide) X(remainder) X(pow) X(bitwise_and) \
  X(bitwise_or) X(bitwise_xor) X(bitwise_left_shift) X(bitwise_right_shift) X(matmul)
#define X(n) const char* const n##_name = #n "_";
PD_INPLACE_NAMES(X)
#undef X

PyObject* pow_inplace(PyObject* a, PyObject* b, PyObject*) { return slot_inplace<power, pow_name>(a, b); }

// ---- one element as a Python number

int to_bool(PyObject* self) {
  int r = -1;
  int rc = guarded_int([&] {
    const Var& v = value_of(self);
    if (v.v->size() != 1)
      fail("bool", "the truth of a tensor is that of its one element", to_string(v.shape()), ".any() or .all()",
           ErrorKind::Runtime);
    r = PyObject_IsTrue(item("bool", v).ptr());
  });
  return rc ? -1 : r;
}

template <PyObject* (*F)(PyObject*)>
PyObject* to_number(PyObject* self) {
  return guarded([&] {
    const Var& v = value_of(self);
    if (v.v->size() != 1)
      fail("item", "only a tensor of one element is a Python number", to_string(v.shape()), ".tolist()",
           ErrorKind::Runtime);
    return checked(F(item("item", v).ptr()));
  });
}

PyObject* to_index(PyObject* self) {
  return guarded([&] {
    const Var& v = value_of(self);
    if (v.v->size() != 1 || is_floating(v.dtype()) || is_complex(v.dtype()))
      fail("index", "only a tensor of one integer is an index", to_string(v.v->spec()), "int(tensor)",
           ErrorKind::Type);
    return checked(PyNumber_Index(item("index", v).ptr()));
  });
}

// ---- comparisons, element by element

PyObject* compare(PyObject* a, PyObject* b, int what) {
  switch (what) {
    case Py_LT: return slot2<row2<op::lt>>(a, b);
    case Py_LE: return slot2<row2<op::le>>(a, b);
    case Py_EQ: return slot2<row2<op::eq>>(a, b);
    case Py_NE: return slot2<row2<op::ne>>(a, b);
    case Py_GT: return slot2<row2<op::gt>>(a, b);
    default: return slot2<row2<op::ge>>(a, b);
  }
}

}  // namespace

void add_number_slots(std::vector<PyType_Slot>& slots) {
  auto put = [&](int slot, auto f) { slots.push_back({slot, reinterpret_cast<void*>(f)}); };
  put(Py_nb_add, slot2<row2<op::add>, true, op::add>);
  put(Py_nb_subtract, slot2<row2<op::sub>, true, op::sub>);
  put(Py_nb_multiply, slot2<row2<op::mul>>);
  put(Py_nb_true_divide, slot2<true_divide, true, op::div>);
  put(Py_nb_floor_divide, slot2<row2<op::floor_divide>>);
  put(Py_nb_remainder, slot2<row2<op::remainder>>);
  put(Py_nb_matrix_multiply, slot2<product, false>);
  put(Py_nb_power, pow_slot);
  put(Py_nb_and, slot2<row2<op::bitwise_and>>);
  put(Py_nb_or, slot2<row2<op::bitwise_or>>);
  put(Py_nb_xor, slot2<row2<op::bitwise_xor>>);
  put(Py_nb_lshift, slot2<row2<op::bitwise_left_shift>>);
  put(Py_nb_rshift, slot2<row2<op::bitwise_right_shift>>);
  put(Py_nb_negative, slot1<op::neg>);
  put(Py_nb_absolute, slot1<op::abs>);
  put(Py_nb_invert, slot1<op::bitwise_not>);
  put(Py_nb_positive, positive);
  put(Py_nb_inplace_add, slot_inplace<row2<op::add>, add_name, true, op::add>);
  put(Py_nb_inplace_subtract, slot_inplace<row2<op::sub>, sub_name, true, op::sub>);
  put(Py_nb_inplace_multiply, slot_inplace<row2<op::mul>, mul_name>);
  put(Py_nb_inplace_true_divide, slot_inplace<true_divide, div_name, true, op::div>);
  put(Py_nb_inplace_floor_divide, slot_inplace<row2<op::floor_divide>, floor_divide_name>);
  put(Py_nb_inplace_remainder, slot_inplace<row2<op::remainder>, remainder_name>);
  put(Py_nb_inplace_and, slot_inplace<row2<op::bitwise_and>, bitwise_and_name>);
  put(Py_nb_inplace_or, slot_inplace<row2<op::bitwise_or>, bitwise_or_name>);
  put(Py_nb_inplace_xor, slot_inplace<row2<op::bitwise_xor>, bitwise_xor_name>);
  put(Py_nb_inplace_lshift, slot_inplace<row2<op::bitwise_left_shift>, bitwise_left_shift_name>);
  put(Py_nb_inplace_rshift, slot_inplace<row2<op::bitwise_right_shift>, bitwise_right_shift_name>);
  put(Py_nb_inplace_matrix_multiply, slot_inplace<matmul, matmul_name, false>);
  put(Py_nb_inplace_power, pow_inplace);
  put(Py_nb_bool, to_bool);
  put(Py_nb_int, to_number<PyNumber_Long>);
  put(Py_nb_float, to_number<PyNumber_Float>);
  put(Py_nb_index, to_index);
  put(Py_tp_richcompare, compare);
}

}  // namespace binding
}  // namespace pd
