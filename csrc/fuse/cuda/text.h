// A loop program of one form as CUDA C++.
#pragma once
#include <string>

#include "fuse/cuda/form.h"

namespace pd::cuda {

// Text behind kCudaPrelude, with `PD_KERNEL name(const PdParams P)`. Its launch:
//
//   Elementwise  blocks of kThreads; thread t takes elements [t * vector, …), then steps on by all threads.
//                `name` + kManySuffix runs it over several domains, one after another in the grid: its parameter is
//                {count, start[segments + 1], the parameters of each of up to segments_at_once()}; far: the address of
//                {count, start[count + 1], the parameters of each}
//   Rows         blocks of max(kThreads, kLanes * halves); kLanes * halves threads a row (or piece of a row)
//   Columns      blocks of (kStrip, kLanes); a strip of columns each, grid.y: pieces
//
// Reductions follow the tree of fuse/program.h: thread l of kLanes is lane l.
// Dynamic shared memory: spill_bytes() where the form spills there.
std::string kernel_text(const Program& p, const Form& f, const std::string& name);

constexpr const char* kManySuffix = "_many";
// So many domains' parameters, of `words` each, fit into those of one launch (4 KB on any driver); below 2: no such kernel.
inline int segments_at_once(int words) { return (4000 / 8 - 2) / (words + 1); }

// The kernel that combines the partial results of reduction `reduce` (its instruction) of a split program:
//   PD_KERNEL name(const T* partial, M* out, i64 pieces, i64 kept)     M: the element in memory
// a block of kThreads for each kept index; out is contiguous over the kept index. `far`: (const i64* where), where these
// four lie.
std::string combine_text(const Program& p, int reduce, const std::string& name, bool far = false);

// Elements of static shared memory that a reduction takes, and bytes of all together.
int shared_items(const Form& f);
int64_t shared_bytes(const Program& p, const Form& f);

// Bytes of spilled values a row (Rows) or a strip of columns (Columns) needs, for C minors or R majors.
int64_t spill_bytes(const Program& p, Kind kind, int64_t R, int64_t C);

}  // namespace pd::cuda
