// CUDA C++ of argmax and argmin. A head gives T (in memory), W (in registers: what shuffles can move), Ix (signed),
// MAX, LANES (8, 32 or 256: threads a row) and VECTOR.
//
// The answer is the least place in an order of (value, place): NaN before all numbers, then better values, then the
// place itself. That order is total, so the cut of a row into lanes and parts does not matter.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kArgText = R"cuda(
struct Best { W v; Ix at; };
constexpr int kVector = VECTOR ? 16 / sizeof(T) : 1;
struct alignas(VECTOR ? 16 : sizeof(T)) Pack { T v[kVector]; };

PD_DEVICE bool beats(W x, W best) { return MAX ? x > best : x < best; }
// Does x, further along the axis, take the place of best?
PD_DEVICE bool replaces(W x, W best) { return beats(x, best) | ((x != x) & (best == best)); }
PD_DEVICE Best join(Best a, Best b) {
  bool up = replaces(b.v, a.v) | (!replaces(a.v, b.v) & (b.at < a.at));
  return up ? b : a;
}
PD_DEVICE void see(Best& best, W x, Ix at) {
  bool up = replaces(x, best.v);
  best.v = up ? x : best.v;
  best.at = up ? at : best.at;
}
template <int lanes>
PD_DEVICE Best best_of_lanes(Best b) {
#pragma unroll
  for (int d = lanes / 2; d; d >>= 1) {
    Best o;
    o.v = __shfl_xor_sync(PD_ALL, b.v, d);
    o.at = __shfl_xor_sync(PD_ALL, b.at, d);
    b = join(b, o);
  }
  return b;
}

// Rows of n neighbours, each in `parts` parts of `per`: LANES threads a part.
PD_KERNEL arg_rows(const T* __restrict__ x, i64* __restrict__ places, Ix rows, Ix n, Ix parts, Ix per) {
  constexpr int kGroups = 256 / LANES;
  int lane = threadIdx.x % LANES, group = threadIdx.x / LANES;
  Ix total = rows * parts;
  for (Ix b = blockIdx.x * kGroups; b < total; b += gridDim.x * kGroups) {
    bool live = b + group < total;
    Ix g = live ? b + group : total - 1;  // all lanes of a warp go on to the shuffles
    Ix row = g / parts, begin = (g - row * parts) * per, end = begin + per < n ? begin + per : n;
    const T* from = x + row * n;
    Best best = {from[begin], begin};
    if (VECTOR) {  // n, begin and end are multiples of kVector
#pragma unroll 4
      for (Ix j = begin + lane * kVector; j < end; j += LANES * kVector) {
        Pack p = *(const Pack*)(from + j);
#pragma unroll
        for (int q = 0; q < kVector; ++q) see(best, p.v[q], j + q);
      }
    } else {
#pragma unroll 4
      for (Ix j = begin + lane; j < end; j += LANES) see(best, from[j], j);
    }
    best = best_of_lanes<LANES < 32 ? LANES : 32>(best);
    if (LANES == 256) {
      __shared__ Best warps[8];
      __syncthreads();  // those of the row before have been read
      if ((threadIdx.x & 31) == 0) warps[threadIdx.x >> 5] = best;
      __syncthreads();
      best = warps[threadIdx.x & 7];
      best = best_of_lanes<8>(best);
    }
    if (live && lane == 0) places[g] = best.at;
  }
}

// Columns beside each other, x (outer, n, inner): a thread for each part of a column.
PD_KERNEL arg_columns(const T* __restrict__ x, i64* __restrict__ places, Ix outer, Ix n, Ix inner, Ix parts, Ix per) {
  Ix columns = outer * inner;
  for (Ix i = blockIdx.x * blockDim.x + threadIdx.x; i < columns * parts; i += gridDim.x * blockDim.x) {
    Ix part = i / columns, column = i - part * columns;
    Ix begin = part * per, end = begin + per < n ? begin + per : n;
    Ix o = column / inner;
    const T* from = x + o * n * inner + (column - o * inner);
    Best best = {from[begin * inner], begin};
#pragma unroll 4
    for (Ix j = begin + 1; j < end; ++j) see(best, from[j * inner], j);
    places[column * parts + part] = best.at;
  }
}

// The best of the parts' places: a warp for each result.
PD_KERNEL arg_parts(const T* __restrict__ x, const i64* __restrict__ places, i64* __restrict__ out, Ix outer, Ix n,
                    Ix inner, Ix parts) {
  int lane = threadIdx.x & 31;
  for (Ix c = blockIdx.x * 8 + (threadIdx.x >> 5); c < outer * inner; c += gridDim.x * 8) {
    Ix o = c / inner;
    const T* from = x + o * n * inner + (c - o * inner);
    const i64* at = places + c * parts;
    Best best = {from[(Ix)at[0] * inner], (Ix)at[0]};
    for (Ix p = lane; p < parts; p += 32) see(best, from[(Ix)at[p] * inner], (Ix)at[p]);
    best = best_of_lanes<32>(best);
    if (lane == 0) out[c] = best.at;
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
