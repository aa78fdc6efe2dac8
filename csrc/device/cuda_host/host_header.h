// The text that stands before a kernel's text when the host compiler compiles it: the words of CUDA C++ and what the
// device functions mean. It includes no header, so that a kernel compiles in a few hundredths of a second.
#pragma once

#include "abi.h"

namespace pd_host {

#define PD_HOST_QUOTE(...) #__VA_ARGS__
inline const char* const kAbiText = PD_HOST_ABI(PD_HOST_QUOTE);
#undef PD_HOST_QUOTE

// The words, the built-in variables, vectors.
inline const char* const kWordsText = R"host(
#define PD_HOST 1
#define __global__
#define __device__ __attribute__((visibility("default")))
#define __host__
#define __constant__ __attribute__((visibility("default")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static
#define PD_DYNAMIC_SHARED(name) char* const name = pd_module.block->dynamic_shared

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef pd_host::Index uint3;
struct dim3 : uint3 {
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : uint3{x, y, z} {}
};
static uint3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

extern "C" {
extern __attribute__((visibility("default"))) pd_host::Module pd_module;
__attribute__((used)) pd_host::Module pd_module = {PD_HOST_ABI, &threadIdx, &blockIdx,
                                                                                    &blockDim, &gridDim, 0, 0};
}

namespace pd_host {
// `extern __shared__ T name[];` outside of functions.
template <class T> struct Dynamic {
  operator T*() const { return (T*)pd_module.block->dynamic_shared; }
  template <class I> T& operator[](I i) const { return ((T*)pd_module.block->dynamic_shared)[i]; }
};
template <int... I> struct Seq {};
template <int N, int... I> struct Upto : Upto<N - 1, N - 1, I...> {};
template <int... I> struct Upto<0, I...> { typedef Seq<I...> type; };
template <class T> struct Describe { static constexpr Parameter value = {sizeof(T), false}; };
template <class T> struct Describe<T*> { static constexpr Parameter value = {sizeof(T*), true}; };
template <auto F> struct Thunk;
template <class... A, void (*F)(A...)> struct Thunk<F> {
  static constexpr Parameter parameters[sizeof...(A) + 1] = {Describe<A>::value..., {0, false}};
  static constexpr unsigned count = sizeof...(A);
  template <int... I> static void each(Seq<I...>) {
    Block& b = *pd_module.block;
    void** a = b.args;
    while (b.next < b.count) {
      b.current = b.next++;
      threadIdx = b.threads[b.current].index;
      F(*(A*)a[I]...);
      unsigned id = b.threads[b.current].id;
      b.gone[id / 32] |= 1u << (id % 32);
      --b.living;
      if (b.waiting) pd_module.runtime->exited();
    }
  }
  static void run() { each(typename Upto<sizeof...(A)>::type()); }
};
}
#define PD_HOST_KERNEL(name, ...)                                                                    \
  extern "C" { extern __attribute__((visibility("default"))) pd_host::Kernel pd_kernel_##name; }     \
  pd_host::Kernel pd_kernel_##name = {pd_host::Thunk<(__VA_ARGS__)>::run, pd_host::Thunk<(__VA_ARGS__)>::count, \
                                      pd_host::Thunk<(__VA_ARGS__)>::parameters}

#define PD_VECTOR(T, name, b1, b2, b4)                                                               \
  struct __align__(b1) name##1 { T x; };                                                             \
  struct __align__(b2) name##2 { T x, y; };                                                          \
  struct name##3 { T x, y, z; };                                                                     \
  struct __align__(b4) name##4 { T x, y, z, w; };                                                    \
  static inline name##1 make_##name##1(T x) { return {x}; }                                          \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                                  \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }                          \
  static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
#define uint3 pd_unused_uint3
PD_VECTOR(unsigned, uint, 4, 8, 16)
#undef uint3
PD_VECTOR(signed char, char, 1, 2, 4)
PD_VECTOR(unsigned char, uchar, 1, 2, 4)
PD_VECTOR(short, short, 2, 4, 8)
PD_VECTOR(unsigned short, ushort, 2, 4, 8)
PD_VECTOR(int, int, 4, 8, 16)
PD_VECTOR(long long, longlong, 8, 16, 16)
PD_VECTOR(unsigned long long, ulonglong, 8, 16, 16)
PD_VECTOR(float, float, 4, 8, 16)
PD_VECTOR(double, double, 8, 16, 16)
)host";

// What threads do together. A thread that waits is a fiber; the launcher takes it up again.
inline const char* const kTogetherText = R"host(
#define PD_HERE int line = __builtin_LINE()
static inline void __syncthreads(PD_HERE) { pd_module.runtime->barrier(pd_host::kNothing, 0, line); }
static inline int __syncthreads_count(int p, PD_HERE) { return pd_module.runtime->barrier(pd_host::kCount, p, line); }
static inline int __syncthreads_and(int p, PD_HERE) { return pd_module.runtime->barrier(pd_host::kAnd, p, line); }
static inline int __syncthreads_or(int p, PD_HERE) { return pd_module.runtime->barrier(pd_host::kOr, p, line); }
static inline void __syncwarp(unsigned mask = 0xffffffffu, PD_HERE) {
  pd_module.runtime->vote(pd_host::kSyncWarp, mask, 0, line);
}
static inline unsigned __ballot_sync(unsigned mask, int p, PD_HERE) {
  return pd_module.runtime->vote(pd_host::kBallot, mask, p, line);
}
static inline int __any_sync(unsigned mask, int p, PD_HERE) {
  return (int)pd_module.runtime->vote(pd_host::kAny, mask, p, line);
}
static inline int __all_sync(unsigned mask, int p, PD_HERE) {
  return (int)pd_module.runtime->vote(pd_host::kAll, mask, p, line);
}
static inline unsigned __activemask() { return pd_module.runtime->active(); }
#define PD_SHUFFLE(name, op, operand_type)                                                            \
  template <class T>                                                                                 \
  static inline T name(unsigned mask, T value, operand_type operand, int width = 32, PD_HERE) {      \
    static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 2, #name " takes 2, 4 or 8 bytes"); \
    unsigned long long bits = 0;                                                                     \
    __builtin_memcpy(&bits, &value, sizeof(T));                                                      \
    bits = pd_module.runtime->shuffle(pd_host::op, mask, (int)operand, width, bits, sizeof(T), line); \
    __builtin_memcpy(&value, &bits, sizeof(T));                                                      \
    return value;                                                                                    \
  }
PD_SHUFFLE(__shfl_sync, kShuffle, int)
PD_SHUFFLE(__shfl_up_sync, kShuffleUp, unsigned)
PD_SHUFFLE(__shfl_down_sync, kShuffleDown, unsigned)
PD_SHUFFLE(__shfl_xor_sync, kShuffleXor, int)

static inline void __threadfence() { __asm__ volatile("" ::: "memory"); }
static inline void __threadfence_block() { __asm__ volatile("" ::: "memory"); }
static inline void __threadfence_system() { __asm__ volatile("" ::: "memory"); }
static inline void __trap(PD_HERE) { pd_module.runtime->trap(line); }

// One thread of the host runs all: a read and a write are one step unless something that waits stands between them.
#define PD_ATOMIC(T, name, expression)                                                               \
  static inline T name(T* p, T v) { T old = *(volatile T*)p; *(volatile T*)p = (expression); return old; }
#define PD_ATOMIC_BITS(T)                                                                            \
  PD_ATOMIC(T, atomicOr, old | v) PD_ATOMIC(T, atomicAnd, old & v) PD_ATOMIC(T, atomicXor, old ^ v)
#define PD_ATOMIC_ORDER(T) PD_ATOMIC(T, atomicMax, old < v ? v : old) PD_ATOMIC(T, atomicMin, v < old ? v : old)
#define PD_ATOMIC_CAS(T)                                                                             \
  static inline T atomicCAS(T* p, T expected, T v) {                                                 \
    T old = *(volatile T*)p;                                                                         \
    if (old == expected) *(volatile T*)p = v;                                                        \
    return old;                                                                                      \
  }
PD_ATOMIC(int, atomicAdd, (int)((unsigned)old + (unsigned)v))
PD_ATOMIC(unsigned, atomicAdd, old + v)
PD_ATOMIC(unsigned long long, atomicAdd, old + v)
PD_ATOMIC(float, atomicAdd, old + v)
PD_ATOMIC(double, atomicAdd, old + v)
PD_ATOMIC(int, atomicSub, (int)((unsigned)old - (unsigned)v))
PD_ATOMIC(unsigned, atomicSub, old - v)
PD_ATOMIC(int, atomicExch, v)
PD_ATOMIC(unsigned, atomicExch, v)
PD_ATOMIC(unsigned long long, atomicExch, v)
PD_ATOMIC(float, atomicExch, v)
PD_ATOMIC(unsigned, atomicInc, old >= v ? 0u : old + 1u)
PD_ATOMIC(unsigned, atomicDec, old == 0u || old > v ? v : old - 1u)
PD_ATOMIC_ORDER(int) PD_ATOMIC_ORDER(unsigned) PD_ATOMIC_ORDER(long long) PD_ATOMIC_ORDER(unsigned long long)
PD_ATOMIC_BITS(int) PD_ATOMIC_BITS(unsigned) PD_ATOMIC_BITS(unsigned long long)
PD_ATOMIC_CAS(int) PD_ATOMIC_CAS(unsigned) PD_ATOMIC_CAS(unsigned long long) PD_ATOMIC_CAS(unsigned short)

template <class T> static inline T __ldg(const T* p) { return *p; }
template <class T> static inline T __ldcg(const T* p) { return *p; }
template <class T> static inline T __ldca(const T* p) { return *p; }
template <class T> static inline T __ldcs(const T* p) { return *p; }
template <class T> static inline T __ldlu(const T* p) { return *p; }
template <class T> static inline T __ldcv(const T* p) { return *(const volatile T*)p; }
template <class T> static inline void __stwb(T* p, T v) { *p = v; }
template <class T> static inline void __stcg(T* p, T v) { *p = v; }
template <class T> static inline void __stcs(T* p, T v) { *p = v; }
template <class T> static inline void __stwt(T* p, T v) { *p = v; }
)host";

// Arithmetic. What IEEE defines is a builtin of the compiler; what it does not is the host's mathematics library.
inline const char* const kMathText = R"host(
namespace pd_host {
template <class To, class From> static inline To bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  __builtin_memcpy(&to, &v, sizeof(To));
  return to;
}
// A conversion as the device does it: NaN gives 0, what is too large the nearest.
template <class To, class From> static inline To saturated(From v, From low, From high, To least, To most) {
  return v != v ? To(0) : v <= low ? least : v >= high ? most : To(v);
}
}
static inline int __float_as_int(float v) { return pd_host::bits<int>(v); }
static inline unsigned __float_as_uint(float v) { return pd_host::bits<unsigned>(v); }
static inline float __int_as_float(int v) { return pd_host::bits<float>(v); }
static inline float __uint_as_float(unsigned v) { return pd_host::bits<float>(v); }
static inline long long __double_as_longlong(double v) { return pd_host::bits<long long>(v); }
static inline double __longlong_as_double(long long v) { return pd_host::bits<double>(v); }
static inline int __double2hiint(double v) { return (int)(pd_host::bits<long long>(v) >> 32); }
static inline int __double2loint(double v) { return (int)pd_host::bits<long long>(v); }
static inline double __hiloint2double(int hi, int lo) {
  return pd_host::bits<double>((unsigned long long)(unsigned)hi << 32 | (unsigned)lo);
}

static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline unsigned __brev(unsigned v) {
  v = (v >> 1 & 0x55555555u) | (v & 0x55555555u) << 1;
  v = (v >> 2 & 0x33333333u) | (v & 0x33333333u) << 2;
  v = (v >> 4 & 0x0f0f0f0fu) | (v & 0x0f0f0f0fu) << 4;
  return __builtin_bswap32(v);
}
static inline unsigned long long __brevll(unsigned long long v) {
  return (unsigned long long)__brev((unsigned)v) << 32 | __brev((unsigned)(v >> 32));
}
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline long long __mul64hi(long long a, long long b) { return (long long)((__int128)a * b >> 64); }
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
  return (unsigned)(((unsigned long long)hi << 32 | lo) << (n & 31) >> 32);
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
  return (unsigned)(((unsigned long long)hi << 32 | lo) >> (n & 31));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned s) {
  unsigned long long all = (unsigned long long)b << 32 | a;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) r |= (unsigned)(all >> (s >> 4 * i & 7) * 8 & 0xff) << 8 * i;
  return r;
}

#define PD_MATH1(name)                                                                               \
  extern "C" double name(double) noexcept;                                                           \
  extern "C" float name##f(float) noexcept;                                                          \
  static inline float name(float x) { return name##f(x); }
#define PD_MATH2(name)                                                                               \
  extern "C" double name(double, double) noexcept;                                                   \
  extern "C" float name##f(float, float) noexcept;                                                   \
  static inline float name(float x, float y) { return name##f(x, y); }
PD_MATH1(sqrt) PD_MATH1(floor) PD_MATH1(ceil) PD_MATH1(trunc) PD_MATH1(rint) PD_MATH1(nearbyint) PD_MATH1(round)
PD_MATH1(fabs) PD_MATH1(exp) PD_MATH1(exp2) PD_MATH1(expm1) PD_MATH1(log) PD_MATH1(log2) PD_MATH1(log10) PD_MATH1(log1p)
PD_MATH1(sin) PD_MATH1(cos) PD_MATH1(tan) PD_MATH1(asin) PD_MATH1(acos) PD_MATH1(atan) PD_MATH1(sinh) PD_MATH1(cosh)
PD_MATH1(tanh) PD_MATH1(asinh) PD_MATH1(acosh) PD_MATH1(atanh) PD_MATH1(erf) PD_MATH1(erfc) PD_MATH1(cbrt)
PD_MATH1(tgamma) PD_MATH1(lgamma) PD_MATH1(logb)
PD_MATH2(pow) PD_MATH2(atan2) PD_MATH2(hypot) PD_MATH2(fmod) PD_MATH2(copysign) PD_MATH2(nextafter) PD_MATH2(remainder)
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
extern "C" int printf(const char*, ...);
static inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
static inline float ldexp(float x, int e) { return ldexpf(x, e); }
static inline double exp10(double x) { return __builtin_exp10(x); }
static inline float exp10f(float x) { return __builtin_exp10f(x); }
static inline float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline void sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
static inline void sincos(double x, double* s, double* c) { *s = sin(x), *c = cos(x); }

#define PD_EXTREME(T, suffix)                                                                        \
  static inline T fmax##suffix(T a, T b) {                                                           \
    return a != a ? b : b != b ? a : a == b ? (__builtin_signbit(a) ? b : a) : a > b ? a : b;        \
  }                                                                                                  \
  static inline T fmin##suffix(T a, T b) {                                                           \
    return a != a ? b : b != b ? a : a == b ? (__builtin_signbit(a) ? a : b) : a < b ? a : b;        \
  }                                                                                                  \
  static inline T max(T a, T b) { return fmax##suffix(a, b); }                                       \
  static inline T min(T a, T b) { return fmin##suffix(a, b); }
PD_EXTREME(double, ) PD_EXTREME(float, f)
static inline float fmax(float a, float b) { return fmaxf(a, b); }
static inline float fmin(float a, float b) { return fminf(a, b); }
#define PD_INTEGER_EXTREME(T)                                                                        \
  static inline T max(T a, T b) { return a < b ? b : a; }                                            \
  static inline T min(T a, T b) { return b < a ? b : a; }
PD_INTEGER_EXTREME(int) PD_INTEGER_EXTREME(unsigned) PD_INTEGER_EXTREME(long) PD_INTEGER_EXTREME(unsigned long)
PD_INTEGER_EXTREME(long long) PD_INTEGER_EXTREME(unsigned long long)
static inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
static inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
static inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
static inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
extern "C" int abs(int) noexcept;
static inline long long abs(long long v) { return v < 0 ? -v : v; }
static inline long abs(long v) { return v < 0 ? -v : v; }
static inline long long llabs(long long v) { return v < 0 ? -v : v; }
static inline float abs(float v) { return fabsf(v); }
static inline double abs(double v) { return fabs(v); }
template <class T> static inline bool isnan(T v) { return v != v; }
template <class T> static inline bool isinf(T v) { return __builtin_isinf(v); }
template <class T> static inline bool isfinite(T v) { return __builtin_isfinite(v); }
template <class T> static inline bool signbit(T v) { return __builtin_signbit(v); }

static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frcp_rn(float a) { return 1.0f / a; }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
static inline double __dsqrt_rn(double a) { return sqrt(a); }
static inline double __drcp_rn(double a) { return 1.0 / a; }
static inline float __expf(float x) { return expf(x); }
static inline float __logf(float x) { return logf(x); }
static inline float __log2f(float x) { return log2f(x); }
static inline float __sinf(float x) { return sinf(x); }
static inline float __cosf(float x) { return cosf(x); }
static inline float __powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }

#define PD_CONVERT(F, prefix, round, suffix)                                                         \
  static inline int prefix##2int_##suffix(F v) {                                                     \
    return pd_host::saturated<int, F>(round(v), F(-2147483648.0), F(2147483648.0), -2147483647 - 1, 2147483647); \
  }                                                                                                  \
  static inline unsigned prefix##2uint_##suffix(F v) {                                               \
    return pd_host::saturated<unsigned, F>(round(v), F(0), F(4294967296.0), 0u, 0xffffffffu);        \
  }                                                                                                  \
  static inline long long prefix##2ll_##suffix(F v) {                                                \
    return pd_host::saturated<long long, F>(round(v), F(-9223372036854775808.0), F(9223372036854775808.0), \
                                            -9223372036854775807ll - 1, 9223372036854775807ll);      \
  }                                                                                                  \
  static inline unsigned long long prefix##2ull_##suffix(F v) {                                      \
    return pd_host::saturated<unsigned long long, F>(round(v), F(0), F(18446744073709551616.0), 0ull, ~0ull); \
  }
PD_CONVERT(float, __float, rintf, rn) PD_CONVERT(float, __float, truncf, rz)
PD_CONVERT(float, __float, floorf, rd) PD_CONVERT(float, __float, ceilf, ru)
PD_CONVERT(double, __double, rint, rn) PD_CONVERT(double, __double, trunc, rz)
PD_CONVERT(double, __double, floor, rd) PD_CONVERT(double, __double, ceil, ru)
static inline float __int2float_rn(int v) { return (float)v; }
static inline float __uint2float_rn(unsigned v) { return (float)v; }
static inline float __ll2float_rn(long long v) { return (float)v; }
static inline float __ull2float_rn(unsigned long long v) { return (float)v; }
static inline double __ll2double_rn(long long v) { return (double)v; }
static inline double __ull2double_rn(unsigned long long v) { return (double)v; }
static inline float __double2float_rn(double v) { return (float)v; }

#undef PD_ATOMIC
#undef PD_ATOMIC_BITS
#undef PD_ATOMIC_CAS
#undef PD_ATOMIC_ORDER
#undef PD_CONVERT
#undef PD_EXTREME
#undef PD_HERE
#undef PD_INTEGER_EXTREME
#undef PD_MATH1
#undef PD_MATH2
#undef PD_SHUFFLE
#undef PD_VECTOR
)host";

}  // namespace pd_host
