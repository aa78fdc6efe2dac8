// pydiff's own matrix product: for types that BLAS has not, and where there is no BLAS.
#pragma once
#include <cstdint>

#include "base/dtype.h"

namespace pd {

// Row-major C = op(A) op(B) (+ C) on the calling thread: float32, float64; int32, int64 (wrapping); bool (any of and).
// An element of C is one chain over k in rising order, begun with C where `accumulate`, so its bits depend neither on m
// and n nor on where the product was cut.
void gemm_loop(DType dt, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a, int64_t lda,
               const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate);

}  // namespace pd
