// Kernels without reductions: a thread takes a few neighbouring elements at a time.
#include "fuse/cuda/printer.h"
#include "fuse/cuda/text.h"
#include "ops/exprs.h"

#include "base/error.h"

namespace pd::cuda {

void Printer::compute(int i, const char* indent, std::string& out) {
  const Instr& in = code(i);
  std::vector<std::string> operands;
  for (int k = 0; k < 3; ++k)
    if (source_[k][static_cast<size_t>(i)] >= 0) operands.push_back(operand(i, k));
  const DType result = result_type(i);
  const char* instruction = traits(in.op).is_cast ? conversion(in.type, result) : nullptr;
  if (instruction) {
    name(i) = fresh("t");
    put(out, indent, "const ", type_name(result), " ", name(i), " = ", instruction, "(", operands[0], ");\n");
    return;
  }
  const ExprTree* tree = expr_for(in.op, in.type, result);
  if (!tree) fail("cuda", "no expression for this op and type", std::string(traits(in.op).name) + " " + name_of(in.type));
  name(i) = print_tree(*tree, operands, indent, &next_, out);
}

namespace {

class Elementwise : Printer {
 public:
  Elementwise(const Program& p, const Form& f) : Printer(p, f) {}

  std::string run(const std::string& name) {
    std::string out;
    open(out, at_.by_address() ? "PD_DEVICE void work(const PdParams* __restrict__ where, const I first, const I threads)"
                               : "PD_DEVICE void work(const PdParams& P, const I first, const I threads)");
    uniform(out);
    const std::vector<std::string> uniforms = name_;
    put(out, "  const I total = (I)", param(at_.major_total), ";\n");
    if (f_.vector > 1) {
      put(out, "  const I groups = total / ", f_.vector, ";\n  for (I g = first; g < groups; g += threads) {\n",
          "    const I i = g * ", f_.vector, ";\n");
      elements(out, f_.vector);
      name_ = uniforms;
      put(out, "  }\n  for (I i = groups * ", f_.vector, " + first; i < total; i += threads) {\n");
    } else {
      put(out, "  for (I i = first; i < total; i += threads) {\n");
    }
    elements(out, 1);
    const bool far = at_.by_address();
    put(out, "  }\n}\nPD_KERNEL ", name, far ? taken() : "(const __grid_constant__ PdParams P)", " {\n  work(",
        far ? "where" : "P", ", (I)blockIdx.x * (I)blockDim.x + (I)threadIdx.x, (I)gridDim.x * (I)blockDim.x);\n}\n");
    many(out, name);
    return out;
  }

 private:
  // Several domains in one launch: segment s has blocks [start[s], start[s + 1]).
  void many(std::string& out, const std::string& name) const {
    if (f_.far) {
      // A binary search: the parameters are in memory, and there is no bound to the segments.
      put(out, "PD_KERNEL ", name, kManySuffix, "(const i64* __restrict__ table) {\n",
          "  const i64 count = table[0];\n  const i64* const start = table + 1;\n  i64 s = 0;\n",
          "  for (i64 end = count; end - s > 1;) {\n    const i64 mid = (s + end) / 2;\n",
          "    if ((i64)blockIdx.x >= start[mid]) s = mid;\n    else end = mid;\n  }\n",
          "  const i64 from = start[s], blocks = start[s + 1] - from;\n",
          "  work((const PdParams*)(table + 2 + count) + s, (I)((blockIdx.x - from) * blockDim.x + threadIdx.x), (I)(blocks * ",
          "blockDim.x));\n}\n");
      return;
    }
    const int room = segments_at_once(at_.count);
    if (room < 2) return;
    put(out, "struct PdMany { i64 count, start[", room + 1, "]; PdParams p[", room, "]; };\n", "PD_KERNEL ", name,
        kManySuffix, "(const __grid_constant__ PdMany T) {\n  int s = 0;\n",
        "  while (s + 1 < (int)T.count && (i64)blockIdx.x >= T.start[s + 1]) ++s;\n",
        "  const i64 from = T.start[s], blocks = T.start[s + 1] - from;\n",
        "  work(T.p[s], (I)((blockIdx.x - from) * blockDim.x + threadIdx.x), (I)(blocks * blockDim.x));\n}\n");
  }

  static const char* word(int bytes) {
    switch (bytes) {
      case 16: return "int4";
      case 8: return "int2";
      case 4: return "i32";
      default: return "u16";
    }
  }
  std::string copy(int vector, int a, const std::string& to, const std::string& from) const {
    const char* w = word(vector * static_cast<int>(size_of(arg_type(a))));
    return std::string("*(") + w + "*)(" + to + ") = *(const " + w + "*)(" + from + ");\n";
  }
  std::string where(int a, const std::string& shift) const {
    if (form(a).access == Access::Linear) return shift.empty() ? "i" : "i + " + shift;
    return offset(a, 0, f_.axes(), shift);
  }

  void elements(std::string& out, int vector) {
    const int n = static_cast<int>(p_.code.size());
    bool strided = false;
    for (const ArgForm& a : f_.args) strided |= a.access == Access::Strided || a.access == Access::Index || a.bounded;
    if (strided) coordinates(out, "    ", 0, f_.axes(), "i");
    if (vector == 1) {
      body(out, "    ", "", 1);
      return;
    }
    // Whole vectors first, so that their loads are under way together.
    for (int i = 0; i < n; ++i) {
      const Instr& in = code(i);
      if (in.kind == InstrKind::Load && !is_uniform(i) && form(in.a).whole) {
        put(out, "    alignas(16) ", memory_name(arg_type(in.a)), " x", i, "[", vector, "];\n    ",
            copy(vector, in.a, "x" + std::to_string(i), arg_name(in.a) + " + " + where(in.a, "")));
      }
      if (in.kind == InstrKind::Store && form(in.dst).whole)
        put(out, "    alignas(16) ", memory_name(arg_type(in.dst)), " y", i, "[", vector, "];\n");
    }
    put(out, "#pragma unroll\n    for (int u = 0; u < ", vector, "; ++u) {\n");
    body(out, "      ", "u", vector);
    put(out, "    }\n");
    for (int i = 0; i < n; ++i)
      if (code(i).kind == InstrKind::Store && form(code(i).dst).whole)
        put(out, "    ", copy(vector, code(i).dst, arg_name(code(i).dst) + " + " + where(code(i).dst, ""),
                              "y" + std::to_string(i)));
  }

  // One element: at i, or at i + shift.
  void body(std::string& out, const char* indent, const std::string& shift, int vector) {
    for (int i = 0; i < static_cast<int>(p_.code.size()); ++i) {
      const Instr& in = code(i);
      if (is_uniform(i)) continue;
      if (in.kind == InstrKind::Op) {
        compute(i, indent, out);
      } else if (in.kind == InstrKind::Load) {
        const DType t = arg_type(in.a);
        std::string value = load(in.a, where(in.a, shift), 0, f_.axes(), shift);
        if (vector > 1 && form(in.a).whole)
          value = std::string(t == DType::Bool ? "(bool)" : "") + "x" + std::to_string(i) + "[u]";
        name(i) = fresh("v");
        put(out, indent, "const ", type_name(t), " ", name(i), " = ", value, ";\n");
      } else if (in.kind == InstrKind::Store) {
        const std::string to = vector > 1 && form(in.dst).whole ? "y" + std::to_string(i) + "[u]"
                                                                 : arg_name(in.dst) + "[" + where(in.dst, shift) + "]";
        put(out, indent, to, " = ", operand(i, 0), ";\n");
      } else {
        fail("cuda", "a reduction in an elementwise kernel");
      }
    }
  }
};

}  // namespace

std::string elementwise_text(const Program& p, const Form& f, const std::string& name) {
  return Elementwise(p, f).run(name);
}

std::string kernel_text(const Program& p, const Form& f, const std::string& name) {
  return f.kind == Kind::Elementwise ? elementwise_text(p, f, name) : staged_text(p, f, name);
}

}  // namespace pd::cuda
