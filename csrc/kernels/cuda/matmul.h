// Matrix products that cuBLAS has not: of integers and booleans.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "device/device.h"

namespace pd {

// Row-major c[batch][m][n] = op(a) op(b); batches lie stride_a, stride_b and m n elements apart. Int32 and int64 wrap
// around; of bool, "any of both".
void cuda_integer_gemm(Device& device, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                       const void* a, int64_t lda, const void* b, int64_t ldb, void* c, int64_t batch, int64_t stride_a,
                       int64_t stride_b, Stream s);

}  // namespace pd
