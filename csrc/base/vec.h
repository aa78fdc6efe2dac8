// SmallVec: a vector of trivially copyable items, the first N of them inline.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

namespace pd {

template <class T, int N>
class SmallVec {
  static_assert(std::is_trivially_copyable<T>::value, "SmallVec holds trivial items");

 public:
  SmallVec() : n_(0), cap_(N) {}
  explicit SmallVec(int n, T v = T()) : SmallVec() {
    resize(n, v);
  }
  SmallVec(std::initializer_list<T> l) : SmallVec() { assign(l.begin(), static_cast<int>(l.size())); }
  SmallVec(const T* p, int n) : SmallVec() { assign(p, n); }
  SmallVec(const SmallVec& o) : SmallVec() { assign(o.data(), o.n_); }
  template <int M>
  SmallVec(const SmallVec<T, M>& o) : SmallVec() { assign(o.data(), o.size()); }
  SmallVec(SmallVec&& o) noexcept : SmallVec() { swap(o); }
  SmallVec& operator=(const SmallVec& o) {
    if (this != &o) assign(o.data(), o.n_);
    return *this;
  }
  SmallVec& operator=(SmallVec&& o) noexcept {
    swap(o);
    return *this;
  }
  ~SmallVec() {
    if (cap_ > N) std::free(heap_);
  }

  void assign(const T* p, int n) {
    if (n > cap_) grow(n);
    std::memcpy(static_cast<void*>(data()), p, sizeof(T) * static_cast<size_t>(n));
    n_ = n;
  }
  void resize(int n, T v = T()) {
    if (n > cap_) grow(n);
    for (int i = n_; i < n; ++i) data()[i] = v;
    n_ = n;
  }
  void push_back(T v) {
    if (n_ == cap_) grow(cap_ * 2);
    data()[n_++] = v;
  }
  void insert(int at, T v) {
    push_back(v);
    for (int i = n_ - 1; i > at; --i) data()[i] = data()[i - 1];
    data()[at] = v;
  }
  void erase(int at) {
    for (int i = at; i + 1 < n_; ++i) data()[i] = data()[i + 1];
    --n_;
  }
  void pop_back() { --n_; }
  void clear() { n_ = 0; }

  int size() const { return n_; }
  bool empty() const { return n_ == 0; }
  T* data() { return cap_ > N ? heap_ : inline_; }
  const T* data() const { return cap_ > N ? heap_ : inline_; }
  T& operator[](int i) { return data()[i]; }
  const T& operator[](int i) const { return data()[i]; }
  T& back() { return data()[n_ - 1]; }
  const T& back() const { return data()[n_ - 1]; }
  T* begin() { return data(); }
  T* end() { return data() + n_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + n_; }

  bool operator==(const SmallVec& o) const {
    return n_ == o.n_ && std::memcmp(data(), o.data(), sizeof(T) * static_cast<size_t>(n_)) == 0;
  }
  bool operator!=(const SmallVec& o) const { return !(*this == o); }

  void swap(SmallVec& o) noexcept {
    alignas(SmallVec) unsigned char tmp[sizeof(SmallVec)];
    std::memcpy(tmp, static_cast<void*>(this), sizeof(SmallVec));
    std::memcpy(static_cast<void*>(this), static_cast<void*>(&o), sizeof(SmallVec));
    std::memcpy(static_cast<void*>(&o), tmp, sizeof(SmallVec));
  }

 private:
  void grow(int n) {
    T* p = static_cast<T*>(std::malloc(sizeof(T) * static_cast<size_t>(n)));
    std::memcpy(static_cast<void*>(p), data(), sizeof(T) * static_cast<size_t>(n_));
    if (cap_ > N) std::free(heap_);
    heap_ = p;
    cap_ = n;
  }

  int32_t n_, cap_;
  union {
    T inline_[N];
    T* heap_;
  };
};

using Ints = SmallVec<int64_t, 6>;

}  // namespace pd
