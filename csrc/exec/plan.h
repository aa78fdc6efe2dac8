// A plan: what to run for a piece of graph of one structure and shape, on numbered slots of memory.
//
//   slots   [0, leaves)                 operands that are ready
//           [leaves, leaves + numbers)  cells of Python numbers
//           then                        what the plan computes: outputs, and temporaries in one arena
#pragma once
#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "exec/matrix_operands.h"
#include "exec/step_facts.h"
#include "fuse/cuda/launch.h"
#include "fuse/kernel_cache.h"
#include "fuse/piece.h"
#include "fuse/runner.h"
#include "kernels/cuda/native_cuda.h"
#include "kernels/native.h"

namespace pd {

struct FusedLaunch {
  PreparedLaunch launch;                // on the CPU
  std::unique_ptr<cuda::Launch> cuda;   // on a CUDA device
  std::unique_ptr<cuda::Launch> plain;  // the same for addresses that are not aligned, made when first met
  std::function<cuda::Launch(bool whole, bool far)> make;  // there: another form of it
  std::vector<int> slots;  // one an argument; -1: the index itself
};

// One kernel on one domain, or on several (the segments of a foreach).
struct FusedStep {
  KernelRef kernel;
  std::vector<FusedLaunch> launches;
  bool parallel = false;   // the launches are small: they share the threads
  int64_t instructions = 0;
  int64_t elements = 0;    // over all launches
};

struct MatmulStep {
  DType type;              // of the operands; on the CPU, the result of bfloat16 is float32
  int64_t m, n, k;
  int64_t outer, inner;    // the batch
  MatrixOperand a, b;
  int out;
  int64_t batch() const { return outer * inner; }
  // On a CUDA device: a bias for every row, in this slot from `obias` on, and relu. What `tail` does in place where
  // cuBLASLt does not serve; built when first needed.
  int bias = -1;
  int64_t obias = 0;
  bool relu = false;
  std::unique_ptr<FusedLaunch> tail;
};

struct NativeStep {
  OpId op;
  NativeFn fn = nullptr;               // on the CPU
  CudaNativeFn cuda_fn = nullptr;      // on a CUDA device
  int error = -1;                      // there: which of the plan's error cells it writes
  std::vector<Spec> specs;
  Spec out_spec;
  Ints attrs;
  std::vector<int> in;
  int out = -1;
  int origin = -1;   // place of its node in the walk that the plan was made for
  // Of an op that reads views: where each operand begins, and its strides, in items.
  std::vector<int64_t> offsets;
  std::vector<Ints> strides;
  std::vector<int> outs;  // there, of an op of several results; -1: nobody reads it
};

// An operation of the user's own. On a CUDA device that is fills and one launch whose arguments are known beforehand, so
// it may be captured; on the CPU it may be a function of the host (`code->by_host()`), which takes the GIL.
struct CustomStep {
  CustomCodeRef code;
  std::vector<int> in, out;
  int origin = -1;
};

struct Step {
  std::unique_ptr<FusedStep> fused;
  std::unique_ptr<MatmulStep> matmul;
  std::unique_ptr<NativeStep> native;
  std::unique_ptr<CustomStep> custom;
  StepFactsRef facts;  // null in a plan that was made while nobody profiled
};

class CpuReplay;
class CudaReplay;
namespace profile {
class Run;
}

struct Plan {
  DeviceId device;
  std::shared_ptr<CudaReplay> replay;    // of a CUDA device, once it runs again
  std::shared_ptr<CpuReplay> cpu_replay;  // of the CPU, likewise
  bool has_run = false;
  int errors = 0;  // steps that may find an error on a CUDA device
  bool has_custom = false;
  bool fused = true;  // as FuseOptions had it
  std::vector<Step> steps;
  int leaves = 0;
  std::vector<DType> numbers;
  int slots = 0;
  struct Temp {
    int slot;
    int64_t offset;
  };
  std::vector<Temp> temps;      // into the arena
  int64_t arena = 0;            // bytes
  int64_t peak = 0;             // bytes of operands, results and arena
  int64_t memory_limit = 0;     // that it was made for; 0: none
  int64_t unlimited = 0;        // the peak without it
  int recomputed = 0;           // values that are computed again, each time counted
  int arena_step = -1;          // the step that writes the largest of them
  struct Constant {
    int slot;
    int64_t bits;
  };
  std::vector<Constant> constants;  // numbers inside bodies
  struct Output {
    int slot;        // where its elements are computed, or of the leaf whose memory it shares
    int64_t bytes;
    bool fresh;      // memory of its own; otherwise another output's or a leaf's
  };
  std::vector<Output> outputs;  // in the order in which the walk met them

  bool limited() const { return peak < unlimited; }
  std::string fit_text() const;  // what the limit made of it
};

// A Python number in its cell: the bits of its dtype.
int64_t number_bits(const Value* v);

// The piece as a plan for this device has it: nothing is computed twice, and on a CUDA device products take what is behind
// them along. `outputs` follow.
Piece rewritten(DeviceId device, Piece piece, std::vector<int>& outputs, const FuseOptions& options,
                std::vector<OpId>* merged = nullptr);

// Bytes that so many take in the arena.
inline int64_t arena_bytes(int64_t bytes) { return (std::max<int64_t>(bytes, 1) + 63) / 64 * 64; }

// Builds the plan of a piece: partition, lowering, memory, and on a CUDA device compilation. `outputs` are node numbers.
// Where its peak is above the limit, values are computed again rather than kept; fails where that does not suffice. `used`
// gets the piece that the plan was made of.
std::unique_ptr<Plan> build_plan(DeviceId device, Piece piece, const std::vector<int>& outputs, int leaves,
                                 const std::vector<DType>& numbers, const FuseOptions& options, bool compile = true,
                                 Piece* used = nullptr);

// Runs it. leaf_data has the leaves' memory, numbers the cells' bits, outputs the fresh outputs' memory
// (null for the others). No Python object is touched, but by a step whose code is `by_host`. `leaf_owners`, where the
// plan has such steps, are the buffers of leaf_data.
void run_plan(Plan& plan, void* const* leaf_data, const int64_t* numbers, void* const* outputs, NativeError& error,
              Buffer* const* leaf_owners = nullptr, profile::Run* watched = nullptr);
// On a CUDA device, step by step.
void run_cuda_steps(Plan& plan, void* const* slots, NativeError& error, profile::Run* watched);
void run_custom_step(const CustomStep& s, void* const* slots, Buffer* const* owners, NativeError& error, Stream stream = {});

FuseOptions fuse_options();

// Whether an opaque node's operands may be views of what is in memory.
bool may_read_views(const PieceNode& n);

}  // namespace pd
