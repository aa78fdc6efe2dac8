// Matrix products on the CPU: tiles of pydiff's own (kernels/cpu/tiles.h), and BLAS for a matrix times a vector.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace pd {

// A batch of matrices: element (i, j) of matrix (p, q) lies at i row + j col + p outer + q inner, in items.
struct Matrices {
  const void* data;
  int64_t row, col;
  int64_t outer = 0, inner = 0;
};
struct Batch {
  int64_t outer = 1, inner = 1;
  int64_t count() const { return outer * inner; }
};

// Row-major C (m, n) = A B, plus C where `accumulate`, for each of a batch, whose C lie `stride_c` items apart. A is (m, k), B
// (k, n), of any strides. k = 0 gives zeros. Float32, float64; int32, int64 (wrapping); bool (any of and). The bits depend on
// the shape alone, not on strides, the batch or the number of threads.
void gemm(DType dt, int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, void* c, int64_t ldc, bool accumulate,
          const Batch& batch = {}, int64_t stride_c = 0);

// The same for A and B of bfloat16 and C of float32, not added to: the bits of float32 operands of the same values. At about
// twice the rate where the processor multiplies pairs of them, and no number is so small or so large that it would not do that
// exactly; elsewhere the operands are cast first. Of each operand row or col is 1; the batch has no outer axis.
void bf16_gemm(int64_t m, int64_t n, int64_t k, const Matrices& a, const Matrices& b, float* c, const Batch& batch);

// Whether the processor does, and the product is large enough to gain by it.
bool suits_bf16_gemm(int64_t m, int64_t n, int64_t k);

}  // namespace pd
