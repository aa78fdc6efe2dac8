// The loop of a row for this process, and the small facts about rows that running them needs.
#include "ops/loops.h"

#include <cstring>

#include "ops/op_ids.h"
#include "ops/vmath/scalar.h"

namespace pd {

LoopFn loop_for(OpId op, DType in, DType out, LoopShape shape) {
#if defined(__x86_64__) || defined(__i386__)
  if (host_isa_level() == Isa::Avx512) return loop_avx512(op, in, out, shape);
  if (host_isa_level() == Isa::Avx2) return loop_avx2(op, in, out, shape);
#endif
  return loop_baseline(op, in, out, shape);
}

int64_t number_bits(DType type, double f, int64_t i) {
  int64_t bits = 0;
  if (type == DType::F32) {
    const float v = static_cast<float>(f);
    std::memcpy(&bits, &v, sizeof v);
  } else if (type == DType::F64) {
    std::memcpy(&bits, &f, sizeof f);
  } else if (is_narrow(type)) {
    const DType from = is_floating(type) ? DType::F64 : compute_type(type);
    const int64_t wide = number_bits(from, f, i);
    const void* in[1] = {&wide};
    loop_for(op::cast, from, type)(in, &bits, 1);
  } else {
    bits = i;
  }
  return bits;
}

int64_t whole_number(DType type, double f) {
  switch (compute_type(type)) {
    case DType::Bool: return f != 0;
    case DType::I32: return cast<int32_t>(V<double>(f)).v;
    case DType::U64: return static_cast<int64_t>(cast<uint64_t>(V<double>(f)).v);
    default: return cast<int64_t>(V<double>(f)).v;
  }
}

int loop_cost(OpId op) {
  switch (op) {
#define ROW1(name, TYPES, OUT, FWD, DERIVATIVES, COST, ...) \
  case op::name: return COST;
#define ROW2(name, TYPES, OUT, FWD, DERIVATIVES, COST, ...) \
  case op::name: return COST;
#define ROW3(name, TYPES, OUT, FWD, DERIVATIVES, COST, ...) \
  case op::name: return COST;
#define DRAW(name, TYPES, FWD, COST, ...) \
  case op::name: return COST;
#include "ops/all_rows.inc"
    default: return 1;
  }
}

ReduceKind reduce_kind(OpId op) {
  switch (op) {
    case op::reduce_sum: return ReduceKind::Sum;
    case op::reduce_prod: return ReduceKind::Prod;
    case op::reduce_max: return ReduceKind::Max;
    case op::reduce_min: return ReduceKind::Min;
    case op::reduce_any: return ReduceKind::Any;
    case op::reduce_all: return ReduceKind::All;
    default: return ReduceKind::None;
  }
}

LoopFn combine_loop(ReduceKind kind, DType type) {
  switch (kind) {
    case ReduceKind::Sum: return loop_for(op::add, type, type);
    case ReduceKind::Prod: return loop_for(op::mul, type, type);
    case ReduceKind::Max: return loop_for(op::maximum, type, type);
    case ReduceKind::Min: return loop_for(op::minimum, type, type);
    case ReduceKind::Any: return loop_for(op::bitwise_or, type, type);
    case ReduceKind::All: return loop_for(op::bitwise_and, type, type);
    default: return nullptr;
  }
}

}  // namespace pd
