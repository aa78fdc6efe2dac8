// What must be read off a kernel's text before a host compiler can take it.
#pragma once
#include <string>
#include <vector>

namespace pd_host __attribute__((visibility("hidden"))) {

// Names of the kernels with C linkage: the word before the parameters, after PD_KERNEL or `extern "C" __global__`.
std::vector<std::string> kernel_names(const std::string& text);
// Whether only the preprocessor knows which kernels there are: a macro makes some, or some stand inside of an #if.
bool needs_preprocessor(const std::string& text);
// `extern __shared__ T name[];` becomes a pointer to the dynamic shared memory of the launch.
std::string with_dynamic_shared(const std::string& text);

}  // namespace pd_host
