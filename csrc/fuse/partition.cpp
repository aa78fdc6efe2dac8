// Which nodes share a kernel.
//
// One pass in the order of dependence, phase by phase. An elementwise node joins the groups of its operands where they
// share its domain (or its rows), and so unites them; a reduction joins the group of what it reduces and
// gives it rows; anything that would close a cycle stays out and reads memory. Then what crosses from
// one kernel to another is stored, or, where it is cheap, computed again.
#include <algorithm>
#include <cstdint>

#include "fuse/piece.h"

namespace pd {

bool Group::split() const {
  int64_t n = 1;
  bool rows = red.empty() || red.back();
  for (int i = 0; i < dims.size() && !red.empty(); ++i)
    if (red[static_cast<size_t>(i)]) n *= dims[i];
  return n > (rows ? kMaxRow : kMaxRow / 8);
}

namespace {

constexpr int kRecomputeCost = 20;   // of an elementwise chain that is computed again rather than stored
constexpr int kRecomputeLoads = 2;

// Sets of groups, as bits.
struct Bits {
  SmallVec<uint64_t, 2> w;
  void set(int i) {
    if (w.size() <= i / 64) w.resize(i / 64 + 1);
    w[i / 64] |= uint64_t(1) << (i % 64);
  }
  bool has(int i) const { return i / 64 < w.size() && (w[i / 64] >> (i % 64) & 1); }
  void join(const Bits& o) {
    if (w.size() < o.w.size()) w.resize(o.w.size());
    for (int k = 0; k < o.w.size(); ++k) w[k] |= o.w[k];
  }
};

using Groups = SmallVec<int, 4>;

Shape squeezed(const Shape& s) {
  Shape r;
  for (int64_t d : s)
    if (d != 1) r.push_back(d);
  return r;
}

// squeezed(s) == dims
bool same_domain(const Shape& s, const Shape& dims) {
  int k = 0;
  for (int64_t d : s) {
    if (d == 1) continue;
    if (k == dims.size() || dims[k] != d) return false;
    ++k;
  }
  return k == dims.size();
}

enum class Use : uint8_t { Memory, Elem, RedInElem, RedInRed };

struct Draft {
  Group g;
  Bits before;  // groups that must run earlier, transitively
  Bits through_memory;  // groups some element of which is read elsewhere than where it is made
  int home = -1;  // united into
  int window = 0;  // the first group of its window
  int phase = 0;   // of its members
};

// A long graph is grouped a window of nodes at a time: what an earlier window made is in memory for a later one. The work is
// quadratic in a window's groups, and bits are by number in the window.
constexpr int kWindow = 4096;

class Partitioner {
 public:
  Partitioner(const Piece& p, const FuseOptions& o, bool (*may_view)(const PieceNode&, int))
      : p_(p), options_(o), may_view_(may_view), n_(static_cast<int>(p.nodes.size())) {
    part_.stored.assign(p.nodes.size(), 0);
    part_.as_elem.assign(p.nodes.size(), 1);
    group_.assign(p.nodes.size(), -1);
    stop_.assign(p.nodes.size(), 0);
    wanted_.assign(p.nodes.size(), 0);
    part_.alias.assign(p.nodes.size(), -1);
  }

  Partition run() {
    find_stops();
    part_.sources = Sources(p_, stop_);
    for (int v = 0; v < n_; ++v) {
      if (v % kWindow == 0) window_ = static_cast<int>(drafts_.size());
      place(v);
    }
    settle_memory();
    finish();
    return std::move(part_);
  }

 private:
  const PieceNode& node(int v) const { return p_.nodes[static_cast<size_t>(v)]; }
  bool is_movement(int v) const { return node(v).kind == NodeKind::Move; }
  // Readable by any kernel without having been stored by a fused one.
  bool in_memory(int v) const {
    NodeKind k = node(v).kind;
    return k == NodeKind::Leaf || k == NodeKind::Number || k == NodeKind::Opaque || k == NodeKind::Index;
  }
  int find(int g) {
    while (drafts_[static_cast<size_t>(g)].home >= 0) g = drafts_[static_cast<size_t>(g)].home;
    return g;
  }
  int bit(int g) const { return g - window_; }
  Draft& draft(int g) { return drafts_[static_cast<size_t>(g)]; }
  int group_of(int v) { return group_[static_cast<size_t>(v)] < 0 ? -1 : find(group_[static_cast<size_t>(v)]); }
  bool elem(int v) const { return part_.as_elem[static_cast<size_t>(v)]; }

  // Movement that ends in memory of its own: outputs, operands of opaque kernels, what strides cannot say.
  void find_stops() {
    for (int v = 0; v < n_; ++v) {
      const PieceNode& n = node(v);
      if (n.output && is_movement(v)) {
        Source s = resolve_through(p_, v, stop_);
        NodeKind k = node(s.base).kind;
        if (is_identity(s.view, s.shape) && k != NodeKind::Number && k != NodeKind::Index && !is_movement(s.base)) {
          part_.alias[static_cast<size_t>(v)] = s.base;
          part_.stored[static_cast<size_t>(s.base)] = 1;
        } else {
          stop_[static_cast<size_t>(v)] = 1;
        }
      }
      if (n.output && n.kind == NodeKind::Index) wanted_[static_cast<size_t>(v)] = 1;
    }
    // A stop moves the base of what is read through it, so that what was in order there need not be any more.
    for (bool again = true; again;) {
      again = false;
      for (int v = 0; v < n_; ++v) {
        if (node(v).kind == NodeKind::Opaque) again |= stop_operands(v);
        for (int x : node(v).in) again |= stop_restarts(x);
        if (is_movement(v) && stop_[static_cast<size_t>(v)]) again |= stop(resolve_through(p_, v, stop_).base);
      }
    }
  }

  // The bases of a chain of movement that are movement: where a map restarted.
  bool stop_restarts(int x) {
    bool any = false;
    while (is_movement(x)) {
      x = stop_[static_cast<size_t>(x)] ? resolve_through(p_, x, stop_).base : resolve(p_, x, stop_).base;
      any |= stop(x);
    }
    return any;
  }

  // True where the movement x had none yet.
  bool stop(int x) {
    if (!is_movement(x) || stop_[static_cast<size_t>(x)]) return false;
    stop_[static_cast<size_t>(x)] = 1;
    return true;
  }

  bool stop_operands(int v) {
    bool any = false;
    const PieceNode& n = node(v);
    for (int k = 0; k < n.in.size(); ++k) {
      int x = n.in[k];
      if (node(x).kind == NodeKind::Index) wanted_[static_cast<size_t>(x)] = 1;
      if (!is_movement(x)) continue;
      Source s = resolve(p_, x, stop_);
      NodeKind b = node(s.base).kind;
      if (b == NodeKind::Number || b == NodeKind::Index || s.view.bounded ||
          (!is_identity(s.view, s.shape) && !may_view_(n, k)))
        any |= stop(x);
    }
    return any;
  }

  int new_group(GroupKind kind, const Shape& dims) {
    drafts_.push_back({});
    Draft& d = drafts_.back();
    d.g.kind = kind;
    d.g.dims = dims;
    d.window = window_;
    d.phase = phase_;
    return static_cast<int>(drafts_.size()) - 1;
  }

  void add_member(int g, int v, bool as_elem) {
    draft(g).g.members.push_back(v);
    group_[static_cast<size_t>(v)] = g;
    part_.as_elem[static_cast<size_t>(v)] = as_elem;
  }

  // How a node over `shape` may use base b of group g without memory.
  Use use_of(int g, const Source& s, const Shape& shape) {
    const Group& k = draft(g).g;
    if (g < window_ || k.kind == GroupKind::Opaque || s.view.bounded || s.view.offset) return Use::Memory;
    if (elem(s.base)) {
      if (!same_domain(shape, k.dims)) return Use::Memory;
      bool same = s.shape == shape ? s.plain || is_identity(s.view, shape)
                                   : is_identity(broadcast_view(s.view, s.shape, shape), shape);
      return same ? Use::Elem : Use::Memory;
    }
    // The tiles of an empty domain have rows and no elements, in which a bounded view of rows would lie.
    if (k.split() || std::find(k.dims.begin(), k.dims.end(), 0) != k.dims.end()) return Use::Memory;
    View v = broadcast_view(s.view, s.shape, shape);
    Shape outer;
    for (int i = 0; i < k.dims.size(); ++i)
      if (!k.red[static_cast<size_t>(i)]) outer.push_back(k.dims[i]);
    if (same_domain(shape, outer) && is_identity(v, shape)) return Use::RedInRed;
    if (!same_domain(shape, k.dims)) return Use::Memory;
    int64_t stride = 1;
    for (int i = k.dims.size() - 1, j = shape.size() - 1; i >= 0; --i, --j) {
      while (shape[j] == 1) --j;
      bool red = k.red[static_cast<size_t>(i)];
      if (v.strides[j] != (red ? 0 : stride)) return Use::Memory;
      if (!red) stride *= k.dims[i];
    }
    return Use::RedInElem;
  }

  // g and h may become one: no third group lies between them.
  bool can_unite(int g, int h) {
    const Draft &a = draft(g), &b = draft(h);
    if (a.through_memory.has(bit(h)) || b.through_memory.has(bit(g))) return false;
    if (static_cast<int>(a.g.members.size() + b.g.members.size()) > options_.max_members) return false;
    for (int m = window_; m < static_cast<int>(drafts_.size()); ++m) {
      if (draft(m).home >= 0 || m == g || m == h) continue;
      const Bits& mid = draft(m).before;
      if ((b.before.has(bit(m)) && mid.has(bit(g))) || (a.before.has(bit(m)) && mid.has(bit(h)))) return false;
    }
    return true;
  }

  // h becomes part of g; `lower`: its members live on the rows of g.
  void unite(int g, int h, bool lower) {
    Draft &a = draft(g), &b = draft(h);
    if (lower)
      for (int m : b.g.members) part_.as_elem[static_cast<size_t>(m)] = 0;
    if (a.g.red.empty() && !lower) a.g.red = b.g.red;
    std::vector<int> merged;
    std::merge(a.g.members.begin(), a.g.members.end(), b.g.members.begin(), b.g.members.end(),
               std::back_inserter(merged));
    a.g.members = merged;
    b.g.members.clear();
    a.before.join(b.before);
    a.through_memory.join(b.through_memory);
    b.home = g;
    for (size_t i = static_cast<size_t>(window_); i < drafts_.size(); ++i) {
      Draft& d = drafts_[i];
      if (d.through_memory.has(bit(h))) d.through_memory.set(bit(g));
      if (d.home < 0 && (d.before.has(bit(h)) || d.before.has(bit(g)))) {
        d.before.join(a.before);
        d.before.set(bit(g));
      }
    }
  }

  void runs_after(int g, int h) {
    if (g == h || h < window_) return;
    Draft& d = draft(g);
    d.before.set(bit(h));
    d.before.join(draft(h).before);
    for (size_t i = static_cast<size_t>(window_); i < drafts_.size(); ++i)
      if (drafts_[i].home < 0 && drafts_[i].before.has(bit(g))) drafts_[i].before.join(d.before);
  }

  // May v, which reads these groups, be part of g, or of g and `with` as one?
  bool can_join(int g, const Groups& reads, int with = -1) {
    if (draft(g).phase != phase_) return false;
    if (static_cast<int>(draft(g).g.members.size()) >= options_.max_members) return false;
    for (int r : reads) {
      int h = r < 0 ? -1 : find(r);
      if (h >= window_ && h != g && h != with && draft(h).before.has(bit(g))) return false;
    }
    return true;
  }

  void place(int v) {
    const PieceNode& n = node(v);
    phase_ = n.phase;
    if (n.kind == NodeKind::Leaf || n.kind == NodeKind::Number) return;
    if (n.kind == NodeKind::Index && !wanted_[static_cast<size_t>(v)]) return;
    if (is_movement(v) && !stop_[static_cast<size_t>(v)]) return;
    if (n.kind == NodeKind::Opaque) return place_opaque(v);
    if (n.kind == NodeKind::Reduce) return place_reduce(v);
    place_elementwise(v);
  }

  int sources(int v) const { return part_.sources.count(v); }
  const Source& source(int v, int k) const { return part_.sources.of(v, k); }

  // The groups in which v's operands are made; -1 where none is.
  Groups groups_read(int v) {
    Groups r;
    for (int k = 0; k < sources(v); ++k) {
      int b = source(v, k).base;
      r.push_back(node(b).kind == NodeKind::Index ? -1 : group_of(b));
    }
    return r;
  }

  void settle(int g, int v, bool as_elem) {
    add_member(g, v, as_elem);
    Groups reads = groups_read(v);
    for (int k = 0; k < reads.size(); ++k) {
      int r = reads[k];
      if (r < window_) continue;
      if (r != g && use_by(v, r, source(v, k)) == Use::Memory) draft(g).through_memory.set(bit(r));
      runs_after(g, r);
    }
  }

  // How node v may use a source of group g.
  Use use_by(int v, int g, const Source& s) {
    if (is_movement(v) || node(v).kind == NodeKind::Opaque) return Use::Memory;
    return use_of(g, s, node(v).kind == NodeKind::Reduce ? s.shape : node(v).shape);
  }

  void place_opaque(int v) {
    int g = new_group(GroupKind::Opaque, node(v).shape);
    settle(g, v, true);
    for (int k = 0; k < sources(v); ++k)
      if (node(source(v, k).base).kind == NodeKind::Index) runs_after(g, group_of(source(v, k).base));
  }

  void place_reduce(int v) {
    const PieceNode& n = node(v);
    const Source& s = source(v, 0);
    const Shape& full = s.shape;
    std::vector<char> red;
    Shape dims;
    for (int i = 0; i < full.size(); ++i) {
      bool r = std::find(n.attrs.begin(), n.attrs.end(), i) != n.attrs.end();
      if (full[i] == 1) continue;
      dims.push_back(full[i]);
      red.push_back(r);
    }
    bool any = std::find(red.begin(), red.end(), 1) != red.end();
    Groups reads = groups_read(v);
    int g = reads[0];
    if (options_.fuse && any && g >= 0 && use_of(g, s, full) == Use::Elem && can_join(g, reads)) {
      Group& k = draft(g).g;
      if (k.red.empty() || k.red == red) {
        std::vector<char> before = k.red;
        k.red = red;
        // Becoming split would take the rows away from nobody: there were none.
        return settle(g, v, false);
      }
    }
    if (!any) {  // over axes of size 1 alone: an axis to run along, so that the tree says the bits
      dims.push_back(1);
      red.push_back(1);
    }
    g = new_group(GroupKind::Fused, dims);
    draft(g).g.red = red;
    settle(g, v, false);
  }

  void place_elementwise(int v) {
    const PieceNode& n = node(v);
    Groups reads = groups_read(v);
    int host = -1;
    bool host_elem = true;
    if (options_.fuse && !is_movement(v)) {
      // Elementwise company first: rows of a reduction may then be used by it, or it moves onto the rows.
      for (int pass = 0; pass < 2; ++pass)
        for (int k = 0; k < reads.size(); ++k) {
          int g = reads[k] < 0 ? -1 : find(reads[k]);
          if (g < 0 || g == host) continue;
          Use u = use_of(g, source(v, k), n.shape);
          if (u == Use::Memory || (u == Use::Elem) != (pass == 0)) continue;
          bool elsewhere = false;  // v also reads g at other places
          for (int j = 0; j < reads.size(); ++j)
            elsewhere |= j != k && reads[j] >= 0 && find(reads[j]) == g && use_of(g, source(v, j), n.shape) == Use::Memory;
          if (!elsewhere) meet(g, u, reads, &host, &host_elem);
        }
    }
    if (host < 0) host = new_group(GroupKind::Fused, squeezed(n.shape));
    settle(host, v, host_elem);
  }

  void meet(int g, Use u, const Groups& reads, int* host, bool* host_elem) {
    bool as_elem = u != Use::RedInRed;
    if (*host < 0) {
      if (!can_join(g, reads)) return;
      *host = g;
      *host_elem = as_elem;
      return;
    }
    Group &h = draft(*host).g, &k = draft(g).g;
    if (!can_join(g, reads, *host) || !can_unite(*host, g)) return;  // v may read what comes after g
    bool level = as_elem == *host_elem;
    if (level && h.dims == k.dims && (h.red.empty() || k.red.empty() || h.red == k.red)) {
      if (!as_elem && h.red != k.red) return;
      unite(*host, g, false);
    } else if (*host_elem && !as_elem && h.red.empty()) {
      unite(g, *host, true);
      *host = g;
      *host_elem = false;
    }
  }

  // ---- memory between kernels

  int chain_cost(int v, int g, int* loads, int depth) {
    const PieceNode& n = node(v);
    if (depth > 6 || n.kind != NodeKind::Fusible || !elem(v) || n.in.empty()) return 10000;
    int cost = traits(n.op).cost;
    for (int k = 0; k < sources(v); ++k) {
      const Source& s = source(v, k);
      if (node(s.base).kind == NodeKind::Number) continue;
      if (in_memory(s.base) || part_.stored[static_cast<size_t>(s.base)] || node(s.base).output) {
        ++*loads;
        continue;
      }
      if (group_of(s.base) != g || use_of(g, s, n.shape) != Use::Elem) return 10000;
      cost += chain_cost(s.base, g, loads, depth + 1);
    }
    return cost;
  }

  bool cheap_again(int v) {
    if (!options_.fuse) return false;
    int loads = 0;
    return chain_cost(v, group_of(v), &loads, 0) <= kRecomputeCost && loads <= kRecomputeLoads;
  }

  void settle_memory() {
    for (int v = 0; v < n_; ++v)
      if ((node(v).output && part_.alias[static_cast<size_t>(v)] < 0) || in_memory(v) ||
          (is_movement(v) && stop_[static_cast<size_t>(v)]))
        part_.stored[static_cast<size_t>(v)] = 1;
    // First what memory alone can give; then what is cheap enough to be made twice.
    for (int pass = 0; pass < 2; ++pass)
      for (int v = 0; v < n_; ++v) {
        if (group_of(v) < 0) continue;
        window_ = draft(group_of(v)).window;
        const PieceNode& n = node(v);
        for (int k = 0; k < sources(v); ++k) {
          const Source& s = source(v, k);
          if (part_.stored[static_cast<size_t>(s.base)]) continue;
          int g = group_of(s.base);
          Use use = g < 0 ? Use::Memory : use_by(v, g, s);
          if (g == group_of(v) && use != Use::Memory) continue;
          // an element of the other kernel's domain, read as an element of this one's
          bool same_domain = use == Use::Elem && (n.kind == NodeKind::Reduce || elem(v));
          if (pass == 0 ? !same_domain : !cheap_again(s.base)) part_.stored[static_cast<size_t>(s.base)] = 1;
        }
      }
    if (!options_.fuse)
      for (int v = 0; v < n_; ++v)
        if (group_of(v) >= 0) part_.stored[static_cast<size_t>(v)] = 1;
  }

  void put_in_order(const std::vector<int>& alive, std::vector<int>& order) {
    std::vector<char> done(alive.size(), 0);
    for (size_t left = alive.size(); left > 0;) {
      const size_t was = left;
      for (size_t i = 0; i < alive.size(); ++i) {
        if (done[i]) continue;
        bool ready = true;
        for (size_t j = 0; j < alive.size() && ready; ++j) ready = j == i || done[j] || !draft(alive[i]).before.has(bit(alive[j]));
        if (!ready) continue;
        done[i] = 1;
        order.push_back(alive[i]);
        --left;
      }
      if (left == was) fail("fuse", "a cycle among kernels", "", "PYDIFF_FUSE=off", ErrorKind::Runtime);
    }
  }

  void finish() {
    std::vector<int> alive;
    for (size_t i = 0; i < drafts_.size(); ++i)
      if (drafts_[i].home < 0 && !drafts_[i].g.members.empty()) alive.push_back(static_cast<int>(i));
    // An order that respects `before`, window by window and phase by phase: the group whose newest member is oldest first
    // among the ready.
    std::sort(alive.begin(), alive.end(), [&](int a, int b) {
      const Draft &l = draft(a), &r = draft(b);
      if (l.window != r.window) return l.window < r.window;
      return l.phase != r.phase ? l.phase < r.phase : l.g.members[0] < r.g.members[0];
    });
    std::vector<int> order;
    for (size_t begin = 0, end = 0; begin < alive.size(); begin = end) {
      window_ = draft(alive[begin]).window;
      phase_ = draft(alive[begin]).phase;
      while (end < alive.size() && draft(alive[end]).window == window_ && draft(alive[end]).phase == phase_) ++end;
      put_in_order(std::vector<int>(alive.begin() + static_cast<long>(begin), alive.begin() + static_cast<long>(end)), order);
    }
    std::vector<int> number(drafts_.size(), -1);
    for (int g : order) {
      number[static_cast<size_t>(g)] = static_cast<int>(part_.groups.size());
      part_.groups.push_back(std::move(draft(g).g));
    }
    part_.group_of.assign(p_.nodes.size(), -1);
    for (int v = 0; v < n_; ++v)
      if (group_[static_cast<size_t>(v)] >= 0) part_.group_of[static_cast<size_t>(v)] = number[static_cast<size_t>(find(group_[static_cast<size_t>(v)]))];
  }

  const Piece& p_;
  FuseOptions options_;
  bool (*may_view_)(const PieceNode&, int);
  int n_;
  Partition part_;
  std::vector<Draft> drafts_;
  int window_ = 0;  // the first group of the window at work
  int phase_ = 0;   // at work
  std::vector<int> group_;
  std::vector<char> stop_;
  std::vector<char> wanted_;  // Index nodes that somebody needs in memory

 public:
  const std::vector<char>& stops() const { return stop_; }
};

}  // namespace

Partition partition(const Piece& p, const FuseOptions& options, bool (*may_view)(const PieceNode& n, int operand)) {
  Partitioner t(p, options, may_view);
  Partition part = t.run();
  part.stops = t.stops();
  return part;
}

}  // namespace pd
