// Copies between ordinary host memory and a device, by way of page-locked memory: the device copies while the caller goes on.
//
//   up     host ─memcpy─► a ring of chunks ─► device      returns when the host's memory has been read
//   down   device ─► two chunks in turn ─memcpy─► host    returns when the host's memory has been written
#pragma once
#include <mutex>

#include "device/cuda/driver.h"

namespace pd::cuda {

class CudaDevice;

class Staging {
 public:
  // False where no page-locked memory can be had; nothing has been copied then.
  bool up(const Driver& d, CudaDevice& device, void* to, const void* from, size_t bytes);
  bool down(const Driver& d, CudaDevice& device, void* to, const void* from, size_t bytes);

 private:
  struct Chunk {
    char* data = nullptr;
    CUevent event = nullptr;
    bool in_use = false;  // until `event`
  };
  static constexpr size_t kBytes = size_t(4) << 20;
  static constexpr int kUp = 4, kDown = 2;

  bool make(const Driver& d, CudaDevice& device, Chunk& c);
  void wait(const Driver& d, CudaDevice& device, Chunk& c);

  std::mutex up_mutex_, down_mutex_;
  Chunk up_[kUp], down_[kDown];
  int at_ = 0;       // the chunk that is being filled
  size_t used_ = 0;  // its bytes so far
};

}  // namespace pd::cuda
