// Random loop programs on random domains and views: the runner and the interpreter against one scalar at a time.
//
//   interpreter_driver loops            every loop of the host's instruction set against the baseline's, bit by bit
//   interpreter_driver programs SEED N  N random programs: threads 1, 2, 5 and the tile grid of compiled kernels
//   interpreter_driver pack SEED N      packing by itself, for elements of 1 to 16 bytes
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "device/cpu/pool.h"
#include "fuse/runner.h"
#include "ops/loops.h"
#include "ops/op_ids.h"

using namespace pd;

namespace {

std::mt19937_64 rng;
int64_t pick(int64_t lo, int64_t hi) { return lo + static_cast<int64_t>(rng() % static_cast<uint64_t>(hi - lo + 1)); }
bool chance(double p) { return static_cast<double>(rng() >> 11) * 0x1p-53 < p; }
template <class T, size_t N> T one_of(const T (&a)[N]) { return a[pick(0, N - 1)]; }

const DType kTypes[] = {DType::Bool, DType::I32, DType::I64, DType::U64, DType::F32, DType::F64};
using Cell = uint64_t;  // the bits of one value, in the low bytes
using Cells = std::vector<Cell>;

Cell cell_of(double v, DType t) {
  Cell c = 0;
  auto put = [&](auto x) { std::memcpy(&c, &x, sizeof x); };
  switch (t) {
    case DType::Bool: put(static_cast<uint8_t>(v != 0)); break;
    case DType::I32: put(static_cast<int32_t>(v)); break;
    case DType::I64:
    case DType::U64: put(static_cast<int64_t>(v)); break;  // -1 is the largest
    case DType::F32: put(static_cast<float>(v)); break;
    default: put(v);
  }
  return c;
}
Cell random_cell(DType t) {
  if (is_floating(t) && chance(0.03)) {
    const double special[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e-310, 1e-42, 3e38};
    return cell_of(one_of(special), t);
  }
  if (is_integer(t) && chance(0.03)) {
    const double special[] = {-2147483648.0, 2147483647.0, -1, 0};
    return cell_of(one_of(special), t);
  }
  if (is_floating(t)) return cell_of(static_cast<double>(pick(-900000, 900000)) * 1.7e-5, t);
  return cell_of(static_cast<double>(is_bool(t) ? pick(0, 1) : pick(-9, 9)), t);
}
bool same(Cell a, Cell b, DType t) {
  if (t == DType::F32) {
    float x, y;
    std::memcpy(&x, &a, 4);
    std::memcpy(&y, &b, 4);
    if (x != x && y != y) return true;
  }
  if (t == DType::F64) {
    double x, y;
    std::memcpy(&x, &a, 8);
    std::memcpy(&y, &b, 8);
    if (x != x && y != y) return true;
  }
  return std::memcmp(&a, &b, size_of(t)) == 0;
}
Cell get(const std::vector<char>& m, int64_t i, DType t) {
  Cell c = 0;
  std::memcpy(&c, m.data() + i * static_cast<int64_t>(size_of(t)), size_of(t));
  return c;
}
void put(std::vector<char>& m, int64_t i, Cell c, DType t) {
  std::memcpy(m.data() + i * static_cast<int64_t>(size_of(t)), &c, size_of(t));
}

Cell scalar_op(OpId op, DType in, DType out, const Cell* x) {
  const void* p[3] = {&x[0], &x[1], &x[2]};
  Cell y = 0;
  loop_baseline(op, in, out, LoopShape::Arrays)(p, &y, 1);
  return y;
}

// ---- the reduction tree, word by word from fuse/program.h

Cell identity(OpId op, DType t) {
  const double inf = std::numeric_limits<double>::infinity();
  if (op == op::reduce_sum || op == op::reduce_any) return cell_of(0, t);
  if (op == op::reduce_prod || op == op::reduce_all) return cell_of(1, t);
  const bool max = op == op::reduce_max;
  if (is_floating(t)) return cell_of(max ? -inf : inf, t);
  if (t == DType::Bool) return cell_of(max ? 0 : 1, t);
  Cell c = 0;
  if (t == DType::I32) {
    int32_t v = max ? std::numeric_limits<int32_t>::min() : std::numeric_limits<int32_t>::max();
    std::memcpy(&c, &v, 4);
  } else if (t == DType::U64) {
    uint64_t v = max ? 0 : std::numeric_limits<uint64_t>::max();
    std::memcpy(&c, &v, 8);
  } else {
    int64_t v = max ? std::numeric_limits<int64_t>::min() : std::numeric_limits<int64_t>::max();
    std::memcpy(&c, &v, 8);
  }
  return c;
}
Cell combine(OpId op, DType t, Cell a, Cell b) {
  Cell x[3] = {a, b, 0};
  OpId row = op == op::reduce_sum    ? op::add
             : op == op::reduce_prod ? op::mul
             : op == op::reduce_max  ? op::maximum
             : op == op::reduce_min  ? op::minimum
             : op == op::reduce_any  ? op::add
                                     : op::mul;
  return scalar_op(row, t, t, x);
}
Cell tree(OpId op, DType t, const Cells& v) {
  Cells level;
  for (size_t b = 0; b < v.size(); b += 1024) {
    Cells lane(16, identity(op, t));
    for (size_t j = 0; j < 1024 && b + j < v.size(); ++j) lane[j % 16] = combine(op, t, lane[j % 16], v[b + j]);
    for (size_t h = 8; h; h /= 2)
      for (size_t l = 0; l < h; ++l) lane[l] = combine(op, t, lane[l], lane[l + h]);
    level.push_back(lane[0]);
  }
  if (level.empty()) return identity(op, t);
  while (level.size() > 1) {
    Cells up;
    for (size_t i = 0; i + 1 < level.size(); i += 2) up.push_back(combine(op, t, level[i], level[i + 1]));
    if (level.size() & 1) up.push_back(level.back());
    level = up;
  }
  return level[0];
}

// ---- a random case

struct Case {
  Program p;
  Ints major, minor;
  std::vector<View> views;
  std::vector<std::vector<char>> memory;  // one an arg
  std::vector<int> alias;                 // of an output: the input whose memory it takes, or -1
  int64_t M = 1, N = 1;
  bool reduce = false;
  int rank() const { return major.size() + minor.size(); }
  int64_t dim(int k) const { return k < major.size() ? major[k] : minor[k - major.size()]; }
};

int64_t address(const Case& t, const View& v, int64_t r, int64_t c, bool& inside) {
  int64_t at = v.offset;
  inside = true;
  auto walk = [&](const Ints& dims, int first, int64_t i) {
    for (int k = dims.size() - 1; k >= 0; --k) {
      int64_t x = i % std::max<int64_t>(1, dims[k]);
      i /= std::max<int64_t>(1, dims[k]);
      at += x * v.strides[first + k];
      if (v.bounded && (x < v.lo[first + k] || x >= v.hi[first + k])) inside = false;
    }
  };
  walk(t.major, 0, r);
  walk(t.minor, t.major.size(), c);
  return at;
}

// A view over the axes for which `on` is set, in the order of a random permutation if `shuffle`.
View random_view(const Case& t, const std::vector<bool>& on, bool shuffle, double broadcast, double flip,
                 int64_t& size) {
  View v;
  v.strides.resize(t.rank(), 0);
  std::vector<int> order;
  for (int k = t.rank() - 1; k >= 0; --k)
    if (on[static_cast<size_t>(k)] && !chance(broadcast)) order.push_back(k);
  if (shuffle) std::shuffle(order.begin(), order.end(), rng);
  int64_t step = shuffle && chance(0.2) ? 2 : 1;
  for (int k : order) {
    v.strides[k] = step;
    step *= std::max<int64_t>(1, t.dim(k));
    if (chance(flip) && t.dim(k)) {
      v.offset += v.strides[k] * (t.dim(k) - 1);
      v.strides[k] = -v.strides[k];
    }
  }
  size = std::max<int64_t>(1, step);
  return v;
}

void random_domain(Case& t) {
  const int64_t sizes[] = {1, 1, 2, 3, 5, 8, 16, 17, 40, 64, 65, 100, 130};
  const int64_t long_sizes[] = {1000, 1024, 1025, 2048, 3000, 5000, 9000};
  int nm = static_cast<int>(pick(0, 3)), nn = static_cast<int>(pick(0, 3));
  for (int k = 0; k < nm; ++k) t.major.push_back(one_of(sizes));
  for (int k = 0; k < nn; ++k) t.minor.push_back(one_of(sizes));
  Ints& stretched = chance(0.5) && nm ? t.major : t.minor;
  if (chance(0.5)) {
    if (stretched.empty()) stretched.push_back(1);
    stretched[static_cast<int>(pick(0, stretched.size() - 1))] = one_of(long_sizes);
  }
  if (chance(0.04) && !stretched.empty()) stretched[0] = 0;
  auto shrink = [&] {
    int64_t m = 1, n = 1;
    for (int64_t d : t.major) m *= std::max<int64_t>(1, d);
    for (int64_t d : t.minor) n *= std::max<int64_t>(1, d);
    if (m * n <= 60000) return false;
    Ints& a = m > n ? t.major : t.minor;
    int k = 0;
    for (int j = 1; j < a.size(); ++j)
      if (a[j] > a[k]) k = j;
    a[k] = a[k] / 2 + 1;
    return true;
  };
  while (shrink()) {
  }
  for (int64_t d : t.major) t.M *= d;
  for (int64_t d : t.minor) t.N *= d;
}

int add_reg(Case& t, DType type, Level level) {
  t.p.regs.push_back(type);
  t.p.levels.push_back(level);
  return static_cast<int>(t.p.regs.size()) - 1;
}
int emit(Case& t, OpId op, DType in, DType out, std::vector<int> x) {
  Level level = Level::Uniform;
  for (int r : x) level = std::max(level, t.p.levels[static_cast<size_t>(r)]);
  int dst = add_reg(t, out, level);
  x.resize(3, -1);
  t.p.code.push_back({InstrKind::Op, level, op, in, static_cast<int16_t>(dst), static_cast<int16_t>(x[0]),
                      static_cast<int16_t>(x[1]), static_cast<int16_t>(x[2])});
  return dst;
}
int as_type(Case& t, int reg, DType type) {
  DType have = t.p.regs[static_cast<size_t>(reg)];
  return have == type ? reg : emit(t, op::cast, have, type, {reg});
}

int add_arg(Case& t, Arg arg, View view, int64_t elements) {
  t.p.args.push_back(arg);
  t.views.push_back(std::move(view));
  t.alias.push_back(-1);
  std::vector<char> m(static_cast<size_t>(elements) * size_of(arg.dtype));
  for (int64_t i = 0; i < elements; ++i) put(m, i, random_cell(arg.dtype), arg.dtype);
  t.memory.push_back(std::move(m));
  return static_cast<int>(t.p.args.size()) - 1;
}

int random_input(Case& t) {
  const bool rows = t.p.layout == Layout::Rows;
  const size_t nm = static_cast<size_t>(t.major.size()), rank = static_cast<size_t>(t.rank());
  std::vector<bool> all(rank, true), majors(rank, false), minors(rank, false);
  for (size_t k = 0; k < rank; ++k) (k < nm ? majors : minors)[k] = true;
  DType type = one_of(kTypes);
  int64_t size = 1;
  int kind = static_cast<int>(pick(0, 9));
  Arg arg{type, ArgClass::Vec, false};
  Level level = Level::Elem;
  View v;
  if (kind <= 5) {
    const bool plain = chance(0.5);
    v = random_view(t, all, !plain, plain ? 0 : 0.2, plain ? 0 : 0.15, size);
    if (chance(0.2)) {
      v.bounded = true;
      v.fill = static_cast<int64_t>(random_cell(type));
      for (int k = 0; k < t.rank(); ++k) {
        v.lo.push_back(chance(0.6) ? 0 : pick(-2, 2));
        v.hi.push_back(chance(0.6) ? t.dim(k) : t.dim(k) + pick(-2, 2));
      }
    }
  } else if (kind == 6) {
    level = rows || chance(0.5) ? Level::Red : Level::Elem;
    if (!rows && level == Level::Red) {
      v = random_view(t, minors, chance(0.4), 0.1, 0.1, size);
    } else {
      arg.cls = ArgClass::Maj;
      v = random_view(t, majors, chance(0.4), 0.1, 0.1, size);
    }
  } else if (kind == 7) {
    arg.cls = ArgClass::Uni;
    level = chance(0.2) ? Level::Elem : Level::Uniform;
    v.strides.resize(t.rank(), 0);
  } else {
    arg.dtype = DType::I64;
    v = random_view(t, all, chance(0.4), 0.2, 0.2, size);
    v.offset += pick(-5, 5);
    Program whole = t.p;
    if (t.reduce) whole.code.push_back({InstrKind::Reduce, Level::Red, op::reduce_sum, DType::I64, 0, 0, -1, -1});
    arg.cls = kind == 8 && index_is_linear(whole, v, t.major, t.minor) ? ArgClass::Index : ArgClass::Vec;
    v.index = arg.cls == ArgClass::Vec;
    size = 1;
  }
  DType out = arg.dtype;
  int a = add_arg(t, arg, v, size), dst = add_reg(t, out, level);
  t.p.code.push_back({InstrKind::Load, level, 0, out, static_cast<int16_t>(dst), static_cast<int16_t>(a), -1, -1});
  return dst;
}

void random_op(Case& t, bool terminal) {
  std::vector<int> usable;
  for (size_t r = 0; r < t.p.regs.size(); ++r) {
    bool reduced = false;
    for (const Instr& i : t.p.code) reduced |= i.kind == InstrKind::Reduce && i.dst == static_cast<int>(r);
    if (!(terminal && reduced)) usable.push_back(static_cast<int>(r));
  }
  auto any = [&] { return usable[static_cast<size_t>(pick(0, static_cast<int64_t>(usable.size()) - 1))]; };
  const OpId binary[] = {op::add, op::mul, op::maximum, op::minimum, op::add, op::lt, op::eq};
  const OpId numeric[] = {op::sub, op::floor_divide, op::remainder};
  const OpId unary[] = {op::exp, op::tanh, op::sqrt, op::floor, op::erf};
  const DType numbers[] = {DType::I32, DType::I64, DType::U64, DType::F32, DType::F64};
  const DType floats[] = {DType::F32, DType::F64};
  int a = any(), b = any();
  DType type = t.p.regs[static_cast<size_t>(a)];
  switch (pick(0, 6)) {
    case 0: {
      DType f = one_of(floats);
      emit(t, one_of(unary), f, f, {as_type(t, a, f)});
      break;
    }
    case 1: {
      DType n = one_of(numbers);
      emit(t, one_of(numeric), n, n, {as_type(t, a, n), as_type(t, b, n)});
      break;
    }
    case 2:
      emit(t, op::where, type, type, {as_type(t, b, DType::Bool), a, as_type(t, any(), type)});
      break;
    case 3: {
      DType f = one_of(floats);
      if (chance(0.3)) {
        const int index = as_type(t, a, DType::I64), stream = as_type(t, b, DType::I64);
        emit(t, op::random_uniform, DType::I64, f, {index, stream, stream});
      } else {
        emit(t, chance(0.5) ? op::div : op::pow, f, f, {as_type(t, a, f), as_type(t, b, f)});
      }
      break;
    }
    default: {
      OpId o = one_of(binary);
      emit(t, o, type, o == op::lt || o == op::eq ? DType::Bool : type, {a, as_type(t, b, type)});
    }
  }
}

void random_reduce(Case& t) {
  std::vector<int> elem;
  for (size_t r = 0; r < t.p.regs.size(); ++r)
    if (t.p.levels[r] == Level::Elem) elem.push_back(static_cast<int>(r));
  if (elem.empty()) return;
  int a = elem[static_cast<size_t>(pick(0, static_cast<int64_t>(elem.size()) - 1))];
  DType type = t.p.regs[static_cast<size_t>(a)];
  const OpId of_bool[] = {op::reduce_any, op::reduce_all, op::reduce_max, op::reduce_min};
  const OpId of_number[] = {op::reduce_sum, op::reduce_sum, op::reduce_prod, op::reduce_max, op::reduce_min};
  OpId o = is_bool(type) ? one_of(of_bool) : one_of(of_number);
  int dst = add_reg(t, type, Level::Red);
  t.p.code.push_back(
      {InstrKind::Reduce, Level::Red, o, type, static_cast<int16_t>(dst), static_cast<int16_t>(a), -1, -1});
}

void random_store(Case& t, int reg) {
  const bool rows = t.p.layout == Layout::Rows;
  const bool red = t.p.levels[static_cast<size_t>(reg)] == Level::Red && t.reduce;
  const Level level = red ? Level::Red : Level::Elem;
  std::vector<bool> on(static_cast<size_t>(t.rank()), true);
  if (level == Level::Red)
    for (int k = 0; k < t.rank(); ++k) on[static_cast<size_t>(k)] = (k < t.major.size()) == rows;
  int64_t size = 1;
  View v = random_view(t, on, chance(0.2), 0, 0, size);
  Arg arg{t.p.regs[static_cast<size_t>(reg)], level == Level::Red && rows ? ArgClass::Maj : ArgClass::Vec, true};
  int alias = -1;
  for (size_t k = 0; k < t.p.args.size() && level == Level::Elem; ++k)
    if (t.p.args[k] == Arg{arg.dtype, ArgClass::Vec, false} && !t.views[k].index && !t.views[k].bounded &&
        t.views[k].strides == v.strides && t.views[k].offset == v.offset && chance(0.7)) {
      bool taken = false;
      for (int a : t.alias) taken |= a == static_cast<int>(k);
      if (!taken) alias = static_cast<int>(k);
    }
  int a = add_arg(t, arg, v, size);
  t.alias.back() = alias;
  t.p.code.push_back(
      {InstrKind::Store, level, 0, arg.dtype, static_cast<int16_t>(a), static_cast<int16_t>(reg), -1, -1});
}

Case random_case() {
  Case t;
  t.p.layout = chance(0.5) ? Layout::Rows : Layout::Columns;
  const bool reduce = t.reduce = chance(0.65);
  t.p.split = reduce && chance(0.4);
  random_domain(t);
  for (int64_t k = pick(1, 4); k; --k) random_input(t);
  for (int64_t k = pick(0, 6); k; --k) random_op(t, t.p.split);
  if (reduce) {
    random_reduce(t);
    for (int64_t k = pick(0, 3); k && !t.p.split; --k) random_op(t, false);
    if (chance(0.3)) random_reduce(t);
    for (int64_t k = pick(0, 2); k && !t.p.split; --k) random_op(t, false);
  }
  std::vector<int> reduced;
  for (const Instr& i : t.p.code)
    if (i.kind == InstrKind::Reduce) reduced.push_back(i.dst);
  if (reduced.empty()) t.p.split = false;
  for (int r : reduced)
    if (t.p.split || chance(0.5)) random_store(t, r);
  for (int64_t k = pick(reduced.empty() ? 1 : 0, 2); k; --k) {
    int r = static_cast<int>(t.p.regs.size()) - 1 - static_cast<int>(pick(0, 2));
    r = std::max(r, 0);
    bool is_reduced = false;
    for (int x : reduced) is_reduced |= x == r;
    if (!(t.p.split && (is_reduced || t.p.levels[static_cast<size_t>(r)] != Level::Elem))) random_store(t, r);
  }
  return t;
}

// ---- what a case should give

std::vector<std::vector<char>> expected(const Case& t) {
  std::vector<std::vector<char>> memory = t.memory;
  const bool rows = t.p.layout == Layout::Rows;
  const int64_t kept = rows ? t.M : t.N;
  std::vector<Cells> regs(t.p.regs.size());
  auto count = [&](Level l) { return l == Level::Elem ? t.M * t.N : l == Level::Red ? kept : 1; };
  auto point = [&](Level l, int64_t i, int64_t& r, int64_t& c) {
    r = l == Level::Elem ? i / t.N : l == Level::Red && rows ? i : 0;
    c = l == Level::Elem ? i % t.N : l == Level::Red && !rows ? i : 0;
  };
  auto value = [&](int reg, Level l, int64_t i) {
    Level own = t.p.levels[static_cast<size_t>(reg)];
    if (own == Level::Uniform) i = 0;
    else if (own == Level::Red && l == Level::Elem) i = rows ? i / t.N : i % t.N;
    return regs[static_cast<size_t>(reg)][static_cast<size_t>(i)];
  };
  for (const Instr& i : t.p.code) {
    const int64_t n = count(i.level);
    Cells out;
    int64_t r, c;
    bool inside;
    for (int64_t e = 0; e < n; ++e) {
      point(i.level, e, r, c);
      if (i.kind == InstrKind::Load) {
        const View& v = t.views[static_cast<size_t>(i.a)];
        int64_t at = address(t, v, r, c, inside);
        if (v.index || t.p.args[static_cast<size_t>(i.a)].cls == ArgClass::Index) out.push_back(static_cast<Cell>(at));
        else if (!inside) out.push_back(static_cast<Cell>(v.fill));
        else out.push_back(get(t.memory[static_cast<size_t>(i.a)], at, i.type));
      } else if (i.kind == InstrKind::Op) {
        Cell x[3] = {0, 0, 0};
        const int16_t in[3] = {i.a, i.b, i.c};
        for (int k = 0; k < 3 && in[k] >= 0; ++k) x[k] = value(in[k], i.level, e);
        out.push_back(scalar_op(i.op, i.type, t.p.regs[static_cast<size_t>(i.dst)], x));
      } else if (i.kind == InstrKind::Reduce) {
        Cells v;
        for (int64_t k = 0; k < (rows ? t.N : t.M); ++k)
          v.push_back(value(i.a, Level::Elem, rows ? e * t.N + k : k * t.N + e));
        out.push_back(tree(i.op, i.type, v));
      } else {
        int64_t at = address(t, t.views[static_cast<size_t>(i.dst)], r, c, inside);
        put(memory[static_cast<size_t>(i.dst)], at, value(i.a, i.level, e), i.type);
      }
    }
    if (i.kind != InstrKind::Store) regs[static_cast<size_t>(i.dst)] = out;
  }
  return memory;
}

const Interpreted* stand_in = nullptr;
// A compiled kernel has the interpreter's results: the interpreter stands in for one.
void as_compiled(int64_t R, int64_t C, void* const* ptr, const int64_t* rstride, void*) {
  std::vector<char> scratch(stand_in->scratch_bytes(R, C) + 64);
  const uintptr_t line = (reinterpret_cast<uintptr_t>(scratch.data()) + 63) / 64 * 64;
  stand_in->run(R, C, ptr, rstride, reinterpret_cast<void*>(line));
}

bool check(const Case& t, const std::vector<std::vector<char>>& want, int threads, bool compiled, const char* what) {
  set_num_threads(threads);
  Interpreted program(t.p);
  PreparedLaunch launch = prepare(t.p, t.major, t.minor, t.views);
  stand_in = &program;
  std::vector<std::vector<char>> memory = t.memory;
  std::vector<void*> bases;
  for (size_t k = 0; k < memory.size(); ++k)
    bases.push_back(memory[t.alias[k] < 0 ? k : static_cast<size_t>(t.alias[k])].data());
  run(launch, program, compiled ? as_compiled : nullptr, 0, bases.data());
  for (size_t k = 0; k < memory.size(); ++k) {
    if (!t.p.args[k].output) continue;
    DType type = t.p.args[k].dtype;
    const int64_t n = static_cast<int64_t>(want[k].size() / size_of(type));
    const auto& got = memory[t.alias[k] < 0 ? k : static_cast<size_t>(t.alias[k])];
    bool ok = true;
    for (int64_t r = 0; r < t.M && ok; ++r)
      for (int64_t c = 0; c < t.N && ok; ++c) {
        bool inside;
        int64_t i = address(t, t.views[k], r, c, inside);
        ok = i < n && same(get(got, i, type), get(want[k], i, type), type);
        if (!ok)
          std::printf("%s, %d threads%s: arg %zu of type %s at (%lld, %lld) is %llx and should be %llx\n", what,
                      threads, compiled ? ", large tiles" : "", k, name_of(type), static_cast<long long>(r),
                      static_cast<long long>(c), static_cast<unsigned long long>(get(got, i, type)),
                      static_cast<unsigned long long>(get(want[k], i, type)));
      }
    // An empty reduced index leaves no point of the domain, but a result for each kept index.
    bool red = false;
    for (const Instr& i : t.p.code)
      red |= i.kind == InstrKind::Store && i.dst == static_cast<int>(k) && i.level == Level::Red;
    if (red && (t.M == 0) != (t.N == 0))
      for (int64_t i = 0; i < n && ok; ++i) ok = same(get(got, i, type), get(want[k], i, type), type);
    if (!ok) return false;
  }
  return true;
}

void describe(const Case& t) {
  std::printf("layout %s split %d major %s minor %s\n", t.p.layout == Layout::Rows ? "rows" : "columns", t.p.split,
              to_string(t.major).c_str(), to_string(t.minor).c_str());
  for (size_t k = 0; k < t.p.args.size(); ++k)
    std::printf("  arg %zu %s class %d out %d offset %lld strides %s bounded %d index %d alias %d\n", k,
                name_of(t.p.args[k].dtype), int(t.p.args[k].cls), t.p.args[k].output,
                static_cast<long long>(t.views[k].offset), to_string(t.views[k].strides).c_str(), t.views[k].bounded,
                t.views[k].index, t.alias[k]);
  for (const Instr& i : t.p.code)
    std::printf("  kind %d level %d op %d type %s: %d <- %d %d %d\n", int(i.kind), int(i.level), i.op, name_of(i.type),
                i.dst, i.a, i.b, i.c);
}

int test_programs(uint64_t seed, int64_t n) {
  for (int64_t k = 0; k < n; ++k) {
    rng.seed(seed + static_cast<uint64_t>(k));
    Case t = random_case();
    const std::string what = "seed " + std::to_string(seed + static_cast<uint64_t>(k));
    auto want = expected(t);
    bool ok = true;
    try {
      for (int threads : {1, 2, 5}) ok = ok && check(t, want, threads, false, what.c_str());
      ok = ok && check(t, want, 2, true, what.c_str());
    } catch (const Error& e) {
      std::printf("%s: %s\n", what.c_str(), e.what());
      ok = false;
    }
    if (!ok) {
      describe(t);
      return 1;
    }
  }
  std::printf("%lld programs on %s\n", static_cast<long long>(n), host_isa());
  return 0;
}

// ---- every loop

int test_loops() {
  const int64_t n = 1003;
  int64_t loops = 0;
  for (int op = op::first_row + 1; op < op::count; ++op)
    for (DType in : kTypes)
      for (DType out : kTypes) {
        const OpId id = static_cast<OpId>(op);
        LoopFn one = loop_baseline(id, in, out, LoopShape::Arrays);
        if (!one != !loop_for(id, in, out)) return std::printf("op %d: a loop is missing\n", op), 1;
        if (!one) continue;
        std::vector<char> x[3];
        Cells cells[3];
        for (int k = 0; k < 3; ++k) {
          DType type = op == op::where && k == 0 ? DType::Bool : in;
          x[k].resize(n * size_of(type));
          for (int64_t i = 0; i < n; ++i) {
            cells[k].push_back(random_cell(type));
            put(x[k], i, cells[k].back(), type);
          }
        }
        for (LoopShape shape : {LoopShape::Arrays, LoopShape::RightScalar, LoopShape::LeftScalar}) {
          LoopFn many = loop_for(id, in, out, shape);
          if (!many) continue;
          ++loops;
          for (int64_t m : {n, int64_t(1), int64_t(0), int64_t(37)}) {
            const void* p[3] = {x[0].data(), x[1].data(), x[2].data()};
            std::vector<char> y(n * size_of(out), 7);
            many(p, y.data(), m);
            for (int64_t i = 0; i < n; ++i) {
              const size_t j = static_cast<size_t>(i);
              Cell c[3] = {cells[0][shape == LoopShape::LeftScalar ? 0 : j],
                           cells[1][shape == LoopShape::RightScalar ? 0 : j], cells[2][j]};
              Cell want = 0x0707070707070707u;
              if (i < m) want = scalar_op(id, in, out, c);
              if (!same(get(y, i, out), want, out))
                return std::printf("op %d %s to %s shape %d, element %lld of %lld\n", op, name_of(in), name_of(out),
                                   int(shape), static_cast<long long>(i), static_cast<long long>(m)), 1;
            }
          }
        }
      }
  std::printf("%lld loops on %s\n", static_cast<long long>(loops), host_isa());
  return loops > 100 ? 0 : 1;
}

// ---- packing

int test_pack(uint64_t seed, int64_t count) {
  const DType types[] = {DType::Bool, DType::F16, DType::F32, DType::F64, DType::C128};
  for (int64_t k = 0; k < count; ++k) {
    rng.seed(seed + static_cast<uint64_t>(k));
    Case t;
    random_domain(t);
    if (t.M * t.N == 0) continue;
    DType type = one_of(types);
    const size_t size = size_of(type);
    int64_t elements = 1;
    View v = random_view(t, std::vector<bool>(static_cast<size_t>(t.rank()), true), chance(0.8), 0.2, 0.2, elements);
    std::vector<char> from(static_cast<size_t>(elements) * size);
    for (char& b : from) b = static_cast<char>(rng());
    View bounded = v;
    bounded.bounded = true;
    bounded.fill = static_cast<int64_t>(rng());
    for (int a = 0; a < t.rank(); ++a) {
      bounded.lo.push_back(pick(-1, 1));
      bounded.hi.push_back(t.dim(a) + pick(-1, 1));
    }
    const int64_t r0 = pick(0, t.M - 1), R = pick(1, t.M - r0), c0 = pick(0, t.N - 1), C = pick(1, t.N - c0);
    const int64_t fill[2] = {bounded.fill, 0};
    for (const View* view : {&v, &bounded}) {
      std::vector<char> tile(static_cast<size_t>(R * C) * size), back(from.size(), 9);
      std::vector<int64_t> map(static_cast<size_t>(R * C));
      pack(tile.data(), from.data(), type, *view, t.major, t.minor, r0, R, c0, C);
      pack_index(map.data(), *view, t.major, t.minor, r0, R, c0, C);
      if (view == &v) unpack(back.data(), tile.data(), type, v, t.major, t.minor, r0, R, c0, C);
      for (int64_t r = 0; r < R; ++r)
        for (int64_t c = 0; c < C; ++c) {
          bool inside;
          int64_t at = address(t, *view, r0 + r, c0 + c, inside);
          const char* got = tile.data() + static_cast<size_t>(r * C + c) * size;
          const void* want = inside ? static_cast<const void*>(from.data() + static_cast<size_t>(at) * size) : fill;
          bool ok = std::memcmp(got, want, size) == 0;
          ok = ok && map[static_cast<size_t>(r * C + c)] == (inside ? at : bounded.fill);
          if (view == &v) ok = ok && std::memcmp(back.data() + static_cast<size_t>(at) * size, want, size) == 0;
          if (!ok)
            return std::printf("pack: seed %lld\n", static_cast<long long>(seed + static_cast<uint64_t>(k))), 1;
        }
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const int64_t n = argc > 3 ? std::atoll(argv[3]) : 0;
  if (mode == "loops") return test_loops();
  if (mode == "programs") return test_programs(seed, n);
  if (mode == "pack") return test_pack(seed, n);
  return 2;
}
