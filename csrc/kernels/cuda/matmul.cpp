#include "kernels/cuda/matmul.h"

#include "kernels/cuda/launch.h"

namespace pd {
namespace cuda {

namespace {

// A block computes kTile x kTile results from tiles of both operands in shared memory; a thread kTile / 8 of them.
constexpr int kTile = 32, kLines = 8;

const char* const kText = R"cuda(
constexpr int kTile = 32, kLines = 8;

PD_KERNEL integer_gemm(const Item* __restrict__ a, const Item* __restrict__ b, Item* __restrict__ c, i64 m, i64 n, i64 k,
                       i64 a_row, i64 a_col, i64 b_row, i64 b_col, i64 stride_a, i64 stride_b, i64 batch) {
  __shared__ Item left[kTile][kTile + 1], right[kTile][kTile + 1];
  const int x = threadIdx.x % kTile, y = threadIdx.x / kTile;
  const i64 down = (m + kTile - 1) / kTile;
  for (i64 block = blockIdx.x; block < down * batch; block += gridDim.x) {
    const i64 row = block % down * kTile, col = (i64)blockIdx.y * kTile, at = block / down;
    const Item* from_a = a + at * stride_a;
    const Item* from_b = b + at * stride_b;
    Item sum[kTile / kLines];
#pragma unroll
    for (int q = 0; q < kTile / kLines; ++q) sum[q] = 0;
    for (i64 k0 = 0; k0 < k; k0 += kTile) {
#pragma unroll
      for (int q = 0; q < kTile / kLines; ++q) {
        const i64 r = row + y + q * kLines, kk = k0 + y + q * kLines;
        left[y + q * kLines][x] = r < m && k0 + x < k ? from_a[r * a_row + (k0 + x) * a_col] : 0;
        right[y + q * kLines][x] = kk < k && col + x < n ? from_b[kk * b_row + (col + x) * b_col] : 0;
      }
      __syncthreads();
      for (int i = 0; i < kTile; ++i)
#pragma unroll
        for (int q = 0; q < kTile / kLines; ++q) {
          const Item u = left[y + q * kLines][i], v = right[i][x];
          sum[q] = LOGICAL ? sum[q] | (u & v) : sum[q] + u * v;
        }
      __syncthreads();
    }
#pragma unroll
    for (int q = 0; q < kTile / kLines; ++q)
      if (row + y + q * kLines < m && col + x < n) c[(at * m + row + y + q * kLines) * n + col + x] = sum[q];
  }
}
)cuda";

std::string text(const Head& head) { return head.text() + kText; }

// Unsigned, since these wrap around.
Head head_of(DType t) {
  Head h;
  return h.type("Item", t == DType::Bool ? "u8" : t == DType::I32 ? "u32" : "u64").flag("LOGICAL", t == DType::Bool);
}

}  // namespace

void add_matmul_texts(Texts& out) {
  for (DType t : {DType::Bool, DType::I32, DType::I64}) out.push_back({std::string("matmul ") + name_of(t), text(head_of(t))});
}

}  // namespace cuda

void cuda_integer_gemm(Device& device, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                       const void* a, int64_t lda, const void* b, int64_t ldb, void* c, int64_t batch, int64_t stride_a,
                       int64_t stride_b, Stream s) {
  using namespace cuda;
  if (m * n * batch == 0) return;
  if (t != DType::Bool && t != DType::I32 && t != DType::I64 && t != DType::U64)
    fail("matmul", "no product of this dtype on a CUDA device", name_of(t), "float32 or int64", ErrorKind::Type);
  const CudaNativeContext context{device, s, nullptr};
  const int64_t one = 1, *a_row = trans_a ? &one : &lda, *a_col = trans_a ? &lda : &one;
  const int64_t *b_row = trans_b ? &one : &ldb, *b_col = trans_b ? &ldb : &one;
  const int64_t across = ceil_div(n, kTile);
  if (across > 65535) fail("matmul", "too many columns of integers", std::to_string(n), "float32 or float64", ErrorKind::Value);
  launch(context, text, head_of(t), "integer_gemm",
         static_cast<uint32_t>(std::min<int64_t>(ceil_div(m, kTile) * batch, int64_t{1} << 20)),
         {&a, &b, &c, &m, &n, &k, a_row, a_col, b_row, b_col, &stride_a, &stride_b, &batch}, static_cast<uint32_t>(across),
         kTile * kLines);
}

}  // namespace pd
