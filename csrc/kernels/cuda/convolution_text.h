// CUDA C++ of convolutions without tensor cores, behind convolution_parts_text.h.
//
// Each sum has its terms added in the order of k by fused multiply-adds, but where k is split: there parts of the sum go to
// memory and `convolution_sum` adds them in their order. So bits depend on the shape alone.
#pragma once

namespace pd {
namespace cuda {

// Where an element lies in a tile.
inline const char* const kRegisterPlacesText = R"cuda(
PD_DEVICE int place_w(int m, int k) { return k * (BM + 4) + m; }
PD_DEVICE int place_x(int k, int n) { return k * (BN + 4) + n; }
)cuda";

// Tiles of BM x BN, of which a thread makes TM x TN, by fours; of those in shared memory one is read while the next is written.
inline const char* const kRegisterTilesText = R"cuda(
struct NoCopies {};

// Four neighbours in shared memory.
struct Four { Sum v[4]; };
PD_DEVICE Four read_four(const T* from) {
  Four r;
  if constexpr (KIND != 0) {
    const uint2 two = *(const uint2*)from;
    r.v[0] = value_of((T)two.x), r.v[1] = value_of((T)(two.x >> 16));
    r.v[2] = value_of((T)two.y), r.v[3] = value_of((T)(two.y >> 16));
  } else if constexpr (sizeof(T) == 4) {
    const float4 all = *(const float4*)from;
    r.v[0] = all.x, r.v[1] = all.y, r.v[2] = all.z, r.v[3] = all.w;
  } else {
    const double2 low = *(const double2*)from, high = *(const double2*)(from + 2);
    r.v[0] = low.x, r.v[1] = low.y, r.v[2] = high.x, r.v[3] = high.y;
  }
  return r;
}

PD_KERNEL __launch_bounds__(kThreads, 2) convolution(const Params p) {
  constexpr int kAcross = BN / TN, kQuadsM = TM / 4, kQuadsN = TN / 4;  // threads across; quads of a thread
  __shared__ __align__(16) T tile_w[2][BK * (BM + 4)];
  __shared__ __align__(16) T tile_x[2][BK * (BN + 4)];
  __shared__ Place places[WindowTiles::kPlaces];
  const TileOf at = tile_of(p);
  const u32 begin = at.split * p.split;
  const int tiles = tiles_along_k(p, begin), y = threadIdx.x / kAcross * 4, x = threadIdx.x % kAcross * 4;
  NoCopies none;
  WindowTiles source(p, at.group, at.m, at.n, begin, places);
  Sum sum[TM][TN];
#pragma unroll
  for (int i = 0; i < TM; ++i)
#pragma unroll
    for (int j = 0; j < TN; ++j) sum[i][j] = 0;
  if (tiles) source.ask(none, tile_w[0], tile_x[0], 0);
  source.prepare(1);
  if (tiles) source.put(tile_w[0], tile_x[0]);
  __syncthreads();
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
    const int now = t & 1;
    if (t + 1 < tiles) source.ask(none, tile_w[now ^ 1], tile_x[now ^ 1], t + 1);
    source.prepare(t + 2);
#pragma unroll
    for (int k = 0; k < BK; ++k) {
      Sum u[TM], v[TN];
#pragma unroll
      for (int q = 0; q < kQuadsM; ++q) {
        const auto four = read_four(&tile_w[now][place_w(q * (BM / kQuadsM) + y, k)]);
#pragma unroll
        for (int i = 0; i < 4; ++i) u[q * 4 + i] = four.v[i];
      }
#pragma unroll
      for (int q = 0; q < kQuadsN; ++q) {
        const auto four = read_four(&tile_x[now][place_x(k, q * (BN / kQuadsN) + x)]);
#pragma unroll
        for (int i = 0; i < 4; ++i) v[q * 4 + i] = four.v[i];
      }
#pragma unroll
      for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; ++j) sum[i][j] = fma(u[i], v[j], sum[i][j]);
    }
    if (t + 1 < tiles) source.put(tile_w[now ^ 1], tile_x[now ^ 1]);
    __syncthreads();
  }
#pragma unroll
  for (int j = 0; j < TN; ++j) {
    const u32 n = at.n + j / 4 * (BN / kQuadsN) + x + j % 4;
    if (n >= p.n) continue;
    const i64 place = p.partial ? 0 : at.group * p.y_group + result_place(p, n);
#pragma unroll
    for (int i = 0; i < TM; ++i) {
      const u32 m = at.m + i / 4 * (BM / kQuadsM) + y + i % 4;
      if (m >= p.m) continue;
      if (p.partial) p.partial[partial_place(p, at.group, at.split, m, n)] = sum[i][j];
      else p.y[place + m * p.y_row] = element_of(sum[i][j]);
    }
  }
}
)cuda";

// Few output channels a group (ROWS, all of them), as in a depthwise convolution, where tiles would be mostly empty.
inline const char* const kFewConvolutionText = R"cuda(
// A window a thread.
PD_KERNEL __launch_bounds__(256) convolution_few(const Params p) {
  __shared__ Place table[256];
  const u32 across = (p.n + 255) / 256, group = blockIdx.x / across, n = blockIdx.x % across * 256 + threadIdx.x;
  const T* const w = p.w + group * p.w_group;
  const Place column = window(p, n);
  const T* const x = p.x + group * p.x_group + column.x;
  Sum sum[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sum[r] = 0;
  for (u32 k0 = 0; k0 < p.k; k0 += 256) {
    __syncthreads();
    table[threadIdx.x] = within(p, k0 + threadIdx.x);
    __syncthreads();
    const int count = p.k - k0 < 256 ? (int)(p.k - k0) : 256;
#pragma unroll 4
    for (int k = 0; k < count; ++k) {
      const Place row = table[k];
      const Sum v = inside(p, column, row) ? value_of(__ldg(x + row.x)) : (Sum)0;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) sum[r] = fma(value_of(__ldg(w + row.w + (Index)r * (Index)p.w_row)), v, sum[r]);
    }
  }
  if (n >= p.n) return;
  const i64 place = group * p.y_group + result_place(p, n);
#pragma unroll
  for (int r = 0; r < ROWS; ++r) p.y[place + r * p.y_row] = element_of(sum[r]);
}

)cuda";

inline const char* const kLongConvolutionText = R"cuda(
// Few windows too, and a long k: a thread has every 256th k of COLS windows, and the threads' sums are added in a tree.
PD_KERNEL __launch_bounds__(256) convolution_long(const Params p) {
  __shared__ Place windows[COLS];
  __shared__ Sum part[COLS][257];
  __shared__ Sum lanes[COLS][33];
  const u32 across = (p.n + COLS - 1) / COLS, n0 = blockIdx.x % across * COLS;
  const u32 split = blockIdx.x / across % p.splits, group = blockIdx.x / across / p.splits;
  const T* const w = p.w + group * p.w_group;
  const T* const x = p.x + group * p.x_group;
  if (threadIdx.x < COLS) windows[threadIdx.x] = window(p, n0 + threadIdx.x);
  __syncthreads();
  Sum sum[ROWS][COLS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int c = 0; c < COLS; ++c) sum[r][c] = 0;
  const u32 begin = split * p.split, end = p.k - begin < p.split ? p.k : begin + p.split;
#pragma unroll 1
  for (u32 k = begin + threadIdx.x; k < end; k += 256) {
    const Place row = within(p, k);
    Sum u[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) u[r] = value_of(__ldg(w + row.w + (Index)r * (Index)p.w_row));
#pragma unroll
    for (int c = 0; c < COLS; ++c) {
      const Place column = windows[c];
      const Sum v = inside(p, column, row) ? value_of(__ldg(x + row.x + column.x)) : (Sum)0;
#pragma unroll
      for (int r = 0; r < ROWS; ++r) sum[r][c] = fma(u[r], v, sum[r][c]);
    }
  }
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
#pragma unroll
    for (int c = 0; c < COLS; ++c) part[c][threadIdx.x] = sum[r][c];
    __syncthreads();
    for (int c = threadIdx.x / 32; c < COLS; c += 8) {
      Sum s = part[c][lane];
#pragma unroll
      for (int q = 32; q < 256; q += 32) s += part[c][lane + q];
      lanes[c][lane] = s;
    }
    __syncthreads();
    const u32 n = n0 + threadIdx.x;
    if (threadIdx.x < COLS && n < p.n) {
      Sum s = lanes[threadIdx.x][0];
      for (int q = 1; q < 32; ++q) s += lanes[threadIdx.x][q];
      if (p.partial) p.partial[partial_place(p, group, split, r, n)] = s;
      else p.y[group * p.y_group + r * p.y_row + result_place(p, n)] = element_of(s);
    }
    __syncthreads();
  }
}
)cuda";

// The parts of sums whose k was split, in their order.
inline const char* const kConvolutionSumText = R"cuda(
PD_KERNEL __launch_bounds__(256) convolution_sum(const Params p, i64 results) {
  for (i64 e = (i64)blockIdx.x * 256 + threadIdx.x; e < results; e += (i64)gridDim.x * 256) {
    const u32 n = (u32)(e % p.n), m = (u32)(e / p.n % p.m), group = (u32)(e / p.n / p.m);
    const Sum* const from = p.partial + partial_place(p, group, 0, m, n);
    const i64 step = (i64)p.m * p.n;
    Sum sum = from[0];
    for (u32 s = 1; s < p.splits; ++s) sum += from[s * step];
    p.y[group * p.y_group + m * p.y_row + result_place(p, n)] = element_of(sum);
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
