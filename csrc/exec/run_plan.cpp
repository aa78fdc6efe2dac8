// Running a plan: addresses into slots, then step after step.
#include <algorithm>
#include <cstring>
#include <limits>

#include "device/cpu/pool.h"
#include "device/device.h"
#include "exec/cpu_replay.h"
#include "exec/cuda_replay.h"
#include "exec/native_call.h"
#include "exec/plan.h"
#include "exec/profile.h"
#include "exec/stats.h"
#include "kernels/cpu/gemm.h"

namespace pd {

namespace {

// Memory of temporaries, kept from run to run and given back when far too large, or larger than a limit leaves room for.
class Arena {
 public:
  char* get(int64_t bytes, int64_t most) {
    if (bytes > size_ || size_ > most || (size_ > (int64_t(64) << 20) && bytes < size_ / 8)) {
      drop();
      size_ = std::max<int64_t>(bytes, 4096);
      data_ = static_cast<char*>(device(DeviceId{}).allocate(static_cast<size_t>(size_)));
    }
    return data_;
  }
  void drop() {
    if (data_) device(DeviceId{}).free(data_, static_cast<size_t>(size_));
    data_ = nullptr;
    size_ = 0;
  }

 private:
  char* data_ = nullptr;
  int64_t size_ = 0;
};

void run_fused(const FusedStep& s, void* const* slots, profile::StepSpan& span) {
  KernelFn fn = s.kernel->compiled(s.elements);
  span.ready(s.kernel->name.c_str(), fn != nullptr);
  size_t scratch = s.kernel->scratch_per_minor;
  auto one = [&](const FusedLaunch& l) {
    SmallVec<void*, 24> bases;
    int n = static_cast<int>(l.slots.size());
    bases.resize(n);
    for (int k = 0; k < n; ++k) bases[k] = l.slots[static_cast<size_t>(k)] < 0 ? nullptr : slots[l.slots[static_cast<size_t>(k)]];
    run(l.launch, *s.kernel->interpreted, fn, scratch, bases.data());
  };
  if (s.parallel) {
    int64_t n = static_cast<int64_t>(s.launches.size());
    parallel_for(n, [&](int64_t k, int) { one(s.launches[static_cast<size_t>(k)]); });
  } else {
    for (const FusedLaunch& l : s.launches) one(l);
  }
  Stats& st = stats();
  st.kernels += static_cast<int64_t>(1);
  st.instructions += s.instructions;
}

const void* at(void* const* slots, int slot, int64_t elements, DType t) {
  return static_cast<const char*>(slots[slot]) + elements * static_cast<int64_t>(size_of(t));
}

void run_matmul(const MatmulStep& s, void* const* slots) {
  auto matrices = [&](const MatrixOperand& x) {
    return Matrices{at(slots, x.slot, x.offset, s.type), x.row, x.col, x.outer, x.inner};
  };
  const Matrices a = matrices(s.a), b = matrices(s.b);
  const Batch batch{s.outer, s.inner};
  ++stats().natives;
  if (s.type == DType::BF16) bf16_gemm(s.m, s.n, s.k, a, b, static_cast<float*>(slots[s.out]), batch);
  else gemm(s.type, s.m, s.n, s.k, a, b, slots[s.out], s.n, false, batch, s.m * s.n);
}

void run_native(const NativeStep& s, void* const* slots, NativeError& error) {
  s.fn(NativeCall(s, slots).args(), error);
  if (!error.text.empty()) error.origin = s.origin;
  ++stats().natives;
}

// Memory of the plan's own has no owner: it is used again.
void run_custom_on_cpu(const CustomStep& s, void* const* slots, int leaves, Buffer* const* leaf_owners,
                       NativeError& error) {
  SmallVec<Buffer*, 8> owners;
  for (int slot : s.in) owners.push_back(slot < leaves && leaf_owners ? leaf_owners[slot] : nullptr);
  run_custom_step(s, slots, owners.data(), error);
  ++stats().natives;
}

}  // namespace

void run_plan(Plan& plan, void* const* leaf_data, const int64_t* numbers, void* const* outputs, NativeError& error,
              Buffer* const* leaf_owners, profile::Run* watched) {
  static Arena arena;  // one plan runs at a time (evaluate.cpp)
  const bool cpu = plan.device.kind == DeviceKind::Cpu;
  SmallVec<void*, 64> slots;
  slots.resize(plan.slots);
  for (int k = 0; k < plan.leaves; ++k) slots[k] = leaf_data[k];
  for (size_t k = 0; k < plan.numbers.size(); ++k)
    slots[plan.leaves + static_cast<int>(k)] = const_cast<int64_t*>(&numbers[k]);
  for (const Plan::Constant& c : plan.constants) slots[c.slot] = const_cast<int64_t*>(&c.bits);
  for (size_t k = 0; k < plan.outputs.size(); ++k)
    if (plan.outputs[k].fresh) slots[plan.outputs[k].slot] = outputs[k];
  if (!cpu) {
    if (!plan.replay) plan.replay = std::make_shared<CudaReplay>(plan);
    if (!watched || watched->graphs()) {
      profile::StepSpan span(watched, -1);
      if (plan.replay->run(slots.data(), error)) return;
      span.cancel();
    }
  }
  const int64_t most = plan.memory_limit ? plan.memory_limit - (plan.peak - plan.arena) : std::numeric_limits<int64_t>::max();
  // Of a device with streams the memory is taken and given back in the stream's order.
  std::unique_ptr<Buffer, void (*)(Buffer*)> there(nullptr, [](Buffer* b) { release(b); });
  if (!cpu && plan.arena) there.reset(new_buffer(plan.device, static_cast<size_t>(plan.arena)));
  char* base = there ? static_cast<char*>(there->data) : plan.arena ? arena.get(plan.arena, most) : nullptr;
  for (const Plan::Temp& t : plan.temps) slots[t.slot] = base + t.offset;
  if (!cpu) return run_cuda_steps(plan, slots.data(), error, watched);
  auto run_step = [&](int k) {
    const Step& s = plan.steps[static_cast<size_t>(k)];
    profile::StepSpan span(watched, k);
    if (s.fused) run_fused(*s.fused, slots.data(), span);
    else if (s.matmul) run_matmul(*s.matmul, slots.data());
    else if (s.custom) run_custom_on_cpu(*s.custom, slots.data(), plan.leaves, leaf_owners, error);
    else run_native(*s.native, slots.data(), error);
    return error.text.empty();
  };
  if (plan.has_run && !watched) {
    if (!plan.cpu_replay) plan.cpu_replay = std::make_shared<CpuReplay>(plan);
    return plan.cpu_replay->run(slots.data(), run_step);
  }
  plan.has_run = true;
  for (int k = 0; k < static_cast<int>(plan.steps.size()); ++k)
    if (!run_step(k)) return;
}

}  // namespace pd
