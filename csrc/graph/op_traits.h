// OpTraits: all that the rooms below ops/ may know of an op. graph/ declares the table, ops/ fills it.
#pragma once
#include <vector>

#include "graph/value.h"
#include "graph/var.h"

namespace pd {

enum class Family : uint8_t {
  Builtin, Elementwise, Create, Reduce, Movement, Contraction, Index, Scan, Control, Fallback
};

// One block of an elementwise op: out[i] = f(in0[i], …) for i < n. Pointers never alias but exactly.
using LoopFn = void (*)(const void* const* in, void* out, int64_t n);

enum class ReduceKind : uint8_t { None, Sum, Prod, Max, Min, Any, All };

enum class MoveKind : uint8_t { None, Reshape, Permute, Expand, Slice, Flip, Pad };

// How a derivative may reach an operand.
enum class Diff : uint8_t { Yes, Zero, No };

struct OpTraits {
  const char* name = "";
  Family family = Family::Builtin;
  int8_t arity = 0;          // -1: any number
  bool commutative = false;
  bool may_fail = false;     // can fail at run time: its recording line is kept
  bool reads_views = false;  // its kernel reads operands through strides, so movement before it copies nothing
  uint8_t cost = 1;          // elementwise: in units of one addition
  uint32_t needs_in = 0;     // bit k: the derivative mentions operand k
  bool needs_out = false;    // the derivative mentions the result
  // By operand, where it is known: what its own derivative mentions (bits 0…2 operands, 3 the result).
  static constexpr uint8_t kUnknown = 0xff;
  uint8_t mentions[3] = {kUnknown, kUnknown, kUnknown};
  Diff diff[4] = {Diff::Yes, Diff::Yes, Diff::Yes, Diff::Yes};
  ReduceKind reduce = ReduceKind::None;
  MoveKind move = MoveKind::None;
  bool is_cast = false;
  const char* doc = "";
  const char* twin = "";     // its NumPy twin, an expression in `np` and the operands
  const char* domain = "";   // where tests sample it, one "lo,hi" an operand, split by ';'
  uint32_t types = 0;        // bit of each compute dtype that it has loops for

  // Result of operands: shape, dtype, device; fails with an Error in the op's name.
  Spec (*infer)(const OpTraits& op, const Spec* in, int nin, const Ints& attrs) = nullptr;
  // Cotangent of operand k (already shaped as it). `need(k)` says which are wanted.
  void (*vjp)(const VjpArgs& a, Var* out) = nullptr;
  // Tangent of the result.
  Var (*jvp)(const JvpArgs& a) = nullptr;
  // The op over operands some of which carry a leading batch axis.
  Var (*batch)(const BatchArgs& a) = nullptr;
  // The same two for nodes of several outputs without a body; the batch axis leads each result.
  std::vector<Var> (*jvp_all)(const JvpArgs& a) = nullptr;
  std::vector<Var> (*batch_all)(const BatchArgs& a) = nullptr;
};

const OpTraits& traits(OpId op);
OpId register_op(const OpTraits& t);  // at start-up, by ops/
OpId find_op(const char* name);       // kLeaf where there is none
int op_count();

}  // namespace pd
