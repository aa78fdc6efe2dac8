#include "exec/matrix_operands.h"

#include <algorithm>
#include <vector>

#include "kernels/cpu/tiles.h"

namespace pd {

namespace {

// An axis of the batch, and both operands' strides along it.
struct BatchAxis {
  int64_t count, a, b;
};

// The axes before the last two, innermost first, as few as the strides allow.
std::vector<BatchAxis> batch_axes(const Shape& shape, const Ints& a, const Ints& b) {
  std::vector<BatchAxis> axes;
  for (int i = shape.size() - 3; i >= 0; --i) {
    if (shape[i] == 1) continue;
    if (!axes.empty() && a[i] == axes.back().a * axes.back().count && b[i] == axes.back().b * axes.back().count)
      axes.back().count *= shape[i];
    else
      axes.push_back({shape[i], a[i], b[i]});
  }
  return axes;
}

enum class Reads : uint8_t { AsBlas, Lines, Any };

// The last two axes; false: the matrix must be copied.
bool lies(const Shape& shape, const Ints& strides, Reads reads, MatrixOperand& x) {
  const int n = shape.size();
  const int64_t rows = shape[n - 2], cols = shape[n - 1], col = cols == 1 ? 1 : strides[n - 1];
  const int64_t row = rows > 1 ? strides[n - 2] : col == 1 ? std::max<int64_t>(cols, 1) : 1;
  x.row = row;
  x.col = col;
  if (col == 1 && (row >= cols || rows == 1)) x.row = std::max(row, cols);
  else if (row != 1 || col < rows) return reads == Reads::Any || (reads == Reads::Lines && (row == 1 || col == 1));
  return true;
}

}  // namespace

ProductOperands product_operands(const Shape& a, const View* view_a, const Shape& b, const View* view_b, bool as_blas) {
  const int n = a.size();
  const Reads reads = as_blas ? Reads::AsBlas : is_small_product(a[n - 2], b[n - 1], a[n - 1]) ? Reads::Any : Reads::Lines;
  ProductOperands p;
  auto place = [&](const Shape& shape, const View* view, MatrixOperand& x, bool& copy) {
    copy = !view || !lies(shape, view->strides, reads, x);
    if (copy) lies(shape, contiguous_strides(shape), Reads::Any, x);
    x.offset = copy ? 0 : view->offset;
    return copy ? contiguous_strides(shape) : view->strides;
  };
  Ints of_a = place(a, view_a, p.a, p.copy_a), of_b = place(b, view_b, p.b, p.copy_b);
  auto axes = batch_axes(a, of_a, of_b);
  for (const size_t most = as_blas ? 1 : 2; axes.size() > most; axes = batch_axes(a, of_a, of_b)) {
    if (batch_axes(a, of_a, of_a).size() >= batch_axes(b, of_b, of_b).size()) of_a = place(a, nullptr, p.a, p.copy_a);
    else of_b = place(b, nullptr, p.b, p.copy_b);
  }
  if (axes.size() > 0) p.inner = axes[0].count, p.a.inner = axes[0].a, p.b.inner = axes[0].b;
  if (axes.size() > 1) p.outer = axes[1].count, p.a.outer = axes[1].a, p.b.outer = axes[1].b;
  return p;
}

}  // namespace pd
