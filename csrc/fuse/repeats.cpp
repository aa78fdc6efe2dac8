#include "fuse/repeats.h"

#include <unordered_map>

namespace pd {

namespace {

struct Hash {
  size_t operator()(const std::vector<int64_t>& k) const {
    uint64_t h = 0x9e3779b97f4a7c15ull;
    for (int64_t x : k) {
      h = (h ^ static_cast<uint64_t>(x)) * 0xff51afd7ed558ccdull;
      h ^= h >> 32;
    }
    return static_cast<size_t>(h);
  }
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

Piece without_repeats(const Piece& p, std::vector<int>& outputs, std::vector<OpId>& merged) {
  Piece out;
  out.nodes.reserve(p.nodes.size());
  std::vector<int> now(p.nodes.size());  // node -> its number in `out`
  std::unordered_map<std::vector<int64_t>, int, Hash> seen;
  std::vector<int64_t> key;
  for (size_t v = 0; v < p.nodes.size(); ++v) {
    PieceNode n = p.nodes[v];
    for (int& x : n.in) x = now[static_cast<size_t>(x)];
    if (is_function_of_operands(n)) {
      key = {n.op, static_cast<int64_t>(n.dtype), n.shape.size(), n.attrs.size()};
      key.insert(key.end(), n.shape.begin(), n.shape.end());
      key.insert(key.end(), n.attrs.begin(), n.attrs.end());
      key.insert(key.end(), n.in.begin(), n.in.end());
      const auto [it, first] = seen.emplace(key, static_cast<int>(out.nodes.size()));
      if (!first) {
        now[v] = it->second;
        if (n.output) out.nodes[static_cast<size_t>(it->second)].output = true;
        merged.push_back(n.op);
        continue;
      }
    }
    now[v] = static_cast<int>(out.nodes.size());
    out.nodes.push_back(std::move(n));
  }
  for (int& o : outputs) o = now[static_cast<size_t>(o)];
  return out;
}

}  // namespace pd
