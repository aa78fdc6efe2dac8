// Ops as users mean them: operands are promoted and broadcast, axes normalised, errors said in the
// op's name. The Python bindings, the derivative rules and the composed ops call these.
#pragma once
#include "graph/var.h"
#include "ops/op_ids.h"
#include "ops/rows_graph.h"

namespace pd {

// A Python number, typed when it meets a tensor. kind: 'b', 'i', 'f' (its category in promotion).
enum ValueFlags : uint8_t { kWeak = 1, kDonatable = 2 };
Var number(double v, DeviceId device = {});            // weak float
Var number(int64_t v, DeviceId device = {});           // weak integer
Var number(bool v, DeviceId device = {});
Var large_number(uint64_t v, DeviceId device = {});    // weak integer beyond int64: of uint64
Var typed_number(DType dtype, double f, int64_t i, DeviceId device = {});

// dtype of an expression of these operands: dimensioned tensors before 0-d ones before Python numbers.
DType result_type(const Var* in, int nin);
Var cast(const Var& x, DType dtype);

// Elementwise rows by id, with promotion (integers become the default float where the row is a float one).
Var unary(OpId op, const Var& x);
Var binary(OpId op, const Var& a, const Var& b);
Var select_where(const Var& cond, const Var& a, const Var& b);
Var power(const Var& a, const Var& b);  // looks at a number exponent: 2, 3, 0.5, -1, 1, 0
Var clamp(const Var& x, const Var* lo, const Var* hi);
Var true_divide(const Var& a, const Var& b);
Var trunc_divide(const Var& a, const Var& b);  // toward zero; of integers exactly

// Creation.
Var full(const Shape& shape, const Var& value, DType dtype);
Var zeros(const Shape& shape, DType dtype, DeviceId device = {});
Var ones(const Shape& shape, DType dtype, DeviceId device = {});
Var iota(const Shape& shape, DeviceId device = {});  // int64, row-major index

// Reductions. Empty axes with `all` true: over all axes.
struct Axes {
  bool all = true;
  Ints list;
};
Var reduce(OpId op, const Var& x, const Axes& axes, bool keepdim);
Var mean(const Var& x, const Axes& axes, bool keepdim);
Var var(const Var& x, const Axes& axes, double correction, bool keepdim);
Var logsumexp(const Var& x, const Axes& axes, bool keepdim);
Var softmax(const Var& x, int64_t axis);
Var log_softmax(const Var& x, int64_t axis);
Var arg_reduce(OpId op, const Var& x, const int64_t* axis, bool keepdim);
Var cumsum(const Var& x, int64_t axis);
// Indices of the k largest, or smallest, along an axis: in order, a NaN largest, equal elements by their index.
// On a CUDA device k and the axis are bounded by kMostTop and kLongestTop.
Var topk_indices(const Var& x, int64_t k, int64_t axis, bool largest);
constexpr int64_t kMostTop = 64, kLongestTop = 1024;
// Sums what broadcasting repeated: the cotangent of an operand of this shape.
Var sum_to(const Var& x, const Shape& shape);

// Movement.
Var reshape(const Var& x, Shape shape);  // one -1 allowed
Var permute(const Var& x, const Ints& axes);
Var swap_axes(const Var& x, int64_t a, int64_t b);
Var expand(const Var& x, const Shape& shape);  // -1 keeps; new axes on the left
Var unsqueeze(const Var& x, int64_t axis);
Var squeeze(const Var& x, const Axes& axes);
// start, stop, step for each axis; step > 0; already clipped to the shape
Var slice(const Var& x, const Ints& start, const Ints& stop, const Ints& step);
Var flip(const Var& x, const Ints& axes);
Var pad(const Var& x, const Ints& lo, const Ints& hi, double value);
Var concatenate(const Var* in, int n, int64_t axis);
Var stack(const Var* in, int n, int64_t axis);
// dst with the region that `slice` would read replaced by src
Var slice_update(const Var& dst, const Var& src, const Ints& start, const Ints& stop, const Ints& step);

// Contraction and index.
Var matmul(const Var& a, const Var& b);
// x[i0, i1, …] over the first n axes; the index tensors broadcast; negative indices count from the end
Var index(const Var& x, const Var* idx, int n);
Var index_put(const Var& x, const Var* idx, int n, const Var& values, bool accumulate);
Var gather(const Var& x, int64_t axis, const Var& idx);
Var scatter(const Var& x, int64_t axis, const Var& idx, const Var& src, bool accumulate);
Var take(const Var& x, const Var& idx, int64_t axis);

// The body applied to each segment k: params are operands [k][0…np), then the shared scalars.
// results[k][r] has the shape of operand 0 of segment k.
std::vector<std::vector<Var>> foreach(const GraphRef& body, const std::vector<std::vector<Var>>& segments,
                                      const std::vector<Var>& shared);
std::vector<Var> call(const GraphRef& body, const std::vector<Var>& args);

void register_all_ops();  // fills the table; once, at import

}  // namespace pd
