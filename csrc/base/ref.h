// Ref: an intrusive pointer. T offers `retain(T*)` and `release(T*)`, found by its namespace.
#pragma once
#include <utility>

namespace pd {

template <class T>
class Ref {
 public:
  Ref() : p_(nullptr) {}
  Ref(std::nullptr_t) : p_(nullptr) {}
  Ref(T* p) : p_(p) {
    if (p_) retain(p_);
  }
  Ref(const Ref& o) : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(o.p_) { o.p_ = nullptr; }
  Ref& operator=(const Ref& o) {
    T* old = p_;
    p_ = o.p_;
    if (p_) retain(p_);
    if (old) release(old);
    return *this;
  }
  Ref& operator=(Ref&& o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  ~Ref() {
    if (p_) release(p_);
  }
  // Takes over a reference that the caller owns.
  static Ref adopt(T* p) {
    Ref r;
    r.p_ = p;
    return r;
  }
  // Gives the reference to the caller.
  T* detach() {
    T* p = p_;
    p_ = nullptr;
    return p;
  }
  void reset() { *this = Ref(); }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref& o) const { return p_ == o.p_; }
  bool operator!=(const Ref& o) const { return p_ != o.p_; }

 private:
  T* p_;
};

}  // namespace pd
