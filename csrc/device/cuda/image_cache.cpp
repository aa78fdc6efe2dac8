// A file is  magic, checksum of the rest, lengths of key, log and image, key, log, image.  Its name is a hash of the
// key; the key itself is compared when it is read, so that two keys of one hash never meet.
#include "device/cuda/image_cache.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#include "device/cuda/driver.h"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace pd::cuda {

namespace fs = std::filesystem;

namespace {

constexpr char kMagic[] = "pydiffg1";
constexpr size_t kMagicSize = 8, kHeader = kMagicSize + 4 * 8;
constexpr uint64_t kLimit = uint64_t(512) << 20;

// FNV-1a (Fowler, Noll, Vo), from a start of one's own.
uint64_t hash(const char* data, size_t n, uint64_t start = 14695981039346656037ull) {
  uint64_t h = start;
  for (size_t i = 0; i < n; ++i) h = (h ^ static_cast<unsigned char>(data[i])) * 1099511628211ull;
  return h;
}

fs::path file_of(const std::string& folder, const std::string& key) {
  char name[48];
  std::snprintf(name, sizeof name, "%016llx%016llx.cubin",
                static_cast<unsigned long long>(hash(key.data(), key.size())),
                static_cast<unsigned long long>(hash(key.data(), key.size(), 0x9e3779b97f4a7c15ull)));
  return fs::path(folder) / name;
}

void complain(const char* what, const std::string& where, const std::string& why) {
  static std::atomic<bool> complained{false};
  if (!complained.exchange(true)) debug(1, std::string("kernel cache: cannot ") + what + " " + where + ": " + why);
}

long process_id() {
#if defined(__unix__) || defined(__APPLE__)
  return static_cast<long>(getpid());
#else
  return 0;
#endif
}

void append_number(std::string& out, uint64_t n) { out.append(reinterpret_cast<const char*>(&n), 8); }
uint64_t number_at(const std::string& data, size_t at) {
  uint64_t n;
  std::memcpy(&n, data.data() + at, 8);
  return n;
}

// Only its owner reads and writes the folder: what lies in it is run.
void make_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::is_directory(folder, error)) return;
  fs::create_directories(folder.parent_path(), error);
  if (fs::create_directory(folder, error)) fs::permissions(folder, fs::perms::owner_all, error);
}

// Removes the files that were used longest ago, until what is left is within the limit.
void prune(const fs::path& folder) {
  struct File {
    fs::file_time_type used;
    uint64_t size;
    fs::path path;
  };
  std::vector<File> files;
  uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator i(folder, error), end; !error && i != end; i.increment(error)) {
    std::error_code gone;
    File f{fs::last_write_time(i->path(), gone), 0, i->path()};
    if (!gone) f.size = fs::file_size(i->path(), gone);
    if (gone) continue;
    total += f.size;
    files.push_back(f);
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.used < b.used; });
  for (const File& f : files) {
    if (total <= kLimit) break;
    if (fs::remove(f.path, error)) total -= f.size;
  }
}

}  // namespace

std::string image_folder() {
  if (const char* folder = std::getenv("PYDIFF_CACHE_DIR")) return *folder ? (fs::path(folder) / "cuda").string() : "";
  const char* home = std::getenv("HOME");
  return home && *home ? (fs::path(home) / ".cache" / "pydiff" / "cuda").string() : "";
}

bool get_image(const std::string& key, std::string& image, std::string& log) {
  std::string folder = image_folder();
  if (folder.empty()) return false;
  fs::path path = file_of(folder, key);
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  std::ostringstream all;
  all << file.rdbuf();
  std::string data = all.str();
  bool intact = data.size() >= kHeader && std::memcmp(data.data(), kMagic, kMagicSize) == 0 &&
                number_at(data, kMagicSize) == hash(data.data() + kMagicSize + 8, data.size() - kMagicSize - 8);
  if (!intact) {
    debug(1, "kernel cache: " + path.string() + " is damaged, compiling again");
    return false;
  }
  uint64_t key_size = number_at(data, 16), log_size = number_at(data, 24), image_size = number_at(data, 32);
  if (data.size() != kHeader + key_size + log_size + image_size) return false;
  if (data.compare(kHeader, key_size, key) != 0) return false;
  log = data.substr(kHeader + key_size, log_size);
  image = data.substr(kHeader + key_size + log_size);
  std::error_code error;
  fs::last_write_time(path, fs::file_time_type::clock::now(), error);
  return true;
}

void put_image(const std::string& key, const std::string& image, const std::string& log) try {
  std::string folder = image_folder();
  if (folder.empty()) return;
  make_folder(folder);
  std::string rest;
  append_number(rest, key.size());
  append_number(rest, log.size());
  append_number(rest, image.size());
  rest += key + log + image;
  std::string head(kMagic, kMagicSize);
  append_number(head, hash(rest.data(), rest.size()));

  fs::path path = file_of(folder, key);
  std::ostringstream part_name;
  part_name << path.string() << "." << process_id() << "." << std::this_thread::get_id() << ".part";
  fs::path part = part_name.str();
  std::ofstream file(part, std::ios::binary | std::ios::trunc);
  file.write(head.data(), static_cast<std::streamsize>(head.size()));
  file.write(rest.data(), static_cast<std::streamsize>(rest.size()));
  file.close();
  std::error_code error, ignored;
  if (file.fail()) {
    complain("write to", folder, std::strerror(errno));
    fs::remove(part, ignored);
    return;
  }
  fs::rename(part, path, error);
  if (error) {
    complain("write to", folder, error.message());
    fs::remove(part, ignored);
    return;
  }
  // The folder is measured at the first write, and again after every sixteenth of the limit.
  static std::atomic<uint64_t> written{kLimit};
  if (written.fetch_add(rest.size()) + rest.size() > kLimit / 16) {
    written = 0;
    prune(folder);
  }
} catch (const std::exception& e) {
  complain("write to", image_folder(), e.what());
}

void drop_image(const std::string& key) {
  std::string folder = image_folder();
  std::error_code ignored;
  if (!folder.empty()) fs::remove(file_of(folder, key), ignored);
}

}  // namespace pd::cuda
