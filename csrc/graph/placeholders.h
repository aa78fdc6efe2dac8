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

// While it lives, those of the values that are pending are placeholders: a walk ends at them. The leaves of a recording may
// be pending again when it is looked at later.
class AsPlaceholders {
 public:
  explicit AsPlaceholders(const std::vector<Value*>& values) {
    for (Value* v : values)
      if (v->pending()) {
        v->state = State::Param;
        values_.push_back(v);
      }
  }
  ~AsPlaceholders() {
    for (Value* v : values_) v->state = State::Pending;
  }
  AsPlaceholders(const AsPlaceholders&) = delete;
  AsPlaceholders& operator=(const AsPlaceholders&) = delete;

 private:
  std::vector<Value*> values_;
};

}  // namespace pd
