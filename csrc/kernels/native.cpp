#include "kernels/native.h"

#include "kernels/cpu/native_kernels.h"
#include "ops/op_ids.h"

namespace pd {

NativeFn native_for(OpId op) {
  switch (op) {
    case op::argmax: return cpu::argmax;
    case op::argmin: return cpu::argmin;
    case op::topk: return cpu::topk;
    case op::concatenate: return cpu::concatenate;
    case op::slice_update: return cpu::slice_update;
    case op::index: return cpu::index;
    case op::index_put: return cpu::index_put;
    case op::gather: return cpu::gather;
    case op::scatter: return cpu::scatter;
    case op::cumsum: return cpu::cumsum;
    case op::convolution: return cpu::convolution;
    case op::attention: return cpu::attention;
    case op::attention_backward: return cpu::attention_backward;
    case op::sample_log_gamma: return cpu::sample_log_gamma;
    case op::sample_poisson: return cpu::sample_poisson;
    case op::sample_binomial: return cpu::sample_binomial;
    case op::sample_integer: return cpu::sample_integer;
    case op::log_gamma_slope: return cpu::log_gamma_slope;
    case op::check_range: return cpu::check_range;
    default: return nullptr;
  }
}

bool may_donate(OpId op) { return op == op::index_put || op == op::scatter || op == op::slice_update || op == op::check_range; }

bool joins(OpId op) { return op == op::concatenate; }

}  // namespace pd
