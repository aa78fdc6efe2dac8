// Sums of tensors each of which is zero but for a part.
#pragma once
#include <vector>

#include "graph/var.h"

namespace pd {

// Whether x is a large tensor of zeros around another, just recorded and with no derivative of its own.
bool is_part(const Var& x);
// Their sum: the parts joined, where they lie one behind another along an axis, else one added to the next.
Var sum_of_parts(const std::vector<Var>& parts);

}  // namespace pd
