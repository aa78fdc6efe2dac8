// The reductions of the instruction set that the process runs (ops/loops.h says which).
#include "fuse/reduce_loops.h"
#include "ops/loops.h"

namespace pd {

ReduceLoops reduce_loops(ReduceKind kind, DType type) {
#if defined(__x86_64__) || defined(__i386__)
  if (host_isa_level() == Isa::Avx512) return reduce_avx512(kind, type);
  if (host_isa_level() == Isa::Avx2) return reduce_avx2(kind, type);
#endif
  return reduce_baseline(kind, type);
}

}  // namespace pd
