// The one error type. What the user reads is `[op] what; got …; try …`.
#pragma once
#include <stdexcept>
#include <string>

namespace pd {

enum class ErrorKind { Value, Type, Index, Runtime, Memory, NotDifferentiable };

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& text) : std::runtime_error(text), kind(kind) {}
  ErrorKind kind;
};

// Error("matmul", "inner sizes differ", "(3, 4) @ (5, 6)", "transpose the right operand?")
[[noreturn]] inline void fail(const char* op, const std::string& what, const std::string& got = "",
                              const std::string& advice = "", ErrorKind kind = ErrorKind::Value) {
  std::string s = std::string("[") + op + "] " + what;
  if (!got.empty()) s += "; got " + got;
  if (!advice.empty()) s += "; try " + advice;
  throw Error(kind, s);
}

}  // namespace pd
