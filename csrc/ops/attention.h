// Attention as one op, and its backward pass as another.
//
//   s[…, g, i, j] = scale q[…, g, i] · k[…, j] + mask[…, g, i, j]    a boolean mask: -inf where false; causal: where j > i
//   lse[…, g, i]  = log of the sum over j of exp(s)
//   o[…, g, i]    = sum over j of exp(s - lse) v[…, j]
//
//   attention           q, k, v [, mask]              o, lse
//   attention_backward  q, k, v, o, lse, do [, mask]  dq, dk, dv
//
// q is (…, G, L, E) or, of G = 1, (…, L, E); k is (…, S, E) and v (…, S, V), with the same axes before; the mask has the shape
// of s. On the CPU all are float32 or float64; on CUDA they may be 16-bit floats too, of which lse is float32. No size is 0. A
// row that sees nothing has no weight anywhere, and lse = inf, where there is a mask; without one it is NaN, as a softmax is.
#pragma once
#include <cstring>

#include "base/shape.h"
#include "graph/var.h"

namespace pd {

struct Attention {
  bool causal = false;
  double scale = 1;

  Attention() = default;
  Attention(bool causal, double scale) : causal(causal), scale(scale) {}
  // causal, the bits of the scale
  explicit Attention(const Ints& a) : causal(a[0] != 0) { std::memcpy(&scale, &a[1], sizeof scale); }
  Ints attributes() const {
    int64_t bits;
    std::memcpy(&bits, &scale, sizeof bits);
    return {causal, bits};
  }
};

// The widest key or value of the kernels on CUDA.
constexpr int64_t kWidestOfCuda = 256;

// Where each operand of attention_backward stands.
enum AttentionOperand { kQuery, kKey, kValue, kResult, kLogSum, kCotangent, kMaskBehind };

// q (…, H, L, E), k (…, H / groups, S, E), v (…, H / groups, S, V), and a mask that broadcasts to (…, H, L, S), or an empty
// one. Gives (…, H, L, V), or nothing where the composed definition serves: for operands that do not fit, and for sizes that
// it computes faster.
Var attention(const Var& q, const Var& k, const Var& v, const Var& mask, int64_t groups, const Attention& a);

}  // namespace pd
