// Convolutions on a CUDA device by implicit products: the windows are read where they lie.
#pragma once
#include <cstdint>
#include <string>

namespace pd {

// How many launches went to which kernel, since the program began. For tests.
struct ConvolutionCounts {
  int64_t tensor_cores = 0, tiles = 0, few = 0, longest = 0, sums = 0;
};
ConvolutionCounts& cuda_convolution_counts();

}  // namespace pd
