// The CUDA driver, opened at run time: own declarations of the part of its documented ABI that pydiff uses, as a table
// of function pointers, and how its errors are told.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "device/cuda/cuda.h"

namespace pd::cuda {

// ---- types of the driver's ABI, under the driver's names

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmemoryPool = struct CUmemPoolHandle_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;

struct CUmemLocation {
  int type;
  int id;
};
struct CUmemAccessDesc {
  CUmemLocation location;
  int flags;
};
struct CUmemPoolProps {
  int allocType;
  int handleTypes;
  CUmemLocation location;
  void* win32SecurityAttributes;
  size_t maxSize;
  unsigned short usage;
  unsigned char reserved[54];
};
static_assert(sizeof(void*) != 8 || sizeof(CUmemPoolProps) == 88, "the driver's layout");

enum : int {
  kSuccess = 0,
  kErrorInvalidValue = 1,
  kErrorOutOfMemory = 2,
  kErrorNoDevice = 100,
  kErrorInvalidImage = 200,
  kErrorNoBinary = 209,
  kErrorInvalidPtx = 218,
  kErrorUnsupportedPtx = 222,
  kErrorNotFound = 500,
  kErrorNotReady = 600,
  kErrorIllegalAddress = 700,
  kErrorLaunchResources = 701,
  kErrorLaunchTimeout = 702,
  kErrorFirstFatal = 714,  // 714 to 719: a kernel did what it must not; the context is lost
  kErrorLastFatal = 719,

  kAttributeMultiprocessors = 16,
  kAttributeThreadsPerMultiprocessor = 39,
  kAttributeMajor = 75,
  kAttributeMinor = 76,
  kAttributeSharedOptin = 97,
  kAttributeMemoryPools = 115,

  kFunctionMaxDynamicShared = 8,

  kPoolReleaseThreshold = 4,
  kPoolReservedCurrent = 5,
  kLocationDevice = 1,
  kAllocationPinned = 1,
  kAccessReadWrite = 3,

  kStreamNonBlocking = 1,
  kPerThreadStream = 2,  // as a handle; 0 and 1 are the default stream of all threads
  kEventBlockingSync = 1,
  kEventNoTiming = 2,
  kHostPortable = 1,
  kCaptureThreadLocal = 1,
};

// ---- the table: X(name, exported symbol, parameters). Where the ABI versions a function, the symbol says which.

#define PD_CUDA_DRIVER(X)                                                                                             \
  X(cuInit, cuInit, (unsigned flags))                                                                                 \
  X(cuDriverGetVersion, cuDriverGetVersion, (int* version))                                                           \
  X(cuGetErrorName, cuGetErrorName, (CUresult, const char** text))                                                    \
  X(cuGetErrorString, cuGetErrorString, (CUresult, const char** text))                                                \
  X(cuDeviceGetCount, cuDeviceGetCount, (int* count))                                                                 \
  X(cuDeviceGet, cuDeviceGet, (CUdevice*, int index))                                                                 \
  X(cuDeviceGetName, cuDeviceGetName, (char* name, int length, CUdevice))                                             \
  X(cuDeviceGetAttribute, cuDeviceGetAttribute, (int* value, int attribute, CUdevice))                                \
  X(cuDeviceTotalMem, cuDeviceTotalMem_v2, (size_t* bytes, CUdevice))                                                 \
  X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, (CUcontext*, CUdevice))                                       \
  X(cuCtxGetCurrent, cuCtxGetCurrent, (CUcontext*))                                                                   \
  X(cuCtxSetCurrent, cuCtxSetCurrent, (CUcontext))                                                                    \
  X(cuCtxGetDevice, cuCtxGetDevice, (CUdevice*))                                                                      \
  X(cuCtxSynchronize, cuCtxSynchronize, ())                                                                           \
  X(cuModuleLoadData, cuModuleLoadData, (CUmodule*, const void* image))                                               \
  X(cuModuleGetFunction, cuModuleGetFunction, (CUfunction*, CUmodule, const char* name))                              \
  X(cuFuncGetAttribute, cuFuncGetAttribute, (int* value, int attribute, CUfunction))                                  \
  X(cuFuncSetAttribute, cuFuncSetAttribute, (CUfunction, int attribute, int value))                                   \
  X(cuLaunchKernel, cuLaunchKernel,                                                                                   \
    (CUfunction, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared,       \
     CUstream, void** params, void** extra))                                                                          \
  X(cuMemGetInfo, cuMemGetInfo_v2, (size_t* free, size_t* total))                                                     \
  X(cuMemPoolCreate, cuMemPoolCreate, (CUmemoryPool*, const CUmemPoolProps*))                                         \
  X(cuMemPoolSetAttribute, cuMemPoolSetAttribute, (CUmemoryPool, int attribute, void* value))                         \
  X(cuMemPoolGetAttribute, cuMemPoolGetAttribute, (CUmemoryPool, int attribute, void* value))                         \
  X(cuMemPoolTrimTo, cuMemPoolTrimTo, (CUmemoryPool, size_t keep))                                                    \
  X(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync, (CUdeviceptr*, size_t bytes, CUmemoryPool, CUstream))           \
  X(cuMemFreeAsync, cuMemFreeAsync, (CUdeviceptr, CUstream))                                                          \
  X(cuMemHostAlloc, cuMemHostAlloc, (void**, size_t bytes, unsigned flags))                                           \
  X(cuMemFreeHost, cuMemFreeHost, (void*))                                                                            \
  X(cuMemcpyHtoD, cuMemcpyHtoD_v2, (CUdeviceptr to, const void* from, size_t bytes))                                  \
  X(cuMemcpyDtoH, cuMemcpyDtoH_v2, (void* to, CUdeviceptr from, size_t bytes))                                        \
  X(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr to, const void* from, size_t bytes, CUstream))              \
  X(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void* to, CUdeviceptr from, size_t bytes, CUstream))                    \
  X(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream))              \
  X(cuMemsetD8Async, cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t count, CUstream))                           \
  X(cuMemsetD16Async, cuMemsetD16Async, (CUdeviceptr, unsigned short, size_t count, CUstream))                        \
  X(cuMemsetD32Async, cuMemsetD32Async, (CUdeviceptr, unsigned, size_t count, CUstream))                              \
  X(cuStreamCreate, cuStreamCreate, (CUstream*, unsigned flags))                                                      \
  X(cuStreamDestroy, cuStreamDestroy_v2, (CUstream))                                                                  \
  X(cuStreamSynchronize, cuStreamSynchronize, (CUstream))                                                             \
  X(cuStreamQuery, cuStreamQuery, (CUstream))                                                                         \
  X(cuStreamGetCtx, cuStreamGetCtx, (CUstream, CUcontext*))                                                           \
  X(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream, CUevent, unsigned flags))                                        \
  X(cuEventCreate, cuEventCreate, (CUevent*, unsigned flags))                                                         \
  X(cuEventDestroy, cuEventDestroy_v2, (CUevent))                                                                     \
  X(cuEventRecord, cuEventRecord, (CUevent, CUstream))                                                                \
  X(cuEventQuery, cuEventQuery, (CUevent))                                                                            \
  X(cuEventSynchronize, cuEventSynchronize, (CUevent))                                                                \
  X(cuEventElapsedTime, cuEventElapsedTime, (float* milliseconds, CUevent begin, CUevent end))

// Null where the driver does not export them: several devices, and CUDA graphs.
#define PD_CUDA_DRIVER_OPTIONAL(X)                                                                                    \
  X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, (int* can, CUdevice from, CUdevice to))                             \
  X(cuMemPoolSetAccess, cuMemPoolSetAccess, (CUmemoryPool, const CUmemAccessDesc*, size_t count))                     \
  X(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, (CUcontext, unsigned flags))                                        \
  X(cuMemcpyPeerAsync, cuMemcpyPeerAsync,                                                                             \
    (CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context, size_t bytes, CUstream))         \
  X(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream, int mode))                                              \
  X(cuStreamEndCapture, cuStreamEndCapture, (CUstream, CUgraph*))                                                     \
  X(cuGraphInstantiate, cuGraphInstantiateWithFlags, (CUgraphExec*, CUgraph, unsigned long long flags))               \
  X(cuGraphLaunch, cuGraphLaunch, (CUgraphExec, CUstream))                                                            \
  X(cuGraphExecDestroy, cuGraphExecDestroy, (CUgraphExec))                                                            \
  X(cuGraphDestroy, cuGraphDestroy, (CUgraph))

struct Driver {
#define X(name, symbol, params) CUresult(*name) params = nullptr;
  PD_CUDA_DRIVER(X)
  PD_CUDA_DRIVER_OPTIONAL(X)
#undef X
  int version = 0;  // 13000 is CUDA 13.0
  std::string path;
  std::vector<CudaProperties> devices;
};

// The driver, opened and initialised by the first call; an Error says why there is none, or that this process was
// forked from one that had started CUDA (nothing of CUDA works there).
const Driver& driver();
// The same without an Error: null where there is none. `why` gets the Error's text.
const Driver* find_driver(std::string* why = nullptr) noexcept;
// The driver where a call before has opened it, else null.
const Driver* opened_driver() noexcept;

// Raises the Error of a failed call; `where` is "cuda:0", a kernel's name or the like.
[[noreturn]] void raise(CUresult result, const char* call, const std::string& where);
inline void check(CUresult result, const char* call, int device) {
  if (result != kSuccess) raise(result, call, "cuda:" + std::to_string(device));
}
// "CUDA_ERROR_NOT_READY (device not ready)"
std::string describe(const Driver& d, CUresult result);
// "13.0" of 13000
std::string version_text(int version);

// The context that a thread without a current one stands in: device 0's, once that is open.
extern std::atomic<CUcontext> g_default_context;

// A context made current on this thread, and the one that was current before given back at the end of the scope: the
// thread's choice of device, which is other libraries' too, is left alone. A failure shows in the next call.
class ContextScope {
 public:
  ContextScope(const Driver& d, CUcontext context) noexcept : driver_(d) {
    d.cuCtxGetCurrent(&before_);
    if (before_ == context) return;
    d.cuCtxSetCurrent(context);
    // No current context and that of device 0 mean the same device: it stays, and the next scope has nothing to do.
    changed_ = before_ || context != g_default_context.load(std::memory_order_relaxed);
  }
  ~ContextScope() {
    if (changed_) driver_.cuCtxSetCurrent(before_);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const Driver& driver_;
  CUcontext before_ = nullptr;
  bool changed_ = false;
};

// PYDIFF_DEBUG, and a line on standard error where it is at least `level`.
int debug_level();
void debug(int level, const std::string& text);

}  // namespace pd::cuda
