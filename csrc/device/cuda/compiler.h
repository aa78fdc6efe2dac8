// NVRTC, opened at run time. What is asked of it by others is in cuda.h: cuda_compile, cuda_kernel.
#pragma once
#include <string>

#include "device/cuda/library.h"

namespace pd::cuda {

using NvrtcResult = int;
using NvrtcProgram = struct _nvrtcProgram*;

#define PD_CUDA_NVRTC(X)                                                                                              \
  X(nvrtcVersion, (int* major, int* minor))                                                                           \
  X(nvrtcCreateProgram, (NvrtcProgram*, const char* text, const char* name, int headers, const char* const* header,   \
                         const char* const* header_names))                                                           \
  X(nvrtcCompileProgram, (NvrtcProgram, int options, const char* const* option))                                      \
  X(nvrtcDestroyProgram, (NvrtcProgram*))                                                                             \
  X(nvrtcGetProgramLogSize, (NvrtcProgram, size_t*))                                                                  \
  X(nvrtcGetProgramLog, (NvrtcProgram, char*))                                                                        \
  X(nvrtcGetCUBINSize, (NvrtcProgram, size_t*))                                                                       \
  X(nvrtcGetCUBIN, (NvrtcProgram, char*))

struct Nvrtc {
#define X(name, params) NvrtcResult(*name) params = nullptr;
  PD_CUDA_NVRTC(X)
#undef X
  const char* (*nvrtcGetErrorString)(NvrtcResult) = nullptr;
  int major = 0, minor = 0;
  std::string path;
  std::string identity;  // tells one build of the library from another
};

// Opened by the first call; an Error says why there is none.
const Nvrtc& nvrtc();

// Version suffixes of the toolkit's libraries, most wanted first: no newer than the driver where there is one.
std::vector<std::string> toolkit_versions();

// "sm_90a" for compute capability 9.0
std::string arch_of(int index);

}  // namespace pd::cuda
