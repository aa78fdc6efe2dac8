// CUDA C++ of topk for rows of at most 32 SLOTS elements: a warp a row, element j in slot j / 32 of lane j % 32, nothing
// sorted and nothing in memory.
//
//   k times:  the best of all lanes, by shuffles | its lane marks it as taken and looks for its next best
//
// An element's key is an unsigned number, larger where it comes earlier: so one comparison serves all types, NaN and both
// directions. Of equal keys the smaller place wins; that order is total. A head gives T (in memory), Key (u32 or u64), FLOAT,
// SIGNED, LARGEST, SLOTS and Ix.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kTopkText = R"cuda(
struct Best { Key key; i32 at; };

PD_DEVICE u32 bits_of(f32 x) { return __float_as_uint(x); }
PD_DEVICE u64 bits_of(f64 x) { return (u64)__double_as_longlong(x); }
PD_DEVICE u32 bits_of(i32 x) { return (u32)x; }
PD_DEVICE u64 bits_of(i64 x) { return (u64)x; }
PD_DEVICE u64 bits_of(u64 x) { return x; }

PD_DEVICE Key key_of(T x) {
  const Key high = (Key)1 << (8 * sizeof(T) - 1);
  Key key = bits_of(FLOAT ? (T)(x + (T)0) : x);  // -0 becomes 0
  if (FLOAT) key = x != x ? ~(Key)0 : key & high ? ~key : key | high;
  else if (SIGNED) key ^= high;
  return LARGEST ? key : ~key;
}
PD_DEVICE Best earlier(Best a, Best b) {
  const bool second = (b.key > a.key) | ((b.key == a.key) & (b.at < a.at));
  Best r;
  r.key = second ? b.key : a.key;
  r.at = second ? b.at : a.at;
  return r;
}
// The best slot of a lane that is not taken; a place behind all where there is none.
PD_DEVICE Best of_lane(const Key (&keys)[SLOTS], u32 taken, int lane) {
  Best best = {0, 0x7fffffff};
#pragma unroll
  for (int s = 0; s < SLOTS; ++s) {
    const bool better = !(taken >> s & 1) & ((keys[s] > best.key) | (best.at == 0x7fffffff));
    best.key = better ? keys[s] : best.key;
    best.at = better ? s * 32 + lane : best.at;
  }
  return best;
}

// x (outer, n, inner) -> places (outer, k, inner)
PD_KERNEL __launch_bounds__(256) topk_rows(const T* __restrict__ x, i64* __restrict__ places, Ix outer, Ix n, Ix inner,
                                           Ix k) {
  const int lane = threadIdx.x & 31;
  for (Ix row = blockIdx.x * 8 + (threadIdx.x >> 5); row < outer * inner; row += gridDim.x * 8) {
    const Ix o = row / inner, i = row - o * inner;
    const T* const from = x + o * n * inner + i;
    i64* const to = places + o * k * inner + i;
    Key keys[SLOTS];
    u32 taken = 0;
#pragma unroll
    for (int s = 0; s < SLOTS; ++s) {
      const bool there = s * 32 + lane < n;
      keys[s] = there ? key_of(from[(s * 32 + lane) * inner]) : 0;
      taken |= there ? 0u : 1u << s;
    }
    Best mine = of_lane(keys, taken, lane);
    i32 found = 0;
    for (int r = 0; r < (int)k; ++r) {
      Best best = mine;
#pragma unroll
      for (int d = 16; d; d >>= 1) {
        Best other;
        other.key = __shfl_xor_sync(PD_ALL, best.key, d);
        other.at = __shfl_xor_sync(PD_ALL, best.at, d);
        best = earlier(best, other);
      }
      if (lane == (best.at & 31)) {
        taken |= 1u << (best.at >> 5);
        mine = of_lane(keys, taken, lane);
      }
      // Each lane keeps one of 32 results, so that they are stored beside each other.
      found = lane == (r & 31) ? best.at : found;
      if ((r & 31) == 31 || r + 1 == (int)k)
        if (lane <= (r & 31)) to[((r & ~31) + lane) * inner] = found;
    }
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
