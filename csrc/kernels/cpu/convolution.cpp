// A convolution is a product of the weight's rows with windows that are read where they lie: an element of a window is at
// the offset of its place in the kernel plus the offset of the window (kernels/windows.h, kernels/cpu/tiles.h).
#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "base/divide.h"
#include "device/cpu/scratch.h"
#include "kernels/cpu/native_kernels.h"
#include "kernels/cpu/tiles.h"
#include "kernels/windows.h"

namespace pd {
namespace cpu {

namespace {

constexpr int64_t kSharedWork = int64_t(1) << 22;  // multiply-adds of a group that the threads share; fewer: a group each

// ---- x where a window reaches beyond it

// One axis of x that is copied: those of its indices from `first` on that are inside, among zeros.
struct Copied {
  int64_t size, first, bound, from, to;  // strides in items
  int64_t begin() const { return std::max<int64_t>(0, -first); }
  int64_t end() const { return std::min(size, bound - first); }
  bool whole() const { return first == 0 && size == bound; }
};

void copy(const Copied* axis, const Copied* last, const char* from, char* to, int64_t item) {
  const int64_t begin = axis->begin(), end = axis->end();
  from += begin * axis->from * item;
  to += begin * axis->to * item;
  if (axis == last && axis->from == 1) {
    if (end > begin) std::memcpy(to, from, static_cast<size_t>((end - begin) * item));
    return;
  }
  for (int64_t i = begin; i < end; ++i, from += axis->from * item, to += axis->to * item) {
    if (axis == last) std::memcpy(to, from, static_cast<size_t>(item));
    else copy(axis + 1, last, from, to, item);
  }
}

// The elements that the windows of a product meet, zeros among them; and the product's strides there.
class Padded {
 public:
  Padded(const char* x, int64_t item, WindowProduct& p) {
    bool inside = true;
    for (const WindowAxis& a : p.axes) inside &= a.first >= 0 && last_of(a) < a.bound;
    data_ = x + p.x_at * item;
    if (inside) return;
    std::vector<Copied> all{{p.groups, 0, p.groups, p.x_group, 0}, {p.batch, 0, p.batch, p.x_batch, 0},
                            {p.channels, 0, p.channels, p.x_channel, 0}};
    std::vector<int64_t> steps;  // of one element along each axis of places
    for (const WindowAxis& a : p.axes) {
      steps.push_back(a.n_step ? a.n_x / a.n_step : a.k_x / a.k_step);
      all.push_back({last_of(a) - a.first + 1, a.first, a.bound, steps.back(), 0});
    }
    int64_t count = 1;
    std::vector<size_t> order(all.size());
    for (size_t k = 0; k < order.size(); ++k) order[k] = k;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return all[a].from > all[b].from; });
    for (size_t k = order.size(); k-- > 0;) {
      all[order[k]].to = count;
      count *= all[order[k]].size;
    }
    fill(all, order, count, x + (p.x_at - first_at(p, steps)) * item, item);
    p.x_group = all[0].to, p.x_batch = all[1].to, p.x_channel = all[2].to;
    for (size_t k = 0; k < p.axes.size(); ++k) {
      WindowAxis& a = p.axes[k];
      a.n_x = a.n_step * all[3 + k].to;
      a.k_x = a.k_step * all[3 + k].to;
    }
  }
  const char* data() const { return data_; }

 private:
  static int64_t last_of(const WindowAxis& a) { return a.first + a.n_step * (a.n_size - 1) + a.k_step * (a.k_size - 1); }
  static int64_t first_at(const WindowProduct& p, const std::vector<int64_t>& steps) {
    int64_t at = 0;
    for (size_t k = 0; k < steps.size(); ++k) at += p.axes[k].first * steps[k];
    return at;
  }

  // `x` is at index 0 of every axis.
  void fill(const std::vector<Copied>& all, const std::vector<size_t>& order, int64_t count, const char* x, int64_t item) {
    room_.emplace(static_cast<size_t>(count * item));
    data_ = room_->data();
    std::vector<Copied> axes;
    for (size_t k : order) {
      if (all[k].size == 1 && all[k].whole()) continue;
      if (!axes.empty() && all[k].whole() && axes.back().from == all[k].from * all[k].size) {
        Copied& a = axes.back();
        a = {a.size * all[k].size, a.first * all[k].size, a.bound * all[k].size, all[k].from, all[k].to};
      } else {
        axes.push_back(all[k]);
      }
    }
    for (Copied& a : axes) x += a.first * a.from * item;
    if (axes.size() < 2) axes.insert(axes.begin(), {1, 0, 1, 0, count});
    // Threads take planes: what the first axis, or the first two, count.
    const size_t shared = axes.size() > 2 ? 2 : 1;
    const int64_t inner = shared == 2 ? axes[1].size : 1, planes = axes[0].size * inner, plane = count / planes;
    for_ranges(planes, count, [&](int64_t b, int64_t e) {
      for (; b < e; ++b) {
        const int64_t i = b / inner, j = b % inner;
        char* to = room_->data() + b * plane * item;
        std::memset(to, 0, static_cast<size_t>(plane * item));
        const bool in = i >= axes[0].begin() && i < axes[0].end() && (shared == 1 || (j >= axes[1].begin() && j < axes[1].end()));
        if (in) copy(&axes[shared], &axes.back(), x + (i * axes[0].from + (shared == 2 ? j * axes[1].from : 0)) * item, to, item);
      }
    });
  }

  std::optional<CallMemory> room_;
  const char* data_;
};

// ---- lists of offsets

// An index of two operands at once, the first axis slowest.
struct Axis {
  int64_t size, one, other;
};
struct Offsets {
  std::vector<int64_t> one{0}, other{0};
  explicit Offsets(const std::vector<Axis>& axes) {
    for (const Axis& a : axes) {
      grow(one, a.size, a.one);
      grow(other, a.size, a.other);
    }
  }
  static void grow(std::vector<int64_t>& list, int64_t size, int64_t step) {
    std::vector<int64_t> next;
    next.reserve(list.size() * static_cast<size_t>(size));
    for (int64_t base : list)
      for (int64_t i = 0; i < size; ++i) next.push_back(base + i * step);
    list = std::move(next);
  }
};

// A list whose steps are one number needs none.
Places places_of(const std::vector<int64_t>& list) {
  const int64_t step = list.size() > 1 ? list[1] - list[0] : 1;
  for (size_t i = 2; i < list.size(); ++i)
    if (list[i] - list[i - 1] != step) return {1, list.data()};
  return {step, nullptr};
}

// One more in front of the axes of places, or behind them.
std::vector<Axis> joined(const Axis& one, std::vector<Axis> places, bool behind) {
  places.insert(behind ? places.end() : places.begin(), one);
  return places;
}

// Whether it lies closer together than the places.
bool is_close(int64_t step, const std::vector<Axis>& places) {
  for (const Axis& a : places)
    if (a.size > 1 && std::abs(a.one) <= std::abs(step)) return false;
  return true;
}

// The order in which products are added up is the flags', so that a view has the bits of its copy.
void product(WindowProduct p, const NativeArgs& a, bool channels_last) {
  const int64_t item = static_cast<int64_t>(size_of(a.out_spec->dtype));
  const Padded x(static_cast<const char*>(a.in[0]), item, p);
  std::vector<Axis> n, k;
  for (size_t i = p.axes.size(); i-- > 0;) {
    n.push_back({p.axes[i].n_size, p.axes[i].n_x, p.axes[i].n_y});
    k.push_back({p.axes[i].k_size, p.axes[i].k_x, p.axes[i].k_w});
  }
  const Offsets windows(joined({p.batch, p.x_batch, p.y_batch}, n, is_close(p.x_batch, n)));
  const Offsets within(joined({p.channels, p.x_channel, p.w_channel}, k, channels_last));
  const Places col = places_of(windows.one), to = places_of(windows.other);
  const Places deep = places_of(within.one), by = places_of(within.other);

  auto group = [&](int64_t i) {
    const char* w = static_cast<const char*>(a.in[1]) + (p.w_at + i * p.w_group) * item;
    const char* from = x.data() + i * p.x_group * item;
    char* y = static_cast<char*>(a.out) + (p.y_at + i * p.y_group) * item;
    const DType t = a.out_spec->dtype;
    const int64_t m = p.outputs, n = p.windows(), depth = p.in_window();
    const Places rows{p.w_row, nullptr}, results{p.y_row, nullptr};
    tiled_product({t, m, n, depth, w, rows, by, from, deep, col, y, results, to, false});  // columns are packed while they are near
  };
  const double work = static_cast<double>(p.outputs) * static_cast<double>(p.in_window()) * static_cast<double>(p.windows());
  parallel_for(p.groups, [&](int64_t i, int) { group(i); }, work > static_cast<double>(kSharedWork) ? 1 : num_threads());
}

// ---- weights that zeros may not meet

template <class T> bool all_finite(const void* data, int64_t count) {
  const T* x = static_cast<const T*>(data);
  T sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += x[i] - x[i];
  return sum == 0;
}

// Whether a weight that is an infinity or NaN would meet zeros around x that the definition does not have: what is spread
// over windows (the gradient of a convolution's input, a transposed convolution) is added up where it falls.
bool meets_no_zeros(const Convolution& c, const NativeArgs& a) {
  if (!(c.flags & kMirrored) || !is_floating(a.specs[1].dtype)) return false;
  int64_t count = 1;  // from the first to the last element
  const Ints& strides = a.strides[1];
  for (int k = 0; k < strides.size(); ++k) {
    if (strides[k] < 0) return true;
    count += (a.specs[1].shape[k] - 1) * strides[k];
  }
  return !(a.specs[1].dtype == DType::F32 ? all_finite<float>(a.in[1], count) : all_finite<double>(a.in[1], count));
}

// The same as products that stay inside x: windows that lose the same places to its border, each without these.
void split_at_borders(const WindowProduct& p, size_t axis, std::vector<WindowProduct>& out) {
  if (axis == p.axes.size()) return out.push_back(p);
  const WindowAxis& a = p.axes[axis];
  auto places = [&](int64_t n) {  // those of window n that are inside: [first, second)
    const int64_t at = a.first + n * a.n_step;
    const int64_t begin = at >= 0 ? 0 : ceil_div(-at, a.k_step), end = a.bound <= at ? 0 : ceil_div(a.bound - at, a.k_step);
    return std::pair(std::min(begin, a.k_size), std::clamp<int64_t>(end, std::min(begin, a.k_size), a.k_size));
  };
  for (int64_t n = 0, next; n < a.n_size; n = next) {
    const auto [begin, end] = places(n);
    for (next = n + 1; next < a.n_size && places(next) == std::pair(begin, end);) ++next;
    if (begin == end) continue;
    WindowProduct part = p;
    WindowAxis& b = part.axes[axis];
    b.first += n * a.n_step + begin * a.k_step;
    b.n_size = next - n;
    b.k_size = end - begin;
    part.x_at += n * a.n_x + begin * a.k_x;
    part.w_at += begin * a.k_w;
    part.y_at += n * a.n_y;
    split_at_borders(part, axis + 1, out);
  }
}

}  // namespace

void convolution(const NativeArgs& a, NativeError&) {
  const Convolution c(*a.attrs);
  const Shape& y = a.out_spec->shape;
  if (numel(y) == 0) return;
  std::vector<WindowProduct> all = window_products(c, a);
  bool empty = std::any_of(all.begin(), all.end(), [](const WindowProduct& p) { return p.in_window() == 0; });
  if (meets_no_zeros(c, a)) {
    std::vector<WindowProduct> parts;
    for (const WindowProduct& p : all) split_at_borders(p, 0, parts);
    all.swap(parts);
    empty = true;
  }
  if (empty) std::memset(a.out, 0, static_cast<size_t>(numel(y)) * size_of(a.out_spec->dtype));
  for (const WindowProduct& p : all)
    if (p.in_window() > 0) product(p, a, c.flags & kChannelsLast);
}

}  // namespace cpu
}  // namespace pd
