// A piece of graph in another order, some of its values computed more than once, so that its plan needs less memory.
#pragma once
#include <vector>

#include "exec/schedule.h"
#include "fuse/piece.h"

namespace pd {

class Fitter {
 public:
  // `scratch`: bytes that each group's steps need beside what they store.
  Fitter(const Piece& p, const Partition& part, const std::vector<int>& outputs, const std::vector<int64_t>& scratch);

  void reorder() { schedule_.reorder(); }
  bool lower_to(int64_t target, int64_t aim) { return schedule_.lower_to(target, aim); }
  int64_t peak() const { return schedule_.peak(); }
  int recomputed() const { return schedule_.recomputed(); }
  // Its nodes have the number of their step as `phase`, which the partition keeps apart and in order. `outputs` as they were
  // given, become those of the new piece.
  Piece piece(std::vector<int>& outputs) const;

 private:
  const PieceNode& node(int v) const { return p_.nodes[static_cast<size_t>(v)]; }
  bool has_memory(int v) const;
  bool reads_memory(const PieceNode& reader, int x) const;
  int holder(int v) const;
  int step_of(int v) const;
  bool may_repeat(const PieceNode& n) const;
  double work(int v) const;
  std::vector<Schedule::Value> values(const std::vector<int>& outputs);

  const Piece& p_;
  const Partition& part_;
  std::vector<int> step_of_group_;            // -1: it runs nothing of its own
  std::vector<std::vector<int>> renamed_;     // node -> outputs that have its elements under another shape
  Schedule schedule_;
};

}  // namespace pd
