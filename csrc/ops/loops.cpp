// The loops of all rows for one instruction set, PD_ISA. What is a template here lies in an unnamed namespace: the
// linker must not share a function between objects of different instruction sets.
#include "ops/loops.h"

#ifdef __F16C__
#include <immintrin.h>
#endif

#include "ops/op_ids.h"
#include "ops/rows_value.h"
#include "ops/vmath/narrow.h"

namespace pd {
namespace {

constexpr int kCheap = 4;  // up to this cost reading a repeated operand from memory would show

template <class T> struct memory { using type = T; };
template <> struct memory<bool> { using type = uint8_t; };
template <class T> using memory_t = typename memory<T>::type;

template <class T> PD_INLINE V<T> load(const memory_t<T>* p, int64_t i) {
  if constexpr (std::is_same<T, bool>::value) return V<T>(p[i] != 0);
  else return V<T>(p[i]);
}
template <class T> PD_INLINE const memory_t<T>* array(const void* p) { return static_cast<const memory_t<T>*>(p); }

template <class Row, class T> void loop1(const void* const* in, void* out, int64_t n) {
  using O = typename decltype(Row::fwd(V<T>()))::scalar;
  const auto* x = array<T>(in[0]);
  auto* y = static_cast<memory_t<O>*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<memory_t<O>>(Row::fwd(load<T>(x, i)).v);
}

template <class Row, class T, LoopShape shape> void loop2(const void* const* in, void* out, int64_t n) {
  using O = typename decltype(Row::fwd(V<T>(), V<T>()))::scalar;
  const auto* a = array<T>(in[0]);
  const auto* b = array<T>(in[1]);
  auto* y = static_cast<memory_t<O>*>(out);
  if constexpr (shape == LoopShape::Arrays) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<memory_t<O>>(Row::fwd(load<T>(a, i), load<T>(b, i)).v);
  } else if constexpr (shape == LoopShape::RightScalar) {
    const V<T> s = load<T>(b, 0);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<memory_t<O>>(Row::fwd(load<T>(a, i), s).v);
  } else {
    const V<T> s = load<T>(a, 0);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<memory_t<O>>(Row::fwd(s, load<T>(b, i)).v);
  }
}

template <class Row, class T> void loop3(const void* const* in, void* out, int64_t n) {
  using O = typename decltype(Row::fwd(V<bool>(), V<T>(), V<T>()))::scalar;
  const auto* a = array<bool>(in[0]);
  const auto* b = array<T>(in[1]);
  const auto* c = array<T>(in[2]);
  auto* y = static_cast<memory_t<O>*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<memory_t<O>>(Row::fwd(load<bool>(a, i), load<T>(b, i), load<T>(c, i)).v);
}

template <class Row, class F> void loop_draw(const void* const* in, void* out, int64_t n) {
  const auto* a = array<int64_t>(in[0]);
  const auto* b = array<int64_t>(in[1]);
  const auto* c = array<int64_t>(in[2]);
  auto* y = static_cast<F*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    y[i] = Row::template fwd<V<F>>(V<int64_t>(a[i]), V<int64_t>(b[i]), V<int64_t>(c[i])).v;
}

template <class From, class To> void loop_cast(const void* const* in, void* out, int64_t n) {
  const auto* x = array<From>(in[0]);
  auto* y = static_cast<memory_t<To>*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<memory_t<To>>(cast<To>(load<From>(x, i)).v);
}

// Between a narrow type N and a type to compute with.
template <class N, class Carrier> void loop_widen(const void* const* in, void* out, int64_t n) {
  using T = typename decltype(N::widen(V<Carrier>()))::scalar;
  const auto* x = static_cast<const typename N::memory*>(in[0]);
  auto* y = static_cast<T*>(out);
  int64_t from = 0;
#ifdef __F16C__
  if constexpr (std::is_base_of<Float16, N>::value)
    for (; from + 8 <= n; from += 8)
      _mm256_storeu_ps(y + from, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x + from))));
#endif
#pragma omp simd
  for (int64_t i = from; i < n; ++i) y[i] = N::widen(V<Carrier>(x[i])).v;
}
template <class N, class T> void loop_narrow(const void* const* in, void* out, int64_t n) {
  const auto* x = static_cast<const T*>(in[0]);
  auto* y = static_cast<typename N::memory*>(out);
  int64_t from = 0;
#ifdef __F16C__
  if constexpr (std::is_base_of<Float16, N>::value && std::is_same<T, float>::value)
    for (; from + 8 <= n; from += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(y + from),
                       _mm256_cvtps_ph(_mm256_loadu_ps(x + from), _MM_FROUND_TO_NEAREST_INT));
#endif
#pragma omp simd
  for (int64_t i = from; i < n; ++i) y[i] = static_cast<typename N::memory>(N::narrow(V<T>(x[i])).v);
}
template <class M> void loop_copy(const void* const* in, void* out, int64_t n) {
  const auto* x = static_cast<const M*>(in[0]);
  auto* y = static_cast<M*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = x[i];
}

template <class Row, class T, bool cheap> LoopFn make(LoopShape shape) {
  if constexpr (Row::arity == 2) {
    if constexpr (cheap) {
      if (shape == LoopShape::RightScalar) return loop2<Row, T, LoopShape::RightScalar>;
      if (shape == LoopShape::LeftScalar) return loop2<Row, T, LoopShape::LeftScalar>;
    }
    return shape == LoopShape::Arrays ? loop2<Row, T, LoopShape::Arrays> : nullptr;
  } else {
    if (shape != LoopShape::Arrays) return nullptr;
    if constexpr (Row::out == RowOut::Draw) return loop_draw<Row, T>;
    else if constexpr (Row::arity == 1) return loop1<Row, T>;
    else return loop3<Row, T>;
  }
}

template <class Row, bool cheap> LoopFn pick(DType in, DType out, LoopShape shape) {
  constexpr bool draw = Row::out == RowOut::Draw;
  if (draw ? in != DType::I64 : out != (Row::out == RowOut::Bool ? DType::Bool : in)) return nullptr;
  switch (draw ? out : in) {
    case DType::Bool:
      if constexpr (Row::types & kB) return make<Row, bool, cheap>(shape);
      break;
    case DType::I32:
      if constexpr (Row::types & kI32) return make<Row, int32_t, cheap>(shape);
      break;
    case DType::I64:
      if constexpr (Row::types & kI64) return make<Row, int64_t, cheap>(shape);
      break;
    case DType::U64:
      if constexpr (Row::types & kU64) return make<Row, uint64_t, cheap>(shape);
      break;
    case DType::F32:
      if constexpr (Row::types & kF32) return make<Row, float, cheap>(shape);
      break;
    case DType::F64:
      if constexpr (Row::types & kF64) return make<Row, double, cheap>(shape);
      break;
    default:
      break;
  }
  return nullptr;
}

template <class From> LoopFn cast_from(DType out) {
  switch (out) {
    case DType::Bool: return loop_cast<From, bool>;
    case DType::I32: return loop_cast<From, int32_t>;
    case DType::I64: return loop_cast<From, int64_t>;
    case DType::U64: return loop_cast<From, uint64_t>;
    case DType::F32: return loop_cast<From, float>;
    case DType::F64: return loop_cast<From, double>;
    default: return nullptr;
  }
}

// Of a narrow type there are conversions to its compute type and from the types that narrow_from names: others go
// through these.
LoopFn pick_narrow(DType in, DType out) {
  return with_narrow(is_narrow(in) ? in : out, [&](auto narrow) -> LoopFn {
    using N = decltype(narrow);
    if constexpr (!std::is_same<N, int>::value) {
      if (in == out) return loop_copy<typename N::memory>;
      if constexpr (std::is_same<N, narrow_of<DType::F16>>::value || std::is_same<N, narrow_of<DType::BF16>>::value) {
        if (is_narrow(in)) return out == DType::F32 ? loop_widen<N, int32_t> : nullptr;
        return in == DType::F32 ? loop_narrow<N, float> : in == DType::F64 ? loop_narrow<N, double> : nullptr;
      } else {
        using C = std::conditional_t<sizeof(typename N::memory) == 4, int64_t, int32_t>;
        if (is_narrow(in)) return out == compute_type(in) ? loop_widen<N, C> : nullptr;
        return in == compute_type(out) ? loop_narrow<N, C> : nullptr;
      }
    } else {
      return nullptr;
    }
  });
}

LoopFn pick_cast(DType in, DType out, LoopShape shape) {
  if (shape != LoopShape::Arrays) return nullptr;
  if (is_narrow(in) || is_narrow(out)) return pick_narrow(in, out);
  switch (in) {
    case DType::Bool: return cast_from<bool>(out);
    case DType::I32: return cast_from<int32_t>(out);
    case DType::I64: return cast_from<int64_t>(out);
    case DType::U64: return cast_from<uint64_t>(out);
    case DType::F32: return cast_from<float>(out);
    case DType::F64: return cast_from<double>(out);
    default: return nullptr;
  }
}

}  // namespace

#define PD_PASTE(a, b) a##b
#define PD_NAME(isa) PD_PASTE(loop_, isa)

LoopFn PD_NAME(PD_ISA)(OpId op, DType in, DType out, LoopShape shape) {
  switch (op) {
#define ROW1(name, ...) \
  case op::name: return pick<rows::name, false>(in, out, shape);
#define ROW2(name, TYPES, OUT, FWD, DERIVATIVES, COST, ...) \
  case op::name: return pick<rows::name, (COST <= kCheap)>(in, out, shape);
#define ROW3(name, ...) \
  case op::name: return pick<rows::name, false>(in, out, shape);
#define DRAW(name, ...) \
  case op::name: return pick<rows::name, false>(in, out, shape);
#include "ops/all_rows.inc"
    case op::cast: return pick_cast(in, out, shape);
    default: return nullptr;
  }
}

}  // namespace pd
