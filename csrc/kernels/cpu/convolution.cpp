// A convolution is a product of the weight's rows with windows that are read where they lie: an element of a window is at
// the offset of its place in the kernel plus the offset of the window (kernels/cpu/tiles.h).
#include <vector>

#include "kernels/cpu/native_kernels.h"
#include "kernels/cpu/tiles.h"
#include "ops/convolution.h"

namespace pd {
namespace cpu {

namespace {

constexpr int64_t kSharedWork = int64_t(1) << 22;  // multiply-adds of a group that the threads share; fewer: a group each

// Offsets of the places of a grid, row-major: `step` items apart along each axis of a tensor with these strides.
std::vector<int64_t> grid(const Ints& sizes, const Ints& step, const Ints& strides) {
  std::vector<int64_t> out{0};
  for (int k = 0; k < sizes.size(); ++k) {
    std::vector<int64_t> next;
    next.reserve(out.size() * static_cast<size_t>(sizes[k]));
    for (int64_t base : out)
      for (int64_t i = 0; i < sizes[k]; ++i) next.push_back(base + i * step[k] * strides[k]);
    out = std::move(next);
  }
  return out;
}

// outer[i] + inner[j], the latter fastest.
std::vector<int64_t> pairs(int64_t count, int64_t step, const std::vector<int64_t>& inner) {
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(count) * inner.size());
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j : inner) out.push_back(i * step + j);
  return out;
}

// One plane of x into its place among zeros, axis by axis.
void place(const char* from, char* to, const Shape& size, const Ints& to_strides, const Convolution& c, const Ints& padded,
           int axis, int64_t item) {
  int64_t rest = 1;
  for (int k = axis + 1; k < size.size(); ++k) rest *= size[k];
  // Those i for which i * spread + before lies inside.
  const int64_t s = c.spread[axis], before = c.before[axis];
  const int64_t first = before < 0 ? (-before + s - 1) / s : 0;
  const int64_t last = padded[axis] <= before ? 0 : std::min(size[axis], (padded[axis] - before + s - 1) / s);
  if (axis == size.size() - 1 && s == 1) {
    if (last > first) std::memcpy(to + (first + before) * item, from + first * item, static_cast<size_t>((last - first) * item));
    return;
  }
  for (int64_t i = first; i < last; ++i) {
    char* there = to + (i * s + before) * to_strides[axis] * item;
    if (axis == size.size() - 1)
      std::memcpy(there, from + i * item, static_cast<size_t>(item));
    else
      place(from + i * rest * item, there, size, to_strides, c, padded, axis + 1, item);
  }
}

// x with what is between and around its places, or x itself where that is nothing.
class Padded {
 public:
  Padded(const void* x, const Shape& shape, const Convolution& c, const Ints& padded, int64_t item)
      : planes_(shape[0] * shape[1]), plane_(numel(padded)), data_(static_cast<const char*>(x)) {
    const Shape size(shape.data() + 2, shape.size() - 2);
    bool same = true;
    for (int k = 0; k < c.axes(); ++k) same &= c.before[k] == 0 && c.after[k] == 0 && c.spread[k] == 1;
    if (same) return;
    const Ints strides = contiguous_strides(padded);
    const int64_t from_plane = numel(size);
    room_.resize(static_cast<size_t>(planes_ * plane_ * item));
    data_ = room_.data();
    if (from_plane == 0) return;
    for_ranges(planes_, planes_ * plane_, [&](int64_t b, int64_t e) {
      for (; b < e; ++b)
        place(static_cast<const char*>(x) + b * from_plane * item, room_.data() + b * plane_ * item, size, strides, c, padded, 0, item);
    });
  }
  const char* data() const { return data_; }
  int64_t plane() const { return plane_; }

 private:
  int64_t planes_, plane_;
  std::vector<char> room_;
  const char* data_;
};

}  // namespace

void convolution(const NativeArgs& a, NativeError&) {
  const Convolution c(*a.attrs);
  const Shape &x = a.specs[0].shape, &w = a.specs[1].shape, &y = a.out_spec->shape;
  const ConvolutionSizes s(c, x, w);
  const int64_t item = static_cast<int64_t>(size_of(a.out_spec->dtype)), g = c.groups;
  const Shape kernel(w.data() + 2, w.size() - 2), places(y.data() + 2, y.size() - 2);
  const int64_t in_kernel = numel(kernel), windows = numel(places), depth = s.inputs * in_kernel;
  if (numel(y) == 0) return;
  if (depth == 0) {
    std::memset(a.out, 0, static_cast<size_t>(numel(y) * item));
    return;
  }
  const Padded input(a.in[0], x, c, s.padded, item);
  const int64_t plane = input.plane();
  const Ints strides = contiguous_strides(s.padded);
  const bool in_across = c.flags & kInputAcross, out_across = c.flags & kOutputAcross;

  // Columns: the windows of each image. Depth: the channels' places, as the weight has them in memory.
  const std::vector<int64_t> col = pairs(s.batch, in_across ? plane : g * s.inputs * plane, grid(places, c.stride, strides));
  std::vector<int64_t> within = grid(kernel, c.dilation, strides);
  if (c.flags & kMirrored) std::reverse(within.begin(), within.end());
  const std::vector<int64_t> deep = pairs(s.inputs, in_across ? g * s.batch * plane : plane, within);
  std::vector<int64_t> near(static_cast<size_t>(in_kernel)), there(static_cast<size_t>(windows));
  for (size_t i = 0; i < near.size(); ++i) near[i] = static_cast<int64_t>(i);
  for (size_t i = 0; i < there.size(); ++i) there[i] = static_cast<int64_t>(i);

  const bool turned = c.flags & kWeightTurned, across = c.flags & kWeightAcross;
  const int64_t per_input = turned ? s.outputs * in_kernel : across ? g * s.outputs * in_kernel : in_kernel;
  const int64_t per_output = turned || across ? in_kernel : depth;
  const std::vector<int64_t> weight = pairs(s.inputs, per_input, near);
  const std::vector<int64_t> result = pairs(s.batch, g * s.outputs * windows, there);

  auto group = [&](int64_t i) {
    TiledProduct p;
    p.dtype = a.out_spec->dtype;
    p.m = s.outputs;
    p.n = s.batch * windows;
    p.k = depth;
    p.a = static_cast<const char*>(a.in[1]) + i * (across ? s.outputs * in_kernel : s.inputs * s.outputs * in_kernel) * item;
    p.a_row = {per_output, nullptr};
    p.a_k = turned || across ? Places{1, weight.data()} : Places{1, nullptr};
    p.b = input.data() + i * (in_across ? s.batch : s.inputs) * plane * item;
    p.b_k = {1, deep.data()};
    p.b_col = {1, col.data()};
    p.c = static_cast<char*>(a.out) + i * (out_across ? s.outputs * s.batch * windows : s.outputs * windows) * item;
    p.c_row = {out_across ? s.batch * windows : windows, nullptr};
    p.c_col = out_across ? Places{1, nullptr} : Places{1, result.data()};
    p.accumulate = false;
    tiled_product(p);
  };
  const double work = static_cast<double>(s.outputs) * static_cast<double>(depth) * static_cast<double>(s.batch * windows);
  parallel_for(g, [&](int64_t i, int) { group(i); }, work > static_cast<double>(kSharedWork) ? 1 : num_threads());
}

}  // namespace cpu
}  // namespace pd
