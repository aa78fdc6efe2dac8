// What stands before every text of CUDA C++ that pydiff compiles: names for types, and the few things that a host
// compiler, which the stand-in of device/cuda_host/ uses, says differently from NVRTC.
#pragma once

namespace pd {

inline const char* const kCudaPrelude = R"cuda(
typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

#ifndef PD_HOST
#pragma nv_diag_suppress 177  // helpers that a text does not use
#define PD_DYNAMIC_SHARED(name) extern __shared__ __align__(16) char name[]
#endif
#define PD_DEVICE static __device__ __forceinline__
#define PD_KERNEL extern "C" __global__ void
#define PD_ALL 0xffffffffu
)cuda";

}  // namespace pd
