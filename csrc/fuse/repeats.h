// Repeated operations of a piece of graph: what is computed twice from the same operands is computed once.
#pragma once
#include <vector>

#include "fuse/piece.h"

namespace pd {

// The same operands give the same bits, and nothing else happens: it may be computed once for several, or again.
bool is_function_of_operands(const PieceNode& n);

// The piece without nodes that repeat an earlier one: same op, dtype, shape, attributes and operands. That keeps the bits.
// Draws are among them: they depend on their operands alone. Not among them is what a user's code computes, and what has
// several results. `outputs`, numbers of nodes, become those of the new piece; two of them may be one node then.
// `merged` gets the ops of the nodes that are gone.
Piece without_repeats(Piece p, std::vector<int>& outputs, std::vector<OpId>& merged);

}  // namespace pd
