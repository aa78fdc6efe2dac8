// The loop program: what the fuser makes of a piece of graph, and what three back ends execute.
//
// A program works on one tile at a time. A tile has R majors and C minors; minors are the ones that
// vectors run along. Registers live at one of three levels:
//
//   Elem     one value for each (r, c)
//   Red      one value for each index that is not reduced: each r (Rows) or each c (Columns)
//   Uniform  one value for the whole kernel (Python numbers, 0-d operands)
//
// Layout::Rows      reductions run along the minors: Elem (R, C) -> Red (R)
// Layout::Columns   reductions run along the majors: Elem (R, C) -> Red (C)
//
// The tree of a reduction of n elements is a function of n alone (kLanes, kBlock):
//   within a block of kBlock elements, element j is added to lane j % kLanes in order of j, lanes
//   starting from the identity; lanes l and l + kLanes/2 are combined (lane l on the left), then
//   kLanes/4 …; blocks are combined in adjacent pairs, level by level, an odd last one carried up.
//
// An operand reaches the program through an Arg whose class says how its address depends on (r, c):
//   Vec    ptr[r * rstride + c]       (rstride in elements, any value, 0 too)
//   Maj    ptr[r * rstride]           one value a major
//   Uni    ptr[0]
//   Index  an int64 that is base + r * rs + c * cs; ptr points to those three int64
// Anything else is first packed into a tile by the runner and then is Vec. Outputs are Vec or Maj.
// A program with `runs` finds its minors in runs, as the places of an image lie whose batch they are summed over:
//   Vec    ptr[r * rstride + c + c / run * gap]    behind the strides of the n args stand n gaps and the run, a multiple
//                                                  of kLanes or all of C
// Booleans are bytes, 0 or 1.
//
// Key of a kernel: code, register types, layout, arg classes and types. No sizes.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "graph/op_traits.h"

namespace pd {

constexpr int kLanes = 16;
constexpr int64_t kBlock = 1024;
// Rows of at most this many elements stay whole in a tile, so that a reduction's result can be used
// by later element-wise work of the same kernel. Longer ones are reduced by a terminal kernel.
constexpr int64_t kMaxRow = 16384;

enum class Level : uint8_t { Uniform, Red, Elem };
enum class Layout : uint8_t { Rows, Columns };
enum class ArgClass : uint8_t { Vec, Maj, Uni, Index };

struct Arg {
  DType dtype;
  ArgClass cls;
  bool output;
  bool operator==(const Arg& o) const { return dtype == o.dtype && cls == o.cls && output == o.output; }
};

enum class InstrKind : uint8_t { Load, Op, Reduce, Store };

// Load:   dst = arg[a]                     (level of dst: Vec/Index Elem, Maj Red, Uni Uniform; in Columns
//         a Red operand is Vec with the flag `level == Red`: it is read once for each c, r = 0)
// Op:     dst = op(a, b, c)                elementwise row `op` (or cast) on registers; operands of a lower
//         level are broadcast. `type` is the row's compute type: that of its last operand
// Reduce: dst = reduce over the reduced index of Elem register a, by `op` (reduce_sum …)
// Store:  arg[dst] = register a            Elem or Red
struct Instr {
  InstrKind kind;
  Level level;  // of dst; of a for Store
  OpId op;
  DType type;
  int16_t dst;
  int16_t a, b, c;
  bool operator==(const Instr& o) const {
    return kind == o.kind && level == o.level && op == o.op && type == o.type && dst == o.dst && a == o.a &&
           b == o.b && c == o.c;
  }
};

struct Program {
  Layout layout = Layout::Rows;
  // A terminal program of a long reduction: nothing uses a Red register but its Store, and the runner
  // calls it on pieces of the reduced index (each a power of two of kBlock, but the last), combines.
  bool split = false;
  bool runs = false;           // of Rows that are reduced
  std::vector<Instr> code;     // in an order of dependence; executing it in order is right
  std::vector<DType> regs;     // type of each register (Bool, I32, I64, U64, F32, F64)
  std::vector<Level> levels;   // and its level
  std::vector<Arg> args;
  uint64_t hash() const;
  bool operator==(const Program& o) const {
    return layout == o.layout && split == o.split && runs == o.runs && code == o.code && regs == o.regs && levels == o.levels &&
           args == o.args;
  }
};

std::string print(const Program& p);

// One tile: ptr and rstride have one entry an arg; scratch has what the back end asked for.
using KernelFn = void (*)(int64_t R, int64_t C, void* const* ptr, const int64_t* rstride, void* scratch);

}  // namespace pd
