// A loop nest over a box that K operands cross with strides of their own.
#pragma once
#include <array>

#include "kernels/cpu/native_kernels.h"

namespace pd {
namespace cpu {

template <int K>
using Offsets = std::array<int64_t, K>;  // in elements

template <int K>
class Walk {
 public:
  struct Axis {
    int64_t n;
    int64_t stride[K];
  };

  Offsets<K> base{};

  // Axes are given outermost first. Those of size 1 vanish, and one joins the axis before it where every operand
  // goes on from one to the other in equal steps: stride[d - 1] = stride[d] n[d].
  void axis(int64_t n, const Offsets<K>& stride) {
    if (n == 1) return;
    bool joins = !axes_.empty();
    for (int k = 0; joins && k < K; ++k) joins = axes_.back().stride[k] == stride[k] * n;
    Axis a{joins ? n * axes_.back().n : n, {}};
    for (int k = 0; k < K; ++k) a.stride[k] = stride[k];
    if (joins)
      axes_.back() = a;
    else
      axes_.push_back(a);
  }

  int64_t size() const {
    int64_t n = 1;
    for (const Axis& a : axes_) n *= a.n;
    return n;
  }
  int64_t run() const { return axes_.empty() ? 1 : axes_.back().n; }  // length of the innermost loop
  int64_t step(int k) const { return axes_.empty() ? 1 : axes_.back().stride[k]; }

  // f(offsets) at the start of each innermost loop, outer axes in row-major order.
  template <class F>
  void rows(F&& f) const {
    int last = axes_.size() - 1;
    if (size() == 0) return;
    Offsets<K> at = base;
    if (last <= 0) return f(at);
    const Axis& near = axes_[last - 1];
    Ints count(last, 0);
    for (;;) {
      Offsets<K> p = at;
      for (int64_t i = 0; i < near.n; ++i) {
        f(p);
        for (int k = 0; k < K; ++k) p[k] += near.stride[k];
      }
      int d = last - 2;
      for (; d >= 0; --d) {
        const Axis& a = axes_[d];
        for (int k = 0; k < K; ++k) at[k] += a.stride[k];
        if (++count[d] < a.n) break;
        for (int k = 0; k < K; ++k) at[k] -= a.stride[k] * a.n;
        count[d] = 0;
      }
      if (d < 0) return;
    }
  }

  // f(piece) on pieces that cut one axis, the longest of those along which operand `whole` moves (-1: any axis).
  template <class F>
  void in_parallel(int whole, F&& f) const {
    int64_t total = size();
    if (total == 0) return;
    int cut = -1;
    for (int d = 0; d < axes_.size(); ++d)
      if ((whole < 0 || axes_[d].stride[whole] != 0) && (cut < 0 || axes_[d].n > axes_[cut].n)) cut = d;
    if (cut < 0) return f(*this);
    for_ranges(axes_[cut].n, total, [&](int64_t b, int64_t e) {
      Walk piece = *this;
      piece.axes_[cut].n = e - b;
      for (int k = 0; k < K; ++k) piece.base[k] += b * axes_[cut].stride[k];
      f(piece);
    });
  }

 private:
  SmallVec<Axis, 6> axes_;
};

}  // namespace cpu
}  // namespace pd
