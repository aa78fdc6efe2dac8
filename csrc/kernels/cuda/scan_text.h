// CUDA C++ of running sums. A head gives T, Ix (signed), ITEMS, WARPS, VECTOR; one of the three kinds of State follows
// it; then kScanText.
//
// A State is what a sum of some neighbours is known as: `with` adds one element after them exactly as the CPU does,
// `join` puts two runs together. So scan_tiles, and scan_columns in one part, are the CPU's additions in the CPU's
// order and the CPU's bits. scan_rows, and sums in several parts, join threads, tiles and parts in an order of their
// own that the shape alone decides:
//   integers  the CPU's bits, for addition that wraps is associative
//   float32   summed in float64 on both sides, so it differs by one rounding where float64's last bits decide it
//   float64   |out - exact| <= u |exact| + O((n u)^2) sum |x|, u = 2^-53, as on the CPU; a partial sum that overflows
//             where the running sum does not makes an infinity that the CPU has not
#pragma once

namespace pd {
namespace cuda {

inline const char* const kWideState = R"cuda(
struct State { f64 s; };
// -0 is neutral: -0 + -0 = -0, where 0 + -0 = 0.
PD_DEVICE State none() { return State{-0.0}; }
PD_DEVICE State with(State a, T x) { return State{a.s + x}; }
PD_DEVICE State join(State a, State b) { return State{a.s + b.s}; }
PD_DEVICE T value(State a) { return (T)a.s; }
PD_DEVICE State below(State a, int lanes) { return State{__shfl_up_sync(PD_ALL, a.s, lanes)}; }
PD_DEVICE State of_lane(State a, int lane) { return State{__shfl_sync(PD_ALL, a.s, lane)}; }
)cuda";

inline const char* const kCompensatedState = R"cuda(
struct State { f64 s, e; };  // the sum and the rounding errors of its additions (two-sum)
PD_DEVICE State none() { return State{-0.0, 0.0}; }
PD_DEVICE State with(State a, T x) {
  f64 t = a.s + x, part = t - a.s;
  return State{t, a.e + ((a.s - (t - part)) + (x - part))};
}
PD_DEVICE State join(State a, State b) {
  f64 t = a.s + b.s, part = t - a.s;
  return State{t, (a.e + b.e) + ((a.s - (t - part)) + (b.s - part))};
}
PD_DEVICE T value(State a) {
  // An infinite or NaN sum has no error term, and an error of 0 would turn -0 into 0.
  bool plain = (a.s - a.s != 0) | (a.e == 0);
  return a.s + (plain ? -0.0 : a.e);
}
PD_DEVICE State below(State a, int lanes) {
  return State{__shfl_up_sync(PD_ALL, a.s, lanes), __shfl_up_sync(PD_ALL, a.e, lanes)};
}
PD_DEVICE State of_lane(State a, int lane) {
  return State{__shfl_sync(PD_ALL, a.s, lane), __shfl_sync(PD_ALL, a.e, lane)};
}
)cuda";

// Wide is u32 or u64, what shuffles can move; the low bits are those of a sum in T.
inline const char* const kWrappingState = R"cuda(
struct State { Wide s; };
PD_DEVICE State none() { return State{0}; }
PD_DEVICE State with(State a, T x) { return State{(Wide)(a.s + x)}; }
PD_DEVICE State join(State a, State b) { return State{(Wide)(a.s + b.s)}; }
PD_DEVICE T value(State a) { return (T)a.s; }
PD_DEVICE State below(State a, int lanes) { return State{__shfl_up_sync(PD_ALL, a.s, lanes)}; }
PD_DEVICE State of_lane(State a, int lane) { return State{__shfl_sync(PD_ALL, a.s, lane)}; }
)cuda";

inline const char* const kScanText = R"cuda(
enum Mode { kWhole, kTotals, kFromCarry };
constexpr int kBlockWarps = 8;
constexpr int kTile = WARPS * 32 * ITEMS;  // elements that the warps of a row take at a time
struct alignas(VECTOR ? 16 : sizeof(T)) Pack { T v[ITEMS]; };

// What lies before this lane's run in the warp; `total` is the warp's.
PD_DEVICE State before_lane(State mine, State& total) {
  int lane = threadIdx.x & 31;
  for (int d = 1; d < 32; d <<= 1) {
    State o = below(mine, d);
    if (lane >= d) mine = join(o, mine);
  }
  total = of_lane(mine, 31);
  State before = below(mine, 1);
  return lane ? before : none();
}

// The same in the warps of a row.
PD_DEVICE State before_thread(State mine, State& total) {
  State before = before_lane(mine, total);
  if (WARPS == 1) return before;
  __shared__ State sums[WARPS];
  int warp = threadIdx.x >> 5;
  __syncthreads();  // the sums of the tile before have been read
  if ((threadIdx.x & 31) == 0) sums[warp] = total;
  __syncthreads();
  State lead = none();
  total = none();
  for (int w = 0; w < WARPS; ++w) {
    if (w == warp) lead = total;
    total = join(total, sums[w]);
  }
  return join(lead, before);
}

// Rows of n neighbours in `parts` parts of `per` elements: each thread sums ITEMS, warps and blocks scan the sums.
PD_KERNEL scan_rows(const T* __restrict__ x, T* __restrict__ out, State* carry, Ix rows, Ix n, Ix parts, Ix per,
                    int mode, int reverse) {
  int t = WARPS == 1 ? threadIdx.x & 31 : threadIdx.x;
  Ix groups = WARPS == 1 ? gridDim.x * kBlockWarps : gridDim.x;
  for (Ix g = WARPS == 1 ? blockIdx.x * kBlockWarps + (threadIdx.x >> 5) : blockIdx.x; g < rows * parts; g += groups) {
    Ix row = g / parts, begin = g % parts * per, end = begin + per < n ? begin + per : n;
    const T* from = x + row * n;
    T* to = out + row * n;
    State sum = mode == kFromCarry ? carry[g] : none();
    for (Ix b = begin; b < end; b += kTile) {
      Ix first = b + t * ITEMS;
      Pack p;
      State mine = none(), total;
      if (VECTOR) {  // n, begin and end are multiples of ITEMS
        if (first < end) {
          Pack in = *(const Pack*)(from + (reverse ? n - ITEMS - first : first));
#pragma unroll
          for (int q = 0; q < ITEMS; ++q) p.v[q] = reverse ? in.v[ITEMS - 1 - q] : in.v[q];
        }
      } else {
#pragma unroll
        for (int q = 0; q < ITEMS; ++q)
          if (first + q < end) p.v[q] = from[reverse ? n - 1 - first - q : first + q];
      }
#pragma unroll
      for (int q = 0; q < ITEMS; ++q)
        if (first + q < end) mine = with(mine, p.v[q]);
      State s = join(sum, before_thread(mine, total));
      sum = join(sum, total);
      if (mode == kTotals) continue;
#pragma unroll
      for (int q = 0; q < ITEMS; ++q)
        if (first + q < end) {
          s = with(s, p.v[q]);
          p.v[q] = value(s);
        }
      if (VECTOR) {
        if (first < end) {
          Pack o;
#pragma unroll
          for (int q = 0; q < ITEMS; ++q) o.v[q] = reverse ? p.v[ITEMS - 1 - q] : p.v[q];
          *(Pack*)(to + (reverse ? n - ITEMS - first : first)) = o;
        }
      } else {
#pragma unroll
        for (int q = 0; q < ITEMS; ++q)
          if (first + q < end) to[reverse ? n - 1 - first - q : first + q] = p.v[q];
      }
    }
    if (mode == kTotals && t == 0) carry[g] = sum;
  }
}

// Sums of parts become sums of all parts before: a warp for each of `rows` rows of `parts`.
PD_KERNEL scan_carry(State* carry, Ix rows, Ix parts) {
  int lane = threadIdx.x & 31;
  for (Ix r = blockIdx.x * kBlockWarps + (threadIdx.x >> 5); r < rows; r += gridDim.x * kBlockWarps) {
    State sum = none();
    for (Ix b = 0; b < parts; b += 32) {
      State* at = carry + r * parts + b + lane;
      bool inside = b + lane < parts;
      State mine = inside ? *at : none(), total;
      State before = before_lane(mine, total);
      if (inside) *at = join(sum, before);
      sum = join(sum, total);
    }
  }
}

// Many rows: a warp takes 32 of them through shared memory, a lane each, element after element.
PD_KERNEL __launch_bounds__(128, 1) scan_tiles(const T* __restrict__ x, T* __restrict__ out, Ix rows, Ix n, int reverse) {
  __shared__ T tiles[4][32][33];
  int lane = threadIdx.x & 31;
  T(*tile)[33] = tiles[threadIdx.x >> 5];
  for (Ix first = (blockIdx.x * 4 + (threadIdx.x >> 5)) * 32; first < rows; first += gridDim.x * 128) {
    int height = rows - first < 32 ? (int)(rows - first) : 32;
    State s = none();
    for (Ix b = 0; b < n; b += 32) {
      int width = n - b < 32 ? (int)(n - b) : 32;
      Ix at = first * n + (reverse ? n - 1 - b - lane : b + lane);
      if (lane < width)
        for (int r = 0; r < height; ++r) tile[r][lane] = x[at + r * n];
      __syncwarp();
      if (lane < height)
        for (int q = 0; q < width; ++q) {
          s = with(s, tile[lane][q]);
          tile[lane][q] = value(s);
        }
      __syncwarp();
      if (lane < width)
        for (int r = 0; r < height; ++r) out[at + r * n] = tile[r][lane];
      __syncwarp();
    }
  }
}

// Columns that lie beside each other, x (outer, n, inner): a thread for each part of a column.
PD_KERNEL scan_columns(const T* __restrict__ x, T* __restrict__ out, State* carry, Ix outer, Ix n, Ix inner, Ix parts,
                       Ix per, int mode, int reverse) {
  Ix columns = outer * inner;
  for (Ix i = blockIdx.x * blockDim.x + threadIdx.x; i < columns * parts; i += gridDim.x * blockDim.x) {
    Ix part = i / columns, column = i - part * columns;
    Ix begin = part * per, end = begin + per < n ? begin + per : n;
    Ix o = column / inner, base = o * n * inner + (column - o * inner);
    State s = mode == kFromCarry ? carry[column * parts + part] : none();
#pragma unroll 4
    for (Ix j = begin; j < end; ++j) {
      Ix at = base + (reverse ? n - 1 - j : j) * inner;
      s = with(s, x[at]);
      if (mode != kTotals) out[at] = value(s);
    }
    if (mode == kTotals) carry[column * parts + part] = s;
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
