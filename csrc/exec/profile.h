// What the profiler records: a span of time for each step of a plan, plan, evaluation, copy and compilation, and each block
// of memory with who made it. pydiff/profiler/ makes tables and timelines of it.
//
// While nobody profiles, an evaluation looks at one flag, a step at one pointer. A CPU's spans are those of the thread that
// runs the plan. A CUDA device's are between two events around the step, on the device's own clock; while it is recorded a
// plan runs step by step, unless CUDA graphs are asked for: then a plan's graph is one span.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "device/device.h"
#include "exec/plan.h"
#include "graph/value.h"

namespace pd::profile {

enum class Kind : uint8_t { Kernel, Product, Native, Custom, Graph, Copy, Plan, Evaluate, Compile, Fallback, Range };
const char* name_of(Kind k);

struct Options {
  bool memory = true;
  bool lines = true;
  bool graphs = false;  // plans may run as CUDA graphs
};

struct Span {
  Kind kind = Kind::Range;
  bool on_device = false;     // its time is the device's own, not a thread's
  bool compiled = false;      // of a kernel: not interpreted
  DeviceId device;
  int32_t threads = 1;        // that shared the work
  uint64_t thread = 0;        // that did it or gave it, as the system numbers it
  int64_t begin = 0, end = 0;  // nanoseconds (watch_clock)
  int64_t given = 0;          // when the host gave a device this work
  int64_t bytes = 0;          // of what has no facts
  int64_t count = 0;          // Plan, Evaluate: values
  std::string name;           // of a kernel as it is compiled; of what has no facts
  std::vector<StepFactsRef> facts;  // of a step; of a graph, of all its steps
  std::vector<int32_t> lines;       // of each member of the facts, else of the span: a place in Record::lines; -1: not known
};

// A block came (bytes > 0) or went.
struct Block {
  int64_t at = 0;
  int64_t bytes = 0;
  int32_t owner = 0;          // a place in Record::owners
  DeviceId device;
};

struct Record {
  Options options;
  int64_t begin = 0, end = 0;
  std::vector<Span> spans;
  std::vector<std::pair<void*, int32_t>> lines;  // code and offset, as LocationHooks have them; the code is owned
  std::vector<std::pair<std::string, int32_t>> owners;  // of memory: what made it, and its line
  std::vector<Block> blocks;
};

// Filled by python/: whether the calling thread may ask Python for its line.
extern bool (*g_may_locate)();

// With the GIL. One record at a time: start() is an Error while another is made; stop() waits for the devices it saw.
void start(const Options& options);
bool running();
Record stop();
// A span that Python measured, on the calling thread. Nothing where nobody profiles.
void add(Kind kind, const std::string& name, int64_t begin, int64_t end, DeviceId device, int64_t bytes);

extern std::atomic<uint64_t> g_session;  // 0: off
inline bool on() { return g_session.load(std::memory_order_acquire) != 0; }

// One run of a plan, by the values of this evaluation. Made and dropped with the GIL.
class Run {
 public:
  Run(const Plan& plan, const std::vector<Value*>& order);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  bool graphs() const { return options_.graphs; }
  // Memory that this thread takes from now on is made by this value; by temporaries; by the step.
  void owned_by(const Value* v);
  void owned_by_temporaries();

 private:
  friend class StepSpan;
  int line_of(const std::vector<Value*>& order, int origin);
  const Plan& plan_;
  uint64_t session_;
  Options options_;
  std::vector<std::vector<int32_t>> lines_;  // by step
};

// Around a step of the plan, or with step -1 around all of them as one graph. Without a run it does nothing.
class StepSpan {
 public:
  StepSpan(Run* run, int step);
  ~StepSpan();
  StepSpan(const StepSpan&) = delete;
  StepSpan& operator=(const StepSpan&) = delete;
  // What was done since the span began was none of the step's work, but that of making its kernel ready.
  void ready(const char* kernel, bool compiled);
  void cancel() { run_ = nullptr; }

 private:
  friend void restart_device_span();
  Run* run_;
  int step_;
  Span span_;
  Event begin_;
};

// Around the making of a plan, or a whole evaluation, on the calling thread.
class HostSpan {
 public:
  HostSpan(Kind kind, DeviceId device);
  ~HostSpan();
  HostSpan(const HostSpan&) = delete;
  HostSpan& operator=(const HostSpan&) = delete;
  void say(const char* name, size_t count);

 private:
  uint64_t session_;
  Span span_;
};

}  // namespace pd::profile
