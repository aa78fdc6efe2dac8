// CUDA C++ of the product of 16-bit matrices on tensor cores, behind tensor_core_text.h.
//
//   c[i, j] = tail(sum over k of op(a)[i, k] op(b)[k, j], operands at (i, j))     summed in float32
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
// A tile lies in shared memory as in device memory, k or the other axis inward; its 16-byte chunks change places within
// a row (`chunk_place`) so that the eight rows of a matrix that ldmatrix reads lie in different banks. Where k does not
// lie inward (A_ACROSS, B_ACROSS) ldmatrix transposes. The result goes through shared memory once more, so that the tail and
// the stores see eight neighbours at a time.
//
// A head gives BF16, A_ACROSS, B_ACROSS, BM, BN, BK, WARPS_M, WARPS_N, STAGES, A_UNIT, B_UNIT (bytes that can be copied at
// once), Out (u16 or f32), OUT_UNIT (bytes that can be stored at once: 16, or less for single elements), OPERANDS and
// gemm_tail with its operands' loads.
#pragma once

namespace pd {
namespace cuda {

// Before the tail: what the loads of its operands call.
inline const char* const kGemmTailText = R"cuda(
struct TailOperand { const char* at; i64 batch, row, col; };
struct Eight { f32 v[8]; };

PD_DEVICE f32 tail_value(const f32* p) { return *p; }
template <bool BRAIN> PD_DEVICE f32 tail_value_16(u16 v) { return BRAIN ? pd_from_bfloat(v) : pd_from_half(v); }

// Elements (row, col) to (row, col + count) of an operand. KIND 0: a number, its bits in `at`; 1: float32; 2: float16;
// 3: bfloat16. WHOLE: eight neighbours are aligned to 16 bytes.
template <int KIND, bool WHOLE>
PD_DEVICE Eight tail_operand(const TailOperand& o, i64 batch, i64 row, i64 col, int count) {
  Eight r;
  if constexpr (KIND == 0) {
#pragma unroll
    for (int q = 0; q < 8; ++q) r.v[q] = __uint_as_float((u32)(u64)o.at);
  } else {
    const i64 first = batch * o.batch + row * o.row + col * o.col;
    if (WHOLE && count == 8) {
      if constexpr (KIND == 1) {
        const float4 x = *(const float4*)((const f32*)o.at + first), y = *(const float4*)((const f32*)o.at + first + 4);
        r.v[0] = x.x, r.v[1] = x.y, r.v[2] = x.z, r.v[3] = x.w, r.v[4] = y.x, r.v[5] = y.y, r.v[6] = y.z, r.v[7] = y.w;
      } else {
        const uint4 x = *(const uint4*)((const u16*)o.at + first);
        const u32 w[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
        for (int q = 0; q < 8; ++q) r.v[q] = tail_value_16<KIND == 3>((u16)(w[q / 2] >> q % 2 * 16));
      }
    } else {
#pragma unroll
      for (int q = 0; q < 8; ++q)
        if constexpr (KIND == 1) r.v[q] = q < count ? ((const f32*)o.at)[first + q * o.col] : 0.0f;
        else r.v[q] = q < count ? tail_value_16<KIND == 3>(((const u16*)o.at)[first + q * o.col]) : 0.0f;
    }
  }
  return r;
}
)cuda";

inline const char* const kTiledGemmText = R"cuda(
constexpr int kThreads = 32 * WARPS_M * WARPS_N;
constexpr int kRows = BM / WARPS_M, kCols = BN / WARPS_N;    // of a warp
constexpr int kDown = kRows / 16, kAcross = kCols / 8;       // products of a warp
constexpr int kTileA = BM * BK, kTileB = BN * BK, kStage = kTileA + kTileB;
constexpr int kPitch = kCols + 8;                            // floats of a row of results on their way out
constexpr int kGroup = 8;                                    // rows of tiles whose blocks run side by side

struct GemmParams {
  const u16 *a, *b;
  Out* c;
  i64 lda, ldb, ldc, stride_a, stride_b, stride_c, m, n, k;
  TailOperand operand[OPERANDS ? OPERANDS : 1];
};

// Where chunk `chunk` of row `row` lies in a tile whose rows have `width` elements.
template <int width>
PD_DEVICE int chunk_place(int row, int chunk) {
  return row * width + (width >= 64 ? chunk ^ (row & 7) : chunk ^ (row >> 1 & 3)) * 8;
}

// A tile of `rows` by `width`, of which rows_left by cols_left lie in the matrix: the rest is zero.
template <int rows, int width, int unit>
PD_DEVICE void copy_tile(AsyncCopies& copies, u16* to, const u16* from, i64 ld, int rows_left, int cols_left) {
  constexpr int kChunks = width / 8, kStep = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && rows % kStep == 0, "every thread copies as many chunks");
  const int chunk = threadIdx.x % kChunks, first = threadIdx.x / kChunks;
  const int left = cols_left - chunk * 8, inside = left >= 8 ? 16 : left > 0 ? left * 2 : 0;
  const u16* at = from + first * ld + chunk * 8;
#pragma unroll(unit == 16 ? rows / kStep : 1)
  for (int i = 0; i < rows / kStep; ++i, at += kStep * ld) {
    const int row = first + i * kStep, valid = row < rows_left ? inside : 0;
    u16* const place = to + chunk_place<width>(row, chunk);
    if constexpr (unit == 2) {
      u32 w[4] = {0, 0, 0, 0};
#pragma unroll
      for (int q = 0; q < 8; ++q) w[q / 2] |= 2 * q < valid ? (u32)at[q] << q % 2 * 16 : 0;
      *(uint4*)place = make_uint4(w[0], w[1], w[2], w[3]);
    } else {
#pragma unroll
      for (int q = 0; q < 16; q += unit) {
        const int some = valid - q;
        copies.copy<unit>(place + q / 2, at + q / 2, some >= unit ? unit : some > 0 ? some : 0);
      }
    }
  }
}

PD_DEVICE void store_eight(f32* to, const f32 (&y)[8], int count) {
  if (OUT_UNIT == 16 && count == 8) {
    *(float4*)to = make_float4(y[0], y[1], y[2], y[3]);
    *(float4*)(to + 4) = make_float4(y[4], y[5], y[6], y[7]);
  } else {
#pragma unroll
    for (int q = 0; q < 8; ++q)
      if (q < count) to[q] = y[q];
  }
}
PD_DEVICE void store_eight(u16* to, const f32 (&y)[8], int count) {
  u32 w[4] = {0, 0, 0, 0};
#pragma unroll
  for (int q = 0; q < 8; ++q) w[q / 2] |= (u32)(BF16 ? pd_to_bfloat(y[q]) : pd_to_half(y[q])) << q % 2 * 16;
  if (OUT_UNIT == 16 && count == 8) {
    *(uint4*)to = make_uint4(w[0], w[1], w[2], w[3]);
  } else {
#pragma unroll
    for (int q = 0; q < 8; ++q)
      if (q < count) to[q] = (u16)(w[q / 2] >> q % 2 * 16);
  }
}

PD_KERNEL __launch_bounds__(kThreads, 1) tiled_gemm(const GemmParams p) {
  PD_DYNAMIC_SHARED(shared);
  u16* const ring = (u16*)shared;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int down = warp / WARPS_N * kRows, right = warp % WARPS_N * kCols;

  // Blocks that run at once share rows of a and columns of b: kGroup rows of tiles, column by column.
  const int tiles_m = (int)((p.m + BM - 1) / BM), tiles_n = (int)((p.n + BN - 1) / BN);
  const int batch = blockIdx.x / (tiles_m * tiles_n), tile = blockIdx.x - batch * tiles_m * tiles_n;
  const int group = tile / (kGroup * tiles_n), group_at = tile - group * kGroup * tiles_n;
  const int high = tiles_m - group * kGroup < kGroup ? tiles_m - group * kGroup : kGroup;
  const int row = (group * kGroup + group_at % high) * BM, col = group_at / high * BN;
  const u16* const a = p.a + batch * p.stride_a + (A_ACROSS ? (i64)row : row * p.lda);
  const u16* const b = p.b + batch * p.stride_b + (B_ACROSS ? (i64)col : col * p.ldb);

  AsyncCopies copies;
  auto fetch = [&](int t, int stage) {
    const i64 k = (i64)t * BK;
    const int left_m = (int)p.m - row, left_n = (int)p.n - col, left_k = (int)p.k - t * BK;
    u16* const place = ring + stage * kStage;
    if constexpr (A_ACROSS) copy_tile<BK, BM, A_UNIT>(copies, place, a + k * p.lda, p.lda, left_k, left_m);
    else copy_tile<BM, BK, A_UNIT>(copies, place, a + k, p.lda, left_m, left_k);
    if constexpr (B_ACROSS) copy_tile<BK, BN, B_UNIT>(copies, place + kTileA, b + k * p.ldb, p.ldb, left_k, left_n);
    else copy_tile<BN, BK, B_UNIT>(copies, place + kTileA, b + k, p.ldb, left_n, left_k);
  };

  f32 sum[kDown][kAcross][4];
#pragma unroll
  for (int i = 0; i < kDown; ++i)
#pragma unroll
    for (int j = 0; j < kAcross; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q) sum[i][j][q] = 0.0f;

  // Places of the first matrices that this lane names. Those of other chunks differ in bits that are zero in the first's
  // chunk, so `^` goes there through the change of places.
  u32 fa[2][kDown][4], fb[2][kAcross / 2][4];
  const int low = lane & 7, bit3 = lane >> 3 & 1, bit4 = lane >> 4;
  const int first_a =
      A_ACROSS ? chunk_place<BM>(bit4 * 8 + low, down / 8 + bit3) : chunk_place<BK>(down + bit3 * 8 + low, bit4);
  const int first_b =
      B_ACROSS ? chunk_place<BN>(bit3 * 8 + low, right / 8 + bit4) : chunk_place<BK>(right + bit4 * 8 + low, bit3);
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

  const int tiles = (int)((p.k + BK - 1) / BK);
#pragma unroll 1
  for (int t = 0; t < STAGES - 1; ++t) {
    if (t < tiles) fetch(t, t);
    copies.commit();
  }
  copies.wait<STAGES - 2>();
  __syncthreads();
  int stage = 0;
  if (tiles) load(0, 0, 0);
#pragma unroll 1
  for (int t = 0; t < tiles; ++t) {
    const int next = stage + 1 == STAGES ? 0 : stage + 1;
#pragma unroll
    for (int step = 0; step < BK / 16; ++step) {
      if (step == 0) {
        if (t + STAGES - 1 < tiles) fetch(t + STAGES - 1, stage ? stage - 1 : STAGES - 1);
        copies.commit();
      }
      if (step == BK / 16 - 1) {
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

  // Sixteen rows of a warp at a time.
  f32* const out = (f32*)shared + warp * 16 * kPitch;
  constexpr int kEights = kCols / 8, kAtOnce = 32 / kEights;
#pragma unroll
  for (int i = 0; i < kDown; ++i) {
#pragma unroll
    for (int j = 0; j < kAcross; ++j)
#pragma unroll
      for (int q = 0; q < 4; q += 2)
        *(float2*)(out + (lane / 4 + q * 4) * kPitch + j * 8 + lane % 4 * 2) = make_float2(sum[i][j][q], sum[i][j][q + 1]);
    __syncwarp();
#pragma unroll 1
    for (int r = lane / kEights; r < 16; r += kAtOnce) {
      const int y = row + down + i * 16 + r, x = col + right + lane % kEights * 8;
      if (y < (int)p.m && x < (int)p.n) {
        const f32* const from = out + r * kPitch + lane % kEights * 8;
        f32 v[8];
#pragma unroll
        for (int q = 0; q < 8; ++q) v[q] = from[q];
        const int count = (int)p.n - x < 8 ? (int)p.n - x : 8;
        gemm_tail(v, p.operand, batch, y, x, count);
        store_eight(p.c + batch * p.stride_c + y * p.ldc + x, v, count);
      }
    }
    __syncwarp();
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
