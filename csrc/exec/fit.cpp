#include "exec/fit.h"

#include <algorithm>

#include "exec/plan.h"
#include "fuse/repeats.h"

namespace pd {

namespace {

constexpr double kByte = 1.0, kProduct = 0.25;  // in additions: of memory moved, of a product's floating-point operation

bool is_several(const PieceNode& n) { return n.kind == NodeKind::Opaque && !n.outs.empty(); }
bool is_result(const PieceNode& n) { return n.kind == NodeKind::Opaque && n.op == kOutput; }
int64_t bytes_of(const PieceNode& n) { return numel(n.shape) * static_cast<int64_t>(size_of(n.dtype)); }

std::vector<int64_t> of_steps(const std::vector<int64_t>& scratch, const std::vector<int>& step_of_group) {
  std::vector<int64_t> out;
  for (size_t g = 0; g < scratch.size(); ++g)
    if (step_of_group[g] >= 0) out.push_back(scratch[g]);
  return out;
}

std::vector<int> numbered(const Piece& p, const Partition& part) {
  std::vector<int> out;
  int steps = 0;
  for (const Group& g : part.groups) {
    const bool none = g.kind == GroupKind::Opaque ? is_result(p[g.members[0]])
                                                  : std::none_of(g.members.begin(), g.members.end(),
                                                                 [&](int m) { return part.stored[static_cast<size_t>(m)]; });
    out.push_back(none ? -1 : steps++);
  }
  return out;
}

}  // namespace

Fitter::Fitter(const Piece& p, const Partition& part, const std::vector<int>& outputs, const std::vector<int64_t>& scratch)
    : p_(p), part_(part), step_of_group_(numbered(p, part)), renamed_(p.nodes.size()),
      schedule_(values(outputs), of_steps(scratch, step_of_group_)) {}

bool Fitter::has_memory(int v) const {
  const PieceNode& n = node(v);
  if (n.kind == NodeKind::Leaf || n.kind == NodeKind::Number) return true;
  return part_.stored[static_cast<size_t>(v)] && part_.group_of[static_cast<size_t>(v)] >= 0 && !is_several(n);
}

// The index of an element is read from memory by kernels of their own only.
bool Fitter::reads_memory(const PieceNode& reader, int x) const {
  return has_memory(x) && (node(x).kind != NodeKind::Index || reader.kind == NodeKind::Opaque);
}

int Fitter::holder(int v) const {
  while (part_.alias[static_cast<size_t>(v)] >= 0 && !part_.stops[static_cast<size_t>(v)])
    v = part_.alias[static_cast<size_t>(v)];
  return v;
}

int Fitter::step_of(int v) const {
  if (is_result(node(v))) v = node(v).in[0];
  const int g = part_.group_of[static_cast<size_t>(v)];
  return g < 0 ? -1 : step_of_group_[static_cast<size_t>(g)];
}

// What may fail does so once.
bool Fitter::may_repeat(const PieceNode& n) const {
  return is_function_of_operands(n) && !(n.kind == NodeKind::Opaque && traits(n.op).may_fail);
}

double Fitter::work(int v) const {
  const PieceNode& n = node(v);
  const double size = static_cast<double>(numel(n.shape));
  if (n.kind == NodeKind::Move) return 0;
  const OpTraits& t = traits(n.op);
  if (t.family == Family::Contraction) return kProduct * 2 * size * static_cast<double>(node(n.in[0]).shape.back());
  if (n.kind == NodeKind::Reduce) return static_cast<double>(numel(node(n.in[0]).shape));
  return size * t.cost;
}

std::vector<Schedule::Value> Fitter::values(const std::vector<int>& outputs) {
  std::vector<Schedule::Value> out(p_.nodes.size());
  for (size_t v = 0; v < p_.nodes.size(); ++v) {
    const PieceNode& n = p_.nodes[v];
    if (!has_memory(static_cast<int>(v))) continue;
    Schedule::Value& x = out[v];
    x.there = n.kind == NodeKind::Leaf || n.kind == NodeKind::Number;
    if (x.there) continue;
    x.bytes = arena_bytes(bytes_of(n));
    x.step = step_of(static_cast<int>(v));
    x.again = true;
    std::vector<int> within = {static_cast<int>(v)}, met;
    double moved = static_cast<double>(bytes_of(n));
    while (!within.empty()) {
      const int w = within.back();
      within.pop_back();
      const PieceNode& m = node(w);
      x.again &= may_repeat(m);
      x.cost += work(w);
      for (int r : m.in) {
        if (std::find(met.begin(), met.end(), r) != met.end()) continue;
        met.push_back(r);
        if (!reads_memory(m, r)) {
          within.push_back(r);
        } else {
          x.reads.push_back(r);
          moved += static_cast<double>(bytes_of(node(r)));
        }
      }
    }
    x.cost += kByte * moved;
  }
  for (int v : outputs) {
    const int h = holder(v);
    if (out[static_cast<size_t>(h)].step >= 0) out[static_cast<size_t>(h)].there = true;
    if (h != v) renamed_[static_cast<size_t>(h)].push_back(v);
  }
  return out;
}

Piece Fitter::piece(std::vector<int>& outputs) const {
  Piece q;
  std::vector<int> last(p_.nodes.size(), -1);                  // node -> the newest of it
  std::vector<int> at(p_.nodes.size(), -1);                    // stay -> node of q
  auto stay_node = [&](int stay) -> int& {
    if (static_cast<size_t>(stay) >= at.size()) at.resize(static_cast<size_t>(stay) + 1, -1);
    return at[static_cast<size_t>(stay)];
  };
  std::vector<char> wanted(p_.nodes.size(), 0);                // of the step at hand
  std::vector<int> now(p_.nodes.size(), -1);                   // node -> what the step at hand reads for it
  auto push = [&](PieceNode n, int phase) {
    n.phase = phase;
    q.nodes.push_back(std::move(n));
    return static_cast<int>(q.nodes.size()) - 1;
  };
  // The targets with what lies between them and memory, in the order of their numbers, which is one of dependence. `now` has
  // what is read; back come the nodes made.
  auto emit = [&](const std::vector<int>& targets, const std::vector<int>& reads, bool again, int phase) {
    std::vector<int> made, todo = targets;
    for (int v : targets) wanted[static_cast<size_t>(v)] = 1;
    while (!todo.empty()) {
      const int v = todo.back();
      todo.pop_back();
      made.push_back(v);
      for (int x : node(v).in) {
        if (wanted[static_cast<size_t>(x)]) continue;
        if (now[static_cast<size_t>(x)] >= 0 && reads_memory(node(v), x)) continue;
        wanted[static_cast<size_t>(x)] = 1;
        todo.push_back(x);
      }
    }
    std::sort(made.begin(), made.end());
    std::vector<int> local(made.size());
    auto place = [&](int x) { return std::lower_bound(made.begin(), made.end(), x) - made.begin(); };
    for (size_t k = 0; k < made.size(); ++k) {
      PieceNode n = node(made[k]);
      for (int& x : n.in)
        x = wanted[static_cast<size_t>(x)] && !(now[static_cast<size_t>(x)] >= 0 && reads_memory(node(made[k]), x))
                ? local[static_cast<size_t>(place(x))]
                : now[static_cast<size_t>(x)];
      n.output &= !again && std::binary_search(targets.begin(), targets.end(), made[k]);
      local[k] = push(std::move(n), phase);
    }
    for (int v : targets) last[static_cast<size_t>(v)] = local[static_cast<size_t>(place(v))];
    for (int v : made) wanted[static_cast<size_t>(v)] = 0;
    for (int x : reads) now[static_cast<size_t>(x)] = -1;
  };

  for (size_t v = 0; v < p_.nodes.size(); ++v)
    if (node(static_cast<int>(v)).kind == NodeKind::Leaf || node(static_cast<int>(v)).kind == NodeKind::Number)
      last[v] = push(p_.nodes[v], 0);
  auto rename = [&](int v, int phase) {
    std::vector<int> others = renamed_[static_cast<size_t>(v)];
    if (others.empty()) return;
    std::sort(others.begin(), others.end());
    others.erase(std::unique(others.begin(), others.end()), others.end());
    now[static_cast<size_t>(v)] = last[static_cast<size_t>(v)];
    emit(others, {v}, false, phase);
  };
  for (size_t v = 0; v < p_.nodes.size(); ++v)
    if (last[v] >= 0) rename(static_cast<int>(v), 0);

  int phase = 0, before = -1;  // the step before
  std::vector<int> source_group;
  for (size_t g = 0; g < part_.groups.size(); ++g)
    if (step_of_group_[g] >= 0) source_group.push_back(static_cast<int>(g));
  auto fused = [&](const Schedule::Step& s) {
    return part_.groups[static_cast<size_t>(source_group[static_cast<size_t>(s.source)])].kind == GroupKind::Fused;
  };
  for (int number : schedule_.order()) {
    const Schedule::Step& s = schedule_.step(number);
    // What is computed again for the very next kernel may become part of it.
    bool joins = false;
    if (before >= 0 && schedule_.step(before).again && fused(schedule_.step(before)) && fused(s))
      for (auto& [v, y] : s.reads) joins |= schedule_.stay(y).step == before;
    if (!joins) ++phase;
    before = number;
    std::vector<int> targets, reads;
    for (int y : s.stays) targets.push_back(schedule_.stay(y).value);
    std::sort(targets.begin(), targets.end());
    for (auto& [v, y] : s.reads) {
      const int from = schedule_.stay(y).step < 0 ? last[static_cast<size_t>(v)] : stay_node(y);
      now[static_cast<size_t>(v)] = from;
      reads.push_back(v);
    }
    emit(targets, reads, s.again, phase);
    for (int y : s.stays) stay_node(y) = last[static_cast<size_t>(schedule_.stay(y).value)];
    if (!s.again)
      for (int v : targets) rename(v, phase);
  }
  for (int& o : outputs) o = last[static_cast<size_t>(o)];
  return q;
}

}  // namespace pd
