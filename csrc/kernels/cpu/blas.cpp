#include "kernels/cpu/blas.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

namespace pd {

namespace {

// The constants of the CBLAS standard.
enum { kRowMajor = 101, kNoTrans = 111, kTrans = 112 };

template <class T>
using Gemm = void (*)(int order, int trans_a, int trans_b, int m, int n, int k, T alpha, const T* a, int lda,
                      const T* b, int ldb, T beta, T* c, int ldc);
template <class T>
using Gemv = void (*)(int order, int trans, int m, int n, T alpha, const T* a, int lda, const T* x, int incx, T beta,
                      T* y, int incy);

struct Library {
  Gemm<float> sgemm = nullptr;
  Gemm<double> dgemm = nullptr;
  Gemv<float> sgemv = nullptr;
  Gemv<double> dgemv = nullptr;
  void (*set_num_threads)(int) = nullptr;
  int (*get_num_threads)() = nullptr;
  std::string name;
};

std::atomic<const Library*> g_library{nullptr};
std::mutex g_mutex;

#if defined(__unix__) || defined(__APPLE__)
template <class F>
bool find(void* handle, const char* prefix, const char* symbol, F& out) {
  out = reinterpret_cast<F>(dlsym(handle, (std::string(prefix) + symbol).c_str()));
  return out != nullptr;
}

bool load(void* handle, const char* prefix, Library& l) {
  if (!(find(handle, prefix, "cblas_sgemm", l.sgemm) && find(handle, prefix, "cblas_dgemm", l.dgemm) &&
        find(handle, prefix, "cblas_sgemv", l.sgemv) && find(handle, prefix, "cblas_dgemv", l.dgemv) &&
        find(handle, prefix, "openblas_set_num_threads", l.set_num_threads) &&
        find(handle, prefix, "openblas_get_num_threads", l.get_num_threads)))
    return false;
  char* (*config)() = nullptr;
  l.name = find(handle, prefix, "openblas_get_config", config) ? config() : "OpenBLAS";
  return true;
}

// OpenBLAS starts its threads when it is loaded, unless the environment says 1.
void* open_with_one_thread(const char* path) {
  const char* variable = "OPENBLAS_NUM_THREADS";
  const char* old = std::getenv(variable);
  std::string kept = old ? old : "";
  setenv(variable, "1", 1);
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (old) {
    setenv(variable, kept.c_str(), 1);
  } else {
    unsetenv(variable);
  }
  return handle;
}
#endif

}  // namespace

bool blas_open(const char* path) {
#if defined(__unix__) || defined(__APPLE__)
  std::lock_guard<std::mutex> hold(g_mutex);
  void* handle = open_with_one_thread(path);
  if (!handle) return false;
  // Never freed, as the library is never closed.
  Library* l = new Library;
  if (load(handle, "scipy_", *l) || load(handle, "", *l)) {
    l->set_num_threads(1);
    if (l->get_num_threads() == 1) {
      g_library.store(l);
      return true;
    }
  }
  delete l;
  dlclose(handle);
#else
  (void)path;
#endif
  return false;
}

bool blas_available() { return g_library.load(std::memory_order_acquire) != nullptr; }

const char* blas_name() {
  const Library* l = g_library.load(std::memory_order_acquire);
  return l ? l->name.c_str() : "none";
}

namespace blas {

namespace {
const Library& library() { return *g_library.load(std::memory_order_acquire); }
int narrow(int64_t n) { return static_cast<int>(n); }
int trans_flag(bool t) { return t ? kTrans : kNoTrans; }

template <class T>
void call(Gemm<T> f, bool ta, bool tb, int64_t m, int64_t n, int64_t k, const T* a, int64_t lda, const T* b,
          int64_t ldb, T* c, int64_t ldc, bool accumulate) {
  f(kRowMajor, trans_flag(ta), trans_flag(tb), narrow(m), narrow(n), narrow(k), T(1), a, narrow(lda), b, narrow(ldb),
    T(accumulate), c, narrow(ldc));
}

template <class T>
void call(Gemv<T> f, bool trans, int64_t m, int64_t n, const T* a, int64_t lda, const T* x, int64_t incx, T* y,
          int64_t incy, bool accumulate) {
  // Not beta = 0: whether that clears a NaN in memory never written has differed between releases of OpenBLAS.
  if (!accumulate)
    for (int64_t i = 0, rows = trans ? n : m; i < rows; ++i) y[i * incy] = T(0);
  f(kRowMajor, trans_flag(trans), narrow(m), narrow(n), T(1), a, narrow(lda), x, narrow(incx), T(1), y, narrow(incy));
}
}  // namespace

void hold_one_thread() {
  const Library& l = library();
  if (l.get_num_threads() != 1) l.set_num_threads(1);
}

void gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float* a, int64_t lda, const float* b, int64_t ldb,
          float* c, int64_t ldc, bool accumulate) {
  call(library().sgemm, ta, tb, m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}
void gemm(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double* a, int64_t lda, const double* b,
          int64_t ldb, double* c, int64_t ldc, bool accumulate) {
  call(library().dgemm, ta, tb, m, n, k, a, lda, b, ldb, c, ldc, accumulate);
}
void gemv(bool trans, int64_t m, int64_t n, const float* a, int64_t lda, const float* x, int64_t incx, float* y,
          int64_t incy, bool accumulate) {
  call(library().sgemv, trans, m, n, a, lda, x, incx, y, incy, accumulate);
}
void gemv(bool trans, int64_t m, int64_t n, const double* a, int64_t lda, const double* x, int64_t incx, double* y,
          int64_t incy, bool accumulate) {
  call(library().dgemv, trans, m, n, a, lda, x, incx, y, incy, accumulate);
}

}  // namespace blas

}  // namespace pd
