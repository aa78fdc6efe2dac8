// What the drivers check by: a condition, and the text of an error.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/error.h"

#define CHECK(cond)                                                     \
  do {                                                                  \
    if (!(cond)) {                                                      \
      std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);    \
      std::exit(1);                                                     \
    }                                                                   \
  } while (0)

using namespace pd;

template <class F>
std::string error_of(F f, ErrorKind kind) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(e.kind == kind);
    return e.what();
  }
  return "no error";
}

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }
