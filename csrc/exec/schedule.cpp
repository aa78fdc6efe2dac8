#include "exec/schedule.h"

#include <algorithm>
#include <cmath>

namespace pd {

namespace {

constexpr int kDeepest = 64;       // values that are computed again for one
constexpr int kSmallPart = 16;     // an operand this many times smaller is kept rather than computed again
constexpr size_t kMoreSteps = 4;   // times as many steps as there were at most
constexpr int kNever = -2;         // the step of a stay that nobody reads

}  // namespace

Schedule::Schedule(std::vector<Value> values, std::vector<int64_t> scratch)
    : values_(std::move(values)), scratch_(std::move(scratch)), stays_of_(values_.size()),
      most_steps_(kMoreSteps * scratch_.size() + 64) {
  steps_.resize(scratch_.size());
  for (size_t s = 0; s < steps_.size(); ++s) {
    steps_[s].source = static_cast<int>(s);
    order_.push_back(static_cast<int>(s));
  }
  for (size_t v = 0; v < values_.size(); ++v) {
    const int s = values_[v].step;
    if (s < 0 && !values_[v].there) continue;  // no value: a node between
    stays_of_[v].push_back(static_cast<int>(stays_.size()));
    if (s >= 0) steps_[static_cast<size_t>(s)].stays.push_back(static_cast<int>(stays_.size()));
    stays_.push_back({static_cast<int>(v), s, 0, 0});
  }
  for (Step& s : steps_)
    for (int v : needed(s)) s.reads.push_back({v, stays_of_[static_cast<size_t>(v)][0]});
  settle();
}

// The values that a step reads: what else its own step makes is computed within it, but by a copy of it, which reads that.
std::vector<int> Schedule::needed(const Step& s) const {
  std::vector<int> out, within;
  for (int y : s.stays) within.push_back(stay(y).value);
  std::vector<int> met = within;
  while (!within.empty()) {
    const int v = within.back();
    within.pop_back();
    for (int r : value(v).reads) {
      if (std::find(met.begin(), met.end(), r) != met.end()) continue;
      met.push_back(r);
      if (!s.again && value(r).step == s.source) within.push_back(r);
      else out.push_back(r);
    }
  }
  std::sort(out.begin(), out.end());
  return out;
}

// What nobody reads is not made; then places and memory.
void Schedule::settle() {
  std::vector<char> read(stays_.size(), 0);
  std::vector<int> kept;
  for (size_t p = order_.size(); p-- > 0;) {
    Step& s = steps_[static_cast<size_t>(order_[p])];
    const size_t before = s.stays.size();
    auto unread = [&](int y) {
      if (read[static_cast<size_t>(y)] || value(stay(y).value).there) return false;
      stays_[static_cast<size_t>(y)].step = kNever;
      return true;
    };
    s.stays.erase(std::remove_if(s.stays.begin(), s.stays.end(), unread), s.stays.end());
    if (s.stays.empty()) continue;
    if (s.stays.size() != before) {
      const std::vector<int> still = needed(s);
      s.reads.erase(std::remove_if(s.reads.begin(), s.reads.end(),
                                   [&](auto& r) { return !std::binary_search(still.begin(), still.end(), r.first); }),
                    s.reads.end());
    }
    for (auto& r : s.reads) read[static_cast<size_t>(r.second)] = 1;
    kept.push_back(order_[p]);
  }
  std::reverse(kept.begin(), kept.end());
  order_ = std::move(kept);
  place_.assign(steps_.size(), -1);
  for (size_t p = 0; p < order_.size(); ++p) place_[static_cast<size_t>(order_[p])] = static_cast<int>(p);

  for (Stay& y : stays_) y.first = y.last = place_of(y.step);
  const size_t n = order_.size();
  for (size_t p = 0; p < n; ++p)
    for (auto& [v, y] : step(order_[p]).reads) {
      Stay& s = stays_[static_cast<size_t>(y)];
      if (s.last == place_of(s.step)) s.first = static_cast<int>(p);
      s.last = static_cast<int>(p);
    }
  std::vector<int64_t> change(n + 1, 0);
  carried_.assign(n + 1, 0);
  for (size_t p = 0; p < n; ++p)
    for (int y : step(order_[p]).stays) {
      const Stay& s = stay(y);
      if (value(s.value).there) continue;
      change[p] += value(s.value).bytes;
      change[static_cast<size_t>(s.last) + 1] -= value(s.value).bytes;
      if (static_cast<size_t>(s.last) == p) continue;
      carried_[p + 1] += value(s.value).bytes;
      carried_[static_cast<size_t>(s.last) + 1] -= value(s.value).bytes;
    }
  memory_.assign(n, 0);
  peak_ = 0;
  int64_t now = 0, across = 0;
  for (size_t p = 0; p < n; ++p) {
    now += change[p];
    across += carried_[p];
    carried_[p] = across;
    memory_[p] = now + scratch_[static_cast<size_t>(step(order_[p]).source)];
    peak_ = std::max(peak_, memory_[p]);
  }
}

void Schedule::reorder() {
  const std::vector<int> was = order_;
  const int64_t peak = peak_;
  const size_t n = was.size();
  std::vector<int> waits(steps_.size(), 0), readers(stays_.size(), 0);
  std::vector<std::vector<int>> then(steps_.size());
  for (int s : was)
    for (auto& [v, y] : step(s).reads) {
      ++readers[static_cast<size_t>(y)];
      const int maker = stay(y).step;
      if (maker < 0) continue;
      ++waits[static_cast<size_t>(s)];
      then[static_cast<size_t>(maker)].push_back(s);
    }
  auto growth = [&](int s) {
    int64_t g = 0;
    for (int y : step(s).stays)
      if (!value(stay(y).value).there && readers[static_cast<size_t>(y)]) g += value(stay(y).value).bytes;
    for (auto& [v, y] : step(s).reads)
      if (!value(v).there && readers[static_cast<size_t>(y)] == 1) g -= value(v).bytes;
    return g;
  };
  auto earlier = [&](int a, int b) { return place_of(a) < place_of(b); };
  std::vector<int> ready, order;  // `ready` by place
  for (int s : was)
    if (!waits[static_cast<size_t>(s)]) ready.push_back(s);
  while (!ready.empty()) {
    size_t best = 0;
    int64_t least = 1;
    for (size_t k = 0; k < ready.size(); ++k) {
      const int64_t g = growth(ready[k]);
      if (g <= 0 && g < least) best = k, least = g;
    }
    const int s = ready[best];
    ready.erase(ready.begin() + static_cast<long>(best));
    order.push_back(s);
    for (auto& [v, y] : step(s).reads) --readers[static_cast<size_t>(y)];
    for (int t : then[static_cast<size_t>(s)])
      if (--waits[static_cast<size_t>(t)] == 0)
        ready.insert(std::upper_bound(ready.begin(), ready.end(), t, earlier), t);
  }
  if (order.size() != n) return;
  order_ = order;
  settle();
  if (peak_ < peak) return;
  order_ = was;
  settle();
}

// v in memory when the step at t.place runs, before it the items. False where that cannot be.
bool Schedule::provide(Trial& t, int v, Way way, int depth) const {
  const Value& x = value(v);
  if (x.there) {
    for (int y : stays_of_[static_cast<size_t>(v)])
      if (place_of(stay(y).step) < t.place) return t.found.push_back({v, y}), true;
    return false;
  }
  for (auto& f : t.found)
    if (f.first == v) return true;
  for (const Item& i : t.items)
    if (i.value == v) return true;
  int newest = -1, next = -1;  // stays: the last that began before, the first copy that begins later
  for (int y : stays_of_[static_cast<size_t>(v)]) {
    const Stay& s = stay(y);
    const int from = place_of(s.step);
    if (from < 0) continue;  // no longer made
    if (from < t.place) {
      if (s.last >= t.place) return t.found.push_back({v, y}), true;
      if (newest < 0 || stay(newest).last < s.last) newest = y;
    } else if (step(s.step).again && (next < 0 || from < place_of(stay(next).step))) {
      next = y;
    }
  }
  const int64_t bytes = value(stay(t.stay).value).bytes;
  const bool small = x.bytes * kSmallPart <= bytes || (way == Way::Extend && x.bytes * 2 <= bytes);
  if (newest >= 0 && (small || !x.again || way == Way::Keep)) {
    t.found.push_back({v, newest});
    t.extended.push_back(newest);
    return true;
  }
  if (!x.again || depth >= kDeepest || t.items.size() >= kDeepest) return false;
  for (int r : x.reads)
    if (!provide(t, r, way, depth + 1)) return false;
  const bool hoist = next >= 0 && way != Way::Again;
  t.items.push_back({v, hoist ? stay(next).step : -1});
  if (!hoist) t.cost += x.cost;
  return true;
}

// At every place memory stays where it was or below `bound`, and at the highest it falls.
bool Schedule::fits(const Trial& t, Way way, int64_t bound, int highest) const {
  const Stay& cut = stay(t.stay);
  const size_t b = static_cast<size_t>(t.place), n = order_.size();
  std::vector<int64_t> change(n + 1, 0);
  auto between = [&](int from, int to, int64_t bytes) {  // [from, to)
    if (from >= to) return;
    change[static_cast<size_t>(from)] += bytes;
    change[static_cast<size_t>(to)] -= bytes;
  };
  const int64_t bytes = value(cut.value).bytes;
  // Where nobody reads it before, it is not made there at all.
  between(cut.first >= t.place ? t.before : t.before + 1, t.place, -bytes);
  int64_t across = carried_[b] - bytes;
  for (int y : t.extended) {
    between(stay(y).last + 1, t.place, value(stay(y).value).bytes);
    across += value(stay(y).value).bytes;
  }
  const size_t m = t.items.size();
  std::vector<size_t> until(m, 0);
  for (size_t k = 0; k < m; ++k) {
    const Item& i = t.items[k];
    if (i.hoisted >= 0) between(t.place, place_of(i.hoisted), value(i.value).bytes);
    if (i.hoisted >= 0 || k + 1 == m) until[k] = m;
    for (size_t j = 0; j < k; ++j) {
      const std::vector<int>& reads = value(i.value).reads;
      if (std::find(reads.begin(), reads.end(), t.items[j].value) != reads.end()) until[j] = std::max(until[j], k);
    }
  }
  const int64_t most = std::max(bound, std::min(memory_[b], peak_ - 1));  // what is higher there will have its turn
  for (size_t k = 0; k < m; ++k) {
    int64_t now = across + scratch_[static_cast<size_t>(value(t.items[k].value).step)];
    for (size_t j = 0; j <= k; ++j)
      if (j == k || until[j] >= k) now += value(t.items[j].value).bytes;
    if (now > most) return false;
  }
  int64_t now = 0;
  for (size_t p = 0; p < n; ++p) {
    now += change[p];
    const bool much = now * kSmallPart > bytes && way != Way::Keep;
    if (now > 0 && memory_[p] + now > (much ? bound : std::max(bound, peak_ - 1))) return false;
    if (static_cast<int>(p) == highest && (way == Way::Keep ? now > 0 : now >= 0)) return false;
  }
  return true;
}

void Schedule::apply(const Trial& t) {
  const int at = order_[static_cast<size_t>(t.place)];
  std::vector<std::pair<int, int>> found = t.found;
  std::vector<int> steps;
  int made = -1;
  for (const Item& i : t.items) {
    int s = i.hoisted;
    if (s < 0) {
      s = static_cast<int>(steps_.size());
      Step copy;
      copy.source = value(i.value).step;
      copy.again = true;
      copy.stays = {static_cast<int>(stays_.size())};
      stays_of_[static_cast<size_t>(i.value)].push_back(copy.stays[0]);
      stays_.push_back({i.value, s, 0, 0});
      steps_.push_back(std::move(copy));
    }
    Step& x = steps_[static_cast<size_t>(s)];
    x.reads.clear();
    for (int r : value(i.value).reads)
      for (auto& f : found)
        if (f.first == r) {
          x.reads.push_back(f);
          break;
        }
    made = x.stays[0];
    found.push_back({i.value, made});
    steps.push_back(s);
  }
  for (size_t p = static_cast<size_t>(t.place); p < order_.size(); ++p)
    for (auto& r : steps_[static_cast<size_t>(order_[p])].reads)
      if (r.second == t.stay && std::find(steps.begin(), steps.end(), order_[p]) == steps.end()) r.second = made;
  std::vector<int> order;
  for (int s : order_) {
    if (s == at) order.insert(order.end(), steps.begin(), steps.end());
    if (std::find(steps.begin(), steps.end(), s) == steps.end()) order.push_back(s);
  }
  order_ = std::move(order);
  settle();
}

// One value more is computed again: the cheapest by the byte, of those the one that is away longest.
bool Schedule::improve(Way way, int64_t bound) {
  const int highest = static_cast<int>(std::max_element(memory_.begin(), memory_.end()) - memory_.begin());
  std::vector<int> before(stays_.size(), -1), behind(stays_.size(), -1);  // readers next to the highest place; -2: it reads it
  for (size_t p = 0; p < order_.size(); ++p)
    for (auto& [v, y] : step(order_[p]).reads) {
      const size_t k = static_cast<size_t>(y);
      if (static_cast<int>(p) < highest) before[k] = static_cast<int>(p);
      else if (static_cast<int>(p) == highest) behind[k] = -2;
      else if (behind[k] == -1) behind[k] = static_cast<int>(p);
    }
  std::vector<Trial> trials;
  for (size_t k = 0; k < stays_.size(); ++k) {
    const Stay& s = stays_[k];
    const Value& x = value(s.value);
    const int made = place_of(s.step);
    if (x.there || !x.again || !x.bytes || behind[k] < 0 || made < 0 || made > highest) continue;
    Trial t;
    t.stay = static_cast<int>(k);
    t.place = behind[k];
    t.before = std::max(before[k], made);
    t.cost = x.cost;
    if (!std::all_of(x.reads.begin(), x.reads.end(), [&](int r) { return provide(t, r, way, 1); })) continue;
    t.items.push_back({s.value, -1});
    t.rank = static_cast<int>(std::floor(std::log2(std::max(t.cost / static_cast<double>(x.bytes), 1e-3))));
    trials.push_back(std::move(t));
  }
  std::stable_sort(trials.begin(), trials.end(), [](const Trial& a, const Trial& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.place - a.before > b.place - b.before;
  });
  for (const Trial& t : trials)
    if (fits(t, way, bound, highest)) return apply(t), true;
  return false;
}

// Keeping an operand in the place of a value gains nothing, unless others are computed from it as well.
bool Schedule::keep_for_several(int64_t bound) {
  const Schedule before = *this;
  if (improve(Way::Keep, bound) && peak_ <= before.peak_ && improve(Way::Hoist, bound)) return true;
  *this = before;
  return false;
}

bool Schedule::improve(int64_t bound) {
  return improve(Way::Hoist, bound) || keep_for_several(bound) || improve(Way::Extend, bound) || improve(Way::Again, bound);
}

bool Schedule::lower_to(int64_t target, int64_t aim) {
  while (peak_ > target) {
    if (steps_.size() > most_steps_) return false;
    if (improve(aim)) continue;
    if (!improve(peak_ - 1)) return false;
  }
  return true;
}

int Schedule::recomputed() const {
  std::vector<int> times(values_.size(), 0);
  int n = 0;
  for (int s : order_)
    for (int y : step(s).stays) n += times[static_cast<size_t>(stay(y).value)]++ > 0;
  return n;
}

}  // namespace pd
