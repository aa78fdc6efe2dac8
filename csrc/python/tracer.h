// Tracing a function: it runs once over placeholders that stand in the handles of whatever it reads, so nothing is computed,
// and what it did to handles is found at its end and undone. What comes of it is an entry (jit_entry.h), which is replayed.
//
//   source   a handle that there was before, and the placeholder that stands in it; or a number or tensor of a host call
//   born     a handle made meanwhile: what of them is left at the end is a result, a gradient, or has escaped
//   host call   what Python computes anew at each replay: numbers of an optimiser's step, counters of random draws
//
// One thread traces at a time. Another that touches a handle with a placeholder in it waits until it has its value again.
#pragma once
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "python/views.h"

namespace pd {
namespace binding {

struct TraceSource {
  enum Kind : uint8_t {
    Arg,      // argument `of`
    Handle,   // a tensor that the function reaches by itself
    Grad,     // the gradient of source `of`
    Host,     // tensor in cell `of` of the host calls
    Derived,  // a view of source `of`, whose value is computed
  } kind;
  int of;
  py::object handle;  // none of Host
  Var original;
  Var lifted;         // what the trace put in its place
  Spec spec;
  Alias* alias = nullptr;
  bool in_step = true;  // with its base, as a view
  bool grad_noted = false, grad_read = false;
  py::object grad;      // as it was; None
  int grad_is = -1;     // the source that it was, where it was met before
  TensorObject* tensor() const { return as_tensor_object(handle.ptr()); }
};

struct HostCall {
  py::object call, undo;
  int first, count;  // its cells
};

class Tracer {
 public:
  explicit Tracer(const std::vector<PyObject*>& args);  // waits for another thread's trace
  ~Tracer();                                            // restores, if that was not done
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;

  void touch(TensorObject* t);
  void touch_grad(TensorObject* t, bool read);
  py::list host(const py::object& call, const py::object& undo, DeviceId device);
  // No handle is looked at any more; all have what they had before.
  void restore();
  // What the host calls changed is as it was.
  void undo_host();

  std::vector<TraceSource> sources;
  std::unordered_map<TensorObject*, int> source_of;
  std::unordered_set<TensorObject*> born;
  std::vector<HostCall> calls;
  std::vector<Var> cells;
  std::vector<py::object> host_keep;
  unsigned long thread;
  uint32_t epoch;
  bool paused = false;

 private:
  int lift(TensorObject* t, TraceSource::Kind kind, int of);
  bool active_ = true;
};

extern Tracer* g_tracer;
uint32_t next_epoch();
// Is this thread tracing (also while a host call runs)?
bool tracing_here();
void wait_for_trace();   // of another thread
void* outside_trace();   // owner of a leaf that stands for tape outside
int64_t traces_made();
void trace_orphan(const char* op, Cell* c);  // it is about to be written, and its base is gone

}  // namespace binding
}  // namespace pd
