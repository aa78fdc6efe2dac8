#include "python/views.h"

#include <algorithm>

#include "python/convert.h"
#include "python/tracer.h"

namespace pd {
namespace binding {

// ---- movements

Var apply_step(const Var& x, const Step& s) {
  switch (s.kind) {
    case StepKind::Slice: return slice(x, s.a, s.b, s.c);
    case StepKind::Reshape: return reshape(x, s.a);
    case StepKind::Permute: return permute(x, s.a);
    case StepKind::Flip: return flip(x, s.a);
    case StepKind::Expand: return expand(x, s.a);
  }
  return x;
}

Var apply_steps(Var x, const Steps& steps) {
  for (const Step& s : steps) x = apply_step(x, s);
  return x;
}

Var scatter_steps(const char* op, const Var& base, const Steps& steps, const Var& part) {
  std::vector<Var> level;  // level[k]: what step k reads
  level.push_back(base);
  for (size_t k = 0; k + 1 < steps.size(); ++k) level.push_back(apply_step(level[k], steps[k]));
  Var now = part;
  for (size_t k = steps.size(); k-- > 0;) {
    const Step& s = steps[k];
    switch (s.kind) {
      case StepKind::Slice: now = slice_update(level[k], now, s.a, s.b, s.c); break;
      case StepKind::Reshape: now = reshape(now, level[k].shape()); break;
      case StepKind::Permute: {
        Ints inverse(s.a.size());
        for (int i = 0; i < s.a.size(); ++i) inverse[static_cast<int>(s.a[i])] = i;
        now = permute(now, inverse);
        break;
      }
      case StepKind::Flip: now = flip(now, s.a); break;
      case StepKind::Expand:
        if (level[k].shape() != s.a)
          fail(op, "several elements of an expanded tensor are one and the same in memory",
               to_string(level[k].shape()) + " expanded to " + to_string(s.a), ".clone() before writing into it",
               ErrorKind::Runtime);
        break;
    }
  }
  return now;
}

// ---- cells

namespace {

Var& base_of(Cell* c) {
  if (g_tracing && c->base) trace_touch(c->base);
  return c->base ? c->base->var : c->orphan;
}

void store_base(Cell* c, Var v) {
  if (c->base) {
    store(c->base, std::move(v));
    return;
  }
  if (v.v) ++v.v->handles;
  if (c->orphan.v) --c->orphan.v->handles;
  c->orphan = std::move(v);
}

Alias* join(Cell* c, TensorObject* t) {
  Alias* a = new Alias{c, t, nullptr, c->members, {}, c->generation, false, false};
  if (c->members) c->members->prev = a;
  c->members = a;
  ++c->count;
  t->alias = a;
  return a;
}

void part_from(Cell* c, Alias* a) noexcept {
  if (a->prev) a->prev->next = a->next;
  else c->members = a->next;
  if (a->next) a->next->prev = a->prev;
  --c->count;
  a->self->alias = nullptr;
  delete a;
}

// A cell with one member that is up to date is no cell.
void settle(Cell* c) noexcept {
  if (c->count > 1) return;
  if (c->count == 1) {
    Alias* last = c->members;
    TensorObject* t = last->self;
    if (c->base != t) {
      if (last->generation != c->generation) return;
      // The order of its memory decides what its reshapes share: it stays what it was.
      Ints st = strides_of(t);
      if (st != contiguous_strides(t->var.shape())) t->strides = new Ints(st);
    }
    part_from(c, last);
  }
  c->base = nullptr;
  store_base(c, Var());
  delete c->strides;
  delete c;
}

// A view is no leaf, and hooks on it are not hooks on its base, even where its steps change nothing.
Var own_edge(Var view, const Var& base) {
  if (!requires_grad(view) || view.m != base.m) return view;
  return carry_tangents(make_leaf_var(view), view);
}

bool leaf_edge(const Var& v) { return v.m && v.m->node && v.m->node->leaf; }

}  // namespace

void put_base(Cell* c, Var v) { store_base(c, std::move(v)); }

void leave_cell(TensorObject* t) noexcept {
  Alias* a = t->alias;
  if (!a) return;
  Cell* c = a->cell;
  if (c->base == t) {
    c->base = nullptr;
    store_base(c, t->var);
    if (t->strides) c->strides = new Ints(*t->strides);
  }
  part_from(c, a);
  settle(c);
}

void refresh(TensorObject* t) {
  Alias* a = t->alias;
  Cell* c = a->cell;
  if (c->base == t) return;
  if (a->generation != c->generation) {
    if (a->detached) {
      Var v = apply_steps(Var(base_of(c).v), a->steps);
      store(t, Var(v.v, t->var.m));
    } else {
      // The view is of the base as it is now, whatever the mode in which somebody looks at it.
      struct Mode {
        bool was = set_grad_enabled(true);
        ~Mode() { set_grad_enabled(was); }
      } mode;
      store(t, own_edge(apply_steps(base_of(c), a->steps), base_of(c)));
    }
    a->generation = c->generation;
  }
  settle(c);
}

PyObject* make_view(TensorObject* parent, Steps steps, Var value, bool detached) {
  bool cut = detached || (parent->alias && parent->alias->detached) || (!grad_enabled() && requires_grad(parent->var));
  if (!detached) value = grad_enabled() ? own_edge(std::move(value), parent->var) : carry_tangents(detach(value), value);
  PyObject* out = wrap(std::move(value));
  Cell* c;
  if (parent->alias) {
    c = parent->alias->cell;
  } else {
    c = new Cell;
    c->base = parent;
    join(c, parent);
  }
  Alias* from = parent->alias;
  bool of_leaf = from->of_leaf || (from->detached && leaf_edge(parent->var) && !detached);
  Alias* a = join(c, as_tensor_object(out));
  a->steps = from->steps;
  a->steps.insert(a->steps.end(), std::make_move_iterator(steps.begin()), std::make_move_iterator(steps.end()));
  a->detached = cut;
  a->of_leaf = of_leaf;
  return out;
}

// ---- writes

void check_writable(const char* op, TensorObject* t) {
  if (!grad_enabled()) return;
  Alias* a = t->alias;
  bool leaf = leaf_edge(t->var) || (a && a->of_leaf);
  if (leaf)
    fail(op, "a leaf that requires grad is changed in place", to_string(t->var.v->spec()),
         "with no_grad(): …, or the operation that returns a new tensor", ErrorKind::Runtime);
  if (a && a->cell->base != t && !a->detached && leaf_edge(base_of(a->cell)))
    fail(op, "a view of a leaf that requires grad is changed in place", to_string(t->var.v->spec()),
         "with no_grad(): …, or .clone() first", ErrorKind::Runtime);
}

void check_no_escape(const char* op, TensorObject* t, const Var& next) {
  if (!next.v->abstract) return;
  int64_t born = t->born;
  if (t->alias)
    for (Alias* a = t->alias->cell->members; a; a = a->next) born = std::min(born, a->self->born);
  if (born == g_latest_scope) return;
  std::vector<Value*> below;
  postorder({next.v.get()}, [](const Value* v) { return v->abstract; }, below);
  for (const Value* v : below)
    if (v->state == State::Param && v->num.i > born)
      fail(op, "a tensor from outside vmap is changed in place by a value that differs over the batch",
           to_string(next.v->spec()) + " for " + to_string(t->var.v->spec()),
           "returning the value from the function, or .clone() of the tensor inside it", ErrorKind::Runtime);
}

void assign(const char* op, TensorObject* t, Var next) {
  Var cur = value_of(reinterpret_cast<PyObject*>(t));
  if (next.shape() != cur.shape())
    fail(op, "the result has another shape than the tensor that it is written into",
         to_string(next.shape()) + " for " + to_string(cur.shape()), "the operation that returns a new tensor",
         ErrorKind::Runtime);
  if (info(next.dtype()).category > info(cur.dtype()).category)
    fail(op, "the result's dtype cannot be kept in the tensor", std::string(name_of(next.dtype())) + " for " + name_of(cur.dtype()),
         "the operation that returns a new tensor", ErrorKind::Runtime);
  if (next.device() != cur.device())
    fail(op, "operands on different devices", to_string(next.device()) + " and " + to_string(cur.device()),
         "moving one with .to(device)", ErrorKind::Runtime);
  check_no_escape(op, t, next);
  next = owned(op, next);
  if (next.dtype() != cur.dtype()) next = cast(next, cur.dtype());
  bool tape = grad_enabled();
  Alias* a = t->alias;
  if (a && a->cell->base != t) {
    Cell* c = a->cell;
    if (g_tracing && !c->base) trace_orphan(op, c);
    Var base = base_of(c), now;
    if (a->detached) now = with_edge_of(scatter_steps(op, Var(base.v), a->steps, Var(next.v)), base);
    else now = scatter_steps(op, base, a->steps, next);
    store_base(c, tape || a->detached ? now : with_edge_of(now, base));
    a->generation = ++c->generation;
  } else if (a) {
    ++a->cell->generation;
  }
  store(t, tape ? std::move(next) : with_edge_of(std::move(next), cur));
}

void become(const char* op, TensorObject* t, TensorObject* view) {
  if (leaf_edge(t->var))
    fail(op, "the shape of a leaf that requires grad is changed in place", to_string(t->var.v->spec()),
         "the operation that returns a new tensor", ErrorKind::Runtime);
  Alias *a = t->alias, *b = view->alias;
  if (!a || !b || a->cell != b->cell)
    fail(op, "the result is no view of the tensor", to_string(t->var.v->spec()), "the operation that returns a new tensor",
         ErrorKind::Runtime);
  std::swap(t->var, view->var);
  std::swap(t->head, view->head);
  std::swap(t->strides, view->strides);
  std::swap(t->alias, view->alias);
  a->self = view;
  b->self = t;
  if (a->cell->base == t) a->cell->base = view;
}

void assign_part(const char* op, TensorObject* t, const Steps& steps, const Var& part) {
  Var cur = value_of(reinterpret_cast<PyObject*>(t));
  assign(op, t, scatter_steps(op, cur, steps, part));
}

bool is_view_of(TensorObject* view, TensorObject* t, const Steps& steps) {
  Alias *a = view->alias, *b = t->alias;
  if (!a || !b || a->cell != b->cell || a == b) return false;
  size_t n = b->steps.size();
  if (a->steps.size() != n + steps.size() || a->cell->base == view) return false;
  for (size_t k = 0; k < a->steps.size(); ++k)
    if (!(a->steps[k] == (k < n ? b->steps[k] : steps[k - n]))) return false;
  return a->generation == a->cell->generation;
}

// ---- strides

namespace {

// Strides of the same memory seen in another shape, where there are such.
// Runs of old axes that lie one in the other (stride[k-1] == shape[k] * stride[k]) are cut up anew.
bool restride(const Shape& shape, const Ints& strides, const Shape& to, Ints& out) {
  out = contiguous_strides(to);
  if (numel(shape) == 0) return true;
  Shape s;
  Ints st;
  for (int i = 0; i < shape.size(); ++i)
    if (shape[i] != 1) {
      s.push_back(shape[i]);
      st.push_back(strides[i]);
    }
  int j = to.size() - 1;
  for (int i = s.size() - 1; i >= 0;) {
    int64_t run = s[i], unit = st[i];
    while (--i >= 0 && st[i] == run * unit) run *= s[i];
    int64_t done = 1;
    for (; j >= 0 && done < run; --j) {
      out[j] = unit * done;
      done *= to[j];
    }
    if (done != run) return false;
  }
  return true;
}

}  // namespace

Ints strides_of(TensorObject* t) {
  Alias* a = t->alias;
  if (!a || a->cell->base == t) return t->strides ? *t->strides : contiguous_strides(t->var.shape());
  Shape shape = base_of(a->cell).shape();
  const Ints* known = a->cell->base ? a->cell->base->strides : a->cell->strides;
  Ints st = known ? *known : contiguous_strides(shape);
  for (const Step& s : a->steps) switch (s.kind) {
      case StepKind::Slice:
        for (int i = 0; i < shape.size(); ++i) {
          shape[i] = s.b[i] > s.a[i] ? (s.b[i] - s.a[i] + s.c[i] - 1) / s.c[i] : 0;
          st[i] *= s.c[i];
        }
        break;
      case StepKind::Permute: {
        Shape sh = shape;
        Ints old = st;
        for (int i = 0; i < s.a.size(); ++i) {
          shape[i] = sh[static_cast<int>(s.a[i])];
          st[i] = old[static_cast<int>(s.a[i])];
        }
        break;
      }
      case StepKind::Flip:
        for (int64_t k : s.a) st[static_cast<int>(k)] = -st[static_cast<int>(k)];
        break;
      case StepKind::Expand: {
        int off = s.a.size() - shape.size();
        Ints old = st;
        st = Ints(s.a.size(), 0);
        for (int i = 0; i < shape.size(); ++i)
          if (shape[i] == s.a[off + i]) st[off + i] = old[i];
        shape = s.a;
        break;
      }
      case StepKind::Reshape: {
        Ints out;
        restride(shape, st, s.a, out);
        st = out;
        shape = s.a;
        break;
      }
    }
  return st;
}

bool reshape_shares(TensorObject* t, const Shape& to) {
  if (!t->alias && !t->strides) return true;
  Ints out;
  return restride(t->var.shape(), strides_of(t), to, out);
}

}  // namespace binding
}  // namespace pd
