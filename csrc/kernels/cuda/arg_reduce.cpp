// argmax and argmin: which kernel of arg_reduce_text.h serves a shape. The answer is the CPU's, however it is cut.
#include "kernels/cuda/arg_reduce_text.h"
#include "kernels/cuda/launch.h"

namespace pd {
namespace cuda {

namespace {

constexpr int64_t kFewRows = 512, kLongRow = 16384, kRowPart = 4096, kBlocks = 1024;
constexpr int64_t kFewColumns = 16384, kColumnPart = 64, kMostParts = 512;

Head arg_head(DType t, bool max, bool wide, int64_t lanes, bool vector) {
  Head h;
  return h.type("T", arithmetic_type(t))
      .type("W", size_of(t) < 4 ? "i32" : arithmetic_type(t))
      .type("Ix", wide ? "i64" : "i32")
      .flag("MAX", max)
      .number("LANES", lanes)
      .flag("VECTOR", vector);
}

std::string arg_text(const Head& head) { return head.text() + kArgText; }

void arg_reduce(const NativeArgs& a, const CudaNativeContext& c, bool max) {
  AxisView v(a.specs[0].shape, (*a.attrs)[0]);
  DType t = a.specs[0].dtype;
  int64_t count = v.outer * v.inner, item = static_cast<int64_t>(size_of(t));
  if (count == 0) return;
  if (v.n == 0) {
    c.device.zero(a.out, static_cast<size_t>(count) * sizeof(int64_t), c.stream);
    return tell(c, ErrorCode::EmptyAxis);
  }
  if (!arithmetic_type(t)) return tell(c, ErrorCode::NotOrdered);
  bool wide = !fits_32(count * v.n);

  int64_t parts = 1, per = v.n;
  auto in_parts = [&](const Head& head, auto find) {
    if (parts == 1) return find(a.out);
    Scratch places(c, count * parts * static_cast<int64_t>(sizeof(int64_t)));
    find(places.get());
    launch(c, arg_text, head, "arg_parts", blocks_for(c, count, 8),
           {a.in, &places.get(), &a.out, &v.outer, &v.n, &v.inner, &parts});
  };

  if (v.inner == 1) {
    int64_t lanes = v.n <= 64 ? 8 : v.n <= 1024 ? 32 : 256, vector = 16 / item;
    if (v.outer < kFewRows && v.n > kLongRow) {
      parts = std::min({ceil_div(kBlocks, v.outer), ceil_div(v.n, kRowPart), kMostParts});
      per = ceil_div(ceil_div(v.n, parts), vector) * vector;
      parts = ceil_div(v.n, per);
    }
    Head head = arg_head(t, max, wide, lanes, v.n % vector == 0 && unit_of(address(a.in[0])) == 16);
    return in_parts(head, [&](void* places) {
      launch(c, arg_text, head, "arg_rows", blocks_for(c, v.outer * parts, kThreads / lanes),
             {a.in, &places, &v.outer, &v.n, &parts, &per});
    });
  }
  if (count < kFewColumns && v.n >= 2 * kColumnPart) {
    parts = std::min({ceil_div(2 * kFewColumns, count), ceil_div(v.n, kColumnPart), kMostParts});
    per = ceil_div(v.n, parts);
    parts = ceil_div(v.n, per);
  }
  Head head = arg_head(t, max, wide, 32, false);
  in_parts(head, [&](void* places) {
    launch(c, arg_text, head, "arg_columns", blocks_for(c, count * parts),
           {a.in, &places, &v.outer, &v.n, &v.inner, &parts, &per});
  });
}

}  // namespace

void argmax(const NativeArgs& a, const CudaNativeContext& c) { arg_reduce(a, c, true); }
void argmin(const NativeArgs& a, const CudaNativeContext& c) { arg_reduce(a, c, false); }

void add_arg_reduce_texts(Texts& out) {
  auto add = [&](DType t, bool max, bool wide, int64_t lanes, bool vector) {
    out.push_back({std::string(max ? "argmax " : "argmin ") + name_of(t) + (wide ? " wide " : " ") +
                       std::to_string(lanes) + (vector ? " vector" : ""),
                   arg_text(arg_head(t, max, wide, lanes, vector))});
  };
  for (int k = 0; k < kNumDTypes; ++k) {
    DType t = static_cast<DType>(k);
    if (!arithmetic_type(t)) continue;
    add(t, true, false, 256, true);
    add(t, false, false, 32, false);
    add(t, false, true, 8, true);
  }
}

}  // namespace cuda
}  // namespace pd
