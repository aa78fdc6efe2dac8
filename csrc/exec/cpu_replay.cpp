#include "exec/cpu_replay.h"

#include <algorithm>
#include <cstring>

#include "device/cpu/scratch.h"
#include "exec/stats.h"

namespace pd {

namespace {

constexpr int kMostArgs = 32;                  // of a call
constexpr int64_t kMostCopies = 16;            // of a concatenation
constexpr int64_t kMostBytes = int64_t(1) << 14;

// What the words begin with, and what follows it:
//   End
//   Other   the step
//   Step    the step, words to skip if its kernel is not compiled, the kernel, elements, instructions, calls; then the calls:
//           R, C, bytes of padded operands, n, m, n operands, m strides. An operand is
//             its slot, bytes from there; or
//             -1 - its slot, bytes from there, its place among the padded, zeros in front, bytes, zeros behind
//   Copies  the slot, n, n times (slot, bytes from there, bytes)
enum Kind : int64_t { kEnd, kOther, kStep, kCopies };

// A run of elements between zeros, along the only axis: what the cotangent of a part is.
bool is_padded_run(const PreparedLaunch& l, const Grid& g, size_t k) {
  const View& v = l.operands[k].view;
  return g.operands[k].reach == Reach::Packed && !g.operands[k].index && !l.operands[k].output && v.bounded && !v.fill &&
         l.operands[k].cls == ArgClass::Vec && l.major.empty() && l.minor.size() == 1 && v.strides[0] == 1;
}

// sizes: zeros, bytes of the run, zeros
char* padded_run(char* to, const char* run, const int64_t* sizes) {
  std::memset(to, 0, static_cast<size_t>(sizes[0]));
  std::memcpy(to + sizes[0], run, static_cast<size_t>(sizes[1]));
  std::memset(to + sizes[0] + sizes[1], 0, static_cast<size_t>(sizes[2]));
  return to;
}

// True where the compiled kernel has one tile, and takes every operand where it is or between zeros.
bool is_one_call(const FusedLaunch& l) {
  const Grid& g = l.launch.compiled;
  if (g.tiles() != 1 || g.launch_bytes || l.slots.size() > kMostArgs) return false;
  for (size_t k = 0; k < l.slots.size(); ++k) {
    const Reach reach = g.operands[k].reach;
    if (l.slots[k] < 0) return false;
    if (reach != Reach::Direct && reach != Reach::Value && !is_padded_run(l.launch, g, k)) return false;
  }
  return true;
}

}  // namespace

CpuReplay::CpuReplay(const Plan& plan) {
  for (size_t k = 0; k < plan.steps.size(); ++k) {
    const Step& s = plan.steps[k];
    const int step = static_cast<int>(k);
    if (s.fused && add_calls(*s.fused, step)) continue;
    if (s.native && add_copies(*s.native)) continue;
    words_.insert(words_.end(), {kOther, step});
  }
  words_.push_back(kEnd);
}

bool CpuReplay::add_calls(const FusedStep& s, int step) {
  if (s.parallel) return false;
  for (const FusedLaunch& l : s.launches)
    if (!is_one_call(l)) return false;
  words_.insert(words_.end(), {kStep, step, 0, reinterpret_cast<int64_t>(s.kernel.get()), s.elements, s.instructions,
                               static_cast<int64_t>(s.launches.size())});
  const size_t begin = words_.size();
  for (const FusedLaunch& l : s.launches) {
    const Grid& g = l.launch.compiled;
    const int64_t C = g.minor.length(0);
    words_.insert(words_.end(), {g.major.length(0), C, g.task_bytes, static_cast<int64_t>(l.slots.size()), g.strides()});
    for (size_t k = 0; k < l.slots.size(); ++k) {
      if (g.operands[k].reach != Reach::Packed) {
        words_.insert(words_.end(), {l.slots[k], g.operands[k].offset});
        continue;
      }
      const View& v = l.launch.operands[k].view;
      const int64_t item = static_cast<int64_t>(size_of(l.launch.operands[k].dtype));
      const int64_t lo = std::min(std::max<int64_t>(v.lo[0], 0), C), hi = std::max(std::min(v.hi[0], C), lo);
      words_.insert(words_.end(), {-1 - l.slots[k], (v.offset + lo) * item, g.operands[k].buffer, lo * item,
                                   (hi - lo) * item, (C - hi) * item});
    }
    for (const Grid::Operand& o : g.operands) words_.push_back(o.reach == Reach::Packed ? C : o.rstride);
    const size_t behind = words_.size();
    words_.resize(behind + static_cast<size_t>(g.strides()) - g.operands.size());
    g.tell_runs(words_.data() + behind);
  }
  words_[begin - 5] = static_cast<int64_t>(words_.size() - begin);
  return true;
}

bool CpuReplay::add_copies(const NativeStep& s) {
  if (!joins(s.op) || !s.strides.empty() || !s.outs.empty()) return false;
  const int axis = static_cast<int>(s.attrs[0]);
  const Shape& out = s.out_spec.shape;
  int64_t outer = 1, inner = static_cast<int64_t>(size_of(s.out_spec.dtype));
  for (int k = 0; k < axis; ++k) outer *= out[k];
  for (int k = axis + 1; k < out.size(); ++k) inner *= out[k];
  const int64_t n = static_cast<int64_t>(s.in.size());
  if (outer * n > kMostCopies || outer * out[axis] * inner > kMostBytes) return false;
  words_.insert(words_.end(), {kCopies, s.out, outer * n});
  for (int64_t row = 0; row < outer; ++row)
    for (size_t k = 0; k < s.in.size(); ++k) {
      const int64_t run = s.specs[k].shape[axis] * inner;
      words_.insert(words_.end(), {s.in[k], row * run, run});
    }
  return true;
}

int CpuReplay::perform(const int64_t*& at, void* const* slots) const {
  Stats& counters = stats();
  void* ptr[kMostArgs];
  for (;;) {
    switch (static_cast<Kind>(*at)) {
      case kEnd:
        return -1;
      case kOther:
        at += 2;
        return static_cast<int>(at[-1]);
      case kStep: {
        const int step = static_cast<int>(at[1]);
        Kernel* kernel = reinterpret_cast<Kernel*>(at[3]);
        const KernelFn fn = kernel->compiled(at[4]);
        if (!fn) {
          at += 7 + at[2];
          return step;
        }
        ++counters.kernels;
        counters.instructions += at[5];
        int64_t calls = at[6];
        for (at += 7; calls; --calls) {
          const int64_t R = at[0], C = at[1], padded = at[2], n = at[3], strides = at[4];
          const size_t bytes = static_cast<size_t>(padded) + kernel->scratch(R, C);
          const Scratch scratch(bytes);
          const int64_t* arg = at + 5;
          for (int64_t k = 0; k < n; ++k) {
            if (arg[0] >= 0) {
              ptr[k] = static_cast<char*>(slots[arg[0]]) + arg[1];
              arg += 2;
            } else {
              ptr[k] = padded_run(scratch.data() + arg[2], static_cast<const char*>(slots[-1 - arg[0]]) + arg[1], arg + 3);
              arg += 6;
            }
          }
          fn(R, C, ptr, arg, scratch.data() + padded);
          at = arg + strides;
        }
        break;
      }
      case kCopies: {
        char* to = static_cast<char*>(slots[at[1]]);
        int64_t n = at[2];
        for (at += 3; n; --n, at += 3) {
          const char* from = static_cast<const char*>(slots[at[0]]) + at[1];
          std::memcpy(to, from, static_cast<size_t>(at[2]));
          to += at[2];
        }
        ++counters.natives;
        break;
      }
    }
  }
}

}  // namespace pd
