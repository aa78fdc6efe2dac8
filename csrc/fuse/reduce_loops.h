// Reductions of one tile by the tree of fuse/program.h, one pair of functions a kind and type. reduce_loops.cpp is
// compiled once an instruction set, as ops/loops.cpp is.
#pragma once
#include "fuse/program.h"

namespace pd {

// x[r * ld + c] for r < R, c < C. Rows: out[r], over c. Columns: out[c], over r.
using ReduceFn = void (*)(const void* x, int64_t R, int64_t C, int64_t ld, void* out);

struct ReduceLoops {
  ReduceFn rows = nullptr;
  ReduceFn columns = nullptr;
};

ReduceLoops reduce_loops(ReduceKind kind, DType type);  // nulls where the type has no such reduction

ReduceLoops reduce_baseline(ReduceKind kind, DType type);
ReduceLoops reduce_avx2(ReduceKind kind, DType type);
ReduceLoops reduce_avx512(ReduceKind kind, DType type);

}  // namespace pd
