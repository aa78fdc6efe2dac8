// The forward column of each elementwise row as a scalar expression tree.
#pragma once
#include "graph/value.h"
#include "ops/expr.h"

namespace pd {

// The tree of row `op` (or cast) on operands of compute type `in` (of its last operand), result of
// type `out`; null where the row has no such form. Built once and kept; any thread may ask.
const ExprTree* expr_for(OpId op, DType in, DType out);
const ExprTree* cast_expr(DType from, DType to);

}  // namespace pd
