// cuBLASLt: single products, with or without something done to the sums before they are stored. What is asked of it by
// others is in cuda.h: cuda_gemm, which comes here first, and cuda_gemm_epilogue.
#pragma once
#include <cstdint>
#include <string>

#include "device/cuda/blas.h"

namespace pd::cuda {

using LtHandle = struct cublasLtContext*;
using LtDesc = struct cublasLtMatmulDescOpaque*;
using LtLayout = struct cublasLtMatrixLayoutOpaque*;
using LtPreference = struct cublasLtMatmulPreferenceOpaque*;

// Structures of cublasLt.h.
struct LtAlgorithm {
  uint64_t data[8];
};
struct LtHeuristic {
  LtAlgorithm algorithm;
  size_t workspace;
  BlasStatus state;
  float waves;
  int reserved[4];
};

// X(name, parameters), exported under these names.
#define PD_CUDA_BLAS_LT(X)                                                                                            \
  X(cublasLtCreate, (LtHandle*))                                                                                      \
  X(cublasLtMatmulDescCreate, (LtDesc*, int compute, int scale))                                                      \
  X(cublasLtMatmulDescDestroy, (LtDesc))                                                                              \
  X(cublasLtMatmulDescSetAttribute, (LtDesc, int attribute, const void* value, size_t bytes))                         \
  X(cublasLtMatrixLayoutCreate, (LtLayout*, int type, uint64_t rows, uint64_t cols, int64_t ld))                      \
  X(cublasLtMatrixLayoutDestroy, (LtLayout))                                                                          \
  X(cublasLtMatmulPreferenceCreate, (LtPreference*))                                                                  \
  X(cublasLtMatmulPreferenceDestroy, (LtPreference))                                                                  \
  X(cublasLtMatmulPreferenceSetAttribute, (LtPreference, int attribute, const void* value, size_t bytes))             \
  X(cublasLtMatmulAlgoGetHeuristic, (LtHandle, LtDesc, LtLayout a, LtLayout b, LtLayout c, LtLayout d, LtPreference,  \
                                     int asked, LtHeuristic* found, int* count))                                      \
  X(cublasLtMatmulAlgoCheck, (LtHandle, LtDesc, LtLayout a, LtLayout b, LtLayout c, LtLayout d, const LtAlgorithm*,    \
                              LtHeuristic* found))                                                                    \
  X(cublasLtMatmul, (LtHandle, LtDesc, const void* alpha, const void* a, LtLayout, const void* b, LtLayout,           \
                     const void* beta, const void* c, LtLayout, void* d, LtLayout, const LtAlgorithm*, void* memory,  \
                     size_t bytes, CUstream))

struct BlasLt {
#define X(name, params) BlasStatus(*name) params = nullptr;
  PD_CUDA_BLAS_LT(X)
#undef X
};

// Null where the cuBLAS that is in use comes without it.
const BlasLt* blas_lt();

}  // namespace pd::cuda
