// Few: a small array of any type whose first N items need no allocation. Items stay constructed while
// the owner waits in a free list; clear() resets them.
#pragma once
#include <vector>

namespace pd {

template <class T, int N>
class Few {
 public:
  void resize(int n) {
    if (n > N) more_.resize(static_cast<size_t>(n));
    n_ = n;
  }
  void clear() {
    if (n_ > N) more_.clear();
    else
      for (int i = 0; i < n_; ++i) inline_[i] = T();
    n_ = 0;
  }
  int size() const { return n_; }
  T* data() { return n_ > N ? more_.data() : inline_; }
  const T* data() const { return n_ > N ? more_.data() : inline_; }
  T& operator[](int i) { return data()[i]; }
  const T& operator[](int i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + n_; }

 private:
  int n_ = 0;
  T inline_[N];
  std::vector<T> more_;
};

}  // namespace pd
