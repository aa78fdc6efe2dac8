#include "fuse/llvm_expr.h"

#include <cinttypes>
#include <cstdio>

#include "base/error.h"
#include "fuse/bits.h"

namespace pd::ir {

namespace {

bool is_float(DType t) { return t == DType::F32 || t == DType::F64; }

void add_id(std::string& s, int id) {
  s += "%v";
  s += std::to_string(id);
}

std::string suffix(DType t, bool vec) { return std::string(vec ? ".v16" : ".") + type_suffix(t); }

void add_literal(std::string& s, DType t, int64_t imm) {
  char buf[40];
  switch (t) {
    case DType::F32:  // printed as the double of equal value
      std::snprintf(buf, sizeof buf, "0x%016" PRIX64, static_cast<uint64_t>(bits_of<double>(value_of<float>(imm))));
      break;
    case DType::F64: std::snprintf(buf, sizeof buf, "0x%016" PRIX64, static_cast<uint64_t>(imm)); break;
    case DType::Bool: std::snprintf(buf, sizeof buf, "%s", (imm & 1) ? "true" : "false"); break;
    case DType::I32: std::snprintf(buf, sizeof buf, "%" PRId32, value_of<int32_t>(imm)); break;
    default: std::snprintf(buf, sizeof buf, "%" PRId64, imm); break;
  }
  s += buf;
}

}  // namespace

Val constant(DType t, int64_t bits) {
  Val v;
  v.type = t;
  v.konst = true;
  v.imm = bits;
  return v;
}

Val identity(ReduceKind k, DType t) { return constant(t, identity_bits(k, t)); }

const char* scalar_type(DType t) {
  switch (carrier_type(t)) {
    case DType::Bool: return "i1";
    case DType::I32: return "i32";
    case DType::I64:
    case DType::U64: return "i64";
    case DType::F32: return "float";
    case DType::F64: return "double";
    default: fail("jit", "no register of this type", name_of(t));
  }
}

const char* type_suffix(DType t) {
  switch (t) {
    case DType::F32: return "f32";
    case DType::F64: return "f64";
    default: return memory_type(t);
  }
}

const char* memory_type(DType t) {
  if (!is_narrow(t) && !is_bool(t)) return scalar_type(t);
  return size_of(t) == 1 ? "i8" : size_of(t) == 2 ? "i16" : "i32";
}

void add_type(std::string& s, DType t, bool vec, int lanes) {
  if (!vec) {
    s += scalar_type(t);
    return;
  }
  s += '<';
  s += std::to_string(lanes);
  s += " x ";
  s += scalar_type(t);
  s += '>';
}

void add_val(std::string& s, const Val& v, bool vec) {
  if (!v.konst) return add_id(s, v.id);
  if (!vec) return add_literal(s, v.type, v.imm);
  s += "splat (";
  s += scalar_type(v.type);
  s += ' ';
  add_literal(s, v.type, v.imm);
  s += ')';
}

namespace {
Val result(int id, DType t, bool vec) {
  Val v;
  v.id = id;
  v.type = t;
  v.vec = vec;
  return v;
}
}  // namespace

int Text::binary(std::string& s, const char* opcode, DType t, bool vec, const Val& a, const Val& b, int lanes) {
  int id = fresh();
  s += "  ";
  add_id(s, id);
  s += " = ";
  s += opcode;
  s += ' ';
  add_type(s, t, vec, lanes);
  s += ' ';
  add_val(s, a, vec);
  s += ", ";
  add_val(s, b, vec);
  s += '\n';
  return id;
}

Val Text::compare(std::string& s, const char* cond, const Val& a, const Val& b, bool vec, int lanes) {
  return result(binary(s, cond, a.type, vec, a, b, lanes), DType::Bool, vec);
}

Val Text::select(std::string& s, const Val& c, const Val& a, const Val& b, bool vec, int lanes) {
  int id = fresh();
  s += "  ";
  add_id(s, id);
  s += " = select ";
  add_type(s, DType::Bool, vec, lanes);
  s += ' ';
  add_val(s, c, vec);
  for (const Val* v : {&a, &b}) {
    s += ", ";
    add_type(s, a.type, vec, lanes);
    s += ' ';
    add_val(s, *v, vec);
  }
  s += '\n';
  return result(id, a.type, vec);
}

Val Text::call1(std::string& s, const char* name, const Val& a, bool vec) {
  std::string type;
  add_type(type, a.type, vec);
  std::string callee = std::string("@llvm.") + name + suffix(a.type, vec);
  declares.insert("declare " + type + " " + callee + "(" + type + ")");
  int id = fresh();
  s += "  ";
  add_id(s, id);
  s += " = call " + type + " " + callee + "(" + type + " ";
  add_val(s, a, vec);
  s += ")\n";
  return result(id, a.type, vec);
}

Val Text::cast(std::string& s, DType to, const Val& a, bool vec) {
  DType from = a.type;
  auto convert = [&](const char* opcode, const Val& v) {
    int id = fresh();
    s += "  ";
    add_id(s, id);
    s += " = ";
    s += opcode;
    s += ' ';
    add_type(s, v.type, vec);
    s += ' ';
    add_val(s, v, vec);
    s += " to ";
    add_type(s, to, vec);
    s += '\n';
    return result(id, to, vec);
  };
  if (to == DType::Bool) return compare(s, is_float(from) ? "fcmp une" : "icmp ne", a, constant(from, 0), vec);
  if (is_float(to)) {
    if (is_float(from)) return convert(to == DType::F64 ? "fpext" : "fptrunc", a);
    return convert(from == DType::Bool || from == DType::U64 ? "uitofp" : "sitofp", a);
  }
  if (!is_float(from)) {
    if (from != DType::Bool && size_of(from) == size_of(to)) {  // int64 and uint64: the same bits
      Val same = a;
      same.type = to;
      return same;
    }
    return convert(from == DType::Bool ? "zext" : size_of(to) == 8 ? "sext" : "trunc", a);
  }
  // As scalar.h does it; llvm.fptosi.sat says the same but vectors of it are taken apart on x86.
  double top = to == DType::I32 ? 2147483648.0 : 9223372036854775808.0;
  auto number = [&](double v) {
    return constant(from, from == DType::F32 ? bits_of<float>(static_cast<float>(v)) : bits_of<double>(v));
  };
  Val below = compare(s, "fcmp olt", a, number(top), vec), above = compare(s, "fcmp oge", a, number(-top), vec);
  Val inside = result(binary(s, "and", DType::Bool, vec, below, above), DType::Bool, vec);
  Val r = convert("fptosi", select(s, inside, a, number(0), vec));
  r = select(s, compare(s, "fcmp oge", a, number(top), vec), identity(ReduceKind::Min, to), r, vec);
  return select(s, compare(s, "fcmp olt", a, number(-top), vec), identity(ReduceKind::Max, to), r, vec);
}

// The divisor becomes 1 where division would trap: b = 0, and with a sign b = -1 under the smallest integer.
Val Text::divide(std::string& s, bool quotient, const Val& a, const Val& b, bool vec) {
  DType t = a.type;
  Val zero = compare(s, "icmp eq", b, constant(t, 0), vec);
  if (is_unsigned(t)) {
    Val safe = select(s, zero, constant(t, 1), b, vec);
    Val r = result(binary(s, quotient ? "udiv" : "urem", t, vec, a, safe), t, vec);
    return select(s, zero, quotient ? constant(t, -1) : a, r, vec);
  }
  Val minus = compare(s, "icmp eq", b, constant(t, -1), vec);
  Val bad = result(binary(s, "or", DType::Bool, vec, zero, minus), DType::Bool, vec);
  Val safe = select(s, bad, constant(t, 1), b, vec);
  Val r = result(binary(s, quotient ? "sdiv" : "srem", t, vec, a, safe), t, vec);
  if (!quotient) return select(s, zero, a, r, vec);
  Val negative = result(binary(s, "sub", t, vec, constant(t, 0), a), t, vec);
  r = select(s, minus, negative, r, vec);
  return select(s, zero, constant(t, -1), r, vec);
}

Val Text::combine(std::string& s, ReduceKind k, const Val& acc, const Val& x, bool vec, int lanes) {
  DType t = acc.type;
  bool f = is_float(t), no_sign = t == DType::Bool || is_unsigned(t);
  auto plain = [&](const char* opcode) { return result(binary(s, opcode, t, vec, acc, x, lanes), t, vec); };
  switch (k) {
    case ReduceKind::Sum: return plain(f ? "fadd" : t == DType::Bool ? "or" : "add");
    case ReduceKind::Prod: return plain(f ? "fmul" : t == DType::Bool ? "and" : "mul");
    case ReduceKind::Any: return plain("or");
    case ReduceKind::All: return plain("and");
    case ReduceKind::Max:
    case ReduceKind::Min: {
      bool max = k == ReduceKind::Max;
      Val take = compare(s, f ? (max ? "fcmp ogt" : "fcmp olt") : no_sign ? (max ? "icmp ugt" : "icmp ult")
                                                                      : (max ? "icmp sgt" : "icmp slt"),
                         acc, x, vec, lanes);
      if (f) {
        Val nan = compare(s, "fcmp uno", acc, acc, vec, lanes);
        take = result(binary(s, "or", DType::Bool, vec, take, nan, lanes), DType::Bool, vec);
      }
      return select(s, take, acc, x, vec, lanes);
    }
    default: fail("jit", "not a reduction");
  }
}

Val Text::node(std::string& s, const ExprNode& n, const Val& a, const Val& b, const Val& c, bool vec) {
  DType t = n.type;
  bool f = is_float(t), bit = t == DType::Bool;
  bool of = is_float(a.type), unsign = a.type == DType::Bool || is_unsigned(a.type);
  auto two = [&](const char* opcode) { return result(binary(s, opcode, t, vec, a, b), t, vec); };
  auto cmp = [&](const char* ff, const char* ii, const char* uu) {
    return compare(s, of ? ff : unsign ? uu : ii, a, b, vec);
  };
  auto shift = [&](const char* opcode) {
    return result(binary(s, opcode, t, vec, a, constant(t, n.imm)), t, vec);
  };
  auto bitcast = [&] {
    if (a.type == t) return a;
    int id = fresh();
    s += "  ";
    add_id(s, id);
    s += " = bitcast ";
    add_type(s, a.type, vec);
    s += ' ';
    add_val(s, a, vec);
    s += " to ";
    add_type(s, t, vec);
    s += '\n';
    return result(id, t, vec);
  };
  switch (n.op) {
    case Sc::Add: return two(f ? "fadd" : bit ? "or" : "add");
    case Sc::Sub: return two(f ? "fsub" : bit ? "xor" : "sub");
    case Sc::Mul: return two(f ? "fmul" : bit ? "and" : "mul");
    case Sc::Div: return two("fdiv");
    case Sc::Neg: {
      if (bit) return a;
      if (f && a.konst) {
        return constant(t, a.imm ^ (t == DType::F32 ? int64_t{0x80000000} : INT64_MIN));
      }
      if (!f) return result(binary(s, "sub", t, vec, constant(t, 0), a), t, vec);
      int id = fresh();
      s += "  ";
      add_id(s, id);
      s += " = fneg ";
      add_type(s, t, vec);
      s += ' ';
      add_val(s, a, vec);
      s += '\n';
      return result(id, t, vec);
    }
    case Sc::Fma: {
      std::string type;
      add_type(type, t, vec);
      std::string callee = "@llvm.fma" + suffix(t, vec);
      declares.insert("declare " + type + " " + callee + "(" + type + ", " + type + ", " + type + ")");
      int id = fresh();
      s += "  ";
      add_id(s, id);
      s += " = call " + type + " " + callee + "(";
      const char* comma = "";
      for (const Val* v : {&a, &b, &c}) {
        s += comma + type + " ";
        add_val(s, *v, vec);
        comma = ", ";
      }
      s += ")\n";
      return result(id, t, vec);
    }
    case Sc::Sqrt: return call1(s, "sqrt", a, vec);
    case Sc::Floor: return call1(s, "floor", a, vec);
    case Sc::Ceil: return call1(s, "ceil", a, vec);
    case Sc::Trunc: return call1(s, "trunc", a, vec);
    case Sc::Rint: return call1(s, "rint", a, vec);
    case Sc::Abs: {
      if (f) return call1(s, "fabs", a, vec);
      Val less = compare(s, "icmp slt", a, constant(t, 0), vec);
      return select(s, less, result(binary(s, "sub", t, vec, constant(t, 0), a), t, vec), a, vec);
    }
    case Sc::Lt: return cmp("fcmp olt", "icmp slt", "icmp ult");
    case Sc::Le: return cmp("fcmp ole", "icmp sle", "icmp ule");
    case Sc::Gt: return cmp("fcmp ogt", "icmp sgt", "icmp ugt");
    case Sc::Ge: return cmp("fcmp oge", "icmp sge", "icmp uge");
    case Sc::Eq: return cmp("fcmp oeq", "icmp eq", "icmp eq");
    case Sc::Ne: return cmp("fcmp une", "icmp ne", "icmp ne");
    case Sc::And: return two("and");
    case Sc::Or: return two("or");
    case Sc::Xor: return two("xor");
    case Sc::Not: return result(binary(s, "xor", t, vec, a, constant(t, bit ? 1 : -1)), t, vec);
    case Sc::Shl: return shift("shl");
    case Sc::Shr: return shift("lshr");
    case Sc::Sar: return shift(is_unsigned(t) ? "lshr" : "ashr");
    case Sc::Select: return select(s, a, b, c, vec);
    case Sc::Bits:
    case Sc::FromBits: return bitcast();
    case Sc::Cast: return cast(s, t, a, vec);
    case Sc::Quot: return divide(s, true, a, b, vec);
    case Sc::Rem: return divide(s, false, a, b, vec);
    default: fail("jit", "not an operation");
  }
}

}  // namespace pd::ir
