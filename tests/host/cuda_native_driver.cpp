// The native kernels of a CUDA device beside their CPU twins, behind C functions, for test_cuda_native.py.
#include <algorithm>
#include <cstring>
#include <memory>

#include "kernels/cuda/convolution.h"
#include "kernels/cuda/launch.h"
#include "ops/op_ids.h"
#include "on_device.h"

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

void native_most_in_32_bits(int64_t n) { pd::cuda::most_in_32_bits() = n; }

// Whether operands of more than two axes lie with the second one innermost, as the strides say that a kernel then gets.
static bool places_first = false;
void native_places_first(int on) { places_first = on != 0; }

void native_deterministic(int on) { pd::cuda_deterministic() = on != 0; }

// Tensor k, the result after the operands: dtypes[k] in the order of PD_DTYPES, the next ndims[k] of `sizes`, memory[k]
// on the host. `device` 0: the CPU's kernel. 1: the CUDA kernel on copies that begin `offset` bytes after an aligned
// place; operands and result are copied back after it. donate: the result takes operand 0's memory.
// 0: done; 1: done with an error in `text`; 2: no kernel; 3: an Error was thrown, its text in `text`.
int native_run(int device, int offset, int donate, const char* op, int nin, const int* dtypes, const int* ndims,
               const int64_t* sizes, void* const* memory, const int64_t* attrs, int nattrs, char* text, int text_size) {
  pd::OpId id = op_of(op);
  std::vector<pd::Spec> specs(static_cast<size_t>(nin + 1));
  for (int k = 0; k <= nin; ++k) {
    specs[k].shape = pd::Shape(sizes, ndims[k]);
    specs[k].dtype = static_cast<pd::DType>(dtypes[k]);
    sizes += ndims[k];
  }
  pd::Ints attributes(attrs, nattrs);
  std::vector<pd::Ints> strides;
  for (const pd::Spec& s : specs) strides.push_back(contiguous_strides(s.shape));
  pd::NativeArgs args{id, nin, specs.data(), memory, &specs[nin], memory[nin], &attributes, strides.data()};
  if (!device) {
    pd::NativeFn fn = pd::native_for(id);
    if (!fn) return 2;
    pd::NativeError error;
    fn(args, error);
    copy_text(error.text, text, text_size);
    return error.text.empty() ? 0 : 1;
  }

  pd::CudaNativeFn fn = pd::cuda_native_for(id);
  if (!fn) return 2;
  for (int k = 0; k < nin && places_first; ++k) {
    pd::Ints& s = strides[k];
    s[1] = 1;
    int64_t step = specs[k].shape[1];
    for (int axis = s.size() - 1; axis != 1; axis = axis == 2 ? 0 : axis == 0 ? 1 : axis - 1) {
      s[axis] = step;
      step *= specs[k].shape[axis];
    }
  }
  try {
    pd::Device& d = open_device();
    std::vector<std::unique_ptr<OnDevice>> tensors;
    std::vector<void*> places;
    auto bytes = [&](int k) { return static_cast<size_t>(numel(specs[k].shape)) * size_of(specs[k].dtype); };
    for (int k = 0; k <= nin; ++k) {
      tensors.push_back(std::make_unique<OnDevice>(d, memory[k], bytes(k), static_cast<size_t>(offset)));
      places.push_back(tensors.back()->get());
    }
    args.in = places.data();
    args.out = donate ? places[0] : places[nin];
    int64_t cells[pd::kErrorCells] = {};
    OnDevice error(d, cells, sizeof(cells), 0);
    fn(args, pd::CudaNativeContext{d, {}, static_cast<int64_t*>(error.get())});
    d.synchronize();
    d.copy(cells, error.get(), sizeof(cells), pd::CopyKind::DeviceToHost);
    d.synchronize();
    for (int k = 0; k < nin; ++k)
      if (bytes(k) && !(donate && k == 0)) d.copy(memory[k], places[k], bytes(k), pd::CopyKind::DeviceToHost);
    if (bytes(nin)) d.copy(memory[nin], args.out, bytes(nin), pd::CopyKind::DeviceToHost);
    d.synchronize();
    copy_text(pd::cuda_native_error(args, cells), text, text_size);
    return text[0] ? 1 : 0;
  } catch (const std::exception& e) {
    copy_text(e.what(), text, text_size);
    return 3;
  }
}

// Launches of convolutions so far: on tensor cores, by tiles, for few channels, of a long k, of sums.
void native_convolutions(int64_t* counts) {
  const pd::ConvolutionCounts& c = pd::cuda_convolution_counts();
  const int64_t all[] = {c.tensor_cores, c.tiles, c.few, c.longest, c.sums};
  std::copy(std::begin(all), std::end(all), counts);
}

// Blocks of device memory in use.
int64_t native_live_blocks() { return pd::device({pd::DeviceKind::Cuda, 0}).memory_stats().live_blocks; }

int native_text_count() { return static_cast<int>(pd::cuda_native_texts().size()); }

// Compiles text k for an architecture: 0, or 1 with the compiler's words in `text`; its name in `name`. A text of another
// architecture is passed over.
int native_text_compile(int k, const char* arch, char* name, char* text, int size) {
  static const std::vector<pd::CudaNativeText> texts = pd::cuda_native_texts();
  copy_text(texts[k].name, name, size);
  copy_text("", text, size);
  if (!texts[k].arch.empty() && texts[k].arch != arch) return 0;
  try {
    pd::CudaImage image = pd::cuda_compile(texts[k].source, arch);
    copy_text(image.log, text, size);
    return image.ok ? 0 : 1;
  } catch (const std::exception& e) {
    copy_text(e.what(), text, size);
    return 1;
  }
}

}  // extern "C"
