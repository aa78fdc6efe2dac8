// Matrix products on the CPU: tiles of pydiff's own (kernels/cpu/tiles.h), and BLAS for a matrix times a vector.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace pd {

// Row-major C (m, n) = op(A) op(B), plus C where `accumulate`. op(A) is (m, k): A is stored (m, k) with row stride lda, or
// (k, m) where trans_a; likewise B, (k, n) or (n, k). k = 0 gives zeros. Float32, float64; int32, int64 (wrapping);
// bool (any of and). The bits depend on the shape alone, not on the number of threads.
void gemm(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
          const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate);

// For every i in [0, batch), at strides in items, 0 where A or B is shared; the bits are those of `gemm` on each.
void batched_gemm(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
                  const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate, int64_t batch, int64_t stride_a,
                  int64_t stride_b, int64_t stride_c);

// The same for A and B of bfloat16 and C of float32, not added to: the bits of float32 operands of the same values. At about
// twice the rate where the processor multiplies pairs of them, and no number is so small or so large that it would not do that
// exactly; elsewhere the operands are cast first.
void bf16_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda, const void* b,
               int64_t ldb, float* c, int64_t batch, int64_t stride_a, int64_t stride_b);

// Whether the processor does, and the product is large enough to gain by it.
bool suits_bf16_gemm(int64_t m, int64_t n, int64_t k);

}  // namespace pd
