// Tensors written into regions of a larger one: concatenate, slice_update.
#include "kernels/cuda/join_text.h"
#include "kernels/cuda/launch.h"

namespace pd {
namespace cuda {

namespace {

constexpr int kOperands = 32;  // of one launch, as in the text

struct Runs {
  const void* from[kOperands];
  int64_t run[kOperands];
  int64_t to[kOperands];
};

Head join_head(int64_t unit, bool wide, int rank) {
  Head h;
  return h.type("Unit", word_type(unit)).type("Ix", wide ? "u64" : "u32").number("RANK", rank);
}

std::string join_text(const Head& head) { return head.text() + kJoinText; }

}  // namespace

void concatenate(const NativeArgs& a, const CudaNativeContext& c) {
  int64_t axis = (*a.attrs)[0];
  int64_t item = static_cast<int64_t>(size_of(a.out_spec->dtype));
  AxisView v(a.out_spec->shape, axis);
  int64_t row = v.n * v.inner * item;
  if (v.outer * row == 0) return;

  int64_t to = 0;
  for (int k = 0; k < a.nin;) {
    // Up to kOperands of those that are not empty, in units that suit them all.
    Runs r{};
    int64_t count = 0, longest = 0;
    uint64_t bits = address(a.out) | (v.outer > 1 ? static_cast<uint64_t>(row) : 0);
    for (; k < a.nin && count < kOperands; ++k) {
      int64_t run = a.specs[k].shape[static_cast<int>(axis)] * v.inner * item;
      if (run == 0) continue;
      r.from[count] = a.in[k];
      r.run[count] = run;
      r.to[count++] = to;
      bits |= address(a.in[k]) | static_cast<uint64_t>(run) | static_cast<uint64_t>(to);
      to += run;
      longest = std::max(longest, run);
    }
    if (count == 0) break;
    int64_t unit = unit_of(bits), pitch = row / unit;
    for (int i = 0; i < count; ++i) {
      r.run[i] /= unit;
      r.to[i] /= unit;
    }
    bool wide = !fits_32(v.outer * row / unit);
    launch(c, join_text, join_head(unit, wide, 1), "join_runs",
           blocks_for(c, ceil_div(v.outer * (longest / unit), 4)), {&a.out, &r, &v.outer, &pitch},
           static_cast<uint32_t>(count));
  }
}

void slice_update(const NativeArgs& a, const CudaNativeContext& c) {
  const Shape &dst = a.specs[0].shape, &src = a.specs[1].shape;
  int64_t item = static_cast<int64_t>(size_of(a.out_spec->dtype));
  int nd = dst.size();
  if (numel(src) != numel(dst)) copy_operand(a, c);
  if (numel(src) == 0) return;

  // Strides in bytes; the innermost axis counts whole units where it is solid on both sides.
  Ints ds = contiguous_strides(dst), ss = contiguous_strides(src);
  Nest<2> nest;
  int64_t base = 0;
  for (int i = 0; i < nd; ++i) {
    int64_t step = (*a.attrs)[2 * nd + i];
    base += (*a.attrs)[i] * ds[i] * item;
    nest.axis(src[i], {step * ds[i] * item, ss[i] * item});
  }
  nest.done();
  char* out = static_cast<char*>(a.out) + base;
  auto& last = nest.axes.back();
  uint64_t addresses = address(out) | address(a.in[1]);
  int64_t unit;
  if (last.n > 1 && last.stride[0] == item && last.stride[1] == item) {
    uint64_t bits = addresses | static_cast<uint64_t>(last.n * item);
    for (int d = 0; d + 1 < nest.rank(); ++d)
      bits |= static_cast<uint64_t>(nest.axes[d].stride[0]) | static_cast<uint64_t>(nest.axes[d].stride[1]);
    unit = unit_of(bits);
    last = {last.n * item / unit, {unit, unit}};
  } else {
    unit = unit_of(addresses | static_cast<uint64_t>(item));
    nest.axis(item / unit, {unit, unit});  // an element of 16 bytes may lie at any 8
  }
  int64_t total = 1, reach = numel(dst) * item / unit;
  for (auto& axis : nest.axes) {
    total *= axis.n;
    for (int64_t& s : axis.stride) s /= unit;
  }
  bool wide = !fits_32(reach);
  Fields box(wide);
  nest.write(box);
  launch(c, join_text, join_head(unit, wide, nest.rank()), "copy_box", blocks_for(c, total),
         {&out, a.in + 1, box.data(), &total});
}

void add_join_texts(Texts& out) {
  for (int64_t unit : {1, 2, 4, 8, 16})
    for (bool wide : {false, true})
      for (int rank : {1, 3})
        out.push_back({"join " + std::to_string(unit) + (wide ? " wide " : " ") + std::to_string(rank),
                       join_text(join_head(unit, wide, rank))});
}

}  // namespace cuda
}  // namespace pd
