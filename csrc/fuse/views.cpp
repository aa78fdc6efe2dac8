// Movement as index maps: chains of reshape, permute, expand, slice, flip and pad become strides,
// offset and bounds.
#include "base/divide.h"
#include "fuse/piece.h"

namespace pd {

namespace {

View plain(const Shape& shape) {
  View v;
  v.offset = 0;
  v.strides = contiguous_strides(shape);
  v.bounded = false;
  return v;
}

// Bounds appear when the first pad does.
void need_bounds(View& v, const Shape& shape) {
  if (v.bounded) return;
  v.bounded = true;
  v.lo = Ints(shape.size(), 0);
  v.hi = shape;
}

Ints pick(const Ints& from, const Ints& axes) {
  Ints r;
  for (int64_t a : axes) r.push_back(from[static_cast<int>(a)]);
  return r;
}

// Splits and merges axes where strides can say it (the rule of numpy's no-copy reshape, Harris et al.
// 2020): runs of old axes that are contiguous among themselves map to runs of new ones.
bool reshape_view(View& v, const Shape& from, const Shape& to) {
  Ints os, od, olo, ohi;
  for (int i = 0; i < from.size(); ++i) {
    if (from[i] == 1) {
      if (v.bounded && (v.lo[i] > 0 || v.hi[i] < 1)) return false;
      continue;
    }
    od.push_back(from[i]);
    os.push_back(v.strides[i]);
    olo.push_back(v.bounded ? v.lo[i] : 0);
    ohi.push_back(v.bounded ? v.hi[i] : from[i]);
  }
  Ints ns(to.size(), 0), nlo(to.size(), 0), nhi = to;
  if (numel(to) == 0) {
    v.strides = ns;
    v.bounded = false;
    return true;
  }
  int i = 0, j = 0;
  while (i < od.size() || j < to.size()) {
    if (j < to.size() && to[j] == 1) {
      ++j;
      continue;
    }
    if (i >= od.size() || j >= to.size()) return false;
    int i1 = i + 1, j1 = j + 1;
    int64_t a = od[i], b = to[j];
    while (a != b) {
      if (a < b) {
        if (i1 >= od.size()) return false;
        a *= od[i1++];
      } else {
        if (j1 >= to.size()) return false;
        b *= to[j1++];
      }
    }
    bool one_to_one = i1 == i + 1 && j1 == j + 1;
    for (int k = i; k < i1; ++k)
      if (!one_to_one && (olo[k] > 0 || ohi[k] < od[k])) return false;
    for (int k = i; k + 1 < i1; ++k)
      if (os[k] != od[k + 1] * os[k + 1]) return false;
    int64_t s = os[i1 - 1];
    for (int k = j1 - 1; k >= j; --k) {
      ns[k] = s;
      s *= to[k];
    }
    if (one_to_one) {
      nlo[j] = olo[i];
      nhi[j] = ohi[i];
    }
    i = i1;
    j = j1;
  }
  v.strides = ns;
  if (v.bounded) {
    v.lo = nlo;
    v.hi = nhi;
  }
  return true;
}

bool expand_view(View& v, const Shape& from, const Shape& to) {
  if (from == to) return true;
  int lead = to.size() - from.size();
  Ints s(to.size(), 0), lo, hi;
  if (v.bounded) lo.resize(to.size()), hi = to;
  for (int i = 0; i < from.size(); ++i) {
    bool same = from[i] == to[lead + i];
    if (same) s[lead + i] = v.strides[i];
    if (!v.bounded) continue;
    if (!same && (v.lo[i] > 0 || v.hi[i] < 1)) return false;  // a padded single element, repeated
    if (same) {
      lo[lead + i] = v.lo[i];
      hi[lead + i] = v.hi[i];
    }
  }
  v.strides = s;
  v.lo = lo;
  v.hi = hi;
  return true;
}


void slice_view(View& v, const Ints& a, const Shape& to) {
  int n = to.size();
  for (int i = 0; i < n; ++i) {
    int64_t start = a[i], step = a[2 * n + i];
    v.offset += start * v.strides[i];
    v.strides[i] *= step;
    if (!v.bounded) continue;
    v.lo[i] = std::max<int64_t>(0, ceil_div(v.lo[i] - start, step));
    v.hi[i] = std::min(to[i], ceil_div(v.hi[i] - start, step));
    if (v.hi[i] < v.lo[i]) v.hi[i] = v.lo[i];
  }
}

bool pad_view(View& v, const Ints& a, const Shape& from, const Shape& to) {
  int n = to.size();
  if (v.bounded && v.fill != a[2 * n]) {
    for (int i = 0; i < n; ++i)
      if (v.lo[i] > 0 || v.hi[i] < from[i]) return false;  // two fills
  }
  need_bounds(v, from);
  v.fill = a[2 * n];
  for (int i = 0; i < n; ++i) {
    v.offset -= a[i] * v.strides[i];
    v.lo[i] += a[i];
    v.hi[i] += a[i];
  }
  return true;
}

// The map of a movement node put behind v, a map onto its operand.
bool follow(const PieceNode& n, const Shape& from, View& v) {
  switch (traits(n.op).move) {
    case MoveKind::Reshape: return reshape_view(v, from, n.shape);
    case MoveKind::Permute:
      v.strides = pick(v.strides, n.attrs);
      if (v.bounded) {
        v.lo = pick(v.lo, n.attrs);
        v.hi = pick(v.hi, n.attrs);
      }
      return true;
    case MoveKind::Expand: return expand_view(v, from, n.shape);
    case MoveKind::Slice: slice_view(v, n.attrs, n.shape); return true;
    case MoveKind::Flip:
      for (int64_t x : n.attrs) {
        int i = static_cast<int>(x);
        v.offset += (n.shape[i] - 1) * v.strides[i];
        v.strides[i] = -v.strides[i];
        if (!v.bounded) continue;
        int64_t lo = v.lo[i];
        v.lo[i] = n.shape[i] - v.hi[i];
        v.hi[i] = n.shape[i] - lo;
      }
      return true;
    case MoveKind::Pad: return pad_view(v, n.attrs, from, n.shape);
    case MoveKind::None: break;
  }
  return false;
}

Source resolve_from(const Piece& p, int x, int bottom) {
  // From the bottom up to x. Where strides cannot say the map so far, what n reads is computed into
  // memory, and the map starts afresh from there.
  std::vector<int> chain;
  for (int n = x; n != bottom; n = p[n].in[0]) chain.push_back(n);
  Source s{bottom, false, p[bottom].shape, plain(p[bottom].shape)};
  for (size_t k = chain.size(); k-- > 0;) {
    const PieceNode& n = p[chain[k]];
    View v = s.view;
    if (!follow(n, s.shape, v)) {
      s.base = n.in[0];
      v = plain(s.shape);
      follow(n, s.shape, v);
    }
    s.view = v;
    s.shape = n.shape;
  }
  return s;
}

}  // namespace

View identity_view(const Shape& shape) { return plain(shape); }

bool is_identity(const View& v, const Shape& shape) {
  if (v.offset || v.bounded) return false;
  int64_t s = 1;
  for (int i = shape.size() - 1; i >= 0; --i) {
    if (shape[i] == 1) continue;
    if (v.strides[i] != s) return false;
    s *= shape[i];
  }
  return true;
}

Source resolve(const Piece& p, int x, const std::vector<char>& stop) {
  if (p[x].kind != NodeKind::Move || stop[static_cast<size_t>(x)]) return Source{x, true, p[x].shape, plain(p[x].shape)};
  return resolve_through(p, x, stop);
}

Source resolve_through(const Piece& p, int x, const std::vector<char>& stop) {
  int bottom = p[x].in[0];
  while (p[bottom].kind == NodeKind::Move && !stop[static_cast<size_t>(bottom)]) bottom = p[bottom].in[0];
  return resolve_from(p, x, bottom);
}

Sources::Sources(const Piece& p, const std::vector<char>& stop) {
  size_t n = p.nodes.size(), reads = 0;
  for (const PieceNode& node : p.nodes) reads += static_cast<size_t>(node.in.size());
  all_.reserve(n);
  at_.reserve(reads);
  first_.reserve(n + 1);
  std::vector<int> known(n, -1);
  auto add = [&](Source s) {
    all_.push_back(std::move(s));
    return static_cast<int>(all_.size()) - 1;
  };
  for (size_t v = 0; v < n; ++v) {
    const PieceNode& node = p.nodes[v];
    first_.push_back(static_cast<int>(at_.size()));
    if (node.kind == NodeKind::Move) {
      if (stop[v]) at_.push_back(add(resolve_through(p, static_cast<int>(v), stop)));
      continue;
    }
    for (int x : node.in) {
      int& place = known[static_cast<size_t>(x)];
      if (place < 0) place = add(resolve(p, x, stop));
      at_.push_back(place);
    }
  }
  first_.push_back(static_cast<int>(at_.size()));
}

View broadcast_view(const View& v, const Shape& from, const Shape& to) {
  View r = v;
  expand_view(r, from, to);
  return r;
}

}  // namespace pd
