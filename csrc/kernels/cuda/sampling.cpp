// Samplers, a thread an element, and the check of parameters. Results and errors are the CPU's.
#include "kernels/check_range.h"
#include "kernels/cuda/launch.h"

namespace pd {
namespace cuda {

namespace {

#define PD_SAMPLERS(...) #__VA_ARGS__
const char* const kSamplers =
#include "kernels/samplers.inc"
    ;
#undef PD_SAMPLERS

const char* const kBitsText = R"cuda(
PD_DEVICE i64 pd_bits_of(f64 x) { return __double_as_longlong(x); }
PD_DEVICE f64 pd_of_bits(i64 x) { return __longlong_as_double(x); }
)cuda";

// A head gives PARAMETERS, Value, and SAMPLE(draws, i), the element.
const char* const kSampleText = R"cuda(
PD_KERNEL sample(const Value* __restrict__ a, const Value* __restrict__ b, const i64* stream, const i64* key,
                 Value* __restrict__ out, i64 n, i64 once) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
    PdDraws draws = pd_draws(i % once, *stream, *key);
    out[i] = SAMPLE;
  }
}
)cuda";

const char* const kSlopeText = R"cuda(
PD_KERNEL slopes(const f64* __restrict__ shape, const f64* __restrict__ y, f64* __restrict__ out, i64 n) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)
    out[i] = pd_log_gamma_slope(shape[i], y[i]);
}
)cuda";

const char* const kCheckText = R"cuda(
PD_KERNEL check(const T* x, T* out, i64 n, f64 low, f64 high, i64 above, i64 below, i64* error) {
  for (i64 i = blockIdx.x * (i64)blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x) {
    const f64 v = (f64)x[i];
    if (!((above ? v > low : v >= low) && (below ? v < high : v <= high))) tell_fault(error, i, __double_as_longlong(v), 0);
    out[i] = x[i];
  }
}
)cuda";

std::string sample_text(const Head& head) { return head.text() + kBitsText + kSamplers + kSampleText; }
std::string slope_text(const Head& head) { return head.text() + kBitsText + kSamplers + kSlopeText; }
std::string check_text(const Head& head) { return head.text() + kFaultText + kCheckText; }

Head sample_head(const char* value, const char* sample) {
  Head h;
  return h.type("Value", value).code(std::string("#define SAMPLE ") + sample + "\n");
}
Head check_head(DType t) {
  Head h;
  return h.type("T", arithmetic_type(t));
}

constexpr const char *kGamma = "pd_log_gamma_draw(a[i], draws)", *kPoisson = "pd_poisson_draw(a[i], draws)",
                     *kBinomial = "pd_binomial_draw(a[i], b[i], draws)", *kInteger = "pd_integer_draw(a[i], draws)";

void run_sample(const NativeArgs& a, const CudaNativeContext& c, const char* value, const char* sample) {
  const int64_t n = numel(a.out_spec->shape), once = (*a.attrs)[0];
  if (n == 0) return;
  launch(c, sample_text, sample_head(value, sample), "sample", blocks_for(c, n),
         {&a.in[0], &a.in[a.nin == 4 ? 1 : 0], &a.in[a.nin - 2], &a.in[a.nin - 1], &a.out, &n, &once});
}

}  // namespace

void sample_log_gamma(const NativeArgs& a, const CudaNativeContext& c) { run_sample(a, c, "f64", kGamma); }
void sample_poisson(const NativeArgs& a, const CudaNativeContext& c) { run_sample(a, c, "f64", kPoisson); }
void sample_binomial(const NativeArgs& a, const CudaNativeContext& c) { run_sample(a, c, "f64", kBinomial); }
void sample_integer(const NativeArgs& a, const CudaNativeContext& c) { run_sample(a, c, "i64", kInteger); }

void log_gamma_slope(const NativeArgs& a, const CudaNativeContext& c) {
  const int64_t n = numel(a.out_spec->shape);
  if (n == 0) return;
  launch(c, slope_text, Head(), "slopes", blocks_for(c, n), {&a.in[0], &a.in[1], &a.out, &n});
}

void check_range(const NativeArgs& a, const CudaNativeContext& c) {
  const int64_t n = numel(a.out_spec->shape);
  if (n == 0) return;
  const Range r(*a.attrs);
  const int64_t above = r.above, below = r.below;
  launch(c, check_text, check_head(a.specs[0].dtype), "check", blocks_for(c, n),
         {&a.in[0], &a.out, &n, &r.low, &r.high, &above, &below, &c.error});
}

void add_sampling_texts(Texts& out) {
  out.push_back({"sample gamma", sample_text(sample_head("f64", kGamma))});
  out.push_back({"sample poisson", sample_text(sample_head("f64", kPoisson))});
  out.push_back({"sample binomial", sample_text(sample_head("f64", kBinomial))});
  out.push_back({"sample integer", sample_text(sample_head("i64", kInteger))});
  out.push_back({"log_gamma_slope", slope_text(Head())});
  for (DType t : {DType::F32, DType::F64}) out.push_back({std::string("check_range ") + name_of(t), check_text(check_head(t))});
}

}  // namespace cuda
}  // namespace pd
