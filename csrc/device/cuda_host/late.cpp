// Streams that are late: PYDIFF_CUDA_HOST_STREAMS=late. Work waits in its stream until somebody waits for it, and only then
// is done, with no more of other streams' work than it waits for. What nobody ordered comes in the wrong order then: a
// stream that does not wait for another's result, host memory that is written again before its copy was made.
#include <cstdlib>
#include <cstring>

#include "internal.h"

namespace pd_host {

bool late_streams() {
  static const bool late = [] {
    const char* text = getenv("PYDIFF_CUDA_HOST_STREAMS");
    if (!text || !*text || !strcmp(text, "eager")) return false;
    if (strcmp(text, "late")) stop(std::string("PYDIFF_CUDA_HOST_STREAMS is eager or late; got '") + text + "'");
    return true;
  }();
  return late;
}

namespace {
std::vector<std::shared_ptr<Progress>>& orphans() {
  static auto* all = new std::vector<std::shared_ptr<Progress>>;
  return *all;
}
}  // namespace

int64_t enqueue(Progress& p, std::function<CUresult()> work) {
  p.queue.push_back({std::move(work), nullptr, 0});
  return ++p.given;
}

void enqueue_wait(Progress& p, const std::shared_ptr<Progress>& other, int64_t upto) {
  if (other.get() == &p || other->done >= upto) return;
  p.queue.push_back({nullptr, other, upto});
  ++p.given;
}

void run_until(Progress& p, int64_t upto) {
  while (p.done < upto) {
    auto next = std::move(p.queue.front());
    p.queue.pop_front();
    if (next.after) {
      run_until(*next.after, next.upto);
    } else {
      CUresult result = on_device(p.device, next.work);
      if (result) stop("work of a stream failed when its turn came: error " + std::to_string(result));
    }
    ++p.done;
  }
}

void abandon(const std::shared_ptr<Progress>& p) {
  if (p->done < p->given) orphans().push_back(p);
}

void run_orphans(int device) {
  auto& all = orphans();
  for (size_t i = 0; i < all.size(); i++)
    if (all[i]->device == device) run_until(*all[i], all[i]->given);
  std::vector<std::shared_ptr<Progress>> left;
  for (auto& p : all)
    if (p->done < p->given) left.push_back(p);
  all.swap(left);
}

}  // namespace pd_host
