#include "exec/narrow_products.h"

#include "kernels/cpu/gemm.h"

namespace pd {

namespace {

class Narrower {
 public:
  explicit Narrower(Piece& p) : p_(p), narrow_(p.nodes.size(), -1), place_(p.nodes.size(), -1) {}

  bool serves(int v) const {
    const PieceNode& n = p_[v];
    if (n.kind != NodeKind::Opaque || n.op == kOutput || n.custom || n.body || n.dtype != DType::F32) return false;
    if (traits(n.op).family != Family::Contraction || n.in.size() != 2) return false;
    const Shape &a = p_[n.in[0]].shape, &b = p_[n.in[1]].shape;
    return suits_bf16_gemm(a[a.size() - 2], b.back(), a.back()) && was_narrow(n.in[0]) && was_narrow(n.in[1]);
  }

  Piece run(std::vector<int>& outputs) {
    const std::vector<int> readers = readers_left();
    for (size_t v = 0; v < p_.nodes.size(); ++v) {
      if (!readers[v]) continue;
      PieceNode n = p_.nodes[v];
      if (serves(static_cast<int>(v))) {
        for (int& x : n.in) x = narrowed(x);
      } else {
        for (int& x : n.in) x = place_[static_cast<size_t>(x)];
      }
      place_[v] = add(std::move(n));
    }
    for (int& o : outputs) o = place_[static_cast<size_t>(o)];
    return std::move(made_);
  }

 private:
  static bool moves(const PieceNode& n) {
    return n.kind == NodeKind::Move && n.in.size() == 1 && traits(n.op).move != MoveKind::Pad;
  }
  bool was_narrow(int x) const {
    while (moves(p_[x])) x = p_[x].in[0];
    const PieceNode& n = p_[x];
    if (n.kind != NodeKind::Fusible || !traits(n.op).is_cast || n.dtype != DType::F32) return false;
    const PieceNode& from = p_[n.in[0]];
    return from.dtype == DType::BF16 && from.kind != NodeKind::Number && from.kind != NodeKind::Index;
  }

  // How many read a node once the products have let go of their operands. Of those alone a node may be left without any.
  std::vector<int> readers_left() const {
    std::vector<int> readers(p_.nodes.size(), 0);
    std::vector<char> let_go(p_.nodes.size(), 0);
    for (size_t v = p_.nodes.size(); v-- > 0;) {
      const PieceNode& n = p_.nodes[v];
      if (n.output || !let_go[v]) ++readers[v];
      if (!readers[v]) {
        if (moves(n)) let_go[static_cast<size_t>(n.in[0])] = 1;
        continue;
      }
      const bool lets_go = serves(static_cast<int>(v));
      for (int x : n.in) {
        if (lets_go) let_go[static_cast<size_t>(x)] = 1;
        else ++readers[static_cast<size_t>(x)];
      }
    }
    return readers;
  }

  // What x is, of what was cast.
  int narrowed(int x) {
    int& at = narrow_[static_cast<size_t>(x)];
    if (at >= 0) return at;
    const PieceNode& n = p_[x];
    if (n.kind == NodeKind::Fusible) return at = place_[static_cast<size_t>(n.in[0])];
    PieceNode moved = n;
    moved.dtype = DType::BF16;
    moved.output = false;
    moved.in[0] = narrowed(n.in[0]);
    return at = add(std::move(moved));
  }

  int add(PieceNode n) {
    made_.nodes.push_back(std::move(n));
    return static_cast<int>(made_.nodes.size()) - 1;
  }

  Piece& p_;
  Piece made_;
  std::vector<int> narrow_, place_;  // of each node: its number, as bfloat16 and as it is
};

}  // namespace

Piece with_narrow_operands(Piece p, std::vector<int>& outputs) {
  Narrower narrower(p);
  for (size_t v = 0; v < p.nodes.size(); ++v)
    if (narrower.serves(static_cast<int>(v))) return narrower.run(outputs);
  return p;
}

}  // namespace pd
