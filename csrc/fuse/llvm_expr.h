// LLVM IR of one scalar operation, over scalars or vectors of kLanes.
#pragma once
#include <set>
#include <string>

#include "fuse/program.h"
#include "ops/expr.h"

namespace pd::ir {

// Where a value is computed: Uniform at the start of the kernel, Red before the loop of a stage,
// Body within one. A value may be used wherever its place is not above the user's.
enum : int { kUniform = 0, kRed = 1, kBody = 1 << 20 };  // Red of stage k is kRed + k

struct Val {
  int id = -1;        // printed as %v<id>
  DType type = DType::F32;
  bool vec = false;
  bool konst = false;  // then `imm` holds its bits
  int place = kUniform;
  int64_t imm = 0;
  bool valid() const { return konst || id >= 0; }
};

Val constant(DType t, int64_t bits);
// The identity of a reduction.
Val identity(ReduceKind k, DType t);

const char* scalar_type(DType t);              // float; of a narrow type its carrier's
const char* memory_type(DType t);              // float; i8 for Bool, the integer of its size for a narrow type
const char* type_suffix(DType t);              // of an intrinsic on what lies in memory: f32, i8 for Bool
void add_type(std::string& s, DType t, bool vec, int lanes = kLanes);
void add_val(std::string& s, const Val& v, bool vec);  // without its type; a constant takes the form asked

// Appends text and hands out names.
struct Text {
  int next = 0;
  std::set<std::string> declares;

  int fresh() { return next++; }
  // %v = opcode type a, b
  int binary(std::string& s, const char* opcode, DType t, bool vec, const Val& a, const Val& b, int lanes = kLanes);
  // One node; operands already have the node's form.
  Val node(std::string& s, const ExprNode& n, const Val& a, const Val& b, const Val& c, bool vec);
  // acc combined with x, acc on the left
  Val combine(std::string& s, ReduceKind k, const Val& acc, const Val& x, bool vec, int lanes = kLanes);

  Val compare(std::string& s, const char* cond, const Val& a, const Val& b, bool vec, int lanes = kLanes);
  Val select(std::string& s, const Val& c, const Val& a, const Val& b, bool vec, int lanes = kLanes);

 private:
  Val call1(std::string& s, const char* name, const Val& a, bool vec);
  Val cast(std::string& s, DType to, const Val& a, bool vec);
  Val divide(std::string& s, bool quotient, const Val& a, const Val& b, bool vec);
};

}  // namespace pd::ir
