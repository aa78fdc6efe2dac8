// The part of a launch that depends on shapes alone.
#include <algorithm>
#include <cstdlib>

#include "base/divide.h"
#include "base/error.h"
#include "device/cpu/pool.h"
#include "fuse/runner.h"
#include "ops/loops.h"

namespace pd {
namespace {

// Bytes of intermediate results of a tile: half of a small L1 cache, and where columns are reduced, half of a small L2.
constexpr int64_t kTileBytes = 16 << 10;
constexpr int64_t kColumnTileBytes = 192 << 10;
constexpr int64_t kMinTile = 2048;             // elements: below it the cost of dispatch shows
constexpr int64_t kMaxTile = 16384;
constexpr int64_t kCompiledTile = 65536;
constexpr int64_t kMaxColumns = 16384;
// A packed transpose reads along the majors: long enough to pay for the pages that it touches.
constexpr int64_t kTransposedColumns = 128, kTransposedTile = 16384;
constexpr int64_t kWorthARun = 128;            // elements of a run of majors that are worth a tile of their own
constexpr int64_t kLongRun = 64;               // minors of a run that are
constexpr int64_t kShortRun = 8;               // and of one whose columns have kMinTile elements: packing them takes longer

bool bounded_on(const View& v, int axis, int64_t dim) { return v.bounded && (v.lo[axis] > 0 || v.hi[axis] < dim); }

void erase_axis(View& v, int axis) {
  v.strides.erase(axis);
  if (v.bounded) v.lo.erase(axis), v.hi.erase(axis);
}

// Axes `axis` and `axis + 1` are one axis for this view.
bool mergeable(const View& v, const Ints& dims, int axis) {
  return v.strides[axis] == v.strides[axis + 1] * dims[axis + 1] && !bounded_on(v, axis + 1, dims[axis + 1]);
}

// Drops axes of length 1 and merges neighbours, wherever that suits every operand, without crossing `border` if it is
// positive. Returns the border's new place.
int merge_axes(Ints& dims, std::vector<View*>& views, int border) {
  for (int k = dims.size() - 1; k >= 0; --k) {
    bool drop = dims[k] == 1;
    for (View* v : views) drop = drop && !bounded_on(*v, k, 1);
    if (!drop) continue;
    dims.erase(k);
    for (View* v : views) erase_axis(*v, k);
    border -= k < border;
  }
  for (int k = dims.size() - 2; k >= 0; --k) {
    bool join = k + 1 != border;
    for (View* v : views) join = join && mergeable(*v, dims, k);
    if (!join) continue;
    for (View* v : views) {
      if (v->bounded) {
        v->lo[k] *= dims[k + 1];
        v->hi[k] *= dims[k + 1];
        v->lo.erase(k + 1);
        v->hi.erase(k + 1);
      }
      v->strides.erase(k);
    }
    dims[k] *= dims[k + 1];
    dims.erase(k + 1);
    border -= k + 1 < border;
  }
  return border;
}

// The view is linear over `count` axes from `first` on, if the others stand still.
bool linear(const View& v, const Ints& dims, int first, int count) {
  int inner = -1;
  for (int k = count - 1; k >= 0; --k) {
    if (dims[k] == 1) continue;
    if (inner >= 0 && v.strides[first + k] != v.strides[first + inner] * dims[inner]) return false;
    inner = k;
  }
  return true;
}

// The stride of the innermost of these axes that has more than one index.
int64_t inner_stride(const View& v, const Ints& dims, int first) {
  for (int k = dims.size() - 1; k >= 0; --k)
    if (dims[k] != 1) return v.strides[first + k];
  return 0;
}

Cut whole(int64_t total) {
  Cut c;
  c.total = c.run = c.step = total;
  return c;
}

// Even pieces of at most `step`, or exactly that long but the last one.
Cut cut(const Ints& dims, int64_t step, bool by_run, bool exact = false) {
  Cut c;
  c.total = numel(dims);
  c.run = by_run && dims.size() > 1 ? dims.back() : c.total;
  if (c.total == 0) {
    c.step = c.pieces_a_run = 1;
    c.pieces = 0;
    return c;
  }
  c.step = std::max<int64_t>(1, std::min(step, c.run));
  c.pieces_a_run = ceil_div(c.run, c.step);
  if (!exact) c.step = ceil_div(c.run, c.pieces_a_run);
  c.pieces = c.pieces_a_run * (c.total / c.run);
  return c;
}

// Bytes of Elem registers an element of the tile, at their most, of those that are computed; at least 1.
int64_t live_bytes(const Program& p) {
  std::vector<int> users(p.regs.size(), 0);
  std::vector<char> computed(p.regs.size(), 0);
  auto operands = [](const Instr& i, auto f) {
    if (i.kind == InstrKind::Load) return;
    f(i.a);
    if (i.kind != InstrKind::Op) return;
    if (i.b >= 0) f(i.b);
    if (i.c >= 0) f(i.c);
  };
  for (const Instr& i : p.code) {
    operands(i, [&](int16_t r) { ++users[r]; });
    if (i.kind == InstrKind::Op) computed[i.dst] = p.levels[i.dst] == Level::Elem;
  }
  int64_t live = 0, most = 1;
  for (const Instr& i : p.code) {
    operands(i, [&](int16_t r) {
      if (--users[r] == 0 && computed[r]) live -= static_cast<int64_t>(size_of(p.regs[r]));
    });
    if (i.kind != InstrKind::Op || !computed[i.dst]) continue;
    live += static_cast<int64_t>(size_of(p.regs[i.dst]));
    most = std::max(most, live);
  }
  return most;
}

bool transposed(const MergedLaunch& l, const MergedLaunch::Operand& o) {
  if (o.cls != ArgClass::Vec || o.red || l.major.empty() || l.minor.empty()) return false;
  const int64_t r = inner_stride(o.view, l.major, 0), c = inner_stride(o.view, l.minor, l.major.size());
  return r && std::abs(r) < std::abs(c);
}

void choose_tiles(const PreparedLaunch& l, const Program& p, int64_t budget, int64_t column_budget, Grid& g) {
  const bool reduce = reduces(p);
  const int64_t M = numel(l.major), N = numel(l.minor);
  const int64_t enough = 2 * num_threads();
  // Smaller tiles where all threads would not get two.
  const int64_t elements = std::max(std::min(kMinTile, budget), std::min(budget, M * N / enough));
  bool major_runs = false, minor_runs = false;
  for (const auto& o : l.operands) {
    if (o.cls != ArgClass::Index) continue;
    major_runs = major_runs || !linear(o.view, l.major, 0, l.major.size());
    minor_runs = minor_runs || !linear(o.view, l.minor, l.major.size(), l.minor.size());
  }
  const bool across_rows = reduce && p.layout == Layout::Columns;
  if (l.minor.size() > 1) {
    const int64_t run = l.minor.back();
    minor_runs = minor_runs || run >= (across_rows && M * run >= kMinTile ? kShortRun : kLongRun);
  } else {
    minor_runs = false;
  }

  if (across_rows) {
    g.major = whole(M);
    if (p.split && M > kBlock) {
      int64_t step = kBlock;
      while (step * 2 * std::max<int64_t>(1, N) <= elements) step *= 2;
      g.major = cut(l.major, step, false, true);
    }
    int64_t columns = column_budget / std::max<int64_t>(1, g.major.step);
    if (N * M >= kMinTile * enough) columns = std::min(columns, N * g.major.pieces / enough);
    columns = std::min(std::max<int64_t>(16, columns / 16 * 16), kMaxColumns);
    g.minor = cut(l.minor, columns, minor_runs, true);  // whole cache lines
    return;
  }
  int64_t columns;
  bool across = false;
  if (reduce) {
    g.minor = whole(N);
    if (p.split && N > kBlock) {
      int64_t step = kBlock;
      while (step * 2 <= elements) step *= 2;
      g.minor = cut(l.minor, step, false, true);
    }
    columns = g.minor.step;
  } else {
    for (const auto& o : l.operands)
      if (M > 1 && transposed(l, o)) across = true;
    columns = std::min(across ? kTransposedColumns : elements, minor_runs ? l.minor.back() : N);
    g.minor = cut(l.minor, columns, minor_runs);
    columns = g.minor.step;
  }
  columns = std::max<int64_t>(1, columns);
  major_runs = l.major.size() > 1 && (major_runs || l.major.back() * columns >= kWorthARun);
  const int64_t size = across ? std::max(elements, std::min(kTransposedTile, M * N / enough)) : elements;
  g.major = cut(l.major, std::max<int64_t>(1, size / columns), major_runs);
}

// Two axes of minors of which each tile has whole runs. A back end that knows no runs is not asked.
int64_t run_of(const PreparedLaunch& l, const Grid& g) {
  if (l.minor.size() != 2) return 0;
  const int64_t run = l.minor[1];
  return run > 0 && run % kLanes == 0 && (g.minor.pieces == 1 || g.minor.step % run == 0) ? run : 0;
}

void reach_operands(const PreparedLaunch& l, const Program& p, bool runs, Grid& g) {
  const int nm = l.major.size(), nn = l.minor.size();
  g.R = g.major.pieces ? g.major.step : 0;
  g.C = g.minor.pieces ? g.minor.step : 0;
  const int64_t run = runs ? run_of(l, g) : 0;
  g.run = !runs ? 0 : run ? run : std::max<int64_t>(kLanes, g.C);
  const int64_t kept = p.layout == Layout::Rows ? g.major.total : g.minor.total;
  const int64_t pieces = p.layout == Layout::Rows ? g.minor.pieces : g.major.pieces;
  auto line = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  g.operands.resize(l.operands.size());
  g.task_bytes = line(static_cast<int64_t>(l.operands.size() * 3 * sizeof(int64_t)));
  for (size_t k = 0; k < l.operands.size(); ++k) {
    const MergedLaunch::Operand& o = l.operands[k];
    const View& v = o.view;
    Grid::Operand& to = g.operands[k];
    const int64_t size = static_cast<int64_t>(size_of(o.dtype));
    to.offset = v.offset * size;
    for (int64_t s : v.strides) to.strides.push_back(s * size);
    to.index = v.index || o.cls == ArgClass::Index;
    if (o.cls == ArgClass::Uni) {
      to.reach = Reach::Value;
      continue;
    }
    if (p.split && o.combine && pieces > 1) {
      to.reach = Reach::Partial;
      to.rstride = 1;
      to.buffer = g.launch_bytes;
      g.launch_bytes += line(pieces * kept * size);
      continue;
    }
    const bool steady_major = g.R <= 1 || (o.red && o.cls == ArgClass::Vec);
    const bool steady_minor = g.C <= 1 || o.cls == ArgClass::Maj;
    const bool major_ok = steady_major || g.major.run != g.major.total || linear(v, l.major, 0, nm);
    const bool in_runs = run && o.cls == ArgClass::Vec;
    const bool minor_ok = steady_minor || in_runs || g.minor.run != g.minor.total || linear(v, l.minor, nm, nn);
    const int64_t inner = inner_stride(v, l.minor, nm);
    to.rstride = steady_major ? 0 : inner_stride(v, l.major, 0);
    if (o.cls == ArgClass::Index) {
      if (!major_ok || !minor_ok || v.bounded) fail("prepare", "an index map that is not linear over a tile");
      to.reach = Reach::Map;
      to.cstride = inner;
    } else if (!major_ok || !minor_ok || v.bounded || v.index || !(steady_minor || inner == 1)) {
      to.reach = Reach::Packed;
      to.buffer = g.task_bytes;
      const bool values = o.cls == ArgClass::Maj;
      g.task_bytes += line(size * (values ? g.R : o.red ? g.C : g.R * g.C));
    } else if (in_runs) {
      to.gap = v.strides[nm] - run;
    }
  }
}

// Tiles that differ in their first major only, at steady distances, need no index arithmetic.
void find_even_tiles(const PreparedLaunch& l, Grid& g) {
  const int nm = l.major.size();
  if (g.minor.pieces != 1 || g.launch_bytes || g.major.pieces < 2) return;
  const bool one_run = g.major.run == g.major.total;
  if (!one_run && g.major.pieces_a_run != 1) return;
  const int outer = one_run ? nm : nm - 1;  // axes along which the tiles lie
  const Ints along(l.major.data(), outer);
  for (size_t k = 0; k < g.operands.size(); ++k) {
    const View& v = l.operands[k].view;
    Grid::Operand& o = g.operands[k];
    if (o.reach == Reach::Value) continue;
    if (o.reach != Reach::Direct || !linear(v, along, 0, outer)) return;
    const int64_t rows = one_run ? g.major.step : 1;
    o.step = inner_stride(v, along, 0) * rows * static_cast<int64_t>(size_of(l.operands[k].dtype));
  }
  g.even = true;
}

MergedLaunch::Operand operand_of(const Program& p, int16_t k, const View& view) {
  MergedLaunch::Operand o{p.args[k].dtype, p.args[k].cls, p.args[k].output, true, nullptr, view};
  for (const Instr& i : p.code) {
    const bool load = i.kind == InstrKind::Load && i.a == k, store = i.kind == InstrKind::Store && i.dst == k;
    if ((load || store) && i.level != Level::Red) o.red = false;
    if (!store) continue;
    for (const Instr& j : p.code)
      if (j.kind == InstrKind::Reduce && j.dst == i.a) o.combine = combine_loop(reduce_kind(j.op), o.dtype);
  }
  if (o.red && p.layout == Layout::Rows && o.cls == ArgClass::Vec) o.cls = ArgClass::Maj;
  return o;
}

}  // namespace

bool reduces(const Program& p) {
  for (const Instr& i : p.code)
    if (i.kind == InstrKind::Reduce || (i.kind == InstrKind::Store && i.level == Level::Red)) return true;
  return false;
}

// Of an index that is not reduced a tile takes no more than one run, if that is what it needs.
bool index_is_linear(const Program& p, const View& view, const Ints& major_dims, const Ints& minor_dims) {
  if (view.bounded) return false;
  if (!reduces(p)) return true;
  return p.layout == Layout::Rows ? linear(view, minor_dims, major_dims.size(), minor_dims.size())
                                  : linear(view, major_dims, 0, major_dims.size());
}

MergedLaunch merge(const Program& p, const Ints& major_dims, const Ints& minor_dims, const std::vector<View>& views) {
  MergedLaunch l;
  l.layout = p.layout;
  const int rank = major_dims.size() + minor_dims.size();
  std::vector<View*> merged;
  merged.reserve(p.args.size());
  l.operands.reserve(p.args.size());
  for (size_t k = 0; k < p.args.size(); ++k) {
    l.operands.push_back(operand_of(p, static_cast<int16_t>(k), views[k]));
    View& v = l.operands.back().view;
    if (l.operands.back().cls == ArgClass::Uni) v.strides = Ints(rank, 0), v.bounded = false;
    if (v.strides.size() != rank) fail("prepare", "a view of another rank than the domain");
  }
  for (auto& o : l.operands) merged.push_back(&o.view);

  Ints dims = major_dims;
  for (int64_t d : minor_dims) dims.push_back(d);
  const bool free = p.layout == Layout::Rows && !reduces(p);
  int border = merge_axes(dims, merged, free ? -1 : major_dims.size());
  if (free) {
    // The last axis becomes the minors, unless an operand with one value a major depends on it.
    border = std::max(0, dims.size() - 1);
    for (const auto& o : l.operands)
      if (o.cls == ArgClass::Maj && dims.size() && (o.view.strides.back() || bounded_on(o.view, border, dims.back())))
        border = dims.size();
  }
  l.major = Ints(dims.data(), border);
  l.minor = Ints(dims.data() + border, dims.size() - border);
  for (View* v : merged) {
    bool any = false;
    for (int k = 0; k < dims.size(); ++k) any = any || bounded_on(*v, k, dims[k]);
    v->bounded = any;
  }
  return l;
}

PreparedLaunch prepare(const Program& p, const Ints& major_dims, const Ints& minor_dims,
                       const std::vector<View>& views) {
  PreparedLaunch l;
  static_cast<MergedLaunch&>(l) = merge(p, major_dims, minor_dims, views);
  // Additions of float32: a wider number takes longer, and so does reading or writing one.
  int64_t bytes = 0;
  for (const Instr& i : p.code)
    if (i.kind == InstrKind::Op || i.kind == InstrKind::Reduce) bytes += loop_cost(i.op) * static_cast<int64_t>(size_of(i.type));
  for (const MergedLaunch::Operand& o : l.operands)
    if (o.cls == ArgClass::Vec && !o.red) bytes += static_cast<int64_t>(size_of(o.dtype));
  l.work = numel(l.major) * numel(l.minor) * std::max<int64_t>(1, bytes / 4);

  const int64_t live = live_bytes(p);
  choose_tiles(l, p, std::min(std::max(kTileBytes / live, kMinTile), kMaxTile), kColumnTileBytes / live, l.interpreted);
  reach_operands(l, p, false, l.interpreted);
  choose_tiles(l, p, kCompiledTile, 4 * kCompiledTile, l.compiled);
  reach_operands(l, p, p.runs, l.compiled);
  find_even_tiles(l, l.compiled);
  return l;
}

}  // namespace pd
