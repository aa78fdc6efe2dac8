// What the kernel of a native step is called with, made of the memory of a run.
#pragma once
#include "exec/plan.h"

namespace pd {

class NativeCall {
 public:
  NativeCall(const NativeStep& s, void* const* slots)
      : args_{s.op, static_cast<int>(s.in.size()), s.specs.data(), nullptr, &s.out_spec,
              s.out < 0 ? nullptr : slots[s.out], &s.attrs} {
    for (size_t k = 0; k < s.in.size(); ++k) {
      const char* const x = static_cast<const char*>(slots[s.in[k]]);
      in_.push_back(s.strides.empty() ? x : x + s.offsets[k] * static_cast<int64_t>(size_of(s.specs[k].dtype)));
    }
    args_.in = in_.begin();
    if (!s.strides.empty()) args_.strides = s.strides.data();
    if (s.outs.empty()) return;
    for (int o : s.outs) outs_.push_back(o < 0 ? nullptr : slots[o]);
    args_.out = outs_[0];
    args_.outs = outs_.begin();
  }
  NativeCall(const NativeCall&) = delete;
  const NativeArgs& args() const { return args_; }

 private:
  SmallVec<const void*, 8> in_;
  SmallVec<void*, 4> outs_;
  NativeArgs args_;
};

}  // namespace pd
