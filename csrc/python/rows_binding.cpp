// Every elementwise row as a method, a function and an in-place method, made from the op table's ids.
#include <string>

#include "python/args.h"
#include "python/autocast.h"
#include "python/memory_formats.h"

namespace pd {
namespace binding {

namespace {

// Of the value x of object o, turned where `last`.
template <OpId id>
stable::Recorded compute1(PyObject* o, const Var& x, bool last) {
  if constexpr (stable::concerns(id))
    if (const stable::Head* head = head_of(o, x); head || stable::begins(id)) return stable::unary(id, x, head, last);
  (void)o, (void)last;
  return unary(id, x);
}

// What autocast computes in float32 on CUDA: PyTorch's list.
constexpr bool overflows(OpId id) {
  return id == op::acos || id == op::asin || id == op::cosh || id == op::exp || id == op::expm1 || id == op::log ||
         id == op::log10 || id == op::log1p || id == op::log2 || id == op::reciprocal || id == op::rsqrt || id == op::sinh ||
         id == op::tan;
}
template <OpId id>
decltype(auto) given_to(const Var& x) {
  if constexpr (overflows(id)) return wide(x);
  else return (x);
}

template <OpId id>
Var compute2(const Var& a, const Var& b) {
  if constexpr (id == op::pow) return power(a, b);
  else if constexpr (id == op::div) return true_divide(a, b);
  else return binary(id, a, b);
}

// What PyTorch gives some of the rows beside the operands. `o` has the objects of a and b, turned where `last`.
template <OpId id>
stable::Recorded compute2(const char* name, const Var& a, const Var& b, PyObject* option, PyObject* const* o, bool last) {
  if constexpr (id == op::add || id == op::sub) {
    if (given(option)) return binary(id, a, binary(op::mul, b, operand(name, option, b.device())));
  } else if constexpr (id == op::div) {
    if (given(option)) {
      const char* mode = PyUnicode_Check(option) ? PyUnicode_AsUTF8(option) : "";
      if (mode && std::string(mode) == "floor") return binary(op::floor_divide, a, b);
      if (mode && std::string(mode) == "trunc") return trunc_divide(a, b);
      fail(name, "unknown rounding_mode", mode ? mode : "?", "None, 'floor' or 'trunc'");
    }
  }
  (void)option;
  if (may_be_stable<id>(o[0], a, o[1], b)) return stable::binary(id, a, head_of(o[0], a), b, head_of(o[1], b), last);
  return compute2<id>(a, b);
}

constexpr const char* option_of(OpId id) {
  return id == op::add || id == op::sub ? "alpha" : id == op::div ? "rounding_mode" : nullptr;
}

// The options of rows are keywords only, the operands may be named.
struct Operands {
  PyObject* a[2] = {};
  PyObject* option = nullptr;
};
void take(const char* name, int arity, const char* option, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
          PyObject* kwnames, Operands& out) {
  int at = 0;
  if (self) out.a[at++] = self;
  for (Py_ssize_t i = 0; i < nargs; ++i) {
    if (at == arity)
      fail(name, "too many arguments", std::to_string(nargs + (self ? 1 : 0)), std::to_string(arity), ErrorKind::Type);
    out.a[at++] = args[i];
  }
  Py_ssize_t words = kwnames ? PyTuple_GET_SIZE(kwnames) : 0;
  for (Py_ssize_t w = 0; w < words; ++w) {
    PyObject* kw = PyTuple_GET_ITEM(kwnames, w);
    PyObject** slot = spells(kw, "input")                            ? &out.a[0]
                      : arity == 2 && spells(kw, "other")            ? &out.a[1]
                      : option && spells(kw, option)                 ? &out.option
                                                                     : nullptr;
    if (!slot || *slot) {
      const char* text = PyUnicode_AsUTF8(kw);
      fail(name, slot ? "an argument is given twice" : "unknown argument", text ? text : "?",
           option ? std::string("input, other, ") + option : arity == 2 ? "input, other" : "input", ErrorKind::Type);
    }
    *slot = args[nargs + w];
  }
  for (int k = 0; k < arity; ++k)
    if (!out.a[k])
      fail(name, std::string("argument '") + (k ? "other" : "input") + "' is missing", std::to_string(nargs + words) + " of them", "giving it", ErrorKind::Type);
}

template <OpId id>
PyObject* of_tensor(PyObject* x) {
  if (is_channels_last(as_tensor_object(x))) return wrap_last(compute1<id>(x, given_to<id>(to_last(value_of(x))), true));
  return wrap(compute1<id>(x, given_to<id>(value_of(x)), false));
}

template <OpId id>
PyObject* method1(PyObject* self, PyObject*) {
  return guarded_as(traits(id).name, [&] { return of_tensor<id>(self); });
}

template <OpId id>
PyObject* function1(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(traits(id).name, [&] {
    if (n == 1 && !kwnames && is_tensor(args[0])) return of_tensor<id>(args[0]);
    Operands o;
    const char* name = traits(id).name;
    take(name, 1, nullptr, nullptr, args, n, kwnames, o);
    Var x = operand(name, o.a[0]);
    return wrap(compute1<id>(o.a[0], given_to<id>(x), false));
  });
}

template <OpId id>
PyObject* inplace1(PyObject* self, PyObject*) {
  return guarded_as(traits(id).name, [&] {
    const char* name = traits(id).name;
    check_writable(name, as_tensor_object(self));
    bool last = is_channels_last(as_tensor_object(self));
    const Var& x = value_of(self);
    stable::Recorded next = compute1<id>(self, last ? to_last(x) : x, last);
    assign(name, as_tensor_object(self), last ? from_last(next.v) : next.v);
    keep_head(as_tensor_object(self), next);
    if (over_bound()) flush();
    return same(self);
  }, "_");
}

template <OpId id>
PyObject* call2(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  const char* name = traits(id).name;
  Operands o;
  take(name, 2, option_of(id), self, args, n, kwnames, o);
  DeviceId dev = is_tensor(o.a[0])   ? value_of(o.a[0]).device()
                 : is_tensor(o.a[1]) ? value_of(o.a[1]).device()
                                     : default_device();
  Var x = operand(name, o.a[0], dev), y = operand(name, o.a[1], dev);
  if (id == op::pow && t_autocast.on) {
    x = wide(x);
    y = wide(y);
  }
  if (turn_operands(o.a[0], o.a[1], x, y)) return wrap_last(compute2<id>(name, x, y, o.option, o.a, true));
  return wrap(compute2<id>(name, x, y, o.option, o.a, false));
}

template <OpId id>
PyObject* method2(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(traits(id).name, [&] { return call2<id>(self, args, n, kwnames); });
}

template <OpId id>
PyObject* function2(PyObject*, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(traits(id).name, [&] { return call2<id>(nullptr, args, n, kwnames); });
}

template <OpId id>
PyObject* inplace2(PyObject* self, PyObject* const* args, Py_ssize_t n, PyObject* kwnames) {
  return guarded_as(traits(id).name, [&] {
    const char* name = traits(id).name;
    Operands o;
    take(name, 2, option_of(id), self, args, n, kwnames, o);
    check_writable(name, as_tensor_object(self));
    Var x = value_of(self), y = operand(name, o.a[1], x.device());
    bool last = turn_operands(self, o.a[1], x, y);
    stable::Recorded next = compute2<id>(name, x, y, o.option, o.a, last);
    assign(name, as_tensor_object(self), last ? from_last(next.v) : next.v);
    keep_head(as_tensor_object(self), next);
    if (over_bound()) flush();
    return same(self);
  }, "_");
}

// ---- documentation: the row's line, how to call it, and an example that runs

const char* kept(std::string s) {
  auto* p = new std::string(std::move(s));  // Python keeps the pointer until it ends
  return p->c_str();
}

const char* doc_of(const OpTraits& t, bool is_method) {
  bool two = t.arity == 2, whole = !(t.types & 24u);  // no float loops: bits and logic
  std::string name = t.name, x = whole ? "pd.tensor([6, 3])" : "pd.tensor([0.5, 0.25])";
  std::string s = name + (is_method ? "(self" : "(input") + (two ? ", other" : "") + ")\n--\n\n" + t.doc + "\n\n";
  s += "Element by element" + std::string(two ? ", with broadcasting and promotion" : "") + ".\n\n";
  s += ">>> import pydiff as pd\n>>> tuple(";
  if (is_method) s += x + "." + name + "(" + (two ? "2" : "") + ").shape)\n";
  else s += "pd." + name + "(" + x + (two ? ", 2" : "") + ").shape)\n";
  return kept(s + "(2,)\n");
}

template <OpId id>
void add1(Methods& type, Methods& module) {
  const OpTraits& t = traits(id);
  type.push_back({t.name, method1<id>, METH_NOARGS, doc_of(t, true)});
  type.push_back({kept(std::string(t.name) + "_"), inplace1<id>, METH_NOARGS,
                  kept(std::string("`") + t.name + "` in place; returns self.")});
  module.push_back(entry(t.name, function1<id>, doc_of(t, false)));
}

template <OpId id>
void add2(Methods& type, Methods& module) {
  const OpTraits& t = traits(id);
  type.push_back(entry(t.name, method2<id>, doc_of(t, true)));
  type.push_back(entry(kept(std::string(t.name) + "_"), inplace2<id>,
                       kept(std::string("`") + t.name + "` in place; returns self.")));
  module.push_back(entry(t.name, function2<id>, doc_of(t, false)));
}

// ---- where: the condition comes first as a function, second as a method

PyObject* where_body(PyObject** a) {
  Var in[3] = {tensor_arg("where", a[0])};
  for (int k = 1; k < 3; ++k) in[k] = operand("where", a[k], in[0].device());
  bool last = turn_operands(a, in, 3);
  Var out = select_where(in[0], in[1], in[2]);
  return last ? wrap_last(out) : wrap(out);
}
constexpr Def kWhere = {"_where", where_body, 3, -1,
                        "where(condition, input, other)\n--\n\n`input` where the condition is true, else `other`.",
                        {"condition", "input", "other"}};

PyObject* where_method_body(PyObject** a) {
  PyObject* turned[3] = {a[1], a[0], a[2]};
  return where_body(turned);
}
constexpr Def kWhereMethod = {"where", where_method_body, 3, -1,
                              "where(self, condition, other)\n--\n\nself where the condition is true, else `other`.\n\n"
                              ">>> import pydiff as pd\n>>> x = pd.tensor([1., -1.])\n>>> x.where(x > 0, 0).tolist()\n"
                              "[1.0, 0.0]\n",
                              {"input", "condition", "other"}};

}  // namespace

void add_row_methods(Methods& type, Methods& module) {
#define ROW1(name, ...) add1<op::name>(type, module);
#define ROW2(name, ...) add2<op::name>(type, module);
#define ROW3(name, ...)
#define DRAW(name, ...)
#include "ops/all_rows.inc"
  function<kWhere>(module);
  method<kWhereMethod>(type);
}

}  // namespace binding
}  // namespace pd
