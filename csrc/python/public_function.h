// The door of a composed function: what a user calls where Python code does the work.
#pragma once
#include <string>

#include "python/tensor.h"

namespace pd {
namespace binding {

// Which public function `code` is; 0 where it is none, or where several share it.
int public_number(PyCodeObject* code);
const char* public_name(int number);  // null of 0

// "[gather] what; …" as "[name] what; …".
std::string in_the_name_of(const char* name, const std::string& text);

// Where a node was recorded, as LocationHooks::locate found it.
struct UserLine {
  std::string file, function;  // the function whose body the line is in
  std::string called;          // the public function that was called there; empty: none that is composed
  int line = 0;
};
UserLine user_line(void* code, int32_t offset);

}  // namespace binding
}  // namespace pd
