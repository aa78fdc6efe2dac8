#include "python/tracer.h"

#include <condition_variable>
#include <mutex>

#include "graph/placeholders.h"
#include "ops/api.h"
#include "python/args.h"
#include "python/gil.h"

namespace pd {
namespace binding {

bool g_tracing = false;
Tracer* g_tracer = nullptr;

namespace {

char g_outside;

std::mutex& gate() {
  static auto* m = new std::mutex;
  return *m;
}
std::condition_variable& opened() {
  static auto* c = new std::condition_variable;
  return *c;
}

struct Paused {
  Tracer* t;
  bool was;
  explicit Paused(Tracer* t) : t(t), was(t->paused) { t->paused = true; }
  ~Paused() { t->paused = was; }
};

bool is_base(const TensorObject* t) { return t->alias && t->alias->cell->base == t; }

}  // namespace

uint32_t next_epoch() {
  static uint32_t last = 0;
  if (++last == 0) ++last;
  return last;
}
void* outside_trace() { return &g_outside; }
bool tracing_here() { return g_tracer && g_tracer->thread == PyThread_get_thread_ident(); }

void wait_for_trace() {
  while (g_tracing && !tracing_here()) {
    WithoutGil free;
    std::unique_lock<std::mutex> lock(gate());
    opened().wait(lock, [] { return !g_tracing; });
  }
}

// ---- what handles tell

void trace_touch(TensorObject* t) {
  Tracer* tr = g_tracer;
  if (tr->thread != PyThread_get_thread_ident()) {
    if (tr->source_of.count(t)) wait_for_trace();
    return;
  }
  if (!tr->paused && t->epoch != tr->epoch) tr->touch(t);
}
void trace_grad(TensorObject* t, bool read) {
  Tracer* tr = g_tracer;
  if (tr->thread != PyThread_get_thread_ident()) {
    if (tr->source_of.count(t)) wait_for_trace();
    return;
  }
  if (!tr->paused) tr->touch_grad(t, read);
}
void trace_born(TensorObject* t) {
  Tracer* tr = g_tracer;
  if (tr->thread != PyThread_get_thread_ident() || tr->paused) return;
  t->epoch = tr->epoch;
  tr->born.insert(t);
}
void trace_dead(TensorObject* t) noexcept { g_tracer->born.erase(t); }

void trace_orphan(const char* op, Cell* c) {
  Tracer* tr = g_tracer;
  if (tr->thread != PyThread_get_thread_ident() || tr->paused) return;
  for (Alias* a = c->members; a; a = a->next)
    if (!tr->born.count(a->self))
      fail(op, "a view whose base is gone is written while a function is traced, and others share its memory",
           to_string(a->self->var.v->spec()), ".clone() of it before", ErrorKind::Runtime);
}

// ---- the tracer

Tracer::Tracer(const std::vector<PyObject*>& args) : thread(PyThread_get_thread_ident()), epoch(next_epoch()) {
  wait_for_trace();
  {
    std::lock_guard<std::mutex> lock(gate());
    g_tracing = true;
    g_tracer = this;
  }
  try {
    for (size_t k = 0; k < args.size(); ++k) {
      TensorObject* t = as_tensor_object(args[k]);
      if (t->epoch != epoch) lift(t, TraceSource::Arg, static_cast<int>(k));
    }
  } catch (...) {
    restore();
    throw;
  }
}

Tracer::~Tracer() { restore(); }

int Tracer::lift(TensorObject* t, TraceSource::Kind kind, int of) {
  TraceSource s;
  s.kind = kind;
  s.of = of;
  s.handle = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(t));
  if (t->alias && !is_base(t)) {
    Cell* c = t->alias->cell;
    s.in_step = t->alias->generation == c->generation;
    if (!s.in_step) {
      auto base = c->base ? source_of.find(c->base) : source_of.end();
      if (base != source_of.end()) {
        s.kind = TraceSource::Derived;
        s.of = base->second;
      } else {
        Paused pause(this);
        refresh(t);
        s.in_step = true;
      }
    }
  }
  s.alias = t->alias;
  s.original = t->var;
  s.spec = t->var.v->spec();
  if (t->var.v->abstract)
    fail("jit", "a tensor that stands for another is read from outside the function", to_string(s.spec),
         "passing it as an argument", ErrorKind::Runtime);
  const Meta* m = t->var.m.get();
  if (m && !m->tangents.empty())
    fail("jit", "a tensor with a tangent is read from outside the function", to_string(s.spec), "passing it as an argument",
         ErrorKind::Runtime);
  const int at = static_cast<int>(sources.size());
  t->epoch = epoch;
  source_of[t] = at;
  if (s.kind != TraceSource::Derived) {
    Var lifted(make_param(s.spec));
    if (m && m->node) {
      if (m->node->leaf && m->node->owner == t) {
        lifted.m = t->var.m;
      } else {
        lifted = make_leaf_var(lifted);
        lifted.m->node->owner = &g_outside;
      }
    }
    s.lifted = lifted;
    sources.push_back(std::move(s));
    store(t, std::move(lifted));
  } else {
    sources.push_back(std::move(s));
  }
  return at;
}

void Tracer::touch(TensorObject* t) {
  if (born.count(t) || source_of.count(t)) {
    t->epoch = epoch;
    return;
  }
  lift(t, TraceSource::Handle, -1);
}

void Tracer::touch_grad(TensorObject* t, bool read) {
  if (born.count(t)) return;
  touch(t);
  const int at = source_of.at(t);
  if (sources[static_cast<size_t>(at)].grad_noted) return;
  PyObject* g = t->grad;
  TraceSource& s = sources[static_cast<size_t>(at)];
  s.grad_noted = true;
  s.grad_read = read;
  s.grad = py::reinterpret_borrow<py::object>(g ? g : Py_None);
  if (!read || !g) return;
  auto known = source_of.find(as_tensor_object(g));
  if (known != source_of.end()) s.grad_is = known->second;
  else if (!born.count(as_tensor_object(g))) lift(as_tensor_object(g), TraceSource::Grad, at);
}

py::list Tracer::host(const py::object& call, const py::object& undo, DeviceId device) {
  py::object given;
  {
    Paused pause(this);
    given = called(call);
  }
  HostCall h{call, undo, static_cast<int>(cells.size()), 0};
  py::list out;
  if (!given.is_none())
    for (const auto& o : given) {
      const int cell = static_cast<int>(cells.size());
      ++h.count;
      if (is_tensor(o.ptr())) {
        Paused pause(this);
        const Var v = value_of(o.ptr());
        if (v.v->abstract)
          fail("jit", "a number that Python computes at each call is a tensor that the function computes", to_string(v.v->spec()),
               "a Python number there, or the tensor given from outside", ErrorKind::Runtime);
        cells.push_back(Var(v.v));
        TraceSource s;
        s.kind = TraceSource::Host;
        s.of = cell;
        s.spec = v.v->spec();
        s.lifted = Var(make_param(s.spec));
        paused = pause.was;
        out.append(wrapped(s.lifted));
        sources.push_back(std::move(s));
      } else {
        const Var n = operand("jit", o.ptr(), DeviceId{});
        cells.push_back(n);
        out.append(wrapped(Var(make_cell(n.v.get(), device, cell))));
      }
    }
  calls.push_back(std::move(h));
  return out;
}

void Tracer::restore() {
  if (!active_) return;
  active_ = false;
  {
    std::lock_guard<std::mutex> lock(gate());
    g_tracing = false;
    g_tracer = nullptr;
  }
  opened().notify_all();
  for (TraceSource& s : sources) {
    if (s.kind == TraceSource::Host) continue;
    TensorObject* t = s.tensor();
    store(t, s.original);
    if (t->alias && !is_base(t)) {
      const uint64_t now = t->alias->cell->generation;
      t->alias->generation = s.in_step ? now : now - 1;
    }
    if (s.grad_noted) {
      PyObject* old = t->grad;
      t->grad = s.grad.is_none() ? nullptr : py::object(s.grad).release().ptr();
      Py_XDECREF(old);
    }
  }
}

void Tracer::undo_host() {
  for (size_t k = calls.size(); k-- > 0;)
    if (!calls[k].undo.is_none()) called(calls[k].undo);
}

}  // namespace binding
}  // namespace pd
