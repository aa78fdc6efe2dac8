// Convolution, of a family that is closed under differentiation: the cotangents of a convolution's operands are convolutions
// again, of other strides, with the roles of batch and channels exchanged. What differs is in the attributes, so nothing is
// copied for it.
#include "ops/convolution.h"

#include <algorithm>

#include "ops/families.h"

namespace pd {

namespace {

Shape spatial(const Shape& s) { return part(s, 2, s.size() - 2); }
Shape with_places(int64_t first, int64_t second, const Shape& s) { return join({first, second}, spatial(s)); }

Var raw(const Var& x, const Var& w, const Convolution& c) { return apply(op::convolution, {x, w}, attrs(c.attributes())); }

Spec infer(const OpTraits& t, const Spec* in, int, const Ints& a) {
  require_equal_types(t, in[0], in[1]);
  require_kernel(t.name, compute_type(in[0].dtype), t.types);
  const Convolution c(a);
  const Shape &x = in[0].shape, &w = in[1].shape;
  if (x.size() != c.axes() + 2 || w.size() != c.axes() + 2)
    fail(t.name, "the operands have two axes and those of places", to_string(x) + " and " + to_string(w),
         std::to_string(c.axes() + 2) + " axes each");
  const ConvolutionSizes s(c, x, w);
  if (!s.fit) fail(t.name, "the channels do not fit", to_string(x) + " and " + to_string(w), "as many in both, times groups");
  Shape out = c.flags & kOutputAcross ? Shape{c.groups * s.outputs, s.batch} : Shape{s.batch, c.groups * s.outputs};
  for (int k = 0; k < c.axes(); ++k) {
    const int64_t room = s.padded[k] - (c.dilation[k] * (w[2 + k] - 1) + 1);
    if (room < 0)
      fail(t.name, "the kernel is larger than the padded input", to_string(w) + " for " + to_string(s.padded), "padding");
    out.push_back(room / c.stride[k] + 1);
  }
  if (c.flags & kChannelsLast) std::rotate(out.begin() + 1, out.begin() + 2, out.end());
  return with_shape(in[0], out);
}

// ---- to the plain form and back, with `lead` axes ahead

Ints exchanged(int n, int a, int b) {
  Ints axes;
  for (int k = 0; k < n; ++k) axes.push_back(k == a ? b : k == b ? a : k);
  return axes;
}

Var axis_moved(const Var& x, int from, int to) {
  Ints axes;
  for (int k = 0; k < x.shape().size(); ++k)
    if (k != from) axes.push_back(k);
  axes.insert(to, from);
  return permute(x, axes);
}

// (…, first, second, places) read as (…, first, groups, part, places) or (…, groups, part, second, places), two exchanged.
Var regrouped(const Var& x, int lead, const Ints& split, int a, int b, const Ints& joined) {
  const Shape &s = x.shape(), head = part(s, 0, lead), tail = part(s, lead + 2, s.size() - lead - 2);
  const int n = s.size() + 1;
  return reshape(permute(reshape(x, join(join(head, split), tail)), exchanged(n, lead + a, lead + b)), join(join(head, joined), tail));
}

Var plain_input(const Var& x, const Convolution& c, int lead) {
  if (!(c.flags & kInputAcross)) return x;
  const int64_t i = x.shape()[lead], b = x.shape()[lead + 1] / c.groups;
  return regrouped(x, lead, {i, c.groups, b}, 0, 2, {b, c.groups * i});
}

Var plain_weight(const Var& x, const Convolution& c, int lead) {
  Var w = x;
  const int n = w.shape().size();
  if (c.flags & kWeightAcross) w = permute(w, exchanged(n, lead, lead + 1));
  if (c.flags & kWeightTurned) {
    const int64_t i = w.shape()[lead] / c.groups, o = w.shape()[lead + 1];
    w = regrouped(w, lead, {c.groups, i, o}, 1, 2, {c.groups * o, i});
  }
  if (c.flags & kMirrored) {
    Ints axes;
    for (int k = lead + 2; k < n; ++k) axes.push_back(k);
    w = flip(w, axes);
  }
  return w;
}

Var plain_output(const Var& y, const Convolution& c, int lead) {
  if (c.flags & kChannelsLast) return axis_moved(y, y.shape().size() - 1, lead + 1);
  return c.flags & kOutputAcross ? permute(y, exchanged(y.shape().size(), lead, lead + 1)) : y;
}

Var output_like(const Var& plain, const Convolution& c, int lead) {
  if (c.flags & kChannelsLast) return axis_moved(plain, lead + 1, plain.shape().size() - 1);
  return plain_output(plain, c, lead);
}

// Of a plain x, a plain w: each step of these is its own inverse with the sizes exchanged.
Var input_like(const Var& plain, const Convolution& c) {
  if (!(c.flags & kInputAcross)) return plain;
  const int64_t b = plain.shape()[0], i = plain.shape()[1] / c.groups;
  return regrouped(plain, 0, {b, c.groups, i}, 0, 2, {i, c.groups * b});
}

Var weight_like(const Var& plain, const Convolution& c) {
  Convolution back = c;
  back.flags &= kMirrored;
  Var w = plain_weight(plain, back, 0);
  if (c.flags & kWeightTurned) {
    const int64_t o = w.shape()[0] / c.groups, i = w.shape()[1];
    w = regrouped(w, 0, {c.groups, o, i}, 1, 2, {c.groups * i, o});
  }
  return c.flags & kWeightAcross ? permute(w, exchanged(w.shape().size(), 0, 1)) : w;
}

// ---- rules

// Of the plain form: x (B, G I, S), w (G O, I, K), y (B, G O, P), c without flags but kChannelsLast.
Var plain(const Var& x, const Var& w, const Convolution& c) { return plain_output(raw(x, w, c), c, 0); }

Var to_input(const Var& g, const Var& w, const Convolution& c, const Shape& x) {
  Convolution d = c;
  d.flags = kWeightTurned | kMirrored | (c.flags & kChannelsLast);
  for (int k = 0; k < c.axes(); ++k) {
    const int64_t reach = c.dilation[k] * (w.shape()[2 + k] - 1), given = (g.shape()[2 + k] - 1) * c.stride[k] + 1;
    d.stride[k] = c.spread[k];
    d.spread[k] = c.stride[k];
    d.before[k] = reach - c.before[k];
    d.after[k] = (x[2 + k] - 1) * c.spread[k] + 1 + reach - given - d.before[k];
  }
  return plain(g, w, d);
}

Var to_weight(const Var& x, const Var& g, const Convolution& c, const Shape& w) {
  Convolution d = c;
  d.flags = kInputAcross | kWeightAcross | kOutputAcross;
  for (int k = 0; k < c.axes(); ++k) {
    const int64_t given = (g.shape()[2 + k] - 1) * c.stride[k] + 1, whole = (x.shape()[2 + k] - 1) * c.spread[k] + 1;
    d.stride[k] = c.dilation[k];
    d.dilation[k] = c.stride[k];
    d.after[k] = (w[2 + k] - 1) * c.dilation[k] + given - whole - c.before[k];
  }
  return raw(x, g, d);
}

void vjp(const VjpArgs& a, Var* out) {
  const Convolution c(a.attrs);
  Convolution flat = c;
  flat.flags = c.flags & kChannelsLast;
  const Var g = plain_output(a.cotangents[0], c, 0);
  const ConvolutionSizes s(c, a.specs[0].shape, a.specs[1].shape);
  const Shape &x = a.specs[0].shape, &w = a.specs[1].shape;
  if (a.need[0])
    out[0] = input_like(to_input(g, plain_weight(a.in[1], c, 0), flat, with_places(s.batch, c.groups * s.inputs, x)), c);
  if (a.need[1])
    out[1] = weight_like(to_weight(plain_input(a.in[0], c, 0), g, flat, with_places(c.groups * s.outputs, s.inputs, w)), c);
}

Var jvp(const JvpArgs& a) {
  const Convolution c(a.attrs);
  Var l = a.tangents[0] ? raw(a.tangents[0], a.in[1], c) : Var();
  Var r = a.tangents[1] ? raw(a.in[0], a.tangents[1], c) : Var();
  return l && r ? l + r : l ? l : r;
}

// A batch of inputs is a longer batch; one of weights more outputs; one of both more groups.
Var batch(const BatchArgs& a) {
  const Convolution c(a.attrs);
  Convolution d = c;
  d.flags = c.flags & kChannelsLast;
  const bool of_x = a.batched[0], of_w = a.batched[1];
  Var x = plain_input(a.in[0], c, of_x), w = plain_weight(a.in[1], c, of_w);
  const int64_t v = a.size, g = c.groups;
  const int64_t b = x.shape()[of_x], gi = x.shape()[of_x + 1], go = w.shape()[of_w], i = w.shape()[of_w + 1], o = go / g;
  const Shape s = part(x.shape(), of_x + 2, c.axes()), k = part(w.shape(), of_w + 2, c.axes());
  auto axes_of = [&](std::initializer_list<int64_t> first) {
    Ints all(first);
    for (int n = all.size(), j = 0; j < c.axes(); ++j) all.push_back(n + j);
    return all;
  };
  Var y;
  if (!of_w) {
    y = plain(reshape(x, join({v * b, gi}, s)), w, d);
    y = reshape(y, join({v, b, go}, spatial(y.shape())));
  } else if (!of_x) {
    w = permute(reshape(w, join({v, g, o, i}, k)), axes_of({1, 0, 2, 3}));
    y = plain(x, reshape(w, join({g * v * o, i}, k)), d);
    const Shape p = spatial(y.shape());
    y = reshape(permute(reshape(y, join({b, g, v, o}, p)), axes_of({2, 0, 1, 3})), join({v, b, go}, p));
  } else {
    d.groups = v * g;
    x = reshape(permute(x, axes_of({1, 0, 2})), join({b, v * gi}, s));
    y = plain(x, reshape(w, join({v * go, i}, k)), d);
    const Shape p = spatial(y.shape());
    y = permute(reshape(y, join({b, v, go}, p)), axes_of({1, 0, 2}));
  }
  return output_like(y, c, 1);
}

}  // namespace

OpTraits convolution_row() {
  OpTraits t;
  t.name = "convolution";
  t.family = Family::Index;
  t.arity = 2;
  t.cost = 255;  // of the order of its sums, which are longer than most: what is computed again is something else
  t.types = kNum;
  t.needs_in = 3;
  t.reads_views = true;
  t.doc = "Sums of products over the channels and places of a window, for each window.";
  t.infer = infer;
  t.vjp = vjp;
  t.jvp = jvp;
  t.batch = batch;
  return t;
}

bool convolution_serves(DType d, DeviceId device, bool transposed) {
  return device.kind == DeviceKind::Cpu || (is_floating(d) && !transposed);
}

Var convolution(const Var& x, const Var& w, const Convolution& c) {
  Var both[2] = {x, w};
  const DType d = result_type(both, 2);
  // On a CUDA device the kernel reads 16-bit floats itself, and adds in float32.
  if (is_narrow(d) && x.device().kind == DeviceKind::Cpu)
    return cast(convolution(cast(x, compute_type(d)), cast(w, compute_type(d)), c), d);
  require_kernel("convolution", compute_type(d), kNum);
  return raw(cast(x, d), cast(w, d), c);
}

}  // namespace pd
