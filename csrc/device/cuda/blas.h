// cuBLAS, opened at run time. What is asked of it by others is in cuda.h: cuda_gemm.
#pragma once
#include <string>

#include "base/dtype.h"
#include "device/cuda/driver.h"
#include "device/cuda/library.h"

namespace pd::cuda {

using BlasStatus = int;
using BlasHandle = struct cublasContext*;

// X(name, exported symbol, parameters); `long long` stands where the _64 functions have their int64_t.
#define PD_CUDA_BLAS(X)                                                                                               \
  X(cublasCreate, cublasCreate_v2, (BlasHandle*))                                                                     \
  X(cublasSetStream, cublasSetStream_v2, (BlasHandle, CUstream))                                                      \
  X(cublasGemmEx, cublasGemmEx,                                                                                       \
    (BlasHandle, int trans_a, int trans_b, int m, int n, int k, const void* alpha, const void* a, int type_a,         \
     int lda, const void* b, int type_b, int ldb, const void* beta, void* c, int type_c, int ldc, int compute,        \
     int algorithm))                                                                                                  \
  X(cublasGemmStridedBatchedEx, cublasGemmStridedBatchedEx,                                                           \
    (BlasHandle, int trans_a, int trans_b, int m, int n, int k, const void* alpha, const void* a, int type_a,         \
     int lda, long long stride_a, const void* b, int type_b, int ldb, long long stride_b, const void* beta, void* c,  \
     int type_c, int ldc, long long stride_c, int batch, int compute, int algorithm))

#define PD_CUDA_BLAS_OPTIONAL(X)                                                                                      \
  X(cublasGetProperty, cublasGetProperty, (int which, int* value))                                                    \
  X(cublasSetWorkspace, cublasSetWorkspace_v2, (BlasHandle, void* memory, size_t bytes))                              \
  X(cublasSetMathMode, cublasSetMathMode, (BlasHandle, int mode))                                                     \
  X(cublasGemmStridedBatchedEx_64, cublasGemmStridedBatchedEx_64,                                                     \
    (BlasHandle, int trans_a, int trans_b, int64_t m, int64_t n, int64_t k, const void* alpha, const void* a,         \
     int type_a, int64_t lda, long long stride_a, const void* b, int type_b, int64_t ldb, long long stride_b,         \
     const void* beta, void* c, int type_c, int64_t ldc, long long stride_c, int64_t batch, int compute,              \
     int algorithm))

struct Blas {
#define X(name, symbol, params) BlasStatus(*name) params = nullptr;
  PD_CUDA_BLAS(X)
  PD_CUDA_BLAS_OPTIONAL(X)
#undef X
  const char* (*cublasGetStatusName)(BlasStatus) = nullptr;
  Library library;
  std::string path;
  std::string version;  // "13.1.0", where it tells
};

// Opened by the first call; an Error says why there is none.
const Blas& blas();

// Memory for the library's own use by work in the device's order, captured or not; none where memory is short. It may
// allocate: to be asked for before that order is held.
struct BlasWorkspace {
  void* memory = nullptr;
  size_t bytes = 0;
};
BlasWorkspace blas_workspace(int index);

// How elements are stored and summed (cudaDataType, cublasComputeType_t), by the same rule for both libraries: 16-bit
// floats are summed in float32, TF32 is taken where cuda_allow_tf32().
struct BlasTypes {
  int data, compute, scale;
};
BlasTypes blas_types(DType t);

}  // namespace pd::cuda
