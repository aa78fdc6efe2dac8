// Runs a kernel over its whole domain: cut into tiles, operands addressed or packed, tiles shared among threads.
//
//   merge()     drops and merges axes: all that a device with index arithmetic in its kernels needs
//   prepare()   once a plan and shape: merges axes, picks the tiles, decides how each operand is reached
//   run()       the hot call: only addresses are computed
//
// Neither the shape of the tiles nor the number of threads changes a bit of the result.
#pragma once
#include <vector>

#include "fuse/interpreter.h"
#include "fuse/pack.h"

namespace pd {

// How an operand is reached in the tiles of one grid.
enum class Reach : uint8_t {
  Direct,   // where it is
  Packed,   // through an (R, C) copy in scratch memory
  Value,    // one value for all tiles
  Map,      // the three int64 of ArgClass::Index
  Partial   // an output of a split reduction: one result a piece, combined at the end
};

// One index of the domain (the flattened majors or minors) in pieces of `step`, which do not cross multiples of `run`.
struct Cut {
  int64_t total = 1, run = 1, step = 1, pieces_a_run = 1, pieces = 1;
  int64_t start(int64_t p) const { return p / pieces_a_run * run + p % pieces_a_run * step; }
  int64_t length(int64_t p) const {
    int64_t at = p % pieces_a_run * step;
    return run - at < step ? run - at : step;
  }
};

struct Grid {
  struct Operand {
    Reach reach = Reach::Direct;
    bool index = false;       // packed values are the map itself
    int64_t rstride = 0, cstride = 0;
    int64_t offset = 0;       // Direct, Value: bytes
    Ints strides;             // Direct: bytes an axis
    int64_t buffer = 0;       // Packed: offset in the task's scratch; Partial: in the launch's
    int64_t step = 0;         // of even tiles: bytes from one to the next
    int64_t gap = 0;          // of a program with runs: elements from the end of one run of minors to the next
  };
  Cut major, minor;
  bool even = false;          // every operand is Direct or a Value, and as far from tile to tile
  int64_t R = 0, C = 0;       // the largest tile
  int64_t run = 0;            // of minors; 0: the kernel is not told
  std::vector<Operand> operands;
  int64_t task_bytes = 0;     // scratch of a task before what the back end needs
  int64_t launch_bytes = 0;   // partial results
  int64_t tiles() const { return major.pieces * minor.pieces; }
  // Numbers that a compiled kernel gets behind its operands' addresses.
  int strides() const { return static_cast<int>(operands.size()) * (run ? 2 : 1) + (run ? 1 : 0); }
  template <class T> void tell_runs(T* strides) const {
    if (!run) return;
    for (const Operand& o : operands) *strides++ = o.gap;
    *strides = run;
  }
};

// The domain with as few axes as all operands allow.
struct MergedLaunch {
  struct Operand {
    DType dtype;
    ArgClass cls;             // as the runner sees it: a Red operand of rows is Maj
    bool output;
    bool red;                 // one value for each index that is not reduced
    LoopFn combine = nullptr; // of an output that a split program reduces
    View view;                // over the merged axes
  };
  Layout layout = Layout::Rows;
  Ints major, minor;          // merged axes
  std::vector<Operand> operands;
};

struct PreparedLaunch : MergedLaunch {
  Grid interpreted, compiled;
  int64_t work = 0;           // in additions of float32
};

// Something of the program has one value for each index that is not reduced: the other index then stays whole, even if
// it is empty.
bool reduces(const Program& p);

// True if the map is linear in r and c wherever the runner puts the tiles of this program: the condition for
// ArgClass::Index. Otherwise the arg is a Vec of int64 whose view has `index` set.
bool index_is_linear(const Program& p, const View& view, const Ints& major_dims, const Ints& minor_dims);

// One view an arg, over major_dims ++ minor_dims. An arg that does not depend on an axis has stride 0 there.
MergedLaunch merge(const Program& p, const Ints& major_dims, const Ints& minor_dims, const std::vector<View>& views);
PreparedLaunch prepare(const Program& p, const Ints& major_dims, const Ints& minor_dims,
                       const std::vector<View>& views);

// `compiled` may be null; its scratch need is `compiled_scratch` bytes a minor of the tile. bases: one an arg.
void run(const PreparedLaunch& launch, const Interpreted& program, KernelFn compiled, size_t compiled_scratch,
         void* const* bases);

}  // namespace pd
