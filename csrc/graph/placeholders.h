// What a function is traced over beside placeholders of tensors: Python numbers that each run gives anew.
#pragma once
#include "graph/value.h"

namespace pd {

// The scalar, on this device, as number `cell` of a run. What is computed from it is abstract.
ValueRef make_cell(const Value* scalar, DeviceId device, int64_t cell);
// Which number of a run; -1: the scalar is what it is.
inline int64_t cell_of(const Value* v) { return v->abstract && v->is_scalar() ? v->ints()[0] : -1; }
// The value is computed with a graph of placeholders: it is no longer among what is pending by itself.
void leave_pending(Value* v);

}  // namespace pd
