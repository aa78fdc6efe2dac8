// What the native CUDA kernels share: a text's head, its kernels remembered, arguments, temporaries, and the cells in
// which a kernel leaves an error.
#pragma once
#include <algorithm>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/divide.h"
#include "kernels/cuda/native_cuda.h"

namespace pd {
namespace cuda {

void argmax(const NativeArgs& a, const CudaNativeContext& c);
void argmin(const NativeArgs& a, const CudaNativeContext& c);
void topk(const NativeArgs& a, const CudaNativeContext& c);
void convolution(const NativeArgs& a, const CudaNativeContext& c);
void concatenate(const NativeArgs& a, const CudaNativeContext& c);
void slice_update(const NativeArgs& a, const CudaNativeContext& c);
void index(const NativeArgs& a, const CudaNativeContext& c);
void index_put(const NativeArgs& a, const CudaNativeContext& c);
void gather(const NativeArgs& a, const CudaNativeContext& c);
void scatter(const NativeArgs& a, const CudaNativeContext& c);
void cumsum(const NativeArgs& a, const CudaNativeContext& c);
void sample_log_gamma(const NativeArgs& a, const CudaNativeContext& c);
void sample_poisson(const NativeArgs& a, const CudaNativeContext& c);
void sample_binomial(const NativeArgs& a, const CudaNativeContext& c);
void sample_integer(const NativeArgs& a, const CudaNativeContext& c);
void log_gamma_slope(const NativeArgs& a, const CudaNativeContext& c);
void check_range(const NativeArgs& a, const CudaNativeContext& c);
void attention(const NativeArgs& a, const CudaNativeContext& c);
void attention_backward(const NativeArgs& a, const CudaNativeContext& c);

using Texts = std::vector<CudaNativeText>;
void add_arg_reduce_texts(Texts& out);
void add_topk_texts(Texts& out);
void add_join_texts(Texts& out);
void add_index_texts(Texts& out);
void add_scan_texts(Texts& out);
void add_sampling_texts(Texts& out);
void add_matmul_texts(Texts& out);
void add_tiled_gemm_texts(Texts& out);
void add_small_gemm_texts(Texts& out);
void add_attention_texts(Texts& out);
void add_convolution_texts(Texts& out);

// ---- errors: cell 0 is one of these, then index and axis size of a fault, its place, and a lock

enum class ErrorCode : int64_t { None, OutOfRange, EmptyAxis, NotOrdered, NotAddable, NoSum };
// The error is known before anything runs; an index out of range, found later, takes its place.
void tell(const CudaNativeContext& c, ErrorCode code);

// `tell_fault` of kernels: the fault that stays is the first in the order of places, as on the CPU.
extern const char* const kFaultText;

// ---- texts

// Names for types and constants, printed before the text of a family.
class Head {
 public:
  Head& type(const char* name, const char* what);
  Head& number(const char* name, int64_t value);
  Head& flag(const char* name, bool value);
  Head& elements(DType t);  // T, Sum and KIND, as element_text.h wants them
  Head& code(const std::string& lines);  // last: what is neither
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// A family's text for a head.
using Compose = std::string (*)(const Head& head);

const char* word_type(int64_t bytes);              // an unsigned type of 1, 2, 4, 8 or 16 bytes, to move elements
const char* arithmetic_type(DType t);              // "f32", …; null for 16-bit floats and complex numbers
// Kernels count in 32 bits up to this many elements, which leaves room for a grid's stride. Tests lower it.
int64_t& most_in_32_bits();
inline bool fits_32(int64_t elements) { return elements <= most_in_32_bits(); }

// ---- launches

constexpr int kThreads = 256;

// Enough blocks for `items`, `per_block` at a time, but no more than keep the device busy: kernels loop over the rest.
uint32_t blocks_for(const CudaNativeContext& c, int64_t items, int64_t per_block = kThreads);

// A kernel's parameter that is a struct: 64-bit fields first, then arrays of the kernel's index type.
class Fields {
 public:
  explicit Fields(bool wide) : wide_(wide) {}
  void word(int64_t v) { bytes(&v, 8); }
  void pointer(const void* p) { bytes(&p, 8); }
  void index(int64_t v) { bytes(&v, wide_ ? 8 : 4); }  // the low half, which comes first
  const void* data() const { return data_.data(); }

 private:
  void bytes(const void* p, size_t n);
  std::vector<int64_t> data_;
  size_t size_ = 0;
  bool wide_;
};

// Parameters are given by address. An int64_t stands for a 32-bit parameter too: its low half comes first.
void launch(const CudaNativeContext& c, Compose compose, const Head& head, const char* function, uint32_t blocks,
            std::initializer_list<const void*> params, uint32_t blocks_y = 1, uint32_t threads = kThreads,
            size_t dynamic_shared_bytes = 0);

// Memory of the device until the end of the scope, on the context's stream.
class Scratch {
 public:
  Scratch(const CudaNativeContext& c, int64_t bytes)
      : c_(c), bytes_(static_cast<size_t>(std::max<int64_t>(bytes, 1))), ptr_(take()) {}
  ~Scratch() {
    if (c_.scratch) c_.scratch->used = before_;
    if (!c_.scratch || !c_.scratch->memory) c_.device.free(ptr_, bytes_, c_.stream);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* const& get() const { return ptr_; }

 private:
  void* take();
  const CudaNativeContext& c_;
  size_t bytes_, before_ = 0;
  void* ptr_;
};

// out = operand 0, where it is not there already.
void copy_operand(const NativeArgs& a, const CudaNativeContext& c);

// The largest of 16, 8, 4, 2, 1 that divides all the numbers or-ed into `bits`: sizes, strides, addresses.
inline int64_t unit_of(uint64_t bits) {
  bits |= 16;
  return static_cast<int64_t>(bits & (~bits + 1));
}
inline uint64_t address(const void* p) { return reinterpret_cast<uintptr_t>(p); }

// ---- shapes

// A contiguous tensor as (outer, axis, inner).
struct AxisView {
  int64_t outer = 1, n = 1, inner = 1;
  AxisView(const Shape& shape, int64_t axis) {
    for (int i = 0; i < shape.size(); ++i) (i < axis ? outer : i == axis ? n : inner) *= shape[i];
  }
};

// A loop nest that K operands cross with strides of their own. Axes are given outermost first; those of size 1 vanish,
// and one joins the axis before it where stride[d - 1] = stride[d] n[d] for every operand. Never empty.
template <int K>
struct Nest {
  struct Axis {
    int64_t n;
    int64_t stride[K];
  };
  std::vector<Axis> axes;

  void axis(int64_t n, std::initializer_list<int64_t> stride) {
    if (n == 1) return;
    Axis a{n, {}};
    std::copy(stride.begin(), stride.end(), a.stride);
    bool joins = !axes.empty();
    for (int k = 0; joins && k < K; ++k) joins = axes.back().stride[k] == a.stride[k] * n;
    if (joins) {
      a.n *= axes.back().n;
      axes.back() = a;
    } else {
      axes.push_back(a);
    }
  }
  void done() {
    if (axes.empty()) axes.push_back(Axis{1, {}});
  }
  int rank() const { return static_cast<int>(axes.size()); }
  void write(Fields& f) const {  // n[], then the strides of each operand
    for (const Axis& a : axes) f.index(a.n);
    for (int k = 0; k < K; ++k)
      for (const Axis& a : axes) f.index(a.stride[k]);
  }
};

}  // namespace cuda
}  // namespace pd
