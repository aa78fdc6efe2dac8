// The interpreter: runs a loop program on one tile, one compiled loop an instruction.
//
// Registers of a tile lie in scratch memory, in slots that later registers reuse. A Vec operand is read where it is,
// and a result is written where it is stored, when rows of the tile adjoin in memory or are long enough for a call
// each. An output may be the memory of an input, if the input's Load comes before the Store and both have the same
// addresses.
#pragma once
#include <cstddef>
#include <vector>

#include "fuse/program.h"
#include "fuse/reduce_loops.h"

namespace pd {

class Interpreted {
 public:
  explicit Interpreted(const Program& p);

  size_t scratch_bytes(int64_t R, int64_t C) const;
  // scratch need not be initialised; it is aligned to 64 bytes.
  void run(int64_t R, int64_t C, void* const* ptr, const int64_t* rstride, void* scratch) const {
    begin(R, C, ptr, scratch);
    tile(R, C, ptr, rstride, scratch);
  }
  // run() in two parts: what belongs to the whole kernel, then each tile, none larger than (R, C) of begin().
  void begin(int64_t R, int64_t C, void* const* ptr, void* scratch) const;
  void tile(int64_t R, int64_t C, void* const* ptr, const int64_t* rstride, void* scratch) const;

 private:
  struct Reg {
    char* p;
    int64_t ld;  // Elem: elements from one row to the next
  };
  struct RegInfo {
    Level level = Level::Uniform;
    uint8_t size = 0;
    bool spread = false;    // Uniform: its memory holds a block of copies
    bool reduced_only = false;
    int16_t direct = -1;    // the output in which the register may live
    int64_t slot = 0;       // Uniform: offset in bytes; else bytes an element of the slots before it
  };
  struct Step {
    InstrKind kind;
    Level level;
    ArgClass cls;
    int8_t arity;
    uint8_t size[3];        // of the operands' elements
    LoopFn fn = nullptr, right_scalar = nullptr, left_scalar = nullptr;
    ReduceLoops reduce;
    int16_t dst, in[3];
  };
  struct Hazard {
    int16_t output, input;
  };
  struct Frame;

  void check(const Program& p) const;
  void make_steps(const Program& p);
  void place(const Program& p);
  char* elem_slot(const Frame& f, int64_t slot) const;
  char* red_slot(const Frame& f, int64_t slot) const;
  void load(const Step& s, const Frame& f) const;
  void op(const Step& s, const Frame& f) const;
  void elem_op(const Step& s, const Frame& f) const;
  void store(const Step& s, const Frame& f) const;
  const char* as_elem(const Frame& f, int16_t reg, int operand) const;

  Layout layout_;
  int num_regs_ = 0;
  std::vector<RegInfo> regs_;
  std::vector<Step> uniform_steps_, steps_;
  std::vector<Hazard> hazards_;
  int64_t head_bytes_ = 0;     // register table, uniform values, row blocks
  int64_t row_blocks_ = 0;     // offset of three blocks of copies of one row's value
  int64_t elem_bytes_ = 0;     // all Elem slots and temporaries, an element
  int64_t red_bytes_ = 0;
  int64_t temp_slot_[3] = {0, 0, 0};
};

}  // namespace pd
