// An entry: what one trace of a function came to, for arguments of one signature. Replaying it runs no code of the function's.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "exec/recording.h"
#include "python/jit_backward.h"
#include "python/jit_guards.h"
#include "python/tracer.h"

namespace pd {
namespace binding {

// A nested container: its tensors by number, everything else as it is.
struct Tree {
  enum Kind : uint8_t { Tensor, Static, Tuple, List, Dict, Named } kind = Static;
  int index = 0;     // of a tensor
  Held held;         // Static, by identity
  py::object value;  // Static, by value; Dict, Named: the type
  std::vector<py::object> keys;
  std::vector<Tree> items;
};
// `keep`: statics are held, for building; otherwise weakly where they have identity alone, for matching.
Tree tree_of(PyObject* o, bool keep, std::vector<PyObject*>& tensors);
// Has `o` this structure and these statics? Its tensors are appended.
bool match(const Tree& tree, PyObject* o, std::vector<PyObject*>& tensors);
py::object build(const Tree& tree, const std::vector<py::object>& tensors);

// What the mode of the thread decides of an operation.
struct Mode {
  bool grad;
  bool autocast_on, composed, enabled[2];
  DType low[2], floating;
  DeviceId device;
  static Mode now();
  bool operator==(const Mode& o) const;
};

class JitEntry {
 public:
  // From the function's result; the tracer is restored. Then `result` has the values of this call: it ran once.
  JitEntry(Tracer& tracer, const Tree& args, const std::vector<PyObject*>& tensors, const Mode& mode, std::vector<Guard> guards,
           const py::object& result);

  const Tree& args() const { return args_; }
  // Null: it serves. Otherwise why not; `gone`: it never will again.
  // `handles`: those of the sources.
  const std::string* refuses(const std::vector<PyObject*>& tensors, const Mode& mode, std::vector<TensorObject*>& handles,
                             bool& gone);
  // After `refuses` said that it serves, with the handles that it found.
  py::object run(const std::vector<TensorObject*>& handles);
  // Nothing that was made while it was traced is held anywhere but in its results.
  bool reusable() const { return escaped_ == 0; }
  int escaped() const { return escaped_; }
  py::dict facts() const;
  const std::vector<HostCall>& calls() const { return calls_; }

 private:
  struct Source {
    TraceSource::Kind kind;
    int of;
    Held handle;  // Handle
    Spec spec;
    int tape;     // 0: none, 1: a leaf, 2: computed outside
    bool in_order;
    Ints strides;
    size_t hooks = 0;
    int grad = -1;     // -1: not looked at, 0: None, 1: there
    int grad_is = -1;  // the source that it is too
  };
  struct Output {
    int result = 0;
    enum Edge : uint8_t { None, Leaf, Freed, Taped } edge = None;
    int tape = 0;      // Taped: which of the results that can be differentiated
    OpId op = 0;
    bool strided = false;
    Ints strides;
    py::object type;   // none: Tensor itself
    int base = -1;     // it is a view of this output, or with `of_source` of this source
    bool of_source = false, detached = false;
    Steps steps;
  };
  struct Write {
    int source, result;
    Output::Edge edge;
    OpId op;
    int tape;
  };
  enum Put : uint8_t { PutNone, PutOutput, PutSource };
  struct GradWrite {
    int source;
    Put what;
    int of;
  };
  struct Returned {
    bool source;
    int of;
  };
  struct Relation {
    int view, base;
    Steps steps;
  };

  class Maker;
  bool fits(const Source& s, TensorObject* t) const;
  bool related(const std::vector<TensorObject*>& handles) const;
  // Computes the results, and gives handles what they have then. `outputs`: the handles made for this call; at the first
  // call, those that the trace left.
  void perform(const std::vector<TensorObject*>& handles, const std::vector<Var>& cells, std::vector<py::object>& outputs);

  Tree args_, result_tree_;
  std::vector<int> first_;  // of each argument: the first that is the same tensor
  Mode mode_;
  std::vector<Guard> guards_;
  std::vector<Source> sources_;
  std::vector<HostCall> calls_;
  size_t cells_ = 0;
  std::unique_ptr<Recording> recording_;
  std::shared_ptr<JitBackward> backward_;  // null: no result can be differentiated
  std::vector<int> taped_;                 // results that can; behind all results come the values stored for it
  int stored_at_ = 0;
  std::vector<Output> outputs_;
  std::vector<Write> writes_;
  std::vector<GradWrite> grads_;
  std::vector<Returned> returned_;
  std::vector<Relation> relations_;
  int escaped_ = 0;
  std::string why_;
};

}  // namespace binding
}  // namespace pd
