// Dispatch over the families, and the helpers that they share.
#include "ops/families.h"

#include <algorithm>

namespace pd {

OpTraits family_op(OpId id) {
  switch (id) {
    case op::reshape: case op::permute: case op::expand: return movement_row(id);
    case op::slice: case op::flip: case op::pad: case op::slice_update: return slicing_row(id);
    case op::concatenate: return concatenate_row();
    case op::index: case op::index_put: case op::gather: case op::scatter: return index_row(id);
    case op::cumsum: return scan_row();
    case op::topk: return topk_row();
    case op::sample_log_gamma: case op::sample_poisson: case op::sample_binomial: case op::sample_integer:
    case op::log_gamma_slope: case op::check_range: return sampling_row(id);
    case op::dot: return contraction_row();
    case op::convolution: return convolution_row();
    case op::attention: case op::attention_backward: return attention_row(id);
    case op::fallback: case op::call: case op::foreach: return control_row(id);
    case op::custom: return custom_row();
    default: return reduce_row(id);
  }
}

void check_axes(const char* op, const Ints& axes, int ndim) {
  for (int i = 0; i < axes.size(); ++i)
    if (axes[i] < 0 || axes[i] >= ndim || (i && axes[i] <= axes[i - 1]))
      fail(op, "axes must ascend and lie in the shape", to_string(axes) + " for " + std::to_string(ndim) + " dimensions",
           "axes from 0 to " + std::to_string(ndim - 1), ErrorKind::Index);
}

void check_size(const char* op, const Shape& s) {
  int64_t n = 16;
  for (int64_t d : s)
    if (d && __builtin_mul_overflow(n, d, &n))
      fail(op, "more elements than can be counted", to_string(s), "smaller sizes");
}

Ints normalize_axes(const char* op, const Axes& axes, int ndim) {
  Ints out;
  if (axes.all) {
    for (int k = 0; k < ndim; ++k) out.push_back(k);
    return out;
  }
  for (int64_t k : axes.list) {
    int64_t n = normalize_axis(op, k, ndim);
    for (int64_t seen : out)
      if (seen == n) fail(op, "an axis stands twice", to_string(axes.list), "each axis once");
    out.push_back(n);
  }
  if (ndim == 0) out.clear();
  std::sort(out.begin(), out.end());
  return out;
}

Shape drop_axes(const Shape& s, const Ints& axes) {
  Shape out;
  int j = 0;
  for (int k = 0; k < s.size(); ++k)
    if (j < axes.size() && axes[j] == k) ++j;
    else out.push_back(s[k]);
  return out;
}

int64_t count_along(const Shape& s, const Ints& axes) {
  int64_t n = 1;
  for (int64_t k : axes) n *= s[static_cast<int>(k)];
  return n;
}

Var keep_axes(const Var& y, const Shape& before, const Ints& axes) {
  Shape s = before;
  for (int64_t k : axes) s[static_cast<int>(k)] = 1;
  return reshape(y, s);
}

Ints join(const Ints& a, const Ints& b) {
  Ints out = a;
  for (int64_t v : b) out.push_back(v);
  return out;
}

void require_kernel(const char* op, DType t, uint32_t types) {
  uint32_t bit = 0;
  switch (t) {
    case DType::Bool: bit = kB; break;
    case DType::I32: bit = kI32; break;
    case DType::I64: bit = kI64; break;
    case DType::U64: bit = kU64; break;
    case DType::F32: bit = kF32; break;
    case DType::F64: bit = kF64; break;
    default: break;
  }
  if (bit & types) return;
  const char* advice = is_floating(t) ? "casting to float32: x.float()"
                       : is_complex(t) ? "the real and the imaginary part apart"
                       : (types & kI64) ? "casting to int64: x.long()"
                                        : "casting to float32: x.float()";
  fail(op, "does not take this dtype", name_of(t), advice, ErrorKind::Type);
}

void require_floating(const char* op, const Var& x) {
  if (!is_floating(x.dtype()))
    fail(op, "needs floating-point values", name_of(x.dtype()),
         std::string("casting first: x.float().") + op + "(...)", ErrorKind::Type);
}

void require_equal_types(const OpTraits& op, const Spec& a, const Spec& b) {
  if (a.dtype != b.dtype)
    fail(op.name, "operands differ in dtype", std::string(name_of(a.dtype)) + " and " + name_of(b.dtype),
         "casting one: x.to(dtype)", ErrorKind::Type);
}

Var with_batch(const BatchArgs& a, int k) {
  if (a.batched[k]) return a.in[k];
  return expand(a.in[k], join({a.size}, a.in[k].shape()));
}

}  // namespace pd
