// Products of bfloat16 on the CPU: recorded as casts to float32 and a product of those, run on the operands as they are.
#pragma once
#include <vector>

#include "fuse/piece.h"

namespace pd {

// The piece with products of float32 whose operands were both cast from bfloat16, and perhaps moved then, reading what was
// cast; the casts go where nobody else reads them. Only where the processor is faster so (kernels/cpu/gemm.h); the bits stay.
// `outputs`, numbers of nodes, become those of the new piece.
Piece with_narrow_operands(Piece p, std::vector<int>& outputs);

}  // namespace pd
