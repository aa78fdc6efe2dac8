#include "device/cuda/library.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif
#if defined(__linux__)
#include <link.h>
#endif

namespace pd::cuda {

namespace fs = std::filesystem;

namespace {

#if defined(__unix__) || defined(__APPLE__)
void* open_at(const std::string& path, std::string& problem) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* text = dlerror();
    problem = text ? text : path + ": cannot be opened";
  }
  return handle;
}
#else
void* open_at(const std::string& path, std::string& problem) {
  problem = path + ": libraries of CUDA are opened on Linux only, so far";
  return nullptr;
}
#endif

std::string path_of(void* handle, const std::string& asked) {
#if defined(__linux__)
  struct link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && *map->l_name) return map->l_name;
#endif
  (void)handle;
  return asked;
}

void add_folder(std::vector<std::string>& folders, const fs::path& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) return;
  std::string text = folder.string();
  if (std::find(folders.begin(), folders.end(), text) == folders.end()) folders.push_back(text);
}

// Folders of Python packages, read off the libraries that are loaded: this one, or NumPy's.
std::vector<fs::path> package_folders() {
  std::vector<fs::path> found;
#if defined(__linux__)
  auto visit = [](struct dl_phdr_info* info, size_t, void* out) {
    auto& list = *static_cast<std::vector<fs::path>*>(out);
    std::string name = info->dlpi_name ? info->dlpi_name : "";
    for (const char* mark : {"/site-packages/", "/dist-packages/"}) {
      size_t at = name.find(mark);
      if (at == std::string::npos) continue;
      fs::path root = name.substr(0, at + std::string(mark).size() - 1);
      if (std::find(list.begin(), list.end(), root) == list.end()) list.push_back(root);
    }
    return 0;
  };
  dl_iterate_phdr(visit, &found);
#endif
  return found;
}

}  // namespace

std::vector<std::string> toolkit_folders() {
  std::vector<std::string> folders;
  // nvidia/cu13/lib holds all of CUDA 13; before, each library had a folder: nvidia/cuda_nvrtc/lib.
  for (const fs::path& root : package_folders()) {
    std::error_code error;
    std::vector<fs::path> parts;
    for (fs::directory_iterator i(root / "nvidia", error), end; !error && i != end; i.increment(error))
      parts.push_back(i->path() / "lib");
    std::sort(parts.begin(), parts.end());
    for (const fs::path& part : parts) add_folder(folders, part);
  }
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX"})
    if (const char* root = std::getenv(variable); root && *root)
      for (const char* part : {"lib64", "lib"}) add_folder(folders, fs::path(root) / part);
  for (const char* folder : {"/usr/local/cuda/lib64", "/opt/cuda/lib64"}) add_folder(folders, folder);
  return folders;
}

Library open_library(const char* variable, const std::vector<std::string>& names,
                     const std::vector<std::string>& folders) {
  Library library;
  auto take = [&](const std::string& path, std::string& problem) {
    library.handle = open_at(path, problem);
    if (library.handle) library.path = path_of(library.handle, path);
    return library.handle != nullptr;
  };
  if (const char* path = variable ? std::getenv(variable) : nullptr; path && *path) {
    if (!take(path, library.problem)) library.problem = std::string(variable) + ": " + library.problem;
    return library;
  }
  for (const std::string& name : names) {
    std::string problem;
    if (take(name, problem)) break;
    if (library.problem.empty()) library.problem = problem;
    for (const std::string& folder : folders) {
      std::error_code error;
      std::string path = (fs::path(folder) / name).string();
      // A file that is there and does not open has a better reason than "not found".
      if (fs::exists(path, error) && take(path, library.problem)) break;
    }
    if (library.handle) break;
  }
  if (library.handle) library.problem.clear();
  return library;
}

void* find_symbol(const Library& library, const char* name) {
#if defined(__unix__) || defined(__APPLE__)
  return library.handle ? dlsym(library.handle, name) : nullptr;
#else
  (void)library, (void)name;
  return nullptr;
#endif
}

}  // namespace pd::cuda
