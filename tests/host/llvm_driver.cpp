// Random loop programs, run as compiled code and by a scalar evaluator that follows program.h to the
// letter; the bits of all outputs are compared. Built and driven by test_llvm.py through ctypes.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "base/host.h"
#include "fuse/kernel_cache.h"
#include "fuse/llvm.h"
#include "ops/exprs.h"
#include "ops/op_ids.h"
#include "ops/vmath/scalar.h"

namespace pd {

// The part of the op table that the emitter reads.
const OpTraits& traits(OpId id) {
  static const std::vector<OpTraits> table = [] {
    std::vector<OpTraits> t(op::count);
#define X(name_, family_) t[op::name_].name = #name_;
    PD_FAMILY_OPS(X)
#undef X
#define ROW1(name_, ...) t[op::name_].name = #name_;
#define ROW2(name_, ...) t[op::name_].name = #name_;
#define ROW3(name_, ...) t[op::name_].name = #name_;
#define DRAW(name_, ...) t[op::name_].name = #name_;
#include "ops/all_rows.inc"
    t[op::reduce_sum].reduce = ReduceKind::Sum;
    t[op::reduce_prod].reduce = ReduceKind::Prod;
    t[op::reduce_max].reduce = ReduceKind::Max;
    t[op::reduce_min].reduce = ReduceKind::Min;
    t[op::reduce_any].reduce = ReduceKind::Any;
    t[op::reduce_all].reduce = ReduceKind::All;
    return t;
  }();
  return table[id];
}

namespace {

using Cell = int64_t;  // the bits of a value of any type

template <class T> T get(Cell c) {
  T v;
  std::memcpy(&v, &c, sizeof v);
  return v;
}
template <class T> Cell put(T v) {
  Cell c = 0;
  std::memcpy(&c, &v, sizeof v);
  return c;
}

template <class F> auto with_type(DType t, F f) {
  switch (t) {
    case DType::Bool: return f(bool());
    case DType::I32: return f(int32_t());
    case DType::I64: return f(int64_t());
    case DType::U64: return f(uint64_t());
    case DType::F32: return f(float());
    default: return f(double());
  }
}

// One node, by the primitives of scalar.h.
Cell eval_node(const ExprNode& n, DType at, const Cell* in, Cell a, Cell b, Cell c) {
  if (n.op == Sc::Input) return in[n.a];
  if (n.op == Sc::Const) return n.imm;
  if (n.op == Sc::Select) return get<bool>(a) ? b : c;
  return with_type(at, [&](auto zero) -> Cell {
    using T = decltype(zero);
    constexpr bool flt = std::is_floating_point<T>::value, bit = std::is_same<T, bool>::value;
    V<T> x(get<T>(a)), y(get<T>(b)), z(get<T>(c));
    int k = static_cast<int>(n.imm);
    switch (n.op) {
      case Sc::Add: return put((x + y).v);
      case Sc::Sub: return put((x - y).v);
      case Sc::Mul: return put((x * y).v);
      case Sc::Lt: return put(lt(x, y).v);
      case Sc::Le: return put(le(x, y).v);
      case Sc::Gt: return put(gt(x, y).v);
      case Sc::Ge: return put(ge(x, y).v);
      case Sc::Eq: return put(eq(x, y).v);
      case Sc::Ne: return put(ne(x, y).v);
      case Sc::Cast:
        return with_type(n.type, [&](auto to) -> Cell { return put(cast<decltype(to)>(x).v); });
      default: break;
    }
    if constexpr (!bit)
      if (n.op == Sc::Neg) return put((-x).v);
    if constexpr (!bit)
      if (n.op == Sc::Abs) return put(abs(x).v);
    if constexpr (flt) {
      switch (n.op) {
        case Sc::Div: return put((x / y).v);
        case Sc::Fma: return put(fma(x, y, z).v);
        case Sc::Sqrt: return put(sqrt(x).v);
        case Sc::Floor: return put(floor(x).v);
        case Sc::Ceil: return put(ceil(x).v);
        case Sc::Trunc: return put(trunc(x).v);
        case Sc::Rint: return put(rint(x).v);
        case Sc::Bits: return put(bits(x).v);
        default: break;
      }
    } else {
      switch (n.op) {
        case Sc::And: return put((x & y).v);
        case Sc::Or: return put((x | y).v);
        case Sc::Xor: return put((x ^ y).v);
        case Sc::Not: return put((~x).v);
        default: break;
      }
      if constexpr (!bit) {
        switch (n.op) {
          case Sc::Shl: return put(shl(x, k).v);
          case Sc::Shr: return put(shr(x, k).v);
          case Sc::Sar: return put(sar(x, k).v);
          case Sc::Quot: return put(quot(x, y).v);
          case Sc::Rem: return put(rem(x, y).v);
          case Sc::Bits: return a;
          case Sc::FromBits: return a;
          default: break;
        }
      }
    }
    std::fprintf(stderr, "evaluator: op %d of type %d\n", int(n.op), int(at));
    std::abort();
  });
}

Cell eval_tree(const ExprTree& t, const Cell* in, std::vector<Cell>& tmp) {
  tmp.resize(t.nodes.size());
  for (size_t k = 0; k < t.nodes.size(); ++k) {
    const ExprNode& n = t.nodes[k];
    bool leaf = n.op == Sc::Input || n.op == Sc::Const;
    auto of = [&](int32_t x) { return !leaf && x >= 0 ? tmp[x] : Cell{0}; };
    tmp[k] = eval_node(n, leaf ? n.type : t.nodes[n.a].type, in, of(n.a), of(n.b), of(n.c));
  }
  return tmp[t.result];
}

// ---- reductions

Cell combine(ReduceKind k, DType t, Cell a, Cell b) {
  return with_type(t, [&](auto zero) -> Cell {
    using T = decltype(zero);
    V<T> x(get<T>(a)), y(get<T>(b));
    switch (k) {
      case ReduceKind::Sum: return put((x + y).v);
      case ReduceKind::Prod: return put((x * y).v);
      case ReduceKind::Max: return put(select(gt(x, y) | ne(x, x), x, y).v);
      case ReduceKind::Min: return put(select(lt(x, y) | ne(x, x), x, y).v);
      case ReduceKind::Any: return put(bool(get<bool>(a) || get<bool>(b)));
      default: return put(bool(get<bool>(a) && get<bool>(b)));
    }
  });
}

Cell identity(ReduceKind k, DType t) {
  return with_type(t, [&](auto zero) -> Cell {
    using T = decltype(zero);
    using L = std::numeric_limits<T>;
    switch (k) {
      case ReduceKind::Prod:
      case ReduceKind::All: return put(T(1));
      case ReduceKind::Max: return put(L::has_infinity ? T(-L::infinity()) : L::lowest());
      case ReduceKind::Min: return put(L::has_infinity ? L::infinity() : L::max());
      default: return put(T(0));
    }
  });
}

Cell reduce(ReduceKind k, DType t, const std::vector<Cell>& x) {
  std::vector<Cell> blocks;
  size_t first = 0;
  do {
    Cell lanes[kLanes];
    for (Cell& l : lanes) l = identity(k, t);
    for (size_t j = first; j < x.size() && j < first + kBlock; ++j)
      lanes[(j - first) % kLanes] = combine(k, t, lanes[(j - first) % kLanes], x[j]);
    for (int n = kLanes / 2; n; n /= 2)
      for (int l = 0; l < n; ++l) lanes[l] = combine(k, t, lanes[l], lanes[l + n]);
    blocks.push_back(lanes[0]);
    first += kBlock;
  } while (first < x.size());
  while (blocks.size() > 1) {
    std::vector<Cell> next;
    for (size_t i = 0; i + 1 < blocks.size(); i += 2) next.push_back(combine(k, t, blocks[i], blocks[i + 1]));
    if (blocks.size() % 2) next.push_back(blocks.back());
    blocks.swap(next);
  }
  return blocks[0];
}

// ---- evaluation of a program

struct Memory {
  std::vector<std::vector<unsigned char>> bytes;  // one an arg
  std::vector<void*> ptr;
  std::vector<int64_t> rstride, gap;
  int64_t run = 1;
  // Where element (r, c) of a Vec arg lies.
  int64_t place(size_t a, int64_t r, int64_t c) const { return r * rstride[a] + c + c / run * gap[a]; }
  std::vector<int64_t> strides() const {
    std::vector<int64_t> all = rstride;
    all.insert(all.end(), gap.begin(), gap.end());
    all.push_back(run);
    return all;
  }
};

Cell read(const void* p, DType t, int64_t at) {
  return with_type(t, [&](auto zero) -> Cell {
    using T = decltype(zero);
    if constexpr (std::is_same<T, bool>::value) return put(static_cast<const unsigned char*>(p)[at] != 0);
    else return put(static_cast<const T*>(p)[at]);
  });
}
void write(void* p, DType t, int64_t at, Cell c) {
  with_type(t, [&](auto zero) {
    using T = decltype(zero);
    static_cast<T*>(p)[at] = get<T>(c);
    return 0;
  });
}

void evaluate(const Program& p, int64_t R, int64_t C, const Memory& in, const Memory& out) {
  const bool rows = p.layout == Layout::Rows;
  struct Reg {
    Level level;
    std::vector<Cell> v;
  };
  std::vector<Reg> regs(p.regs.size());
  auto size = [&](Level l) { return l == Level::Uniform ? 1 : l == Level::Red ? (rows ? R : C) : R * C; };
  auto at = [&](const Reg& g, int64_t r, int64_t c) {
    return g.v[g.level == Level::Uniform ? 0 : g.level == Level::Red ? (rows ? r : c) : r * C + c];
  };
  // Visits the (r, c) that a level has.
  auto each = [&](Level l, auto f) {
    int64_t nr = l == Level::Elem || (l == Level::Red && rows) ? R : 1;
    int64_t nc = l == Level::Elem || (l == Level::Red && !rows) ? C : 1;
    for (int64_t r = 0; r < nr; ++r)
      for (int64_t c = 0; c < nc; ++c) f(r, c);
  };
  std::vector<Cell> tmp;
  for (const Instr& i : p.code) {
    if (i.kind == InstrKind::Store) {
      const Arg& a = p.args[i.dst];
      int64_t rs = out.rstride[i.dst];
      Level l = i.level == Level::Uniform ? (a.cls == ArgClass::Maj ? Level::Red : Level::Elem) : i.level;
      each(l, [&](int64_t r, int64_t c) {
        bool a_major = a.cls == ArgClass::Maj || (rows && l == Level::Red);
        write(out.ptr[i.dst], a.dtype, a_major ? r * rs : out.place(i.dst, r, c), at(regs[i.a], r, c));
      });
      continue;
    }
    Reg& d = regs[i.dst];
    d.level = i.level;
    d.v.assign(size(i.level), 0);
    size_t k = 0;
    if (i.kind == InstrKind::Load) {
      const Arg& a = p.args[i.a];
      const void* ptr = in.ptr[i.a];
      int64_t rs = in.rstride[i.a];
      each(i.level, [&](int64_t r, int64_t c) {
        Cell& y = d.v[k++];
        switch (a.cls) {
          case ArgClass::Vec: y = read(ptr, a.dtype, in.place(i.a, r, c)); break;
          case ArgClass::Maj: y = read(ptr, a.dtype, r * rs); break;
          case ArgClass::Uni: y = read(ptr, a.dtype, 0); break;
          case ArgClass::Index: {
            const int64_t* b = static_cast<const int64_t*>(ptr);
            y = b[0] + r * b[1] + c * b[2];
          }
        }
      });
    } else if (i.kind == InstrKind::Op) {
      const ExprTree* t = expr_for(i.op, i.type, p.regs[i.dst]);
      each(i.level, [&](int64_t r, int64_t c) {
        Cell x[3];
        const int16_t from[3] = {i.a, i.b, i.c};
        for (int j = 0; j < 3; ++j) x[j] = from[j] >= 0 ? at(regs[from[j]], r, c) : 0;
        d.v[k++] = eval_tree(*t, x, tmp);
      });
    } else {
      ReduceKind kind = traits(i.op).reduce;
      each(Level::Red, [&](int64_t r, int64_t c) {
        std::vector<Cell> x;
        for (int64_t j = 0; j < (rows ? C : R); ++j) x.push_back(at(regs[i.a], rows ? r : j, rows ? j : c));
        d.v[k++] = reduce(kind, p.regs[i.a], x);
      });
    }
  }
}

// ---- making programs

struct Maker {
  Program p;
  std::mt19937_64 rng;
  std::vector<int> of[3][16];  // registers by level and type

  explicit Maker(uint64_t seed) : rng(seed) {}
  int pick(int n) { return static_cast<int>(rng() % static_cast<uint64_t>(n)); }
  bool chance(int percent) { return pick(100) < percent; }

  int reg(DType t, Level l) {
    p.regs.push_back(t);
    p.levels.push_back(l);
    int r = static_cast<int>(p.regs.size()) - 1;
    of[int(l)][int(t)].push_back(r);
    return r;
  }
  int load(DType t, ArgClass cls, Level l) {
    p.args.push_back({t, cls, false});
    int r = reg(t, l);
    p.code.push_back({InstrKind::Load, l, 0, t, int16_t(r), int16_t(p.args.size() - 1), -1, -1});
    return r;
  }
  int op(OpId o, DType type, DType out, std::initializer_list<int> in) {
    int16_t x[3] = {-1, -1, -1};
    Level l = Level::Uniform;
    int k = 0;
    for (int r : in) {
      x[k++] = int16_t(r);
      l = std::max(l, p.levels[r]);
    }
    int r = reg(out, l);
    p.code.push_back({InstrKind::Op, l, o, type, int16_t(r), x[0], x[1], x[2]});
    return r;
  }
  int reduce(OpId o, int a) {
    int r = reg(p.regs[a], Level::Red);
    p.code.push_back({InstrKind::Reduce, Level::Red, o, p.regs[a], int16_t(r), int16_t(a), -1, -1});
    return r;
  }
  void store(int r) {
    bool red = p.levels[r] == Level::Red;
    ArgClass cls = red && p.layout == Layout::Rows && chance(50) ? ArgClass::Maj : ArgClass::Vec;
    p.args.push_back({p.regs[r], cls, true});
    p.code.push_back({InstrKind::Store, p.levels[r], 0, p.regs[r], int16_t(p.args.size() - 1), int16_t(r), -1, -1});
  }

  DType any_type() {
    static const DType types[] = {DType::F32, DType::F32, DType::F32, DType::F64, DType::I32, DType::I64, DType::U64, DType::Bool};
    return types[pick(8)];
  }
  // A register of type t, mostly of level l; -1 where there is none.
  int find(DType t, Level l) {
    int top = int(l);
    if (chance(25)) top = pick(top + 1);
    for (int k = top; k >= 0; --k)
      if (!of[k][int(t)].empty()) {
        auto& v = of[k][int(t)];
        return v[chance(80) ? v.size() - 1 - pick(int(std::min<size_t>(v.size(), 3))) : pick(int(v.size()))];
      }
    return -1;
  }
  struct Form {
    OpId op;
    DType in, out;
    const ExprTree* tree;
  };
  // All rows in all types; those of large trees less often.
  static const std::vector<Form>& forms(DType in) {
    static const std::vector<std::vector<Form>> all = [] {
      std::vector<std::vector<Form>> f(16);
      const DType types[] = {DType::Bool, DType::I32, DType::I64, DType::U64, DType::F32, DType::F64};
      for (DType t : types)
        for (DType out : types)
          for (OpId o = kFirstOp; o <= op::cast; ++o)
            if (const ExprTree* tree = expr_for(o, t, out))
              for (int weight = tree->nodes.size() > 120 ? 1 : tree->nodes.size() > 20 ? 4 : 20; weight > 0; --weight)
                f[int(t)].push_back({o, t, out, tree});
      return f;
    }();
    return all[int(in)];
  }
  void random_op(Level l) {
    for (int attempt = 0; attempt < 10; ++attempt) {
      const std::vector<Form>& of_type = forms(any_type());
      const Form& f = of_type[pick(int(of_type.size()))];
      int x[3] = {-1, -1, -1};
      bool found = true;
      for (int k = 0; k < f.tree->inputs; ++k) {
        x[k] = find(f.op == op::where && k == 0 ? DType::Bool : f.in, l);
        found = found && x[k] >= 0;
      }
      if (!found) continue;
      if (f.tree->inputs == 1) op(f.op, f.in, f.out, {x[0]});
      else if (f.tree->inputs == 2) op(f.op, f.in, f.out, {x[0], x[1]});
      else op(f.op, f.in, f.out, {x[0], x[1], x[2]});
      return;
    }
  }
  void random_reduce() {
    DType t = any_type();
    int a = find(t, Level::Elem);
    if (a < 0) a = find(t = DType::F32, Level::Elem);
    if (a < 0 || (p.levels[a] != Level::Elem && !chance(10))) return;
    static const OpId ops[] = {op::reduce_sum, op::reduce_sum, op::reduce_max, op::reduce_min,
                               op::reduce_prod, op::reduce_any, op::reduce_all};
    reduce(ops[t == DType::Bool ? 5 + pick(2) : pick(5)], a);
  }

  void random(Layout layout, bool split, int length) {
    p.layout = layout;
    p.split = split;
    const bool rows = layout == Layout::Rows;
    int inputs = 1 + pick(4);
    load(DType::F32, ArgClass::Vec, Level::Elem);
    for (int k = 0; k < inputs; ++k) load(any_type(), ArgClass::Vec, Level::Elem);
    if (chance(50)) load(any_type(), ArgClass::Maj, rows ? Level::Red : Level::Elem);
    if (chance(50)) load(any_type(), ArgClass::Vec, Level::Red);
    for (int k = pick(3); k > 0; --k) load(any_type(), ArgClass::Uni, Level::Uniform);
    if (chance(30)) load(DType::I64, ArgClass::Index, Level::Elem);
    int stages = split ? 1 : 1 + pick(3);
    for (int s = 0; s < stages; ++s) {
      for (int k = 0; k < length; ++k) random_op(chance(15) ? Level::Uniform : chance(25) && !split ? Level::Red
                                                                                     : Level::Elem);
      if (chance(40)) store_last(Level::Elem);
      if (split || chance(70))
        for (int k = 1 + pick(2); k > 0; --k) random_reduce();
    }
    if (!split)
      for (int k = 0; k < length; ++k) random_op(chance(30) ? Level::Red : Level::Elem);
    if (!split || chance(20))
      for (int k = 0; k < 3; ++k) store_last(Level::Elem);
    for (int t = 0; t < 16; ++t)
      for (int r : of[int(Level::Red)][t])
        if (split ? is_reduced(r) : chance(40)) store(r);
  }
  bool is_reduced(int r) const {
    for (const Instr& i : p.code)
      if (i.kind == InstrKind::Reduce && i.dst == r) return true;
    return false;
  }
  void store_last(Level l) {
    // the last one of a type, so that little of the program is dead
    for (int attempt = 0; attempt < 4; ++attempt) {
      const std::vector<int>& v = of[int(l)][int(any_type())];
      if (v.empty()) continue;
      store(v.back());
      return;
    }
  }

  // ---- programs that users meet

  void softmax(Layout layout, DType t) {
    p.layout = layout;
    int x = load(t, ArgClass::Vec, Level::Elem);
    int m = reduce(op::reduce_max, x);
    int e = op(op::exp, t, t, {op(op::sub, t, t, {x, m})});
    store(op(op::div, t, t, {e, reduce(op::reduce_sum, e)}));
  }
  void layer_norm(Layout layout, DType t) {
    p.layout = layout;
    const bool rows = layout == Layout::Rows;
    int x = load(t, ArgClass::Vec, Level::Elem), residual = load(t, ArgClass::Vec, Level::Elem);
    int w = rows ? load(t, ArgClass::Vec, Level::Elem) : load(t, ArgClass::Vec, Level::Red);
    int inv_n = load(t, ArgClass::Uni, Level::Uniform), eps = load(t, ArgClass::Uni, Level::Uniform);
    int h = op(op::add, t, t, {x, residual});
    store(h);
    int mean = op(op::mul, t, t, {reduce(op::reduce_sum, h), inv_n});
    int d = op(op::sub, t, t, {h, mean});
    int var = op(op::mul, t, t, {reduce(op::reduce_sum, op(op::square, t, t, {d})), inv_n});
    int r = op(op::rsqrt, t, t, {op(op::add, t, t, {var, eps})});
    store(op(op::mul, t, t, {op(op::mul, t, t, {d, r}), w}));
    store(r);
  }
  void gelu_chain(DType t) {
    int x = load(t, ArgClass::Vec, Level::Elem), half = load(t, ArgClass::Uni, Level::Uniform);
    int k = load(t, ArgClass::Uni, Level::Uniform), s = load(t, ArgClass::Uni, Level::Uniform);
    int cube = op(op::mul, t, t, {op(op::square, t, t, {x}), x});
    int inner = op(op::mul, t, t, {op(op::add, t, t, {op(op::mul, t, t, {cube, k}), x}), s});
    int th = op(op::tanh, t, t, {inner});
    int hx = op(op::mul, t, t, {x, half});
    store(op(op::add, t, t, {op(op::mul, t, t, {hx, th}), hx}));
  }
  void sum(Layout layout, DType t) {
    p.layout = layout;
    p.split = true;
    store(reduce(op::reduce_sum, load(t, ArgClass::Vec, Level::Elem)));
  }
  void add(DType t) {
    store(op(op::add, t, t, {load(t, ArgClass::Vec, Level::Elem), load(t, ArgClass::Vec, Level::Elem)}));
  }
};

Cell sample(DType t, std::mt19937_64& rng, bool tame) {
  int kind = tame ? 99 : static_cast<int>(rng() % 40);
  return with_type(t, [&](auto zero) -> Cell {
    using T = decltype(zero);
    using L = std::numeric_limits<T>;
    if constexpr (std::is_same<T, bool>::value) return put(bool(rng() & 1));
    else if constexpr (std::is_floating_point<T>::value) {
      static const T special[] = {T(0), T(-0.0), L::infinity(), -L::infinity(), L::quiet_NaN(), L::denorm_min(),
                                  L::min() / 3, L::max(), L::lowest(), T(1), T(-1), T(0.5), T(1e10), T(-3e9)};
      if (kind < 4) return put(special[rng() % 14]);
      double u = static_cast<double>(rng() >> 11) * 0x1p-53;
      return put(static_cast<T>((u - 0.5) * 6));
    } else {
      static const T special[] = {0, T(-1), 1, L::min(), L::max(), T(L::min() + 1), 7};
      if (kind < 6) return put(special[rng() % 7]);
      return put(static_cast<T>(static_cast<int64_t>(rng() % 41) - 20));
    }
  });
}

Memory make_memory(const Program& p, int64_t R, int64_t C, uint64_t seed, bool tame) {
  Memory m;
  std::mt19937_64 rng(seed);
  m.run = std::max<int64_t>(kLanes, C);
  if (p.runs && rng() % 4) m.run = kLanes * (1 + static_cast<int64_t>(rng() % 5));
  for (const Arg& a : p.args) {
    const int64_t run_starts = C > 0 ? (C - 1) / m.run : 0;
    int64_t gap = p.runs && a.cls == ArgClass::Vec ? static_cast<int64_t>(rng() % 3) * 7 : 0;
    if (p.runs && a.cls == ArgClass::Vec && !a.output && rng() % 5 == 0) gap = -m.run;  // the same run again
    int64_t rs = a.cls == ArgClass::Vec ? C + static_cast<int64_t>(rng() % 3) * 5 : 1 + static_cast<int64_t>(rng() % 2);
    if (gap > 0) rs += run_starts * gap;
    if (!a.output && rng() % 5 == 0) rs = 0;
    int64_t count = (R > 0 ? (R - 1) * rs : 0) + (a.cls == ArgClass::Vec ? C + std::max<int64_t>(0, run_starts * gap) : 1);
    if (a.cls == ArgClass::Index) count = 3;
    if (a.cls == ArgClass::Uni) count = 1;
    std::vector<unsigned char> bytes(static_cast<size_t>(count + 40) * size_of(a.dtype));
    for (unsigned char& b : bytes) b = static_cast<unsigned char>(rng());
    if (!a.output)
      for (int64_t k = 0; k < count; ++k) write(bytes.data(), a.dtype, k, sample(a.dtype, rng, tame));
    m.bytes.push_back(std::move(bytes));
    m.rstride.push_back(rs);
    m.gap.push_back(gap);
  }
  for (auto& b : m.bytes) m.ptr.push_back(b.data());
  return m;
}

bool same(DType t, Cell a, Cell b) {
  if (a == b) return true;
  if (t == DType::F32) return std::isnan(get<float>(a)) && std::isnan(get<float>(b));
  if (t == DType::F64) return std::isnan(get<double>(a)) && std::isnan(get<double>(b));
  return false;
}

struct Case {
  Program p;
  std::string ir, name, error;
  size_t scratch = 0;
};

}  // namespace
}  // namespace pd

using namespace pd;

extern "C" {

// kind: 0 random rows, 1 random columns, 2 and 3 the same with split, 4… programs by name
void* make_case(int kind, uint64_t seed, int length, int dtype) {
  auto* c = new Case;
  Maker m(seed);
  DType t = static_cast<DType>(dtype);
  switch (kind) {
    case 0: m.random(Layout::Rows, false, length); break;
    case 1: m.random(Layout::Columns, false, length); break;
    case 2: m.random(Layout::Rows, true, length); break;
    case 3: m.random(Layout::Columns, true, length); break;
    case 4: m.softmax(Layout::Rows, t); break;
    case 5: m.softmax(Layout::Columns, t); break;
    case 6: m.layer_norm(Layout::Rows, t); break;
    case 7: m.layer_norm(Layout::Columns, t); break;
    case 8: m.gelu_chain(t); break;
    case 9: m.sum(Layout::Rows, t); break;
    case 10: m.sum(Layout::Columns, t); break;
    default: m.add(t); break;
  }
  c->p = std::move(m.p);
  c->p.runs = c->p.layout == Layout::Rows && seed % 3 == 0;
  c->name = "k" + std::to_string(kind) + "_" + std::to_string(seed) + "_" + std::to_string(length) + "_" +
            std::to_string(dtype);
  try {
    c->ir = emit_llvm(c->p, c->name, &c->scratch);
  } catch (const std::exception& e) {
    c->error = e.what();
  }
  return c;
}
void free_case(void* c) { delete static_cast<Case*>(c); }
const char* case_name(void* c) { return static_cast<Case*>(c)->name.c_str(); }
const char* case_ir(void* c) { return static_cast<Case*>(c)->ir.c_str(); }
const char* case_error(void* c) { return static_cast<Case*>(c)->error.c_str(); }
int case_size(void* c) { return static_cast<int>(static_cast<Case*>(c)->p.code.size()); }

// Runs the compiled function and the evaluator on one tile; returns "" or the first difference.
// `alias`: an output is written over an input of its class and type.
const char* run_case(void* handle, void* fn, int64_t R, int64_t C, uint64_t seed, int alias) {
  static std::string report;
  report.clear();
  auto* c = static_cast<Case*>(handle);
  const Program& p = c->p;
  Memory want = make_memory(p, R, C, seed, false), got = want, in = want;
  for (size_t a = 0; a < p.args.size(); ++a) {
    want.ptr[a] = want.bytes[a].data();
    got.ptr[a] = got.bytes[a].data();
    in.ptr[a] = in.bytes[a].data();
  }
  evaluate(p, R, C, in, want);
  if (alias) {
    for (size_t i = 0; i < p.args.size(); ++i)
      for (size_t o = 0; o < p.args.size(); ++o) {
        const Arg &x = p.args[i], &y = p.args[o];
        if (x.output || !y.output || x.cls != y.cls || x.dtype != y.dtype || x.cls == ArgClass::Uni) continue;
        if (got.rstride[i] == 0 || got.gap[i] < 0 || got.ptr[o] != got.bytes[o].data()) continue;
        bool column = false;  // a Red operand or result of Columns is not of the shape of an elementwise one
        for (const Instr& s : p.code)
          column = column || (s.level == Level::Red && ((s.kind == InstrKind::Load && s.a == int(i)) ||
                                                        (s.kind == InstrKind::Store && s.dst == int(o))));
        if (column) continue;
        got.ptr[o] = got.ptr[i];
        got.rstride[o] = got.rstride[i];
        got.gap[o] = got.gap[i];
        break;
      }
  }
  std::vector<unsigned char> scratch(scratch_bytes(p.layout, c->scratch, R, C) + 128, 0x5a);
  size_t skip = 64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64;
  reinterpret_cast<KernelFn>(fn)(R, C, got.ptr.data(), got.strides().data(), scratch.data() + skip);
  for (size_t k = scratch.size() - (64 - skip); k < scratch.size(); ++k)
    if (scratch[k] != 0x5a) return "wrote past its scratch";
  for (size_t a = 0; a < p.args.size(); ++a) {
    const Arg& arg = p.args[a];
    if (!arg.output) continue;
    bool moved = got.ptr[a] != got.bytes[a].data();
    auto differs = [&](int64_t r, int64_t j, int64_t wat, int64_t gat) {
      Cell w = read(want.ptr[a], arg.dtype, wat), g = read(got.ptr[a], arg.dtype, gat);
      if (same(arg.dtype, w, g)) return false;
      char buf[200];
      std::snprintf(buf, sizeof buf, "arg %zu (%s) at (%ld, %ld) of (%ld, %ld): want %016lx got %016lx", a,
                    name_of(arg.dtype), long(r), long(j), long(R), long(C), (unsigned long)w, (unsigned long)g);
      report = buf;
      return true;
    };
    if (moved) {
      for (int64_t r = 0; r < R; ++r)
        for (int64_t j = 0; j < (arg.cls == ArgClass::Vec ? C : 1); ++j)
          if (differs(r, j, want.place(a, r, j), got.place(a, r, j))) return report.c_str();
    } else {
      int64_t n = static_cast<int64_t>(want.bytes[a].size() / size_of(arg.dtype));
      for (int64_t j = 0; j < n; ++j)
        if ((arg.dtype != DType::Bool || want.bytes[a][j] != got.bytes[a][j]) && differs(-1, j, j, j))
          return report.c_str();
    }
  }
  return "";
}

// Seconds of `repeat` calls on one tile of tame values.
double time_case(void* handle, void* fn, int64_t R, int64_t C, int repeat) {
  auto* c = static_cast<Case*>(handle);
  Memory m = make_memory(c->p, R, C, 1, true);
  for (size_t a = 0; a < m.rstride.size(); ++a)
    if (c->p.args[a].cls == ArgClass::Vec) m.rstride[a] = C;
  m.bytes.clear();
  Memory n;
  n.rstride = m.rstride;
  for (const Arg& a : c->p.args) {
    n.bytes.emplace_back(static_cast<size_t>(R * C + 64) * size_of(a.dtype));
    std::mt19937_64 rng(3);
    for (int64_t k = 0; k < R * C; ++k) write(n.bytes.back().data(), a.dtype, k, sample(a.dtype, rng, true));
  }
  for (auto& b : n.bytes) n.ptr.push_back(b.data());
  std::vector<unsigned char> scratch(scratch_bytes(c->p.layout, c->scratch, R, C) + 64);
  void* s = scratch.data() + (64 - reinterpret_cast<uintptr_t>(scratch.data()) % 64);
  timespec a, b;
  clock_gettime(CLOCK_MONOTONIC, &a);
  for (int k = 0; k < repeat; ++k) reinterpret_cast<KernelFn>(fn)(R, C, n.ptr.data(), n.rstride.data(), s);
  clock_gettime(CLOCK_MONOTONIC, &b);
  return double(b.tv_sec - a.tv_sec) + 1e-9 * double(b.tv_nsec - a.tv_nsec);
}

// ---- the kernel cache, as csrc/python binds it

void jit_set(int mode, bool (*start)(), void* (*now)(const char*, const char*, const char*)) {
  host().start_compiler = start;
  host().compile_now = now;
  set_jit_mode(static_cast<JitMode>(mode));
}
// To be freed; null once stopped.
void* jit_take() {
  auto* job = new CompileJob;
  if (take_compile(*job)) return job;
  delete job;
  return nullptr;
}
uint64_t job_id(void* j) { return static_cast<CompileJob*>(j)->id; }
const char* job_name(void* j) { return static_cast<CompileJob*>(j)->name.c_str(); }
const char* job_ir(void* j) { return static_cast<CompileJob*>(j)->ir.c_str(); }
const char* job_error(void* j) { return static_cast<CompileJob*>(j)->error.c_str(); }
void free_job(void* j) { delete static_cast<CompileJob*>(j); }
void jit_finish(uint64_t id, void* address) { finish_compile(id, address); }
void jit_stop() { stop_compiles(); }
void jit_after_fork() { compiles_after_fork(); }

void* hold_kernel(void* c) { return kernel_for(static_cast<Case*>(c)->p).detach(); }
void drop_kernel(void* k) { release(static_cast<Kernel*>(k)); }
void* use_kernel(void* k, int64_t elements) {
  return reinterpret_cast<void*>(static_cast<Kernel*>(k)->compiled(elements));
}
const char* kernel_name(void* k) { return static_cast<Kernel*>(k)->name.c_str(); }
int kernel_state(void* k) { return static_cast<Kernel*>(k)->state; }
void set_kernel_limit(int64_t n) { kernel_limit() = n; }
int64_t kernel_count() { return kernel_stats().kernels; }
// A program that the emitter refuses.
void* broken_case() {
  auto* c = new Case;
  Maker m(1);
  int x = m.load(DType::F32, ArgClass::Vec, Level::Elem);
  m.store(m.op(op::pow, DType::I32, DType::I32, {x, x}));
  c->p = m.p;
  return c;
}
}
