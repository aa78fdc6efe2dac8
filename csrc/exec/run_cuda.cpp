// A plan's steps on a CUDA device: everything is given to the stream in order, and nothing is waited for.
#include "device/cuda/cuda.h"
#include "device/device.h"
#include "exec/late_errors.h"
#include "exec/plan.h"
#include "exec/stats.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/tiled_gemm.h"

namespace pd {

namespace {

using Bases = SmallVec<void*, 24>;

Bases bases_of(const FusedLaunch& l, void* const* slots) {
  Bases bases;
  for (int slot : l.slots) bases.push_back(slot < 0 ? nullptr : slots[slot]);
  return bases;
}

void run_one(FusedLaunch& l, void* const* slots, Device& device) {
  const Bases bases = bases_of(l, slots);
  if (cuda::run(*l.cuda, device, Stream{}, bases.data())) return;
  // Memory from elsewhere that is not aligned: the same work without vectors.
  if (!l.plain) {
    l.plain = std::make_unique<cuda::Launch>(l.make_plain());
    cuda::build({l.plain.get()});
  }
  cuda::run(*l.plain, device, Stream{}, bases.data());
}

// The segments of a foreach: those that share a kernel in one launch.
void run_segments(FusedStep& s, void* const* slots, Device& device) {
  std::vector<char> done(s.launches.size(), 0);
  for (size_t first = 0; first < s.launches.size(); ++first) {
    if (done[first] || !s.launches[first].cuda->build) continue;
    std::vector<size_t> places;
    std::vector<Bases> bases;
    for (size_t k = first; k < s.launches.size(); ++k) {
      if (s.launches[k].cuda->build != s.launches[first].cuda->build) continue;
      done[k] = 1;
      places.push_back(k);
      bases.push_back(bases_of(s.launches[k], slots));
    }
    std::vector<const cuda::Launch*> launches;
    std::vector<void* const*> addresses;
    for (size_t i = 0; i < places.size(); ++i) {
      launches.push_back(s.launches[places[i]].cuda.get());
      addresses.push_back(bases[i].data());
    }
    if (cuda::run_together(launches, device, Stream{}, addresses)) continue;
    for (size_t k : places) run_one(s.launches[k], slots, device);
  }
}

void run_fused(FusedStep& s, void* const* slots, Device& device) {
  if (s.launches.size() == 1) run_one(s.launches[0], slots, device);
  else run_segments(s, slots, device);
  ++stats().kernels;
  stats().instructions += s.instructions;
}

// By pydiff's own kernel, where it is asked for and serves.
bool run_tiled(const MatmulStep& s, const void* a, const void* b, void* c, DeviceId device) {
  if (!cuda_own_gemm()) return false;
  TiledGemm g;
  g.type = g.out = s.type;
  g.trans_a = s.ta, g.trans_b = s.tb;
  g.m = s.m, g.n = s.n, g.k = s.k, g.lda = s.lda, g.ldb = s.ldb, g.ldc = s.n;
  g.batch = s.batch, g.stride_a = s.sa, g.stride_b = s.sb, g.stride_c = s.m * s.n;
  g.a = a, g.b = b, g.c = c;
  return cuda_tiled_gemm(pd::device(device), g, Stream{});
}

void run_matmul(const MatmulStep& s, void* const* slots, DeviceId device) {
  const int64_t item = static_cast<int64_t>(size_of(s.type));
  const char *a = static_cast<const char*>(slots[s.a]) + s.oa * item, *b = static_cast<const char*>(slots[s.b]) + s.ob * item;
  if (!is_floating(s.type))
    cuda_integer_gemm(pd::device(device), s.type, s.ta, s.tb, s.m, s.n, s.k, a, s.lda, b, s.ldb, slots[s.out], s.batch,
                      s.sa, s.sb, Stream{});
  else if (!run_tiled(s, a, b, slots[s.out], device))
    cuda_gemm(device, s.type, s.ta, s.tb, s.m, s.n, s.k, a, s.lda, b, s.ldb, slots[s.out], s.n, false, s.batch, s.sa, s.sb,
            s.m * s.n, Stream{});
  ++stats().natives;
}

NativeArgs arguments(const NativeStep& s, void* const* slots, std::vector<const void*>& in) {
  for (int k : s.in) in.push_back(slots[k]);
  return {s.op, static_cast<int>(s.in.size()), s.specs.data(), in.data(), &s.out_spec, slots[s.out], &s.attrs};
}

}  // namespace

void run_cuda_steps(Plan& plan, void* const* slots, NativeError& error) {
  Device& device = pd::device(plan.device);
  const size_t bytes = static_cast<size_t>(plan.errors) * kErrorCells * sizeof(int64_t);
  BufferRef cells;
  if (bytes) {
    cells = BufferRef::adopt(new_buffer(plan.device, bytes));
    device.zero(cells->data, bytes);
  }
  for (const Step& s : plan.steps) {
    if (s.fused) {
      run_fused(*s.fused, slots, device);
    } else if (s.matmul) {
      run_matmul(*s.matmul, slots, plan.device);
    } else if (s.custom) {
      run_custom_step(*s.custom, slots, nullptr, error);
    } else {
      std::vector<const void*> in;
      const NativeArgs a = arguments(*s.native, slots, in);
      int64_t* own = s.native->error < 0 ? nullptr : static_cast<int64_t*>(cells->data) + s.native->error * kErrorCells;
      s.native->cuda_fn(a, CudaNativeContext{device, Stream{}, own});
      ++stats().natives;
    }
  }
  if (bytes) error.late = watch_errors(plan, static_cast<const int64_t*>(cells->data));
}

}  // namespace pd
