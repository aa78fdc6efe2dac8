#include "kernels/cuda/native_cuda.h"

#include "kernels/check_range.h"
#include "kernels/cuda/launch.h"
#include "ops/op_ids.h"

namespace pd {

CudaNativeFn cuda_native_for(OpId op) {
  switch (op) {
    case op::argmax: return cuda::argmax;
    case op::argmin: return cuda::argmin;
    case op::topk: return cuda::topk;
    case op::convolution: return cuda::convolution;
    case op::concatenate: return cuda::concatenate;
    case op::slice_update: return cuda::slice_update;
    case op::index: return cuda::index;
    case op::index_put: return cuda::index_put;
    case op::gather: return cuda::gather;
    case op::scatter: return cuda::scatter;
    case op::cumsum: return cuda::cumsum;
    case op::sample_log_gamma: return cuda::sample_log_gamma;
    case op::sample_poisson: return cuda::sample_poisson;
    case op::sample_binomial: return cuda::sample_binomial;
    case op::sample_integer: return cuda::sample_integer;
    case op::log_gamma_slope: return cuda::log_gamma_slope;
    case op::check_range: return cuda::check_range;
    case op::attention: return cuda::attention;
    case op::attention_backward: return cuda::attention_backward;
    default: return nullptr;
  }
}

static const char* native_name(const NativeArgs& a) {
  switch (a.op) {
    case op::argmax: return "argmax";
    case op::argmin: return "argmin";
    case op::topk: return "topk";
    case op::index: return "index";
    case op::index_put: return "index_put";
    case op::gather: return "gather";
    case op::scatter: return a.attrs && (*a.attrs)[1] ? "scatter_add" : "scatter";
    case op::cumsum: return "cumsum";
    default: return "native";
  }
}

std::string cuda_native_error(const NativeArgs& a, const int64_t* cells) {
  if (a.op == op::check_range) return cells[0] ? range_error(*a.attrs, cells[1]) : "";
  std::string head = std::string("[") + native_name(a) + "] ", dtype = name_of(a.specs[0].dtype);
  switch (static_cast<cuda::ErrorCode>(cells[0])) {
    case cuda::ErrorCode::None: return "";
    case cuda::ErrorCode::EmptyAxis:
      return head + "no element to choose; got an axis of size 0; try an axis that is not empty";
    case cuda::ErrorCode::NotOrdered:
      return head + "no order for this dtype here; got " + dtype + "; try a cast to float32";
    case cuda::ErrorCode::NotAddable:
      return head + "no accumulation in this dtype; got " + dtype + "; try a cast to float32";
    case cuda::ErrorCode::NoSum:
      return head + "no running sum for this dtype; got " + dtype + "; try a cast to float32";
    case cuda::ErrorCode::OutOfRange: break;
  }
  std::string n = std::to_string(cells[2]);
  return head + "index out of range; got " + std::to_string(cells[1]) + " for an axis of size " + n + "; try " +
         (cells[2] ? "an index from -" + n + " to " + std::to_string(cells[2] - 1) : "an axis that is not empty");
}

ErrorKind cuda_native_error_kind(OpId op) { return op == op::check_range ? ErrorKind::Value : ErrorKind::Index; }

bool& cuda_deterministic() {
  static bool on = true;
  return on;
}

std::vector<CudaNativeText> cuda_native_texts() {
  std::vector<CudaNativeText> out;
  cuda::add_arg_reduce_texts(out);
  cuda::add_topk_texts(out);
  cuda::add_join_texts(out);
  cuda::add_index_texts(out);
  cuda::add_scan_texts(out);
  cuda::add_sampling_texts(out);
  cuda::add_matmul_texts(out);
  cuda::add_tiled_gemm_texts(out);
  cuda::add_small_gemm_texts(out);
  cuda::add_attention_texts(out);
  cuda::add_convolution_texts(out);
  return out;
}

}  // namespace pd
