// A plan that runs again on the CPU: all that its small steps need, one after the other in one stretch of memory.
//
// As the plan has it a step is spread over a kilobyte or two; reading ten thousand of them takes longer than kernels on a
// dozen numbers each. Here what is one tile with operands that lie where they are is a call with its addresses, and a short
// concatenation is a few copies. Every other step, and a kernel that is not compiled yet, runs as ever.
#pragma once
#include <cstdint>
#include <vector>

#include "exec/plan.h"

namespace pd {

class CpuReplay {
 public:
  explicit CpuReplay(const Plan& plan);

  // other(step) runs a step of the plan by its number; false: it found an error, and the rest is left.
  template <class Other> void run(void* const* slots, Other other) const {
    const int64_t* at = words_.data();
    for (int step; (step = perform(at, slots)) >= 0;)
      if (!other(step)) return;
  }

 private:
  // Does what stands at `at`, up to the next step that runs as ever: its number, and `at` is behind it; -1 at the end.
  int perform(const int64_t*& at, void* const* slots) const;
  bool add_calls(const FusedStep& s, int step);
  bool add_copies(const NativeStep& s);

  std::vector<int64_t> words_;
};

}  // namespace pd
