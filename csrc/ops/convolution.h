// What a convolution is told: where windows lie, and in which order its operands have their first two axes.
//
//   y[b, g O + o, p] = sum over i, q of  x[b, g I + i, stride p + dilation q] * w[g O + o, i, q]
//
// for g < groups, where x has spread - 1 zeros between its places, `before` and `after` around them (negative: cut off).
#pragma once
#include "base/shape.h"
#include "graph/var.h"

namespace pd {

enum ConvolutionFlags {
  kInputAcross = 1,    // x is (I, G B, …)
  kWeightTurned = 2,   // w is (G I, O, …), as a transposed convolution has it
  kWeightAcross = 4,   // w is (I, G O, …)
  kOutputAcross = 8,   // y is (G O, B, …)
  kMirrored = 16,      // w's places are read backwards
  kChannelsLast = 32,  // y is (B, …, G O), and what is added up goes through channels fastest; not with kOutputAcross
};

struct Convolution {
  int64_t groups = 1;
  int flags = 0;
  Ints stride, before, after, spread, dilation;  // one an axis of places

  Convolution() = default;
  // groups, flags, then the five lists
  explicit Convolution(const Ints& a) : groups(a[0]), flags(static_cast<int>(a[1])) {
    const int n = (a.size() - 2) / 5;
    Ints* const parts[] = {&stride, &before, &after, &spread, &dilation};
    for (int k = 0; k < 5; ++k) *parts[k] = Ints(a.data() + 2 + k * n, n);
  }
  Ints attributes() const {
    Ints a{groups, flags};
    for (const Ints* p : {&stride, &before, &after, &spread, &dilation})
      for (int64_t x : *p) a.push_back(x);
    return a;
  }
  int axes() const { return stride.size(); }
};

struct ConvolutionSizes {
  int64_t batch, inputs, outputs;  // the last two of one group
  Ints padded;                     // places with what is between and around
  bool fit;                        // whether the operands' channels match

  ConvolutionSizes(const Convolution& c, const Shape& x, const Shape& w) {
    const int64_t g = c.groups;
    inputs = c.flags & kInputAcross ? x[0] : x[1] / g;
    batch = c.flags & kInputAcross ? x[1] / g : x[0];
    const int64_t split = c.flags & kWeightAcross ? w[1] : w[0];
    outputs = c.flags & kWeightTurned ? w[1] : split / g;
    const int64_t wanted = c.flags & kWeightTurned ? w[0] / g : c.flags & kWeightAcross ? w[0] : w[1];
    fit = g > 0 && x[1] % g == 0 && split % g == 0 && wanted == inputs;
    for (int k = 0; k < c.axes(); ++k)
      padded.push_back((x[2 + k] ? (x[2 + k] - 1) * c.spread[k] + 1 : 0) + c.before[k] + c.after[k]);
  }
};

Var convolution(const Var& x, const Var& w, const Convolution& c);
// Whether a device has a kernel for operands of a type. CUDA's multiplies zeros around x by the weight, which one that is
// `transposed` does not have: an infinite weight would make NaN of them.
bool convolution_serves(DType d, DeviceId device, bool transposed);

}  // namespace pd
