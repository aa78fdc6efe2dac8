// Python integers given for the elements of a tensor: there they fit or are an error, where an operand takes the low bits.
#pragma once
#include "ops/api.h"

namespace pd {

// Whether the type holds i, or being unsigned its negative.
bool fits(int64_t i, DType dtype);
// cast, but a Python integer that does not fit the type is an error of `op`.
Var as_element(const char* op, const Var& x, DType dtype);

}  // namespace pd
