// The op table: every elementwise row's traits made from its columns, then the families.
#include <cstdlib>

#include "ops/api.h"
#include "ops/families.h"
#include "ops/rows_graph.h"
#include "ops/rows.h"

namespace pd {

namespace {

using grads::DKind;

Spec infer_row(const OpTraits& t, const Spec* in, int nin, RowOut out) {
  Spec s;
  s.device = in[0].device;
  s.shape = in[0].shape;
  for (int k = 1; k < nin; ++k) s.shape = broadcast(t.name, s.shape, in[k].shape);
  s.dtype = out == RowOut::Bool ? DType::Bool : in[nin - 1].dtype;
  return s;
}
Spec infer_same(const OpTraits& t, const Spec* in, int nin, const Ints&) { return infer_row(t, in, nin, RowOut::Same); }
Spec infer_bool(const OpTraits& t, const Spec* in, int nin, const Ints&) { return infer_row(t, in, nin, RowOut::Bool); }
// A draw has its index tensor's shape; the type drawn is the attribute.
Spec infer_draw(const OpTraits& t, const Spec* in, int nin, const Ints& a) {
  Spec s = infer_row(t, in, nin, RowOut::Same);
  s.dtype = static_cast<DType>(a[0]);
  return s;
}
Spec infer_cast(const OpTraits&, const Spec* in, int, const Ints& a) {
  Spec s = in[0];
  s.dtype = static_cast<DType>(a[0]);
  return s;
}
Spec infer_iota(const OpTraits& t, const Spec*, int, const Ints& a) {
  Spec s;
  int n = a.size() - 2;
  s.shape = Shape(a.data(), n);
  check_size(t.name, s.shape);
  s.dtype = DType::I64;
  s.device.kind = static_cast<DeviceKind>(a[n]);
  s.device.index = static_cast<int8_t>(a[n + 1]);
  return s;
}

// One rule of a row, met by a cotangent or a tangent. Empty: zero.
template <class R> Var meet(const R& rule, const Var& g) {
  if constexpr (std::is_same<decltype(rule.make()), int>::value) {
    if (rule.kind == DKind::One) return g;
    if (rule.kind == DKind::MinusOne) return neg(g);
    return Var();
  } else {
    return rule.kind == DKind::Linear ? rule.make() : strong_mul(g, rule.make());
  }
}

// The operands and results of a rule over 16-bit floats as float32: a derivative is rounded once, at its end.
struct Widened {
  Var in[3], out;
  explicit Widened(const RuleArgs& a) {
    for (int k = 0; k < a.nin; ++k) in[k] = widened(a.in[k]);
    if (a.nout) out = widened(a.outs[0]);
  }
  static Var widened(const Var& x) { return x && is_floating(x.dtype()) ? cast(x, compute_type(x.dtype())) : x; }
};

template <class Row> void row_vjp(const VjpArgs& a, Var* out) {
  auto cotangents = [&](const Var* in, const Var& y, const Var& g) {
    Row::rules(in, y, g, [&](int k, const auto& rule) {
      if (!a.need[k]) return;
      Var d = meet(rule, g);
      if (d) out[k] = cast(sum_to(d, a.specs[k].shape), a.specs[k].dtype);
    });
  };
  const Var& g = a.cotangents[0];
  if (is_narrow(g.dtype())) {
    const Widened w(a);
    return cotangents(w.in, w.out, Widened::widened(g));
  }
  cotangents(a.in, a.nout ? a.outs[0] : Var(), g);
}

template <class Row> Var row_jvp(const JvpArgs& a) {
  Shape shape = a.specs[0].shape;
  for (int k = 1; k < a.nin; ++k) shape = broadcast(traits(a.op).name, shape, a.specs[k].shape);
  auto tangent = [&](const Var* in, const Var& y, bool wide) {
    Var total;
    for (int j = 0; j < a.nin; ++j) {
      if (!a.tangents[j]) continue;
      const Var t = wide ? Widened::widened(a.tangents[j]) : a.tangents[j];
      Row::rules(in, y, t, [&](int k, const auto& rule) {
        if (k != j) return;
        Var d = meet(rule, t);
        if (d) total = total ? add(total, d) : d;
      });
    }
    return total && total.shape() != shape ? expand(total, shape) : total;
  };
  const DType type = a.specs[a.nin - 1].dtype;
  if (is_narrow(type)) {
    const Widened w(a);
    const Var total = tangent(w.in, w.out, true);
    return total ? cast(total, type) : total;
  }
  return tangent(a.in, a.nout ? a.outs[0] : Var(), false);
}

// The batch axis leads; operands of smaller rank get axes of size 1 behind it.
Var row_batch(const BatchArgs& a) {
  int rank = 0;
  for (int k = 0; k < a.nin; ++k) rank = std::max(rank, a.in[k].shape().size() - (a.batched[k] ? 1 : 0));
  Var in[4];
  for (int k = 0; k < a.nin; ++k) {
    in[k] = a.in[k];
    if (!a.batched[k]) continue;
    Shape s = in[k].shape();
    while (s.size() < rank + 1) s.insert(1, 1);
    in[k] = reshape(in[k], s);
  }
  return apply(a.op, in, a.nin, a.attrs.empty() ? AttrsRef() : attrs(a.attrs));
}

void cast_vjp(const VjpArgs& a, Var* out) { out[0] = cast(a.cotangents[0], a.specs[0].dtype); }
Var cast_jvp(const JvpArgs& a) {
  DType to = static_cast<DType>(a.attrs[0]);
  return is_differentiable(to) ? cast(a.tangents[0], to) : Var();
}

// What the derivative column reads, and how it treats each operand.
template <class Row> void fill_derivatives(OpTraits& t) {
  Mention in[3] = {Mention(1), Mention(2), Mention(4)}, y(8), g(16);
  Row::rules(in, y, g, [&](int k, const auto& rule) {
    t.diff[k] = rule.kind == DKind::None ? Diff::No : rule.kind == DKind::Zero ? Diff::Zero : Diff::Yes;
    if constexpr (std::is_same<decltype(rule.make()), Mention>::value) {
      uint32_t m = rule.make().mask;
      t.mentions[k] = static_cast<uint8_t>(m & 15);
      t.needs_in |= m & 7;
      t.needs_out |= (m & 8) != 0;
    } else {
      t.mentions[k] = 0;
    }
  });
  t.vjp = row_vjp<Row>;
  t.jvp = row_jvp<Row>;
}

template <class Row>
OpTraits row(const char* name, int arity, unsigned types, RowOut out, int cost, bool commutative, const char* twin,
             const char* domain, const char* doc) {
  OpTraits t;
  t.name = name;
  t.family = Family::Elementwise;
  t.arity = static_cast<int8_t>(arity);
  t.commutative = commutative;
  t.cost = static_cast<uint8_t>(cost);
  t.doc = doc;
  t.twin = twin;
  t.domain = domain;
  t.types = types;
  t.infer = out == RowOut::Bool ? infer_bool : out == RowOut::Draw ? infer_draw : infer_same;
  t.batch = row_batch;
  fill_derivatives<Row>(t);
  return t;
}

OpTraits cast_row() {
  OpTraits t;
  t.name = "cast";
  t.is_cast = true;
  t.family = Family::Elementwise;
  t.arity = 1;
  t.types = kAll;
  t.doc = "x in another type; a float becomes an integer toward zero, saturating, NaN as 0.";
  t.infer = infer_cast;
  t.vjp = cast_vjp;
  t.jvp = cast_jvp;
  t.batch = row_batch;
  return t;
}

OpTraits iota_row() {
  OpTraits t;
  t.name = "iota";
  t.family = Family::Create;
  t.arity = 0;
  t.types = kI64;
  t.doc = "The row-major index of each element.";
  t.infer = infer_iota;
  return t;
}

MoveKind move_kind(OpId id) {
  switch (id) {
    case op::reshape: return MoveKind::Reshape;
    case op::permute: return MoveKind::Permute;
    case op::expand: return MoveKind::Expand;
    case op::slice: return MoveKind::Slice;
    case op::flip: return MoveKind::Flip;
    case op::pad: return MoveKind::Pad;
    default: return MoveKind::None;
  }
}

void check(OpId got, OpId want) {
  if (got != want) std::abort();  // the id enumeration and this table list the same files
}

}  // namespace

void register_all_ops() {
  static bool done = false;
  if (done) return;
  done = true;
#define ROW1(name, TYPES, OUT, FWD, GRAD, COST, TWIN, DOMAIN_, DOC) \
  check(register_op(row<grads::name##_rules>(#name, 1, TYPES, RowOut::OUT, COST, false, TWIN, DOMAIN_, DOC)), op::name);
#define ROW2(name, TYPES, OUT, FWD, GRAD, COST, COMM, TWIN, DOMAIN_, DOC) \
  check(register_op(row<grads::name##_rules>(#name, 2, TYPES, RowOut::OUT, COST, COMM, TWIN, DOMAIN_, DOC)), op::name);
#define ROW3(name, TYPES, OUT, FWD, GRAD, COST, TWIN, DOMAIN_, DOC) \
  check(register_op(row<grads::name##_rules>(#name, 3, TYPES, RowOut::OUT, COST, false, TWIN, DOMAIN_, DOC)), op::name);
#define DRAW(name, TYPES, FWD, COST, DOC) \
  check(register_op(row<grads::name##_rules>(#name, 3, TYPES, RowOut::Draw, COST, false, "", "", DOC)), op::name);
#include "ops/all_rows.inc"
  check(register_op(cast_row()), op::cast);
  check(register_op(iota_row()), op::iota);
  for (OpId id = op::iota + 1; id < op::count; ++id) {
    OpTraits t = family_op(id);
    t.move = move_kind(id);
    check(register_op(t), id);
  }
}

}  // namespace pd
