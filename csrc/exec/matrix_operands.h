// Where the operands of a batched product lie, as far as strides say, and which of them are better copied first.
#pragma once
#include <cstdint>

#include "base/dtype.h"
#include "fuse/piece.h"

namespace pd {

// Element (i, j) of matrix (p, q) of a batch lies `offset` + i row + j col + p outer + q inner items into a slot.
struct MatrixOperand {
  int slot = -1;
  int64_t offset = 0, row = 0, col = 1, outer = 0, inner = 0;
  // As BLAS has it, where one of row and col is 1.
  bool trans() const { return col != 1; }
  int64_t lead() const { return trans() ? col : row; }
};

struct ProductOperands {
  MatrixOperand a, b;  // but for their slots
  bool copy_a = false, copy_b = false;
  int64_t outer = 1, inner = 1;
};

// Of shapes (..., m, k) and (..., k, n), the same in front. A view that is null must be copied; what is copied lies one
// matrix after the other. `as_blas`: each matrix has lines that are whole and one behind the other, and the batch is one run.
// Otherwise, the CPU's own kernels: the batch may have two axes of any strides, and so may the matrices if they are small.
ProductOperands product_operands(const Shape& a, const View* view_a, const Shape& b, const View* view_b, bool as_blas);

}  // namespace pd
