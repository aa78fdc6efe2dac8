// What running a plan step by step and replaying it as a graph share.
#pragma once
#include "device/device.h"
#include "exec/plan.h"

namespace pd {

void run_cuda_matmul(const MatmulStep& s, void* const* slots, DeviceId device, Stream stream);
// cells: the plan's error cells on the device; scratch may be null.
void run_cuda_native(const NativeStep& s, void* const* slots, int64_t* cells, Device& device, Stream stream,
                     CudaScratch* scratch);
// Adds a plan's kernels to the counters.
void count_steps(const Plan& plan);

}  // namespace pd
