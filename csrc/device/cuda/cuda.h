// The CUDA back end's public face. Nothing of CUDA is needed to build or to include this: the driver, NVRTC and cuBLAS
// are opened when first asked for, and where one is missing an Error says which and what to do.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "base/dtype.h"
#include "base/error.h"
#include "device/device.h"

namespace pd {

// A kernel that NVRTC does not take.
struct CudaCompileError : Error {
  CudaCompileError(const std::string& kernel, const std::string& text) : Error(ErrorKind::Runtime, text), kernel(kernel) {}
  std::string kernel;
};

// The kernel `function` (extern "C" __global__) of this CUDA C++ text, compiled for the device: memory cache by text,
// disk cache, NVRTC. The prelude (prelude.h) is put in front of the text. Any thread; threads that ask for one text at
// once wait for one compilation. `dynamic_shared_bytes` is the most that a launch will ask for.
// Throws CudaCompileError with the compiler's log where it does not compile.
DeviceKernel cuda_kernel(DeviceId device, const std::string& source, const std::string& function,
                         size_t dynamic_shared_bytes = 0);

// An operation of the user's own was given to the device. What a kernel does wrong is told by a later call: an error that
// takes the device away names the last of them.
void cuda_note_custom(const std::string& op);

// The same text compiled to an image for an architecture ("sm_90a"), no device needed: what tests of generated text
// use.
struct CudaImage {
  std::string bytes;
  std::string log;  // the compiler's warnings, or why it failed
  bool ok = false;
};
// `resources`: the log has each kernel's registers, spills and shared memory, as ptxas tells them.
CudaImage cuda_compile(const std::string& source, const std::string& arch, bool resources = false);

struct CudaProperties {
  std::string name;
  int major = 0, minor = 0, multiprocessors = 0, max_threads_per_multiprocessor = 0;
  size_t memory = 0, shared_per_block_optin = 0;
};
const CudaProperties& cuda_properties(int index);

// What was found, for `python -m pydiff.doctor`: key/value pairs in plain words, never throws.
std::vector<std::pair<std::string, std::string>> cuda_report();

// Row-major C[m,n] = op(A) op(B), or C += with `accumulate`, by cuBLASLt or cuBLAS, batched with strides (elements); lda, ldb, ldc
// are row lengths in elements. 16-bit floats accumulate in float32. TF32 off unless cuda_allow_tf32().
void cuda_gemm(DeviceId d, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a,
               int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, bool accumulate, int64_t batch,
               int64_t stride_a, int64_t stride_b, int64_t stride_c, Stream s);
bool& cuda_allow_tf32();

// Row-major C[m,n] = op(A) op(B) + bias[n] in every row, then max(., 0) with `relu`, in one kernel of cuBLASLt; `bias` may
// be null. The sums are those of cuda_gemm; 16-bit floats are rounded once, after the bias; `relu` makes 0 of NaN (the
// library's own). False, and nothing is done, where cuBLASLt is missing, has nothing for this product, or refuses.
bool cuda_gemm_epilogue(DeviceId d, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, const void* a,
                        int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, const void* bias, bool relu,
                        Stream s);

// Forgets that no driver was found, so that the next call looks for one again. False where one is in use.
bool cuda_look_again();

// Makes DeviceKind::Cuda known; called once at import, opens nothing yet.
void register_cuda();

}  // namespace pd
