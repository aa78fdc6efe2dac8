#include "device/cuda/blas_lt.h"

#include <algorithm>
#include <array>
#include <climits>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "device/cuda/cuda_device.h"
#include "device/cuda/graph.h"

namespace pd {

namespace cuda {

namespace {

// The constants of cublasLt.h, as in that of cuBLAS 13.10; they are the same in 12.
enum : int {
  kDescTransA = 3,
  kDescTransB = 4,
  kDescEpilogue = 7,
  kDescBiasPointer = 8,
  kEpilogueNone = 1,
  kEpilogueRelu = 2,
  kEpilogueBias = 4,
  kPrefWorkspaceBytes = 1,
  kPrefReductionSchemes = 3,
  kPrefAlignA = 5,
  kPrefAlignB = 6,
  kPrefAlignC = 7,
  kPrefAlignD = 8,
  kReduceInComputeType = 2,  // parts of a sum are added up as float32, never as 16-bit results
};

// The alignment that an algorithm may count on. More is never told, so that a graph which copies its operands to memory of
// its own, aligned to this (exec/cuda_replay.cpp), gets the algorithm of the plain run.
constexpr uint32_t kMostAlign = 64;
constexpr size_t kMostProducts = 1024;  // that a device remembers

uint32_t alignment(const void* p) {
  const uintptr_t bits = reinterpret_cast<uintptr_t>(p) | kMostAlign;
  return static_cast<uint32_t>(bits & (~bits + 1));
}

// One kind of product: descriptions, and the algorithm that the library would take for the product alone. What is done to
// its sums is done by that algorithm or not here, so the sums have the same bits with a bias and without.
class Product {
 public:
  explicit Product(const BlasLt& lib) : lib_(lib) {}
  ~Product() {
    if (desc) lib_.cublasLtMatmulDescDestroy(desc);
    for (LtLayout l : {a, b, c})
      if (l) lib_.cublasLtMatrixLayoutDestroy(l);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  LtDesc desc = nullptr;
  LtLayout a = nullptr, b = nullptr, c = nullptr;
  LtAlgorithm algorithm = {};
  struct Verdict {
    bool known = false, serves = false;
    size_t workspace = 0;
  };
  Verdict verdicts[8];  // by epilogue

 private:
  const BlasLt& lib_;
};

// What an algorithm may depend on; an element a number.
enum KeyPart { kType, kCompute, kOps, kM, kN, kK, kLda, kLdb, kLdc, kAligned, kWorkspace, kKeyParts };
using Key = std::array<int64_t, kKeyParts>;

// A product's description is changed for every call, so one thread at a time.
struct Known {
  std::mutex mutex;
  LtHandle handle = nullptr;
  bool tried = false;
  std::map<Key, std::unique_ptr<Product>> products;
};
Known& known_of(int index) {
  static Known* const all = new Known[kMaxDevices];
  return all[index];
}

template <class T>
bool set(const BlasLt& lib, LtDesc d, int attribute, T value) {
  return lib.cublasLtMatmulDescSetAttribute(d, attribute, &value, sizeof value) == 0;
}

// As cuda_gemm has it: row-major matrices are transposes of column-major ones, so the operands change places.
struct Sizes {
  bool trans_a, trans_b;
  int64_t m, n, k, lda, ldb, ldc;
};

// Finds the algorithm, if there is one.
void prepare(const BlasLt& lib, LtHandle handle, const BlasTypes& types, const Sizes& s, const uint32_t (&align)[3],
             size_t workspace, Product& p) {
  auto layout = [&](LtLayout* out, bool transposed, int64_t rows, int64_t cols, int64_t ld) {
    if (transposed) std::swap(rows, cols);
    const auto r = static_cast<uint64_t>(rows), c = static_cast<uint64_t>(cols);
    return lib.cublasLtMatrixLayoutCreate(out, types.data, r, c, ld) == 0;
  };
  LtPreference wish = nullptr;
  auto prefer = [&](int attribute, auto value) {
    return lib.cublasLtMatmulPreferenceSetAttribute(wish, attribute, &value, sizeof value) == 0;
  };
  LtHeuristic found = {};
  int count = 0;
  const bool serves =
      lib.cublasLtMatmulDescCreate(&p.desc, types.compute, types.scale) == 0 &&
        set(lib, p.desc, kDescTransA, int32_t{s.trans_b}) && set(lib, p.desc, kDescTransB, int32_t{s.trans_a}) &&
        set(lib, p.desc, kDescEpilogue, int32_t{kEpilogueNone}) && layout(&p.a, s.trans_b, s.n, s.k, s.ldb) &&
        layout(&p.b, s.trans_a, s.k, s.m, s.lda) && layout(&p.c, false, s.n, s.m, s.ldc) &&
        lib.cublasLtMatmulPreferenceCreate(&wish) == 0 && prefer(kPrefWorkspaceBytes, uint64_t{workspace}) &&
        prefer(kPrefReductionSchemes, uint32_t{kReduceInComputeType}) && prefer(kPrefAlignA, align[1]) &&
        prefer(kPrefAlignB, align[0]) && prefer(kPrefAlignC, align[2]) && prefer(kPrefAlignD, align[2]) &&
        lib.cublasLtMatmulAlgoGetHeuristic(handle, p.desc, p.a, p.b, p.c, p.c, wish, 1, &found, &count) == 0 && count > 0 &&
        found.state == 0 && found.workspace <= workspace;
  p.algorithm = found.algorithm;
  p.verdicts[kEpilogueNone] = {true, serves, found.workspace};
  if (wish) lib.cublasLtMatmulPreferenceDestroy(wish);
}

// Whether the product's algorithm can do this to the sums.
bool serves(const BlasLt& lib, LtHandle handle, Product& p, int epilogue, uint32_t bias_align, size_t workspace) {
  if (!p.verdicts[kEpilogueNone].serves) return false;
  Product::Verdict& v = p.verdicts[epilogue];
  if (!v.known) {
    // Nobody reads there; the library sees that there is a bias, and how it is aligned.
    const void* const bias = epilogue & kEpilogueBias ? reinterpret_cast<const void*>(uintptr_t{bias_align}) : nullptr;
    LtHeuristic found = {};
    v.serves = set(lib, p.desc, kDescEpilogue, int32_t{epilogue}) && set(lib, p.desc, kDescBiasPointer, bias) &&
               lib.cublasLtMatmulAlgoCheck(handle, p.desc, p.a, p.b, p.c, p.c, &p.algorithm, &found) == 0 &&
               found.state == 0 && found.workspace <= workspace;
    v.workspace = found.workspace;
    v.known = true;
  }
  return v.serves;
}

}  // namespace

const BlasLt* blas_lt() {
  // cuBLAS is linked with it, so what finds cuBLAS's functions finds those of the very cuBLASLt that it works with.
  static const BlasLt* const found = [] {
    auto* lt = new BlasLt;
    bool all = true;
#define X(name, params) all = all && resolve(blas().library, #name, lt->name);
    PD_CUDA_BLAS_LT(X)
#undef X
    return all ? lt : nullptr;
  }();
  return found;
}

}  // namespace cuda

bool cuda_gemm_epilogue(DeviceId device, DType t, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                        const void* a, int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, const void* bias,
                        bool relu, Stream s) {
  using namespace cuda;
  const int index = device.index;
  // The workspace is for work in the device's order.
  if (s.handle && !is_capturing(index, s)) return false;
  if (m <= 0 || n <= 0 || k <= 0) return false;
  // A single row has no distance to a next one, but the library asks for one.
  auto row = [](int64_t rows, int64_t cols, int64_t ld) { return rows > 1 ? ld : std::max(cols, ld); };
  const Sizes sizes{trans_a, trans_b, m, n, k, trans_a ? row(k, m, lda) : row(m, k, lda),
                    trans_b ? row(n, k, ldb) : row(k, n, ldb), row(m, n, ldc)};
  if (std::max({m, n, k, sizes.lda, sizes.ldb, sizes.ldc}) > INT_MAX) return false;
  const BlasLt* const lib = blas_lt();
  if (!lib) return false;

  const Driver& d = driver();
  ContextScope here(d, cuda_device(index).context());
  const BlasWorkspace workspace = blas_workspace(index);
  const BlasTypes types = blas_types(t);
  const int epilogue = bias || relu ? (bias ? kEpilogueBias : 0) | (relu ? kEpilogueRelu : 0) : kEpilogueNone;
  const uint32_t align[3] = {alignment(a), alignment(b), alignment(c)}, bias_align = alignment(bias);
  const Key key = {types.data, types.compute, trans_a | trans_b << 1, m, n, k, sizes.lda, sizes.ldb, sizes.ldc,
                   align[0] | int64_t{align[1]} << 12 | int64_t{align[2]} << 24 | int64_t{bias_align} << 36,
                   static_cast<int64_t>(workspace.bytes)};

  Known& known = known_of(index);
  std::lock_guard<std::mutex> hold(known.mutex);
  if (!known.tried) {
    known.tried = true;
    BlasStatus status = lib->cublasLtCreate(&known.handle);
    if (status != 0) {  // it wants memory of its own, all of which may lie in the pool
      cuda_device(index).empty_cache();
      status = lib->cublasLtCreate(&known.handle);
    }
    if (status != 0) known.handle = nullptr;
  }
  if (!known.handle) return false;
  if (known.products.size() >= kMostProducts && !known.products.count(key)) known.products.clear();
  std::unique_ptr<Product>& p = known.products[key];
  if (!p) {
    p = std::make_unique<Product>(*lib);
    prepare(*lib, known.handle, types, sizes, align, workspace.bytes, *p);
  }
  if (!serves(*lib, known.handle, *p, epilogue, bias_align, workspace.bytes) || !set(*lib, p->desc, kDescEpilogue, int32_t{epilogue}) ||
      !set(*lib, p->desc, kDescBiasPointer, bias))
    return false;

  const float one32 = 1, zero32 = 0;
  const double one64 = 1, zero64 = 0;
  const bool wide = t == DType::F64;
  const void* one = wide ? static_cast<const void*>(&one64) : &one32;
  const void* zero = wide ? static_cast<const void*>(&zero64) : &zero32;
  Submission work(d, cuda_device(index), s);
  // Refused at the call, so nothing was given to the device.
  Product::Verdict& v = p->verdicts[epilogue];
  v.serves = lib->cublasLtMatmul(known.handle, p->desc, one, b, p->a, a, p->b, zero, c, p->c, c, p->c, &p->algorithm,
                                 workspace.memory, v.workspace, work.stream) == 0;
  return v.serves;
}

}  // namespace pd
