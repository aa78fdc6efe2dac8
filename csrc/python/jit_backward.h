// The derivative of a traced function whose results can still be differentiated: one tape node, and behind it a recording of
// its own. What the backward pass reads of the forward one is stored or computed again, as when neither is traced.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "exec/recording.h"
#include "python/tracer.h"

namespace pd {
namespace binding {

class JitBackward {
 public:
  // Of the results `ys`, with the trace's tape. `forward`: the values of all results.
  JitBackward(const std::vector<Var>& ys, Tracer& tracer, const std::vector<ValueRef>& forward);

  // What the forward recording has to give beside its results.
  const std::vector<ValueRef>& stored() const { return stored_; }
  size_t size() const { return ys_.size(); }
  // The plan of the usual pass, which asks for all results' derivatives; made behind the forward recording.
  void plan();

  // The results with an edge: `inputs` are the sources' tensors, `values` the values of ys and of what is stored.
  static std::vector<Var> attach(const std::shared_ptr<JitBackward>& b, std::vector<Var> inputs, std::vector<Var> cells,
                                 const std::vector<ValueRef>& ys, std::vector<ValueRef> stored);

 private:
  struct Pass {
    std::unique_ptr<Recording> recording;
    std::vector<int> gradient;  // of each wanted source: which result; -1: none
  };
  struct Rule;
  std::vector<Var> placeholders() const;
  std::unique_ptr<Pass> make(const std::vector<Var>& grads, const std::vector<ValueRef>& cut) const;
  void choose(const std::vector<Var>& grads, const std::vector<ValueRef>& forward);
  const Pass& pass(uint64_t which);

  std::vector<ValueRef> ys_, sources_, cells_, stored_, cotangents_;
  std::vector<int> wanted_;   // sources with an edge
  std::vector<Var> full_;     // their gradients, until the plan is made
  bool custom_ = false;       // rules of the user's took part
  std::map<uint64_t, std::unique_ptr<Pass>> passes_;
};

}  // namespace binding
}  // namespace pd
