// topk of short rows: a warp each. The answer is the CPU's.
#include "kernels/cuda/launch.h"
#include "kernels/cuda/topk_text.h"
#include "ops/api.h"

namespace pd {
namespace cuda {

namespace {

constexpr int64_t kRowsOfBlock = kThreads / 32;
static_assert(kLongestTop == 32 * 32, "a bit of a word for each slot of a lane");

Head topk_head(DType t, bool largest, bool wide, int64_t slots) {
  Head h;
  return h.type("T", arithmetic_type(t))
      .type("Key", size_of(t) == 8 ? "u64" : "u32")
      .type("Ix", wide ? "i64" : "i32")
      .flag("FLOAT", is_floating(t))
      .flag("SIGNED", !is_unsigned(t))
      .flag("LARGEST", largest)
      .number("SLOTS", slots);
}

std::string topk_text(const Head& head) { return head.text() + kTopkText; }

}  // namespace

void topk(const NativeArgs& a, const CudaNativeContext& c) {
  const AxisView v(a.specs[0].shape, (*a.attrs)[0]);
  const int64_t k = (*a.attrs)[1], rows = v.outer * v.inner;
  const DType t = a.specs[0].dtype;
  if (t != DType::I32 && t != DType::I64 && t != DType::U64 && t != DType::F32 && t != DType::F64) return tell(c, ErrorCode::NotOrdered);
  if (k * rows == 0) return;
  int64_t slots = 1;
  while (32 * slots < v.n) slots *= 2;
  launch(c, topk_text, topk_head(t, (*a.attrs)[2] != 0, !fits_32(rows * v.n), slots), "topk_rows",
         blocks_for(c, rows, kRowsOfBlock), {a.in, &a.out, &v.outer, &v.n, &v.inner, &k});
}

void add_topk_texts(Texts& out) {
  for (DType t : {DType::I32, DType::I64, DType::U64, DType::F32, DType::F64})
    for (int64_t slots : {1, 4, 32})
      out.push_back({std::string("topk ") + name_of(t) + " " + std::to_string(32 * slots),
                     topk_text(topk_head(t, slots != 4, slots == 4, slots))});
}

}  // namespace cuda
}  // namespace pd
