// What a step of a plan is made of, in words that outlive the plan: for the profiler.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "base/shape.h"
#include "fuse/piece.h"

namespace pd {

struct StepFacts {
  struct Member {
    const char* op;   // of the tables, or of `custom`
    int origin;       // place of its node in the walk that the plan was made for; -1: none
    double weight;    // its part of the step's work: cost of the operation times elements
  };
  std::vector<Member> members;  // in an order of dependence
  Shape domain;                 // elements that the step goes through; of a product (batch,) rows, columns, depth
  DType dtype = DType::F32;     // of what it writes
  int64_t read = 0, written = 0;  // bytes: of each operand those elements that it reaches, once
  int64_t flops = 0;            // of a product
  CustomCodeRef custom;         // keeps its name
};
using StepFactsRef = std::shared_ptr<const StepFacts>;

// Bytes that a kernel over `dims` reads or writes through this view of a node.
int64_t bytes_reached(const View& view, const Ints& dims, const PieceNode& base);

}  // namespace pd
