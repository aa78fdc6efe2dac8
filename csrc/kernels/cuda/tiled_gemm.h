// Products of 16-bit matrices by pydiff's own kernels on tensor cores, with the elementwise operations behind the product in
// the same kernel: by mma.sync, on compute capability 9.0 by wgmma.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "device/device.h"
#include "ops/expr.h"

namespace pd {

// What a tail reads for element (row, col) of product `batch_i`:
//   at[batch_i * batch + row * row_stride + col * col_stride], a float32, float16 or bfloat16; without `at` the number.
// A bias has row stride 0, a column of factors column stride 0. It may be the result itself.
struct GemmOperand {
  const void* at = nullptr;
  DType type = DType::F32;
  int64_t batch = 0, row = 0, col = 0;
  float number = 0;
};

// c = tree(sum, operands...): input 0 of the tree is the sum, input k operand k - 1; all float32, as is the result.
struct GemmTail {
  ExprTree tree;
  std::vector<GemmOperand> operands;
};
constexpr int kMostTailOperands = 6;

// Row-major c[batch][m][n] = tail(op(a) op(b)); lda, ldb, ldc and strides in elements. a and b are `type`, float16 or
// bfloat16; c is that or float32.
struct TiledGemm {
  DType type = DType::BF16, out = DType::BF16;
  bool trans_a = false, trans_b = false;
  int64_t m = 0, n = 0, k = 0;
  const void* a = nullptr;
  int64_t lda = 0;
  const void* b = nullptr;
  int64_t ldb = 0;
  void* c = nullptr;
  int64_t ldc = 0;
  int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0;
  const GemmTail* tail = nullptr;  // null: the sum itself
};

// False, and nothing is done, where the kernel does not serve: other dtypes, a GPU before compute capability 8.0, more than
// 2^31 tiles. Sums are float32, in an order that depends on k alone: |error| <= k 2^-23 sum |a| |b|, and a result of 16 bits
// is rounded once.
bool cuda_tiled_gemm(Device& device, const TiledGemm& g, Stream s);

// Tiles of gemm_tiles.def that a block of this device can make; and the one that is taken whatever the shape, "" for the
// table's choice. For tests and for measuring; an unknown name is an Error.
std::vector<std::string> cuda_gemm_tiles(DeviceId device);
void cuda_gemm_use_tile(const std::string& name);

// What multiplies matrices of floats on a CUDA device, from PYDIFF_CUDA_GEMM (auto, cublas, own), read once. May be set.
//   Auto    cuBLAS, but for batches of matrices that gemm_tiles.def says are too small for it
//   Own     pydiff's kernels wherever they serve: cuda_tiled_gemm, cuda_small_gemm
enum class CudaGemm : uint8_t { Auto, Cublas, Own };
CudaGemm& cuda_gemm_choice();
// "auto", …; an unknown name is an Error.
CudaGemm cuda_gemm_named(const std::string& name);
const char* name_of(CudaGemm choice);

}  // namespace pd
