// Joining tensors along an axis.
#include "ops/families.h"

namespace pd {

namespace {

Var raw_concatenate(const std::vector<Var>& in, int64_t axis) {
  return apply(op::concatenate, in.data(), static_cast<int>(in.size()), attrs({axis}));
}

Spec infer_concatenate(const OpTraits& t, const Spec* in, int nin, const Ints& a) {
  if (nin == 0) fail(t.name, "there is nothing to join", "no tensors", "at least one tensor");
  check_axes(t.name, a, in[0].shape.size());
  int axis = static_cast<int>(a[0]);
  Shape s = in[0].shape;
  for (int k = 1; k < nin; ++k) {
    require_equal_types(t, in[0], in[k]);
    bool ok = in[k].shape.size() == s.size();
    for (int d = 0; d < s.size() && ok; ++d) ok = d == axis || in[k].shape[d] == s[d];
    if (!ok)
      fail(t.name, "shapes differ beside the joined axis",
           to_string(in[0].shape) + " and " + to_string(in[k].shape) + " along axis " + std::to_string(axis),
           "sizes that are equal but along that axis");
    s[axis] += in[k].shape[axis];
  }
  return with_shape(in[0], s);
}

void vjp_concatenate(const VjpArgs& a, Var* out) {
  const Var& g = a.cotangents[0];
  int axis = static_cast<int>(a.attrs[0]), n = g.shape().size();
  Ints start(n, 0), stop = g.shape(), step(n, 1);
  stop[axis] = 0;
  for (int k = 0; k < a.nin; ++k) {
    start[axis] = stop[axis];
    stop[axis] += a.specs[k].shape[axis];
    if (a.need[k]) out[k] = slice(g, start, stop, step);
  }
}

Var jvp_concatenate(const JvpArgs& a) {
  std::vector<Var> in;
  for (int k = 0; k < a.nin; ++k) in.push_back(or_zeros(a.tangents[k], a.specs[k]));
  return raw_concatenate(in, a.attrs[0]);
}

Var batch_concatenate(const BatchArgs& a) {
  std::vector<Var> in;
  for (int k = 0; k < a.nin; ++k) in.push_back(with_batch(a, k));
  return raw_concatenate(in, a.attrs[0] + 1);
}

}  // namespace

OpTraits concatenate_row() {
  OpTraits t;
  t.name = "concatenate";
  t.family = Family::Index;
  t.arity = -1;
  t.types = kAll;
  t.twin = "np.concatenate(tensors, axis)";
  t.doc = "Tensors one behind the other along an axis.";
  t.infer = infer_concatenate;
  t.vjp = vjp_concatenate;
  t.jvp = jvp_concatenate;
  t.batch = batch_concatenate;
  return t;
}

Var concatenate(const Var* in, int n, int64_t axis) {
  if (n == 0) fail("cat", "there is nothing to join", "no tensors", "at least one tensor");
  DType d = result_type(in, n);
  // As in PyTorch, an empty 1-d tensor joins with anything: the start of an accumulated list.
  auto nothing = [](const Var& x) { return x.shape().size() == 1 && x.shape()[0] == 0; };
  std::vector<Var> parts;
  for (int k = 0; k < n; ++k)
    if (!nothing(in[k])) parts.push_back(cast(in[k], d));
  if (parts.empty()) return cast(in[0], d);
  int ndim = parts[0].shape().size();
  if (ndim == 0) fail("cat", "0-d tensors have no axis to join along", "shape ()", "stack");
  int at = normalize_axis("cat", axis, ndim);
  return parts.size() == 1 ? parts[0] : raw_concatenate(parts, at);
}

Var stack(const Var* in, int n, int64_t axis) {
  if (n == 0) fail("stack", "there is nothing to join", "no tensors", "at least one tensor");
  DType d = result_type(in, n);
  int at = normalize_axis("stack", axis, in[0].shape().size() + 1);
  std::vector<Var> parts;
  for (int k = 0; k < n; ++k) {
    if (in[k].shape() != in[0].shape())
      fail("stack", "shapes differ", to_string(in[0].shape()) + " and " + to_string(in[k].shape()),
           "equal shapes, or cat");
    parts.push_back(unsqueeze(cast(in[k], d), at));
  }
  return n == 1 ? parts[0] : raw_concatenate(parts, at);
}

}  // namespace pd
