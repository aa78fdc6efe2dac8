#include "device/cuda/blas.h"

#include <algorithm>
#include <climits>
#include <mutex>

#include "base/error.h"
#include "device/cuda/compiler.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/graph.h"

namespace pd {

namespace cuda {

namespace {

// The constants of cublas_api.h and library_types.h.
enum : int {
  kNoTrans = 0,
  kTrans = 1,
  kReal32 = 0,
  kReal64 = 1,
  kReal16 = 2,
  kRealB16 = 14,
  kCompute32 = 68,
  kComputeTf32 = 77,
  kCompute64 = 70,
  kDefaultAlgorithm = -1,
  kAllocationFailed = 3,
  kNoReducedPrecision = 16,  // sums of 16-bit products are kept in float32 between the parts of a split product too
};

Blas open_blas() {
  std::vector<std::string> folders = toolkit_folders();
  Library library;
  for (const std::string& version : toolkit_versions()) {
    // cublasLt is asked for by name when cublas is opened; opened before, it is found wherever it lies.
    Library tried = open_library("PYDIFF_CUBLAS", {"libcublas.so." + version}, {});
    if (!tried.handle) {
      open_library(nullptr, {"libcublasLt.so." + version}, folders);
      tried = open_library("PYDIFF_CUBLAS", {"libcublas.so." + version}, folders);
    }
    if (tried.handle || library.problem.empty()) library = tried;
    if (library.handle) break;
  }
  if (!library.handle)
    fail("cuda", "cuBLAS, which multiplies matrices, was not found", library.problem,
         "pip install nvidia-cublas, or CUDA_HOME or PYDIFF_CUBLAS set to where it is", ErrorKind::Runtime);
  Blas b;
  b.library = library;
  b.path = library.path;
#define X(name, symbol, params)           \
  if (!resolve(library, #symbol, b.name)) \
    fail("cuda", "this cuBLAS lacks a function", #symbol " in " + b.path, "another one", ErrorKind::Runtime);
  PD_CUDA_BLAS(X)
#undef X
#define X(name, symbol, params) resolve(library, #symbol, b.name);
  PD_CUDA_BLAS_OPTIONAL(X)
#undef X
  resolve(library, "cublasGetStatusName", b.cublasGetStatusName);
  int part = 0;
  for (int which = 0; b.cublasGetProperty && which < 3 && b.cublasGetProperty(which, &part) == 0; ++which)
    b.version += (which ? "." : "") + std::to_string(part);
  return b;
}

void check_blas(const Blas& b, BlasStatus status, const char* call, int index, const std::string& sizes = "") {
  if (status == 0) return;
  std::string got = b.cublasGetStatusName ? b.cublasGetStatusName(status) : "status " + std::to_string(status);
  fail("cuda", std::string(call) + " failed", got + " on cuda:" + std::to_string(index) + sizes,
       "python -m pydiff.doctor", ErrorKind::Runtime);
}

// A handle serves one thread at a time.
struct Handle {
  std::mutex mutex;
  BlasHandle handle = nullptr;
  void* workspace = nullptr;
  bool no_workspace = false;  // there was no memory for one
};
Handle& handle_of(int index) {
  static Handle* const all = new Handle[128];
  return all[index];
}

// What NVIDIA recommends (cuBLAS documentation, cublasSetWorkspace): 32 MiB from compute capability 9.0 on, else 4 MiB.
size_t workspace_bytes(int index) { return size_t(cuda_properties(index).major >= 9 ? 32 : 4) << 20; }

// Memory of cuBLAS's own choice would be allocated inside of a captured graph, and another size of it may mean another
// algorithm. So all work in the order of the default stream, captured or not, has one workspace of one size.
// Before the order of the device is held: it allocates.
void make_workspace(Handle& h, int index) {
  if (h.workspace || h.no_workspace) return;
  try {
    h.workspace = cuda_device(index).allocate(workspace_bytes(index), Stream{});
  } catch (const Error&) {
    h.no_workspace = true;
  }
}
void give_workspace(const Blas& lib, Handle& h, int index) {
  if (!h.workspace) return;
  check_blas(lib, lib.cublasSetWorkspace(h.handle, h.workspace, workspace_bytes(index)), "cublasSetWorkspace", index);
}

bool g_allow_tf32 = false;

// The distance between rows is at least a row's length for BLAS; of a single row it does not matter.
int64_t row_length(const char* which, int64_t rows, int64_t cols, int64_t row) {
  if (rows <= 1) return std::max<int64_t>(cols, 1);
  if (row < cols)
    fail("cuda", std::string("rows of operand ") + which + " overlap",
         std::to_string(row) + " elements between rows of " + std::to_string(cols), "a contiguous copy");
  return row;
}

// The product of no terms: zero rows.
void clear(const Driver& d, void* c, DType t, int64_t m, int64_t n, int64_t ldc, int64_t batch, int64_t stride,
           int index, CUstream s) {
  size_t size = size_of(t);
  bool dense = ldc == n || m == 1;
  for (int64_t i = 0; i < batch; ++i)
    for (int64_t r = 0; r < (dense ? 1 : m); ++r) {
      char* at = static_cast<char*>(c) + static_cast<size_t>(i * stride + r * ldc) * size;
      size_t bytes = static_cast<size_t>(dense ? m * n : n) * size;
      check(d.cuMemsetD8Async(address_of(at), 0, bytes, s), "cuMemsetD8Async", index);
    }
}

}  // namespace

const Blas& blas() {
  static const Blas& opened = *new Blas(open_blas());  // a failure is tried again
  return opened;
}

BlasWorkspace blas_workspace(int index) {
  Handle& h = handle_of(index);
  std::lock_guard<std::mutex> hold(h.mutex);
  make_workspace(h, index);
  return h.workspace ? BlasWorkspace{h.workspace, workspace_bytes(index)} : BlasWorkspace{};
}

BlasTypes blas_types(DType t) {
  switch (t) {
    case DType::F32: return {kReal32, g_allow_tf32 ? kComputeTf32 : kCompute32, kReal32};
    case DType::F64: return {kReal64, kCompute64, kReal64};
    case DType::F16: return {kReal16, kCompute32, kReal32};
    case DType::BF16: return {kRealB16, kCompute32, kReal32};
    default: fail("cuda", "cuBLAS multiplies floating types only", name_of(t), "float32", ErrorKind::Type);
  }
}

}  // namespace cuda

bool& cuda_allow_tf32() { return cuda::g_allow_tf32; }

// cuBLAS has matrices by columns. A row-major matrix is the transpose of a column-major one in the same memory, and
// C' = op(B)' op(A)', so the operands change places and keep their flags.
void cuda_gemm(DeviceId device, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a,
               int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate, int64_t batch,
               int64_t stride_a, int64_t stride_b, int64_t stride_c, Stream s) {
  using namespace cuda;
  const BlasTypes types = blas_types(t);
  const Driver& d = driver();
  int index = device.index;
  ContextScope here(d, cuda_device(index).context());
  if (m <= 0 || n <= 0 || batch <= 0) return;
  if (k <= 0) {
    if (accumulate) return;
    Submission work(d, cuda_device(index), s);
    clear(d, c, t, m, n, ldc, batch, stride_c, index, work.stream);
    return;
  }
  lda = trans_a ? row_length("a", k, m, lda) : row_length("a", m, k, lda);
  ldb = trans_b ? row_length("b", n, k, ldb) : row_length("b", k, n, ldb);
  ldc = row_length("c", m, n, ldc);
  // One algorithm, whether something is done to the sums or not.
  if (batch == 1 && !accumulate && cuda_gemm_epilogue(device, t, trans_a, trans_b, m, n, k, a, lda, b, ldb, c, ldc, nullptr, false, s))
    return;
  float one32 = 1, beta32 = accumulate ? 1.f : 0.f;
  double one64 = 1, beta64 = accumulate ? 1. : 0.;
  const void* one = t == DType::F64 ? static_cast<const void*>(&one64) : &one32;
  const void* beta = t == DType::F64 ? static_cast<const void*>(&beta64) : &beta32;
  int op_a = trans_a ? kTrans : kNoTrans, op_b = trans_b ? kTrans : kNoTrans;

  const Blas& lib = blas();
  Handle& h = handle_of(index);
  std::lock_guard<std::mutex> hold(h.mutex);
  if (!h.handle) {
    BlasHandle made = nullptr;
    BlasStatus status = lib.cublasCreate(&made);
    if (status != 0) {  // it wants memory of its own, all of which may lie in the pool
      cuda_device(index).empty_cache();
      status = lib.cublasCreate(&made);
    }
    check_blas(lib, status, "cublasCreate", index);
    if (lib.cublasSetMathMode)
      check_blas(lib, lib.cublasSetMathMode(made, kNoReducedPrecision), "cublasSetMathMode", index);
    h.handle = made;
  }

  const bool own_workspace = lib.cublasSetWorkspace && (!s.handle || is_capturing(index, s));
  if (own_workspace) make_workspace(h, index);

  auto narrow = [](int64_t x) { return static_cast<int>(x); };
  auto multiply = [&]() -> BlasStatus {
    Submission work(d, cuda_device(index), s);
    check_blas(lib, lib.cublasSetStream(h.handle, work.stream), "cublasSetStream", index);
    if (own_workspace) give_workspace(lib, h, index);  // cublasSetStream has taken it away
    if (std::max({m, n, k, lda, ldb, ldc, batch}) > INT_MAX) {
      if (!lib.cublasGemmStridedBatchedEx_64)
        fail("cuda", "this cuBLAS has no products with 64-bit sizes", lib.path, "cuBLAS 12 or newer",
             ErrorKind::Runtime);
      return lib.cublasGemmStridedBatchedEx_64(h.handle, op_b, op_a, n, m, k, one, b, types.data, ldb, stride_b, a,
                                               types.data, lda, stride_a, beta, c, types.data, ldc, stride_c, batch,
                                               types.compute, kDefaultAlgorithm);
    }
    if (batch == 1)
      return lib.cublasGemmEx(h.handle, op_b, op_a, narrow(n), narrow(m), narrow(k), one, b, types.data, narrow(ldb),
                              a, types.data, narrow(lda), beta, c, types.data, narrow(ldc), types.compute,
                              kDefaultAlgorithm);
    return lib.cublasGemmStridedBatchedEx(h.handle, op_b, op_a, narrow(n), narrow(m), narrow(k), one, b, types.data,
                                          narrow(ldb), stride_b, a, types.data, narrow(lda), stride_a, beta, c,
                                          types.data, narrow(ldc), stride_c, narrow(batch), types.compute,
                                          kDefaultAlgorithm);
  };
  BlasStatus status = multiply();
  if (status == kAllocationFailed) {
    cuda_device(index).empty_cache();
    status = multiply();
  }
  if (status != 0)
    check_blas(lib, status, "cublasGemmEx", index,
               ", " + std::string(name_of(t)) + " (" + std::to_string(m) + ", " + std::to_string(k) + ") @ (" +
                   std::to_string(k) + ", " + std::to_string(n) + ") in a batch of " + std::to_string(batch));
}

}  // namespace pd
