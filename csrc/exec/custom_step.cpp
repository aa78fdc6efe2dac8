// One operation of the user's own: its arguments, and who computes it.
#include "device/cuda/cuda.h"
#include "device/device.h"
#include "exec/plan.h"

namespace pd {

namespace {

// Results that have elements before the kernel runs, for kernels that add to them.
void fill_results(const CustomCode& code, void* const* out, Stream stream) {
  Device& to = device(code.device);
  for (size_t k = 0; k < code.fill.size(); ++k)
    to.fill(out[k], &code.fill[k], size_of(code.outs[k].dtype), numel(code.outs[k].shape), stream);
}

}  // namespace

void run_custom_step(const CustomStep& s, void* const* slots, Buffer* const* owners, NativeError& error,
                     Stream stream) {
  const CustomCode& code = *s.code;
  int64_t elements = 0;
  for (const Spec& o : code.outs) elements += numel(o.shape);
  if (elements == 0) return;  // a grid may be of no size then
  const int nin = static_cast<int>(s.in.size()), nout = static_cast<int>(s.out.size());
  SmallVec<void*, 16> where;
  for (int slot : s.in) where.push_back(slots[slot]);
  for (int slot : s.out) where.push_back(slots[slot]);
  void* const* out = where.data() + nin;
  if (code.by_host()) {
    try {
      g_custom.run(code, where.data(), owners, out);
    } catch (...) {
      error.raised = std::current_exception();
      error.text = code.name;
      error.origin = s.origin;
    }
    return;
  }
  fill_results(code, out, stream);
  // A launch takes the address of each parameter; a compiled function of the CPU takes the addresses of tensors as such.
  const bool cuda = code.device.kind == DeviceKind::Cuda;
  SmallVec<void*, 16> args;
  for (int k = 0; k < nin + nout; ++k) args.push_back(cuda ? &where[k] : where[k]);
  for (const int64_t& v : code.scalars) args.push_back(const_cast<int64_t*>(&v));
  if (!cuda) return code.function(args.data());
  cuda_note_custom(code.name);
  try {
    device(code.device).launch(code.kernel, code.size, args.data(), stream);
  } catch (const Error& e) {
    throw Error(e.kind, "[" + code.name + "] " + e.what());
  }
}

}  // namespace pd
