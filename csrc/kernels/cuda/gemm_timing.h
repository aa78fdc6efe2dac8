// Times of the tiled product beside cuBLAS on the device at hand: what gemm_tiles.def is filled from.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "kernels/cuda/tiled_gemm.h"

namespace pd {

// Milliseconds of one product, the median of several rounds, by "cublas", "table" (the tile that the table takes) and the
// name of each tile; operands are random and lie in memory that this takes and gives back. Rounds go through all of them in
// turn, so that a clock that changes meets all alike; together they take about `seconds`. A tile whose result is further from
// that of cuBLAS than two orders of addition can be apart is an Error.
std::vector<std::pair<std::string, double>> cuda_gemm_times(DeviceId device, DType type, bool trans_a, bool trans_b,
                                                            int64_t m, int64_t n, int64_t k, double seconds);

}  // namespace pd
