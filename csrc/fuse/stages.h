// A loop program cut into stages: loops over one tile row (Rows) or strip (Columns), each ended by the
// reductions whose results the next one needs.
//
// A value that a later stage needs is, in this order: loaded again; read back from the output it was
// stored to; computed again where that is cheap; else spilled to scratch. Outputs may be written over
// an operand of the same shape (exact alias), so what is loaded after the first store of its size
// is spilled too, and within a stage loads come before stores.
#pragma once
#include <vector>

#include "fuse/program.h"

namespace pd {

struct Step {
  enum Kind : uint8_t { Compute, ReadOutput, ReadSpill, Spill, Store, Reduce };
  Kind kind;
  int instr;  // whose result it is
  int where;  // an arg (ReadOutput), or a slot (ReadSpill, Spill)
};

struct Stage {
  std::vector<int> before;  // Red instructions to be done before its loop
  std::vector<Step> steps;
  std::vector<int> reduces;
};

struct Stages {
  std::vector<int> uniform;           // Uniform instructions
  std::vector<Stage> stages;          // the last one has no steps: only `before`
  std::vector<DType> slots;           // element types of the spill slots, the widest first
  std::vector<int> source[3];         // of each instruction: the one that defines its operand, or -1
  std::vector<int> stage_of;          // of each live instruction: the first stage where it is known
  int64_t body_nodes = 0;             // expression nodes of all loops together
};

Stages cut_stages(const Program& p);

// The type of an instruction's result (of the operand, for Store).
DType type_of(const Program& p, const Instr& i);
// An instruction that works on each (r, c).
bool is_elem(const Program& p, const Instr& i);

}  // namespace pd
