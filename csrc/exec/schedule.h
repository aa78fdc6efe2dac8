// The order of a plan's steps and what it keeps in memory between them: which values could be computed again instead.
//
// A value has a stay in memory from the step that makes it to its last reader. Computing it again cuts a stay in two: the
// second begins at a copy of the step, just before the first reader behind the highest memory. This is checkpointing with
// no segments given: a value whose operands are not there either is computed again from theirs, and copies that later
// readers need as well are drawn forward, so that a run of such values becomes a segment that is computed once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace pd {

class Schedule {
 public:
  struct Value {
    int64_t bytes = 0;
    bool there = false;      // an operand or a result of the plan: its memory does not depend on the order
    bool again = false;      // may be computed more than once
    int step = -1;           // makes it; -1: an operand
    double cost = 0;         // of computing it from `reads`
    std::vector<int> reads;  // values; those of its own step are computed within it
  };
  struct Stay {
    int value;
    int step;                // number of the step that makes it; -1: there from the beginning, -2: none does any more
    int first, last;         // of its readers: places in the order
  };
  struct Step {
    int source;              // number of the first step that did this
    bool again = false;      // computes one value another time
    std::vector<int> stays;  // that it makes
    std::vector<std::pair<int, int>> reads;  // (value, stay)
  };

  // `scratch`: bytes that each step needs beside the values. Steps are in an order that runs; each makes what names it.
  Schedule(std::vector<Value> values, std::vector<int64_t> scratch);

  // Steps that give back as much memory as they take run as soon as they can, where that lowers the peak.
  void reorder();
  // Computes values again until the peak is at most `target`; false: nothing more helps. May be called again with less.
  // `aim`: what is computed again may need so much where it is; less makes more and smaller segments.
  bool lower_to(int64_t target, int64_t aim);

  int64_t peak() const { return peak_; }  // of what is not there anyway
  int recomputed() const;                 // values computed again, each time counted
  const std::vector<int>& order() const { return order_; }
  const Step& step(int s) const { return steps_[static_cast<size_t>(s)]; }
  const Stay& stay(int s) const { return stays_[static_cast<size_t>(s)]; }

 private:
  struct Item {
    int value;
    int hoisted;  // the step that is drawn forward; -1: a new one
  };
  // Computing the value of `stay` again before the step at `place`.
  struct Trial {
    int stay, place;
    int before;                              // the last place before that reads the stay, or makes it
    int rank;                                // cost by the byte, in powers of two
    std::vector<Item> items;                 // in the order of running; the value itself last
    std::vector<std::pair<int, int>> found;  // value -> stay that lasts till there
    std::vector<int> extended;               // stays that now do
    double cost = 0;
  };
  // Where an operand is not there: a later copy of it is drawn forward, else it is computed again; or it is kept, where it is
  // half as large, or of any size for the sake of several (Keep); or it is computed again for this alone.
  enum class Way { Hoist, Keep, Extend, Again };

  const Value& value(int v) const { return values_[static_cast<size_t>(v)]; }
  std::vector<int> needed(const Step& s) const;
  int place_of(int step) const { return step < 0 ? -1 : place_[static_cast<size_t>(step)]; }
  void settle();
  bool provide(Trial& t, int v, Way way, int depth) const;
  bool fits(const Trial& t, Way way, int64_t bound, int highest) const;
  void apply(const Trial& t);
  bool improve(Way way, int64_t bound);
  bool keep_for_several(int64_t bound);
  bool improve(int64_t bound);

  std::vector<Value> values_;
  std::vector<int64_t> scratch_;
  std::vector<Step> steps_;
  std::vector<Stay> stays_;
  std::vector<std::vector<int>> stays_of_;  // value -> its stays
  std::vector<int> order_, place_;          // of the steps that run; step -> place, -1: none
  std::vector<int64_t> memory_, carried_;   // at a place; from the place before into it
  int64_t peak_ = 0;
  size_t most_steps_;
};

}  // namespace pd
