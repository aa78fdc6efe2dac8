#include "exec/along.h"

#include <algorithm>

#include "graph/op_traits.h"

namespace pd {

namespace {

constexpr int64_t kWorthIt = 1 << 14;  // elements, times what each costs, that would be computed again
constexpr size_t kMost = 512;          // tensors looked at

bool is_pending(const Value* v) { return v->pending(); }

bool arithmetic(const Value* v) { return v->op != kOutput && traits(v->op).family == Family::Elementwise; }

bool only_when_asked(const Value* v) {
  if (v->op == kOutput) return false;
  const OpTraits& t = traits(v->op);
  // On the CPU an error is known at once, and then only what was asked for is computed.
  return (t.may_fail && v->device.kind != DeviceKind::Cpu) || t.family == Family::Fallback || t.family == Family::Control || (v->extra && v->extra->custom);
}

}  // namespace

std::vector<Value*> computed_along(const std::vector<Value*>& order, const std::vector<char>& is_output) {
  const size_t n = order.size();
  std::vector<int32_t> inside(n, 0);
  auto among = [&](const Value* v) { return v->index < n && order[v->index] == v; };
  for (const Value* v : order)
    for (int k = 0; k < v->nin; ++k)
      if (v->in(k)->pending()) ++inside[v->in(k)->index];
  std::vector<char> again(n, 0);  // not stored, and wanted from outside
  int64_t work = 0;
  for (size_t i = 0; i < n; ++i)
    if (!is_output[i] && arithmetic(order[i]) && order[i]->refs > inside[i]) {
      again[i] = 1;
      work += order[i]->size() * std::max<int64_t>(1, order[i]->depth);
    }
  if (work < kWorthIt) return {};

  std::vector<Value*> held;
  if (Value* first = first_pending())
    for (Value *head = first->prev, *v = first; v != head && held.size() < kMost; v = v->next)
      if (v->handles > 0 && !v->abstract && v->device == order[0]->device && !among(v)) held.push_back(v);
  std::vector<Value*> below;
  postorder(held, is_pending, below);
  // Operands come first, so what they need is known.
  std::vector<char> needs(below.size(), 0), waits(below.size(), 0);
  for (size_t i = 0; i < below.size(); ++i) {
    Value* v = below[i];
    if (among(v)) continue;
    waits[i] = only_when_asked(v);
    for (int k = 0; k < v->nin; ++k) {
      const Value* o = v->in(k);
      if (!o->pending()) continue;
      needs[i] |= among(o) ? again[o->index] : needs[o->index];
      waits[i] |= among(o) ? 0 : waits[o->index];
    }
    v->index = static_cast<uint32_t>(i);
  }
  std::vector<Value*> out;
  for (Value* v : held)
    if (needs[v->index] && !waits[v->index]) out.push_back(v);
  return out;
}

}  // namespace pd
