#include "fuse/stages.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "ops/exprs.h"

namespace pd {

namespace {

// Computing again up to so many additions costs less than storing and loading.
constexpr int kSpillCost = 8;

int node_cost(const ExprNode& n) {
  switch (n.op) {
    case Sc::Input:
    case Sc::Const: return 0;
    case Sc::Div:
    case Sc::Sqrt: return 4;
    case Sc::Quot:
    case Sc::Rem: return 40;
    default: return 1;
  }
}

int expr_cost(const ExprTree& t) {
  int c = 0;
  for (const ExprNode& n : t.nodes) c += node_cost(n);
  return std::max(c, 1);
}

struct Cutter {
  const Program& p;
  Stages s;
  int n;
  std::vector<char> live;
  std::vector<int> cost;       // of computing it in a later stage
  std::vector<int> stored_as;  // arg of an elementwise store of it, or -1
  std::vector<int> stored_at;  // and its stage
  std::vector<int> slot;       // spill slot, or -1
  std::vector<int> spilled;
  std::array<int, 9> first_store;  // the first stage that stores elements of so many bytes
  int last = -1;                   // the last stage with a loop

  explicit Cutter(const Program& prog) : p(prog), n(static_cast<int>(prog.code.size())) {
    for (auto& src : s.source) src.assign(n, -1);
    s.stage_of.assign(n, 0);
    live.assign(n, 0);
    cost.assign(n, 0);
    stored_as.assign(n, -1);
    stored_at.assign(n, -1);
    slot.assign(n, -1);
    first_store.fill(n);
  }

  bool elem(int i) const { return is_elem(p, p.code[i]); }

  const ExprTree& tree(int i) const {
    const Instr& in = p.code[i];
    const ExprTree* t = expr_for(in.op, in.type, p.regs[in.dst]);
    if (!t) fail("jit", "no expression for this op and type", std::string(traits(in.op).name) + " " + name_of(in.type));
    return *t;
  }

  void link() {
    std::vector<int> def(p.regs.size(), -1);
    for (int i = 0; i < n; ++i) {
      const Instr& in = p.code[i];
      if (in.kind != InstrKind::Load) {
        const int16_t regs[3] = {in.a, in.b, in.c};
        int count = in.kind == InstrKind::Op ? 3 : 1;
        for (int k = 0; k < count; ++k)
          if (regs[k] >= 0) s.source[k][i] = def[regs[k]];
      }
      if (in.kind != InstrKind::Store) def[in.dst] = i;
    }
    for (int i = n - 1; i >= 0; --i) {
      if (p.code[i].kind == InstrKind::Store) live[i] = 1;
      if (!live[i]) continue;
      for (auto& src : s.source)
        if (src[i] >= 0) live[src[i]] = 1;
    }
  }

  void place() {
    for (int i = 0; i < n; ++i) {
      if (!live[i]) continue;
      const Instr& in = p.code[i];
      int at = 0;
      for (auto& src : s.source)
        if (src[i] >= 0) at = std::max(at, s.stage_of[src[i]]);
      bool loops = in.kind == InstrKind::Reduce || (in.kind == InstrKind::Store && elem(i));
      if (loops) last = std::max(last, at);
      if (in.kind == InstrKind::Reduce) ++at;
      s.stage_of[i] = at;
      if (in.kind == InstrKind::Store && elem(i) && in.a >= 0) {
        int v = s.source[0][i];
        if (elem(v) && stored_as[v] < 0 && p.code[v].kind == InstrKind::Op) {
          stored_as[v] = in.dst;
          stored_at[v] = at;
        }
        DType t = p.args[in.dst].dtype;
        int& first = first_store[size_of(t)];
        first = std::min(first, at);
      }
    }
  }

  // Whether a load in stage t might see what this tile has stored.
  bool overwritten(int i, int t) const {
    const Arg& a = p.args[p.code[i].a];
    return a.cls == ArgClass::Vec && first_store[size_of(a.dtype)] < t;
  }

  void count_cost() {
    for (int i = 0; i < n; ++i) {
      const Instr& in = p.code[i];
      if (!live[i] || !elem(i)) continue;
      if (in.kind == InstrKind::Load) cost[i] = 1;
      if (in.kind != InstrKind::Op) continue;
      int c = expr_cost(tree(i));
      for (auto& src : s.source)
        if (src[i] >= 0 && elem(src[i])) c += cost[src[i]];
      cost[i] = std::min(c, 1 << 20);
    }
  }

  int spill(int i) {
    if (slot[i] < 0) {
      slot[i] = static_cast<int>(s.slots.size());
      s.slots.push_back(type_of(p, p.code[i]));
    }
    return slot[i];
  }

  void fill(int t, std::vector<char>& need) {
    Stage& st = s.stages[t];
    std::vector<Step> late;
    std::vector<Step>& out = st.steps;
    for (int i = n - 1; i >= 0; --i) {
      const Instr& in = p.code[i];
      if (!live[i]) continue;
      if (in.kind == InstrKind::Reduce || (in.kind == InstrKind::Store && elem(i))) {
        int at = in.kind == InstrKind::Reduce ? s.stage_of[i] - 1 : s.stage_of[i];
        if (at != t) continue;
        out.push_back({in.kind == InstrKind::Reduce ? Step::Reduce : Step::Store, i, -1});
        if (in.kind == InstrKind::Reduce) st.reduces.push_back(i);
        if (elem(s.source[0][i])) need[s.source[0][i]] = 1;
        continue;
      }
      if (!elem(i) || !need[i]) continue;
      need[i] = 0;
      bool here = s.stage_of[i] == t;
      if (here && slot[i] >= 0) out.push_back({Step::Spill, i, slot[i]});
      if (!here && stored_as[i] >= 0 && stored_at[i] < t) {
        out.push_back({Step::ReadOutput, i, stored_as[i]});
        continue;
      }
      if (!here && (in.kind == InstrKind::Load ? overwritten(i, t) : cost[i] > kSpillCost)) {
        out.push_back({Step::ReadSpill, i, spill(i)});
        spilled.push_back(i);
        continue;
      }
      out.push_back({Step::Compute, i, -1});
      s.body_nodes += in.kind == InstrKind::Op ? expr_cost(tree(i)) : 1;
      for (auto& src : s.source)
        if (src[i] >= 0 && elem(src[i])) need[src[i]] = 1;
    }
    std::reverse(out.begin(), out.end());
    std::reverse(st.reduces.begin(), st.reduces.end());
    // Stores go behind the last load.
    size_t last_load = 0;
    for (size_t k = 0; k < out.size(); ++k) {
      bool reads = out[k].kind == Step::Compute && p.code[out[k].instr].kind == InstrKind::Load;
      if (reads) last_load = k;
    }
    std::vector<Step> ordered, held;
    for (size_t k = 0; k < out.size(); ++k) {
      (out[k].kind == Step::Store && k < last_load ? held : ordered).push_back(out[k]);
      if (k == last_load) ordered.insert(ordered.end(), held.begin(), held.end());
    }
    out.swap(ordered);
  }

  // The widest slots first, so that each is aligned to its own size.
  void sort_slots() {
    std::vector<int> order(s.slots.size()), rank(s.slots.size());
    for (size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int>(k);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return size_of(s.slots[a]) > size_of(s.slots[b]); });
    std::vector<DType> sorted;
    for (size_t k = 0; k < order.size(); ++k) {
      rank[order[k]] = static_cast<int>(k);
      sorted.push_back(s.slots[order[k]]);
    }
    s.slots.swap(sorted);
    for (Stage& st : s.stages)
      for (Step& step : st.steps)
        if (step.kind == Step::Spill || step.kind == Step::ReadSpill) step.where = rank[step.where];
  }

  Stages run() {
    link();
    place();
    count_cost();
    s.stages.resize(last + 2);
    // Later stages decide what earlier ones spill.
    for (int t = last; t >= 0; --t) {
      std::vector<char> need(n, 0);
      for (int i : spilled)
        if (s.stage_of[i] == t) need[i] = 1;
      fill(t, need);
    }
    for (int i = 0; i < n; ++i) {
      const Instr& in = p.code[i];
      if (!live[i] || elem(i) || in.kind == InstrKind::Reduce) continue;
      if (in.kind != InstrKind::Store && in.level == Level::Uniform) s.uniform.push_back(i);
      else s.stages[s.stage_of[i]].before.push_back(i);
    }
    sort_slots();
    return std::move(s);
  }

};

}  // namespace

DType type_of(const Program& p, const Instr& i) {
  return i.kind == InstrKind::Store ? p.args[i.dst].dtype : p.regs[i.dst];
}

bool is_elem(const Program& p, const Instr& i) {
  if (i.kind == InstrKind::Reduce) return false;
  if (i.kind != InstrKind::Store) return i.level == Level::Elem;
  return p.args[i.dst].cls == ArgClass::Vec && i.level != Level::Red;
}

Stages cut_stages(const Program& p) { return Cutter(p).run(); }

}  // namespace pd
