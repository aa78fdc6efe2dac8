// Indexing by tensors: index, gather, and the writes that are their transposes.
//
// A batch of any of them is one index more: the element's place in the batch, from an iota.
#include "ops/families.h"

namespace pd {

namespace {

using Vars = std::vector<Var>;

// ---- raw forms

Var raw_index(const Var& x, const Vars& idx) {
  Vars in = {x};
  in.insert(in.end(), idx.begin(), idx.end());
  return apply(op::index, in.data(), static_cast<int>(in.size()), attrs({static_cast<int64_t>(idx.size())}));
}
Var raw_put(const Var& x, const Var& values, const Vars& idx, bool accumulate) {
  if (accumulate && is_narrow(x.dtype())) {
    const DType wide = compute_type(x.dtype());
    return cast(raw_put(cast(x, wide), cast(values, wide), idx, true), x.dtype());
  }
  Vars in = {x, values};
  in.insert(in.end(), idx.begin(), idx.end());
  return apply(op::index_put, in.data(), static_cast<int>(in.size()),
               attrs({static_cast<int64_t>(idx.size()), accumulate}));
}
Var raw_gather(const Var& x, const Var& idx, int64_t axis) { return apply(op::gather, {x, idx}, attrs({axis})); }
Var raw_scatter(const Var& x, const Var& idx, const Var& src, int64_t axis, bool accumulate) {
  if (accumulate && is_narrow(x.dtype())) {
    const DType wide = compute_type(x.dtype());
    return cast(raw_scatter(cast(x, wide), idx, cast(src, wide), axis, true), x.dtype());
  }
  return apply(op::scatter, {x, idx, src}, attrs({axis, accumulate}));
}

void check_index_type(const OpTraits& t, const Spec& idx) {
  if (idx.dtype != DType::I64)
    fail(t.name, "an index is not int64", name_of(idx.dtype), "idx.long()", ErrorKind::Type);
}

Vars operands(const RuleArgs& a, int from) { return Vars(a.in + from, a.in + a.nin); }

Vars with_batch_from(const BatchArgs& a, int from) {
  Vars out;
  for (int k = from; k < a.nin; ++k) out.push_back(with_batch(a, k));
  return out;
}

// The operands from `from` on with the batch axis, and before them the place in the batch.
Vars batched_indices(const BatchArgs& a, int from) {
  Vars out = with_batch_from(a, from);
  Shape s = out[0].shape(), place(s.size(), 1);
  place[0] = a.size;
  out.insert(out.begin(), expand(reshape(iota({a.size}, out[0].device()), place), s));
  return out;
}

// ---- index(x, i0…): the shape of the indices, then the axes that are not indexed

Shape indexed_shape(const Shape& x, const Shape& idx, int n) { return join(idx, part(x, n, x.size() - n)); }

void check_indices(const OpTraits& t, const Spec& x, const Spec* idx, int given, int64_t n) {
  if (n != given || n < 1 || n > x.shape.size())
    fail(t.name, "as many index tensors as indexed axes are needed",
         std::to_string(given) + " for " + std::to_string(n) + " axes of shape " + to_string(x.shape), "one an axis");
  for (int k = 0; k < given; ++k) {
    check_index_type(t, idx[k]);
    if (idx[k].shape != idx[0].shape)
      fail(t.name, "index tensors differ in shape", to_string(idx[0].shape) + " and " + to_string(idx[k].shape),
           "broadcasting them first");
  }
}

Spec infer_index(const OpTraits& t, const Spec* in, int nin, const Ints& a) {
  check_indices(t, in[0], in + 1, nin - 1, a[0]);
  return with_shape(in[0], indexed_shape(in[0].shape, in[1].shape, nin - 1));
}
void vjp_index(const VjpArgs& a, Var* out) {
  if (a.need[0]) out[0] = raw_put(zeros_of(a.specs[0]), a.cotangents[0], operands(a, 1), true);
}
Var jvp_index(const JvpArgs& a) { return a.tangents[0] ? raw_index(a.tangents[0], operands(a, 1)) : Var(); }
Var batch_index(const BatchArgs& a) {
  return raw_index(a.in[0], a.batched[0] ? batched_indices(a, 1) : with_batch_from(a, 1));
}

// ---- index_put(x, values, i0…)

Spec infer_put(const OpTraits& t, const Spec* in, int nin, const Ints& a) {
  check_indices(t, in[0], in + 2, nin - 2, a[0]);
  require_equal_types(t, in[0], in[1]);
  Shape want = indexed_shape(in[0].shape, in[2].shape, nin - 2);
  if (in[1].shape != want)
    fail(t.name, "the values have not the indexed shape", to_string(in[1].shape) + " for " + to_string(want),
         "values.expand(indexed shape)");
  return in[0];
}

// Where two writes meet, one stays, and only that one has a derivative. Which it was is asked of the
// op itself: numbers written in the place of values, read back, tell the writes that stayed.
Var where_stayed(const Var& read, const Var& numbers, const Var& g) {
  Shape s = numbers.shape();
  while (s.size() < g.shape().size()) s.push_back(1);
  return where(reshape(eq(read, numbers), s), g, 0.0);
}

void vjp_put(const VjpArgs& a, Var* out) {
  const Var& g = a.cotangents[0];
  Vars idx = operands(a, 2);
  bool accumulate = a.attrs[1] != 0;
  if (a.need[0]) out[0] = accumulate ? g : raw_put(g, zeros_of(a.specs[1]), idx, false);
  if (!a.need[1]) return;
  out[1] = raw_index(g, idx);
  if (accumulate || numel(idx[0].shape()) < 2) return;
  Var numbers = iota(idx[0].shape(), g.device());
  Shape lead = part(a.specs[0].shape, 0, static_cast<int>(idx.size()));
  Var written = raw_put(zeros(lead, DType::I64, g.device()), numbers, idx, false);
  out[1] = where_stayed(raw_index(written, idx), numbers, out[1]);
}
Var jvp_put(const JvpArgs& a) {
  return raw_put(or_zeros(a.tangents[0], a.specs[0]), or_zeros(a.tangents[1], a.specs[1]), operands(a, 2), a.attrs[1]);
}
Var batch_put(const BatchArgs& a) {
  return raw_put(with_batch(a, 0), with_batch(a, 1), batched_indices(a, 2), a.attrs[1]);
}

// ---- gather(x, idx) and scatter(x, idx, src) along one axis

void check_along(const OpTraits& t, const Spec& x, const Spec& idx, const Ints& a) {
  check_index_type(t, idx);
  check_axes(t.name, part(a, 0, 1), x.shape.size());
  bool ok = idx.shape.size() == x.shape.size();
  for (int k = 0; k < x.shape.size() && ok; ++k) ok = k == a[0] || idx.shape[k] <= x.shape[k];
  if (!ok)
    fail(t.name, "the index does not fit the tensor",
         "index " + to_string(idx.shape) + ", tensor " + to_string(x.shape) + ", axis " + std::to_string(a[0]),
         "an index of as many dimensions, no larger but along that axis");
}

Spec infer_gather(const OpTraits& t, const Spec* in, int, const Ints& a) {
  check_along(t, in[0], in[1], a);
  return with_shape(in[0], in[1].shape);
}
void vjp_gather(const VjpArgs& a, Var* out) {
  if (a.need[0]) out[0] = raw_scatter(zeros_of(a.specs[0]), a.in[1], a.cotangents[0], a.attrs[0], true);
}
Var jvp_gather(const JvpArgs& a) {
  return a.tangents[0] ? raw_gather(a.tangents[0], a.in[1], a.attrs[0]) : Var();
}
Var batch_gather(const BatchArgs& a) { return raw_gather(with_batch(a, 0), with_batch(a, 1), a.attrs[0] + 1); }

Spec infer_scatter(const OpTraits& t, const Spec* in, int, const Ints& a) {
  check_along(t, in[0], in[1], a);
  require_equal_types(t, in[0], in[2]);
  if (in[2].shape != in[1].shape)
    fail(t.name, "source and index differ in shape", to_string(in[2].shape) + " and " + to_string(in[1].shape),
         "one source element an index");
  return in[0];
}
void vjp_scatter(const VjpArgs& a, Var* out) {
  const Var &g = a.cotangents[0], &idx = a.in[1];
  int64_t axis = a.attrs[0];
  bool accumulate = a.attrs[1] != 0;
  if (a.need[0]) out[0] = accumulate ? g : raw_scatter(g, idx, zeros_of(a.specs[2]), axis, false);
  if (!a.need[2]) return;
  out[2] = raw_gather(g, idx, axis);
  if (accumulate || numel(idx.shape()) < 2) return;
  Var numbers = iota(idx.shape(), g.device());
  Var written = raw_scatter(zeros(a.specs[0].shape, DType::I64, g.device()), idx, numbers, axis, false);
  out[2] = where_stayed(raw_gather(written, idx, axis), numbers, out[2]);
}
Var jvp_scatter(const JvpArgs& a) {
  return raw_scatter(or_zeros(a.tangents[0], a.specs[0]), a.in[1], or_zeros(a.tangents[2], a.specs[2]), a.attrs[0],
                     a.attrs[1]);
}
Var batch_scatter(const BatchArgs& a) {
  return raw_scatter(with_batch(a, 0), with_batch(a, 1), with_batch(a, 2), a.attrs[0] + 1, a.attrs[1]);
}

// ---- what users give

Var as_index(const char* op, const Var& idx) {
  if (is_bool(idx.dtype()))
    fail(op, "a boolean mask is not an index here", name_of(idx.dtype()), "mask.nonzero()", ErrorKind::Type);
  if (!is_integer(idx.dtype()))
    fail(op, "an index must be of whole numbers", name_of(idx.dtype()), "idx.long()", ErrorKind::Type);
  return cast(idx, DType::I64);
}

Vars as_indices(const char* op, const Var& x, const Var* idx, int n) {
  if (n < 1 || n > x.shape().size())
    fail(op, "too many or no index tensors", std::to_string(n) + " for shape " + to_string(x.shape()),
         "from 1 to " + std::to_string(x.shape().size()), ErrorKind::Index);
  Vars out;
  Shape s;
  for (int k = 0; k < n; ++k) {
    out.push_back(as_index(op, idx[k]));
    s = broadcast(op, s, idx[k].shape());
  }
  for (Var& i : out) i = expand(i, s);
  return out;
}

// A 0-d tensor is indexed as one of a single element.
Var at_least_1d(const Var& x) { return x.shape().empty() ? reshape(x, {1}) : x; }

}  // namespace

OpTraits index_row(OpId id) {
  OpTraits t;
  t.family = Family::Index;
  t.types = kAll;
  t.may_fail = true;
  if (id == op::index) {
    t.name = "index";
    t.arity = -1;
    t.needs_in = ~1u;
    t.twin = "x[i0, i1]";
    t.doc = "Elements at index tensors over the first axes; negative indices count from the end.";
    t.infer = infer_index;
    t.vjp = vjp_index;
    t.jvp = jvp_index;
    t.batch = batch_index;
  } else if (id == op::index_put) {
    t.name = "index_put";
    t.arity = -1;
    t.needs_in = ~3u;
    t.doc = "x with values written or added at index tensors; where two writes meet, the last stays.";
    t.infer = infer_put;
    t.vjp = vjp_put;
    t.jvp = jvp_put;
    t.batch = batch_put;
  } else if (id == op::gather) {
    t.name = "gather";
    t.arity = 2;
    t.needs_in = 2;
    t.twin = "np.take_along_axis(x, idx, axis)";
    t.doc = "Along one axis the elements that an index of as many dimensions names.";
    t.infer = infer_gather;
    t.vjp = vjp_gather;
    t.jvp = jvp_gather;
    t.batch = batch_gather;
  } else {
    t.name = "scatter";
    t.arity = 3;
    t.needs_in = 2;
    t.doc = "x with a source written or added along one axis; where two writes meet, the last stays.";
    t.infer = infer_scatter;
    t.vjp = vjp_scatter;
    t.jvp = jvp_scatter;
    t.batch = batch_scatter;
  }
  return t;
}

Var index(const Var& x, const Var* idx, int n) { return raw_index(x, as_indices("index", x, idx, n)); }

Var index_put(const Var& x, const Var* idx, int n, const Var& values, bool accumulate) {
  Vars at = as_indices("index_put", x, idx, n);
  Shape want = indexed_shape(x.shape(), at[0].shape(), n), from = values.shape();
  while (from.size() > want.size() && from[0] == 1) from.erase(0);
  if (from.size() > want.size() || broadcast("index_put", from, want) != want)
    fail("index_put", "the values do not broadcast to what is indexed",
         to_string(values.shape()) + " into " + to_string(want), "values of shape " + to_string(want));
  return raw_put(x, expand(cast(reshape(values, from), x.dtype()), want), at, accumulate);
}

Var gather(const Var& x, int64_t axis, const Var& idx) {
  int at = normalize_axis("gather", axis, x.shape().size());
  Var y = raw_gather(at_least_1d(x), at_least_1d(as_index("gather", idx)), at);
  return reshape(y, idx.shape());
}

Var scatter(const Var& x, int64_t axis, const Var& idx, const Var& src, bool accumulate) {
  int at = normalize_axis("scatter", axis, x.shape().size());
  Var i = at_least_1d(as_index("scatter", idx));
  Var s = at_least_1d(src.shape().empty() ? expand(src, i.shape()) : src);
  bool ok = s.shape().size() == i.shape().size();
  for (int k = 0; k < i.shape().size() && ok; ++k) ok = s.shape()[k] >= i.shape()[k];
  if (!ok)
    fail("scatter", "the source is smaller than the index",
         "source " + to_string(src.shape()) + ", index " + to_string(idx.shape()), "one source element an index");
  // As in PyTorch, of a larger source only the index's region is read.
  int n = i.shape().size();
  s = slice(cast(s, x.dtype()), Ints(n, 0), i.shape(), Ints(n, 1));
  return reshape(raw_scatter(at_least_1d(x), i, s, at, accumulate), x.shape());
}

Var take(const Var& x, const Var& idx, int64_t axis) {
  int at = normalize_axis("take", axis, x.shape().size());
  Var i = as_index("take", idx), from = at_least_1d(x);
  if (at == 0) return raw_index(from, {i});
  // Along an inner axis, gather by the repeated index: the work is that of the result, not of x.
  int64_t count = numel(i.shape());
  Shape line(x.shape().size(), 1), full = x.shape();
  line[at] = count;
  full[at] = count;
  Var y = raw_gather(x, expand(reshape(i, line), full), at);
  return reshape(y, join(join(part(x.shape(), 0, at), i.shape()), part(x.shape(), at + 1, x.shape().size() - at - 1)));
}

}  // namespace pd
