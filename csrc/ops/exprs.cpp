#include "ops/exprs.h"

#include <memory>
#include <mutex>
#include <unordered_map>

#include "ops/op_ids.h"
#include "ops/rows_value.h"
#include "ops/vmath/narrow.h"

namespace pd {

namespace {

template <class T> constexpr unsigned type_bit() {
  if constexpr (std::is_same<T, bool>::value) return kB;
  else if constexpr (std::is_same<T, int32_t>::value) return kI32;
  else if constexpr (std::is_same<T, int64_t>::value) return kI64;
  else if constexpr (std::is_same<T, uint64_t>::value) return kU64;
  else if constexpr (std::is_same<T, float>::value) return kF32;
  else return kF64;
}

template <class T> E<T> input(ExprTree& t, int k) {
  if (t.inputs <= k) t.inputs = k + 1;
  return E<T>::at(t.add(Sc::Input, dtype_of<T>::value, k));
}

template <class Row, class T> bool build_row(ExprTree& t, DType out) {
  if constexpr (Row::out == RowOut::Draw) {
    if constexpr ((Row::types & type_bit<T>()) != 0) {
      if (out != dtype_of<T>::value) return false;
      auto i = input<int64_t>(t, 0), s = input<int64_t>(t, 1), k = input<int64_t>(t, 2);
      t.result = Row::template fwd<E<T>>(i, s, k).id;
      return true;
    }
  } else if constexpr ((Row::types & type_bit<T>()) != 0) {
    if (out != (Row::out == RowOut::Bool ? DType::Bool : dtype_of<T>::value)) return false;
    if constexpr (Row::arity == 1) {
      t.result = Row::fwd(input<T>(t, 0)).id;
    } else if constexpr (Row::arity == 2) {
      auto a = input<T>(t, 0), b = input<T>(t, 1);
      t.result = Row::fwd(a, b).id;
    } else {
      auto a = input<bool>(t, 0);
      auto b = input<T>(t, 1), c = input<T>(t, 2);
      t.result = Row::fwd(a, b, c).id;
    }
    return true;
  }
  return false;
}

template <class F> bool with_type(DType t, F f) {
  switch (t) {
    case DType::Bool: return f(bool());
    case DType::I32: return f(int32_t());
    case DType::I64: return f(int64_t());
    case DType::U64: return f(uint64_t());
    case DType::F32: return f(float());
    case DType::F64: return f(double());
    default: return false;
  }
}

// A draw is chosen by the type drawn: its operands are always int64.
template <class Row> bool build(ExprTree& t, DType in, DType out) {
  if (Row::out == RowOut::Draw && in != DType::I64) return false;
  return with_type(Row::out == RowOut::Draw ? out : in,
                   [&](auto zero) { return build_row<Row, decltype(zero)>(t, out); });
}

// A narrow type's value is its carrier (vmath/narrow.h).
bool build_narrow(ExprTree& t, DType in, DType out) {
  return with_type(carrier_type(is_narrow(in) ? in : out), [&](auto carrier) {
    using C = decltype(carrier);
    return with_narrow(is_narrow(in) ? in : out, [&](auto narrow) {
      using N = decltype(narrow);
      if constexpr (!std::is_same<N, int>::value && (std::is_same<C, int32_t>::value || std::is_same<C, int64_t>::value)) {
        constexpr bool integer = std::is_base_of<NarrowInteger<typename N::memory, C>, N>::value;
        if (in == out) return t.result = input<C>(t, 0).id, true;
        if (is_narrow(in) && out == compute_type(in)) {
          if constexpr (integer || std::is_same<C, int32_t>::value) return t.result = N::widen(input<C>(t, 0)).id, true;
        } else if constexpr (integer) {
          if (in == compute_type(out)) return t.result = N::narrow(input<C>(t, 0)).id, true;
        } else if constexpr (std::is_same<C, int32_t>::value) {
          if (in == DType::F32) return t.result = N::narrow(input<float>(t, 0)).id, true;
          if (in == DType::F64) return t.result = N::narrow(input<double>(t, 0)).id, true;
        }
      }
      return false;
    });
  });
}

bool build_cast(ExprTree& t, DType in, DType out) {
  if (is_narrow(in) || is_narrow(out)) return build_narrow(t, in, out);
  return with_type(in, [&](auto from) {
    return with_type(out, [&](auto to) {
      t.result = cast<decltype(to)>(input<decltype(from)>(t, 0)).id;
      return true;
    });
  });
}

using Build = bool (*)(ExprTree&, DType, DType);
const Build kBuild[] = {
#define ROW1(name, ...) build<rows::name>,
#define ROW2(name, ...) build<rows::name>,
#define ROW3(name, ...) build<rows::name>,
#define DRAW(name, ...) build<rows::name>,
#include "ops/all_rows.inc"
    build_cast,
};
static_assert(sizeof kBuild / sizeof *kBuild == op::cast - kFirstOp + 1, "one entry a row, then cast");

}  // namespace

const ExprTree* expr_for(OpId op, DType in, DType out) {
  if (op < kFirstOp || op > op::cast) return nullptr;
  static std::mutex lock;
  static auto* made = new std::unordered_map<uint32_t, std::unique_ptr<ExprTree>>;
  std::lock_guard<std::mutex> hold(lock);
  uint32_t key = uint32_t(op) << 8 | uint32_t(in) << 4 | uint32_t(out);
  auto [at, fresh] = made->try_emplace(key);
  if (fresh) {
    auto t = std::make_unique<ExprTree>();
    ExprTree::building() = t.get();
    if (kBuild[op - kFirstOp](*t, in, out)) at->second = std::move(t);
    ExprTree::building() = nullptr;
  }
  return at->second.get();
}

const ExprTree* cast_expr(DType from, DType to) { return expr_for(op::cast, from, to); }

}  // namespace pd
