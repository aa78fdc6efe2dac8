// A loop program as text: one line an instruction, r3:Elem = mul float32 r1 r2.
#include "fuse/program.h"

namespace pd {

namespace {
const char* name_of(Level l) { return l == Level::Elem ? "Elem" : l == Level::Red ? "Red" : "Uniform"; }
const char* name_of(ArgClass c) {
  return c == ArgClass::Vec ? "Vec" : c == ArgClass::Maj ? "Maj" : c == ArgClass::Uni ? "Uni" : "Index";
}
}  // namespace

std::string print(const Program& p) {
  std::string s = p.layout == Layout::Rows ? "  rows" : "  columns";
  if (p.split) s += " split";
  if (p.runs) s += " runs";
  s += "\n";
  for (const Instr& i : p.code) {
    auto reg = [&](int r) { return " r" + std::to_string(r); };
    auto arg = [&](int a) {
      const Arg& g = p.args[static_cast<size_t>(a)];
      return " arg" + std::to_string(a) + ":" + name_of(g.cls) + " " + pd::name_of(g.dtype);
    };
    if (i.kind == InstrKind::Store) {
      s += "   " + arg(i.dst) + " <-" + reg(i.a) + "\n";
      continue;
    }
    s += "   " + reg(i.dst) + ":" + name_of(i.level) + " =";
    if (i.kind == InstrKind::Load) s += arg(i.a);
    else s += std::string(" ") + traits(i.op).name + " " + pd::name_of(i.type);
    if (i.kind != InstrKind::Load)
      for (int r : {i.a, i.b, i.c})
        if (r >= 0) s += reg(r);
    s += "\n";
  }
  return s;
}

}  // namespace pd
