// Kernels that are compiled once for each instruction set, and which of them serves.
#pragma once

namespace pd {

#if defined(__x86_64__)
#define PD_AVX512 __attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")))
#define PD_AVX2 __attribute__((target("avx2,fma")))
#endif

enum class Vectors { Plain, Avx2, Avx512 };

// The widest that the processor has.
inline Vectors widest_vectors() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    return wide ? Vectors::Avx512 : Vectors::Avx2;
  }
#endif
  return Vectors::Plain;
}

}  // namespace pd
