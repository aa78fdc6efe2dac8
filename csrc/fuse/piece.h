// A piece of graph as the fuser sees it: nodes in an order of dependence, operands by number.
//
// Made from pending values when a plan is built (bodies of `call` inlined); no buffers, no values.
#pragma once
#include <string>
#include <vector>

#include "fuse/pack.h"
#include "fuse/program.h"
#include "graph/custom.h"
#include "graph/op_traits.h"

namespace pd {

enum class NodeKind : uint8_t {
  Leaf,      // a ready value; slot `leaf`
  Number,    // a Python number; cell `leaf`
  Index,     // iota: the index of an element, never read from memory by a fused kernel
  Fusible,   // elementwise
  Reduce,
  Move,
  Opaque     // run by a kernel of its own
};

struct PieceNode {
  OpId op = kLeaf;
  NodeKind kind = NodeKind::Leaf;
  DType dtype = DType::F32;
  Shape shape;
  Ints attrs;
  SmallVec<int, 4> in;
  GraphRef body;       // of `foreach`
  CustomCodeRef custom;  // of an operation of the user's own
  int leaf = -1;       // of Leaf, Number: its place among the plan's arguments
  int part = 0;        // of several outputs: which one (in[0] is the node)
  int origin = -1;     // place of the value in the walk
  int phase = 0;       // shares a kernel with its like only; those of lower phases run before
  bool output = false;
  std::vector<Spec> outs;  // of a node with several
};

struct Piece {
  std::vector<PieceNode> nodes;
  const PieceNode& operator[](int i) const { return nodes[static_cast<size_t>(i)]; }
};

// Where the elements of a node's operand come from: node `base`, read through `view`, whose strides
// belong to the axes of `shape`.
struct Source {
  int base;
  bool plain;  // no movement between: element i of the shape is element i of the base
  Shape shape;
  View view;
};

// ---- views (views.cpp)

View identity_view(const Shape& shape);
bool is_identity(const View& v, const Shape& shape);  // element i of the shape is element i of the base
// Follows movement below node `x` down to what computes or holds the elements. Stops at nodes for
// which stop[n] holds (they are computed into memory as they are), and at a map that strides cannot say.
Source resolve(const Piece& p, int x, const std::vector<char>& stop);
// The same through x itself, which is movement.
Source resolve_through(const Piece& p, int x, const std::vector<char>& stop);
// The view of an operand of shape `from` broadcast to `to`.
View broadcast_view(const View& v, const Shape& from, const Shape& to);

// What every node reads, operand by operand. Movement has its own source where it stops, otherwise none.
class Sources {
 public:
  Sources() = default;
  Sources(const Piece& p, const std::vector<char>& stop);
  const Source& of(int node, int operand) const {
    return all_[static_cast<size_t>(at_[static_cast<size_t>(first_[static_cast<size_t>(node)] + operand)])];
  }
  int count(int node) const { return first_[static_cast<size_t>(node) + 1] - first_[static_cast<size_t>(node)]; }

 private:
  std::vector<Source> all_;  // one a node that is read, whoever reads it
  std::vector<int> at_;      // of each operand its place there
  std::vector<int> first_;
};

// ---- groups (partition.cpp)

enum class GroupKind : uint8_t { Fused, Opaque };

struct Group {
  GroupKind kind = GroupKind::Fused;
  Shape dims;               // the domain: the members' shape without axes of size 1
  std::vector<char> red;    // axes of dims that are reduced; empty where nothing is
  std::vector<int> members;  // in an order of dependence; of Opaque the one node
  bool split() const;       // its reductions are too long to be used by later work of the same kernel
};

struct Partition {
  std::vector<Group> groups;      // in the order of running
  std::vector<char> stored;       // node -> its elements are in memory when its group has run
  std::vector<char> as_elem;      // node -> level in its group: 1 Elem, 0 Red
  std::vector<int> alias;         // node -> the stored node whose elements it has, in the same order; -1: none
  std::vector<int> group_of;      // node -> number of its group, -1 where it has none
  std::vector<char> stops;        // node -> movement that is computed into memory
  Sources sources;                // as the stops have it
};

struct FuseOptions {
  bool fuse = true;       // PYDIFF_FUSE
  int max_members = 320;  // a kernel has a size cap
  int64_t memory_limit = 0;  // bytes; 0: none. The plan's matter (exec/fit.h), not the partition's
};

// `may_view(node, operand)`: the opaque node reads that operand through a strided view.
Partition partition(const Piece& p, const FuseOptions& options, bool (*may_view)(const PieceNode& n, int operand));

// ---- lowering (lower.cpp)

// The loop program of a fused group, and what each of its arguments is.
struct Lowered {
  Program program;
  Ints major_dims, minor_dims;
  struct Operand {
    int node;      // whose memory (a leaf, a number, a stored node), or -1: the index itself
    View view;     // over major_dims ++ minor_dims
    bool output;
  };
  std::vector<Operand> operands;
};
Lowered lower(const Piece& p, const Partition& part, int group);

}  // namespace pd
