// CUDA C++ of the product of 16-bit matrices by mma.sync, behind gemm_parts_text.h.
//
// A block of threads makes a tile of BM x BN, warp (y, x) of WARPS_M x WARPS_N its part of it. Tiles of BK along k wait in
// a ring of STAGES places in shared memory; copies run STAGES - 1 tiles ahead of the products:
//
//   for each tile:  ask for the tile STAGES - 1 further on, into the place that was read last
//                   for each 16 of BK: load the next fragments | multiply these
//                   before the last 16: wait for the next tile; barrier
//
// The terms of one sum are added in the order of k, 16 at a time: tile sizes and edges do not change bits (zeros are
// added behind the end), nor does anything else that varies from run to run.
//
// ldmatrix reads eight rows of 16 bytes, which `chunk_place` puts into different banks; where k does not lie inward
// (A_ACROSS, B_ACROSS) it transposes.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kTileLoopText = R"cuda(
// Adds the products of `tiles` tiles along k. A source of tiles has
//   kBarriers                    others may only ask for a tile after a barrier behind prepare()
//   prepare(t)                   tile t will be asked for next but one barrier
//   ask(copies, a, b, t)         copies tile t to shared memory, asynchronously, or to registers
//   put(a, b)                    from these to shared memory
template <class Source>
PD_DEVICE void add_products(f32 (&sum)[kDown][kAcross][4], Source& source, u16* ring, int tiles) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int down = warp / WARPS_N * kRows, right = warp % WARPS_N * kCols;
  AsyncCopies copies;

  // Places of the first matrices that this lane names. Those of other chunks differ in bits that are zero in the first's
  // chunk, so `^` goes there through the change of places.
  u32 fa[2][kDown][4], fb[2][kAcross / 2][4];
  const int low = lane & 7, bit3 = lane >> 3 & 1, bit4 = lane >> 4;
  const int first_a =
      A_ACROSS ? chunk_place<BK, BM>(bit4 * 8 + low, down / 8 + bit3) : chunk_place<BM, BK>(down + bit3 * 8 + low, bit4);
  const int first_b =
      B_ACROSS ? chunk_place<BK, BN>(bit3 * 8 + low, right / 8 + bit4) : chunk_place<BN, BK>(right + bit4 * 8 + low, bit3);
  auto load = [&](int to, int stage, int step) {
    const u16* const tile_a = ring + stage * kStage;
    const u16* const tile_b = tile_a + kTileA;
#pragma unroll
    for (int i = 0; i < kDown; ++i)
      load_matrices<A_ACROSS>(fa[to][i], tile_a + (A_ACROSS ? (first_a ^ i * 16) + step * 16 * BM
                                                            : (first_a ^ step * 16) + i * 16 * BK));
#pragma unroll
    for (int j = 0; j < kAcross / 2; ++j)
      load_matrices<B_ACROSS>(fb[to][j], tile_b + (B_ACROSS ? (first_b ^ j * 16) + step * 16 * BN
                                                            : (first_b ^ step * 16) + j * 16 * BK));
  };

#pragma unroll 1
  for (int t = 0; t < STAGES - 1; ++t) {
    u16* const place = ring + t * kStage;
    if (t < tiles) {
      source.ask(copies, place, place + kTileA, t);
      source.put(place, place + kTileA);
    }
    source.prepare(t + 1);
    copies.commit();
    if constexpr (Source::kBarriers) __syncthreads();
  }
  copies.wait<STAGES - 2>();
  __syncthreads();
  int stage = 0;
  if (tiles) load(0, 0, 0);
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
    const int next = stage + 1 == STAGES ? 0 : stage + 1;
    const bool more = t + STAGES - 1 < tiles;
    u16* const place = ring + (stage ? stage - 1 : STAGES - 1) * kStage;
#pragma unroll
    for (int step = 0; step < BK / 16; ++step) {
      if (step == 0) {
        if (more) source.ask(copies, place, place + kTileA, t + STAGES - 1);
        source.prepare(t + STAGES);
        copies.commit();
      }
      if (step == BK / 16 - 1) {
        if (more) source.put(place, place + kTileA);
        copies.wait<STAGES - 2>();
        __syncthreads();
        if (t + 1 < tiles) load(step + 1 & 1, next, 0);
      } else {
        load(step + 1 & 1, stage, step + 1);
      }
#pragma unroll
      for (int i = 0; i < kDown; ++i)
#pragma unroll
        for (int j = 0; j < kAcross; ++j) {
          const u32 half[2] = {fb[step & 1][j / 2][j % 2 * 2], fb[step & 1][j / 2][j % 2 * 2 + 1]};
          mma_16x8x16<BF16>(sum[i][j], fa[step & 1][i], half);
        }
    }
    stage = next;
  }
  copies.wait<0>();
  __syncthreads();
}
)cuda";

inline const char* const kTiledGemmText = R"cuda(
struct MatrixTiles {
  static constexpr bool kBarriers = false;
  const GemmParams& p;
  const TilePlace& at;

  __device__ __forceinline__ void prepare(int) {}
  __device__ __forceinline__ void ask(AsyncCopies& copies, u16* tile_a, u16*, int t) { fetch(copies, p, at, tile_a, t); }
  __device__ __forceinline__ void put(u16*, u16*) {}
};

PD_KERNEL __launch_bounds__(kThreads, 1) tiled_gemm(const GemmParams p) {
  PD_DYNAMIC_SHARED(shared);
  const int warp = threadIdx.x / 32, down = warp / WARPS_N * kRows, right = warp % WARPS_N * kCols;
  const TilePlace at = tile_place(p);
  f32 sum[kDown][kAcross][4];
  clear(sum);
  MatrixTiles source{p, at};
  add_products(sum, source, (u16*)shared, (int)((p.k + BK - 1) / BK));
  put_out<16>(sum, (f32*)shared + warp * 16 * kPitch, down, right, ThroughTail{p, at});
}
)cuda";

}  // namespace cuda
}  // namespace pd
