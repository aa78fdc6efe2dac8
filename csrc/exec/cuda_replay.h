// A plan that runs again and again on a CUDA device, as CUDA graphs: a run is two launches then, or one.
//
// A graph fixes whatever its launches are given. So what stays is made to stay, and what changes is kept out of them:
//
//   temporaries        lie in memory of the plan's own, which it keeps
//   fused kernels      take all parameters from one array on the device (fuse/cuda/sheet.h), into which a small kernel
//                      writes the addresses of operands and results, and numbers, before the graph runs, if they changed
//   products, natives  have their addresses in the graph. There is a graph for each set of those addresses that comes a
//                      second time, the last few are kept; a set that comes for the first time is launched piece by piece
//
// Where these addresses do not repeat, products and natives work in memory of the plan's own too, if it is little: one
// kernel of the graph copies their operands there first, another one their results to where they belong at the end.
//
// Results have memory of their own in each run, as without graphs. A plan for which all this does not pay, and one that
// cannot be captured, runs without graphs for good.
#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "device/cuda/graph.h"
#include "exec/plan.h"
#include "fuse/cuda/sheet.h"

namespace pd {

class CudaReplay {
 public:
  explicit CudaReplay(Plan& plan) : plan_(plan) {}
  ~CudaReplay();
  CudaReplay(const CudaReplay&) = delete;
  CudaReplay& operator=(const CudaReplay&) = delete;

  // slots: all but the temporaries'. False: this run is not one for graphs, and nothing was done.
  bool run(void** slots, NativeError& error);

 private:
  using Words = std::vector<int64_t>;
  struct Graph {
    Words addresses;
    CudaGraph graph;
    uint64_t used = 0;
  };
  // What is made once a plan, and given back where memory is short.
  struct Held {
    explicit Held(DeviceId device) : device(device) {}
    ~Held();
    DeviceId device;
    cuda::Sheet sheet;
    std::vector<int> calls;    // of each step: where its calls end in the sheet
    std::unique_ptr<cuda::PatchTable> table;
    BufferRef arena, scratch, words, cells, native_memory, own;
    std::vector<cuda::Sheet::Aligned> aligned;  // by number of value
    std::vector<int> addresses;                 // values that graphs contain
    Words written;                              // values that the words have now; empty: none
    CudaScratch natives;
    std::vector<Graph> graphs;
    std::deque<Words> met;                      // sets of addresses, the last ones
    std::vector<std::pair<int, void*>> moved;   // slots that products and natives find in the plan's own memory
    int64_t bytes = 0;
    uint64_t used = 0;
  };

  struct Moved {
    int slot;
    int64_t bytes, offset;
    bool result;
  };
  std::vector<Moved> movable() const;
  bool copies_suit() const;
  bool suits() const;
  std::unique_ptr<Held> prepare() const;
  Words values_of(void* const* slots) const;
  Words addresses_of(const Words& values) const;
  void issue(void* const* slots, NativeError& error, Stream stream);
  Graph* graph_for(const Words& addresses, void* const* slots, NativeError& error);
  void drop(bool for_good);
  void drop_for_now();

  static std::recursive_timed_mutex& lock();
  static std::vector<CudaReplay*>& holders();  // those that have something
  static void give_back(DeviceId device);
  static void make_room(int64_t bytes);

  Plan& plan_;
  // Under the lock.
  std::unique_ptr<Held> held_;
  bool off_ = false, own_memory_ = false;
  int runs_ = 0, drops_ = 0, idle_ = 0;
  static CudaReplay* active_;  // whose run it is: it keeps what it has, though memory be short
  static const bool registered_;
};

}  // namespace pd
