// The tape, tangents, and the three walks. No op is named here but add, mul and sum.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "base/few.h"
#include "graph/op_traits.h"

namespace pd {

struct TapeNode;
void retain(TapeNode* n);
void release(TapeNode* n);
using TapeRef = Ref<TapeNode>;

struct Tangent {
  int32_t level;
  Var t;
};

// What a Var carries beside its value: an edge into the tape, and its tangents by level (ascending).
struct Meta : MetaBase {
  TapeRef node;
  int32_t out = 0;
  std::vector<Tangent> tangents;
};

// Called with a cotangent on its way through an edge; returns what goes on.
using Hook = std::function<Var(const Var&)>;

// A user's derivative (autograd.Function): cotangents of the outputs in, of the operands out.
struct CustomRule {
  virtual ~CustomRule() {}
  virtual std::vector<Var> vjp(const std::vector<Var>& cotangents) = 0;
  virtual const char* name() const = 0;
  virtual bool takes_missing() const { return false; }  // empty cotangents; otherwise zeros stand for them
};

// A result was recorded in another form than it was written in (rewrite/stable.h): the cotangents of the operands as they were
// written, for who asks for those. `kept` as attach_detour was given it.
struct Detour {
  virtual ~Detour() {}
  virtual std::vector<Var> vjp(const Var& g, const Var& result, const Var& kept) const = 0;
  std::vector<TapeRef> until;  // where the ways meet: what both forms were made of
};

struct Edge {
  TapeRef node;  // null: no gradient wanted
  int out = 0;
};

struct TapeNode {
  int32_t refs = 0;
  bool leaf = false;      // a tensor whose gradient is asked for
  bool alias = false;     // passes its cotangent on as it is
  bool freed = false;     // its saved values were dropped by a backward pass
  OpId op = kLeaf;
  int64_t seq = 0;        // order of recording
  uint32_t mark = 0;      // scratch of one walk
  bool wanted = false;
  AttrsRef attrs;
  std::unique_ptr<Extra> extra;  // sub-graphs that the rule reads
  Few<Edge, 3> edges;            // one an operand
  Few<Spec, 3> specs;            // of the operands
  Few<Var, 3> saved;             // operands that the derivative mentions, the others empty
  Few<Spec, 1> outs;             // of the results
  Few<Var, 1> saved_out;         // results that it mentions, without their own edge
  Few<Var, 1> cotangents;        // scratch of one walk
  std::vector<std::pair<int, Hook>> hooks;  // (output, hook)
  std::unique_ptr<CustomRule> custom;
  std::unique_ptr<Detour> detour;  // of an alias: its first edge is the way, the others are those of the detour
  void* owner = nullptr;         // leaf: the tensor in the user's hands, not owned
};

const char* name_of(const TapeNode* n);  // of the operation, as errors say it

bool grad_enabled();
bool set_grad_enabled(bool on);  // the former state

// A leaf: the same value, and an edge of its own.
Var make_leaf_var(const Var& x);
bool requires_grad(const Var& x);
Var detach(const Var& x);  // neither edge nor tangents
// Results of a user's Function: the values with an edge to a node that calls `rule` (taken over).
std::vector<Var> attach_custom(const std::vector<Var>& inputs, const std::vector<Var>& outputs, CustomRule* rule);

// The value with the edge of a result of `op` whose saved values a backward pass has dropped: another pass is an error.
Var freed_result(const Var& x, OpId op);
// `y` with a second way into the tape, through the operands as they were `written`. The reverse walk takes it where somebody
// asks for a gradient that lies on it alone: between these operands and the rule's `until`, to which y's own way leads too.
Var attach_detour(const Var& y, const std::vector<Var>& written, const Var& kept, std::unique_ptr<Detour> rule);

// Reverse walk. Cotangents (one an output) flow to `targets` (edges); with none, to all leaves.
struct Gradient {
  TapeRef node;
  int out;
  Var g;
};
std::vector<Gradient> reverse(const std::vector<Var>& outputs, const std::vector<Var>& cotangents,
                              const std::vector<Edge>& targets, bool retain_graph, bool create_graph);

// Forward mode: tangents travel with the values as ops are recorded.
int32_t push_level();
void pop_level(int32_t level);            // forgets what was kept for it
Var with_tangent(const Var& x, const Var& t, int32_t level);
Var tangent_of(const Var& x, int32_t level);  // empty: zero
Var strip_level(const Var& x, int32_t level);

// Batch walk: the outputs as functions of placeholders `params`, over arguments with a leading axis
// of `size` where `batched`. Returns the results with `out_batched` telling which have the axis.
std::vector<Var> batch(const std::vector<Var>& outputs, const std::vector<Var>& params, const std::vector<Var>& args,
                       const std::vector<bool>& batched, int64_t size, std::vector<bool>& out_batched);
// The outputs with the placeholders replaced: the graph recorded once more on other operands.
std::vector<Var> substitute(const std::vector<Var>& outputs, const std::vector<Var>& params,
                            const std::vector<Var>& args);
// A closed sub-graph of outputs over placeholders; a captured value is an error.
GraphRef close_graph(const std::vector<Var>& outputs, const std::vector<Var>& params);

void install_autodiff();  // fills g_autodiff; once, at import

// ---- between the files of this room
void install_walks();
void free_saved(TapeNode* n);

}  // namespace pd
