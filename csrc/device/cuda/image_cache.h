// Compiled images on disk, in the folder that the kernels of the CPU use too (pydiff/_llvm.py): PYDIFF_CACHE_DIR, else
// ~/.cache/pydiff; an empty value keeps none.
#pragma once
#include <string>

namespace pd::cuda {

// The folder, or "" where images are not kept.
std::string image_folder();

// What put_image stored under `key` (the whole of what the image depends on). False where there is nothing intact.
bool get_image(const std::string& key, std::string& image, std::string& log);
// Another process sees all of it or nothing. A folder that cannot be written to, or a full disk, is no error.
void put_image(const std::string& key, const std::string& image, const std::string& log);
// Forgets an image that turned out to be of no use.
void drop_image(const std::string& key);

}  // namespace pd::cuda
