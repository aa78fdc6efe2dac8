// The op table as Python data: what tests, docs and stubs are made from.
#include <utility>

#include "graph/op_traits.h"
#include "ops/rows.h"
#include "python/tensor.h"

namespace pd {
namespace binding {

namespace {

const char* family_name(Family f) {
  constexpr const char* names[] = {"builtin",     "elementwise", "create", "reduce",  "movement",
                                   "contraction", "index",       "scan",   "control", "fallback"};
  return names[static_cast<int>(f)];
}

const char* diff_name(Diff d) { return d == Diff::Yes ? "yes" : d == Diff::Zero ? "zero" : "no"; }

py::list compute_types(uint32_t bits) {
  constexpr std::pair<TypeSet, DType> order[] = {{kB, DType::Bool},  {kI32, DType::I32}, {kI64, DType::I64},
                                                 {kU64, DType::U64}, {kF32, DType::F32}, {kF64, DType::F64}};
  py::list out;
  for (const auto& [bit, type] : order)
    if (bits & bit) out.append(name_of(type));
  return out;
}

}  // namespace

void bind_op_table(py::module_& m) {
  m.def("op_table", [] {
    py::list rows;
    for (int id = kFirstOp; id < op_count(); ++id) {
      const OpTraits& t = traits(static_cast<OpId>(id));
      py::dict d;
      d["name"] = t.name;
      d["family"] = family_name(t.family);
      d["arity"] = static_cast<int>(t.arity);
      d["doc"] = t.doc;
      d["twin"] = t.twin;
      d["domain"] = t.domain;
      d["types"] = compute_types(t.types);
      d["cost"] = static_cast<int>(t.cost);
      d["commutative"] = t.commutative;
      d["may_fail"] = t.may_fail;
      py::list diff, needs;
      for (int k = 0; k < 4 && (t.arity < 0 || k < t.arity); ++k) {
        diff.append(diff_name(t.diff[k]));
        needs.append((t.needs_in >> k & 1) != 0);
      }
      d["diff"] = diff;
      d["needs_in"] = needs;
      d["needs_out"] = t.needs_out;
      d["vjp"] = t.vjp != nullptr;
      d["jvp"] = t.jvp != nullptr;
      d["batch"] = t.batch != nullptr;
      rows.append(d);
    }
    return rows;
  }, "All ops: a list of dicts, one a row of the table.");
}

}  // namespace binding
}  // namespace pd
