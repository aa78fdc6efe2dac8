// Looking at graphs: the verifier and two printers.
#include <sstream>
#include <unordered_map>

#include "graph/custom.h"
#include "graph/op_traits.h"
#include "graph/value.h"

namespace pd {

std::string to_string(const Spec& s) { return std::string(name_of(s.dtype)) + " " + to_string(s.shape); }

namespace {

bool any_value(const Value*) { return true; }

std::vector<Value*> ordered(const std::vector<Value*>& roots) {
  std::vector<Value*> out;
  postorder(roots, any_value, out);
  return out;
}

std::vector<Value*> results_of(const Graph& g) {
  std::vector<Value*> r;
  for (const ValueRef& v : g.results) r.push_back(v.get());
  return r;
}

const char* label(const Value* v) {
  switch (v->state) {
    case State::Ready: return "leaf";
    case State::Scalar: return "number";
    case State::Param: return "param";
    case State::Pending: break;
  }
  if (v->extra && v->extra->custom) return v->extra->custom->code->name.c_str();
  return v->op == kOutput ? "output" : traits(v->op).name;
}

std::string line(const Value* v, const std::unordered_map<const Value*, int>& id) {
  std::ostringstream s;
  s << "%" << id.at(v) << " = " << label(v);
  if (v->extra && v->extra->custom) s << "#" << v->extra->custom->code->id;  // a name may have several definitions
  s << " " << to_string(v->spec());
  for (int k = 0; k < v->nin; ++k) s << " %" << id.at(v->in(k));
  if (v->attrs) s << " " << to_string(v->attrs->v);
  if (v->is_scalar()) {
    if (is_floating(v->dtype)) s << " " << v->num.f;
    else if (v->dtype == DType::U64) s << " " << static_cast<uint64_t>(v->num.i);
    else s << " " << v->num.i;
  }
  return s.str();
}

std::unordered_map<const Value*, int> numbered(const std::vector<Value*>& order) {
  std::unordered_map<const Value*, int> id;
  for (const Value* v : order) id.emplace(v, static_cast<int>(id.size()));
  return id;
}

void check(bool ok, const Value* v, const std::string& what) {
  if (!ok)
    fail("verify", what, std::string(label(v)) + " " + to_string(v->spec()), "reporting this graph",
         ErrorKind::Runtime);
}

}  // namespace

void verify(const std::vector<Value*>& roots) {
  for (Value* v : ordered(roots)) {
    check(v->state == State::Pending || v->nin == 0, v, "a value that is not pending has operands");
    if (v->state == State::Ready) {
      check(v->buffer != nullptr, v, "a ready value has no buffer");
      check(static_cast<int64_t>(v->buffer->bytes) >= v->nbytes(), v, "a buffer is smaller than its value");
    }
    if (!v->pending()) continue;
    bool abstract = false;
    std::vector<Spec> specs;
    for (int k = 0; k < v->nin; ++k) {
      specs.push_back(v->in(k)->spec());
      abstract |= v->in(k)->abstract;
      check(v->in(k)->op == kOutput || !v->in(k)->multi() || v->op == kOutput, v,
            "an operand is a whole node of several outputs");
    }
    check(abstract == v->abstract, v, "the abstract flag does not follow from the operands");
    if (v->op == kOutput) {
      check(v->nin == 1 && v->in(0)->multi(), v, "an output of a node with a single one");
      size_t k = static_cast<size_t>(v->ints()[0]);
      check(k < v->in(0)->extra->outs.size() && v->in(0)->extra->outs[k] == v->spec(), v,
            "an output differs from what its node says");
      continue;
    }
    const OpTraits& t = traits(v->op);
    check(t.arity < 0 || t.arity == v->nin, v, "wrong number of operands");
    if (!v->multi()) {
      Spec s = t.infer(t, specs.data(), v->nin, v->ints());
      check(s == v->spec(), v, "inference gives " + to_string(s));
    }
    if (v->extra)
      for (const GraphRef& g : v->extra->subs) verify(*g);
  }
}

void verify(const Graph& g) {
  for (const ValueRef& p : g.params) check(p->state == State::Param, p.get(), "a parameter is not a placeholder");
  std::unordered_map<const Value*, int> own;
  for (const ValueRef& p : g.params) own.emplace(p.get(), 0);
  std::vector<Value*> roots = results_of(g);
  for (Value* v : ordered(roots)) {
    check(v->state != State::Param || own.count(v), v, "a sub-graph captures a placeholder of another");
    check(v->state != State::Ready, v, "a sub-graph captures a value; pass it as a parameter");
  }
  verify(roots);
}

std::string print(const std::vector<Value*>& roots) {
  std::string out;
  std::vector<Value*> order = ordered(roots);
  auto id = numbered(order);
  for (const Value* v : order) {
    out += line(v, id) + "\n";
    if (v->extra)
      for (const GraphRef& g : v->extra->subs) {
        std::istringstream body(print(*g));
        for (std::string l; std::getline(body, l);) out += "    " + l + "\n";
      }
  }
  return out;
}

std::string print(const Graph& g) {
  std::vector<Value*> roots = results_of(g);
  std::vector<Value*> all;
  for (const ValueRef& p : g.params) all.push_back(p.get());
  all.insert(all.end(), roots.begin(), roots.end());
  auto id = numbered(ordered(all));
  std::string out = print(all) + "return";
  for (const Value* r : roots) out += " %" + std::to_string(id.at(r));
  return out + "\n";
}

std::string dot(const std::vector<Value*>& roots) {
  std::vector<Value*> order = ordered(roots);
  auto id = numbered(order);
  std::string out = "digraph pydiff {\n  rankdir=TB; node [shape=box, fontname=\"monospace\"];\n";
  for (const Value* v : order) {
    std::string n = std::to_string(id.at(v));
    out += "  n" + n + " [label=\"" + label(v) + "\\n" + to_string(v->spec()) + "\"];\n";
    for (int k = 0; k < v->nin; ++k) out += "  n" + std::to_string(id.at(v->in(k))) + " -> n" + n + ";\n";
  }
  return out + "}\n";
}

}  // namespace pd
