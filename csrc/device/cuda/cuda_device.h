// One GPU behind the interface of device.h.
#pragma once
#include "device/cuda/driver.h"
#include "device/cuda/memory.h"
#include "device/cuda/order.h"
#include "device/cuda/staging.h"

namespace pd::cuda {

class CudaDevice final : public Device {
 public:
  // Retains the device's primary context, the one that CuPy and PyTorch use too; it is left to the end of the process.
  CudaDevice(const Driver& d, int index);

  DeviceId id() const override { return {DeviceKind::Cuda, static_cast<int8_t>(index_)}; }
  const char* name() const override;
  int parallelism() const override;

  void* allocate(size_t bytes, Stream s) override;
  void free(void* ptr, size_t bytes, Stream s) noexcept override;
  void* allocate_host(size_t bytes) override;
  void free_host(void* ptr, size_t bytes) noexcept override;
  MemoryStats memory_stats() const override;
  void reset_peak() override { memory_.reset_peak(); }
  void empty_cache() override;

  void copy(void* dst, const void* src, size_t bytes, CopyKind kind, Stream s) override;
  void fill(void* dst, const void* item, size_t item_bytes, int64_t count, Stream s) override;
  void zero(void* dst, size_t bytes, Stream s) override;

  Stream new_stream() override;
  void free_stream(Stream s) noexcept override;
  Event new_event() override;
  void free_event(Event e) noexcept override;
  void record(Event e, Stream s) override;
  void wait(Stream s, Event e) override;
  bool done(Event e) override;
  double milliseconds(Event begin, Event end) override;
  void synchronize(Event e) override;
  void synchronize(Stream s) override;
  void synchronize() override;

  void launch(const DeviceKernel& k, const LaunchSize& size, void* const* args, Stream s) override;

  // From another device's memory, after the work of both so far, and before their later work.
  void copy_from(CudaDevice& other, void* dst, const void* src, size_t bytes);

  CUcontext context() const { return context_; }
  StreamOrder& order() { return order_; }
  MemoryPool& memory() { return memory_; }

  // What `attempt` gives, made once more after all that is kept was given back; throws where that is null too.
  template <class Attempt>
  void* allocate_by(size_t bytes, Attempt&& attempt) {
    if (void* p = attempt()) return p;
    empty_cache();
    if (void* p = attempt()) return p;
    const Driver& d = driver();
    const ContextScope here(d, context_);
    memory_.out_of_memory(d, bytes);
  }

 private:
  int index_;
  CUcontext context_;
  MemoryPool memory_;
  StreamOrder order_;
  Staging staging_;
  std::atomic<uint64_t> peers_[2] = {};  // devices whose memory this one has asked to reach, a bit each
};

// The device, opened when first asked for.
CudaDevice& cuda_device(int index);

inline CUstream stream_of(Stream s) { return static_cast<CUstream>(s.handle); }
inline CUdeviceptr address_of(const void* p) { return static_cast<CUdeviceptr>(reinterpret_cast<uintptr_t>(p)); }

}  // namespace pd::cuda
