// Var: a value with what differentiation knows of it. Derivative rules take and give Vars.
#pragma once
#include <vector>

#include "graph/value.h"

namespace pd {

struct Var {
  ValueRef v;
  Ref<Meta> m;
  Var() = default;
  Var(ValueRef v) : v(std::move(v)) {}
  Var(ValueRef v, Ref<Meta> m) : v(std::move(v)), m(std::move(m)) {}
  explicit operator bool() const { return static_cast<bool>(v); }
  const Shape& shape() const { return v->shape; }
  DType dtype() const { return v->dtype; }
  DeviceId device() const { return v->device; }
};

// Records an op on Vars: the value, and through the hook below its tape node and tangents.
Var apply(OpId op, const Var* in, int nin, AttrsRef attrs = {}, Extra* extra = nullptr);
inline Var apply(OpId op, std::initializer_list<Var> in, AttrsRef a = {}) {
  return apply(op, in.begin(), static_cast<int>(in.size()), std::move(a));
}
// The outputs of a node with several.
std::vector<Var> apply_multi(OpId op, const Var* in, int nin, AttrsRef attrs, Extra* extra);

// What a rule is given. `in[k]` is empty where the derivative did not say that it needs it; shapes
// are always there.
struct RuleArgs {
  OpId op;
  int nin;
  const Var* in;
  const Spec* specs;  // of the operands
  const Var* outs;    // results, where the derivative mentions them
  int nout;
  const Ints& attrs;
  const Extra* extra;
};
struct VjpArgs : RuleArgs {
  const Var* cotangents;  // one for each output; empty where none arrived
  const bool* need;       // per operand
};
struct JvpArgs : RuleArgs {
  const Var* tangents;  // per operand; empty: zero
};
struct BatchArgs {
  OpId op;
  int nin;
  const Var* in;
  const bool* batched;  // operand k has a leading batch axis
  int64_t size;         // of the batch axis
  const Ints& attrs;
  const Extra* extra;
};

// Filled by autodiff/: builds the Meta of a recorded result from its operands.
struct AutodiffHooks {
  Var (*apply)(OpId op, const Var* in, int nin, AttrsRef attrs, Extra* extra) = nullptr;
  void (*destroy_meta)(Meta* m) = nullptr;
  // For the rules of nodes with a body. Cotangents of a body's operands (empty: zero) at primals that have no edge; records no tape of its own.
  std::vector<Var> (*vjp_of_body)(const Graph& body, const std::vector<Var>& primals,
                                  const std::vector<Var>& cotangents) = nullptr;
  // Tangents of a body's results; an empty tangent is zero.
  std::vector<Var> (*jvp_of)(const Graph& body, const std::vector<Var>& primals,
                             const std::vector<Var>& tangents) = nullptr;
};
extern AutodiffHooks g_autodiff;

struct MetaBase {
  int32_t refs = 0;
};

}  // namespace pd
