#include "fuse/repeats.h"

#include <utility>

namespace pd {

namespace {

uint64_t hash_of(const PieceNode& n) {
  uint64_t h = 0x9e3779b97f4a7c15ull;
  auto add = [&](int64_t x) {
    h = (h ^ static_cast<uint64_t>(x)) * 0xff51afd7ed558ccdull;
    h ^= h >> 32;
  };
  add(static_cast<int64_t>(n.op) << 32 | static_cast<int64_t>(n.dtype) << 16 | n.shape.size());
  for (int64_t x : n.shape) add(x);
  for (int64_t x : n.attrs) add(x);
  for (int x : n.in) add(x);
  return h;
}

bool same(const PieceNode& a, const PieceNode& b) {
  return a.op == b.op && a.dtype == b.dtype && a.in == b.in && a.shape == b.shape && a.attrs == b.attrs;
}

// Numbers of nodes by what they compute, in a table at most half full.
class Seen {
 public:
  explicit Seen(size_t most) {
    size_t size = 16;
    while (size < 2 * most) size *= 2;
    at_.assign(size, -1);
  }
  // The earlier node that computes what `n` does, or -1 and `number` is noted.
  int find_or_add(const PieceNode& n, int number, const std::vector<PieceNode>& nodes) {
    size_t k = hash_of(n) & (at_.size() - 1);
    for (; at_[k] >= 0; k = (k + 1) & (at_.size() - 1))
      if (same(nodes[static_cast<size_t>(at_[k])], n)) return at_[k];
    at_[k] = number;
    return -1;
  }

 private:
  std::vector<int> at_;
};

}  // namespace

bool is_function_of_operands(const PieceNode& n) {
  switch (n.kind) {
    case NodeKind::Fusible:
    case NodeKind::Index:
    case NodeKind::Reduce:
    case NodeKind::Move: return true;
    case NodeKind::Opaque: {
      if (n.op == kOutput || n.custom || n.body || !n.outs.empty()) return false;
      const Family f = traits(n.op).family;
      return f == Family::Index || f == Family::Scan || f == Family::Contraction;
    }
    default: return false;
  }
}

Piece without_repeats(Piece p, std::vector<int>& outputs, std::vector<OpId>& merged) {
  std::vector<int> now(p.nodes.size());  // node -> its number in the result
  Seen seen(p.nodes.size());
  int kept = 0;  // nodes in front, of the result
  for (size_t v = 0; v < p.nodes.size(); ++v) {
    PieceNode& n = p.nodes[v];
    for (int& x : n.in) x = now[static_cast<size_t>(x)];
    if (is_function_of_operands(n)) {
      const int earlier = seen.find_or_add(n, kept, p.nodes);
      if (earlier >= 0) {
        now[v] = earlier;
        if (n.output) p.nodes[static_cast<size_t>(earlier)].output = true;
        merged.push_back(n.op);
        continue;
      }
    }
    now[v] = kept;
    if (static_cast<size_t>(kept) != v) p.nodes[static_cast<size_t>(kept)] = std::move(n);
    ++kept;
  }
  p.nodes.resize(static_cast<size_t>(kept));
  for (int& o : outputs) o = now[static_cast<size_t>(o)];
  return p;
}

}  // namespace pd
