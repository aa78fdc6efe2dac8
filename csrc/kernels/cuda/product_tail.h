// Which products take the operations behind them along: a bias in every row, and relu, by an epilogue of cuBLASLt.
#pragma once
#include <vector>

#include "fuse/piece.h"

namespace pd {

// From PYDIFF_CUDA_EPILOGUES, read whenever a plan is made; an unknown value is an Error.
//   Off
//   On    where the result is that of the operations one by one: a bias, in float32 and float64
//   All   also relu, which makes 0 of NaN there, and 16-bit floats, which are rounded once instead of twice
enum class ProductTails : uint8_t { Off, On, All };
ProductTails product_tails();

// The piece with such operations merged into their product: a node of op `dot` whose `in` has the bias as a third operand,
// if there is one, and whose attrs are {relu}. `outputs`, numbers of nodes, become those of the new piece.
//
// Merged is only what nobody else reads, and what ends in memory anyway, because it is an output or a kernel of its own
// reads it: where a fused kernel reads the sum, it adds the bias by the way.
Piece with_product_tails(const Piece& p, std::vector<int>& outputs, ProductTails which);

// True of a node of op `dot` with a tail, and what that has.
inline bool has_tail(const PieceNode& dot) { return !dot.attrs.empty(); }
inline bool has_bias(const PieceNode& dot) { return dot.in.size() == 3; }
inline bool has_relu(const PieceNode& dot) { return has_tail(dot) && dot.attrs[0]; }

// The tail alone: the operations as they stood behind the product, of leaf 0, the product as rows, and leaf 1, the bias.
// The last node is the output.
Piece tail_alone(const PieceNode& dot);

}  // namespace pd
