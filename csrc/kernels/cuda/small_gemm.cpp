#include "kernels/cuda/small_gemm.h"

#include "fuse/cuda/expr_text.h"
#include "kernels/cuda/element_text.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/small_gemm_text.h"

namespace pd {
namespace cuda {

namespace {

struct Range {
  int bytes;
  int64_t side, least_batch;
};
constexpr Range kRanges[] = {
#define PD_GEMM_SMALL(bytes, side, batch) {bytes, side, batch},
#include "kernels/cuda/gemm_tiles.def"
#undef PD_GEMM_SMALL
};

// Threads make one result each where matrices are tiny, so that a team is never fewer than 16.
int64_t results_of(int64_t side) { return side <= 4 ? 1 : side == 8 ? 2 : 4; }

Head head_of(DType t, int64_t side, bool trans_a, bool trans_b) {
  Head h;
  return h.elements(t)
      .number("SIDE", side)
      .number("RESULTS", results_of(side))
      .number("DEPTH", std::min<int64_t>(side, t == DType::F64 ? 8 : 16))
      .flag("A_ACROSS", trans_a)
      .flag("B_ACROSS", !trans_b);
}

std::string text(const Head& head) { return head.text() + value_helpers() + kElementText + kSmallGemmText; }

}  // namespace

void add_small_gemm_texts(Texts& out) {
  for (DType t : {DType::F32, DType::F64, DType::F16, DType::BF16})
    for (int64_t side = 4; side <= kSmallMatrix; side *= 2)
      out.push_back({std::string("small gemm ") + name_of(t) + " " + std::to_string(side),
                     text(head_of(t, side, side % 3 == 1, side == 8 || side == 64))});
}

}  // namespace cuda

bool cuda_small_gemm(Device& device, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a,
                     int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, int64_t batch, int64_t stride_a,
                     int64_t stride_b, int64_t stride_c, Stream s) {
  using namespace cuda;
  if (!is_floating(t) || std::max(m, n) > kSmallMatrix) return false;
  if (m * n * batch == 0) return true;
  int64_t side = 4;
  while (side < std::max(m, n)) side *= 2;
  const int64_t span = side / results_of(side), teams = 256 / (span * span);
  const CudaNativeContext context{device, s, nullptr};
  launch(context, text, head_of(t, side, trans_a, trans_b), "small_gemm", blocks_for(context, batch, teams),
         {&a, &b, &c, &m, &n, &k, &lda, &ldb, &ldc, &stride_a, &stride_b, &stride_c, &batch});
  return true;
}

bool cuda_small_gemm_is_better(DType t, int64_t m, int64_t n, int64_t k, int64_t batch) {
  for (const cuda::Range& r : cuda::kRanges)
    if (static_cast<int>(size_of(t)) == r.bytes && std::max({m, n, k}) <= r.side && batch >= r.least_batch) return true;
  return false;
}

}  // namespace pd
