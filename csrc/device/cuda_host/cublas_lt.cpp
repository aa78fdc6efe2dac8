// cuBLASLt's products with epilogues: descriptions, a heuristic that knows one algorithm, and the product of cublas.cpp.
//
// Attributes that pydiff does not set are unknown here, and so is a batch. What an algorithm was found for is checked when
// it runs: alignment of addresses, sizes and types.
#include <cstring>
#include <set>

#include "cublas.h"

namespace pd_host {

namespace {

enum : int { kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8 };        // cublasLtMatmulDescAttributes_t
enum : int { kDefault = 1, kRelu = 2, kBias = 4 };                               // cublasLtEpilogue_t
enum : int { kMaxWorkspace = 1, kReductions = 3, kAlignA = 5, kAlignD = 8 };     // cublasLtMatmulPreferenceAttributes_t

struct Desc {
  int compute, scale;
  int32_t trans_a = 0, trans_b = 0, epilogue = kDefault;
  const void* bias = nullptr;
};

struct Layout {
  int type;
  uint64_t rows, cols;
  int64_t ld;
};

struct Preference {
  uint64_t workspace = 0;
  uint32_t reductions = 7, align[4] = {256, 256, 256, 256};
};

struct Algorithm {  // of 64 bytes
  uint64_t mark, product;   // of what it was found for
  uint32_t align[4], bias_align;
  uint32_t workspace;
  uint64_t rest[3];
};
static_assert(sizeof(Algorithm) == 64, "cublasLtMatmulAlgo_t");

struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

constexpr uint64_t kMark = 0x70796469666c74;
constexpr uint32_t kWorkspace = 8192;  // that the one algorithm uses, where it may

// Objects that exist, so that a freed or foreign one is refused.
std::set<const void*>& alive() {
  static auto* all = new std::set<const void*>;
  return *all;
}
bool is_alive(const void* p) { return p && alive().count(p); }

template <class T, class... A> int make(T** out, A... a) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!out) return kInvalid;
  *out = new T{a...};
  alive().insert(*out);
  return kOk;
}

template <class T> int destroy(T* p) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!alive().erase(p)) return kInvalid;
  delete p;
  return kOk;
}

template <class T> int take(T& field, const void* value, size_t bytes) {
  if (!value || bytes != sizeof field) return kInvalid;
  memcpy(&field, value, bytes);
  return kOk;
}

bool aligned(const void* p, uint64_t to) { return reinterpret_cast<uintptr_t>(p) % to == 0; }

// An algorithm may serve any epilogue; cublasLtMatmulAlgoCheck says whether.
uint64_t product_of(const Desc& d, const Layout* const (&l)[4]) {
  uint64_t h = uint64_t(d.compute) << 32 | uint64_t(d.trans_a) << 16 | uint64_t(d.trans_b) << 8;
  for (const Layout* x : l)
    for (uint64_t v : {uint64_t(x->type), x->rows, x->cols, uint64_t(x->ld)}) h = (h ^ v) * 0x100000001b3ull;
  return h;
}

// The product that these describe, its addresses aside; kOk where the stand-in has it.
int describe(const Desc& d, const Layout* const (&l)[4], GemmCall& c) {
  if (d.trans_a < 0 || d.trans_a > 1 || d.trans_b < 0 || d.trans_b > 1) return kInvalid;
  if (d.epilogue < 1 || (d.epilogue & ~7) || ((d.epilogue & kDefault) && d.epilogue != kDefault)) return kUnsupported;
  if ((d.epilogue & kBias) && !d.bias) return kInvalid;
  auto rows = [](const Layout& x, int32_t t) { return int64_t(t ? x.cols : x.rows); };
  auto cols = [](const Layout& x, int32_t t) { return int64_t(t ? x.rows : x.cols); };
  const Layout &a = *l[0], &b = *l[1], &in = *l[2], &out = *l[3];
  const int64_t m = rows(a, d.trans_a), k = cols(a, d.trans_a), n = cols(b, d.trans_b);
  if (rows(b, d.trans_b) != k || int64_t(out.rows) != m || int64_t(out.cols) != n) return kInvalid;
  if (in.rows != out.rows || in.cols != out.cols || in.type != out.type) return kInvalid;
  if (!m || !n || !k) return kInvalid;
  for (const Layout* x : l)
    if (x->ld < int64_t(x->rows)) return kInvalid;  // told here: a layout takes any number
  if (d.scale != (d.compute == kCompute64 ? kF64 : kF32)) return kUnsupported;
  c = {d.trans_a, d.trans_b, m, n, k, nullptr, nullptr, a.type, a.ld, 0, nullptr, b.type, b.ld, 0, nullptr, nullptr,
       out.type, out.ld, 0, 1, d.compute};
  c.bias = d.epilogue & kBias ? d.bias : nullptr;
  c.relu = d.epilogue & kRelu;
  return kOk;
}

}  // namespace

}  // namespace pd_host

using namespace pd_host;

PD_EXPORT int cublasLtCreate(void** out) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (ready()) return kNoHandle;
  if (told_to_fail("cublasLtCreate")) return kAllocFailed;
  return make(reinterpret_cast<int**>(out), 0);
}

PD_EXPORT int cublasLtMatmulDescCreate(Desc** out, int compute, int scale) { return make(out, compute, scale); }
PD_EXPORT int cublasLtMatmulDescDestroy(Desc* d) { return destroy(d); }

PD_EXPORT int cublasLtMatmulDescSetAttribute(Desc* d, int attribute, const void* value, size_t bytes) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!is_alive(d)) return kInvalid;
  switch (attribute) {
    case kTransA: return take(d->trans_a, value, bytes);
    case kTransB: return take(d->trans_b, value, bytes);
    case kEpilogue: return take(d->epilogue, value, bytes);
    case kBiasPointer: return take(d->bias, value, bytes);
    default: return kInvalid;
  }
}

PD_EXPORT int cublasLtMatrixLayoutCreate(Layout** out, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  return make(out, type, rows, cols, ld);
}
PD_EXPORT int cublasLtMatrixLayoutDestroy(Layout* l) { return destroy(l); }

PD_EXPORT int cublasLtMatmulPreferenceCreate(Preference** out) { return make(out); }
PD_EXPORT int cublasLtMatmulPreferenceDestroy(Preference* p) { return destroy(p); }

PD_EXPORT int cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t bytes) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!is_alive(p)) return kInvalid;
  if (attribute == kMaxWorkspace) return take(p->workspace, value, bytes);
  if (attribute == kReductions) return take(p->reductions, value, bytes);
  if (attribute >= kAlignA && attribute <= kAlignD) return take(p->align[attribute - kAlignA], value, bytes);
  return kInvalid;
}

PD_EXPORT int cublasLtMatmulAlgoGetHeuristic(void* handle, Desc* d, Layout* a, Layout* b, Layout* c, Layout* out,
                                             Preference* wish, int asked, Heuristic* found, int* count) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!is_alive(handle)) return kNoHandle;
  for (const void* p : {static_cast<const void*>(d), static_cast<const void*>(a), static_cast<const void*>(b),
                        static_cast<const void*>(c), static_cast<const void*>(out), static_cast<const void*>(wish)})
    if (!is_alive(p)) return kInvalid;
  if (!found || !count || asked < 1) return kInvalid;
  *count = 0;
  if (told_to_fail("cublasLtMatmulAlgoGetHeuristic")) return kUnsupported;
  const Layout* const layouts[4] = {a, b, c, out};
  GemmCall call;
  if (int status = describe(*d, layouts, call)) return status;
  Heuristic& h = *found;
  h = {};
  h.algorithm.mark = kMark;
  h.algorithm.product = product_of(*d, layouts);
  memcpy(h.algorithm.align, wish->align, sizeof wish->align);
  h.algorithm.bias_align = 4;
  h.algorithm.workspace = uint32_t(wish->workspace < kWorkspace ? wish->workspace : kWorkspace);
  h.workspace = h.algorithm.workspace;
  h.waves = 1;
  *count = 1;
  return kOk;
}

PD_EXPORT int cublasLtMatmulAlgoCheck(void* handle, Desc* d, Layout* a, Layout* b, Layout* c, Layout* out,
                                      const Algorithm* algorithm, Heuristic* found) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!is_alive(handle)) return kNoHandle;
  for (const void* p : {static_cast<const void*>(d), static_cast<const void*>(a), static_cast<const void*>(b),
                        static_cast<const void*>(c), static_cast<const void*>(out)})
    if (!is_alive(p)) return kInvalid;
  if (!found || !algorithm) return kInvalid;
  if (told_to_fail("cublasLtMatmulAlgoCheck")) return kUnsupported;
  const Layout* const layouts[4] = {a, b, c, out};
  GemmCall call;
  if (int status = describe(*d, layouts, call)) return status;
  if (algorithm->mark != kMark || algorithm->product != product_of(*d, layouts)) return kUnsupported;
  if (call.bias && !aligned(call.bias, algorithm->bias_align)) return kUnsupported;
  *found = {};
  found->algorithm = *algorithm;
  found->workspace = algorithm->workspace;
  found->waves = 1;
  return kOk;
}

PD_EXPORT int cublasLtMatmul(void* handle, Desc* d, const void* alpha, const void* a, Layout* la, const void* b, Layout* lb,
                             const void* beta, const void* c, Layout* lc, void* out, Layout* lout,
                             const Algorithm* algorithm, void* workspace, size_t bytes, void* stream) {
  std::lock_guard<std::recursive_mutex> guard(global_lock());
  if (!is_alive(handle) || ready()) return kNoHandle;
  for (const void* p : {static_cast<const void*>(d), static_cast<const void*>(la), static_cast<const void*>(lb),
                        static_cast<const void*>(lc), static_cast<const void*>(lout)})
    if (!is_alive(p)) return kInvalid;
  const Layout* const layouts[4] = {la, lb, lc, lout};
  GemmCall call;
  if (int status = describe(*d, layouts, call)) return status;
  // C may be another matrix than D for the library; not here.
  if (!algorithm || algorithm->mark != kMark || algorithm->product != product_of(*d, layouts) || c != out) {
    report("cublasLtMatmul: the algorithm was found for another product");
    return kInvalid;
  }
  const void* const addresses[4] = {a, b, c, out};
  for (int k = 0; k < 4; k++)
    if (!aligned(addresses[k], algorithm->align[k])) {
      report("cublasLtMatmul: an operand is aligned less than the algorithm was found for");
      return kInvalid;
    }
  if (call.bias && !aligned(call.bias, algorithm->bias_align)) {
    report("cublasLtMatmul: the bias is aligned less than the algorithm was found for");
    return kInvalid;
  }
  if (bytes < algorithm->workspace || (bytes && !workspace) || !aligned(workspace, 256)) return kInvalid;
  call.alpha = alpha, call.beta = beta, call.a = a, call.b = b, call.c = out;
  if (int status = check_gemm(call)) return status;
  if (told_to_fail("cublasLtMatmul")) return kUnsupported;
  return submit_gemm(call, stream, bytes ? workspace : nullptr, bytes);
}
