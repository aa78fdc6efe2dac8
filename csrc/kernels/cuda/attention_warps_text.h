// CUDA C++ of attention on tensor cores by mma.sync, of 16-bit floats, behind tensor_core_text.h and attention_text.h: what
// its kernels share. Their algorithm is that of attention_fma_text.h, so of FlashAttention-2 (Dao, arXiv:2307.08691).
//
// A warp makes strips of 16 rows, a strip of the scores being its own in registers: as sums they come out of one product, and
// rounded to 16 bits they are the left fragments of the next one (`packed`). Sums and the softmax are in float32.
//
// A head gives what attention_text.h wants, BF16, WARPS, STRIPS (of a warp), BLOCK (rows of the operand that is gone through,
// at once), PLACES (of its ring), PLAIN (no mask, and a scale above 0) and UNIT_Q, UNIT_K, UNIT_V, UNIT_G: bytes of query,
// key, value and cotangent that can be copied at once, 2 where elements lie apart.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kAttentionWarpsText = R"cuda(
constexpr int kThreads = 32 * WARPS, kOfWarp = 16 * STRIPS, kOfBlock = kOfWarp * WARPS;
constexpr int kStepsE = (E + 15) / 16, kStepsV = (V + 15) / 16;         // 16 columns each
constexpr int row_of(int steps) { return steps <= 2 ? 32 : (steps + 3) / 4 * 64; }
constexpr int kRowE = row_of(kStepsE), kRowV = row_of(kStepsV);         // elements of a row in shared memory
constexpr int kTiles = BLOCK / 8;                                       // of scores of a strip
constexpr f32 kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

#ifdef PD_HOST
PD_DEVICE f32 exp2_of(f32 x) { return exp2f(x); }
PD_DEVICE u32 pair_of(f32 low, f32 high) { return element_of(low) | (u32)element_of(high) << 16; }
#else
PD_DEVICE f32 exp2_of(f32 x) {
  f32 y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
PD_DEVICE u32 pair_of(f32 low, f32 high) {
  u32 y;
  if constexpr (BF16) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
#endif

// Scores and their unit: 1 is so much of what exp2 takes.
PD_DEVICE f32 unit_of(const AttentionParams& p) { return PLAIN ? (f32)(p.scale * (f64)kLog2E) : 1.0f; }

// A matrix of a head.
struct Matrix { const u16* at; i64 row, col; };
PD_DEVICE Matrix matrix_of(const AttentionParams& p, const View& x, int head) {
  return {head_of<u16>(p, x, head), x.row, x.col};
}

// Asks for `rows` rows from `first` on, of which `all` are there. A thread copies one chunk of every so many rows, so that
// one address is enough.
template <int rows, int steps, int width, int unit>
PD_DEVICE void fetch(AsyncCopies& copies, u16* to, const Matrix& x, int first, int all) {
  constexpr int kChunks = 2 * steps;
  constexpr int kAcross = kChunks <= 2 ? 2 : kChunks <= 4 ? 4 : kChunks <= 8 ? 8 : kChunks <= 16 ? 16 : 32;
  constexpr int kStep = kThreads / kAcross, kTurns = (rows + kStep - 1) / kStep;
  const int chunk = threadIdx.x % kAcross, left = 2 * width - 16 * chunk, inside = left >= 16 ? 16 : left > 0 ? left : 0;
  const int begin = threadIdx.x / kAcross;
  const u16* from = x.at + (first + begin) * x.row + chunk * 8 * x.col;
  const i64 step = kStep * x.row;
#pragma unroll(unit == 16 ? kTurns : 1)
  for (int i = 0; i < kTurns; ++i, from += step) {
    const int row = begin + i * kStep;
    if ((kAcross == kChunks || chunk < kChunks) && (rows % kStep == 0 || row < rows))
      copy_chunk<unit>(copies, to + swizzled<row_of(steps)>(row, chunk), from, x.col, first + row < all ? inside : 0);
  }
}

template <int strips, int tiles>
PD_DEVICE void clear(f32 (&x)[strips][tiles][4]) {
#pragma unroll
  for (int i = 0; i < strips; ++i)
#pragma unroll
    for (int j = 0; j < tiles; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q) x[i][j][q] = 0.0f;
}

// s = a bᵀ: of the warp's rows of `a`, from `row` on, and all of the block `b`.
template <int steps>
PD_DEVICE void multiply(f32 (&s)[STRIPS][kTiles][4], const u16* a, int row, const u16* b) {
  constexpr int kRow = row_of(steps);
  const int low = threadIdx.x & 7, bit3 = threadIdx.x >> 3 & 1, bit4 = threadIdx.x >> 4 & 1;
  clear(s);
#pragma unroll(steps > 4 ? 2 : steps)  // the addresses of all would take too many registers
  for (int k = 0; k < steps; ++k) {
    u32 left[STRIPS][4];
#pragma unroll
    for (int i = 0; i < STRIPS; ++i)
      load_matrices<false>(left[i], a + swizzled<kRow>(row + 16 * i + bit3 * 8 + low, 2 * k + bit4));
#pragma unroll
    for (int j = 0; j < kTiles / 2; ++j) {
      u32 right[4];
      load_matrices<false>(right, b + swizzled<kRow>(16 * j + bit4 * 8 + low, 2 * k + bit3));
      const u32 first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
#pragma unroll
      for (int i = 0; i < STRIPS; ++i) {
        mma_16x8x16<BF16>(s[i][2 * j], left[i], first);
        mma_16x8x16<BF16>(s[i][2 * j + 1], left[i], second);
      }
    }
  }
}

using Packed = u32[STRIPS][BLOCK / 16][4];

// The sums of two products beside each other are a left fragment.
PD_DEVICE void pack(Packed& w, const f32 (&s)[STRIPS][kTiles][4]) {
#pragma unroll
  for (int i = 0; i < STRIPS; ++i)
#pragma unroll
    for (int k = 0; k < BLOCK / 16; ++k)
#pragma unroll
      for (int q = 0; q < 4; ++q) w[i][k][q] = pair_of(s[i][2 * k + q / 2][q % 2 * 2], s[i][2 * k + q / 2][q % 2 * 2 + 1]);
}

// sum += w x, for all columns of the block `x`, whose rows are `row` long in shared memory.
template <int row, int tiles>
PD_DEVICE void add_weighted(f32 (&sum)[STRIPS][tiles][4], const Packed& w, const u16* x) {
  const int low = threadIdx.x & 7, bit3 = threadIdx.x >> 3 & 1, bit4 = threadIdx.x >> 4 & 1;
#pragma unroll
  for (int k = 0; k < BLOCK / 16; ++k)
#pragma unroll
    for (int j = 0; j < tiles / 2; ++j) {
      u32 right[4];
      load_matrices<true>(right, x + swizzled<row>(16 * k + bit3 * 8 + low, 2 * j + bit4));
      const u32 first[2] = {right[0], right[1]}, second[2] = {right[2], right[3]};
#pragma unroll
      for (int i = 0; i < STRIPS; ++i) {
        mma_16x8x16<BF16>(sum[i][2 * j], w[i][k], first);
        mma_16x8x16<BF16>(sum[i][2 * j + 1], w[i][k], second);
      }
    }
}

// The warp's place of a number of a fragment in its strip, and in its eight columns.
PD_DEVICE int fragment_row(int q) { return (threadIdx.x & 31) / 4 + q / 2 * 8; }
PD_DEVICE int fragment_col(int q) { return threadIdx.x % 4 * 2 + q % 2; }

// Scores as they count, in units of unit_of(): -inf where nothing is seen. The strips' rows begin at `first`, columns at `at`;
// `across`: the strips are of sources, the columns of rows.
template <bool across>
PD_DEVICE void hide(f32 (&s)[STRIPS][kTiles][4], const AttentionParams& p, const char* mask, int first, int at) {
  const int rows = (int)p.rows, sources = (int)p.sources;
  const int row_end = across ? at + BLOCK : first + kOfWarp, source_end = across ? first + kOfWarp : at + BLOCK;
  const bool cut = row_end > rows || source_end > sources || (CAUSAL && source_end > (across ? at : first) + 1);
  const f32 factor = (f32)(p.scale * (f64)kLog2E);
  if (PLAIN && !cut) return;
#pragma unroll
  for (int i = 0; i < STRIPS; ++i)
#pragma unroll
    for (int j = 0; j < kTiles; ++j)
#pragma unroll
      for (int q = 0; q < 4; ++q) {
        const int down = first + 16 * i + fragment_row(q), right = at + 8 * j + fragment_col(q);
        const int row = across ? right : down, source = across ? down : right;
        if (!PLAIN) s[i][j][q] *= factor;
        if (cut && (row >= rows || source >= sources || (CAUSAL && source > row))) s[i][j][q] = -infinity();
        else if (MASK) s[i][j][q] = masked(s[i][j][q], p, mask, row, source, kLog2E);
      }
}

// The warp's sums, times a factor for each row, to rows of a result, of which `all` are there.
template <int width, int tiles>
PD_DEVICE void store(void* out, i64 before, int first, int all, const f32 (&sum)[STRIPS][tiles][4],
                     const f32 (&factor)[STRIPS][2]) {
  if (!out) return;
#pragma unroll
  for (int i = 0; i < STRIPS; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + 16 * i + fragment_row(2 * half);
      u16* const to = (u16*)out + (before + row) * width;
#pragma unroll
      for (int j = 0; j < tiles; ++j) {
        const int col = 8 * j + fragment_col(0);
        const u32 two = pair_of(sum[i][j][2 * half] * factor[i][half], sum[i][j][2 * half + 1] * factor[i][half]);
        if (row < all && col < width) {
          if (width % 2 == 0) {
            *(u32*)(to + col) = two;
          } else {
            to[col] = (u16)two;
            if (col + 1 < width) to[col + 1] = (u16)(two >> 16);
          }
        }
      }
    }
}

PD_DEVICE bool all_counts(const AttentionParams& p) { return !CAUSAL || *p.whole; }
)cuda";

// Blocks of keys and of values take turns in the ring: key, value, key, value, …; copies run PLACES - 1 of them ahead.
inline const char* const kAttentionForwardText = R"cuda(
constexpr int kPlace = BLOCK * (kRowE > kRowV ? kRowE : kRowV);

PD_KERNEL __launch_bounds__(kThreads, 1) attention_forward(const AttentionParams p) {
  PD_DYNAMIC_SHARED(shared);
  u16* const query = (u16*)shared;
  u16* const ring = query + kOfBlock * kRowE;
  const int blocks = ((int)p.rows + kOfBlock - 1) / kOfBlock, sources = (int)p.sources;
  const int head = blockIdx.x / blocks, begin = (blocks - 1 - blockIdx.x % blocks) * kOfBlock;  // causal: long ones first
  const int row = threadIdx.x / 32 * kOfWarp, first = begin + row;
  const Matrix key = matrix_of(p, p.key, head), value = matrix_of(p, p.value, head);
  const char* const mask = mask_of(p, head);
  const int end = all_counts(p) || sources < begin + kOfBlock ? sources : begin + kOfBlock;
  const int turns = (end + BLOCK - 1) / BLOCK;

  AsyncCopies copies;
  auto ask = [&](int t) {
    u16* const to = ring + t % PLACES * kPlace;
    if (t < 2 * turns) {
      if (t % 2) fetch<BLOCK, kStepsV, V, UNIT_V>(copies, to, value, t / 2 * BLOCK, sources);
      else fetch<BLOCK, kStepsE, E, UNIT_K>(copies, to, key, t / 2 * BLOCK, sources);
    }
    copies.commit();
  };
  // Block t of the ring, when all threads have it and none reads the one before it any more, into whose place the next goes.
  auto block = [&](int t) {
    copies.wait<PLACES - 2>();
    __syncthreads();
    ask(t + PLACES - 1);
    return ring + t % PLACES * kPlace;
  };
  fetch<kOfBlock, kStepsE, E, UNIT_Q>(copies, query, matrix_of(p, p.query, head), begin, (int)p.rows);
#pragma unroll 1
  for (int t = 0; t < PLACES - 1; ++t) ask(t);

  f32 sum[STRIPS][2 * kStepsV][4], most[STRIPS][2], total[STRIPS][2];  // `total`: of this thread's columns
  clear(sum);
#pragma unroll
  for (int i = 0; i < STRIPS; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) most[i][half] = -infinity(), total[i][half] = 0.0f;
  const f32 unit = unit_of(p);

#pragma unroll 1
  for (int t = 0; t < turns; ++t) {
    f32 s[STRIPS][kTiles][4];
    multiply<kStepsE>(s, query, row, block(2 * t));
    hide<false>(s, p, mask, first, t * BLOCK);
#pragma unroll
    for (int i = 0; i < STRIPS; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        f32 top = most[i][half];
#pragma unroll
        for (int j = 0; j < kTiles; ++j) top = fmaxf(top, fmaxf(s[i][j][2 * half], s[i][j][2 * half + 1]));
        top = fmaxf(top, __shfl_xor_sync(PD_ALL, top, 1));
        top = fmaxf(top, __shfl_xor_sync(PD_ALL, top, 2));
        const f32 shift = top == -infinity() ? 0.0f : top * unit;
        const f32 keep = exp2_of(fmaf(most[i][half], unit, -shift));
        most[i][half] = top;
        total[i][half] *= keep;
#pragma unroll
        for (int j = 0; j < kTiles; ++j)
#pragma unroll
          for (int q = 2 * half; q < 2 * half + 2; ++q) {
            s[i][j][q] = exp2_of(fmaf(s[i][j][q], unit, -shift));
            total[i][half] += s[i][j][q];
          }
#pragma unroll
        for (int j = 0; j < 2 * kStepsV; ++j) sum[i][j][2 * half] *= keep, sum[i][j][2 * half + 1] *= keep;
      }
    Packed w;
    pack(w, s);
    add_weighted<kRowV>(sum, w, block(2 * t + 1));
  }
  copies.wait<0>();

  f32 factor[STRIPS][2];
#pragma unroll
  for (int i = 0; i < STRIPS; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      f32 all = total[i][half];
      all += __shfl_xor_sync(PD_ALL, all, 1);
      all += __shfl_xor_sync(PD_ALL, all, 2);
      const bool blind = kBlind && all == 0.0f;
      factor[i][half] = blind ? 1.0f : 1.0f / all;
      const int at = first + 16 * i + fragment_row(2 * half);
      if (p.out[1] && threadIdx.x % 4 == 0 && at < (int)p.rows)
        ((f32*)p.out[1])[head * p.rows + at] =
            blind ? infinity() : all == 0.0f ? infinity() - infinity() : fmaf(most[i][half] * unit, kLn2, logf(all));
    }
  store<V>(p.out[0], head * p.rows, first, (int)p.rows, sum, factor);
}
)cuda";

}  // namespace cuda
}  // namespace pd
