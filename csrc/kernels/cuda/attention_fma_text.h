// CUDA C++ of attention without tensor cores, behind attention_text.h: of float32 and float64, and of 16-bit floats on GPUs
// that have no mma.sync for bfloat16. The algorithm is that of FlashAttention-2 (Dao, arXiv:2307.08691):
//
//   attention_forward  a block of rows,     by blocks of sources:  s = scale q kᵀ | p = exp(s - m) | o = o exp(m' - m) + p v
//   attention_rows     a block of rows,     by blocks of sources:  z = p (do vᵀ - drop) | dq += z k
//   attention_sources  a block of sources,  by blocks of rows:     dv += pᵀ do | dk += zᵀ q
//
// where m is a row's largest score so far, m' what it was before, and drop the sum of do o along a row. A block is TILE x TILE
// scores of 16 x 16 threads; thread (y, x) has rows y, y + 16, … and columns x, x + 16, …. Operands come through shared memory
// in panels kDepth wide. Each sum is added up by one thread in rising order.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kAttentionFmaText = R"cuda(
constexpr int kDepth = 16, kSide = TILE / 16, kPitch = TILE + 1;
constexpr int kOfKey = (E + 15) / 16, kOfValue = (V + 15) / 16, kMost = kOfKey > kOfValue ? kOfKey : kOfValue;
constexpr int kPanel = 2 * kPitch > 16 * kMost ? 2 * kPitch * kDepth : 16 * kMost * kDepth;

// Rows of a head's matrix, of which `count` are there.
struct Rows { const T* at; i64 row, col; int count; };
PD_DEVICE Rows rows_of(const AttentionParams& p, const View& x, int head, int first, i64 all) {
  return {head_of<T>(p, x, head) + first * x.row, x.row, x.col, (int)all - first};
}

PD_DEVICE void load_panel(Sum* to, const Rows& x, int first, int width) {
#pragma unroll 4
  for (int e = threadIdx.x; e < kDepth * TILE; e += 256) {
    const int k = e % kDepth, row = e / kDepth;
    to[k * kPitch + row] = row < x.count && first + k < width ? value_of(x.at[row * x.row + (first + k) * x.col]) : (Sum)0;
  }
}

// s = a bᵀ, sums along rows that are `width` long.
template <int width>
PD_DEVICE void multiply(Sum (&s)[kSide][kSide], const Rows& a, const Rows& b, Sum* panel) {
  const int y = threadIdx.x / 16, x = threadIdx.x % 16;
#pragma unroll
  for (int p = 0; p < kSide; ++p)
#pragma unroll
    for (int q = 0; q < kSide; ++q) s[p][q] = 0;
  Sum* const other = panel + kDepth * kPitch;
#pragma unroll 1
  for (int k0 = 0; k0 < width; k0 += kDepth) {
    load_panel(panel, a, k0, width);
    load_panel(other, b, k0, width);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      Sum u[kSide], v[kSide];
#pragma unroll
      for (int p = 0; p < kSide; ++p) u[p] = panel[k * kPitch + y + 16 * p], v[p] = other[k * kPitch + x + 16 * p];
#pragma unroll
      for (int p = 0; p < kSide; ++p)
#pragma unroll
        for (int q = 0; q < kSide; ++q) s[p][q] = fma(u[p], v[q], s[p][q]);
    }
    __syncthreads();
  }
}

// sum += w x, or wᵀ x where `turned`.
template <bool turned, int across>
PD_DEVICE void add_weighted(Sum (&sum)[kSide][across], const Sum* w, const Rows& from, int width, Sum* panel) {
  const int y = threadIdx.x / 16, x = threadIdx.x % 16;
  const int count = from.count < TILE ? from.count : TILE;
#pragma unroll 1
  for (int k0 = 0; k0 < count; k0 += kDepth) {
#pragma unroll 4
    for (int e = threadIdx.x; e < kDepth * 16 * across; e += 256) {
      const int k = e / (16 * across), col = e % (16 * across);
      panel[e] = k0 + k < count && col < width ? value_of(from.at[(k0 + k) * from.row + col * from.col]) : (Sum)0;
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kDepth; ++k) {
      Sum u[kSide];
#pragma unroll
      for (int p = 0; p < kSide; ++p)
        u[p] = turned ? w[(k0 + k) * kPitch + y + 16 * p] : w[(y + 16 * p) * kPitch + k0 + k];
#pragma unroll
      for (int q = 0; q < across; ++q) {
        const Sum v = panel[k * 16 * across + x + 16 * q];
#pragma unroll
        for (int p = 0; p < kSide; ++p) sum[p][q] = fma(u[p], v, sum[p][q]);
      }
    }
    __syncthreads();
  }
}

template <int across>
PD_DEVICE void clear(Sum (&sum)[kSide][across]) {
#pragma unroll
  for (int p = 0; p < kSide; ++p)
#pragma unroll
    for (int q = 0; q < across; ++q) sum[p][q] = 0;
}

template <int across>
PD_DEVICE void store(void* to, i64 first, i64 all, const Sum (&sum)[kSide][across], int width, Sum factor, i64 before) {
  if (!to) return;
#pragma unroll
  for (int p = 0; p < kSide; ++p) {
    const i64 row = first + threadIdx.x / 16 + 16 * p;
#pragma unroll
    for (int q = 0; q < across; ++q) {
      const int col = threadIdx.x % 16 + 16 * q;
      if (row < all && col < width) ((T*)to)[(before + row) * width + col] = element_of(sum[p][q] * factor);
    }
  }
}

// Scores as they count: -inf where nothing is seen.
PD_DEVICE void hide(Sum (&s)[kSide][kSide], const AttentionParams& p, const char* mask, int first_row, int first_col) {
  const int y = threadIdx.x / 16, x = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < kSide; ++i)
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const int row = first_row + y + 16 * i, col = first_col + x + 16 * j;
      s[i][j] *= (Sum)p.scale;
      if (row >= p.rows || col >= p.sources || (CAUSAL && col > row)) s[i][j] = -infinity();
      else if (MASK) s[i][j] = masked(s[i][j], p, mask, row, col, 1);
    }
}

PD_DEVICE bool all_counts(const AttentionParams& p) { return !CAUSAL || *p.whole; }

PD_KERNEL __launch_bounds__(256, 1) attention_forward(const AttentionParams p) {
  __shared__ Sum weights[TILE * kPitch], panel[kPanel];
  const int y = threadIdx.x / 16, x = threadIdx.x % 16, blocks = ((int)p.rows + TILE - 1) / TILE;
  const int head = blockIdx.x / blocks, first = (blocks - 1 - blockIdx.x % blocks) * TILE;  // causal: long ones first
  const Rows query = rows_of(p, p.query, head, first, p.rows);
  const char* const mask = mask_of(p, head);
  Sum most[kSide], total[kSide], sum[kSide][kOfValue];
#pragma unroll
  for (int i = 0; i < kSide; ++i) most[i] = -infinity(), total[i] = 0;
  clear(sum);
  const int end = all_counts(p) || p.sources < first + TILE ? (int)p.sources : first + TILE;
#pragma unroll 1
  for (int at = 0; at < end; at += TILE) {
    Sum s[kSide][kSide];
    multiply<E>(s, query, rows_of(p, p.key, head, at, p.sources), panel);
    hide(s, p, mask, first, at);
#pragma unroll
    for (int i = 0; i < kSide; ++i) {
      Sum top = s[i][0];
#pragma unroll
      for (int j = 1; j < kSide; ++j) top = fmax(top, s[i][j]);
#pragma unroll
      for (int d = 8; d; d >>= 1) top = fmax(top, __shfl_xor_sync(PD_ALL, top, d));
      top = fmax(top, most[i]);
      const Sum shift = top == -infinity() ? (Sum)0 : top;
      const Sum keep = most[i] == shift ? (Sum)1 : most[i] == -infinity() ? (Sum)0 : exp(most[i] - shift);
      Sum more = 0;
#pragma unroll
      for (int j = 0; j < kSide; ++j) {
        const Sum w = exp(s[i][j] - shift);
        weights[(y + 16 * i) * kPitch + x + 16 * j] = w;
        more += w;
      }
#pragma unroll
      for (int d = 8; d; d >>= 1) more += __shfl_xor_sync(PD_ALL, more, d);
      total[i] = fma(total[i], keep, more);
      most[i] = top;
#pragma unroll
      for (int q = 0; q < kOfValue; ++q) sum[i][q] *= keep;
    }
    add_weighted<false>(sum, weights, rows_of(p, p.value, head, at, p.sources), V, panel);
  }
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    const bool blind = kBlind && total[i] == 0;
#pragma unroll
    for (int q = 0; q < kOfValue; ++q) sum[i][q] /= blind ? (Sum)1 : total[i];
    const int row = first + y + 16 * i;
    if (p.out[1] && x == 0 && row < p.rows)
      ((Sum*)p.out[1])[head * p.rows + row] =
          blind ? infinity() : total[i] == 0 ? infinity() - infinity() : most[i] + log(total[i]);
  }
  store(p.out[0], first, p.rows, sum, V, 1, head * p.rows);
}

// Weights of a block, and what of the cotangent reaches the scores.
PD_DEVICE void weigh_again(Sum (&s)[kSide][kSide], Sum (&z)[kSide][kSide], const AttentionParams& p, int head, int first,
                           int at, Sum* panel) {
  const int y = threadIdx.x / 16;
  multiply<E>(s, rows_of(p, p.query, head, first, p.rows), rows_of(p, p.key, head, at, p.sources), panel);
  hide(s, p, mask_of(p, head), first, at);
  multiply<V>(z, rows_of(p, p.given, head, first, p.rows), rows_of(p, p.value, head, at, p.sources), panel);
  const Sum* const log_sum = head_of<Sum>(p, p.log_sum, head);
#pragma unroll
  for (int i = 0; i < kSide; ++i) {
    const int row = first + y + 16 * i;
    const Sum shift = row < p.rows ? log_sum[row * p.log_sum.row] : (Sum)0;
    const Sum drop = row < p.rows ? p.drop[head * p.rows + row] : (Sum)0;
#pragma unroll
    for (int j = 0; j < kSide; ++j) {
      const Sum w = exp(s[i][j] - shift);
      z[i][j] = s[i][j] == -infinity() ? (Sum)0 : w * (z[i][j] - drop);
      s[i][j] = w;
    }
  }
}

PD_DEVICE void put_weights(Sum* weights, const Sum (&w)[kSide][kSide]) {
#pragma unroll
  for (int i = 0; i < kSide; ++i)
#pragma unroll
    for (int j = 0; j < kSide; ++j) weights[(threadIdx.x / 16 + 16 * i) * kPitch + threadIdx.x % 16 + 16 * j] = w[i][j];
}

PD_KERNEL __launch_bounds__(256, 1) attention_rows(const AttentionParams p) {
  __shared__ Sum weights[TILE * kPitch], panel[kPanel];
  const int blocks = ((int)p.rows + TILE - 1) / TILE;
  const int head = blockIdx.x / blocks, first = (blocks - 1 - blockIdx.x % blocks) * TILE;
  Sum sum[kSide][kOfKey];
  clear(sum);
  const int end = all_counts(p) || p.sources < first + TILE ? (int)p.sources : first + TILE;
#pragma unroll 1
  for (int at = 0; at < end; at += TILE) {
    Sum s[kSide][kSide], z[kSide][kSide];
    weigh_again(s, z, p, head, first, at, panel);
    put_weights(weights, z);
    add_weighted<false>(sum, weights, rows_of(p, p.key, head, at, p.sources), E, panel);
  }
  store(p.out[0], first, p.rows, sum, E, (Sum)p.scale, head * p.rows);
}

PD_KERNEL __launch_bounds__(256, 1) attention_sources(const AttentionParams p) {
  __shared__ Sum weights[TILE * kPitch], panel[kPanel];
  const int blocks = ((int)p.sources + TILE - 1) / TILE;
  const int head = blockIdx.x / blocks, at = blockIdx.x % blocks * TILE;
  Sum of_key[kSide][kOfKey], of_value[kSide][kOfValue];
  clear(of_key);
  clear(of_value);
  const int begin = all_counts(p) ? 0 : at;
#pragma unroll 1
  for (int g = head * (int)p.groups; g < (head + 1) * (int)p.groups; ++g)
#pragma unroll 1
    for (int first = begin; first < (int)p.rows; first += TILE) {
      Sum s[kSide][kSide], z[kSide][kSide];
      weigh_again(s, z, p, g, first, at, panel);
      put_weights(weights, s);
      add_weighted<true>(of_value, weights, rows_of(p, p.given, g, first, p.rows), V, panel);
      put_weights(weights, z);
      add_weighted<true>(of_key, weights, rows_of(p, p.query, g, first, p.rows), E, panel);
    }
  store(p.out[1], at, p.sources, of_key, E, (Sum)p.scale, head * p.sources);
  store(p.out[2], at, p.sources, of_value, V, 1, head * p.sources);
}
)cuda";

}  // namespace cuda
}  // namespace pd
