// Numbers as the 64-bit words in which programs, texts and plans carry them: of a narrower type the low bits.
#pragma once
#include <cstdint>
#include <cstring>
#include <limits>

#include "base/dtype.h"
#include "graph/op_traits.h"

namespace pd {

template <class T> int64_t bits_of(T v) {
  static_assert(sizeof(T) <= sizeof(int64_t), "a number of one word");
  int64_t b = 0;
  std::memcpy(&b, &v, sizeof v);
  return b;
}
template <class T> T value_of(int64_t b) {
  T v;
  std::memcpy(&v, &b, sizeof v);
  return v;
}

// What a reduction starts from.
inline int64_t identity_bits(ReduceKind k, DType t) {
  auto of = [&](double f, int64_t i) {
    if (t == DType::F32) return bits_of<float>(static_cast<float>(f));
    return t == DType::F64 ? bits_of<double>(f) : i;
  };
  constexpr double inf = std::numeric_limits<double>::infinity();
  switch (k) {
    case ReduceKind::Prod:
    case ReduceKind::All: return of(1, 1);
    case ReduceKind::Max: return of(-inf, t == DType::Bool || is_unsigned(t) ? 0 : t == DType::I32 ? int64_t{INT32_MIN} : INT64_MIN);
    case ReduceKind::Min: return of(inf, t == DType::Bool ? 1 : is_unsigned(t) ? -1 : t == DType::I32 ? int64_t{INT32_MAX} : INT64_MAX);
    default: return of(0, 0);
  }
}

}  // namespace pd
