// What the texts of all kinds of kernels share: names, arguments, coordinates, instructions.
#pragma once
#include <string>
#include <vector>

#include "fuse/cuda/expr_text.h"
#include "fuse/cuda/form.h"

namespace pd::cuda {

inline void put_one(std::string& s, const char* t) { s += t; }
inline void put_one(std::string& s, const std::string& t) { s += t; }
inline void put_one(std::string& s, int t) { s += std::to_string(t); }
inline void put_one(std::string& s, int64_t t) { s += std::to_string(t); }
template <class... A> void put(std::string& s, const A&... a) { (put_one(s, a), ...); }

class Printer {
 protected:
  Printer(const Program& p, const Form& f) : p_(p), f_(f), at_(p, f), name_(p.code.size()) {
    def_.assign(p.regs.size(), -1);
    for (auto& s : source_) s.assign(p.code.size(), -1);
    for (size_t i = 0; i < p.code.size(); ++i) {
      const Instr& in = p.code[i];
      const int16_t regs[3] = {in.a, in.b, in.c};
      if (in.kind != InstrKind::Load)
        for (int k = 0; k < (in.kind == InstrKind::Op ? 3 : 1); ++k)
          if (regs[k] >= 0) source_[k][i] = def_[static_cast<size_t>(regs[k])];
      if (in.kind != InstrKind::Store) def_[static_cast<size_t>(in.dst)] = static_cast<int>(i);
    }
  }

  // How a kernel takes its parameters: as such, or where they are too many by their address.
  const char* taken() const { return at_.by_address() ? "(const PdParams* __restrict__ where)" : "(const PdParams P)"; }
  static std::string param(int k) { return "P.v[" + std::to_string(k) + "]"; }
  const ArgForm& form(int a) const { return f_.args[static_cast<size_t>(a)]; }
  const Params::Arg& place(int a) const { return at_.args[static_cast<size_t>(a)]; }
  DType arg_type(int a) const { return p_.args[static_cast<size_t>(a)].dtype; }
  const Instr& code(int i) const { return p_.code[static_cast<size_t>(i)]; }
  DType result_type(int i) const { return p_.regs[static_cast<size_t>(code(i).dst)]; }
  // One value for the whole kernel.
  bool single(int a) const {
    return form(a).access == Access::Cell || (form(a).access == Access::Number && !form(a).bounded);
  }
  static std::string arg_name(int a) { return "a" + std::to_string(a); }
  std::string operand(int i, int k) const { return name_[static_cast<size_t>(source_[k][static_cast<size_t>(i)])]; }
  std::string& name(int i) { return name_[static_cast<size_t>(i)]; }
  std::string fresh(const char* stem) { return stem + std::to_string(next_++); }

  // Bits among the parameters as a value.
  static std::string from_bits(DType t, const std::string& word) {
    switch (t) {
      case DType::Bool: return "((" + word + " & 1) != 0)";
      case DType::F32: return "__int_as_float((i32)" + word + ")";
      case DType::F64: return "__longlong_as_double(" + word + ")";
      case DType::I32: return "(i32)" + word;
      case DType::I64: return word;
      case DType::U64: return "(u64)" + word;
      default: return std::string("(") + type_name(t) + ")(" + memory_name(t) + ")" + word;
    }
  }

  // Up to the arguments' names; `head` is what stands before the body's brace.
  void open(std::string& out, const std::string& head) {
    put(out, value_helpers(), "struct PdParams { i64 v[", at_.count, "]; };\n", "typedef ", f_.wide ? "i64" : "i32", " I;\n",
        head, " {\n");
    if (at_.by_address()) put(out, "  const PdParams& P = *where;\n");
    for (int a = 0; a < static_cast<int>(p_.args.size()); ++a) {
      if (form(a).access == Access::Index || form(a).access == Access::Number || single(a)) continue;
      const bool output = p_.args[static_cast<size_t>(a)].output;
      const std::string type = std::string(output ? "" : "const ") + memory_name(arg_type(a)) + "*";
      put(out, "  ", type, " __restrict__ const ", arg_name(a), " = (", type, ")", param(place(a).base), ";\n");
    }
  }

  // Loads of single values, and what is computed of them alone.
  void uniform(std::string& out) {
    for (int i = 0; i < static_cast<int>(p_.code.size()); ++i) {
      const Instr& in = code(i);
      if (in.kind == InstrKind::Load && single(in.a)) {
        const DType t = arg_type(in.a);
        const std::string word = param(place(in.a).base);
        name(i) = fresh("one");
        put(out, "  const ", type_name(t), " ", name(i), " = ",
            form(in.a).access == Access::Number ? from_bits(t, word)
                                                : std::string("*(const ") + memory_name(t) + "*)" + word,
            ";\n");
      } else if (in.kind == InstrKind::Op && in.level == Level::Uniform) {
        compute(i, "  ", out);
      }
    }
  }
  bool is_uniform(int i) const {
    const Instr& in = code(i);
    return (in.kind == InstrKind::Load && single(in.a)) || (in.kind == InstrKind::Op && in.level == Level::Uniform);
  }

  void compute(int i, const char* indent, std::string& out);

  static std::string coordinate(int axis) { return "c" + std::to_string(axis); }
  // Coordinates of axes [first, last) of flattened index `index`.
  void coordinates(std::string& out, const char* indent, int first, int last, const std::string& index) {
    if (first == last) return;
    std::string rest = index;
    for (int k = last - 1; k > first; --k) {
      const std::string size = "(I)" + param(at_.dims + k), q = fresh("q");
      put(out, indent, "const I ", q, " = ", rest, " / ", size, ", ", coordinate(k), " = ", rest, " - ", q, " * ", size,
          ";\n");
      rest = q;
    }
    put(out, indent, "const I ", coordinate(first), " = ", rest, ";\n");
  }

  // Sum of coordinate times stride over axes [first, last) of an argument; empty where it is 0. `shift` is added to
  // the last axis' coordinate.
  std::string offset(int a, int first, int last, const std::string& shift = "") const {
    const ArgForm& g = form(a);
    const bool wide = g.access == Access::Index;
    std::string sum;
    for (int k = first; k < last; ++k) {
      if (!wide && (k < f_.majors ? !g.major : !g.minor)) continue;
      const bool inner = k == f_.axes() - 1;
      if (inner && !wide && g.inner == 0) continue;
      std::string c = coordinate(k);
      if (inner && !shift.empty()) c = "(" + c + " + " + shift + ")";
      if (!sum.empty()) sum += " + ";
      if (wide) sum += "(i64)" + c + " * " + param(place(a).strides + k);
      else if (inner && g.inner == 1) sum += c;
      else sum += c + " * (I)" + param(place(a).strides + k);
    }
    return sum;
  }

  // The value of argument a at the coordinates at hand, the element lying at `where`.
  std::string load(int a, const std::string& where, int first, int last, const std::string& shift = "") const {
    const DType t = arg_type(a);
    const ArgForm& g = form(a);
    std::string value = param(place(a).base);
    if (g.access == Access::Number) {
      value = from_bits(t, value);
    } else if (g.access == Access::Index) {
      if (!where.empty()) value += " + " + where;
    } else {
      value = (t == DType::Bool ? "(bool)" : "") + arg_name(a) + "[" + (where.empty() ? "0" : where) + "]";
    }
    if (!g.bounded) return value;
    std::string inside;
    for (int k = 0; k < f_.axes(); ++k) {
      if (!inside.empty()) inside += " && ";
      const std::string lo = "(I)" + param(place(a).lo + k), hi = "(I)" + param(place(a).hi + k);
      // A bound that nothing meets may stand on any axis, on one that stands still here too (fuse/lower.cpp).
      if (k < first || k >= last) {
        inside += lo + " <= " + hi;
        continue;
      }
      std::string c = coordinate(k);
      if (k == f_.axes() - 1 && !shift.empty()) c = "(" + c + " + " + shift + ")";
      inside += c + " >= " + lo + " && " + c + " < " + hi;
    }
    return "(" + inside + ") ? " + value + " : " + from_bits(t, param(place(a).fill));
  }

  const Program& p_;
  const Form& f_;
  Params at_;
  std::vector<std::string> name_;  // of each instruction's value where the text now is
  std::vector<int> def_, source_[3];
  int next_ = 0;
};

std::string elementwise_text(const Program& p, const Form& f, const std::string& name);
std::string staged_text(const Program& p, const Form& f, const std::string& name);  // Rows and Columns

}  // namespace pd::cuda
