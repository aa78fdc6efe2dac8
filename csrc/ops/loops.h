// The interpreter's loops: one for each row of ops/rows/*.def and each compute type that it takes, and casts.
//
// loops.cpp is compiled once an instruction set, with PD_ISA defined; all give the same bits. The process picks one
// when it first asks, the widest that the CPU has, or PYDIFF_ISA=baseline|avx2|avx512.
//
// A loop's operands are arrays of n, booleans being bytes of 0 or 1, and the result may be exactly one of the operands.
// Cheap rows of two operands have two more loops, for an operand that is a single value.
#pragma once
#include "graph/op_traits.h"

namespace pd {

// From Avx2 on there are instructions that convert float16 (F16C), which do what vmath/narrow.h says.
enum class Isa : uint8_t { Baseline, Avx2, Avx512 };
Isa host_isa_level();
const char* host_isa();

enum class LoopShape : uint8_t { Arrays, RightScalar, LeftScalar };

// `in` is the row's compute type, that of its last operand. Null where there is no such loop.
LoopFn loop_for(OpId op, DType in, DType out, LoopShape shape = LoopShape::Arrays);

// The number's bits in a type, in the first bytes; `f` of a floating type, `i` of another. As a cast would do it.
int64_t number_bits(DType type, double f, int64_t i);

// f as a whole number of an integer type or bool, before it wraps to a narrow one: what a cast of a tensor gives. That of
// uint64 is its bits.
int64_t whole_number(DType type, double f);

LoopFn loop_baseline(OpId op, DType in, DType out, LoopShape shape);
LoopFn loop_avx2(OpId op, DType in, DType out, LoopShape shape);
LoopFn loop_avx512(OpId op, DType in, DType out, LoopShape shape);

// Cost of an element in units of one addition: the row's column, 1 for anything else.
int loop_cost(OpId op);

ReduceKind reduce_kind(OpId op);                 // None for what is not a reduction
LoopFn combine_loop(ReduceKind kind, DType type);  // the row that combines two partial results

}  // namespace pd
