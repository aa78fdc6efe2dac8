// CUDA C++ of single values: types, constants, expression trees, reductions.
#pragma once
#include <string>
#include <vector>

#include "fuse/program.h"
#include "ops/expr.h"

namespace pd::cuda {

// What the texts of fused kernels call, behind the prelude: conversions and divisions as scalar.h defines them.
const std::string& value_helpers();

const char* type_name(DType t);    // of a register; of a narrow type its carrier's
const char* memory_name(DType t);  // of an element in memory: Bool is a byte
std::string literal(DType t, int64_t bits);
// `acc` on the left.
std::string combine(ReduceKind k, DType t, const std::string& acc, const std::string& x);
std::string identity(ReduceKind k, DType t);

// The helper that does a conversion by an instruction; null where there is none.
const char* conversion(DType from, DType to);
// Statements that compute the tree on operands of these names; returns the name of the result. `next` numbers names.
std::string print_tree(const ExprTree& tree, const std::vector<std::string>& in, const char* indent, int* next,
                       std::string& out);

}  // namespace pd::cuda
