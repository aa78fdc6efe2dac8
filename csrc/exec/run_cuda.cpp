// A plan's steps on a CUDA device: everything is given to the stream in order, and nothing is waited for.
#include "exec/run_cuda.h"

#include "device/cuda/cuda.h"
#include "exec/late_errors.h"
#include "exec/native_call.h"
#include "exec/profile.h"
#include "exec/stats.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/small_gemm.h"
#include "kernels/cuda/tiled_gemm.h"

namespace pd {

namespace {

using Bases = SmallVec<void*, 24>;

Bases bases_of(const FusedLaunch& l, void* const* slots) {
  Bases bases;
  for (int slot : l.slots) bases.push_back(slot < 0 ? nullptr : slots[slot]);
  return bases;
}

void run_one(FusedLaunch& l, void* const* slots, Device& device, Stream stream = {}) {
  const Bases bases = bases_of(l, slots);
  if (cuda::run(*l.cuda, device, stream, bases.data())) return;
  // Memory from elsewhere that is not aligned: the same work without vectors.
  if (!l.plain) {
    l.plain = std::make_unique<cuda::Launch>(l.make(false, false));
    cuda::build({l.plain.get()});
  }
  cuda::run(*l.plain, device, stream, bases.data());
}

// Behind a product that was made without.
void run_tail(FusedLaunch& l, void* const* slots, Device& device, Stream stream) {
  if (!l.cuda) l.cuda = std::make_unique<cuda::Launch>(l.make(true, false));
  cuda::build({l.cuda.get()});
  run_one(l, slots, device, stream);
  ++stats().kernels;
}

// The segments of a foreach: those that share a kernel in one launch.
void run_segments(FusedStep& s, void* const* slots, Device& device) {
  std::vector<const cuda::Launch*> all;
  for (const FusedLaunch& l : s.launches) all.push_back(l.cuda.get());
  cuda::for_each_kernel(all, [&](const std::vector<size_t>& places) {
    std::vector<const cuda::Launch*> launches;
    std::vector<Bases> bases;
    for (size_t k : places) {
      launches.push_back(all[k]);
      bases.push_back(bases_of(s.launches[k], slots));
    }
    std::vector<void* const*> addresses;
    for (const Bases& b : bases) addresses.push_back(b.data());
    if (cuda::run_together(launches, device, Stream{}, addresses)) return;
    for (size_t k : places) run_one(s.launches[k], slots, device);
  });
}

void run_fused(FusedStep& s, void* const* slots, Device& device) {
  if (s.launches.size() == 1) run_one(s.launches[0], slots, device);
  else run_segments(s, slots, device);
}

}  // namespace

// By one of pydiff's own kernels, where one is chosen and serves.
static bool run_own(const MatmulStep& s, const void* a, const void* b, void* c, DeviceId device, Stream stream) {
  if (cuda_gemm_choice() == CudaGemm::Cublas) return false;
  Device& d = pd::device(device);
  if (cuda_small_gemm_is_better(s.type, s.m, s.n, s.k, s.batch()))
    return cuda_small_gemm(d, s.type, s.a.trans(), s.b.trans(), s.m, s.n, s.k, a, s.a.lead(), b, s.b.lead(), c, s.n, s.batch(), s.a.inner, s.b.inner, s.m * s.n,
                           stream);
  if (cuda_gemm_choice() != CudaGemm::Own) return false;
  TiledGemm g;
  g.type = g.out = s.type;
  g.trans_a = s.a.trans(), g.trans_b = s.b.trans();
  g.m = s.m, g.n = s.n, g.k = s.k, g.lda = s.a.lead(), g.ldb = s.b.lead(), g.ldc = s.n;
  g.batch = s.batch(), g.stride_a = s.a.inner, g.stride_b = s.b.inner, g.stride_c = s.m * s.n;
  g.a = a, g.b = b, g.c = c;
  return cuda_tiled_gemm(d, g, stream);
}

// The product and what is behind it in one kernel of cuBLASLt.
static bool run_with_tail(const MatmulStep& s, const void* a, const void* b, void* const* slots, DeviceId device,
                          Stream stream) {
  if (cuda_gemm_choice() == CudaGemm::Own) return false;
  const int64_t item = static_cast<int64_t>(size_of(s.type));
  const char* bias = s.bias < 0 ? nullptr : static_cast<const char*>(slots[s.bias]) + s.obias * item;
  if (!cuda_gemm_epilogue(device, s.type, s.a.trans(), s.b.trans(), s.m, s.n, s.k, a, s.a.lead(), b, s.b.lead(), slots[s.out], s.n, bias, s.relu,
                          stream))
    return false;
  ++stats().epilogues;
  return true;
}

void run_cuda_matmul(const MatmulStep& s, void* const* slots, DeviceId device, Stream stream) {
  const int64_t item = static_cast<int64_t>(size_of(s.type));
  const char *a = static_cast<const char*>(slots[s.a.slot]) + s.a.offset * item, *b = static_cast<const char*>(slots[s.b.slot]) + s.b.offset * item;
  if (s.tail && run_with_tail(s, a, b, slots, device, stream)) return;
  if (!is_floating(s.type))
    cuda_integer_gemm(pd::device(device), s.type, s.a.trans(), s.b.trans(), s.m, s.n, s.k, a, s.a.lead(), b, s.b.lead(), slots[s.out], s.batch(),
                      s.a.inner, s.b.inner, stream);
  else if (!run_own(s, a, b, slots[s.out], device, stream))
    cuda_gemm(device, s.type, s.a.trans(), s.b.trans(), s.m, s.n, s.k, a, s.a.lead(), b, s.b.lead(), slots[s.out], s.n, false, s.batch(), s.a.inner, s.b.inner,
              s.m * s.n, stream);
  if (s.tail) run_tail(*s.tail, slots, pd::device(device), stream);
}

void run_cuda_native(const NativeStep& s, void* const* slots, int64_t* cells, Device& device, Stream stream,
                     CudaScratch* scratch) {
  int64_t* const error = s.error < 0 ? nullptr : cells + s.error * kErrorCells;
  s.cuda_fn(NativeCall(s, slots).args(), CudaNativeContext{device, stream, error, scratch});
}

void count_steps(const Plan& plan) {
  for (const Step& s : plan.steps) {
    if (s.fused) stats().instructions += s.fused->instructions;
    ++(s.fused ? stats().kernels : stats().natives);
  }
}

void run_cuda_steps(Plan& plan, void* const* slots, NativeError& error, profile::Run* watched) {
  Device& device = pd::device(plan.device);
  const size_t bytes = static_cast<size_t>(plan.errors) * kErrorCells * sizeof(int64_t);
  BufferRef cells;
  if (bytes) {
    cells = BufferRef::adopt(new_buffer(plan.device, bytes));
    device.zero(cells->data, bytes);
  }
  int64_t* const first = bytes ? static_cast<int64_t*>(cells->data) : nullptr;
  int step = 0;
  for (const Step& s : plan.steps) {
    profile::StepSpan span(watched, step++);
    if (s.fused) run_fused(*s.fused, slots, device);
    else if (s.matmul) run_cuda_matmul(*s.matmul, slots, plan.device, Stream{});
    else if (s.custom) run_custom_step(*s.custom, slots, nullptr, error);
    else run_cuda_native(*s.native, slots, first, device, Stream{}, nullptr);
  }
  count_steps(plan);
  if (bytes) error.late = watch_errors(plan, first);
}

}  // namespace pd
