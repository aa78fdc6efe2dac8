// The structure of a piece of graph: what its plan is made from and found by.
#pragma once
#include <memory>
#include <vector>

#include "exec/plan.h"
#include "graph/value.h"

namespace pd {

// One evaluation's view of the graph.
struct Work {
  std::vector<Value*> order;    // still to be computed, operands first
  std::vector<Value*> leaves;   // operands that are not, by first use
  std::vector<Value*> numbers;
  std::vector<Value*> outputs;
  std::vector<char> is_output;  // by place in `order`
  std::vector<uint64_t> key;
  int64_t size = 0;             // elements over all nodes
};

inline bool is_pending(const Value* v) { return v->pending(); }

// Every node's op, type, shape, attributes and operands by number into the key; leaves by first use. The order and what is
// an output are known.
void make_key(Work& w);

// The piece as the fuser reads it. `outputs` gets the numbers of its nodes that are outputs, `body_numbers` the numbers of
// bodies that stand in it: constants of the structure.
Piece piece_of(const Work& w, std::vector<int>& outputs, std::vector<const Value*>& body_numbers);

struct Planned {
  std::shared_ptr<Plan> plan;
  std::vector<int64_t> body_cells;  // behind the numbers of the work
  uint64_t used = 0;
};
Planned make_plan(const Work& w, DeviceId device, bool compile = true, Piece* used = nullptr);
// The plan of a structure, made when it is first met. Under the turn of an execution.
Planned plan_of(const Work& w, bool* met = nullptr);
// A plan that was made while nobody profiled does not know what its steps are made of; afterwards it does.
void describe(Plan& plan, const Work& w);

}  // namespace pd
