// CUDA C++ of batches of small matrix products, behind element_text.h. A team of threads makes one result of up to SIDE x
// SIDE, each thread RESULTS x RESULTS of it, SIDE / RESULTS apart; panels of DEPTH along k go through shared memory. A head
// gives what that text wants, SIDE, RESULTS, DEPTH, A_ACROSS and B_ACROSS (k does not lie inward).
#pragma once

namespace pd {
namespace cuda {

inline const char* const kSmallGemmText = R"cuda(
constexpr int kSpan = SIDE / RESULTS, kTeam = kSpan * kSpan, kTeams = 256 / kTeam;

// Elements (row, k) of one operand, rows < count: to[k][row], zero outside.
template <bool across>
PD_DEVICE void load_panel(Sum (&to)[DEPTH][SIDE + 1], const T* from, i64 ld, int count, i64 depth, int id) {
#pragma unroll 4
  for (int e = id; e < DEPTH * SIDE; e += kTeam) {
    const int k = across ? e / SIDE : e % DEPTH, row = across ? e % SIDE : e / DEPTH;
    to[k][row] = row < count && k < depth ? value_of(from[across ? k * ld + row : row * ld + k]) : (Sum)0;
  }
}

PD_KERNEL __launch_bounds__(256, 1) small_gemm(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, i64 m,
                                               i64 n, i64 k, i64 lda, i64 ldb, i64 ldc, i64 stride_a, i64 stride_b,
                                               i64 stride_c, i64 batch) {
  __shared__ Sum left[kTeams][DEPTH][SIDE + 1], right[kTeams][DEPTH][SIDE + 1];
  const int team = threadIdx.x / kTeam, id = threadIdx.x % kTeam, y = id / kSpan, x = id % kSpan;
  for (i64 first = (i64)blockIdx.x * kTeams; first < batch; first += (i64)gridDim.x * kTeams) {
    const i64 at = first + team;
    const bool live = at < batch;
    const T* const from_a = a + at * stride_a;
    const T* const from_b = b + at * stride_b;
    Sum sum[RESULTS][RESULTS];
#pragma unroll
    for (int p = 0; p < RESULTS; ++p)
#pragma unroll
      for (int q = 0; q < RESULTS; ++q) sum[p][q] = 0;
    for (i64 k0 = 0; k0 < k; k0 += DEPTH) {
      const i64 depth = k - k0 < DEPTH ? k - k0 : DEPTH;
      load_panel<A_ACROSS>(left[team], from_a + (A_ACROSS ? k0 * lda : k0), lda, live ? (int)m : 0, depth, id);
      load_panel<B_ACROSS>(right[team], from_b + (B_ACROSS ? k0 * ldb : k0), ldb, live ? (int)n : 0, depth, id);
      __syncthreads();
      for (int kk = 0; kk < (int)depth; ++kk) {
        Sum u[RESULTS], v[RESULTS];
#pragma unroll
        for (int p = 0; p < RESULTS; ++p) u[p] = left[team][kk][y + p * kSpan], v[p] = right[team][kk][x + p * kSpan];
#pragma unroll
        for (int p = 0; p < RESULTS; ++p)
#pragma unroll
          for (int q = 0; q < RESULTS; ++q) sum[p][q] = fma(u[p], v[q], sum[p][q]);
      }
      __syncthreads();
    }
#pragma unroll
    for (int p = 0; p < RESULTS; ++p)
#pragma unroll
      for (int q = 0; q < RESULTS; ++q)
        if (live && y + p * kSpan < m && x + q * kSpan < n)
          c[at * stride_c + (y + p * kSpan) * ldc + x + q * kSpan] = element_of(sum[p][q]);
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
