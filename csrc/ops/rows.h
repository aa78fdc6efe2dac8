// Elementwise rows: what the columns of rows/*.def mean, and the list of the files.
//
//   ROW1(name, types, out, forward, (derivative…), cost, twin, domain, doc)         operand  x
//   ROW2(name, types, out, forward, (…), cost, commutative, twin, domain, doc)      operands a, b
//   ROW3(name, types, out, forward, (…), cost, twin, domain, doc)                   operands a, b, c
//   DRAW(name, types, forward, cost, doc)             operands i, s, k of int64; F is the type drawn
//
//   types      compute types that the row takes; several operands share one (of ROW3 the last two)
//   out        Same: the operands' type; Bool
//   forward    over X, the operands' value type, in the primitives of vmath/scalar.h
//   derivative one a operand, over graph values; may mention the operands, the result y, the cotangent g:
//     D(e)       the cotangent times e (a strong-zero product)
//     L(e)       e itself, linear in g: the same map carries tangents forward
//     ONE, MINUS_ONE, ZERO (a documented zero), NONE (asking is an error)
//   cost       in units of one addition
//   twin       the NumPy (or `math`) expression that tests compare with
//   domain     where tests sample, "lo,hi" an operand
//   doc        one line
//
// What the derivative mentions is what is kept for it: found by running the column over `Mention`.
// Where the three uses are: rows_value.h (loops and trees), rows_graph.h (derivatives), table.cpp.
#pragma once



namespace pd {

enum TypeSet : unsigned {
  kB = 1,
  kI32 = 2,
  kI64 = 4,
  kF32 = 8,
  kF64 = 16,
  kU64 = 32,
  kInts = kI32 | kI64 | kU64,
  kBits = kB | kInts,
  kFloats = kF32 | kF64,
  kNum = kInts | kFloats,
  kAll = kB | kNum
};

enum class RowOut { Same, Bool, Draw };

}  // namespace pd
