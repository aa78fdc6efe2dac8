// A stable sort of pairs on the device.
#pragma once
#include "kernels/cuda/launch.h"

namespace pd {
namespace cuda {

// `count` keys in [0, end) and their values, both in arrays of 32 or, where `wide`, 64 bits; rise by key, equal keys in
// the order in which they were. The result is where key and value point after the call: they, or the spare arrays.
void sort_pairs(const CudaNativeContext& c, bool wide, int64_t count, int64_t end, void*& key, void*& value,
                void*& spare_key, void*& spare_value);

std::string sort_text(const Head& head);

}  // namespace cuda
}  // namespace pd
