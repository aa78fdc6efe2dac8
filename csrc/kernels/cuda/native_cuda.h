// The native kernels of kernels/native.h on a CUDA device: the same operands, attributes, results and error texts.
//
// Results are the CPU's bits (any NaN equals any NaN), but for floating-point sums along rows that are not many (see
// scan_text.h). Nothing here waits for the device: what only a run can know went wrong is left in cells of its memory.
#pragma once
#include <string>
#include <vector>

#include "device/device.h"
#include "kernels/native.h"

namespace pd {

// Operands and results in device memory, aligned to their elements, contiguous but for operands with strides. `error` points
// to kErrorCells int64 in device memory, zero before the op; cell 0 stays zero where nothing goes wrong.
constexpr int kErrorCells = 5;
// Memory for the temporaries of one op at a time, taken and given back as a stack. A kernel that is captured into a graph
// may not allocate.
struct CudaScratch {
  char* memory = nullptr;  // null: temporaries are allocated, and only counted here
  size_t bytes = 0;
  size_t used = 0, most = 0;
};
struct CudaNativeContext {
  Device& device;
  Stream stream;
  int64_t* error;
  CudaScratch* scratch = nullptr;  // null: temporaries are allocated
};

using CudaNativeFn = void (*)(const NativeArgs& a, const CudaNativeContext& c);
CudaNativeFn cuda_native_for(OpId op);  // null: the op has none
// NativeError's text for the cells, read back; empty: no error.
std::string cuda_native_error(const NativeArgs& a, const int64_t* cells);
ErrorKind cuda_native_error_kind(OpId op);

// False lets floating-point numbers that meet in one element be added in any order, by atomics: faster, and no two runs
// need agree. Integers and bool do not depend on it, nor do writes: the last one stays.
bool& cuda_deterministic();

// One text of each kind that the ops above compile, for tests: all functions in it are extern "C".
struct CudaNativeText {
  std::string name, source, arch = "";  // the one architecture that it is for; "": any
};
std::vector<CudaNativeText> cuda_native_texts();

}  // namespace pd
