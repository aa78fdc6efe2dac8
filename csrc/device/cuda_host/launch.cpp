// Loads what nvrtc.cpp compiled, and runs it block by block: checks of the launch, poisoned shared memory, guards.
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "internal.h"
#include "threads.h"

namespace pd_host {

// ---- reports

void report(const std::string& message) {
  std::string line = "cuda-host: " + message + "\n";
  if (write(2, line.data(), line.size()) < 0) return;
  const char* path = getenv("PYDIFF_CUDA_HOST_LOG");
  if (!path || !*path) return;
  int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return;
  if (write(fd, line.data(), line.size()) < 0) line.clear();
  close(fd);
}

void stop(const std::string& message) {
  report(message);
  abort();
}

namespace {

// ---- loading

#if __SIZEOF_POINTER__ == 8
using Header = Elf64_Ehdr;
using Section = Elf64_Shdr;
using Symbol = Elf64_Sym;
#define PD_SYMBOL_TYPE ELF64_ST_TYPE
#endif

// An image of this machine tells its own length: the table of sections is its end.
size_t image_bytes(const void* image) {
  Header h;
  memcpy(&h, image, sizeof h);
  Header own;
  Dl_info info;
  if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_type != ET_DYN) return 0;
  if (!dladdr(reinterpret_cast<void*>(&image_bytes), &info)) return 0;
  memcpy(&own, info.dli_fbase, sizeof own);
  if (h.e_machine != own.e_machine || h.e_shentsize != sizeof(Section)) return 0;
  return size_t(h.e_shoff) + size_t(h.e_shnum) * h.e_shentsize;
}

// "6rowsumE5tile" is the variable `tile` of a function `rowsum` with C linkage: of that kernel, if it is one.
std::string kernel_of(const LoadedModule& m, const char* mangled) {
  char* name = nullptr;
  size_t length = strtoul(mangled, &name, 10);
  if (!length || length > strlen(name) || name[length] != 'E') return "";
  std::string kernel(name, length);
  return dlsym(m.library, ("pd_kernel_" + kernel).c_str()) ? kernel : "";
}

// The shared variables of kernels are the only static variables of functions that are not constant, so: all objects in
// .bss whose mangled name is that of a function's own.
void find_shared(const char* image, LoadedModule& m) {
  Header h;
  memcpy(&h, image, sizeof h);
  const Section* sections = reinterpret_cast<const Section*>(image + h.e_shoff);
  for (int i = 0; i < h.e_shnum; i++) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const char* names = image + sections[sections[i].sh_link].sh_offset;
    const Symbol* symbols = reinterpret_cast<const Symbol*>(image + sections[i].sh_offset);
    for (size_t k = 0; k < sections[i].sh_size / sizeof(Symbol); k++) {
      const Symbol& symbol = symbols[k];
      if (PD_SYMBOL_TYPE(symbol.st_info) != STT_OBJECT || symbol.st_shndx >= h.e_shnum) continue;
      if (sections[symbol.st_shndx].sh_type != SHT_NOBITS || strncmp(names + symbol.st_name, "_ZZ", 3) != 0) continue;
      m.shared.push_back({m.base + symbol.st_value, size_t(symbol.st_size), kernel_of(m, names + symbol.st_name + 3)});
    }
  }
}

// A file of its own name: the loader takes a name that it knows for the library that it knows.
std::string write_image(const void* image, size_t bytes) {
  const char* folder = getenv("TMPDIR");
  std::string path = std::string(folder && *folder ? folder : "/tmp") + "/pydiff-cuda-XXXXXX";
  int fd = mkstemp(&path[0]);
  if (fd < 0) return "";
  const char* p = static_cast<const char*>(image);
  while (bytes) {
    ssize_t n = write(fd, p, bytes);
    if (n <= 0) break;
    p += n;
    bytes -= size_t(n);
  }
  close(fd);
  if (bytes) {
    unlink(path.c_str());
    return "";
  }
  return path;
}

}  // namespace

CUresult load_module(const void* image, std::unique_ptr<LoadedModule>& out) {
  size_t bytes = image_bytes(image);
  if (!bytes) return kNoBinaryForGpu;
  std::string path = write_image(image, bytes);
  if (path.empty()) {
    report("an image could not be written to a temporary file");
    return kInvalidImage;
  }
  auto m = std::make_unique<LoadedModule>();
  m->library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  std::string why = m->library ? "" : dlerror();
  unlink(path.c_str());
  if (!m->library) {
    report("an image could not be loaded: " + why);
    return kInvalidImage;
  }
  m->module = static_cast<Module*>(dlsym(m->library, "pd_module"));
  if (!m->module || m->module->abi != kAbi) {
    report("an image was compiled by another version of the stand-in; remove the disk cache of kernels");
    dlclose(m->library);
    return kInvalidImage;
  }
  struct link_map* map = nullptr;
  dlinfo(m->library, RTLD_DI_LINKMAP, &map);
  m->base = reinterpret_cast<char*>(map->l_addr);
  m->device = current_device();
  find_shared(static_cast<const char*>(image), *m);
  out = std::move(m);
  return kSuccess;
}

std::unique_ptr<Function> find_function(LoadedModule& m, const std::string& name) {
  auto kernel = static_cast<const Kernel*>(dlsym(m.library, ("pd_kernel_" + name).c_str()));
  if (!kernel) return nullptr;
  auto f = std::make_unique<Function>();
  f->owner = &m;
  f->kernel = kernel;
  f->name = name;
  for (const SharedVariable& v : m.shared) {
    if (!v.kernel.empty() && v.kernel != name) continue;
    f->shared.push_back(v);
    f->shared_bytes += (v.bytes + 15) / 16 * 16;
  }
  return f;
}

void unload_module(LoadedModule& m) {
  for (void* p : m.globals) remove_foreign(p);
  dlclose(m.library);
}

namespace {

// ---- faults inside of kernels

struct sigaction g_old_segv, g_old_bus;

void on_fault(int, siginfo_t* info, void*) {
  sigaction(SIGSEGV, &g_old_segv, nullptr);
  sigaction(SIGBUS, &g_old_bus, nullptr);
  if (!kernel_runs()) return;  // the same access faults again, for the older handler
  const void* address = info->si_addr;
  char text[32];
  snprintf(text, sizeof text, "%p", address);
  if (stack_overflowed(address)) stop(where() + ": the thread's stack of 64 KiB overflowed");
  if (info->si_code == SI_KERNEL || !address)
    stop(where() + ": illegal access: address null, or misaligned for a vector of 16 bytes");
  stop(where() + ": illegal access to " + text + describe_address(address));
}

// A stack for the handler, so that it can tell of an overflow.
void prepare_signal_stack() {
  static thread_local bool prepared = false;
  if (prepared) return;
  prepared = true;
  stack_t now;
  if (sigaltstack(nullptr, &now) == 0 && !(now.ss_flags & SS_DISABLE) && now.ss_size >= 65536) return;
  stack_t fresh{};
  fresh.ss_size = 256 * 1024;
  fresh.ss_sp = mmap(nullptr, fresh.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (fresh.ss_sp != MAP_FAILED) sigaltstack(&fresh, nullptr);
}

struct FaultHandler {
  FaultHandler() {
    prepare_signal_stack();
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &g_old_segv);
    sigaction(SIGBUS, &action, &g_old_bus);
  }
  ~FaultHandler() {
    sigaction(SIGSEGV, &g_old_segv, nullptr);
    sigaction(SIGBUS, &g_old_bus, nullptr);
  }
};

// ---- dynamic shared memory: it ends where a page begins that nobody may touch

constexpr size_t kTail = 64;  // bytes behind what was asked for, checked after each block

char* dynamic_end() {
  static char* end = [] {
    const size_t page = size_t(sysconf(_SC_PAGESIZE)), bytes = (kSharedOptin + kTail + page - 1) / page * page;
    void* p = mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    mprotect(static_cast<char*>(p) + bytes, page, PROT_NONE);
    return static_cast<char*>(p) + bytes;
  }();
  return end;
}

bool is_poison(const char* p, size_t bytes) {
  for (size_t i = 0; i < bytes; i++)
    if (static_cast<unsigned char>(p[i]) != reinterpret_cast<const unsigned char*>(&kPoison)[i % 2]) return false;
  return true;
}

Order order_from_environment(Random& random) {
  const char* text = getenv("PYDIFF_CUDA_HOST_ORDER");
  if (!text || !*text || !strcmp(text, "forward")) return Order::Forward;
  if (!strcmp(text, "reverse")) return Order::Reverse;
  if (strncmp(text, "shuffle", 7) == 0 && (!text[7] || text[7] == ':')) {
    static uint64_t launches = 0;
    random.state = (text[7] ? strtoull(text + 8, nullptr, 10) : 0) * 0x2545F4914F6CDD1Dull + launches++;
    return Order::Shuffle;
  }
  stop("PYDIFF_CUDA_HOST_ORDER is forward, reverse, shuffle or shuffle:SEED; got '" + std::string(text) + "'");
}

uint64_t gcd(uint64_t a, uint64_t b) { return b ? gcd(b, a % b) : a; }

}  // namespace

CUresult check_launch(const Launch& l, void** args) {
  const Function& f = *l.function;
  const uint64_t threads = uint64_t(l.block.x) * l.block.y * l.block.z;
  if (!l.grid.x || !l.grid.y || !l.grid.z || !threads) return kInvalidValue;
  if (l.grid.x > 2147483647u || l.grid.y > 65535u || l.grid.z > 65535u) return kInvalidValue;
  if (l.block.x > 1024 || l.block.y > 1024 || l.block.z > 64 || threads > kMaxThreads) return kInvalidValue;
  const size_t allowed = std::max(kSharedDefault, f.shared_bytes + size_t(f.max_dynamic_shared));
  if (f.shared_bytes + l.shared_bytes > allowed) return kInvalidValue;
  if (f.owner->device != current_device()) return kInvalidHandle;
  if (f.kernel->count && !args) return kInvalidValue;
  for (unsigned i = 0; i < f.kernel->count; i++) {
    if (!args[i]) return kInvalidValue;
    if (!f.kernel->parameters[i].is_pointer) continue;
    void* p;
    memcpy(&p, args[i], sizeof p);
    if (!p || find_place(p).kind != Place::Nowhere) continue;
    char text[32];
    snprintf(text, sizeof text, "%p", p);
    report("kernel '" + f.name + "', parameter " + std::to_string(i) + ": " + text + " is no device memory" +
           describe_address(p));
    return kIllegalAddress;
  }
  return kSuccess;
}

CUresult run_launch(const Launch& l, void** args) {
  const Function& f = *l.function;
  LaunchState state;
  state.kernel = f.kernel;
  state.module = f.owner->module;
  state.name = f.name;
  state.block_size = l.block;
  state.count = l.block.x * l.block.y * l.block.z;
  state.args = args;
  state.order = order_from_environment(state.random);
  const size_t tail = l.shared_bytes ? (l.shared_bytes + 15) / 16 * 16 - l.shared_bytes + kTail : 0;
  state.dynamic_shared = dynamic_end() - l.shared_bytes - tail;
  *state.module->grid_size = l.grid;

  const uint64_t blocks = uint64_t(l.grid.x) * l.grid.y * l.grid.z;
  // Shuffled blocks: i -> (i * step + first) mod blocks, which meets each once: step and blocks have no common factor.
  uint64_t step = 1, first = 0;
  if (state.order == Order::Shuffle && blocks > 2) {
    first = state.random.below(blocks);
    do step = 1 + state.random.below(blocks - 1);
    while (gcd(step, blocks) != 1);
  }
  FaultHandler faults;
  begin_launch(state);
  for (uint64_t i = 0; i < blocks; i++) {
    uint64_t b = i;
    if (state.order == Order::Reverse) b = blocks - 1 - i;
    if (state.order == Order::Shuffle) b = uint64_t((static_cast<unsigned __int128>(i) * step + first) % blocks);
    for (const SharedVariable& v : f.shared) poison(v.begin, v.bytes);
    if (tail) poison(state.dynamic_shared, l.shared_bytes), poison(state.dynamic_shared + l.shared_bytes, tail);
    run_block({unsigned(b % l.grid.x), unsigned(b / l.grid.x % l.grid.y), unsigned(b / l.grid.x / l.grid.y)});
    if (tail && !is_poison(state.dynamic_shared + l.shared_bytes, tail))
      stop("kernel '" + f.name + "' wrote behind its " + std::to_string(l.shared_bytes) +
           " bytes of dynamic shared memory");
  }
  end_launch();
  for (unsigned i = 0; i < f.kernel->count; i++) {
    if (!f.kernel->parameters[i].is_pointer) continue;
    void* p;
    memcpy(&p, args[i], sizeof p);
    Place place = find_place(p);
    if (place.kind != Place::Nowhere) check_guards(place.begin, "kernel '" + f.name + "'");
  }
  return kSuccess;
}

}  // namespace pd_host
