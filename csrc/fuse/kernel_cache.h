// Kernels by program, and their way from interpreted to compiled.
//
// A kernel starts interpreted. Once it has earned it (background) or before its first use (blocking) its
// program is printed as LLVM IR and handed to the host; the function that comes back has the same bits, so
// it takes over between two calls, unseen.
#pragma once
#include <atomic>
#include <memory>
#include <string>

#include "base/ref.h"
#include "fuse/interpreter.h"
#include "fuse/llvm.h"

namespace pd {

enum class JitMode : uint8_t { Off, Background, Blocking };

struct Kernel {
  Program program;
  std::unique_ptr<const Interpreted> interpreted;  // made by the first plan that runs it
  std::string name;                    // pd_<hash of the program>
  uint64_t id = 0;                     // a ticket for the host
  std::atomic<KernelFn> fn{nullptr};   // compiled; null: interpret
  size_t scratch_per_minor = 0;        // of fn; valid once fn is seen
  std::atomic<int32_t> refs{0};
  std::atomic<int64_t> work{0};        // instructions times elements executed so far
  std::atomic<int32_t> uses{0};
  enum State : uint8_t { Uncompiled, Queued, Compiling, Compiled, Failed };
  std::atomic<State> state{Uncompiled};

  // To be called once for each launch, before its first tile: counts the use, asks for compilation where it
  // is due, and gives the function for all tiles of this launch, or null: interpret. `elements` are those of
  // the launch. Any thread; no lock may be held (the host may be called).
  KernelFn compiled(int64_t elements = 0);
  // Scratch of one tile for that function.
  size_t scratch(int64_t R, int64_t C) const { return scratch_bytes(program.layout, scratch_per_minor, R, C); }
};

void retain(Kernel* k);
void release(Kernel* k);
using KernelRef = Ref<Kernel>;

// The one kernel of a program. Plans hold references; what nobody holds is dropped, least recently
// asked for first, when there are more than `kernel_limit()` kernels.
KernelRef kernel_for(const Program& p);
int64_t& kernel_limit();

struct KernelStats {
  int64_t kernels = 0;    // in memory
  int64_t compiled = 0;   // since the start
  int64_t failed = 0;
  int64_t queued = 0;     // waiting now
};
KernelStats kernel_stats();

// ---- for the host

JitMode jit_mode();
void set_jit_mode(JitMode m);

struct CompileJob {
  uint64_t id = 0;
  std::string name, ir, error;
};
// The next job, printed in the calling thread; waits for one. False once stopped.
bool take_compile(CompileJob& job);
void finish_compile(uint64_t id, void* address);
void stop_compiles();
// In the child of a fork: what was queued or being compiled may be asked for again.
void compiles_after_fork();

}  // namespace pd
