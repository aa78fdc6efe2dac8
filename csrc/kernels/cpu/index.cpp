// Reading and writing at places that tensors name: index, index_put, gather, scatter.
//
// An index k of an axis of size n is in [-n, n); every one is checked just before it is used, so nothing out of range
// is read or written. The fault that is reported is the first in row-major order of the indices; what the result holds
// after one is not specified.
//
// Writes: whatever reaches one element of the result does so in the order of the indices, on one thread.
#include <mutex>
#include <vector>

#include "kernels/cpu/walk.h"

namespace pd {
namespace cpu {

namespace {

struct Fault {
  int64_t at = -1, index = 0, size = 0;
  void see(int64_t where, int64_t i, int64_t n) {
    if (at >= 0 && at <= where) return;
    at = where;
    index = i;
    size = n;
  }
};

class Faults {
 public:
  void add(const Fault& f) {
    if (f.at < 0) return;
    std::lock_guard<std::mutex> hold(mutex_);
    first_.see(f.at, f.index, f.size);
  }
  bool any() const { return first_.at >= 0; }
  void tell(const char* name, NativeError& error) const {
    if (!any()) return;
    std::string n = std::to_string(first_.size);
    std::string advice = first_.size ? "an index from -" + n + " to " + std::to_string(first_.size - 1)
                                     : std::string("an axis that is not empty");
    error.text = std::string("[") + name + "] index out of range; got " + std::to_string(first_.index) +
                 " for an axis of size " + n + "; try " + advice;
  }

 private:
  std::mutex mutex_;
  Fault first_;
};

inline int64_t from_start(int64_t i, int64_t n) { return i + (i < 0 ? n : 0); }
inline bool outside(int64_t i, int64_t n) { return static_cast<uint64_t>(i) >= static_cast<uint64_t>(n); }

// The first n axes of a tensor seen as one axis of rows, and the index tensors that choose rows.
struct RowChoice {
  int n;
  const void* const* idx;
  Ints sizes, strides;
  int64_t count;      // of rows chosen
  int64_t rows = 1;   // to choose from
  int64_t inner = 1;  // elements a row

  RowChoice(const NativeArgs& a, int first_index)
      : n(static_cast<int>((*a.attrs)[0])), idx(a.in + first_index), count(numel(a.specs[first_index].shape)) {
    const Shape& x = a.specs[0].shape;
    for (int i = x.size() - 1; i >= n; --i) inner *= x[i];
    sizes.assign(x.data(), n);
    strides.resize(n);
    for (int i = n - 1; i >= 0; --i) {
      strides[i] = rows;
      rows *= x[i];
    }
  }

  // Rows [b, e) of the choice; those named by an index out of range become row 0, and false is returned.
  bool resolve(int64_t b, int64_t e, int64_t* out, Fault& fault) const {
    bool good = true;
    std::memset(out, 0, static_cast<size_t>(e - b) * sizeof(int64_t));
    for (int t = 0; t < n; ++t) {
      const int64_t* ix = static_cast<const int64_t*>(idx[t]);
      int64_t size = sizes[t], stride = strides[t];
      for (int64_t k = b; k < e; ++k) {
        int64_t i = from_start(ix[k], size);
        if (outside(i, size)) {
          fault.see(k * n + t, ix[k], size);
          good = false;
          i = 0;
        }
        out[k - b] += i * stride;
      }
    }
    return good;
  }
};

// ---- what a write does to the element that is there

struct Bit {
  uint8_t v;
};
inline Bit operator+(Bit a, Bit b) { return Bit{static_cast<uint8_t>(a.v | b.v)}; }
template <class T>
struct Pair {
  T re, im;
};
template <class T>
inline Pair<T> operator+(Pair<T> a, Pair<T> b) {
  return Pair<T>{a.re + b.re, a.im + b.im};
}

// f(T()), T the type in which elements of a dtype add up: integers wrap, bool is `or`; false where it has none.
template <class F>
bool with_addable(DType t, F&& f) {
  switch (t) {
    case DType::Bool: f(Bit()); return true;
    case DType::F32: f(float()); return true;
    case DType::F64: f(double()); return true;
    case DType::C64: f(Pair<float>()); return true;
    case DType::C128: f(Pair<double>()); return true;
    default: break;
  }
  if (!is_integer(t)) return false;
  switch (size_of(t)) {
    case 1: f(uint8_t()); break;
    case 2: f(uint16_t()); break;
    case 4: f(uint32_t()); break;
    default: f(uint64_t()); break;
  }
  return true;
}

void tell_not_addable(const char* name, DType t, NativeError& error) {
  error.text = std::string("[") + name + "] no accumulation in this dtype; got " + name_of(t) + "; try a cast to float32";
}

constexpr int64_t kBlock = 256;

// write(k, row, b, e): elements [b, e) of the k-th chosen row. Work is cut within the rows where they are long, else by
// the row written to, each thread passing over all that is not its own.
template <class F>
void for_chosen_rows(const RowChoice& c, const std::vector<int64_t>& rows, F&& write) {
  constexpr int64_t kShortCut = 64, kShortRow = 8;
  int64_t threads = threads_for(c.count * c.inner);
  if (threads > 1 && c.inner >= threads * kShortCut) {
    int64_t cuts = (c.inner + kShortCut - 1) / kShortCut;
    parallel_for(threads, [&](int64_t p, int) {
      int64_t b = cuts * p / threads * kShortCut, e = std::min(c.inner, cuts * (p + 1) / threads * kShortCut);
      for (int64_t k = 0; k < c.count; ++k) write(k, rows[k], b, e);
    });
  } else if (threads > 1 && c.inner >= kShortRow) {
    int64_t parts = std::min(threads, c.rows);
    parallel_for(parts, [&](int64_t p, int) {
      int64_t lo = c.rows / parts * p + std::min(p, c.rows % parts);
      int64_t hi = c.rows / parts * (p + 1) + std::min(p + 1, c.rows % parts);
      for (int64_t k = 0; k < c.count; ++k)
        if (rows[k] >= lo && rows[k] < hi) write(k, rows[k], 0, c.inner);
    });
  } else {
    for (int64_t k = 0; k < c.count; ++k) write(k, rows[k], 0, c.inner);
  }
}

template <class T>
void add_rows(const RowChoice& c, const std::vector<int64_t>& rows, T* out, const T* values) {
  if (c.inner == 1) {
    for (int64_t k = 0; k < c.count; ++k) out[rows[k]] = static_cast<T>(out[rows[k]] + values[k]);
    return;
  }
  for_chosen_rows(c, rows, [&](int64_t k, int64_t row, int64_t b, int64_t e) {
    T* o = out + row * c.inner;
    const T* v = values + k * c.inner;
    for (int64_t i = b; i < e; ++i) o[i] = static_cast<T>(o[i] + v[i]);
  });
}

// Operands of gather and scatter at one place of idx: operand 0 of the walk is idx.
template <int K, class F>
void walk_indices(const Walk<K>& walk, int whole, const int64_t* idx, int64_t size, Faults& faults, F&& run) {
  walk.in_parallel(whole, [&](const Walk<K>& piece) {
    Fault fault;
    int64_t n = piece.run();
    piece.rows([&](const Offsets<K>& at) { run(piece, at, n, idx + at[0], size, fault); });
    faults.add(fault);
  });
}

}  // namespace

void index(const NativeArgs& a, NativeError& error) {
  RowChoice c(a, 1);
  int64_t row = c.inner * static_cast<int64_t>(size_of(a.out_spec->dtype));
  const char* x = static_cast<const char*>(a.in[0]);
  char* out = static_cast<char*>(a.out);
  Faults faults;
  for_ranges(c.count, c.count * c.inner, [&](int64_t b, int64_t e) {
    Fault fault;
    int64_t rows[kBlock];
    for (; b < e; b += kBlock) {
      int64_t n = std::min(kBlock, e - b);
      char* to = out + b * row;
      if (!c.resolve(b, b + n, rows, fault)) {
        std::memset(to, 0, static_cast<size_t>(n * row));
        continue;
      }
      bool sized = with_size(row, [&](auto size) {
        for (int64_t k = 0; k < n; ++k) std::memcpy(to + k * size.value, x + rows[k] * size.value, size.value);
      });
      for (int64_t k = 0; !sized && k < n; ++k) std::memcpy(to + k * row, x + rows[k] * row, static_cast<size_t>(row));
    }
    faults.add(fault);
  });
  faults.tell("index", error);
}

void index_put(const NativeArgs& a, NativeError& error) {
  RowChoice c(a, 2);
  DType t = a.out_spec->dtype;
  int64_t item = static_cast<int64_t>(size_of(t));
  copy_bytes(a.out, a.in[0], numel(a.out_spec->shape) * item);

  std::vector<int64_t> rows(static_cast<size_t>(c.count));
  Faults faults;
  for_ranges(c.count, c.count, [&](int64_t b, int64_t e) {
    Fault fault;
    c.resolve(b, e, rows.data() + b, fault);
    faults.add(fault);
  });
  if (faults.any()) return faults.tell("index_put", error);

  if ((*a.attrs)[1]) {
    bool known = with_addable(t, [&](auto zero) {
      using T = decltype(zero);
      add_rows(c, rows, static_cast<T*>(a.out), static_cast<const T*>(a.in[1]));
    });
    if (!known) tell_not_addable("index_put", t, error);
    return;
  }
  char* out = static_cast<char*>(a.out);
  const char* values = static_cast<const char*>(a.in[1]);
  int64_t row = c.inner * item;
  bool sized = with_size(row, [&](auto size) {
    for (int64_t k = 0; k < c.count; ++k) std::memcpy(out + rows[k] * size.value, values + k * size.value, size.value);
  });
  if (sized) return;
  for_chosen_rows(c, rows, [&](int64_t k, int64_t r, int64_t b, int64_t e) {
    std::memcpy(out + r * row + b * item, values + k * row + b * item, static_cast<size_t>((e - b) * item));
  });
}

// out[…, j, …] = x[…, idx[…, j, …], …]; beside the axis, idx may stop short of x.
void gather(const NativeArgs& a, NativeError& error) {
  const Shape &xs = a.specs[0].shape, &is = a.specs[1].shape;
  int64_t axis = (*a.attrs)[0];
  Ints x_stride = contiguous_strides(xs), i_stride = contiguous_strides(is);
  Walk<2> walk;
  for (int d = 0; d < is.size(); ++d) walk.axis(is[d], {i_stride[d], d == axis ? 0 : x_stride[d]});
  int64_t size = xs.empty() ? 1 : xs[static_cast<int>(axis)], stride = xs.empty() ? 1 : x_stride[static_cast<int>(axis)];

  Faults faults;
  with_size(static_cast<int64_t>(size_of(a.out_spec->dtype)), [&](auto item) {
    constexpr int kItem = item.value;
    const char* x = static_cast<const char*>(a.in[0]);
    char* out = static_cast<char*>(a.out);
    walk_indices(walk, -1, static_cast<const int64_t*>(a.in[1]), size, faults,
                 [&](const Walk<2>& w, const Offsets<2>& at, int64_t n, const int64_t* idx, int64_t size, Fault& fault) {
                   int64_t step = w.step(1);
                   char* to = out + at[0] * kItem;
                   for (int64_t k = 0; k < n; ++k) {
                     int64_t i = from_start(idx[k], size);
                     if (outside(i, size)) {
                       fault.see(at[0] + k, idx[k], size);
                       std::memset(to + k * kItem, 0, kItem);
                       continue;
                     }
                     std::memcpy(to + k * kItem, x + (at[1] + k * step + i * stride) * kItem, kItem);
                   }
                 });
  });
  faults.tell("gather", error);
}

// out = x; out[…, idx[…, j, …], …] = (or +=) src[…, j, …]; beside the axis, idx may stop short of x, and of src everywhere.
// Work is cut beside the axis only, and each piece takes j in rising order.
void scatter(const NativeArgs& a, NativeError& error) {
  const Shape &xs = a.specs[0].shape, &is = a.specs[1].shape, &ss = a.specs[2].shape;
  int64_t axis = (*a.attrs)[0];
  DType t = a.out_spec->dtype;
  int64_t bytes = static_cast<int64_t>(size_of(t));
  copy_bytes(a.out, a.in[0], numel(xs) * bytes);

  Ints x_stride = contiguous_strides(xs), i_stride = contiguous_strides(is), s_stride = contiguous_strides(ss);
  Walk<3> walk;
  for (int d = 0; d < is.size(); ++d) walk.axis(is[d], {i_stride[d], s_stride[d], d == axis ? 0 : x_stride[d]});
  int64_t size = xs.empty() ? 1 : xs[static_cast<int>(axis)], stride = xs.empty() ? 1 : x_stride[static_cast<int>(axis)];

  Faults faults;
  // put(to, from): element numbers in the result and in src
  auto each = [&](auto put) {
    walk_indices(walk, 2, static_cast<const int64_t*>(a.in[1]), size, faults,
                 [&](const Walk<3>& w, const Offsets<3>& at, int64_t n, const int64_t* idx, int64_t size, Fault& fault) {
                   int64_t from = w.step(1), to = w.step(2);
                   for (int64_t k = 0; k < n; ++k) {
                     int64_t i = from_start(idx[k], size);
                     if (outside(i, size)) {
                       fault.see(at[0] + k, idx[k], size);
                       continue;
                     }
                     put(at[2] + k * to + i * stride, at[1] + k * from);
                   }
                 });
  };
  if ((*a.attrs)[1]) {
    bool known = with_addable(t, [&](auto zero) {
      using T = decltype(zero);
      T* out = static_cast<T*>(a.out);
      const T* src = static_cast<const T*>(a.in[2]);
      each([&](int64_t to, int64_t from) { out[to] = static_cast<T>(out[to] + src[from]); });
    });
    if (!known) return tell_not_addable("scatter_add", t, error);
  } else {
    with_size(bytes, [&](auto item) {
      constexpr int kItem = item.value;
      char* out = static_cast<char*>(a.out);
      const char* src = static_cast<const char*>(a.in[2]);
      each([&](int64_t to, int64_t from) { std::memcpy(out + to * kItem, src + from * kItem, kItem); });
    });
  }
  faults.tell((*a.attrs)[1] ? "scatter_add" : "scatter", error);
}

}  // namespace cpu
}  // namespace pd
