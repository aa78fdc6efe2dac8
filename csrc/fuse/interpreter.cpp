#include "fuse/interpreter.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "fuse/broadcast.h"
#include "ops/loops.h"

namespace pd {
namespace {

// Copies of a single value that stand for an array operand; longer calls are cut to this length.
constexpr int64_t kCopies = 1024;
// Rows at least this long are worth one loop call each; shorter ones are first copied together.
constexpr int64_t kRowCall = 64;

// Elements of a slot: every slot starts on a cache line, and no two slots lie a multiple of 4 KiB apart.
int64_t padded(int64_t n) { return (n + 63) / 64 * 64 + 64; }

}  // namespace

struct Interpreted::Frame {
  int64_t R, C, n, red;  // red: count of the index that is not reduced
  int64_t elem_padded, red_padded;
  void* const* ptr;
  const int64_t* rstride;
  char* scratch;
  Reg* regs;
  bool careful;  // an output's memory is written before an input in the same memory was last read
};

Interpreted::Interpreted(const Program& p) : layout_(p.layout) {
  num_regs_ = static_cast<int>(p.regs.size());
  check(p);
  make_steps(p);
  place(p);
}

void Interpreted::check(const Program& p) const {
  for (const Arg& a : p.args)
    if (!has_kernels(a.dtype))
      fail("interpreter", "no loops for the storage type", name_of(a.dtype), "a cast to its compute type");
  for (const Instr& i : p.code)
    if (i.kind == InstrKind::Load && i.level == Level::Red && p.layout == Layout::Columns &&
        p.args[i.a].cls == ArgClass::Maj)
      fail("interpreter", "a value of each major in a Red register of columns");
}

void Interpreted::make_steps(const Program& p) {
  regs_.resize(p.regs.size());
  steps_.reserve(p.code.size());
  for (size_t r = 0; r < p.regs.size(); ++r) {
    regs_[r].level = p.levels[r];
    regs_[r].size = static_cast<uint8_t>(size_of(p.regs[r]));
    regs_[r].reduced_only = true;
  }
  for (const Instr& i : p.code) {
    Step s;
    s.kind = i.kind;
    s.level = i.level;
    s.cls = ArgClass::Vec;
    s.arity = 0;
    s.dst = i.dst;
    const int16_t in[3] = {i.a, i.b, i.c};
    for (int k = 0; k < 3; ++k) s.in[k] = in[k], s.size[k] = 0;
    switch (i.kind) {
      case InstrKind::Load:
        s.cls = p.args[i.a].cls;
        break;
      case InstrKind::Store:
        regs_[i.a].reduced_only = false;
        s.size[0] = regs_[i.a].size;
        break;
      case InstrKind::Reduce:
        s.reduce = reduce_loops(reduce_kind(i.op), p.regs[i.a]);
        s.size[0] = regs_[i.a].size;
        if (!s.reduce.rows) fail("interpreter", "no such reduction of the type", name_of(p.regs[i.a]));
        break;
      case InstrKind::Op: {
        while (s.arity < 3 && in[s.arity] >= 0) ++s.arity;
        const DType out = p.regs[i.dst];
        s.fn = loop_for(i.op, i.type, out);
        s.right_scalar = loop_for(i.op, i.type, out, LoopShape::RightScalar);
        s.left_scalar = loop_for(i.op, i.type, out, LoopShape::LeftScalar);
        if (!s.fn) fail("interpreter", "no loop of op " + std::to_string(i.op) + " for the type", name_of(i.type));
        for (int k = 0; k < s.arity; ++k) {
          RegInfo& g = regs_[in[k]];
          g.reduced_only = false;
          s.size[k] = g.size;
        }
        break;
      }
    }
    // A Uniform operand must be a block of copies but where a loop takes it as one value.
    for (int k = 0; k < s.arity; ++k) {
      if (i.level == Level::Uniform || regs_[in[k]].level != Level::Uniform) continue;
      const bool alone = s.arity == 2 && regs_[in[1 - k]].level == i.level;
      if (!alone || !(k ? s.right_scalar : s.left_scalar)) regs_[in[k]].spread = true;
    }
    const bool whole = i.level == Level::Uniform && (i.kind == InstrKind::Load || i.kind == InstrKind::Op);
    (whole ? uniform_steps_ : steps_).push_back(s);
  }
}

void Interpreted::place(const Program& p) {
  const int n = static_cast<int>(steps_.size());
  std::vector<int> last_use(regs_.size(), -1), made_at(regs_.size(), -1);
  std::vector<int> loaded_from(regs_.size(), -1), direct_at(p.args.size(), n), input_last(p.args.size(), -1);
  int64_t temp_size[3] = {0, 0, 0};
  for (int t = 0; t < n; ++t) {
    const Step& s = steps_[t];
    const bool reads = s.kind == InstrKind::Reduce || s.kind == InstrKind::Store;
    for (int k = 0; k < (reads ? 1 : s.arity); ++k) {
      last_use[s.in[k]] = t;
      // Broadcast to Elem in a temporary where rows are short, or where nothing but Elem will do.
      const bool lower = regs_[s.in[k]].level != Level::Elem;
      const bool spreads = lower && (s.kind == InstrKind::Reduce || s.level == Level::Elem);
      if (spreads) temp_size[k] = std::max<int64_t>(temp_size[k], s.size[k]);
    }
    if (s.kind != InstrKind::Store) made_at[s.dst] = t;
    if (s.kind == InstrKind::Load) loaded_from[s.dst] = s.in[0];
    if (s.kind == InstrKind::Store) {
      direct_at[s.dst] = t;
      RegInfo& g = regs_[s.in[0]];
      const int made = made_at[s.in[0]];
      if (s.level == Level::Elem && g.level == Level::Elem && g.direct < 0 && made >= 0 &&
          steps_[made].kind == InstrKind::Op && p.args[s.dst].cls == ArgClass::Vec) {
        g.direct = s.dst;
        direct_at[s.dst] = made;
      }
    }
  }
  for (size_t r = 0; r < regs_.size(); ++r)
    if (loaded_from[r] >= 0) input_last[loaded_from[r]] = std::max(input_last[loaded_from[r]], last_use[r]);
  for (size_t o = 0; o < p.args.size(); ++o)
    for (size_t i = 0; i < p.args.size(); ++i)
      if (p.args[o].output && !p.args[i].output && input_last[i] > direct_at[o])
        hazards_.push_back({static_cast<int16_t>(o), static_cast<int16_t>(i)});

  // Slots, shared by registers of one level and element size whose lives do not meet. An elementwise result may take
  // the slot of an operand that dies in it.
  std::vector<int64_t> free_slots[2][9];
  auto take = [&](const RegInfo& g) {
    const bool red = g.level == Level::Red;
    auto& pool = free_slots[red][g.size];
    if (!pool.empty()) {
      int64_t at = pool.back();
      pool.pop_back();
      return at;
    }
    int64_t& total = red ? red_bytes_ : elem_bytes_;
    total += g.size;
    return total - g.size;
  };
  for (int t = 0; t < n; ++t) {
    const Step& s = steps_[t];
    const bool reads = s.kind == InstrKind::Reduce || s.kind == InstrKind::Store;
    for (int k = 0; k < (reads ? 1 : s.arity); ++k) {
      const RegInfo& g = regs_[s.in[k]];
      bool again = false;
      for (int j = 0; j < k; ++j) again |= s.in[j] == s.in[k];
      if (last_use[s.in[k]] == t && !again && g.level != Level::Uniform)
        free_slots[g.level == Level::Red][g.size].push_back(g.slot);
    }
    if (s.kind == InstrKind::Store || regs_[s.dst].level == Level::Uniform) continue;
    RegInfo& g = regs_[s.dst];
    g.slot = take(g);
    if (last_use[s.dst] < 0) free_slots[g.level == Level::Red][g.size].push_back(g.slot);
  }
  for (int k = 0; k < 3; ++k) {
    temp_slot_[k] = elem_bytes_;
    elem_bytes_ += temp_size[k];
  }

  auto line = [](int64_t bytes) { return (bytes + 63) / 64 * 64; };
  head_bytes_ = line(num_regs_ * static_cast<int64_t>(sizeof(Reg)));
  for (RegInfo& g : regs_) {
    if (g.level != Level::Uniform) continue;
    g.slot = head_bytes_;
    head_bytes_ += line(g.size * (g.spread ? kCopies : 1));
  }
  row_blocks_ = head_bytes_;
  if (red_bytes_) head_bytes_ += 3 * kCopies * 8;
}

size_t Interpreted::scratch_bytes(int64_t R, int64_t C) const {
  const int64_t red = layout_ == Layout::Rows ? R : C;
  return static_cast<size_t>(head_bytes_ + elem_bytes_ * padded(R * C) + red_bytes_ * padded(red));
}

char* Interpreted::elem_slot(const Frame& f, int64_t slot) const {
  return f.scratch + head_bytes_ + slot * f.elem_padded;
}
char* Interpreted::red_slot(const Frame& f, int64_t slot) const {
  return f.scratch + head_bytes_ + elem_bytes_ * f.elem_padded + slot * f.red_padded;
}

void Interpreted::begin(int64_t R, int64_t C, void* const* ptr, void* scratch) const {
  if (uniform_steps_.empty()) return;
  char* base = static_cast<char*>(scratch);
  Reg* regs = static_cast<Reg*>(scratch);
  const int64_t copies = std::min(kCopies, std::max(std::max(R, C), R * C));
  for (const Step& s : uniform_steps_) {
    const RegInfo& g = regs_[s.dst];
    char* out = base + g.slot;
    regs[s.dst] = {out, 0};
    if (s.kind == InstrKind::Load) {
      std::memcpy(out, ptr[s.in[0]], g.size);
    } else {
      const void* in[3];
      for (int k = 0; k < s.arity; ++k) in[k] = regs[s.in[k]].p;
      s.fn(in, out, 1);
    }
    if (g.spread) fill(out, out, g.size, copies);
  }
}

void Interpreted::tile(int64_t R, int64_t C, void* const* ptr, const int64_t* rstride, void* scratch) const {
  const int64_t red = layout_ == Layout::Rows ? R : C;
  Frame f{R, C, R * C, red, padded(R * C), padded(red), ptr, rstride,
          static_cast<char*>(scratch), static_cast<Reg*>(scratch), false};
  for (const Hazard& h : hazards_) f.careful |= ptr[h.output] == ptr[h.input];
  for (const Step& s : steps_) {
    switch (s.kind) {
      case InstrKind::Load:
        load(s, f);
        break;
      case InstrKind::Op:
        op(s, f);
        break;
      case InstrKind::Reduce: {
        const Reg& g = f.regs[s.in[0]];
        const bool elem = regs_[s.in[0]].level == Level::Elem;
        const char* x = elem ? g.p : as_elem(f, s.in[0], 0);
        char* out = red_slot(f, regs_[s.dst].slot);
        f.regs[s.dst] = {out, 0};
        (layout_ == Layout::Rows ? s.reduce.rows : s.reduce.columns)(x, R, C, elem ? g.ld : C, out);
        break;
      }
      case InstrKind::Store:
        store(s, f);
        break;
    }
  }
}

void Interpreted::load(const Step& s, const Frame& f) const {
  const RegInfo& g = regs_[s.dst];
  Reg& reg = f.regs[s.dst];
  char* src = static_cast<char*>(f.ptr[s.in[0]]);
  const int64_t* map = reinterpret_cast<const int64_t*>(src);
  const int64_t rs = f.rstride[s.in[0]];
  if (g.level == Level::Red) {
    char* slot = red_slot(f, g.slot);
    const bool rows = layout_ == Layout::Rows;
    reg = {slot, 0};
    if (s.cls == ArgClass::Index) {
      fill_index(slot, 1, f.red, map[0], 0, rows ? map[1] : map[2]);
    } else if (s.cls == ArgClass::Uni) {
      fill(slot, src, g.size, f.red);
    } else if (!f.careful && (!rows || rs == 1 || f.R <= 1)) {
      reg.p = src;
    } else {
      copy_rows(slot, 1, src, rows ? rs : 1, f.red, 1, g.size);
    }
    return;
  }
  char* slot = elem_slot(f, g.slot);
  reg = {slot, f.C};
  switch (s.cls) {
    case ArgClass::Vec: {
      const int64_t ld = f.R <= 1 ? f.C : rs;
      if (!f.careful && (ld == f.C || f.C >= kRowCall || g.reduced_only)) reg = {src, ld};
      else if (ld == 0) repeat_row(slot, src, f.C * g.size, f.R);
      else copy_rows(slot, f.C, src, ld, f.R, f.C, g.size);
      break;
    }
    case ArgClass::Maj:
      spread_rows(slot, src, rs, f.R, f.C, g.size);
      break;
    case ArgClass::Uni:
      fill(slot, src, g.size, f.n);
      break;
    case ArgClass::Index:
      fill_index(slot, f.R, f.C, map[0], map[1], map[2]);
      break;
  }
}

// A register of a lower level as an (R, C) array.
const char* Interpreted::as_elem(const Frame& f, int16_t reg, int operand) const {
  const RegInfo& g = regs_[reg];
  char* temp = elem_slot(f, temp_slot_[operand]);
  if (g.level == Level::Uniform) fill(temp, f.regs[reg].p, g.size, f.n);
  else if (layout_ == Layout::Rows) spread_rows(temp, f.regs[reg].p, 1, f.R, f.C, g.size);
  else repeat_row(temp, f.regs[reg].p, f.C * g.size, f.R);
  return temp;
}

void Interpreted::op(const Step& s, const Frame& f) const {
  if (s.level == Level::Elem) return elem_op(s, f);
  const void* in[3];
  int64_t step[3] = {0, 0, 0};
  unsigned single = 0;
  for (int k = 0; k < s.arity; ++k) {
    in[k] = f.regs[s.in[k]].p;
    if (regs_[s.in[k]].level == Level::Uniform) single |= 1u << k;
    else step[k] = s.size[k];
  }
  char* out = red_slot(f, regs_[s.dst].slot);
  f.regs[s.dst] = {out, 0};
  LoopFn fn = s.fn;
  bool cut = single != 0;
  if (single == 2 && s.right_scalar) fn = s.right_scalar, cut = false;
  if (single == 1 && s.left_scalar) fn = s.left_scalar, cut = false;
  if (!cut) return fn(in, out, f.red);
  for (int64_t i = 0; i < f.red; i += kCopies) {
    const void* at[3];
    for (int k = 0; k < s.arity; ++k) at[k] = static_cast<const char*>(in[k]) + i * step[k];
    fn(at, out + i * regs_[s.dst].size, std::min(kCopies, f.red - i));
  }
}

// One call for the tile if all operands are (R, C) arrays or single values, else one a row; each of them cut into
// lengths of kCopies if a block of copies stands for an operand.
void Interpreted::elem_op(const Step& s, const Frame& f) const {
  const RegInfo& d = regs_[s.dst];
  Reg out{elem_slot(f, d.slot), f.C};
  if (d.direct >= 0 && !f.careful) {
    const int64_t ld = f.R <= 1 ? f.C : f.rstride[d.direct];
    if (ld == f.C || f.C >= kRowCall) out = {static_cast<char*>(f.ptr[d.direct]), ld};
  }
  f.regs[s.dst] = out;

  const char* in[3];
  int64_t row_step[3], step[3];  // bytes from row to row, and from element to element
  unsigned single = 0, of_row = 0;
  bool by_row = out.ld != f.C;
  for (int k = 0; k < s.arity; ++k) {
    const Reg& g = f.regs[s.in[k]];
    const Level level = regs_[s.in[k]].level;
    in[k] = g.p;
    step[k] = s.size[k];
    if (level == Level::Elem) {
      row_step[k] = g.ld * s.size[k];
      by_row |= g.ld != f.C;
    } else if (level == Level::Uniform) {
      row_step[k] = step[k] = 0;
      single |= 1u << k;
    } else if (layout_ == Layout::Rows ? f.C == 1 : f.R <= 1) {
      row_step[k] = f.C * s.size[k];
    } else if (f.C < kRowCall && f.R > 1) {
      in[k] = as_elem(f, s.in[k], k);
      row_step[k] = f.C * s.size[k];
    } else {
      by_row = true;
      row_step[k] = layout_ == Layout::Rows ? s.size[k] : 0;
      if (layout_ == Layout::Rows) {
        step[k] = 0;
        of_row |= 1u << k;
      }
    }
  }
  single |= of_row;
  LoopFn fn = s.fn;
  unsigned copies = single;
  if (single == 2 && s.right_scalar) fn = s.right_scalar, copies = 0;
  if (single == 1 && s.left_scalar) fn = s.left_scalar, copies = 0;

  const int64_t rows = by_row ? f.R : 1, n = by_row ? f.C : f.n;
  const int64_t length = copies ? kCopies : n;
  const int64_t out_step = d.size, out_row = out.ld * d.size;
  for (int64_t r = 0; r < rows; ++r) {
    const char* row[3];
    for (int k = 0; k < s.arity; ++k) {
      row[k] = in[k] + r * row_step[k];
      if (copies & of_row & (1u << k)) {
        char* block = f.scratch + row_blocks_ + k * kCopies * 8;
        fill(block, row[k], s.size[k], std::min(n, kCopies));
        row[k] = block;
      }
    }
    char* y = out.p + r * out_row;
    for (int64_t i = 0; i < n; i += length) {
      const void* at[3];
      for (int k = 0; k < s.arity; ++k) at[k] = row[k] + i * step[k];
      fn(at, y + i * out_step, std::min(length, n - i));
    }
  }
}

void Interpreted::store(const Step& s, const Frame& f) const {
  const Reg& g = f.regs[s.in[0]];
  const Level level = regs_[s.in[0]].level;
  const int64_t rs = f.rstride[s.dst];
  char* dst = static_cast<char*>(f.ptr[s.dst]);
  if (s.level == Level::Elem) {
    const int64_t ld = f.R <= 1 ? f.C : rs;
    if (level == Level::Elem && g.p == dst && g.ld == ld) return;
    const char* src = level == Level::Elem ? g.p : as_elem(f, s.in[0], 0);
    copy_rows(dst, ld, src, level == Level::Elem ? g.ld : f.C, f.R, f.C, s.size[0]);
  } else if (s.level == Level::Red) {
    const bool rows = layout_ == Layout::Rows;
    copy_rows(dst, rows ? rs : 1, g.p, level == Level::Red ? 1 : 0, f.red, 1, s.size[0]);
  } else {
    std::memcpy(dst, g.p, s.size[0]);
  }
}

}  // namespace pd
