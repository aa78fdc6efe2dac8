// What a convolution is told: where windows lie, and in which order its operands have their first two axes.
//
//   y[b, g O + o, p] = sum over i, q of  x[b, g I + i, stride p + dilation q] * w[g O + o, i, q]
//
// for g < groups, where x has spread - 1 zeros between its places, `before` and `after` around them (negative: cut off).
#pragma once
#include "graph/var.h"

namespace pd {

enum ConvolutionFlags {
  kInputAcross = 1,    // x is (I, G B, …)
  kWeightTurned = 2,   // w is (G I, O, …), as a transposed convolution has it
  kWeightAcross = 4,   // w is (I, G O, …)
  kOutputAcross = 8,   // y is (G O, B, …)
  kMirrored = 16,      // w's places are read backwards
};

struct Convolution {
  int64_t groups = 1;
  int flags = 0;
  Ints stride, before, after, spread, dilation;  // one an axis of places

  Convolution() = default;
  explicit Convolution(const Ints& attributes);
  Ints attributes() const;
  int axes() const { return stride.size(); }
};

struct ConvolutionSizes {
  int64_t batch, inputs, outputs;  // the last two of one group
  Ints padded;                     // places with what is between and around
  bool fit;                        // whether the operands' channels match
  ConvolutionSizes(const Convolution& c, const Shape& x, const Shape& w);
};

Var convolution(const Var& x, const Var& w, const Convolution& c);

}  // namespace pd
