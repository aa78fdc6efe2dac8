// From a group of nodes to its loop program.
#include <cstring>
#include <unordered_map>

#include "fuse/piece.h"
#include "ops/loops.h"

namespace pd {

namespace {

// Element (r, c) of majors ++ minors is at base + r * rs + c * cs.
bool is_linear(const Ints& dims, const Ints& strides, int from, int to) {
  for (int i = from; i + 1 < to; ++i)
    if (strides[i] != strides[i + 1] * dims[i + 1]) return false;
  return true;
}

bool all_zero(const Ints& s, int from, int to) {
  for (int i = from; i < to; ++i)
    if (s[i]) return false;
  return true;
}

class Lowering {
 public:
  Lowering(const Piece& p, const Partition& part, const Group& g, int number)
      : p_(p), part_(part), g_(g), number_(number) {
    bool columns = !g.red.empty() && !g.red.back();
    out_.program.layout = columns ? Layout::Columns : Layout::Rows;
    out_.program.split = !g.red.empty() && g.split();
    int n = g.dims.size();
    for (int i = 0; i < n; ++i) {
      bool red = g.red.empty() ? i == n - 1 : g.red[static_cast<size_t>(i)];
      (red != columns ? minor_ : major_).push_back(i);
    }
    for (int i : major_) out_.major_dims.push_back(g.dims[i]);
    for (int i : minor_) out_.minor_dims.push_back(g.dims[i]);
    if (n == 0) out_.minor_dims.push_back(1);  // an axis on which a bound can hold nowhere
    size_t ops = g.members.size();
    out_.program.code.reserve(2 * ops + 4);
    out_.program.regs.reserve(2 * ops + 4);
    out_.program.levels.reserve(2 * ops + 4);
    out_.program.args.reserve(ops + 4);
    out_.operands.reserve(ops + 4);
    all_ = out_.major_dims;
    for (int64_t d : out_.minor_dims) all_.push_back(d);
  }

  Lowered run() {
    for (int v : g_.members)
      if (part_.stored[static_cast<size_t>(v)]) store(v);
    out_.program.runs = has_runs();
    return std::move(out_);
  }

 private:
  bool columns() const { return out_.program.layout == Layout::Columns; }
  Level level_of(int v) const { return part_.as_elem[static_cast<size_t>(v)] ? Level::Elem : Level::Red; }

  // Some operand's minors are no single line, though their last axis is.
  bool has_runs() const {
    if (columns() || g_.red.empty() || minor_.size() < 2) return false;
    const int nm = static_cast<int>(major_.size()), n = all_.size();
    for (size_t k = 0; k < out_.operands.size(); ++k) {
      const View& v = out_.operands[k].view;
      if (out_.program.args[k].cls == ArgClass::Vec && !v.index && !v.bounded && v.strides.back() == 1 &&
          !is_linear(all_, v.strides, nm, n))
        return true;
    }
    return false;
  }

  int16_t new_reg(DType t, Level l) {
    out_.program.regs.push_back(t);
    out_.program.levels.push_back(l);
    return static_cast<int16_t>(out_.program.regs.size() - 1);
  }
  DType reg_type(int16_t r) const { return out_.program.regs[static_cast<size_t>(r)]; }
  Level reg_level(int16_t r) const { return out_.program.levels[static_cast<size_t>(r)]; }

  // A view over the axes of `shape` as one over majors ++ minors. On rows it has no reduced axes.
  View arrange(const View& v, const Shape& shape, Level level) const {
    Ints st(g_.dims.size(), 0), lo, hi;
    if (v.bounded) lo.resize(g_.dims.size()), hi = g_.dims;
    int j = 0;
    for (int i = 0; i < g_.dims.size(); ++i) {
      if (level == Level::Red && !g_.red.empty() && g_.red[static_cast<size_t>(i)]) continue;
      while (j < shape.size() && shape[j] == 1) ++j;
      if (j >= shape.size()) break;  // the axis of size 1 that a trivial reduction runs along
      st[i] = v.strides[j];
      if (v.bounded) {
        lo[i] = v.lo[j];
        hi[i] = v.hi[j];
      }
      ++j;
    }
    View r = v;
    r.strides.clear();
    r.lo.clear();
    r.hi.clear();
    for (const std::vector<int>* axes : {&major_, &minor_})
      for (int i : *axes) {
        r.strides.push_back(st[i]);
        if (!v.bounded) continue;
        r.lo.push_back(lo[i]);
        r.hi.push_back(hi[i]);
      }
    if (r.strides.empty()) {
      r.strides.push_back(0);
      if (v.bounded) r.lo.push_back(0), r.hi.push_back(1);
    }
    // Bounds on an axis of size 1 that was dropped hold everywhere or nowhere.
    if (v.bounded)
      for (int i = 0; i < shape.size(); ++i)
        if (shape[i] == 1 && (v.lo[i] > 0 || v.hi[i] < 1)) r.lo[0] = 1, r.hi[0] = 0;
    return r;
  }

  static int64_t fill_bits(DType t, int64_t double_bits) {
    double d;
    std::memcpy(&d, &double_bits, sizeof d);
    return number_bits(t, d, is_floating(t) ? 0 : whole_number(t, d));
  }

  // `given` has the fill of a pad as a double's bits.
  int16_t load(int base, const View& given, Level want, bool force_elem) {
    View view = given;
    view.index = p_[base].kind == NodeKind::Index;
    if (view.bounded) view.fill = fill_bits(p_[base].dtype, view.fill);
    for (size_t i = 0; i < loads_.size(); ++i) {
      const Loaded& l = loads_[i];
      if (l.base == base && l.want == want && l.forced == force_elem && l.view.offset == view.offset &&
          l.view.strides == view.strides && l.view.bounded == view.bounded &&
          (!view.bounded || (l.view.lo == view.lo && l.view.hi == view.hi && l.view.fill == view.fill)))
        return l.reg;
    }
    int nm = static_cast<int>(major_.size()), n = view.strides.size();
    const PieceNode& b = p_[base];
    bool index = b.kind == NodeKind::Index;
    Level level = want;
    ArgClass cls = ArgClass::Vec;
    if (index) {
      if (want == Level::Red) {
        if (!columns()) cls = ArgClass::Maj;  // numbers of the rows: written out before the kernel reads them
      } else if (!view.bounded && is_linear(all_, view.strides, 0, nm) && is_linear(all_, view.strides, nm, n)) {
        cls = ArgClass::Index;
      }
    } else if (!force_elem && !view.bounded && all_zero(view.strides, 0, n)) {
      cls = ArgClass::Uni;
      level = Level::Uniform;
    } else if (!columns() && (want == Level::Red || (!force_elem && !view.bounded && all_zero(view.strides, nm, n)))) {
      cls = ArgClass::Maj;
      level = Level::Red;
    }
    int16_t arg = add_arg(index ? -1 : base, b.dtype, cls, view, false);
    int16_t reg = new_reg(b.dtype, level);
    out_.program.code.push_back({InstrKind::Load, level, kLeaf, b.dtype, reg, arg, -1, -1});
    loads_.push_back({base, want, force_elem, std::move(view), reg});
    return reg;
  }

  int16_t add_arg(int node, DType t, ArgClass cls, View view, bool output) {
    out_.program.args.push_back({t, cls, output});
    out_.operands.push_back({node, std::move(view), output});
    return static_cast<int16_t>(out_.program.args.size() - 1);
  }

  // A register at exactly this level: a value of a lower one is repeated.
  int16_t raise(int16_t r, Level level) {
    if (reg_level(r) == level) return r;
    return cast(r, reg_type(r), level);
  }

  // One conversion, or with the same type a copy.
  int16_t cast(int16_t r, DType to, Level level) {
    static const OpId op = find_op("cast");
    const DType from = reg_type(r);
    const int16_t d = new_reg(to, level);
    out_.program.code.push_back({InstrKind::Op, level, op, from, d, r, -1, -1});
    return d;
  }

  // A narrow type's value as its compute type's, once a register.
  int16_t widen(int16_t r) {
    const DType t = reg_type(r);
    if (!is_narrow(t)) return r;
    auto it = wide_.find(r);
    if (it != wide_.end()) return it->second;
    const int16_t d = cast(r, compute_type(t), reg_level(r));
    wide_.emplace(r, d);
    return d;
  }

  // By way of the compute types where one of the two is narrow.
  int16_t convert(int16_t r, DType to) {
    if (reg_type(r) == to) return cast(r, to, reg_level(r));
    if (is_narrow(reg_type(r))) r = widen(r);
    if (is_narrow(to)) {
      const DType by = narrow_from(reg_type(r), to);
      if (reg_type(r) != by) r = cast(r, by, reg_level(r));
    }
    return reg_type(r) == to ? r : cast(r, to, reg_level(r));
  }

  // Operand x of a node over `shape`, at a level of this kernel.
  int16_t operand(const Source& s, const Shape& shape, Level level) {
    int b = s.base;
    const PieceNode& n = p_[b];
    bool own = part_.group_of[static_cast<size_t>(b)] == number_ && n.kind != NodeKind::Index;
    if (own && uses_register(b, s, shape, level)) return emit(b, level_of(b));
    bool loaded = n.kind == NodeKind::Leaf || n.kind == NodeKind::Number || n.kind == NodeKind::Index ||
                  part_.stored[static_cast<size_t>(b)];
    if (!loaded) return emit(b, level);  // cheap: computed again here
    return load(b, arrange(broadcast_view(s.view, s.shape, shape), shape, level), level, false);
  }

  // Inside the group a register serves where the partition said so: the same element, or its row.
  bool uses_register(int b, const Source& s, const Shape& shape, Level level) const {
    if (s.view.bounded || s.view.offset) return false;
    if (s.plain && s.shape == shape && level == level_of(b)) return true;
    View v = arrange(broadcast_view(s.view, s.shape, shape), shape, level);
    View natural = arrange(identity_view(p_[b].shape), p_[b].shape, level_of(b));
    if (level == Level::Red && level_of(b) == Level::Elem) return false;
    return v.strides == natural.strides;
  }

  int16_t emit(int v, Level level) {
    auto it = done_.find(v);
    if (it != done_.end()) return it->second;
    const PieceNode& n = p_[v];
    int16_t reg;
    if (n.kind == NodeKind::Move) {
      const Source& s = part_.sources.of(v, 0);
      Level l = level_of(v);
      reg = load(s.base, arrange(s.view, n.shape, l), l, l == Level::Elem);
    } else if (n.kind == NodeKind::Index) {
      Level l = level_of(v);
      reg = load(v, arrange(identity_view(n.shape), n.shape, l), l, l == Level::Elem);
    } else if (n.kind == NodeKind::Reduce) {
      const Source& s = part_.sources.of(v, 0);
      int16_t a = raise(operand(s, p_[n.in[0]].shape, Level::Elem), Level::Elem);
      reg = new_reg(n.dtype, Level::Red);
      out_.program.code.push_back({InstrKind::Reduce, Level::Red, n.op, n.dtype, reg, a, -1, -1});
    } else if (traits(n.op).is_cast) {
      reg = convert(operand(part_.sources.of(v, 0), n.shape, level), n.dtype);
    } else {
      int16_t in[3] = {-1, -1, -1};
      Level l = Level::Uniform;
      for (int k = 0; k < n.in.size(); ++k) {
        in[k] = widen(operand(part_.sources.of(v, k), n.shape, level));
        l = std::max(l, reg_level(in[k]));
      }
      reg = new_reg(compute_type(n.dtype), l);
      DType type = compute_type(p_[n.in.back()].dtype);
      out_.program.code.push_back({InstrKind::Op, l, n.op, type, reg, in[0], in[1], in[2]});
      if (is_narrow(n.dtype)) reg = convert(reg, n.dtype);  // rounded after every operation, fused or not
    }
    done_.emplace(v, reg);
    return reg;
  }

  void store(int v) {
    Level level = level_of(v);
    int16_t r = raise(emit(v, level), level);
    View view = arrange(identity_view(p_[v].shape), p_[v].shape, level);
    bool maj = !columns() && level == Level::Red;
    int16_t arg = add_arg(v, p_[v].dtype, maj ? ArgClass::Maj : ArgClass::Vec, std::move(view), true);
    out_.program.code.push_back({InstrKind::Store, level, kLeaf, p_[v].dtype, arg, r, -1, -1});
  }

  struct Loaded {
    int base;
    Level want;
    bool forced;
    View view;
    int16_t reg;
  };

  const Piece& p_;
  const Partition& part_;
  const Group& g_;
  int number_;
  std::vector<int> major_, minor_;
  Ints all_;
  Lowered out_;
  std::vector<Loaded> loads_;
  std::unordered_map<int, int16_t> done_;
  std::unordered_map<int16_t, int16_t> wide_;
};

}  // namespace

Lowered lower(const Piece& p, const Partition& part, int group) {
  return Lowering(p, part, part.groups[static_cast<size_t>(group)], group).run();
}

}  // namespace pd
