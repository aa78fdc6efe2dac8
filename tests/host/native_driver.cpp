// The native kernels behind one C function, for test_native.py.
#include <cstring>

#include "device/cpu/pool.h"
#include "kernels/native.h"
#include "ops/op_ids.h"

namespace {

pd::OpId op_of(const char* name) {
#define X(id, family) \
  if (std::strcmp(name, #id) == 0) return pd::op::id;
  PD_FAMILY_OPS(X)
#undef X
  return pd::kLeaf;
}

}  // namespace

extern "C" {

void native_threads(int n) { pd::set_num_threads(n); }

int native_donates(const char* op) { return pd::may_donate(op_of(op)); }

// Tensor k, the result after the operands: dtypes[k] in the order of PD_DTYPES, the next ndims[k] of `sizes`, memory[k].
// 0: done; 1: done with an error in `text`; 2: no kernel.
int native_run(const char* op, int nin, const int* dtypes, const int* ndims, const int64_t* sizes, void* const* memory,
               const int64_t* attrs, int nattrs, char* text, int text_size) {
  pd::OpId id = op_of(op);
  pd::NativeFn fn = pd::native_for(id);
  if (!fn) return 2;
  std::vector<pd::Spec> specs(nin + 1);
  for (int k = 0; k <= nin; ++k) {
    specs[k].shape = pd::Shape(sizes, ndims[k]);
    specs[k].dtype = static_cast<pd::DType>(dtypes[k]);
    sizes += ndims[k];
  }
  pd::Ints attributes(attrs, nattrs);
  std::vector<pd::Ints> strides;
  for (const pd::Spec& s : specs) strides.push_back(contiguous_strides(s.shape));
  pd::NativeArgs args{id, nin, specs.data(), memory, &specs[nin], memory[nin], &attributes, strides.data()};
  pd::NativeError error;
  fn(args, error);
  std::strncpy(text, error.text.c_str(), text_size - 1);
  text[text_size - 1] = 0;
  return error.text.empty() ? 0 : 1;
}

}  // extern "C"
