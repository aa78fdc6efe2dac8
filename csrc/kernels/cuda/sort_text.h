// CUDA C++ of a stable radix sort of (key, value) pairs. A head gives Ix (unsigned), the type of both.
//
// A pass sorts by 8 bits, least first. The pairs are cut into chunks, a warp each:
//   sort_count  table[digit][chunk] = how often the digit is in the chunk
//   sort_scan   each row of the table becomes the sums before its entries, and the digit's total
//   sort_move   a pair goes to  totals of smaller digits + table[digit][chunk] + equal digits before it in the chunk
// so that pairs of one digit stay in order.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kSortText = R"cuda(
constexpr int kWarps = 4, kDigits = 256;

// The live lanes whose digit is this lane's.
PD_DEVICE u32 peers(int digit, bool live) {
  u32 same = __ballot_sync(PD_ALL, live);
#pragma unroll
  for (int b = 0; b < 8; ++b) {
    u32 votes = __ballot_sync(PD_ALL, (digit >> b) & 1);
    same &= (digit >> b) & 1 ? votes : ~votes;
  }
  return same;
}

PD_DEVICE Ix sum_before_lane(Ix mine, Ix& total) {
  int lane = threadIdx.x & 31;
  Ix sum = mine;
  for (int d = 1; d < 32; d <<= 1) {
    Ix o = __shfl_up_sync(PD_ALL, sum, d);
    if (lane >= d) sum += o;
  }
  total = __shfl_sync(PD_ALL, sum, 31);
  return sum - mine;
}

PD_KERNEL __launch_bounds__(128) sort_count(const Ix* __restrict__ key, Ix* __restrict__ table, Ix count, Ix chunk,
                                            Ix chunks, int shift) {
  __shared__ Ix bins[kWarps][kDigits];
  int lane = threadIdx.x & 31;
  Ix* bin = bins[threadIdx.x >> 5];
  Ix w = blockIdx.x * kWarps + (threadIdx.x >> 5);
  if (w >= chunks) return;
  for (int d = lane; d < kDigits; d += 32) bin[d] = 0;
  __syncwarp();
  Ix begin = w * chunk, end = begin + chunk < count ? begin + chunk : count;
  for (Ix b = begin; b < end; b += 32) {
    bool live = b + lane < end;
    int digit = live ? (int)(key[b + lane] >> shift) & (kDigits - 1) : 0;
    u32 same = peers(digit, live);
    if (live && lane == __ffs(same) - 1) bin[digit] += __popc(same);
    __syncwarp();
  }
  for (int d = lane; d < kDigits; d += 32) table[d * chunks + w] = bin[d];
}

// A block a digit.
PD_KERNEL sort_scan(Ix* __restrict__ table, Ix* __restrict__ totals, Ix chunks) {
  __shared__ Ix warps[8];
  Ix* row = table + blockIdx.x * chunks;
  Ix sum = 0;
  for (Ix b = 0; b < chunks; b += 256) {
    Ix at = b + threadIdx.x, mine = at < chunks ? row[at] : 0, total;
    Ix before = sum_before_lane(mine, total);
    __syncthreads();  // the sums of the round before have been read
    if ((threadIdx.x & 31) == 0) warps[threadIdx.x >> 5] = total;
    __syncthreads();
    for (int w = 0; w < 8; ++w) {
      if (w == (int)(threadIdx.x >> 5)) before += sum;
      sum += warps[w];
    }
    if (at < chunks) row[at] = before;
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = sum;
}

PD_KERNEL __launch_bounds__(128) sort_move(const Ix* __restrict__ key, const Ix* __restrict__ value,
                                           Ix* __restrict__ key_out, Ix* __restrict__ value_out,
                                           const Ix* __restrict__ table, const Ix* __restrict__ totals, Ix count,
                                           Ix chunk, Ix chunks, int shift) {
  __shared__ Ix bins[kWarps][kDigits];
  int lane = threadIdx.x & 31;
  Ix* bin = bins[threadIdx.x >> 5];
  Ix w = blockIdx.x * kWarps + (threadIdx.x >> 5);
  if (w >= chunks) return;
  Ix sum = 0;  // of the totals of smaller digits
  for (int d = 0; d < kDigits; d += 32) {
    Ix total, before = sum_before_lane(totals[d + lane], total);
    bin[d + lane] = sum + before + table[(d + lane) * chunks + w];
    sum += total;
  }
  __syncwarp();
  Ix begin = w * chunk, end = begin + chunk < count ? begin + chunk : count;
  for (Ix b = begin; b < end; b += 32) {
    bool live = b + lane < end;
    Ix k = live ? key[b + lane] : 0;
    int digit = (int)(k >> shift) & (kDigits - 1);
    u32 same = peers(digit, live);
    Ix to = bin[digit] + __popc(same & ((1u << lane) - 1));
    __syncwarp();
    if (live && lane == __ffs(same) - 1) bin[digit] += __popc(same);
    __syncwarp();
    if (live) {
      key_out[to] = k;
      value_out[to] = value[b + lane];
    }
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
