// Kernels with reductions: stages of loops over a row (Rows) or a strip of columns (Columns), between them the tree of
// fuse/program.h. Thread `lane` of kLanes has the elements of that lane in every stage, so what one stage wrote for a
// later one (spilled, or an output read back) was written by the thread that reads it.
#include <string>

#include "base/error.h"
#include "fuse/cuda/printer.h"
#include "fuse/cuda/text.h"
#include "fuse/stages.h"

namespace pd::cuda {

namespace {

class Staged : Printer {
 public:
  Staged(const Program& p, const Form& f)
      : Printer(p, f), s_(cut_stages(p)), rows_(f.kind == Kind::Rows), stored_(stored_reductions(p)) {}

  std::string run(const std::string& name) {
    std::string out;
    const int threads = rows_ ? std::max(kThreads, kLanes * f_.halves) : kStrip * kLanes;
    open(out, "PD_KERNEL __launch_bounds__(" + std::to_string(threads) + ") " + name + taken());
    uniform(out);
    put(out, "  const I R = (I)", param(at_.major_total), ", C = (I)", param(at_.minor_total), ";\n");
    shared(out);
    if (rows_) enter_rows(out);
    else enter_columns(out);
    bases(out);
    for (size_t k = 0; k < s_.stages.size(); ++k) {
      for (int i : s_.stages[k].before) red_instr(i, out);
      if (k + 1 < s_.stages.size()) stage(s_.stages[k], out);
    }
    if (rows_ && f_.halves > 1 && reduces()) put(out, "    __syncthreads();\n");
    put(out, "  }\n}\n");
    return out;
  }

 private:
  const Stages s_;
  const bool rows_;
  const std::vector<int> stored_;

  bool reduces() const {
    for (const Instr& i : p_.code)
      if (i.kind == InstrKind::Reduce) return true;
    return false;
  }
  // Float64 takes two registers a value, and its division a subroutine.
  bool wide_types() const {
    for (DType t : p_.regs)
      if (t == DType::F64) return true;
    return false;
  }
  ReduceKind kind(int i) const { return traits(code(i).op).reduce; }
  std::string shared_name(int i) const { return "s" + std::to_string(i); }
  // Axes that are walked within a row or strip, and those that stand still.
  int walk_first() const { return rows_ ? f_.majors : 0; }
  int walk_last() const { return rows_ ? f_.axes() : f_.majors; }
  int still_first() const { return rows_ ? 0 : f_.majors; }
  int still_last() const { return rows_ ? f_.majors : f_.axes(); }

  // ---- the kernel's start

  void shared(std::string& out) {
    if (!rows_ && reduces()) put(out, "  __shared__ i64 lanes[", kStrip * kLanes, "];\n");
    for (int i = 0; i < static_cast<int>(p_.code.size()); ++i) {
      if (code(i).kind != InstrKind::Reduce) continue;
      if (rows_ && f_.halves == 1) continue;
      put(out, "  __shared__ ", type_name(result_type(i)), " ", shared_name(i), "[",
          shared_items(f_), "];\n");
    }
    if (s_.slots.empty()) return;
    put(out, rows_ ? "  const i64 spill_length = ((i64)C + 15) / 16 * 16;\n" : "  const i64 spill_length = (i64)R * 32;\n");
    if (f_.spill_shared) put(out, "  PD_DYNAMIC_SHARED(spill_memory);\n  char* const spill_base = spill_memory");
    else put(out, "  char* const spill_base = (char*)", param(at_.spill));
    int bytes = 0;
    for (DType t : s_.slots) bytes += static_cast<int>(size_of(t));
    std::string region = rows_ ? "(i64)(threadIdx.x / " + std::to_string(kLanes * f_.halves) + ")" : "";
    if (!f_.spill_shared) {
      const std::string block = "(i64)blockIdx.x";
      region = rows_ ? "(" + block + " * (blockDim.x / " + std::to_string(kLanes * f_.halves) + ") + " + region + ")" : block;
    }
    if (!region.empty()) put(out, " + ", region, " * spill_length * ", bytes);
    put(out, ";\n");
    int before = 0;
    for (size_t k = 0; k < s_.slots.size(); ++k) {
      const char* type = memory_name(s_.slots[k]);
      put(out, "  ", type, "* const spill", static_cast<int>(k), " = (", type, "*)(spill_base + spill_length * ", before,
          ");\n");
      before += static_cast<int>(size_of(s_.slots[k]));
    }
  }

  void enter_rows(std::string& out) {
    const int group = kLanes * f_.halves;
    put(out, "  const int lane = threadIdx.x & 15, half = threadIdx.x % ", group, " / 16, sub = threadIdx.x / ", group,
        ";\n  const I here = blockDim.x / ", group, ";\n");
    if (f_.partial)
      put(out, "  const I pieces = (I)", param(at_.pieces), ", step = (I)", param(at_.step), ", all = R * pieces;\n");
    else
      put(out, "  const I all = R;\n");
    // The threads of a row that is not there do the last one again, and store nothing.
    put(out, "  for (I next = (I)blockIdx.x * here; next < all; next += (I)gridDim.x * here) {\n",
        "    const bool on = next + sub < all;\n    const I at = on ? next + sub : all - 1;\n");
    if (f_.partial)
      put(out, "    const I r = at / pieces, piece = at - r * pieces, from = piece * step;\n",
          "    const I to = C - from < step ? C : from + step;\n");
    else
      put(out, "    const I r = at, from = 0, to = C;\n");
    put(out, "    const I begin = from + half * ", kBlock, ", end = to - begin < ", kBlock, " ? to : begin + ", kBlock,
        ";\n    const int blocks = to - from <= ", kBlock, " ? 1 : (int)((to - from + ", kBlock - 1, ") / ", kBlock, ");\n");
    put(out, "    (void)blocks; (void)lane;\n");
    coordinates(out, "    ", 0, f_.majors, "r");
  }

  void enter_columns(std::string& out) {
    put(out, "  const int x = threadIdx.x, lane = threadIdx.y;\n");
    if (f_.partial)
      put(out, "  const I step = (I)", param(at_.step), ", piece = (I)blockIdx.y, from = piece * step;\n",
          "  const I to = R - from < step ? R : from + step;\n");
    else
      put(out, "  const I from = 0, to = R;\n");
    put(out, "  for (I next = (I)blockIdx.x * ", kStrip, "; next < C; next += (I)gridDim.x * ", kStrip, ") {\n",
        "    const bool on = next + x < C;\n    const I c = on ? next + x : C - 1;\n");
    coordinates(out, "    ", f_.majors, f_.axes(), "c");
  }

  // Offsets that stand still while a row or strip is walked.
  void bases(std::string& out) {
    for (int a = 0; a < static_cast<int>(p_.args.size()); ++a) {
      if (single(a)) continue;
      const std::string sum = offset(a, still_first(), still_last());
      put(out, "    const ", form(a).access == Access::Index ? "i64" : "I", " b", a, " = ", sum.empty() ? "0" : sum, ";\n");
    }
  }

  // ---- addresses

  std::string where(int a, bool walk) const {
    std::string at = "b" + std::to_string(a);
    if (walk) {
      const std::string more = offset(a, walk_first(), walk_last());
      if (!more.empty()) at += " + " + more;
    }
    return at;
  }
  std::string value_at(int a, bool walk) const {
    return walk ? load(a, where(a, true), 0, f_.axes()) : load(a, where(a, false), still_first(), still_last());
  }
  std::string spill_at(int slot) const {
    return "spill" + std::to_string(slot) + (rows_ ? "[c]" : "[(i64)r * 32 + x]");
  }

  // ---- one value for each row or column

  void red_instr(int i, std::string& out) {
    const Instr& in = code(i);
    if (is_uniform(i)) return;
    if (in.kind == InstrKind::Op) return compute(i, "    ", out);
    if (in.kind == InstrKind::Load) {
      name(i) = fresh("v");
      put(out, "    const ", type_name(result_type(i)), " ", name(i), " = ", value_at(in.a, false), ";\n");
      return;
    }
    const char* mine = rows_ ? "half == 0 && lane == 0" : "lane == 0";
    put(out, "    if (on && ", mine, ") ");
    const int reduce = source_[0][static_cast<size_t>(i)];
    if (f_.partial && reduce >= 0 && code(reduce).kind == InstrKind::Reduce) {
      int nth = 0;
      while (stored_[static_cast<size_t>(nth)] != reduce) ++nth;
      put(out, "((", type_name(result_type(reduce)), "*)", param(at_.partials + nth), ")[",
          rows_ ? "(i64)piece * R + r" : "(i64)piece * C + c", "]");
    } else {
      put(out, arg_name(in.dst), "[", where(in.dst, false), "]");
    }
    put(out, " = ", operand(i, 0), ";\n");
  }

  // ---- loops

  void stage(const Stage& st, std::string& out) {
    const std::vector<std::string> outer = name_;
    std::vector<std::string> acc;
    for (size_t k = 0; k < st.reduces.size(); ++k) acc.push_back(fresh("acc"));
    if (rows_) {
      declare(st, acc, "    ", out);
      put(out, "#pragma unroll ", wide_types() ? 2 : 4, "\n    for (I c = begin + lane; c < end; c += ", kLanes, ") {\n");
      walk(st, acc, "      ", out);
      put(out, "    }\n");
      name_ = outer;
      for (size_t k = 0; k < st.reduces.size(); ++k) fold_rows(st.reduces[k], acc[k], out);
      if (f_.halves > 1 && !st.reduces.empty()) put(out, "    __syncthreads();\n");
      for (size_t k = 0; k < st.reduces.size(); ++k) row_result(st.reduces[k], acc[k], out);
      return;
    }
    if (st.reduces.empty()) {
      put(out, "    for (I r = from + lane; r < to; r += ", kLanes, ") {\n");
      walk(st, acc, "      ", out);
      put(out, "    }\n");
      name_ = outer;
      return;
    }
    put(out, "    {\n    int blocks = 0;\n    for (I begin = from; begin < to || blocks == 0; begin += ", kBlock,
        ", ++blocks) {\n      const I end = to - begin < ", kBlock, " ? to : begin + ", kBlock, ";\n");
    declare(st, acc, "      ", out);
    put(out, "      for (I r = begin + lane; r < end; r += ", kLanes, ") {\n");
    walk(st, acc, "        ", out);
    put(out, "      }\n");
    name_ = outer;
    for (size_t k = 0; k < st.reduces.size(); ++k) fold_columns(st.reduces[k], acc[k], out);
    put(out, "    }\n    if (lane == 0) {\n");
    for (int i : st.reduces) combine_columns(i, out);
    put(out, "    }\n    __syncthreads();\n    }\n");
    for (int i : st.reduces) {
      name(i) = fresh("red");
      put(out, "    const ", type_name(result_type(i)), " ", name(i), " = ", shared_name(i), "[x];\n");
    }
  }

  void declare(const Stage& st, const std::vector<std::string>& acc, const char* indent, std::string& out) {
    for (size_t k = 0; k < st.reduces.size(); ++k) {
      const int i = st.reduces[k];
      put(out, indent, type_name(result_type(i)), " ", acc[k], " = ", identity(kind(i), result_type(i)), ";\n");
    }
  }

  // One element of the walk.
  void walk(const Stage& st, const std::vector<std::string>& acc, const char* indent, std::string& out) {
    coordinates(out, indent, walk_first(), walk_last(), rows_ ? "c" : "r");
    size_t nth = 0;
    for (const Step& step : st.steps) {
      const int i = step.instr;
      const Instr& in = code(i);
      auto declare_value = [&](const std::string& value) {
        name(i) = fresh("v");
        put(out, indent, "const ", type_name(type_of(p_, in)), " ", name(i), " = ", value, ";\n");
      };
      switch (step.kind) {
        case pd::Step::Compute:
          if (is_uniform(i)) break;
          if (in.kind == InstrKind::Op) compute(i, indent, out);
          else declare_value(value_at(in.a, true));
          break;
        case pd::Step::ReadOutput: {
          const std::string cast = arg_type(step.where) == DType::Bool ? "(bool)" : "";
          declare_value(cast + arg_name(step.where) + "[" + where(step.where, true) + "]");
          break;
        }
        case pd::Step::ReadSpill: declare_value((type_of(p_, in) == DType::Bool ? "(bool)" : "") + spill_at(step.where)); break;
        case pd::Step::Spill: put(out, indent, spill_at(step.where), " = ", name(i), ";\n"); break;
        case pd::Step::Store:
          put(out, indent, "if (on) ", arg_name(in.dst), "[", where(in.dst, true), "] = ", operand(i, 0), ";\n");
          break;
        case pd::Step::Reduce:
          put(out, indent, acc[nth], " = ", combine(kind(i), result_type(i), acc[nth], operand(i, 0)), ";\n");
          ++nth;
      }
    }
  }

  // Lanes l and l + h are combined, l on the left; then the blocks' results meet in shared memory.
  void fold_rows(int i, const std::string& acc, std::string& out) {
    const DType t = result_type(i);
    for (int h = kLanes / 2; h; h /= 2) {
      const std::string other = fresh("o");
      put(out, "    const ", type_name(t), " ", other, " = pd_shuffle(", acc, ", (threadIdx.x + ", h, ") & 31);\n    ", acc,
          " = ", combine(kind(i), t, acc, other), ";\n");
    }
    if (f_.halves > 1)
      put(out, "    if (lane == 0) ", shared_name(i), "[sub * ", kPieceBlocks, " + half] = ", acc, ";\n");
  }

  void row_result(int i, const std::string& acc, std::string& out) {
    const DType t = result_type(i);
    std::string value = acc;
    if (f_.halves > 1) {
      value = fresh("w");
      const std::string l = fresh("l"), r = fresh("r");
      put(out, "    ", type_name(t), " ", value, " = ", shared_name(i), "[sub * ", kPieceBlocks,
          " + (lane < blocks ? lane : 0)];\n    for (int m = blocks; m > 1; m = (m + 1) / 2) {\n      const ", type_name(t), " ",
          l, " = pd_shuffle(", value, ", (threadIdx.x & 16) + (2 * lane & 15)), ", r, " = pd_shuffle(", value,
          ", (threadIdx.x & 16) + (2 * lane + 1 & 15));\n      ", value, " = 2 * lane + 1 < m ? (",
          combine(kind(i), t, l, r), ") : ", l, ";\n    }\n");
    }
    name(i) = fresh("red");
    put(out, "    const ", type_name(t), " ", name(i), " = pd_shuffle(", value, ", threadIdx.x & 16);\n");
  }

  void fold_columns(int i, const std::string& acc, std::string& out) {
    const DType t = result_type(i);
    const std::string m = fresh("m"), type = type_name(t);
    const std::string mine = m + "[lane * 32 + x]", other = m + "[(lane + h) * 32 + x]";
    put(out, "      ", type, "* const ", m, " = (", type, "*)lanes;\n      ", mine, " = ", acc, ";\n      __syncthreads();\n",
        "      for (int h = 8; h; h /= 2) {\n        if (lane < h) ", mine, " = ", combine(kind(i), t, mine, other),
        ";\n        __syncthreads();\n      }\n      if (lane == 0) ", shared_name(i), "[blocks * 32 + x] = ", m, "[x];\n");
    // The next reduction may have another element size: nobody may still read.
    put(out, "      __syncthreads();\n");
  }

  void combine_columns(int i, std::string& out) {
    const std::string s = shared_name(i);
    put(out, "      for (int m = blocks; m > 1; m = (m + 1) / 2) {\n        for (int k = 0; k < m / 2; ++k) ", s,
        "[k * 32 + x] = ",
        combine(kind(i), result_type(i), s + "[2 * k * 32 + x]", s + "[(2 * k + 1) * 32 + x]"),
        ";\n        if (m & 1) ", s, "[m / 2 * 32 + x] = ", s, "[(m - 1) * 32 + x];\n      }\n");
  }
};

}  // namespace

std::string staged_text(const Program& p, const Form& f, const std::string& name) { return Staged(p, f).run(name); }

std::string combine_text(const Program& p, int reduce, const std::string& name, bool far) {
  const Instr& in = p.code[static_cast<size_t>(reduce)];
  const DType t = p.regs[static_cast<size_t>(in.dst)];
  const ReduceKind k = traits(in.op).reduce;
  const std::string type = type_name(t);
  std::string out;
  const std::string from = "const " + type + "*", to = std::string(memory_name(t)) + "*";
  if (far)
    put(out, "PD_KERNEL ", name, "(const i64* __restrict__ where) {\n  ", from, " const partial = (", from, ")where[0];\n  ", to,
        " const out = (", to, ")where[1];\n  const i64 pieces = where[2], kept = where[3];\n");
  else
    put(out, "PD_KERNEL ", name, "(", from, " partial, ", to, " out, i64 pieces, i64 kept) {\n");
  put(out, "  __shared__ ", type, " s[", kThreads, "];\n  const int t = threadIdx.x;\n  i64 chunk = 1;\n",
      "  while (chunk * ", kThreads, " < pieces) chunk *= 2;\n",
      "  const i64 from = t * chunk, n = pieces - from < chunk ? pieces - from : chunk;\n",
      "  for (i64 k = blockIdx.x; k < kept; k += gridDim.x) {\n",
      // Values that come one by one are combined in adjacent pairs, level by level.
      "    if (n > 0) {\n      ", type, " level[40];\n      int top = 0;\n      for (i64 i = 0; i < n; ++i) {\n        ", type,
      " v = partial[(from + i) * kept + k];\n        for (i64 j = i; j & 1; j >>= 1) {\n          --top;\n          v = ",
      combine(k, t, "level[top]", "v"), ";\n        }\n        level[top++] = v;\n      }\n",
      "      for (; top > 1; --top) level[top - 2] = ", combine(k, t, "level[top - 2]", "level[top - 1]"),
      ";\n      s[t] = level[0];\n    }\n    __syncthreads();\n",
      "    for (i64 m = (pieces + chunk - 1) / chunk; m > 1; m = (m + 1) / 2) {\n      ", type, " v = s[0];\n",
      "      if (t < m / 2) v = ", combine(k, t, "s[2 * t]", "s[2 * t + 1]"),
      ";\n      else if (t == m / 2 && (m & 1)) v = s[m - 1];\n      __syncthreads();\n      if (t < (m + 1) / 2) s[t] = v;\n",
      "      __syncthreads();\n    }\n    if (t == 0) out[k] = s[0];\n    __syncthreads();\n  }\n}\n");
  return out;
}

int shared_items(const Form& f) {
  return f.kind == Kind::Columns ? f.halves * kStrip : f.halves > 1 ? kThreads / (kLanes * 2) * kPieceBlocks : 0;
}

int64_t shared_bytes(const Program& p, const Form& f) {
  int64_t bytes = 0;
  for (const Instr& i : p.code)
    if (i.kind == InstrKind::Reduce)
      bytes += shared_items(f) * static_cast<int64_t>(size_of(p.regs[static_cast<size_t>(i.dst)]));
  return bytes + (f.kind == Kind::Columns ? kStrip * kLanes * 8 : 0);
}

int64_t spill_bytes(const Program& p, Kind kind, int64_t R, int64_t C) {
  int64_t each = 0;
  for (DType t : cut_stages(p).slots) each += static_cast<int64_t>(size_of(t));
  return each * (kind == Kind::Rows ? (C + kLanes - 1) / kLanes * kLanes : R * kStrip);
}

}  // namespace pd::cuda
