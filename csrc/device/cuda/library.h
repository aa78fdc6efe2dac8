// Finding and opening the shared libraries of CUDA at run time.
#pragma once
#include <string>
#include <vector>

namespace pd::cuda {

struct Library {
  void* handle = nullptr;
  std::string path;     // of the file that was opened, as far as the system tells
  std::string problem;  // why none was opened
};

// The library whose path the environment variable `variable` (null: none) holds; where it is not set, the first of
// `names` that is found: by the system's search (which knows what is loaded already), in `folders`.
Library open_library(const char* variable, const std::vector<std::string>& names,
                     const std::vector<std::string>& folders);
void* find_symbol(const Library& library, const char* name);

// Folders where toolkits and the pip packages nvidia-* keep their libraries, those that exist, likely ones first.
std::vector<std::string> toolkit_folders();

// Fills one entry of a table of function pointers; false where the library lacks it.
template <class F>
bool resolve(const Library& library, const char* name, F& out) {
  out = reinterpret_cast<F>(find_symbol(library, name));
  return out != nullptr;
}

}  // namespace pd::cuda
