// LLVM IR of a loop program: vectors of kLanes whatever the type, IEEE operations only, no flags, so
// that code generation alone gives the bits of the block interpreter.
#pragma once
#include <cstddef>
#include <string>

#include "fuse/program.h"

namespace pd {

// A tile's reduced index has at most so many blocks of kBlock elements; longer ones come in pieces
// (Program::split). The runner checks it.
constexpr int64_t kMaxBlocks = 64;

// The text of `void name(i64 R, i64 C, ptr ptrs, ptr rstrides, ptr scratch)`: a KernelFn for any R
// and C >= 0 with at most kMaxBlocks blocks. `*scratch_per_minor` is what scratch_bytes() multiplies.
// Throws Error where the program is not one that it knows.
std::string emit_llvm(const Program& p, const std::string& name, size_t* scratch_per_minor);

// Size of the scratch of a tile: a slot holds a whole row, padded to kLanes (Rows), or one strip of
// kLanes minors (Columns). To be aligned to 64 bytes.
inline size_t scratch_bytes(Layout layout, size_t per_minor, int64_t R, int64_t C) {
  int64_t padded = (C + kLanes - 1) / kLanes * kLanes;
  return per_minor * static_cast<size_t>(layout == Layout::Rows ? padded : R * kLanes);
}

}  // namespace pd
