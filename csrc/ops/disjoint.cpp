// The cotangents of an axis that was taken apart (unbind, split, columns picked one by one; every second of the windows of a
// pooling) are such parts: joined they are written once, where their sum would read every part for every element.
#include "ops/disjoint.h"

#include <algorithm>
#include <cmath>

#include "ops/families.h"

namespace pd {

namespace {

constexpr int64_t kLarge = 1 << 15;  // elements; a smaller sum is cheaper within the kernel that makes the parts

// lo…, hi… of the padding.
struct Part {
  Var inner;
  Ints lo, hi;
};

Part opened(const Var& x) {
  const int n = x.shape().size();
  const Ints& a = x.v->ints();
  return {Var(ValueRef(x.v->in(0))), part(a, 0, n), part(a, n, n)};
}

// The one axis along which something was put around a part; -1 where there are several.
int axis_of(const Part& p) {
  int axis = -1;
  for (int k = 0; k < p.lo.size(); ++k)
    if (p.lo[k] || p.hi[k]) axis = axis < 0 ? k : p.lo.size();
  return axis < p.lo.size() ? axis : -1;
}

bool is_pad(const Var& x) { return x.v->op == op::pad; }

bool is_zeros(const Value* v) {
  if (!v->pending() || v->op != op::expand || !v->in(0)->is_scalar()) return false;
  const double zero = v->in(0)->number();
  return zero == 0 && !std::signbit(zero);
}

// Parts whose elements take turns along one axis, as many as are from one element to the next: the axis; -1: they are not such.
int turns_axis(const std::vector<Var>& parts) {
  const Shape& whole = parts[0].shape();
  const int64_t count = static_cast<int64_t>(parts.size());
  const int n = whole.size();
  int axis = -1;
  std::vector<char> begun(parts.size());
  for (const Var& x : parts) {
    if (is_pad(x)) return -1;
    const Ints& a = x.v->ints();
    for (int k = 0; k < n; ++k) {
      const int64_t start = a[k], step = a[2 * n + k], size = x.v->in(1)->shape[k];
      if (step == 1 && start == 0 && size == whole[k] && k != axis) continue;
      if ((axis >= 0 && k != axis) || step != count || size * count != whole[k] || start >= count) return -1;
      axis = k;
      if (begun[static_cast<size_t>(start)]++) return -1;
    }
  }
  return axis;
}

Var taking_turns(const std::vector<Var>& parts, int axis) {
  std::vector<Var> row(parts.size());
  for (const Var& x : parts) row[static_cast<size_t>(x.v->ints()[axis])] = Var(ValueRef(x.v->in(1)));
  return reshape(stack(row.data(), static_cast<int>(row.size()), axis + 1), parts[0].shape());
}

}  // namespace

bool is_part(const Var& x) {
  if (x.m || !x.v->pending() || x.v->size() < kLarge) return false;
  if (x.v->op == op::slice_update) return is_zeros(x.v->in(0));
  if (!is_pad(x)) return false;
  const Ints& a = x.v->ints();
  if (a[a.size() - 1] != 0) return false;  // the bits of what is put around
  for (int64_t w : a)
    if (w < 0) return false;
  return true;
}

Var sum_of_parts(const std::vector<Var>& parts) {
  auto added = [&] {
    Var sum = parts[0];
    for (size_t k = 1; k < parts.size(); ++k) sum = apply(op::add, {sum, parts[k]});
    return sum;
  };
  if (parts.size() > 1) {
    const int axis = turns_axis(parts);
    if (axis >= 0) return taking_turns(parts, axis);
  }
  if (parts.size() < 3) return added();
  std::vector<Part> open;
  for (const Var& x : parts) {
    if (!is_pad(x)) return added();
    open.push_back(opened(x));
  }
  const int axis = axis_of(open[0]);
  for (const Part& p : open)
    if (axis < 0 || axis_of(p) != axis) return added();
  std::stable_sort(open.begin(), open.end(), [&](const Part& a, const Part& b) { return a.lo[axis] < b.lo[axis]; });
  const Shape& whole = parts[0].shape();
  std::vector<Var> row;
  int64_t end = 0;
  auto zeros_until = [&](int64_t begin) {
    if (begin == end) return;
    Shape gap = whole;
    gap[axis] = begin - end;
    row.push_back(zeros(gap, parts[0].dtype(), parts[0].device()));
  };
  for (const Part& p : open) {
    if (p.lo[axis] < end) return added();
    zeros_until(p.lo[axis]);
    row.push_back(p.inner);
    end = whole[axis] - p.hi[axis];
  }
  zeros_until(whole[axis]);
  return concatenate(row.data(), static_cast<int>(row.size()), axis);
}

}  // namespace pd
