#include "fuse/cuda/expr_text.h"

#include <cinttypes>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "fuse/bits.h"
#include "ops/exprs.h"

namespace pd::cuda {

namespace {

const char* const kHelpers = R"cuda(
PD_DEVICE i32 pd_i32(f32 a) {
  const i32 r = (i32)(a < 2147483648.0f && a >= -2147483648.0f ? a : 0.0f);
  return a < -2147483648.0f ? -2147483647 - 1 : a >= 2147483648.0f ? 2147483647 : r;
}
PD_DEVICE i32 pd_i32(f64 a) {
  const i32 r = (i32)(a < 2147483648.0 && a >= -2147483648.0 ? a : 0.0);
  return a < -2147483648.0 ? -2147483647 - 1 : a >= 2147483648.0 ? 2147483647 : r;
}
PD_DEVICE i64 pd_i64(f32 a) {
  const i64 r = (i64)(a < 9223372036854775808.0f && a >= -9223372036854775808.0f ? a : 0.0f);
  return a < -9223372036854775808.0f ? -9223372036854775807LL - 1
                                     : a >= 9223372036854775808.0f ? 9223372036854775807LL : r;
}
PD_DEVICE i64 pd_i64(f64 a) {
  const i64 r = (i64)(a < 9223372036854775808.0 && a >= -9223372036854775808.0 ? a : 0.0);
  return a < -9223372036854775808.0 ? -9223372036854775807LL - 1
                                    : a >= 9223372036854775808.0 ? 9223372036854775807LL : r;
}
PD_DEVICE f32 pd_from_bfloat(i32 a) { return __int_as_float(a << 16); }
PD_DEVICE i32 pd_quot(i32 a, i32 b) { return b == 0 ? -1 : b == -1 ? (i32)(0u - (u32)a) : a / b; }
PD_DEVICE i64 pd_quot(i64 a, i64 b) { return b == 0 ? -1 : b == -1 ? (i64)(0ull - (u64)a) : a / b; }
PD_DEVICE u64 pd_quot(u64 a, u64 b) { return b == 0 ? ~0ull : a / b; }
PD_DEVICE i32 pd_rem(i32 a, i32 b) { return b == 0 ? a : b == -1 ? 0 : a % b; }
PD_DEVICE i64 pd_rem(i64 a, i64 b) { return b == 0 ? a : b == -1 ? 0 : a % b; }
PD_DEVICE u64 pd_rem(u64 a, u64 b) { return b == 0 ? a : a % b; }
PD_DEVICE f32 pd_shuffle(f32 v, int lane) { return __shfl_sync(PD_ALL, v, lane); }
PD_DEVICE f64 pd_shuffle(f64 v, int lane) { return __shfl_sync(PD_ALL, v, lane); }
PD_DEVICE i32 pd_shuffle(i32 v, int lane) { return __shfl_sync(PD_ALL, v, lane); }
PD_DEVICE i64 pd_shuffle(i64 v, int lane) { return __shfl_sync(PD_ALL, v, lane); }
PD_DEVICE u64 pd_shuffle(u64 v, int lane) { return __shfl_sync(PD_ALL, v, lane); }
PD_DEVICE bool pd_shuffle(bool v, int lane) { return __shfl_sync(PD_ALL, (int)v, lane) != 0; }
)cuda";

// The conversions that a GPU has an instruction for; elsewhere, and on the host, what vmath/narrow.h says.
struct Instruction {
  DType from, to;
  const char *name, *text;
};
const Instruction kInstructions[] = {
    {DType::F16, DType::F32, "pd_from_half", R"(f32 r; asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"((u16)x)); return r;)"},
    {DType::F32, DType::F16, "pd_to_half", R"(u16 r; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r;)"},
    {DType::F32, DType::BF16, "pd_to_bfloat", R"(u16 r; asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x)); return r;)"},
};

bool is_float(DType t) { return t == DType::F32 || t == DType::F64; }

const char* unsigned_name(DType t) { return t == DType::I32 ? "u32" : "u64"; }

// Wraps around in integers.
std::string arithmetic(DType t, const char* op, const std::string& a, const std::string& b) {
  if (is_float(t)) return a + " " + op + " " + b;
  const std::string u = unsigned_name(t);
  return std::string("(") + type_name(t) + ")((" + u + ")" + a + " " + op + " (" + u + ")" + b + ")";
}

std::string negated(DType t, const std::string& a) {
  if (t == DType::Bool) return a;
  if (is_float(t)) return "-" + a;
  return std::string("(") + type_name(t) + ")(0 - (" + unsigned_name(t) + ")" + a + ")";
}

std::string bitwise(DType t, const char* op, const std::string& a, const std::string& b) {
  const std::string e = a + " " + op + " " + b;
  return t == DType::Bool ? "(bool)(" + e + ")" : e;
}

std::string shift(DType t, const ExprNode& n, const std::string& a) {
  const std::string k = std::to_string(n.imm);
  if (n.op == Sc::Sar) return a + " >> " + k;
  return std::string("(") + type_name(t) + ")((" + unsigned_name(t) + ")" + a + (n.op == Sc::Shl ? " << " : " >> ") +
         k + ")";
}

std::string converted(DType to, DType from, const std::string& a) {
  if (to == DType::Bool) return a + " != 0";
  if (is_float(from) && !is_float(to)) return (to == DType::I32 ? "pd_i32(" : "pd_i64(") + a + ")";
  return std::string("(") + type_name(to) + ")" + a;
}

std::string call(DType t, const char* name, const std::string& a) {
  return name + std::string(t == DType::F32 ? "f(" : "(") + a + ")";
}

}  // namespace

const char* type_name(DType t) {
  switch (carrier_type(t)) {
    case DType::Bool: return "bool";
    case DType::I32: return "i32";
    case DType::I64: return "i64";
    case DType::U64: return "u64";
    case DType::F32: return "f32";
    case DType::F64: return "f64";
    default: fail("cuda", "no register of this type", name_of(t));
  }
}

const char* memory_name(DType t) {
  switch (t) {
    case DType::Bool:
    case DType::U8: return "u8";
    case DType::I8: return "i8";
    case DType::I16: return "i16";
    case DType::U16:
    case DType::F16:
    case DType::BF16: return "u16";
    case DType::U32: return "u32";
    default: return type_name(t);
  }
}

std::string literal(DType t, int64_t bits) {
  char buf[64];
  switch (t) {
    case DType::Bool: return bits & 1 ? "true" : "false";
    case DType::I32:
      if (value_of<int32_t>(bits) == INT32_MIN) return "(-2147483647 - 1)";
      std::snprintf(buf, sizeof buf, "%" PRId32, value_of<int32_t>(bits));
      break;
    case DType::I64:
      if (bits == INT64_MIN) return "(-9223372036854775807LL - 1)";
      std::snprintf(buf, sizeof buf, "%" PRId64 "LL", bits);
      break;
    case DType::U64: std::snprintf(buf, sizeof buf, "%" PRIu64 "ULL", static_cast<uint64_t>(bits)); break;
    case DType::F32: {
      const float v = value_of<float>(bits);
      if (std::isfinite(v)) std::snprintf(buf, sizeof buf, "%af", static_cast<double>(v));
      else std::snprintf(buf, sizeof buf, "__int_as_float(0x%08" PRIx32 ")", value_of<uint32_t>(bits));
      break;
    }
    default: {
      const double v = value_of<double>(bits);
      if (std::isfinite(v)) std::snprintf(buf, sizeof buf, "%a", v);
      else std::snprintf(buf, sizeof buf, "__longlong_as_double(0x%016" PRIx64 "LL)", static_cast<uint64_t>(bits));
    }
  }
  return buf[0] == '-' ? "(" + std::string(buf) + ")" : buf;
}

std::string combine(ReduceKind k, DType t, const std::string& acc, const std::string& x) {
  const bool bit = t == DType::Bool;
  switch (k) {
    case ReduceKind::Sum: return bit ? bitwise(t, "|", acc, x) : arithmetic(t, "+", acc, x);
    case ReduceKind::Prod: return bit ? bitwise(t, "&", acc, x) : arithmetic(t, "*", acc, x);
    case ReduceKind::Any: return bitwise(t, "|", acc, x);
    case ReduceKind::All: return bitwise(t, "&", acc, x);
    case ReduceKind::Max:
    case ReduceKind::Min: {
      const bool max = k == ReduceKind::Max;
      if (bit) return bitwise(t, max ? "|" : "&", acc, x);
      std::string left = acc + (max ? " > " : " < ") + x;
      if (is_float(t)) left += " || " + acc + " != " + acc;
      return left + " ? " + acc + " : " + x;
    }
    default: fail("cuda", "not a reduction");
  }
}

std::string identity(ReduceKind k, DType t) { return literal(t, identity_bits(k, t)); }

std::string print_tree(const ExprTree& tree, const std::vector<std::string>& in, const char* indent, int* next,
                       std::string& out) {
  std::vector<std::string> name(tree.nodes.size());
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    const ExprNode& n = tree.nodes[i];
    auto operand = [&](int32_t k) -> const std::string& { return name[static_cast<size_t>(k)]; };
    if (n.op == Sc::Input) {
      name[i] = in[static_cast<size_t>(n.a)];
      continue;
    }
    if (n.op == Sc::Const) {
      name[i] = literal(n.type, n.imm);
      continue;
    }
    const DType t = n.type, from = tree.nodes[static_cast<size_t>(n.a)].type;
    const std::string &a = operand(n.a), none, &b = n.b < 0 ? none : operand(n.b), &c = n.c < 0 ? none : operand(n.c);
    const bool f = is_float(t), bit = t == DType::Bool;
    std::string e;
    switch (n.op) {
      case Sc::Add: e = bit ? bitwise(t, "|", a, b) : arithmetic(t, "+", a, b); break;
      case Sc::Sub: e = bit ? bitwise(t, "^", a, b) : arithmetic(t, "-", a, b); break;
      case Sc::Mul: e = bit ? bitwise(t, "&", a, b) : arithmetic(t, "*", a, b); break;
      case Sc::Div: e = a + " / " + b; break;
      case Sc::Neg: e = negated(t, a); break;
      case Sc::Fma: e = call(t, "fma", a + ", " + b + ", " + c); break;
      case Sc::Sqrt: e = call(t, "sqrt", a); break;
      case Sc::Floor: e = call(t, "floor", a); break;
      case Sc::Ceil: e = call(t, "ceil", a); break;
      case Sc::Trunc: e = call(t, "trunc", a); break;
      case Sc::Rint: e = call(t, "rint", a); break;
      case Sc::Abs: e = f ? call(t, "fabs", a) : a + " < 0 ? " + negated(t, a) + " : " + a; break;
      case Sc::Lt: e = a + " < " + b; break;
      case Sc::Le: e = a + " <= " + b; break;
      case Sc::Gt: e = a + " > " + b; break;
      case Sc::Ge: e = a + " >= " + b; break;
      case Sc::Eq: e = a + " == " + b; break;
      case Sc::Ne: e = a + " != " + b; break;
      case Sc::And: e = bitwise(t, "&", a, b); break;
      case Sc::Or: e = bitwise(t, "|", a, b); break;
      case Sc::Xor: e = bitwise(t, "^", a, b); break;
      case Sc::Not: e = (bit ? "!" : "~") + a; break;
      case Sc::Shl:
      case Sc::Shr:
      case Sc::Sar: e = shift(t, n, a); break;
      case Sc::Select: e = a + " ? " + b + " : " + c; break;
      case Sc::Bits: e = from == t ? a : (from == DType::F32 ? "__float_as_int(" : "__double_as_longlong(") + a + ")"; break;
      case Sc::FromBits: e = (t == DType::F32 ? "__int_as_float(" : "__longlong_as_double(") + a + ")"; break;
      case Sc::Cast: e = converted(t, from, a); break;
      case Sc::Quot: e = "pd_quot(" + a + ", " + b + ")"; break;
      case Sc::Rem: e = "pd_rem(" + a + ", " + b + ")"; break;
      default: fail("cuda", "not an operation");
    }
    name[i] = "t" + std::to_string((*next)++);
    out += indent + std::string("const ") + type_name(t) + " " + name[i] + " = " + e + ";\n";
  }
  return name[static_cast<size_t>(tree.result)];
}

const std::string& value_helpers() {
  static const std::string all = [] {
    std::string s = kHelpers;
    for (const Instruction& i : kInstructions) {
      int next = 0;
      s += std::string("PD_DEVICE ") + type_name(i.to) + " " + i.name + "(" + type_name(i.from) + " x) {\n";
      // bfloat16 came with compute capability 8.0
      s += std::string("#if !defined(PD_HOST) && __CUDA_ARCH__ >= ") + (i.to == DType::BF16 ? "800" : "530") + "\n  ";
      s += i.text + std::string("\n#else\n");
      const std::string result = print_tree(*cast_expr(i.from, i.to), {"x"}, "  ", &next, s);
      s += "  return " + result + ";\n#endif\n}\n";
    }
    return s;
  }();
  return all;
}

const char* conversion(DType from, DType to) {
  for (const Instruction& i : kInstructions)
    if (i.from == from && i.to == to) return i.name;
  return nullptr;
}

}  // namespace pd::cuda
