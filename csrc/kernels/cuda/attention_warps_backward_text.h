// CUDA C++ of attention's backward pass on tensor cores, behind attention_warps_text.h. Two kernels instead of one with
// atomics, so that every sum is added up by one warp in rising order:
//
//   attention_rows     a strip is 16 rows:     s = q kᵀ | h = do vᵀ | dq += z k
//   attention_sources  a strip is 16 sources:  sᵀ = k qᵀ | hᵀ = v doᵀ | dv += pᵀ do | dk += zᵀ q
//
// Both keep their own two operands in shared memory and go through the other two, in a ring of PLACES pairs. A head of
// attention_sources also gives OF_KEYS and OF_VALUES: for wide heads dk and dv are made by a launch each, since the sums of
// both are more than a thread has registers.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kAttentionRowsText = R"cuda(
constexpr int kPlace = BLOCK * (kRowE + kRowV);

PD_KERNEL __launch_bounds__(kThreads, 1) attention_rows(const AttentionParams p) {
  PD_DYNAMIC_SHARED(shared);
  u16* const query = (u16*)shared;
  u16* const given = query + kOfBlock * kRowE;
  u16* const ring = given + kOfBlock * kRowV;
  const int blocks = ((int)p.rows + kOfBlock - 1) / kOfBlock, sources = (int)p.sources, rows = (int)p.rows;
  const int head = blockIdx.x / blocks, begin = (blocks - 1 - blockIdx.x % blocks) * kOfBlock;
  const int row = threadIdx.x / 32 * kOfWarp, first = begin + row;
  const Matrix key = matrix_of(p, p.key, head), value = matrix_of(p, p.value, head);
  const char* const mask = mask_of(p, head);
  const int end = all_counts(p) || sources < begin + kOfBlock ? sources : begin + kOfBlock;
  const int turns = (end + BLOCK - 1) / BLOCK;

  AsyncCopies copies;
  auto ask = [&](int t) {
    u16* const to = ring + t % PLACES * kPlace;
    if (t < turns) {
      fetch<BLOCK, kStepsE, E, UNIT_K>(copies, to, key, t * BLOCK, sources);
      fetch<BLOCK, kStepsV, V, UNIT_V>(copies, to + BLOCK * kRowE, value, t * BLOCK, sources);
    }
    copies.commit();
  };
  fetch<kOfBlock, kStepsE, E, UNIT_Q>(copies, query, matrix_of(p, p.query, head), begin, rows);
  fetch<kOfBlock, kStepsV, V, UNIT_G>(copies, given, matrix_of(p, p.given, head), begin, rows);
#pragma unroll 1
  for (int t = 0; t < PLACES - 1; ++t) ask(t);

  const f32 unit = unit_of(p);
  const f32* const log_sums = head_of<f32>(p, p.log_sum, head);
  f32 shift[STRIPS][2], drop[STRIPS][2], factor[STRIPS][2];
#pragma unroll
  for (int i = 0; i < STRIPS; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int at = first + 16 * i + fragment_row(2 * half);
      shift[i][half] = at < rows ? log_sums[at * p.log_sum.row] * kLog2E : 0.0f;
      drop[i][half] = at < rows ? p.drop[head * p.rows + at] : 0.0f;
      factor[i][half] = (f32)p.scale;
    }
  f32 sum[STRIPS][2 * kStepsE][4];
  clear(sum);
#pragma unroll 1
  for (int t = 0; t < turns; ++t) {
    copies.wait<PLACES - 2>();
    __syncthreads();
    ask(t + PLACES - 1);
    const u16* const keys = ring + t % PLACES * kPlace;
    f32 s[STRIPS][kTiles][4], z[STRIPS][kTiles][4];
    multiply<kStepsE>(s, query, row, keys);
    hide<false>(s, p, mask, first, t * BLOCK);
    multiply<kStepsV>(z, given, row, keys + BLOCK * kRowE);
#pragma unroll
    for (int i = 0; i < STRIPS; ++i)
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          const f32 w = exp2_of(fmaf(s[i][j][q], unit, -shift[i][q / 2]));
          z[i][j][q] = s[i][j][q] == -infinity() ? 0.0f : w * (z[i][j][q] - drop[i][q / 2]);
        }
    Packed w;
    pack(w, z);
    add_weighted<kRowE>(sum, w, keys);
  }
  copies.wait<0>();
  store<E>(p.out[0], head * p.rows, first, rows, sum, factor);
}
)cuda";

inline const char* const kAttentionSourcesText = R"cuda(
constexpr int kNumbers = 2 * BLOCK;                               // of rows: the logarithms of their sums, what is dropped
constexpr int kPlace = BLOCK * (kRowE + kRowV) + 2 * kNumbers;    // in 16-bit elements

PD_KERNEL __launch_bounds__(kThreads, 1) attention_sources(const AttentionParams p) {
  PD_DYNAMIC_SHARED(shared);
  u16* const keys = (u16*)shared;
  u16* const values = keys + kOfBlock * kRowE;
  u16* const ring = values + kOfBlock * kRowV;
  const int blocks = ((int)p.sources + kOfBlock - 1) / kOfBlock, sources = (int)p.sources, rows = (int)p.rows;
  const int head = blockIdx.x / blocks, begin = blockIdx.x % blocks * kOfBlock;
  const int row = threadIdx.x / 32 * kOfWarp, first = begin + row, groups = (int)p.groups;
  const int skipped = all_counts(p) ? 0 : begin / BLOCK;  // blocks of rows that see none of these sources
  const int each = (rows + BLOCK - 1) / BLOCK - skipped, turns = each > 0 ? groups * each : 0;

  AsyncCopies copies;
  auto ask = [&](int t) {
    u16* const to = ring + t % PLACES * kPlace;
    if (t < turns) {
      const int of = head * groups + t / each, at = (t % each + skipped) * BLOCK;
      fetch<BLOCK, kStepsE, E, UNIT_Q>(copies, to, matrix_of(p, p.query, of), at, rows);
      fetch<BLOCK, kStepsV, V, UNIT_G>(copies, to + BLOCK * kRowE, matrix_of(p, p.given, of), at, rows);
      f32* const numbers = (f32*)(to + BLOCK * (kRowE + kRowV));
      for (int i = threadIdx.x; i < BLOCK; i += kThreads) {
        const bool there = at + i < rows;
        copies.copy<4>(numbers + i, head_of<f32>(p, p.log_sum, of) + (there ? at + i : 0) * p.log_sum.row, there ? 4 : 0);
        if (OF_KEYS) copies.copy<4>(numbers + BLOCK + i, p.drop + of * p.rows + (there ? at + i : 0), there ? 4 : 0);
      }
    }
    copies.commit();
  };
  const int any = head * groups;  // heads of a group share keys and values
  fetch<kOfBlock, kStepsE, E, UNIT_K>(copies, keys, matrix_of(p, p.key, any), begin, sources);
  if (OF_KEYS) fetch<kOfBlock, kStepsV, V, UNIT_V>(copies, values, matrix_of(p, p.value, any), begin, sources);
#pragma unroll 1
  for (int t = 0; t < PLACES - 1; ++t) ask(t);

  const f32 unit = unit_of(p);
  f32 of_key[STRIPS][OF_KEYS ? 2 * kStepsE : 1][4], of_value[STRIPS][OF_VALUES ? 2 * kStepsV : 1][4];
  clear(of_key);
  clear(of_value);
#pragma unroll 1
  for (int t = 0; t < turns; ++t) {
    copies.wait<PLACES - 2>();
    __syncthreads();
    ask(t + PLACES - 1);
    const u16* const query = ring + t % PLACES * kPlace;
    const u16* const given = query + BLOCK * kRowE;
    const f32* const numbers = (const f32*)(given + BLOCK * kRowV);
    f32 s[STRIPS][kTiles][4];
    multiply<kStepsE>(s, keys, row, query);
    hide<true>(s, p, mask_of(p, head * groups + t / each), first, (t % each + skipped) * BLOCK);
    u32 hidden[STRIPS] = {};  // which scores are -inf
    static_assert(kTiles * 4 <= 32, "a bit for each score of a strip");
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      const float2 log_sum = *(const float2*)(numbers + 8 * j + fragment_col(0));
#pragma unroll
      for (int i = 0; i < STRIPS; ++i)
#pragma unroll
        for (int q = 0; q < 4; ++q) {
          hidden[i] |= s[i][j][q] == -infinity() ? 1u << (4 * j + q) : 0u;
          s[i][j][q] = exp2_of(fmaf(s[i][j][q], unit, -(q % 2 ? log_sum.y : log_sum.x) * kLog2E));
        }
    }
    Packed w;
    if constexpr (OF_VALUES) {
      pack(w, s);
      add_weighted<kRowV>(of_value, w, given);
    }
    if constexpr (OF_KEYS) {
      f32 z[STRIPS][kTiles][4];
      multiply<kStepsV>(z, values, row, given);
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        const float2 drop = *(const float2*)(numbers + BLOCK + 8 * j + fragment_col(0));
#pragma unroll
        for (int i = 0; i < STRIPS; ++i)
#pragma unroll
          for (int q = 0; q < 4; ++q)
            z[i][j][q] = hidden[i] >> (4 * j + q) & 1 ? 0.0f : s[i][j][q] * (z[i][j][q] - (q % 2 ? drop.y : drop.x));
      }
      pack(w, z);
      add_weighted<kRowE>(of_key, w, query);
    }
  }
  copies.wait<0>();
  f32 factor[STRIPS][2];
#pragma unroll
  for (int i = 0; i < STRIPS; ++i) factor[i][0] = factor[i][1] = (f32)p.scale;
  if constexpr (OF_KEYS) store<E>(p.out[1], head * p.sources, first, sources, of_key, factor);
#pragma unroll
  for (int i = 0; i < STRIPS; ++i) factor[i][0] = factor[i][1] = 1.0f;
  if constexpr (OF_VALUES) store<V>(p.out[2], head * p.sources, first, sources, of_value, factor);
}
)cuda";

}  // namespace cuda
}  // namespace pd
