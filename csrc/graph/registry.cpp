// The op table: filled once at start-up by ops/, read by all.
#include <cstring>

#include "graph/op_traits.h"

namespace pd {

AutodiffHooks g_autodiff;

namespace {
std::vector<OpTraits>& table() {
  static auto* t = new std::vector<OpTraits>(kFirstOp);
  return *t;
}
}  // namespace

const OpTraits& traits(OpId op) { return table()[op]; }

OpId register_op(const OpTraits& t) {
  table().push_back(t);
  return static_cast<OpId>(table().size() - 1);
}

OpId find_op(const char* name) {
  for (size_t i = kFirstOp; i < table().size(); ++i)
    if (std::strcmp(table()[i].name, name) == 0) return static_cast<OpId>(i);
  return kLeaf;
}

int op_count() { return static_cast<int>(table().size()); }

Var apply(OpId op, const Var* in, int nin, AttrsRef a, Extra* extra) {
  bool plain = true;
  for (int k = 0; k < nin; ++k) plain &= !in[k].m;
  if (plain) {
    Value* few[4];
    std::vector<Value*> lots;
    Value** vals = few;
    if (nin > 4) {
      lots.resize(static_cast<size_t>(nin));
      vals = lots.data();
    }
    for (int k = 0; k < nin; ++k) vals[k] = in[k].v.get();
    return Var(record(op, vals, nin, std::move(a), extra));
  }
  return g_autodiff.apply(op, in, nin, std::move(a), extra);
}

void retain(Meta* m) { ++reinterpret_cast<MetaBase*>(m)->refs; }
void release(Meta* m) {
  if (--reinterpret_cast<MetaBase*>(m)->refs == 0) g_autodiff.destroy_meta(m);
}

}  // namespace pd
