// What the core asks of the program that it is part of. Python fills the table at import.
//
// Compilation, as csrc/python binds it for pydiff/_llvm.py (functions of kernel_cache.h in brackets):
//
//   _C.set_jit(mode, start, compile_now)   mode "off" | "background" | "blocking" [set_jit_mode];
//                                          start() -> bool and compile_now(name, ir, error) -> address
//                                          are Python callables, called with the GIL through this table
//   _C.jit_take() -> (id, name, ir, error) | None   blocks without the GIL until there is work; None
//                                          once stopped [take_compile]
//   _C.jit_finish(id, address)             address 0: it failed, the interpreter stays [finish_compile]
//   _C.jit_stop()                          wakes the taker for good [stop_compiles]
//   _C.jit_after_fork()                    in the child [compiles_after_fork]
//
// `error` is empty, or says why the kernel could not be printed (then `ir` is empty): the service
// warns with the kernel's name and reports address 0.
#pragma once
#include <cstdint>

namespace pd {

struct HostServices {
  // Makes sure that a thread of the host serves take_compile. False: nothing will be compiled.
  // Takes the GIL; called without any lock of the core.
  bool (*start_compiler)() = nullptr;
  // Compiles in the calling thread; null where it could not. Takes the GIL (and may hold it already).
  void* (*compile_now)(const char* name, const char* ir, const char* error) = nullptr;
};

inline HostServices& host() {
  static HostServices services;
  return services;
}

}  // namespace pd
