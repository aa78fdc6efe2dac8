// cuda_tiled_gemm and cuda_small_gemm behind a C function, for test_cuda_gemm.py.
#include <cstring>
#include <memory>
#include <vector>

#include "kernels/cuda/small_gemm.h"
#include "kernels/cuda/tiled_gemm.h"
#include "on_device.h"

namespace {

// 0: sum * x1 + x2.   1: max(sum * x1 + x2 * x3 + x4, 0) + x5.
pd::ExprTree tree_of(int kind, int operands) {
  pd::ExprTree tree;
  pd::ExprTree::building() = &tree;
  std::vector<pd::E<float>> x;
  for (int i = 0; i <= operands; ++i) x.push_back(pd::E<float>::at(tree.add(pd::Sc::Input, pd::DType::F32, i)));
  tree.inputs = operands + 1;
  if (kind == 0) {
    tree.result = (x[0] * x[1] + x[2]).id;
  } else {
    const pd::E<float> v = x[0] * x[1] + x[2] * x[3] + x[4], zero(0.0f);
    tree.result = (pd::select(pd::gt(v, zero), v, zero) + x[5]).id;
  }
  pd::ExprTree::building() = nullptr;
  return tree;
}

}  // namespace

extern "C" {

// Names of the tiles that the device can make, with spaces between.
void gemm_tiles(char* text, int size) {
  open_device();
  std::string names;
  for (const std::string& tile : pd::cuda_gemm_tiles({pd::DeviceKind::Cuda, 0})) names += tile + " ";
  copy_text(names, text, size);
}

// An array on the host, and how a tail reads it; `at` null: the number.
struct HostOperand {
  const void* at;
  int64_t bytes, type, batch, row, col;
  float number;
};

// dims: m n k lda ldb ldc batch stride_a stride_b stride_c; memory: a b c with their bytes, each put `offset` bytes after an
// aligned place. Tile "small": cuda_small_gemm. tail -1: none. An operand whose `at` is c is c on the device.
// 1: done; 0: the kernel does not serve this; -1: an Error was thrown, its words in `text`.
int gemm_run(const char* tile, int type, int out, int ta, int tb, const int64_t* dims, void* const* memory,
             const int64_t* bytes, int offset, int tail, int operands, const HostOperand* of, char* text, int size) {
  try {
    pd::Device& d = open_device();
    const bool small = std::strcmp(tile, "small") == 0;
    pd::cuda_gemm_use_tile(small ? "" : tile);
    std::vector<std::unique_ptr<OnDevice>> on;
    auto put = [&](const void* from, int64_t n, int shift) {
      on.push_back(std::make_unique<OnDevice>(d, from, static_cast<size_t>(n), static_cast<size_t>(shift)));
      return on.back()->get();
    };
    pd::TiledGemm g;
    g.type = static_cast<pd::DType>(type), g.out = static_cast<pd::DType>(out);
    g.trans_a = ta, g.trans_b = tb;
    g.m = dims[0], g.n = dims[1], g.k = dims[2], g.lda = dims[3], g.ldb = dims[4], g.ldc = dims[5];
    g.batch = dims[6], g.stride_a = dims[7], g.stride_b = dims[8], g.stride_c = dims[9];
    g.a = put(memory[0], bytes[0], offset), g.b = put(memory[1], bytes[1], offset), g.c = put(memory[2], bytes[2], offset);
    pd::GemmTail with;
    if (tail >= 0) {
      with.tree = tree_of(tail, operands);
      for (int k = 0; k < operands; ++k) {
        pd::GemmOperand o;
        o.at = !of[k].at ? nullptr : of[k].at == memory[2] ? g.c : put(of[k].at, of[k].bytes, 0);
        o.type = static_cast<pd::DType>(of[k].type);
        o.batch = of[k].batch, o.row = of[k].row, o.col = of[k].col, o.number = of[k].number;
        with.operands.push_back(o);
      }
      g.tail = &with;
    }
    const bool done = small ? pd::cuda_small_gemm(d, g.type, ta, tb, g.m, g.n, g.k, g.a, g.lda, g.b, g.ldb, g.c, g.ldc,
                                                  g.batch, g.stride_a, g.stride_b, g.stride_c, {})
                            : pd::cuda_tiled_gemm(d, g, {});
    d.synchronize();
    if (bytes[2]) d.copy(memory[2], g.c, static_cast<size_t>(bytes[2]), pd::CopyKind::DeviceToHost);
    d.synchronize();
    return done;
  } catch (const std::exception& e) {
    copy_text(e.what(), text, size);
    return -1;
  }
}

}  // extern "C"
