// CUDA C++ of the product of 16-bit matrices by wgmma (sm_90a), behind warpgroup_text.h and gemm_parts_text.h.
//
// A block of threads makes a tile of BM x BN, each of its warpgroups (WARPS_M / 4) as many rows of it, 64 at a time. Tiles
// of 64 along k wait in a ring of STAGES places in shared memory:
//
//   for each tile:  wait for its copies; fence; barrier
//                   begin its products
//                   ask for the tile STAGES - 2 further on, into the place of the last tile but one
//                   wait for the products of the tile before
//
// So some products are always under way, and copies run STAGES - 2 tiles ahead. That place is free: behind the barrier
// every warpgroup has waited for the products of the last tile but one. The terms of one sum are added in the order of k, 16
// at a time, as by the product of tiled_gemm_text.h, which has the same head.
//
// All threads copy, by cp.async, and all multiply: there is no TMA here, and no warp that does nothing but copy.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kWarpgroupGemmText = R"cuda(
PD_KERNEL __launch_bounds__(kThreads, 1) tiled_gemm(const GemmParams p) {
  static_assert(BK == 64 && WARPS_M % 4 == 0 && WARPS_N == 1 && STAGES >= 3, "lines of 128 bytes; whole warpgroups");
  PD_DYNAMIC_SHARED(shared);
  char* const begin = shared + (-shared_address(shared) & 1023);  // blocks of the swizzle
  u16* const ring = (u16*)begin;
  const int warp = threadIdx.x / 32, group = warp / 4;

  const TilePlace at = tile_place(p);
  AsyncCopies copies;
  WarpgroupProducts products;
  f32 sum[kDown][kAcross][4];
  clear(sum);

  // 64 rows of a tile that has k inward, and a panel of 64 of one that has not, are 8192 bytes; 8 lines are 1024.
  constexpr int kPanel = 8192, kEight = 1024;
  constexpr int kStepA = A_ACROSS ? 2 * kEight : 32, kStepB = B_ACROSS ? 2 * kEight : 32;  // 16 along k
  const u64 first_a = matrix_descriptor(begin + group * kDown * kPanel, A_ACROSS ? kPanel : 16, kEight);
  const u64 first_b = matrix_descriptor(ring + kTileA, B_ACROSS ? kPanel : 16, kEight);

  const int tiles = (int)((p.k + BK - 1) / BK);
#pragma unroll 1
  for (int t = 0; t < STAGES - 2; ++t) {
    if (t < tiles) fetch(copies, p, at, ring + t * kStage, t);
    copies.commit();
  }
  int stage = 0;
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
    copies.wait<STAGES - 3>();
    fence_proxy_async();
    __syncthreads();
    const u64 a = moved(first_a, stage * kStage * 2), b = moved(first_b, stage * kStage * 2);
    products.fence();
#pragma unroll
    for (int step = 0; step < BK / 16; ++step)
#pragma unroll
      for (int i = 0; i < kDown; ++i)
        products.multiply<BF16, A_ACROSS, B_ACROSS>(sum[i], moved(a, i * kPanel + step * kStepA), moved(b, step * kStepB));
    products.commit();
    if (t + STAGES - 2 < tiles)
      fetch(copies, p, at, ring + (stage < 2 ? stage + STAGES - 2 : stage - 2) * kStage, t + STAGES - 2);
    copies.commit();
    products.wait<1>();
    stage = stage + 1 == STAGES ? 0 : stage + 1;
  }
  products.wait<0>();
#pragma unroll
  for (int i = 0; i < kDown; ++i) settle(sum[i]);
  copies.wait<0>();
  __syncthreads();
  put_out<64>(sum, (f32*)begin + warp * 16 * kPitch, group * kDown * 64 + warp % 4 * 16, 0, ThroughTail{p, at});
}
)cuda";

}  // namespace cuda
}  // namespace pd
