// What the stand-ins of cuBLAS and cuBLASLt share: one product, its checks, and giving it to a stream.
#pragma once
#include "internal.h"

namespace pd_host {

enum : int { kOk = 0, kNoHandle = 1, kAllocFailed = 3, kInvalid = 7, kExecutionFailed = 13, kUnsupported = 15 };
enum : int { kF32 = 0, kF64 = 1, kF16 = 2, kBF16 = 14 };                               // cudaDataType
enum : int { kCompute16 = 64, kCompute32 = 68, kCompute32Pedantic = 69, kCompute64 = 70, kCompute64Pedantic = 71,
             kComputeFast16 = 74, kComputeFastBF16 = 75, kComputeFastTF32 = 77 };      // cublasComputeType_t

inline size_t size_of(int type) { return type == kF64 ? 8 : type == kF32 ? 4 : 2; }

// Column-major C = alpha op(A) op(B) + beta C.
struct GemmCall {
  int trans_a, trans_b;
  int64_t m, n, k;
  const void* alpha;
  const void* a;
  int type_a;
  int64_t lda, stride_a;
  const void* b;
  int type_b;
  int64_t ldb, stride_b;
  const void* beta;
  void* c;
  int type_c;
  int64_t ldc, stride_c;
  int64_t batch;
  int compute;
  const void* bias = nullptr;  // of m elements of C's type, added to each column before it is rounded
  bool relu = false;           // 0 for what is not above 0, NaN too
};

// kOk, or what the library would say.
int check_gemm(const GemmCall& c);
// Its work, which also spoils the workspace. Alpha and beta are read at once.
int submit_gemm(const GemmCall& c, void* stream, void* workspace, size_t bytes);

}  // namespace pd_host
