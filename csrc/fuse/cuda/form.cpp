#include "fuse/cuda/form.h"

namespace pd::cuda {

std::string Form::key() const {
  std::string k = {static_cast<char>('a' + static_cast<int>(kind)), wide ? 'w' : 'n', partial ? 'p' : '-',
                   spill_shared ? 's' : 'g'};
  for (int n : {majors, minors, vector, halves}) k += std::to_string(n) + ".";
  for (const ArgForm& a : args) {
    k += static_cast<char>('a' + static_cast<int>(a.access));
    k += static_cast<char>('0' + (a.bounded | a.major << 1 | a.minor << 2 | a.whole << 3));
    k += static_cast<char>('0' + a.inner);
  }
  return far ? k + "@" : k;
}

std::vector<int> stored_reductions(const Program& p) {
  std::vector<int> found;
  for (size_t i = 0; i < p.code.size(); ++i) {
    if (p.code[i].kind != InstrKind::Reduce) continue;
    bool stored = false;
    for (const Instr& j : p.code) stored |= j.kind == InstrKind::Store && j.a == p.code[i].dst;
    if (stored) found.push_back(static_cast<int>(i));
  }
  return found;
}

Params::Params(const Program& p, const Form& f) {
  int at = dims + f.axes();
  if (f.partial) {
    pieces = at++;
    step = at++;
    partials = at;
    at += static_cast<int>(stored_reductions(p).size());
  }
  spill = at++;
  for (const ArgForm& a : f.args) {
    Arg where;
    where.base = at++;
    if (a.access == Access::Strided || a.access == Access::Index) {
      where.strides = at;
      at += f.axes();
    }
    if (a.bounded) {
      where.lo = at;
      where.hi = at + f.axes();
      where.fill = at + 2 * f.axes();
      at += 2 * f.axes() + 1;
    }
    args.push_back(where);
  }
  count = at;
  far = f.far;
}

}  // namespace pd::cuda
