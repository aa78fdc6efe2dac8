#include "exec/execution.h"

#include <pthread.h>

#include <mutex>
#include <new>

#include "exec/exec.h"
#include "exec/late_errors.h"
#include "exec/profile.h"

namespace pd {

namespace {

constexpr int64_t kQuickWork = 20000;  // elements · nodes below which the GIL is not worth releasing

std::mutex& running() {
  static auto* m = new std::mutex;
  return *m;
}
thread_local bool t_my_turn = false;
// The child of a fork has none of the parent's threads, so nobody to give the turn back.
const int g_forked = pthread_atfork(nullptr, nullptr, [] {
  new (&running()) std::mutex;
  t_my_turn = false;
});

class WithoutGil {
 public:
  explicit WithoutGil(bool on) : on_(on && g_exec.unlock), state_(on_ ? g_exec.unlock() : nullptr) {}
  ~WithoutGil() {
    if (on_) g_exec.lock(state_);
  }

 private:
  bool on_;
  void* state_;
};

// `text` with the line that recorded what failed.
std::string located(const std::string& text, const std::vector<Value*>& order, int origin) {
  if (origin < 0 || static_cast<size_t>(origin) >= order.size() || !g_location.describe) return text;
  const Extra* e = order[static_cast<size_t>(origin)]->extra;
  return e && e->code ? g_location.describe(text, e->code, e->code_offset) : text;
}

}  // namespace

Turn::Turn() {
  if (t_my_turn)
    fail("evaluate", "a tensor's value is asked for while another is computed", "a call from a custom op's cpu function",
         "computing with NumPy alone there", ErrorKind::Runtime);
  if (!running().try_lock()) {
    void* gil = g_exec.unlock ? g_exec.unlock() : nullptr;
    running().lock();
    if (g_exec.lock) g_exec.lock(gil);
  }
  t_my_turn = true;
}

Turn::~Turn() {
  t_my_turn = false;
  running().unlock();
}

std::vector<BufferRef> execute(Plan& plan, const Work& work, const std::vector<Value*>& leaves,
                               const std::vector<int64_t>& numbers) {
  const std::vector<Value*>& order = work.order;
  std::unique_ptr<profile::Run> watched;
  if (profile::on()) {
    describe(plan, work);
    watched = std::make_unique<profile::Run>(plan, order);
  }
  size_t n = plan.outputs.size();
  std::vector<BufferRef> keep;   // the operands' memory and the results', whatever other threads do meanwhile
  std::vector<void*> leaf_data, out_data(n, nullptr);
  std::vector<BufferRef> results(n);
  keep.reserve(leaves.size());
  leaf_data.reserve(leaves.size());
  for (Value* v : leaves) {
    keep.push_back(BufferRef(v->buffer));
    leaf_data.push_back(v->buffer->data);
  }
  for (size_t k = 0; k < n; ++k) {
    if (!plan.outputs[k].fresh) continue;
    if (watched) watched->owned_by(work.outputs[k]);
    results[k] = BufferRef::adopt(new_buffer(plan.device, static_cast<size_t>(plan.outputs[k].bytes)));
    out_data[k] = results[k]->data;
  }
  std::vector<Buffer*> owners;
  if (plan.has_custom)
    for (Value* v : leaves) owners.push_back(v->buffer);
  NativeError error;
  if (watched) watched->owned_by_temporaries();
  {
    WithoutGil free(work.size > kQuickWork || plan.has_custom);
    run_plan(plan, leaf_data.data(), numbers.data(), out_data.data(), error, owners.data(), watched.get());
  }
  watched.reset();
  if (error.late) keep_lines(error.late, order);  // whatever else went wrong: until then nobody reads its findings
  if (error.raised) g_exec.raise(error.raised, located("[" + error.text + "] raised by its cpu function", order, error.origin));
  if (!error.text.empty()) throw Error(error.kind, located(error.text, order, error.origin));
  if (const uint64_t suspect = suspect_of(leaves, error.late))
    for (size_t k = 0; k < n; ++k)
      if (results[k]) results[k]->suspect = suspect;
  for (size_t k = 0; k < n; ++k) {
    if (plan.outputs[k].fresh) continue;
    int slot = plan.outputs[k].slot;
    if (slot < plan.leaves) {
      results[k] = keep[static_cast<size_t>(slot)];
      continue;
    }
    for (size_t j = 0; j < n; ++j)
      if (plan.outputs[j].fresh && plan.outputs[j].slot == slot) results[k] = results[j];
  }
  return results;
}

}  // namespace pd
