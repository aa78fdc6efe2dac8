// A convolution as products of matrices whose elements are found through the digits of their indices: what the kernels of both
// devices compute.
#pragma once
#include <vector>

#include "kernels/native.h"
#include "ops/convolution.h"

namespace pd {

constexpr int kMostAxes = 3;

// An axis of places: window p and place q of it meet at  first + n_step p + k_step q,  inside if below `bound`. Strides are of
// one step.
struct WindowAxis {
  int64_t n_size, k_size, n_step, k_step, first, bound;
  int64_t n_x, k_x, k_w, n_y;
};

// y[group, m, n] = sum over k of w[group, m, k] x[group, k, n]; n = (batch, p), k = (channel, q). Offsets and strides are in
// elements.
struct WindowProduct {
  std::vector<WindowAxis> axes;  // the last one first; never empty
  int64_t groups, outputs, batch, channels;
  int64_t x_at = 0, w_at = 0, y_at = 0;
  int64_t x_group, w_group, y_group;
  int64_t x_batch, x_channel, w_row, w_channel, y_row, y_batch;

  int64_t windows() const;   // n
  int64_t in_window() const; // k
};

// Those of a convolution, whatever strides its operands have: one, or where x has zeros between its places, one for the windows
// that meet them alike, since these are convolutions without zeros. Together they make every element of y.
std::vector<WindowProduct> window_products(const Convolution& c, const Shape& x, const Ints& x_strides, const Shape& w,
                                           const Ints& w_strides, const Shape& y);
std::vector<WindowProduct> window_products(const Convolution& c, const NativeArgs& a);  // of the operands and result of a call

}  // namespace pd
