// Numbers: those of formulas, and Python integers given for the elements of a tensor, which fit or are an error, where an
// operand takes the low bits.
#pragma once
#include "ops/api.h"

namespace pd {

// A flag of numbers that stand in a formula: those of one graph that have equal bits are one argument of its plan, so what
// derivative rules compute of them twice is computed once. The user's numbers are an argument each, whatever their values.
constexpr uint8_t kConstant = 4;

// Whether the type holds i, or being unsigned its negative.
bool fits(int64_t i, DType dtype);
// cast, but a Python integer that does not fit the type is an error of `op`.
Var as_element(const char* op, const Var& x, DType dtype);

}  // namespace pd
