// Value: one immutable tensor of the lazy graph, and at the same time the node that produces it.
//
//   pending   knows its op and operands; work still to be done
//   ready     has a buffer and has forgotten its operands
//   scalar    a Python number: a runtime argument, never part of a structure
//   abstract  a placeholder, or something computed from one; never run
//
// A node with n outputs is a Value whose `extra->outs` lists them; each output is a Value of op
// `output` that projects it. A node with sub-graphs keeps them in `extra->subs`.
//
// Reference counts are plain integers: values are created and dropped under the GIL only. An
// execution works on raw pointers that its plan context keeps alive.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/device_id.h"
#include "base/dtype.h"
#include "base/ref.h"
#include "base/shape.h"
#include "device/buffer.h"

namespace pd {

using OpId = uint16_t;

// The ops that the graph itself knows; every other id comes from the tables of ops/.
enum BuiltinOp : OpId { kLeaf = 0, kScalar = 1, kParam = 2, kOutput = 3, kFirstOp = 4 };

enum class State : uint8_t { Pending, Ready, Scalar, Param };

struct Value;
struct Meta;
struct Graph;
struct Custom;  // custom.h

void retain(Value* v);
void release(Value* v);
void retain(Meta* m);
void release(Meta* m);
void retain(Graph* g);
void release(Graph* g);
void retain(Custom* c);
void release(Custom* c);

using ValueRef = Ref<Value>;
using GraphRef = Ref<Graph>;

// Attributes of a node: integers whose meaning its family documents. Immutable and shared.
struct Attrs {
  int32_t refs = 0;
  Ints v;
};
inline void retain(Attrs* a) { ++a->refs; }
inline void release(Attrs* a) {
  if (--a->refs == 0) delete a;
}
using AttrsRef = Ref<Attrs>;
inline AttrsRef attrs(Ints v) {
  Attrs* a = new Attrs;
  a->v = std::move(v);
  return AttrsRef(a);
}

// Shape and type without a value: what inference reads and writes.
struct Spec {
  Shape shape;
  DType dtype = DType::F32;
  DeviceId device;
};
inline bool operator==(const Spec& a, const Spec& b) {
  return a.dtype == b.dtype && a.device == b.device && a.shape == b.shape;
}
std::string to_string(const Spec& s);  // "float32 (2, 3)"

// What only few nodes have.
struct Extra {
  std::vector<Spec> outs;         // of a node with several outputs
  std::vector<GraphRef> subs;     // bodies, with explicit parameters
  std::vector<Ref<Meta>> metas;   // of the operands, kept where the node is abstract (see var.h)
  Ref<Custom> custom;             // of an operation of the user's own
  void* code = nullptr;           // where it was recorded: an object of the host and an offset in it
  int32_t code_offset = -1;
  ~Extra();
};

// Where the user is, for what only the run can find wrong; python/ fills it. `code` is owned.
struct LocationHooks {
  void (*locate)(void** code, int32_t* offset) = nullptr;
  void (*keep)(void* code) = nullptr;  // one more owner
  void (*drop)(void* code) = nullptr;
  // `text` in the name of what the user called, and "; recorded at train.py:12".
  std::string (*describe)(const std::string& text, void* code, int32_t offset) = nullptr;
};
extern LocationHooks g_location;

struct Value {
  int32_t refs;
  int32_t handles;  // how many of `refs` are tensors in the user's hands
  int32_t taped;    // how many are tape nodes that need it for a derivative
  OpId op;
  DType dtype;
  State state;
  DeviceId device;
  bool abstract;
  uint8_t flags;    // kDonatable …
  uint16_t nin;
  uint16_t depth;   // pending elementwise work below it, capped (how costly to recompute)
  Shape shape;
  union {
    Value* few[3];
    Value** many;
  };
  Attrs* attrs;
  Extra* extra;
  Buffer* buffer;  // ready
  union {          // scalar, or a ready 0-d number that came from Python
    double f;
    int64_t i;
  } num;
  Value *prev, *next;  // pending values in the order of recording
  uint32_t mark, index;  // scratch of one walk (under the execution lock or the GIL)

  // The number of a scalar, or of a ready 0-d value that has it.
  double number() const {
    return is_floating(dtype) ? num.f : dtype == DType::U64 ? static_cast<double>(static_cast<uint64_t>(num.i))
                                                            : static_cast<double>(num.i);
  }
  Value* const* in() const { return nin <= 3 ? few : many; }
  Value* in(int k) const { return in()[k]; }
  bool ready() const { return state == State::Ready; }
  bool pending() const { return state == State::Pending; }
  bool is_scalar() const { return state == State::Scalar; }
  int64_t size() const { return numel(shape); }
  int64_t nbytes() const { return size() * static_cast<int64_t>(size_of(dtype)); }
  const Ints& ints() const {
    static const Ints none;
    return attrs ? attrs->v : none;
  }
  bool multi() const { return extra && !extra->outs.empty(); }
  Spec spec() const { return Spec{shape, dtype, device}; }
};

// A sub-graph: results as functions of explicit parameters, nothing captured.
struct Graph {
  int32_t refs = 0;
  std::vector<ValueRef> params;
  std::vector<ValueRef> results;
};

inline void retain(Value* v) { ++v->refs; }
void destroy(Value* v);  // iterative: a chain of a million values needs no stack
inline void release(Value* v) {
  if (--v->refs == 0) destroy(v);
}

// ---- making values

ValueRef make_leaf(const Spec& spec, Buffer* buffer);             // takes its own reference of buffer
ValueRef make_scalar(DType dtype, DeviceId device, double f, int64_t i);  // f for floats, i otherwise
ValueRef make_param(const Spec& spec);
// A pending node: infers and checks (fails in the op's name), then links it. `extra` is taken over.
ValueRef record(OpId op, Value* const* in, int nin, AttrsRef attrs = {}, Extra* extra = nullptr);
inline ValueRef record(OpId op, std::initializer_list<Value*> in, AttrsRef a = {}) {
  return record(op, in.begin(), static_cast<int>(in.size()), std::move(a));
}
ValueRef output_of(Value* node, int k);  // projection k of a node with several outputs

// The value got a buffer: it forgets its operands and is no longer pending.
void make_ready(Value* v, Buffer* buffer);

// ---- pending work

struct PendingStats {
  int64_t nodes = 0;
  int64_t bytes = 0;
};
extern PendingStats g_pending;
Value* first_pending();  // then ->next

uint32_t next_mark();  // a fresh mark for one walk

// All values below the roots that satisfy `enter` (operands first). Iterative.
void postorder(const std::vector<Value*>& roots, bool (*enter)(const Value*), std::vector<Value*>& out);

// ---- looking at graphs

// Checks each node below the roots against its op's inference; throws with the node printed.
void verify(const std::vector<Value*>& roots);
void verify(const Graph& g);
std::string print(const std::vector<Value*>& roots);  // one line a node: %3 = add f32(2, 3) %1 %2
std::string print(const Graph& g);
std::string dot(const std::vector<Value*>& roots);    // Graphviz

}  // namespace pd
