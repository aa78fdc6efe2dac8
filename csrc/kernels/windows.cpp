#include "kernels/windows.h"

#include <algorithm>
#include <numeric>

#include "base/divide.h"

namespace pd {

int64_t WindowProduct::windows() const {
  int64_t n = batch;
  for (const WindowAxis& a : axes) n *= a.n_size;
  return n;
}

int64_t WindowProduct::in_window() const {
  int64_t k = channels;
  for (const WindowAxis& a : axes) k *= a.k_size;
  return k;
}

namespace {

// Windows p = r, r + n_every, … of one axis, which have the places q = q0, q0 + k_every, … among the elements of x.
struct Phase {
  int64_t r, q0, n_every, k_every, n_size, k_size, first;
};

// With s = spread, t = stride, u = dilation: window p and place q meet at t p + u q - before among zeros, at an s-th of that
// in x if s divides it, which depends on p mod s / gcd(s, t) and on q mod s / gcd(s, u).
std::vector<Phase> phases(const Convolution& c, int axis, int64_t windows, int64_t kernel) {
  const int64_t s = c.spread[axis], t = c.stride[axis], u = c.dilation[axis];
  const int64_t n_every = s / std::gcd(s, t), k_every = s / std::gcd(s, u);
  std::vector<Phase> out;
  for (int64_t r = 0; r < std::min(n_every, windows); ++r) {
    Phase p{r, 0, n_every, k_every, ceil_div(windows - r, n_every), 0, 0};
    auto meeting = [&](int64_t q) { return t * r + u * q - c.before[axis]; };
    while (p.q0 < k_every && meeting(p.q0) % s != 0) ++p.q0;
    if (p.q0 < std::min(k_every, kernel)) {
      p.k_size = ceil_div(kernel - p.q0, k_every);
      p.first = meeting(p.q0) / s;
    }
    out.push_back(p);
  }
  return out;
}

// Axes where nothing moves say nothing, and those that are crossed as one are one.
void simplify(WindowProduct& p) {
  std::vector<WindowAxis> kept;
  for (WindowAxis a : p.axes) {
    if (a.n_size == 1 && a.k_size == 1 && 0 <= a.first && a.first < a.bound) continue;  // its place is in x_at
    if (!kept.empty()) {
      WindowAxis& in = kept.back();
      const bool start = a.first == 0 && in.first == 0;
      const bool by_n = a.k_size == 1 && in.k_size == 1 && a.n_step == 1 && in.n_step == 1 && in.n_size == in.bound &&
                        a.n_x == in.n_x * in.n_size && a.n_y == in.n_y * in.n_size;
      const bool by_k = a.n_size == 1 && in.n_size == 1 && a.k_step == 1 && in.k_step == 1 && in.k_size == in.bound &&
                        a.k_x == in.k_x * in.k_size && a.k_w == in.k_w * in.k_size;
      if (start && (by_n || by_k)) {
        (by_n ? in.n_size : in.k_size) *= by_n ? a.n_size : a.k_size;
        in.bound *= a.bound;
        continue;
      }
    }
    kept.push_back(a);
  }
  if (kept.empty()) kept.push_back(WindowAxis{1, 1, 1, 1, 0, 1, 0, 0, 0, 0});
  p.axes = kept;
}

}  // namespace

std::vector<WindowProduct> window_products(const Convolution& c, const Shape& x, const Ints& xs, const Shape& w,
                                           const Ints& ws, const Shape& result) {
  Shape y = result;
  Ints ys = contiguous_strides(result);
  if (c.flags & kChannelsLast) {
    std::rotate(y.begin() + 1, y.end() - 1, y.end());
    std::rotate(ys.begin() + 1, ys.end() - 1, ys.end());
  }
  const ConvolutionSizes s(c, x, w);
  const bool turned = c.flags & kWeightTurned, across = c.flags & kWeightAcross;
  WindowProduct whole;
  whole.groups = c.groups, whole.outputs = s.outputs, whole.batch = s.batch, whole.channels = s.inputs;
  const bool in_across = c.flags & kInputAcross, out_across = c.flags & kOutputAcross;
  whole.x_batch = xs[in_across ? 1 : 0];
  whole.x_channel = xs[in_across ? 0 : 1];
  whole.x_group = in_across ? s.batch * xs[1] : s.inputs * xs[1];
  whole.w_channel = ws[turned || across ? 0 : 1];
  whole.w_row = ws[turned || across ? 1 : 0];
  whole.w_group = turned ? s.inputs * ws[0] : across ? s.outputs * ws[1] : s.outputs * ws[0];
  whole.y_row = ys[out_across ? 0 : 1];
  whole.y_batch = ys[out_across ? 1 : 0];
  whole.y_group = s.outputs * whole.y_row;

  std::vector<WindowProduct> out{whole};
  for (int axis = c.axes() - 1; axis >= 0; --axis) {
    std::vector<WindowProduct> next;
    const int64_t kernel = w[2 + axis], xs_at = xs[2 + axis], ys_at = ys[2 + axis];
    const int64_t ws_at = c.flags & kMirrored ? -ws[2 + axis] : ws[2 + axis];
    const int64_t from = c.flags & kMirrored ? (kernel - 1) * ws[2 + axis] : 0;
    for (const WindowProduct& base : out)
      for (const Phase& f : phases(c, axis, y[2 + axis], kernel)) {
        WindowProduct p = base;
        const int64_t n_step = c.stride[axis] * f.n_every / c.spread[axis];
        const int64_t k_step = c.dilation[axis] * f.k_every / c.spread[axis];
        p.axes.push_back(WindowAxis{f.n_size, f.k_size, n_step, k_step, f.first, x[2 + axis], n_step * xs_at, k_step * xs_at,
                                    f.k_every * ws_at, f.n_every * ys_at});
        p.x_at += f.first * xs_at;
        p.w_at += from + f.q0 * ws_at;
        p.y_at += f.r * ys_at;
        next.push_back(p);
      }
    out = std::move(next);
  }
  for (WindowProduct& p : out) simplify(p);
  return out;
}

std::vector<WindowProduct> window_products(const Convolution& c, const NativeArgs& a) {
  return window_products(c, a.specs[0].shape, a.strides[0], a.specs[1].shape, a.strides[1], a.out_spec->shape);
}

}  // namespace pd
