// Batches of small matrix products: several matrices in a block of threads, where a library's tiles would be mostly empty.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "device/device.h"

namespace pd {

constexpr int64_t kSmallMatrix = 64;

// Row-major c[batch][m][n] = op(a) op(b) of float16, bfloat16, float32 or float64; lda, ldb, ldc and strides in elements.
// 16-bit floats are summed in float32. The terms of a sum are added in the order of k by fused multiply-adds, from +0: its
// bits depend on its row and column alone, not on the batch, the layout or the other sizes.
// False, and nothing is done, for other dtypes and where m or n is more than kSmallMatrix.
bool cuda_small_gemm(Device& device, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a,
                     int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, int64_t batch, int64_t stride_a,
                     int64_t stride_b, int64_t stride_c, Stream s);

// Whether gemm_tiles.def prefers it to cuBLAS.
bool cuda_small_gemm_is_better(DType t, int64_t m, int64_t n, int64_t k, int64_t batch);

}  // namespace pd
