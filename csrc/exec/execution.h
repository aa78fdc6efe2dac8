// One execution of a plan: whose turn it is, memory for the results, errors with their line.
#pragma once
#include <vector>

#include "device/buffer.h"
#include "exec/structure.h"

namespace pd {

// One execution at a time; who waits for it gives up the GIL meanwhile.
class Turn {
 public:
  Turn();
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
};

// Runs the plan on ready operands; the results' memory in the order of the plan's outputs. `work` is what the plan
// was made for, or of its structure: what failed is told with its line, and its size says whether the GIL is worth giving
// up. The caller has the turn and keeps leaves and values alive.
std::vector<BufferRef> execute(Plan& plan, const Work& work, const std::vector<Value*>& leaves,
                               const std::vector<int64_t>& numbers);

}  // namespace pd
