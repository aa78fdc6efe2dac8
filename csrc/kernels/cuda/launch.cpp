#include "kernels/cuda/launch.h"

#include <cstring>
#include <mutex>
#include <unordered_map>

#include "device/cuda/cuda.h"

namespace pd {
namespace cuda {

const char* const kFaultText = R"cuda(
// Cells: code, index, size, place, lock. Of all faults the one of the smallest place stays.
PD_DEVICE void tell_fault(i64* error, i64 place, i64 index, i64 size) {
  volatile i64* cell = error;
  for (bool done = false; !done;) {
    if (cell[0] == 1 && cell[3] <= place) return;
    if (atomicCAS((u64*)(error + 4), 0ull, 1ull) == 0) {
      if (cell[0] != 1 || place < cell[3]) {
        cell[1] = index;
        cell[2] = size;
        cell[3] = place;
        __threadfence();
        cell[0] = 1;
      }
      __threadfence();
      atomicExch((u64*)(error + 4), 0ull);
      done = true;
    }
  }
}
)cuda";

void tell(const CudaNativeContext& c, ErrorCode code) { c.device.fill(c.error, &code, sizeof(code), 1, c.stream); }

Head& Head::type(const char* name, const char* what) {
  text_.append("typedef ").append(what).append(" ").append(name).append(";\n");
  return *this;
}
Head& Head::number(const char* name, int64_t value) {
  text_.append("constexpr int ").append(name).append(" = ").append(std::to_string(value)).append(";\n");
  return *this;
}
Head& Head::flag(const char* name, bool value) {
  text_.append("constexpr bool ").append(name).append(value ? " = true;\n" : " = false;\n");
  return *this;
}
Head& Head::elements(DType t) {
  type("T", is_half(t) ? "u16" : arithmetic_type(t));
  type("Sum", t == DType::F64 ? "f64" : "f32");
  return number("KIND", t == DType::F16 ? 1 : t == DType::BF16 ? 2 : 0);
}

Head& Head::code(const std::string& lines) {
  text_.append(lines);
  return *this;
}

const char* word_type(int64_t bytes) {
  switch (bytes) {
    case 1: return "u8";
    case 2: return "u16";
    case 4: return "u32";
    case 8: return "u64";
    default: return "uint4";
  }
}

const char* arithmetic_type(DType t) {
  switch (t) {
    case DType::Bool:
    case DType::U8: return "u8";
    case DType::I8: return "i8";
    case DType::I16: return "i16";
    case DType::U16: return "u16";
    case DType::I32: return "i32";
    case DType::U32: return "u32";
    case DType::I64: return "i64";
    case DType::U64: return "u64";
    case DType::F32: return "f32";
    case DType::F64: return "f64";
    default: return nullptr;
  }
}

int64_t& most_in_32_bits() {
  static int64_t most = int64_t(1) << 30;
  return most;
}

uint32_t blocks_for(const CudaNativeContext& c, int64_t items, int64_t per_block) {
  int64_t busy = int64_t(16) * std::min(std::max(c.device.parallelism(), 1), 256);
  return static_cast<uint32_t>(std::max<int64_t>(1, std::min(ceil_div(items, per_block), busy)));
}

void Fields::bytes(const void* p, size_t n) {
  data_.resize((size_ + n + 7) / 8);
  std::memcpy(reinterpret_cast<char*>(data_.data()) + size_, p, n);
  size_ += n;
}

namespace {

std::mutex g_mutex;
// By device, text and function. Never emptied: heads are few.
std::unordered_map<std::string, DeviceKernel>& kernels() {
  static auto* table = new std::unordered_map<std::string, DeviceKernel>;
  return *table;
}

DeviceKernel kernel_of(DeviceId device, Compose compose, const Head& head, const char* function,
                       size_t dynamic_shared_bytes) {
  std::string key = head.text();
  key.append(function).push_back(static_cast<char>(device.index));
  key.append(reinterpret_cast<const char*>(&compose), sizeof(compose));
  {
    std::lock_guard<std::mutex> hold(g_mutex);
    auto found = kernels().find(key);
    if (found != kernels().end()) return found->second;
  }
  DeviceKernel k = cuda_kernel(device, compose(head), function, dynamic_shared_bytes);
  std::lock_guard<std::mutex> hold(g_mutex);
  return kernels().emplace(std::move(key), k).first->second;
}

}  // namespace

void launch(const CudaNativeContext& c, Compose compose, const Head& head, const char* function, uint32_t blocks,
            std::initializer_list<const void*> params, uint32_t blocks_y, uint32_t threads,
            size_t dynamic_shared_bytes) {
  void* args[16];
  std::transform(params.begin(), params.end(), args, [](const void* p) { return const_cast<void*>(p); });
  LaunchSize size;
  size.grid[0] = blocks;
  size.grid[1] = blocks_y;
  size.block[0] = threads;
  size.shared_bytes = dynamic_shared_bytes;
  c.device.launch(kernel_of(c.device.id(), compose, head, function, dynamic_shared_bytes), size, args, c.stream);
}

void* Scratch::take() {
  CudaScratch* s = c_.scratch;
  if (!s) return c_.device.allocate(bytes_, c_.stream);
  before_ = s->used;
  const size_t end = before_ + (bytes_ + 255) / 256 * 256;
  if (s->memory && end > s->bytes) fail("cuda", "an op takes more memory than before", std::to_string(end), "reporting this", ErrorKind::Runtime);
  void* p = s->memory ? s->memory + before_ : c_.device.allocate(bytes_, c_.stream);
  s->used = end;
  s->most = std::max(s->most, end);
  return p;
}

void copy_operand(const NativeArgs& a, const CudaNativeContext& c) {
  size_t bytes = static_cast<size_t>(numel(a.out_spec->shape)) * size_of(a.out_spec->dtype);
  if (a.out != a.in[0] && bytes) c.device.copy(a.out, a.in[0], bytes, CopyKind::DeviceToDevice, c.stream);
}

}  // namespace cuda
}  // namespace pd
