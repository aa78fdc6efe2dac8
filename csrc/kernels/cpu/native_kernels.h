// The native kernels of the CPU, and what they share: how work is cut, elements by size, an operand seen along one axis.
//
// Cuts may follow the number of threads, because each element of a result is made within one piece, in an order that
// the operands alone decide.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "device/cpu/pool.h"
#include "kernels/native.h"

namespace pd {
namespace cpu {

// Attributes and operands
void argmax(const NativeArgs& a, NativeError& error);        // [axis]; first of equals, the first NaN before all
void argmin(const NativeArgs& a, NativeError& error);        // [axis]
void topk(const NativeArgs& a, NativeError& error);          // [axis, k, largest]; indices, as ops/api.h says
void concatenate(const NativeArgs& a, NativeError& error);   // [axis]; any number of operands
void slice_update(const NativeArgs& a, NativeError& error);  // [start…, stop…, step…]; dst, src
void index(const NativeArgs& a, NativeError& error);         // [n]; x, i0…
void index_put(const NativeArgs& a, NativeError& error);     // [n, accumulate]; x, values, i0…
void gather(const NativeArgs& a, NativeError& error);        // [axis]; x, idx
void scatter(const NativeArgs& a, NativeError& error);       // [axis, accumulate]; x, idx, src
void cumsum(const NativeArgs& a, NativeError& error);        // [axis, reverse]
void convolution(const NativeArgs& a, NativeError& error);   // as ops/convolution.h says; x, w
void attention(const NativeArgs& a, NativeError& error);           // as ops/attention.h says; q, k, v, mask
void attention_backward(const NativeArgs& a, NativeError& error);  // q, k, v, o, lse, do, mask
void sample_log_gamma(const NativeArgs& a, NativeError& error);  // [elements]; shape, stream, key: log of the sample
void sample_poisson(const NativeArgs& a, NativeError& error);    // [elements]; rate, stream, key
void sample_binomial(const NativeArgs& a, NativeError& error);   // [elements]; count, probability, stream, key
void sample_integer(const NativeArgs& a, NativeError& error);    // [elements]; range, stream, key
void log_gamma_slope(const NativeArgs& a, NativeError& error);   // shape, log of the sample
void check_range(const NativeArgs& a, NativeError& error);       // as kernels/check_range.h says; x

constexpr int64_t kParallelElements = 65536;

// Threads for work on this many elements.
inline int threads_for(int64_t elements) { return elements < kParallelElements ? 1 : num_threads(); }

// f(begin, end) over pieces of [0, n), which stand for `elements` in all.
template <class F>
void for_ranges(int64_t n, int64_t elements, F&& f) {
  if (n <= 0) return;
  int threads = threads_for(elements);
  // Several pieces a thread, so that one that is late does not hold up the rest.
  int64_t parts = threads == 1 ? 1 : std::min(n, int64_t(4) * threads);
  auto start = [&](int64_t p) { return n / parts * p + std::min(p, n % parts); };
  parallel_for(parts, [&](int64_t p, int) { f(start(p), start(p + 1)); }, threads);
}

inline void copy_bytes(void* out, const void* in, int64_t bytes) {
  if (out == in || bytes == 0) return;
  for_ranges(bytes, bytes / 4, [&](int64_t b, int64_t e) {
    std::memcpy(static_cast<char*>(out) + b, static_cast<const char*>(in) + b, static_cast<size_t>(e - b));
  });
}

// f(integral_constant<int, N>) where an item of N bytes can be moved in one go; false where it cannot.
template <class F>
bool with_size(int64_t bytes, F&& f) {
  switch (bytes) {
    case 1: f(std::integral_constant<int, 1>()); return true;
    case 2: f(std::integral_constant<int, 2>()); return true;
    case 4: f(std::integral_constant<int, 4>()); return true;
    case 8: f(std::integral_constant<int, 8>()); return true;
    case 16: f(std::integral_constant<int, 16>()); return true;
    default: return false;
  }
}

// A contiguous tensor as (outer, axis, inner).
struct AxisView {
  int64_t outer = 1, n = 1, inner = 1;
  AxisView(const Shape& shape, int64_t axis) {
    for (int i = 0; i < shape.size(); ++i) (i < axis ? outer : i == axis ? n : inner) *= shape[i];
  }
};

}  // namespace cpu
}  // namespace pd
