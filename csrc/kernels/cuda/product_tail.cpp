#include "kernels/cuda/product_tail.h"

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "ops/op_ids.h"

namespace pd {

namespace {

class Merger {
 public:
  Merger(const Piece& p, ProductTails which)
      : p_(p), which_(which), users_(p.nodes.size(), 0), in_memory_(p.nodes.size(), 0), gone_(p.nodes.size(), 0),
        merged_(p.nodes.size()), stops_(p.nodes.size(), 0) {}

  Piece run(std::vector<int>& outputs) {
    for (size_t v = p_.nodes.size(); v-- > 0;) {
      const PieceNode& n = node(static_cast<int>(v));
      if (n.output) in_memory_[v] = 1;
      const bool from_memory = n.kind == NodeKind::Opaque || (n.kind == NodeKind::Move && in_memory_[v]);
      for (int x : n.in) {
        ++users_[static_cast<size_t>(x)];
        if (from_memory) in_memory_[static_cast<size_t>(x)] = 1;
      }
    }
    // The longer tail first: it ends later.
    for (int v = static_cast<int>(p_.nodes.size()) - 1; v >= 0; --v) try_tail(v);
    return rebuilt(outputs);
  }

 private:
  const PieceNode& node(int v) const { return p_.nodes[static_cast<size_t>(v)]; }
  bool read_once(int v) const { return users_[static_cast<size_t>(v)] == 1 && !node(v).output; }

  // The node whose elements x has, in the same order and shape but for axes, all of them read once; those on the way.
  int made_by(int x, std::vector<int>& way) const {
    const Source s = resolve(p_, x, stops_);
    if (s.view.bounded || !is_identity(s.view, s.shape)) return -1;
    for (; node(x).kind == NodeKind::Move; x = node(x).in[0]) {
      if (!read_once(x)) return -1;
      way.push_back(x);
    }
    if (x != s.base || !read_once(x)) return -1;
    way.push_back(x);
    return x;
  }

  // One product, not a batch of them, whose rows are those of `shape`.
  bool is_product(int x, const PieceNode& last) const {
    const PieceNode& n = node(x);
    if (n.op != op::dot || n.kind != NodeKind::Opaque || n.dtype != last.dtype || last.shape.empty()) return false;
    const int r = n.shape.size();
    const int64_t size = numel(n.shape);
    return size && size == n.shape[r - 2] * n.shape[r - 1] && size == numel(last.shape) &&
           last.shape.back() == n.shape[r - 1] && node(n.in[0]).shape.back() > 0;
  }

  bool is_bias(int x, const PieceNode& last) const {
    const PieceNode& n = node(x);
    if (n.dtype != last.dtype || n.shape.empty() || n.shape.back() != last.shape.back() || numel(n.shape) != n.shape.back())
      return false;
    const NodeKind base = node(resolve(p_, x, stops_).base).kind;
    return base != NodeKind::Number && base != NodeKind::Index;
  }

  void try_tail(int v) {
    const PieceNode& last = node(v);
    if (gone_[static_cast<size_t>(v)] || last.kind != NodeKind::Fusible || !in_memory_[static_cast<size_t>(v)]) return;
    const DType t = last.dtype;
    const bool all = which_ == ProductTails::All;
    if (t != DType::F32 && t != DType::F64 && !(all && is_half(t))) return;
    std::vector<int> way;
    if (last.op == op::add) return add_tail(v, last, false, way);
    if (last.op != op::relu || !all) return;
    const int x = made_by(last.in[0], way);
    if (x < 0) return;
    if (is_product(x, last)) merge(v, x, -1, true, way);
    else if (node(x).op == op::add && node(x).kind == NodeKind::Fusible && node(x).dtype == t &&
             node(x).shape == last.shape)
      add_tail(v, node(x), true, way);
  }

  void add_tail(int v, const PieceNode& add, bool relu, std::vector<int>& way) {
    for (int k = 0; k < 2; ++k) {
      std::vector<int> from = way;
      const int product = made_by(add.in[k], from), bias = add.in[1 - k];
      if (product < 0 || node(add.in[k]).shape != add.shape || !is_product(product, add) || !is_bias(bias, add)) continue;
      return merge(v, product, bias, relu, from);
    }
  }

  void merge(int v, int product, int bias, bool relu, const std::vector<int>& way) {
    const PieceNode& last = node(v);
    PieceNode n = node(product);
    n.shape = last.shape;
    n.attrs = {relu};
    if (bias >= 0) n.in.push_back(bias);
    n.origin = last.origin;
    n.output = last.output;
    for (int x : way) gone_[static_cast<size_t>(x)] = 1;
    merged_[static_cast<size_t>(v)] = static_cast<int>(nodes_.size()) + 1;
    nodes_.push_back(std::move(n));
  }

  Piece rebuilt(std::vector<int>& outputs) {
    if (nodes_.empty()) return p_;
    Piece r;
    std::vector<int> place(p_.nodes.size(), -1);
    for (size_t v = 0; v < p_.nodes.size(); ++v) {
      if (gone_[v]) continue;
      PieceNode n = merged_[v] ? nodes_[static_cast<size_t>(merged_[v] - 1)] : p_.nodes[v];
      for (int& x : n.in) x = place[static_cast<size_t>(x)];
      place[v] = static_cast<int>(r.nodes.size());
      r.nodes.push_back(std::move(n));
    }
    for (int& v : outputs) v = place[static_cast<size_t>(v)];
    return r;
  }

  const Piece& p_;
  ProductTails which_;
  std::vector<int> users_;
  std::vector<char> in_memory_, gone_;
  std::vector<int> merged_;        // node -> 1 + place in nodes_
  std::vector<PieceNode> nodes_;
  std::vector<char> stops_;        // none: nothing is decided yet
};

}  // namespace

ProductTails product_tails() {
  const char* e = std::getenv("PYDIFF_CUDA_EPILOGUES");
  const std::string value = e ? e : "";
  if (value.empty() || value == "on" || value == "1") return ProductTails::On;
  if (value == "off" || value == "0") return ProductTails::Off;
  if (value == "all") return ProductTails::All;
  fail("cuda", "PYDIFF_CUDA_EPILOGUES is unknown", "'" + value + "'", "on, off or all", ErrorKind::Value);
}

Piece with_product_tails(const Piece& p, std::vector<int>& outputs, ProductTails which) {
  return which == ProductTails::Off ? p : Merger(p, which).run(outputs);
}

Piece tail_alone(const PieceNode& dot) {
  Piece p;
  auto push = [&](NodeKind kind, OpId op, const Shape& shape) {
    PieceNode n;
    n.kind = kind;
    n.op = op;
    n.dtype = dot.dtype;
    n.shape = shape;
    p.nodes.push_back(std::move(n));
    return static_cast<int>(p.nodes.size()) - 1;
  };
  const int64_t cols = dot.shape.back();
  const Shape rows{numel(dot.shape) / cols, cols};
  int last = push(NodeKind::Leaf, kLeaf, rows);
  p.nodes[0].leaf = 0;
  if (has_bias(dot)) {
    const int bias = push(NodeKind::Leaf, kLeaf, Shape{cols});
    p.nodes[1].leaf = 1;
    const int sum = push(NodeKind::Fusible, op::add, rows);
    p.nodes.back().in = {last, bias};
    last = sum;
  }
  if (has_relu(dot)) {
    push(NodeKind::Fusible, op::relu, rows);
    p.nodes.back().in = {last};
  }
  p.nodes.back().output = true;
  return p;
}

}  // namespace pd
