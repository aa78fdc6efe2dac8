#include "device/cuda/staging.h"

#include <algorithm>

#include "base/error.h"
#include "device/cpu/cpu_device.h"
#include "device/cuda/cuda_device.h"

namespace pd::cuda {

namespace {
// Shared by the threads of the CPU where it is long.
void copy_on_host(void* to, const void* from, size_t bytes) { cpu_device().copy(to, from, bytes, CopyKind::DeviceToDevice, {}); }
}  // namespace

bool Staging::make(const Driver& d, CudaDevice& device, Chunk& c) {
  if (c.data) return true;
  try {
    ContextScope here(d, device.context());
    if (!c.event) c.event = static_cast<CUevent>(device.new_event().handle);
    c.data = static_cast<char*>(allocate_pinned(d, kBytes, device.id().index));
    return true;
  } catch (const Error& e) {
    if (e.kind == ErrorKind::Memory) return false;
    throw;
  }
}

void Staging::wait(const Driver& d, CudaDevice& device, Chunk& c) {
  if (!c.in_use) return;
  ContextScope here(d, device.context());
  check(d.cuEventSynchronize(c.event), "cuEventSynchronize", device.id().index);
  c.in_use = false;
}

bool Staging::up(const Driver& d, CudaDevice& device, void* to, const void* from, size_t bytes) {
  const int index = device.id().index;
  std::lock_guard<std::mutex> hold(up_mutex_);
  if (!make(d, device, up_[at_])) return false;
  for (size_t done = 0; done < bytes;) {
    size_t n = std::min(bytes - done, kBytes);
    // A piece that fits a chunk is not cut.
    if (used_ + n > kBytes) {
      {
        Submission work(d, device, {});
        check(d.cuEventRecord(up_[at_].event, work.stream), "cuEventRecord", index);
      }
      up_[at_].in_use = true;
      // Fewer chunks than wanted are as good: the next one is then the oldest of those that are there.
      int next = (at_ + 1) % kUp;
      if (!make(d, device, up_[next])) next = 0;
      at_ = next;
      used_ = 0;
      wait(d, device, up_[at_]);
    }
    char* room = up_[at_].data + used_;
    copy_on_host(room, static_cast<const char*>(from) + done, n);
    Submission work(d, device, {});
    check(d.cuMemcpyHtoDAsync(address_of(to) + done, room, n, work.stream), "cuMemcpyHtoDAsync", index);
    used_ += (n + 63) / 64 * 64;
    done += n;
  }
  return true;
}

bool Staging::down(const Driver& d, CudaDevice& device, void* to, const void* from, size_t bytes) {
  const int index = device.id().index;
  std::lock_guard<std::mutex> hold(down_mutex_);
  if (!make(d, device, down_[0])) return false;
  const int chunks = bytes > kBytes && make(d, device, down_[1]) ? 2 : 1;
  const size_t pieces = (bytes + kBytes - 1) / kBytes, ahead = static_cast<size_t>(chunks);
  auto size = [&](size_t k) { return std::min(kBytes, bytes - k * kBytes); };
  for (size_t k = 0; k < pieces + ahead; ++k) {
    if (k >= ahead) {  // the piece before in this chunk
      Chunk& c = down_[k % ahead];
      wait(d, device, c);
      copy_on_host(static_cast<char*>(to) + (k - ahead) * kBytes, c.data, size(k - ahead));
    }
    if (k >= pieces) continue;
    Chunk& c = down_[k % ahead];
    Submission work(d, device, {});
    check(d.cuMemcpyDtoHAsync(c.data, address_of(from) + k * kBytes, size(k), work.stream), "cuMemcpyDtoHAsync", index);
    check(d.cuEventRecord(c.event, work.stream), "cuEventRecord", index);
    c.in_use = true;
  }
  return true;
}

}  // namespace pd::cuda
