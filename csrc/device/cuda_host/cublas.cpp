// cuBLAS's matrix products: column-major, float accumulation (double for double), by one blocked loop.
//
//   op(A) is packed in panels of kRows rows, op(B) in panels of kColumns columns, both one block of k deep; a tile of
//   kRows x kColumns of C stays in registers while k runs. k is added up in order, block by block.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cublas.h"

PD_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* out, size_t bytes, void* stream);
PD_EXPORT CUresult cuMemFreeAsync(CUdeviceptr p, void* stream);

namespace pd_host {

namespace {

struct Handle {
  void* stream = nullptr;
  int math_mode = 0, pointer_mode = 0;
  void* workspace = nullptr;  // null: cuBLAS's own
  size_t workspace_bytes = 0;
};

constexpr size_t kOwnWorkspace = 4 << 20;  // of this stand-in: what a captured product allocates

float from_half(uint16_t h) {
  const uint32_t sign = uint32_t(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 1023;
  uint32_t bits;
  if (exponent == 31) bits = sign | 0x7F800000u | fraction << 13;
  else if (exponent) bits = sign | (exponent + 112) << 23 | fraction << 13;
  else {
    float v = float(fraction) * 5.9604644775390625e-8f;  // 2^-24
    return sign ? -v : v;
  }
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

// Nearest, ties to even.
uint16_t to_half(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
  bits &= 0x7FFFFFFFu;
  if (bits > 0x7F800000u) return sign | 0x7E00;
  if (bits >= 0x477FF000u) return sign | 0x7C00;  // 65520 and more
  if (bits < 0x38800000u) {                       // below 2^-14: adding 0.5 leaves a multiple of 2^-24 in the low bits
    float small;
    memcpy(&small, &bits, 4);
    small += 0.5f;
    memcpy(&bits, &small, 4);
    return uint16_t(sign | (bits - 0x3F000000u));
  }
  return uint16_t(sign | ((bits + 0xFFF + (bits >> 13 & 1) - 0x38000000u) >> 13));
}

float from_bfloat(uint16_t b) {
  uint32_t bits = uint32_t(b) << 16;
  float v;
  memcpy(&v, &bits, 4);
  return v;
}

uint16_t to_bfloat(float v) {
  uint32_t bits;
  memcpy(&bits, &v, 4);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

template <class T> T load(const void* p, int type, int64_t i) {
  switch (type) {
    case kF64: return T(static_cast<const double*>(p)[i]);
    case kF32: return T(static_cast<const float*>(p)[i]);
    case kF16: return T(from_half(static_cast<const uint16_t*>(p)[i]));
    default: return T(from_bfloat(static_cast<const uint16_t*>(p)[i]));
  }
}

template <class T> void store(void* p, int type, int64_t i, T v) {
  switch (type) {
    case kF64: static_cast<double*>(p)[i] = double(v); break;
    case kF32: static_cast<float*>(p)[i] = float(v); break;
    case kF16: static_cast<uint16_t*>(p)[i] = to_half(float(v)); break;
    default: static_cast<uint16_t*>(p)[i] = to_bfloat(float(v)); break;
  }
}

struct Matrix {
  const void* data;
  int type;
  bool transposed;
  int64_t ld;
  int64_t index(int64_t row, int64_t column) const { return transposed ? column + row * ld : row + column * ld; }
};

constexpr int kRows = 16, kColumns = 4;
constexpr int64_t kDepth = 256, kPanel = 128;  // of k, and rows of op(A) at a time

// tile[j][i] += sum over l of a[l][i] * b[l][j]
template <class T>
inline __attribute__((always_inline)) void tile_loop(const T* a, const T* b, int64_t depth, T* tile) {
  typedef T Vector __attribute__((vector_size(32), aligned(sizeof(T)), may_alias));
  constexpr int kVectors = kRows * int(sizeof(T)) / 32;
  Vector sum[kColumns][kVectors];
  memcpy(sum, tile, sizeof sum);
  for (int64_t l = 0; l < depth; l++, a += kRows, b += kColumns) {
    const Vector* left = reinterpret_cast<const Vector*>(a);
#pragma GCC unroll 4
    for (int j = 0; j < kColumns; j++)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; v++) sum[j][v] += left[v] * b[j];
  }
  memcpy(tile, sum, sizeof sum);
}

template <class T> void tile_plain(const T* a, const T* b, int64_t depth, T* tile) { tile_loop(a, b, depth, tile); }

#if defined(__x86_64__)
template <class T> __attribute__((target("avx2,fma"))) void tile_avx2(const T* a, const T* b, int64_t depth, T* tile) {
  tile_loop(a, b, depth, tile);
}
#endif

template <class T> void tile_product(const T* a, const T* b, int64_t depth, T* tile) {
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) return tile_avx2(a, b, depth, tile);
#endif
  tile_plain(a, b, depth, tile);
}

template <class T>
void product(int64_t m, int64_t n, int64_t k, T alpha, const Matrix& a, const Matrix& b, T beta, void* c, int type,
             int64_t ldc, const void* bias, bool relu) {
  const int64_t row_tiles = (m + kRows - 1) / kRows, column_tiles = (n + kColumns - 1) / kColumns;
  const int64_t tile_size = kRows * kColumns;
  std::vector<T> sums(size_t(row_tiles * column_tiles * tile_size), T(0));
  std::vector<T> left(size_t(kPanel * kDepth)), right(size_t(column_tiles * kColumns * kDepth));
  for (int64_t k0 = 0; k0 < k; k0 += kDepth) {
    const int64_t depth = std::min(kDepth, k - k0);
    for (int64_t tile = 0; tile < column_tiles; tile++)
      for (int64_t l = 0; l < depth; l++)
        for (int64_t j = 0; j < kColumns; j++) {
          const int64_t column = tile * kColumns + j;
          right[size_t((tile * depth + l) * kColumns + j)] =
              column < n ? load<T>(b.data, b.type, b.index(k0 + l, column)) : T(0);
        }
    for (int64_t i0 = 0; i0 < m; i0 += kPanel) {
      const int64_t tiles = (std::min(kPanel, m - i0) + kRows - 1) / kRows;
      for (int64_t tile = 0; tile < tiles; tile++)
        for (int64_t l = 0; l < depth; l++)
          for (int64_t i = 0; i < kRows; i++) {
            const int64_t row = i0 + tile * kRows + i;
            left[size_t((tile * depth + l) * kRows + i)] =
                row < m ? load<T>(a.data, a.type, a.index(row, k0 + l)) : T(0);
          }
      for (int64_t column = 0; column < column_tiles; column++)
        for (int64_t tile = 0; tile < tiles; tile++)
          tile_product(&left[size_t(tile * depth * kRows)], &right[size_t(column * depth * kColumns)], depth,
                       &sums[size_t((column * row_tiles + i0 / kRows + tile) * tile_size)]);
    }
  }
  for (int64_t j = 0; j < n; j++)
    for (int64_t i = 0; i < m; i++) {
      const int64_t tile = (j / kColumns) * row_tiles + i / kRows;
      T v = alpha * sums[size_t(tile * tile_size + (j % kColumns) * kRows + i % kRows)];
      if (beta != T(0)) v += beta * load<T>(c, type, i + j * ldc);  // (beta = 0: C may hold anything, NaN too)
      if (bias) v += load<T>(bias, type, i);
      if (relu) v = v > T(0) ? v : T(0);
      store<T>(c, type, i + j * ldc, v);
    }
}

bool known_type(int t) { return t == kF32 || t == kF64 || t == kF16 || t == kBF16; }

bool inside(const char* which, const void* p, int type, int64_t rows, int64_t columns, int64_t ld, int64_t stride,
            int64_t batch) {
  if (!rows || !columns || !batch) return true;
  const size_t bytes = size_t((batch - 1) * stride + (columns - 1) * ld + rows) * size_of(type);
  if (in_device_memory(p, bytes)) return true;
  report(std::string("cublasGemm: ") + which + " of " + std::to_string(bytes) + " bytes is not all device memory" +
         describe_address(p));
  return false;
}

template <class T> CUresult run(const GemmCall& c, T alpha, T beta) {
  for (int64_t i = 0; i < c.batch; i++) {
    Matrix a{static_cast<const char*>(c.a) + size_t(i * c.stride_a) * size_of(c.type_a), c.type_a, c.trans_a != 0,
             c.lda};
    Matrix b{static_cast<const char*>(c.b) + size_t(i * c.stride_b) * size_of(c.type_b), c.type_b, c.trans_b != 0,
             c.ldb};
    product<T>(c.m, c.n, c.k, alpha, a, b, beta, static_cast<char*>(c.c) + size_t(i * c.stride_c) * size_of(c.type_c),
               c.type_c, c.ldc, c.bias, c.relu);
  }
  return kSuccess;
}

bool all_there(const GemmCall& c) {
  return inside("A", c.a, c.type_a, c.trans_a ? c.k : c.m, c.trans_a ? c.m : c.k, c.lda, c.stride_a, c.batch) &&
         inside("B", c.b, c.type_b, c.trans_b ? c.n : c.k, c.trans_b ? c.k : c.n, c.ldb, c.stride_b, c.batch) &&
         inside("C", c.c, c.type_c, c.m, c.n, c.ldc, c.stride_c, c.batch) &&
         (!c.bias || inside("the bias", c.bias, c.type_c, c.m, 1, c.m, 0, 1));
}

int gemm(void* handle, const GemmCall& c) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!handle || ready()) return kNoHandle;
  if (int status = check_gemm(c)) return status;
  const Handle& h = *static_cast<Handle*>(handle);
  StreamState* stream = stream_of(h.stream);
  // A captured product without a workspace of the caller's allocates one, in nodes of the graph.
  CUdeviceptr own = 0;
  if (stream && stream->capture && !h.workspace && cuMemAllocAsync(&own, kOwnWorkspace, h.stream)) return kAllocFailed;
  void* const workspace = own ? reinterpret_cast<void*>(uintptr_t(own)) : h.workspace;
  const int status = submit_gemm(c, h.stream, workspace, own ? kOwnWorkspace : h.workspace_bytes);
  if (own) cuMemFreeAsync(own, h.stream);
  return status;
}

}  // namespace

int check_gemm(const GemmCall& c) {
  if (c.m < 0 || c.n < 0 || c.k < 0 || c.batch < 0 || c.trans_a < 0 || c.trans_a > 2 || c.trans_b < 0 || c.trans_b > 2)
    return kInvalid;
  const int64_t a_rows = c.trans_a ? c.k : c.m, b_rows = c.trans_b ? c.n : c.k;
  if (c.lda < std::max<int64_t>(1, a_rows) || c.ldb < std::max<int64_t>(1, b_rows) || c.ldc < std::max<int64_t>(1, c.m))
    return kInvalid;
  if (!known_type(c.type_a) || c.type_a != c.type_b || !known_type(c.type_c)) return kUnsupported;
  const bool in_double = c.compute == kCompute64 || c.compute == kCompute64Pedantic;
  const bool in_float = c.compute == kCompute32 || c.compute == kCompute32Pedantic || c.compute == kComputeFast16 ||
                        c.compute == kComputeFastBF16 || c.compute == kComputeFastTF32;
  if (!in_double && !in_float) return kUnsupported;
  if (in_double != (c.type_a == kF64) || in_double != (c.type_c == kF64)) return kUnsupported;
  if (c.type_c != kF32 && c.type_c != c.type_a) return kUnsupported;
  if (!c.alpha || !c.beta) return kInvalid;
  return c.m && c.n && c.batch && !all_there(c) ? kInvalid : kOk;
}

int submit_gemm(const GemmCall& c, void* stream, void* workspace, size_t bytes) {
  if (!c.m || !c.n || !c.batch) return kOk;
  std::function<CUresult()> work;
  if (c.compute == kCompute64 || c.compute == kCompute64Pedantic) {
    double alpha, beta;
    memcpy(&alpha, c.alpha, 8), memcpy(&beta, c.beta, 8);
    work = [=] { return run<double>(c, alpha, beta); };
  } else {
    float alpha, beta;
    memcpy(&alpha, c.alpha, 4), memcpy(&beta, c.beta, 4);
    work = [=] { return run<float>(c, alpha, beta); };
  }
  const CUresult result = submit(stream, [=]() -> CUresult {
    // What a graph was captured with may have been freed since.
    if (!all_there(c) || (workspace && !in_device_memory(workspace, bytes))) {
      report("cublasGemm: an operand or the workspace is no device memory (any more)");
      return kIllegalAddress;
    }
    if (workspace) poison(workspace, std::min<size_t>(bytes, 4096));
    return work();
  });
  return result ? kExecutionFailed : kOk;
}

}  // namespace pd_host

using namespace pd_host;

PD_EXPORT int cublasCreate_v2(void** out) {
  if (!out) return kInvalid;
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (ready()) return kNoHandle;
  *out = new Handle;
  return kOk;
}

PD_EXPORT int cublasDestroy_v2(void* handle) {
  if (!handle) return kNoHandle;
  delete static_cast<Handle*>(handle);
  return kOk;
}

PD_EXPORT int cublasSetStream_v2(void* handle, void* stream) {
  if (!handle) return kNoHandle;
  static_cast<Handle*>(handle)->stream = stream;
  static_cast<Handle*>(handle)->workspace = nullptr;  // as documented
  return kOk;
}

PD_EXPORT int cublasGetStream_v2(void* handle, void** stream) {
  if (!handle) return kNoHandle;
  *stream = static_cast<Handle*>(handle)->stream;
  return kOk;
}

PD_EXPORT int cublasSetMathMode(void* handle, int mode) {
  if (!handle) return kNoHandle;
  static_cast<Handle*>(handle)->math_mode = mode;
  return kOk;
}

PD_EXPORT int cublasGetMathMode(void* handle, int* mode) {
  if (!handle) return kNoHandle;
  *mode = static_cast<Handle*>(handle)->math_mode;
  return kOk;
}

PD_EXPORT int cublasSetPointerMode_v2(void* handle, int mode) {
  if (!handle) return kNoHandle;
  static_cast<Handle*>(handle)->pointer_mode =
      mode;  // device memory is readable here, so alpha and beta are read either way
  return kOk;
}

PD_EXPORT int cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes) {
  if (!handle) return kNoHandle;
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (reinterpret_cast<uintptr_t>(workspace) % 256) return kInvalid;
  if (workspace && !in_device_memory(workspace, bytes)) {
    report("cublasSetWorkspace: " + std::to_string(bytes) + " bytes are not all device memory" + describe_address(workspace));
    return kInvalid;
  }
  static_cast<Handle*>(handle)->workspace = workspace;
  static_cast<Handle*>(handle)->workspace_bytes = bytes;
  return kOk;
}

PD_EXPORT int cublasGetVersion_v2(void*, int* version) {
  if (!version) return kInvalid;
  *version = 130000;
  return kOk;
}

PD_EXPORT int cublasGetProperty(int which, int* value) {
  if (!value || which < 0 || which > 2) return kInvalid;
  *value = which == 0 ? 13 : 0;
  return kOk;
}

PD_EXPORT const char* cublasGetStatusString(int status) {
  switch (status) {
    case kOk: return "the operation completed successfully";
    case kNoHandle: return "the library was not initialized";
    case 3: return "the resource allocation failed";
    case kInvalid: return "an unsupported value or parameter was passed to the function";
    case kExecutionFailed: return "the function failed to launch on the GPU";
    case kUnsupported: return "the functionality requested is not supported";
    default: return "an internal operation failed";
  }
}

PD_EXPORT const char* cublasGetStatusName(int status) {
  switch (status) {
    case kOk: return "CUBLAS_STATUS_SUCCESS";
    case kNoHandle: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case 3: return "CUBLAS_STATUS_ALLOC_FAILED";
    case kInvalid: return "CUBLAS_STATUS_INVALID_VALUE";
    case kExecutionFailed: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case kUnsupported: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "CUBLAS_STATUS_INTERNAL_ERROR";
  }
}

PD_EXPORT int cublasGemmStridedBatchedEx(void* handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
                                         const void* a, int type_a, int lda, long long stride_a, const void* b,
                                         int type_b, int ldb, long long stride_b, const void* beta, void* c, int type_c,
                                         int ldc, long long stride_c, int batch, int compute, int) {
  return gemm(handle, {trans_a, trans_b, m,        n,    k, alpha,  a,   type_a,   lda,   stride_a, b,
                       type_b,  ldb,     stride_b, beta, c, type_c, ldc, stride_c, batch, compute});
}

PD_EXPORT int cublasGemmEx(void* handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
                           const void* a, int type_a, int lda, const void* b, int type_b, int ldb, const void* beta,
                           void* c, int type_c, int ldc, int compute, int algorithm) {
  if (told_to_fail("cublasGemmEx")) return kExecutionFailed;
  return cublasGemmStridedBatchedEx(handle, trans_a, trans_b, m, n, k, alpha, a, type_a, lda, 0, b, type_b, ldb, 0,
                                    beta, c, type_c, ldc, 0, 1, compute, algorithm);
}

#define PD_GEMM(Letter, T, type, compute)                                                                            \
  PD_EXPORT int cublas##Letter##gemm_v2(void* handle, int trans_a, int trans_b, int m, int n, int k, const T* alpha, \
                                        const T* a, int lda, const T* b, int ldb, const T* beta, T* c, int ldc) {    \
    return gemm(handle, {trans_a, trans_b, m, n,    k, alpha, a,   type, lda, 0,      b,                             \
                         type,    ldb,     0, beta, c, type,  ldc, 0,    1,   compute});                             \
  }                                                                                                                  \
  PD_EXPORT int cublas##Letter##gemmStridedBatched(void* handle, int trans_a, int trans_b, int m, int n, int k,      \
                                                   const T* alpha, const T* a, int lda, long long stride_a,          \
                                                   const T* b, int ldb, long long stride_b, const T* beta, T* c,     \
                                                   int ldc, long long stride_c, int batch) {                         \
    return gemm(handle, {trans_a, trans_b, m,        n,    k, alpha, a,   type,     lda,   stride_a, b,              \
                         type,    ldb,     stride_b, beta, c, type,  ldc, stride_c, batch, compute});                \
  }
PD_GEMM(S, float, kF32, kCompute32)
PD_GEMM(D, double, kF64, kCompute64)

PD_ALIAS(cublasCreate, cublasCreate_v2);
PD_ALIAS(cublasDestroy, cublasDestroy_v2);
PD_ALIAS(cublasSetStream, cublasSetStream_v2);
PD_ALIAS(cublasGetVersion, cublasGetVersion_v2);
