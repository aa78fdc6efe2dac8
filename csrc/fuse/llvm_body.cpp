#include "fuse/llvm_body.h"

#include <algorithm>
#include <initializer_list>

#include "base/error.h"
#include "ops/exprs.h"
#include "ops/loops.h"

namespace pd::ir {

namespace {
// Bodies of at most so many nodes are repeated, to amortise what a loop costs beside them.
constexpr int64_t kSmallBody = 12;
}  // namespace

BodyEmitter::BodyEmitter(const Program& prog, const std::string& fname)
    : p_(prog), name_(fname), s_(cut_stages(prog)), n_(static_cast<int>(prog.code.size())),
      rows_(prog.layout == Layout::Rows), uni_(n_), step_(prog.args.size(), -1), index_(prog.args.size()) {}

// ---- values

std::string& BodyEmitter::text(int place, Body* b, Scope* sc) {
  if (place == kBody) return *b->out;
  return place == kUniform ? uniform_ : sc->red[place - kRed];
}

Val BodyEmitter::as(Val x, bool vec, Body* b, Scope* sc) {
  if (x.konst || x.vec == vec) return x;
  auto [at, fresh] = splats_.try_emplace(x.id, -1);
  if (fresh) at->second = splat(text(x.place, b, sc), x);
  x.id = at->second;
  x.vec = true;
  return x;
}

int BodyEmitter::splat(std::string& o, const Val& x) {
  int a = t_.fresh(), r = t_.fresh();
  std::string ty = type(x.type, true);
  put(o, "  %v", a, " = insertelement ", ty, " poison, ", scalar_type(x.type), " %v", x.id, ", i64 0\n");
  put(o, "  %v", r, " = shufflevector ", ty, " %v", a, ", ", ty, " poison, <16 x i32> zeroinitializer\n");
  return r;
}

Val BodyEmitter::make(int id, DType t, bool vec, int place) {
  Val x;
  x.id = id;
  x.type = t;
  x.vec = vec;
  x.place = place;
  return x;
}

Val BodyEmitter::value(int i, Body* b, Scope* sc) {
  if (i < 0) return Val();
  const Val& x = is_elem(p_, p_.code[i]) ? b->value[i]
                 : p_.code[i].kind != InstrKind::Reduce && p_.code[i].level == Level::Uniform ? uni_[i]
                                                                                              : sc->value[i];
  if (!x.valid()) fail("jit", "a register is read before it is written", print_instr(i));
  return x;
}

const std::vector<char>& BodyEmitter::used(const ExprTree* t) {
  auto [at, fresh] = used_.try_emplace(t);
  if (fresh) {
    std::vector<char>& u = at->second;
    u.assign(t->nodes.size(), 0);
    u[t->result] = 1;
    for (size_t k = t->nodes.size(); k-- > 0;) {
      const ExprNode& n = t->nodes[k];
      if (!u[k] || n.op == Sc::Input || n.op == Sc::Const) continue;
      for (int32_t x : {n.a, n.b, n.c})
        if (x >= 0) u[x] = 1;
    }
  }
  return at->second;
}

Val BodyEmitter::convert_half(int i, Body* b, Scope* sc) {
  const Instr& in = p_.code[i];
  const DType to = p_.regs[in.dst];
  const bool widens = in.type == DType::F16 && to == DType::F32, narrows = in.type == DType::F32 && to == DType::F16;
  if (!(widens || narrows) || !traits(in.op).is_cast || host_isa_level() < Isa::Avx2) return Val();
  const Val x = value(s_.source[0][i], b, sc);
  const bool vec = vec_place(x.place);
  const std::string n = vec ? "<16 x " : "", end = vec ? ">" : "", half = n + "half" + end, bits = n + "i16" + end;
  std::string& o = text(x.place, b, sc);
  const int first = t_.fresh(), second = t_.fresh(), last = t_.fresh();
  put(o, "  %v", first, widens ? " = trunc " : " = fptrunc ", type(in.type, vec), " ");
  add_val(o, as(x, vec, b, sc), vec);
  put(o, " to ", widens ? bits : half, "\n  %v", second, " = bitcast ", widens ? bits : half, " %v", first, " to ",
      widens ? half : bits, "\n  %v", last, widens ? " = fpext " : " = zext ", widens ? half : bits, " %v", second, " to ",
      type(to, vec), "\n");
  return make(last, to, vec, x.place);
}

Val BodyEmitter::op(int i, Body* b, Scope* sc) {
  const Instr& in = p_.code[i];
  if (const Val half = convert_half(i, b, sc); half.valid()) return half;
  const ExprTree* t = expr_for(in.op, in.type, p_.regs[in.dst]);
  if (!t) fail("jit", "no expression for this op and type", std::string(traits(in.op).name) + " " + name_of(in.type));
  const std::vector<char>& u = used(t);
  std::vector<Val> nv(t->nodes.size());
  std::vector<Val>* memo = sc ? &sc->hoisted[i] : nullptr;
  if (memo && memo->empty()) memo->resize(t->nodes.size());
  for (size_t k = 0; k < t->nodes.size(); ++k) {
    const ExprNode& n = t->nodes[k];
    if (!u[k]) continue;
    if (n.op == Sc::Input) {
      nv[k] = value(s_.source[n.a][i], b, sc);
      if (!nv[k].valid()) fail("jit", "an operand is missing", print_instr(i));
      nv[k].type = n.type;  // of a narrow type the carrier
      continue;
    }
    if (n.op == Sc::Const) {
      nv[k] = constant(n.type, n.imm);
      continue;
    }
    Val x[3];
    int place = kUniform;
    const int32_t from[3] = {n.a, n.b, n.c};
    for (int j = 0; j < 3; ++j)
      if (from[j] >= 0) x[j] = nv[from[j]], place = std::max(place, x[j].place);
    if (place < kBody && memo && (*memo)[k].valid()) {
      nv[k] = (*memo)[k];
      continue;
    }
    bool vec = vec_place(place);
    for (Val& o : x)
      if (o.valid()) o = as(o, vec, b, sc);
    nv[k] = t_.node(text(place, b, sc), n, x[0], x[1], x[2], vec);
    if (!nv[k].konst) nv[k].place = place;
    if (place < kBody && memo) (*memo)[k] = nv[k];
  }
  nv[t->result].type = p_.regs[in.dst];
  return nv[t->result];
}

// ---- memory. Bool is a byte, what is narrow is as wide as its type.

Val BodyEmitter::load(std::string& o, DType t, bool vec, const std::string& ptr, int mask, int place) {
  int id = t_.fresh();
  std::string mem = vec ? std::string("<16 x ") + memory_type(t) + ">" : memory_type(t);
  int align = static_cast<int>(size_of(t));
  if (mask >= 0) {
    std::string callee = std::string("@llvm.masked.load.v16") + type_suffix(t) + ".p0";
    t_.declares.insert("declare " + mem + " " + callee + "(ptr, i32, <16 x i1>, " + mem + ")");
    put(o, "  %v", id, " = call ", mem, " ", callee, "(ptr ", ptr, ", i32 ", align, ", <16 x i1> %v", mask, ", ", mem,
        " zeroinitializer)\n");
  } else {
    put(o, "  %v", id, " = load ", mem, ", ptr ", ptr, ", align ", align, "\n");
  }
  if (t == DType::Bool) {
    int bit = t_.fresh();
    put(o, "  %v", bit, " = icmp ne ", mem, " %v", id, ", ", vec ? "zeroinitializer" : "0", "\n");
    id = bit;
  } else if (is_narrow(t)) {
    const bool sign = is_integer(t) && info(t).kind == 'i';
    int wide = t_.fresh();
    put(o, "  %v", wide, " = ", sign ? "sext " : "zext ", mem, " %v", id, " to ", type(t, vec), "\n");
    id = wide;
  }
  return make(id, t, vec, place);
}

void BodyEmitter::store(std::string& o, const Val& x, bool vec, const std::string& ptr, int mask) {
  DType t = x.type;
  std::string mem = vec ? std::string("<16 x ") + memory_type(t) + ">" : memory_type(t), val;
  if (t == DType::Bool || is_narrow(t)) {
    int element = t_.fresh();
    put(o, "  %v", element, t == DType::Bool ? " = zext " : " = trunc ", type(t, vec), " ");
    add_val(o, x, vec);
    put(o, " to ", mem, "\n");
    val = v(element);
  } else {
    add_val(val, x, vec);
  }
  int align = static_cast<int>(size_of(t));
  if (mask >= 0) {
    std::string callee = std::string("@llvm.masked.store.v16") + type_suffix(t) + ".p0";
    t_.declares.insert("declare void " + callee + "(" + mem + ", ptr, i32, <16 x i1>)");
    put(o, "  call void ", callee, "(", mem, " ", val, ", ptr ", ptr, ", i32 ", align, ", <16 x i1> %v", mask, ")\n");
  } else {
    put(o, "  store ", mem, " ", val, ", ptr ", ptr, ", align ", align, "\n");
  }
}

int BodyEmitter::mask_of(std::string& o, const std::string& left) {
  int n32 = t_.fresh(), a = t_.fresh(), b = t_.fresh(), m = t_.fresh();
  put(o, "  %v", n32, " = trunc i64 ", left, " to i32\n");
  put(o, "  %v", a, " = insertelement <16 x i32> poison, i32 %v", n32, ", i64 0\n");
  put(o, "  %v", b, " = shufflevector <16 x i32> %v", a, ", <16 x i32> poison, <16 x i32> zeroinitializer\n");
  put(o, "  %v", m, " = icmp ult <16 x i32> <");
  for (int l = 0; l < kLanes; ++l) put(o, l ? ", i32 " : "i32 ", l);
  put(o, ">, %v", b, "\n");
  return m;
}

// ---- the kernel's start

void BodyEmitter::enter() {
  for (size_t a = 0; a < p_.args.size(); ++a) {
    int k = static_cast<int>(a);
    int at = gep(entry_, "ptr", "%ptrs", std::to_string(a));
    put(entry_, "  ", arg(k), " = load ptr, ptr %v", at, "\n");
    if (p_.args[a].cls == ArgClass::Vec || p_.args[a].cls == ArgClass::Maj) {
      at = gep(entry_, "i64", "%rstrides", std::to_string(a));
      put(entry_, "  ", rstride(k), " = load i64, ptr %v", at, "\n");
      if (p_.runs) {
        at = gep(entry_, "i64", "%rstrides", std::to_string(p_.args.size() + a));
        put(entry_, "  ", gap(k), " = load i64, ptr %v", at, "\n");
      }
    }
    if (p_.args[a].cls == ArgClass::Index) {
      for (int j = 0; j < 3; ++j) {
        at = gep(entry_, "i64", arg(k), std::to_string(j));
        index_[a].push_back(t_.fresh());
        put(entry_, "  %v", index_[a].back(), " = load i64, ptr %v", at, "\n");
      }
    }
  }
  put(entry_, "  %full = and i64 %C, -", kLanes, "\n");
  if (p_.runs) {
    const int at = gep(entry_, "i64", "%rstrides", std::to_string(2 * p_.args.size()));
    put(entry_, "  %run64 = load i64, ptr %v", at, "\n  %run = trunc i64 %run64 to i32\n");
  }
  if (!s_.slots.empty()) enter_slots();
  for (int i : s_.uniform) {
    const Instr& in = p_.code[i];
    uni_[i] = in.kind == InstrKind::Load ? load(uniform_, p_.regs[in.dst], false, arg(in.a), -1, kUniform)
                                         : op(i, nullptr, nullptr);
  }
}

void BodyEmitter::enter_slots() {
  std::string length = rows_ ? i64(entry_, "and", i64(entry_, "add", "%C", kLanes - 1), -kLanes)
                             : i64(entry_, "mul", "%R", kLanes);
  int64_t offset = 0;
  for (DType t : s_.slots) {
    slots_.push_back(gep(entry_, "i8", "%scratch", i64(entry_, "mul", length, offset)));
    offset += static_cast<int64_t>(size_of(t));
  }
}

Scope BodyEmitter::make_scope(const std::string& at, int mask) {
  Scope sc;
  sc.red.resize(s_.stages.size());
  sc.value.resize(n_);
  sc.hoisted.resize(n_);
  sc.base.assign(p_.args.size(), -1);
  sc.at = at;
  sc.mask = mask;
  return sc;
}

Body BodyEmitter::make_body(std::string* out, Scope* sc, const std::string& at, int mask) {
  Body b;
  b.out = out;
  b.scope = sc;
  b.at = at;
  b.mask = mask;
  b.value.resize(n_);
  return b;
}

// ---- Red instructions

std::string BodyEmitter::row_pointer(int a, Scope* sc) {
  if (sc->base[a] < 0) {
    std::string& o = sc->red[0];
    sc->base[a] = gep(o, elem_type(a), arg(a), rows_ ? i64(o, "mul", sc->at, rstride(a)) : sc->at);
  }
  return v(sc->base[a]);
}

void BodyEmitter::red_instr(int i, int k, Scope* sc) {
  const Instr& in = p_.code[i];
  if (in.kind == InstrKind::Op) {
    sc->value[i] = op(i, nullptr, sc);
    return;
  }
  bool vec = !rows_;
  int a = in.kind == InstrKind::Load ? in.a : in.dst;
  ArgClass cls = p_.args[a].cls;
  if (in.kind == InstrKind::Load && cls == ArgClass::Uni) {
    sc->value[i] = load(uniform_, p_.regs[in.dst], false, arg(a), -1, kUniform);
    return;
  }
  if (!(cls == ArgClass::Vec || (rows_ && cls == ArgClass::Maj)))
    fail("jit", "an operand whose class does not fit its level", print_instr(i));
  std::string ptr = row_pointer(a, sc);
  if (in.kind == InstrKind::Load) {
    sc->value[i] = load(sc->red[0], p_.regs[in.dst], vec, ptr, sc->mask, kRed);
  } else {
    Val x = as(value(s_.source[0][i], nullptr, sc), vec, nullptr, sc);
    store(sc->red[k], x, vec, ptr, sc->mask);
  }
}

// ---- bodies of loops

std::string BodyEmitter::element(int a, Body& b) {
  std::string base = row_pointer(a, b.scope);
  if (rows_ && p_.runs) {
    std::string& o = *b.out;
    if (b.runs.empty()) {
      const int at = t_.fresh(), runs = t_.fresh(), wide = t_.fresh();
      put(o, "  %v", at, " = trunc i64 ", b.at, " to i32\n  %v", runs, " = udiv i32 %v", at, ", %run\n");
      put(o, "  %v", wide, " = zext i32 %v", runs, " to i64\n");
      b.runs = v(wide);
    }
    base = v(gep(o, elem_type(a), base, i64(o, "mul", b.runs, gap(a))));
  }
  if (rows_) return v(gep(*b.out, elem_type(a), base, b.at));
  return v(gep(*b.out, elem_type(a), base, major_offset(a, b)));
}

std::string BodyEmitter::major_offset(int a, Body& b) {
  int& off = (*b.row_offset)[a];
  if (off < 0) {
    off = t_.fresh();
    put(*b.out, "  %v", off, " = mul i64 ", b.at, ", ", rstride(a), "\n");
  }
  return v(off);
}

std::string BodyEmitter::slot_address(int k, Body& b) {
  std::string at = rows_ ? b.at : i64(*b.out, "mul", b.at, kLanes);
  return v(gep(*b.out, memory_type(s_.slots[k]), v(slots_[k]), at));
}

Val BodyEmitter::load_index(int a, Body& b) {
  std::string base = v(index_[a][0]), rs = v(index_[a][1]), cs = v(index_[a][2]);
  if (step_[a] < 0) {
    int all = splat(uniform_, make(index_[a][2], DType::I64, false, kUniform));
    step_[a] = t_.fresh();
    put(uniform_, "  %v", step_[a], " = mul <16 x i64> %v", all, ", <");
    for (int l = 0; l < kLanes; ++l) put(uniform_, l ? ", i64 " : "i64 ", l);
    put(uniform_, ">\n");
  }
  // base + r rs + c cs of the first lane
  Scope* sc = b.scope;
  if (sc->base[a] < 0) {
    std::string& o = sc->red[0];
    std::string part = i64(o, "mul", sc->at, rows_ ? rs : cs);
    sc->base[a] = t_.fresh();
    put(o, "  %v", sc->base[a], " = add i64 ", base, ", ", part, "\n");
  }
  std::string& o = *b.out;
  std::string part = i64(o, "mul", b.at, rows_ ? cs : rs);
  int first = t_.fresh();
  put(o, "  %v", first, " = add i64 %v", sc->base[a], ", ", part, "\n");
  int all = splat(o, make(first, DType::I64, false, kBody)), id = t_.fresh();
  put(o, "  %v", id, " = add <16 x i64> %v", all, ", %v", step_[a], "\n");
  return make(id, DType::I64, true, kBody);
}

Val BodyEmitter::load_elem(int i, Body& b) {
  const Instr& in = p_.code[i];
  DType t = p_.regs[in.dst];
  switch (p_.args[in.a].cls) {
    case ArgClass::Vec: return load(*b.out, t, true, element(in.a, b), b.mask, kBody);
    case ArgClass::Index: return load_index(in.a, b);
    case ArgClass::Uni:
      if (!uni_[i].valid()) uni_[i] = load(uniform_, t, false, arg(in.a), -1, kUniform);
      return uni_[i];
    default: break;
  }
  Scope* sc = b.scope;
  if (rows_) {
    if (!sc->value[i].valid()) sc->value[i] = load(sc->red[0], t, false, row_pointer(in.a, sc), -1, kRed);
    return sc->value[i];
  }
  int at = gep(*b.out, elem_type(in.a), arg(in.a), major_offset(in.a, b));
  Val x = load(*b.out, t, false, v(at), -1, kBody);
  return make(splat(*b.out, x), t, true, kBody);
}

void BodyEmitter::emit_body(const Stage& st, Body& b) {
  std::string& o = *b.out;
  int nth = 0;
  std::string lane;
  for (const Step& step : st.steps) {
    const Instr& in = p_.code[step.instr];
    Val& y = b.value[step.instr];
    switch (step.kind) {
      case Step::Compute:
        y = in.kind == InstrKind::Load ? load_elem(step.instr, b) : op(step.instr, &b, b.scope);
        break;
      case Step::ReadOutput: y = load(o, type_of(p_, in), true, element(step.where, b), b.mask, kBody); break;
      case Step::ReadSpill: y = load(o, type_of(p_, in), true, slot_address(step.where, b), -1, kBody); break;
      case Step::Spill: store(o, as(y, true, &b, b.scope), true, slot_address(step.where, b), -1); break;
      case Step::Store: {
        Val x = as(value(s_.source[0][step.instr], &b, b.scope), true, &b, b.scope);
        store(o, x, true, element(in.dst, b), b.mask);
        break;
      }
      case Step::Reduce: {
        Val x = as(value(s_.source[0][step.instr], &b, b.scope), true, &b, b.scope);
        if (rows_) accumulate(b, step.instr, nth, x);
        else accumulate_lane(b, step.instr, nth, x, lane);
        ++nth;
      }
    }
  }
}

void BodyEmitter::accumulate(Body& b, int i, int nth, const Val& x) {
  std::string& o = *b.out;
  ReduceKind kind = reduce_kind(i);
  auto keep = [&](Val& acc, Val next) {
    if (b.mask >= 0) next = t_.select(o, make(b.mask, DType::Bool, true, kBody), next, acc, true);
    acc = next;
  };
  Val& acc = b.acc[nth];
  if (b.nan.empty() || !b.nan[nth].valid()) return keep(acc, t_.combine(o, kind, acc, x, true));
  Val beyond = t_.compare(o, kind == ReduceKind::Max ? "fcmp ogt" : "fcmp olt", acc, x, true);
  keep(acc, t_.select(o, beyond, acc, x, true));
  Val nan = t_.compare(o, "fcmp uno", x, x, true);
  keep(b.nan[nth], t_.select(o, nan, x, b.nan[nth], true));
}

void BodyEmitter::accumulate_lane(Body& b, int i, int nth, const Val& x, std::string& lane) {
  std::string& o = *b.out;
  if (lane.empty()) lane = i64(o, "and", b.at, kLanes - 1);
  std::string ty = type(x.type, true);
  int at = gep(o, ty.c_str(), v(b.lanes[nth]), lane), old = t_.fresh();
  put(o, "  %v", old, " = load ", ty, ", ptr %v", at, "\n");
  Val next = t_.combine(o, reduce_kind(i), make(old, x.type, true, kBody), x, true);
  put(o, "  store ", ty, " %v", next.id, ", ptr %v", at, "\n");
}

bool BodyEmitter::small(const Stage& st) const {
  int64_t nodes = 0;
  for (const Step& s : st.steps) {
    const Instr& in = p_.code[s.instr];
    bool op = s.kind == Step::Compute && in.kind == InstrKind::Op;
    nodes += op ? static_cast<int64_t>(expr_for(in.op, in.type, p_.regs[in.dst])->nodes.size()) - in_count(in) : 1;
  }
  return nodes <= kSmallBody;
}

}  // namespace pd::ir
