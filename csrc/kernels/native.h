// Kernels that the fuser cannot make, by op: what the executor calls between fused kernels.
//
// Operands and results are contiguous, row-major, in host memory; operands of an op that reads views lie as their strides
// say. A kernel is the same bits for any number of threads.
#pragma once
#include <exception>

#include "base/error.h"
#include "graph/op_traits.h"

namespace pd {

struct NativeArgs {
  OpId op;
  int nin;
  const Spec* specs;       // of the operands
  const void* const* in;
  const Spec* out_spec;
  void* out;               // may be in[0]'s memory where the executor donates it (index_put, slice_update)
  const Ints* attrs;
  // Of an op that reads views (OpTraits), never null: the strides of each operand, in items, from the address in `in` on.
  const Ints* strides = nullptr;
  // Of an op of several results: each of them, null where nobody reads it; `out` and `out_spec` are the first's.
  void* const* outs = nullptr;
};

// What only the run can know went wrong; empty text: nothing. Reported at the next synchronisation.
struct NativeError {
  int origin = -1;   // the step's node, by its place in the evaluation; set by the executor
  ErrorKind kind = ErrorKind::Index;
  std::string text;  // "[gather] index out of range; got 7 for an axis of size 5; try …"
  std::exception_ptr raised;  // what a function of the host raised; `text` then is its operation's name
  uint64_t late = 0;  // the number of a run whose errors are known later (exec/late_errors.h)
};

using NativeFn = void (*)(const NativeArgs& a, NativeError& error);

NativeFn native_for(OpId op);   // null: the op has none
bool may_donate(OpId op);       // out may take the memory of operand 0
bool joins(OpId op);            // out is the operands, one behind the other along axis attrs[0]

}  // namespace pd
