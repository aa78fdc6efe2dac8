// OpenBLAS, opened at run time and held to one thread: pydiff's own pool calls it on panels.
#pragma once
#include <cstdint>

namespace pd {

// Opens a library with 32-bit sizes (symbols cblas_sgemm or scipy_cblas_sgemm, …). False, with nothing changed, where
// the file cannot be loaded or cannot be held to one thread.
bool blas_open(const char* path);
bool blas_available();
// Version, build and kernel set of the library, or "none".
const char* blas_name();

namespace blas {

// Somebody in the process may have raised the library's thread count (threadpoolctl does); bits depend on its being 1.
void hold_one_thread();

// Row-major C = op(A) op(B) (+ C). Sizes and leading dimensions fit 32 bits. May be called from several threads at once.
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b,
          int64_t ldb, float* c, int64_t ldc, bool accumulate);
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b,
          int64_t ldb, double* c, int64_t ldc, bool accumulate);
// y = A x (+ y), A of m rows and n columns, or its transpose.
void gemv(bool trans, int64_t m, int64_t n, const float* a, int64_t lda, const float* x, int64_t incx, float* y,
          int64_t incy, bool accumulate);
void gemv(bool trans, int64_t m, int64_t n, const double* a, int64_t lda, const double* x, int64_t incx, double* y,
          int64_t incy, bool accumulate);

}  // namespace blas

}  // namespace pd
