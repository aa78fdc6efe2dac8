#include "graph/value.h"

#include <algorithm>
#include <memory>
#include <new>

#include "graph/custom.h"
#include "graph/location.h"
#include "graph/op_traits.h"
#include "graph/placeholders.h"

namespace pd {

PendingStats g_pending;
LocationHooks g_location;
bool g_locate_all = false;

namespace {

// Pending values, oldest first; a sentinel closes the ring.
struct Ring {
  Value head;
  Ring() {
    std::memset(static_cast<void*>(&head), 0, sizeof head);
    head.prev = head.next = &head;
  }
};
Ring& ring() {
  static Ring* r = new Ring;  // outlives every static destructor
  return *r;
}

constexpr int kChunk = 256;
Value* g_free = nullptr;  // chained through `next`

Value* allocate_value() {
  if (!g_free) {
    auto* block = static_cast<Value*>(std::malloc(sizeof(Value) * kChunk));
    if (!block) throw std::bad_alloc();
    for (int i = 0; i < kChunk; ++i) {
      block[i].next = g_free;
      g_free = &block[i];
    }
  }
  Value* v = g_free;
  g_free = v->next;
  return v;
}

Value* fresh(OpId op, const Spec& s, State state) {
  Value* v = allocate_value();
  v->refs = 0;
  v->handles = v->taped = 0;
  v->op = op;
  v->dtype = s.dtype;
  v->state = state;
  v->device = s.device;
  v->abstract = state == State::Param;
  v->flags = 0;
  v->nin = 0;
  v->depth = 0;
  new (&v->shape) Shape(s.shape);
  v->attrs = nullptr;
  v->extra = nullptr;
  v->buffer = nullptr;
  v->num.i = 0;
  v->prev = v->next = nullptr;
  v->mark = v->index = 0;
  return v;
}

void link(Value* v) {
  Value& h = ring().head;
  v->prev = h.prev;
  v->next = &h;
  h.prev->next = v;
  h.prev = v;
  ++g_pending.nodes;
  g_pending.bytes += v->nbytes();
}

void unlink(Value* v) {
  if (!v->next) return;
  v->prev->next = v->next;
  v->next->prev = v->prev;
  v->prev = v->next = nullptr;
  --g_pending.nodes;
  g_pending.bytes -= v->nbytes();
}

// Drops v's operands onto `dead` where nobody else holds them.
void drop_operands(Value* v, std::vector<Value*>& dead) {
  Value* const* in = v->in();
  for (int k = 0; k < v->nin; ++k)
    if (--in[k]->refs == 0) dead.push_back(in[k]);
  if (v->nin > 3) delete[] v->many;
  v->nin = 0;
}

void drop_facts(Value* v) {
  if (v->attrs) release(v->attrs);
  v->attrs = nullptr;
  delete v->extra;
  v->extra = nullptr;
}

}  // namespace

Extra::~Extra() {
  if (code && g_location.drop) g_location.drop(code);
}

Value* first_pending() {
  Value& h = ring().head;
  return h.next == &h ? nullptr : h.next;
}

void destroy(Value* v) {
  // Deleting a chain is a loop over a work list, not a recursion. Extra may hold values too (metas,
  // sub-graphs): their release re-enters here, and is queued by the outer call.
  static thread_local std::vector<Value*> dead;
  static thread_local bool busy = false;
  dead.push_back(v);
  if (busy) return;
  busy = true;
  while (!dead.empty()) {
    Value* d = dead.back();
    dead.pop_back();
    unlink(d);
    drop_operands(d, dead);
    drop_facts(d);
    if (d->buffer) release(d->buffer);
    d->shape.~Shape();
    d->next = g_free;
    g_free = d;
  }
  busy = false;
}

ValueRef make_leaf(const Spec& spec, Buffer* buffer) {
  Value* v = fresh(kLeaf, spec, State::Ready);
  retain(buffer);
  v->buffer = buffer;
  return ValueRef(v);
}

ValueRef make_scalar(DType dtype, DeviceId device, double f, int64_t i) {
  Spec s;
  s.dtype = dtype;
  s.device = device;
  Value* v = fresh(kScalar, s, State::Scalar);
  if (is_floating(dtype)) v->num.f = f;
  else v->num.i = i;
  return ValueRef(v);
}

ValueRef make_cell(const Value* scalar, DeviceId device, int64_t cell) {
  ValueRef v = make_scalar(scalar->dtype, device, scalar->num.f, scalar->num.i);
  v->num = scalar->num;
  v->flags = scalar->flags;
  v->abstract = true;
  v->attrs = attrs({cell}).detach();
  return v;
}

void leave_pending(Value* v) { unlink(v); }

ValueRef make_param(const Spec& spec) { return ValueRef(fresh(kParam, spec, State::Param)); }

ValueRef record(OpId op, Value* const* in, int nin, AttrsRef a, Extra* extra) {
  std::unique_ptr<Extra> owned(extra);
  const OpTraits& t = traits(op);
  static const Ints none;
  const Ints& ints = a ? a->v : none;
  Spec few[4];
  std::vector<Spec> lots;
  Spec* specs = few;
  if (nin > 4) {
    lots.resize(static_cast<size_t>(nin));
    specs = lots.data();
  }
  bool abstract = false;
  int depth = 0;
  for (int k = 0; k < nin; ++k) {
    specs[k].shape = in[k]->shape;
    specs[k].dtype = in[k]->dtype;
    specs[k].device = in[k]->device;
    abstract |= in[k]->abstract;
    if (in[k]->pending() && in[k]->depth > depth) depth = in[k]->depth;
  }
  if (t.arity >= 0 && nin != t.arity)
    fail(t.name, "wrong number of operands", std::to_string(nin), std::to_string(t.arity) + " operands",
         ErrorKind::Type);
  // With several outputs the specs stand in extra, and the node's own are those of the first.
  Spec out = owned && !owned->outs.empty() ? owned->outs[0] : t.infer(t, specs, nin, ints);
  for (int k = 0; k < nin; ++k)
    if (specs[k].device != out.device)
      fail(t.name, "operands on different devices", to_string(specs[k].device) + " and " + to_string(out.device),
           "moving one with .to(device)");

  Value* v = fresh(op, out, State::Pending);
  ValueRef ref(v);
  v->abstract = abstract;
  v->nin = static_cast<uint16_t>(nin);
  Value** dst = v->few;
  if (nin > 3) dst = v->many = new Value*[static_cast<size_t>(nin)];
  for (int k = 0; k < nin; ++k) {
    retain(in[k]);
    dst[k] = in[k];
  }
  v->attrs = a.detach();
  v->extra = owned.release();
  if ((t.may_fail || g_locate_all) && g_location.locate) {
    if (!v->extra) v->extra = new Extra;
    g_location.locate(&v->extra->code, &v->extra->code_offset);
  }
  if (t.family == Family::Elementwise || t.family == Family::Create)
    v->depth = static_cast<uint16_t>(std::min(depth + t.cost, 60000));
  else if (t.family == Family::Movement)
    v->depth = static_cast<uint16_t>(depth);
  if (!abstract) link(v);
  return ref;
}

ValueRef output_of(Value* node, int k) {
  const Spec& s = node->extra->outs[static_cast<size_t>(k)];
  Value* v = fresh(kOutput, s, State::Pending);
  ValueRef ref(v);
  v->abstract = node->abstract;
  v->nin = 1;
  retain(node);
  v->few[0] = node;
  v->attrs = attrs({k}).detach();
  if (!v->abstract) link(v);
  return ref;
}

void make_ready(Value* v, Buffer* buffer) {
  static thread_local std::vector<Value*> dead;
  unlink(v);
  v->state = State::Ready;
  retain(buffer);
  v->buffer = buffer;
  v->depth = 0;
  drop_operands(v, dead);
  drop_facts(v);
  v->op = kLeaf;
  std::vector<Value*> gone;
  gone.swap(dead);
  for (Value* d : gone) destroy(d);
}

void retain(Graph* g) { ++g->refs; }
void release(Graph* g) {
  if (--g->refs == 0) delete g;
}

uint32_t next_mark() {
  static uint32_t mark = 0;
  return ++mark;
}

void postorder(const std::vector<Value*>& roots, bool (*enter)(const Value*), std::vector<Value*>& out) {
  struct Frame {
    Value* v;
    int next;
  };
  static thread_local std::vector<Frame> stack;
  uint32_t mark = next_mark();
  stack.clear();
  for (Value* r : roots) {
    if (r->mark == mark || !enter(r)) continue;
    r->mark = mark;
    stack.push_back({r, 0});
    while (!stack.empty()) {
      Frame& f = stack.back();
      if (f.next == f.v->nin) {
        out.push_back(f.v);
        stack.pop_back();
        continue;
      }
      Value* o = f.v->in(f.next++);
      if (o->mark == mark || !enter(o)) continue;
      o->mark = mark;
      stack.push_back({o, 0});
    }
  }
}

}  // namespace pd
