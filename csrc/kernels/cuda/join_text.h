// CUDA C++ of concatenate and slice_update. A head gives Unit (what is moved at a time, up to 16 bytes), Ix (unsigned)
// and RANK; all numbers are in units.
#pragma once

namespace pd {
namespace cuda {

inline const char* const kJoinText = R"cuda(
constexpr int kOperands = 32;
struct Runs {
  const Unit* from[kOperands];
  i64 run[kOperands];  // of operand k in a row of the result
  i64 to[kOperands];   // where it begins
};

// The result is rows of `pitch` units; blockIdx.y is the operand.
PD_KERNEL join_runs(Unit* __restrict__ out, Runs r, Ix rows, Ix pitch) {
  const Unit* from = r.from[blockIdx.y];
  Unit* to = out + r.to[blockIdx.y];
  Ix run = (Ix)r.run[blockIdx.y], total = rows * run, step = gridDim.x * blockDim.x;
  for (Ix i = blockIdx.x * blockDim.x + threadIdx.x; i < total; i += 4 * step) {
    Unit u[4];
#pragma unroll
    for (int q = 0; q < 4; ++q)
      if (i + q * step < total) u[q] = from[i + q * step];
#pragma unroll
    for (int q = 0; q < 4; ++q) {
      Ix at = i + q * step, row = at / run;
      if (at < total) to[row * pitch + (at - row * run)] = u[q];
    }
  }
}

struct Box { Ix n[RANK], to[RANK], from[RANK]; };

PD_KERNEL copy_box(Unit* __restrict__ out, const Unit* __restrict__ in, Box box, Ix total) {
  for (Ix i = blockIdx.x * blockDim.x + threadIdx.x; i < total; i += gridDim.x * blockDim.x) {
    Ix rest = i, to = 0, from = 0;
#pragma unroll
    for (int d = RANK - 1; d > 0; --d) {
      Ix q = rest / box.n[d], k = rest - q * box.n[d];
      to += k * box.to[d];
      from += k * box.from[d];
      rest = q;
    }
    out[to + rest * box.to[0]] = in[from + rest * box.from[0]];
  }
}
)cuda";

}  // namespace cuda
}  // namespace pd
