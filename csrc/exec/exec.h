// Evaluation: from pending values to buffers, by plans that are cached by structure and replayed.
#pragma once
#include <exception>
#include <string>
#include <vector>

#include "graph/value.h"

namespace pd {

// Computes the values (and what else the contracts of "looking early" ask for). Called with the GIL;
// releases it while kernels run. Throws what only the run could find.
void evaluate(const std::vector<Value*>& roots);

// Evaluates everything that a handle or the tape holds: called when pending work passes its bound.
void flush();
inline bool over_bound();

// Giving up the GIL and taking it back; raising what a function of the host raised, with a note; telling the user what is
// slower than it should be (with the GIL; throws where warnings are errors). Filled by python/.
struct ExecHooks {
  void* (*unlock)() = nullptr;
  void (*lock)(void* state) = nullptr;
  void (*raise)(std::exception_ptr error, const std::string& note) = nullptr;
  void (*warn)(const char* text) = nullptr;
};
extern ExecHooks g_exec;

struct ExecStats {
  int64_t plans = 0;        // made
  int64_t replays = 0;      // structure seen before
  int64_t kernels = 0;      // fused kernels launched
  int64_t natives = 0;      // other kernels launched
  int64_t instructions = 0; // of the fused kernels launched
  int64_t graphs = 0;       // CUDA graphs captured
  int64_t graph_replays = 0;  // and launched
  int64_t merged = 0;       // operations of plans made that repeated another
  int64_t recomputed = 0;   // values computed again, in plans made to fit the memory limit
  int64_t epilogues = 0;    // products given to cuBLASLt with a bias or relu: in a captured graph once
};
const ExecStats& exec_stats();
void clear_plans();

// Bytes of the plan that evaluating the roots would make, with the memory limit and without; computes nothing.
struct PlanMemory {
  int64_t peak = 0, unlimited = 0;
  int recomputed = 0;
};
PlanMemory plan_memory(const std::vector<Value*>& roots);
// The fused kernels that evaluating the roots would launch, printed; computes nothing.
std::string explain(const std::vector<Value*>& roots);
// The CUDA C++ of these kernels, as a CUDA device would be given it; `far`: as a CUDA graph contains them.
std::vector<std::string> cuda_texts(const std::vector<Value*>& roots, bool far = false);

int64_t& pending_node_limit();
int64_t& pending_byte_limit();
// Bytes that a plan may need, its operands and results included; 0: any. Part of what plans are found by.
int64_t& memory_limit();
// Under a memory limit what is pending may grow: only a plan of all of it can do with less memory than it has values.
inline bool over_bound() {
  return g_pending.nodes > pending_node_limit() || (g_pending.bytes > pending_byte_limit() && !memory_limit());
}

}  // namespace pd
