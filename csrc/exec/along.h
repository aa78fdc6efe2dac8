// What is computed along with an evaluation, because apart it would cost the same work again.
#pragma once
#include <vector>

#include "graph/value.h"

namespace pd {

// Values that tensors hold and that need cheap results of this evaluation which it does not store: its `order` has them
// pending behind it, `is_output` says what it stores. None where little would be computed twice. What runs code of the
// user's is left until it is asked for; so is on a device what may fail when it runs.
std::vector<Value*> computed_along(const std::vector<Value*>& order, const std::vector<char>& is_output);

}  // namespace pd
