// CUDA C++ that the products of 16-bit matrices on tensor cores share, behind tensor_core_text.h: which tile a block makes,
// copies of tiles to shared memory, and the way of the sums out, through the tail.
//
//   c[i, j] = tail(sum over k of op(a)[i, k] op(b)[k, j], operands at (i, j))     summed in float32
//
// A tile lies in shared memory as in device memory, k or the other axis inward (A_ACROSS, B_ACROSS: the other one); its
// 16-byte chunks change places within a row (`chunk_place`) so that what is read at once lies in different banks. Sums go
// out through shared memory, so that the tail and the stores see eight neighbours at a time.
//
// A head gives WARPGROUPS (the product is that of warpgroup_gemm_text.h), BF16, A_ACROSS, B_ACROSS, BM, BN, BK, WARPS_M,
// WARPS_N, STAGES, A_UNIT, B_UNIT (bytes that can be copied at once), Out (u16 or f32), OUT_UNIT (bytes that can be stored at
// once: 16, or less for single elements), OPERANDS and gemm_tail with its operands' loads.
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

// What does not know where operands and results lie; convolutions have it too.
inline const char* const kGemmTileText = R"cuda(
constexpr int kThreads = 32 * WARPS_M * WARPS_N;
constexpr int kRows = BM / WARPS_M, kCols = BN / WARPS_N;    // of a warp
constexpr int kDown = kRows / 16, kAcross = kCols / 8;       // products of a warp
constexpr int kTileA = BM * BK, kTileB = BN * BK, kStage = kTileA + kTileB;
constexpr int kPitch = kCols + 8;                            // floats of a row of results on their way out

// Where chunk `chunk` of row `row` lies in a tile of `rows` by `width` elements. For wgmma: in panels of 64 elements, which
// are the rows of 128 bytes of its 128-byte swizzle.
template <int rows, int width>
PD_DEVICE int chunk_place(int row, int chunk) {
  if constexpr (WARPGROUPS) return chunk / 8 * (rows * 64) + row * 64 + ((chunk ^ row) & 7) * 8;
  else return swizzled<width>(row, chunk);
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

PD_DEVICE void clear(f32 (&sum)[kDown][kAcross][4]) {
#pragma unroll
  for (int i = 0; i < kDown; ++i)
#pragma unroll
    for (int j = 0; j < kAcross; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q) sum[i][j][q] = 0.0f;
}

// The sums of a warp on their way out, sixteen rows at a time, by way of `out`, which is the warp's own: eight neighbours of the
// tile go to store(row, column, from); the first sixteen rows are those from (down, right) on, the next `step` rows further.
template <int step, class Store>
PD_DEVICE void put_out(const f32 (&sum)[kDown][kAcross][4], f32* out, int down, int right, const Store& store) {
  const int lane = threadIdx.x % 32;
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
    for (int r = lane / kEights; r < 16; r += kAtOnce)
      store(down + i * step + r, right + lane % kEights * 8, out + r * kPitch + lane % kEights * 8);
    __syncwarp();
  }
}
)cuda";

inline const char* const kGemmPartsText = R"cuda(
constexpr int kGroup = 8;  // rows of tiles whose blocks run side by side

struct GemmParams {
  const u16 *a, *b;
  Out* c;
  i64 lda, ldb, ldc, stride_a, stride_b, stride_c, m, n, k;
  TailOperand operand[OPERANDS ? OPERANDS : 1];
};

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
    u16* const place = to + chunk_place<rows, width>(row, chunk);
    copy_chunk<unit>(copies, place, at, 1, valid);
  }
}

// The tile of this block: its first row and column, and where the operands of these begin.
struct TilePlace {
  int batch, row, col;
  const u16 *a, *b;
};
PD_DEVICE TilePlace tile_place(const GemmParams& p) {
  // Blocks that run at once share rows of a and columns of b: kGroup rows of tiles, column by column.
  const int tiles_m = (int)((p.m + BM - 1) / BM), tiles_n = (int)((p.n + BN - 1) / BN);
  const int batch = blockIdx.x / (tiles_m * tiles_n), tile = blockIdx.x - batch * tiles_m * tiles_n;
  const int group = tile / (kGroup * tiles_n), group_at = tile - group * kGroup * tiles_n;
  const int high = tiles_m - group * kGroup < kGroup ? tiles_m - group * kGroup : kGroup;
  const int row = (group * kGroup + group_at % high) * BM, col = group_at / high * BN;
  return {batch, row, col, p.a + batch * p.stride_a + (A_ACROSS ? (i64)row : row * p.lda),
          p.b + batch * p.stride_b + (B_ACROSS ? (i64)col : col * p.ldb)};
}

// Asks for tile t along k of both operands.
PD_DEVICE void fetch(AsyncCopies& copies, const GemmParams& p, const TilePlace& at, u16* place, int t) {
  const i64 k = (i64)t * BK;
  const int left_m = (int)p.m - at.row, left_n = (int)p.n - at.col, left_k = (int)p.k - t * BK;
  if constexpr (A_ACROSS) copy_tile<BK, BM, A_UNIT>(copies, place, at.a + k * p.lda, p.lda, left_k, left_m);
  else copy_tile<BM, BK, A_UNIT>(copies, place, at.a + k, p.lda, left_m, left_k);
  if constexpr (B_ACROSS) copy_tile<BK, BN, B_UNIT>(copies, place + kTileA, at.b + k * p.ldb, p.ldb, left_k, left_n);
  else copy_tile<BN, BK, B_UNIT>(copies, place + kTileA, at.b + k, p.ldb, left_n, left_k);
}

// Eight neighbours of a tile go through the tail to c.
struct ThroughTail {
  const GemmParams& p;
  const TilePlace& at;

  __device__ __forceinline__ void operator()(int row, int col, const f32* from) const {
    const int y = at.row + row, x = at.col + col;
    if (y >= (int)p.m || x >= (int)p.n) return;
    f32 v[8];
#pragma unroll
    for (int q = 0; q < 8; ++q) v[q] = from[q];
    const int count = (int)p.n - x < 8 ? (int)p.n - x : 8;
    gemm_tail(v, p.operand, at.batch, y, x, count);
    store_eight(p.c + at.batch * p.stride_c + y * p.ldc + x, v, count);
  }
};
)cuda";

}  // namespace cuda
}  // namespace pd
