// CUDA C++ of convolutions of 16-bit floats on tensor cores: the loop of tiled_gemm_text.h over tiles that
// convolution_parts_text.h brings. Sums are float32, their terms added in the order of k, 16 at a time.
//
// Registers of a thread and bytes of spills, by ptxas of CUDA 13.0, of 3x3 kernels in contiguous images (16-bit), and of the
// float32 tiles of convolution_text.h:
//                       rows   sm_80      sm_90a
//   result                64   128, 0     128, 0
//                        128   220, 0     236, 0
//   of the input          64   128, 0     128, 0
//                        128   222, 0     244, 0
//   of the weight         64   128, 52    128, 0
//   channels-last         64    96, 0      94, 0
//   float32, result       64    77, 0      87, 0
//                        128   120, 0     128, 0
#pragma once

namespace pd {
namespace cuda {

constexpr int kConvolutionStages = 3;

// Where an element lies in a tile, behind gemm_parts_text.h.
inline const char* const kConvolutionPlacesText = R"cuda(
PD_DEVICE int place_w(int m, int k) {
  return W_ACROSS ? chunk_place<BK, BM>(k, m / 8) + m % 8 : chunk_place<BM, BK>(m, k / 8) + k % 8;
}
PD_DEVICE int place_x(int k, int n) {
  return X_ACROSS ? chunk_place<BK, BN>(k, n / 8) + n % 8 : chunk_place<BN, BK>(n, k / 8) + k % 8;
}
)cuda";

inline const char* const kConvolutionTilesText = R"cuda(
// Eight neighbours of a tile as results, or as parts of their sums.
struct StoreWindows {
  const Params& p;
  const TileOf& at;

  __device__ __forceinline__ void operator()(int row, int col, const f32* from) const {
    const u32 m = at.m + row, n = at.n + col;
    if (m >= p.m || n >= p.n) return;
    const int count = p.n - n < 8 ? (int)(p.n - n) : 8;
    if (p.partial) {
      f32* const to = p.partial + partial_place(p, at.group, at.split, m, n);
#pragma unroll
      for (int q = 0; q < 8; ++q)
        if (q < count) to[q] = from[q];
      return;
    }
    T* const to = p.y + at.group * p.y_group + m * p.y_row;
    u32 rest = n;
    const bool together = next_digit(p.y_digits, 0, rest) + count <= p.y_digits.size[0];
    const i64 first = result_place(p, n);
    if (OUT_UNIT == 16 && together && count == 8) {
      f32 v[8];
#pragma unroll
      for (int q = 0; q < 8; ++q) v[q] = from[q];
      store_eight(to + first, v, 8);
    } else if (together) {
#pragma unroll
      for (int q = 0; q < 8; ++q)
        if (q < count) to[first + q * p.n_y[0]] = element_of(from[q]);
    } else {
#pragma unroll 1
      for (int q = 0; q < count; ++q) to[result_place(p, n + q)] = element_of(from[q]);
    }
  }
};

// Tiles of 64 rows are to run two at a time, in 128 registers a thread. ptxas spills more where single elements are read on
// both sides and the card is sm_120, and a block then runs alone.
#if !defined(PD_HOST) && __CUDA_ARCH__ >= 1200
constexpr int kAtOnceAtLeast = 1;
#else
constexpr int kAtOnceAtLeast = BM == 64 ? 2 : 1;
#endif

PD_KERNEL __launch_bounds__(kThreads, kAtOnceAtLeast) convolution_tiles(const Params p) {
  PD_DYNAMIC_SHARED(shared);
  __shared__ Place places[WindowTiles::kPlaces];
  const int warp = threadIdx.x / 32, down = warp / WARPS_N * kRows, right = warp % WARPS_N * kCols;
  const TileOf at = tile_of(p);
  const u32 begin = at.split * p.split;
  WindowTiles source(p, at.group, at.m, at.n, begin, places);
  f32 sum[kDown][kAcross][4];
  clear(sum);
  add_products(sum, source, (u16*)shared, tiles_along_k(p, begin));
  put_out<16>(sum, (f32*)shared + warp * 16 * kPitch, down, right, StoreWindows{p, at});
}
)cuda";

}  // namespace cuda
}  // namespace pd
