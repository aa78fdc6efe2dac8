"""Source text of custom operations: types of operands, checks of a kernel's parameters, and C compiled for the CPU.

Both languages see a type for each operand and result, `x_t` for an operand `x` and `out_t` for the result (`out0_t`,
`out1_t`, … of several), so that one text serves several dtypes. A text is compiled once for each set of types.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

from . import _C
from ._llvm import DiskCache

# dtype -> (type of an element in CUDA C++, in C, what a kernel's parameter is compared with: its bytes, 100 more
# where it is floating-point, 0 for anything)
_TYPES = {
    "bool": ("bool", "bool", 1), "uint8": ("unsigned char", "unsigned char", 1),
    "int8": ("signed char", "signed char", 1),
    "int16": ("short", "short", 2), "uint16": ("unsigned short", "unsigned short", 2), "int32": ("int", "int", 4),
    "uint32": ("unsigned int", "unsigned int", 4), "int64": ("long long", "long long", 8),
    "uint64": ("unsigned long long", "unsigned long long", 8), "float32": ("float", "float", 104),
    "float64": ("double", "double", 108), "float16": ("pydiff::float16", "_Float16", 0),
    "bfloat16": ("pydiff::bfloat16", "__bf16", 0), "complex64": ("float2", "float _Complex", 0),
    "complex128": ("double2", "double _Complex", 0),
}  # fmt: skip
#: Types that C knows under one name only: of these a wrong pointer is found by the compiler.
_EXACT = {"float32", "float64", "int32", "int16", "float16", "bfloat16"}

_CHECK = """\
namespace pydiff_check {
struct None {};
template <class A> struct Code { static constexpr int value = 0; };
template <class A> struct Code<const A> : Code<A> {};
template <> struct Code<float> { static constexpr int value = 104; };
template <> struct Code<double> { static constexpr int value = 108; };
#define PYDIFF_CODE(A) template <> struct Code<A> { static constexpr int value = sizeof(A); };
PYDIFF_CODE(bool) PYDIFF_CODE(char) PYDIFF_CODE(signed char) PYDIFF_CODE(unsigned char) PYDIFF_CODE(short)
PYDIFF_CODE(unsigned short) PYDIFF_CODE(int) PYDIFF_CODE(unsigned int) PYDIFF_CODE(long) PYDIFF_CODE(unsigned long)
PYDIFF_CODE(long long) PYDIFF_CODE(unsigned long long)
#undef PYDIFF_CODE
template <int K, class... P> struct At { typedef None type; };
template <class A, class... P> struct At<0, A, P...> { typedef A type; };
template <int K, class A, class... P> struct At<K, A, P...> : At<K - 1, P...> {};
template <class F> struct Params;
template <class... P> struct Params<void (*)(P...)> {
  static constexpr int count = sizeof...(P);
  template <int K> using at = typename At<K, P...>::type;
};
template <class A, int E> struct Pointer { static constexpr bool value = false; };
template <int E> struct Pointer<None, E> { static constexpr bool value = true; };
template <class A, int E> struct Pointer<A*, E> {
  static constexpr int code = Code<A>::value;
  static constexpr bool value = !code || !E || code == E || code == E - 100;
};
template <class A, int E> struct Number {
  static constexpr int code = Code<A>::value;
  static constexpr bool value = E > 100 ? code == E : code > 0 && code < 100;
};
template <int E> struct Number<None, E> { static constexpr bool value = true; };
}
"""


# A 16-bit float in CUDA C++: two bytes, read as a float and rounded where it is written.
_SMALL_FLOAT = """\
namespace pydiff {
struct NAME {
  NAME() = default;
  __device__ NAME(float value) : bits(pd_to_WORD(value)) {}
  __device__ operator float() const { return pd_from_WORD(bits); }
  template <class T> __device__ NAME& operator+=(T value) { return *this = float(*this) + value; }
  template <class T> __device__ NAME& operator-=(T value) { return *this = float(*this) - value; }
  template <class T> __device__ NAME& operator*=(T value) { return *this = float(*this) * value; }
  template <class T> __device__ NAME& operator/=(T value) { return *this = float(*this) / value; }
  unsigned short bits;
};
}
"""
_HALF = _SMALL_FLOAT.replace("NAME", "float16").replace("WORD", "half")
_BRAIN = _SMALL_FLOAT.replace("NAME", "bfloat16").replace("WORD", "bfloat")

# C has them under names of the compiler's.
_C_HALF = """\
#ifndef __FLT16_MAX__
#error "float16 in C needs _Float16: GCC 12 or clang 15 and newer; or give cpu=, a NumPy function"
#endif
"""
_C_BRAIN = """\
#if !defined __BFLT16_MAX__ && !(defined __clang_major__ && __clang_major__ >= 17)
#error "bfloat16 in C needs __bf16: GCC 13 or clang 17 and newer; or give cpu=, a NumPy function"
#endif
"""


def _narrow(pointers, half, brain):
    """What the 16-bit floats among the operands and results need."""
    dtypes = {d.name for _, d in pointers}
    return (half if "float16" in dtypes else "") + (brain if "bfloat16" in dtypes else "")


def _typedefs(text, types, column):
    """A line of those types that the text mentions; `types` are pairs of a name and a dtype."""
    used = [(name, dtype) for name, dtype in types if re.search(rf"\b{re.escape(name)}_t\b", text)]
    return "".join(f"typedef {_TYPES[dtype.name][column]} {name}_t; " for name, dtype in used)


def _words(text):
    """The text without comments and literals."""
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', " ", text, flags=re.S)


def find_function(text, name, function, what):
    """The name of the function to call: `function` where it is given, that of the operation, or the only kernel."""
    words = _words(text)
    if function is not None:
        return function
    if re.search(rf"\b{re.escape(name)}\s*\(", words):
        return name
    kernels = re.findall(r"__global__[^;{]*?\b(\w+)\s*\((?![^)]*\)\s*\w+\s*\()", words)
    kernels = [k for k in dict.fromkeys(kernels) if k != "__launch_bounds__"]
    if len(kernels) == 1:
        return kernels[0]
    got = " and ".join(kernels) if kernels else f"no function {name!r}"
    raise ValueError(f"[{name}] which function of the {what} text is to be called; got {got}; try function='…'")


def cuda_source(text, name, function, pointers, scalars):
    """The whole CUDA C++ text of a kernel.

    Arguments:
        pointers: (name, dtype) of operands and results. scalars: the bytes of a floating-point number and 100, or 8
            for any integer.
    """
    file = re.sub(r"\W", "_", name)
    count = len(pointers) + len(scalars)
    params = f"pydiff_check::Params<decltype(&{function})>"
    listed = ", ".join([f"{_TYPES[d.name][0]}* {n}" for n, d in pointers] + [_scalar_name(s) for s in scalars])
    lines = [f'static_assert({params}::count == {count}, "{function} is called with {count} arguments: {listed}");']
    for k, (n, d) in enumerate(pointers):
        said = f"parameter {k + 1} of {function} is {n}, a pointer to {_TYPES[d.name][0]}"
        lines.append(f'static_assert(pydiff_check::Pointer<{params}::at<{k}>, {_TYPES[d.name][2]}>::value, "{said}");')
    for k, code in enumerate(scalars, len(pointers)):
        said = f"parameter {k + 1} of {function} is a number of args, {_scalar_name(code)}"
        said += {104: "", 108: "; give numpy.float32(v) for a float"}.get(code, "; give float(v) for a double")
        lines.append(f'static_assert(pydiff_check::Number<{params}::at<{k}>, {code}>::value, "{said}");')
    narrow = _narrow(pointers, _HALF, _BRAIN)
    head = (_C.cuda_value_helpers() + narrow if narrow else "") + _CHECK + _typedefs(text, pointers, 0) + "\n"
    return f'{head}#line 1 "{file}.cu"\n{text}\n#line 1 "call of {file}"\n' + "\n".join(lines) + "\n"


def _scalar_name(code):
    return {104: "float", 108: "double"}.get(code, "an integer")


def c_source(text, name, function, pointers, scalars):
    """The whole C text, with the function `pydiff_entry(void* const* arguments)`."""
    file = re.sub(r"\W", "_", name)
    head = _narrow(pointers, _C_HALF, _C_BRAIN)
    head += "#include <math.h>\n#include <stdbool.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"
    calls = []
    for k, (_, d) in enumerate(pointers):
        calls.append(f"({_TYPES[d.name][1]}*)pydiff_a[{k}]" if d.name in _EXACT else f"pydiff_a[{k}]")
    for k, code in enumerate(scalars, len(pointers)):
        calls.append(f"*(const {_scalar_name(code) if code > 100 else 'long long'}*)pydiff_a[{k}]")
    call = f"void pydiff_entry(void* const* pydiff_a) {{ {function}({', '.join(calls)}); }}"
    return f'{head}{_typedefs(text, pointers, 1)}\n#line 1 "{file}.c"\n{text}\n#line 1 "call of {file}"\n{call}\n'


# ---- C, compiled by the system's compiler and kept in the disk cache

_FLAGS = (
    "-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno",
    "-Werror=incompatible-pointer-types", "-Werror=implicit-function-declaration", "-Werror=int-conversion",
)  # fmt: skip
_libraries = {}  # key -> library, which keeps its code, as compiled kernels are kept
_lock = threading.Lock()


def _compiler(name):
    """The command of the C compiler as a list, and what tells one compiler from another."""
    given = os.environ.get("CC", "").split()
    for command in [given] if given else [["cc"], ["gcc"], ["clang"]]:
        path = shutil.which(command[0])
        if path:
            info = os.stat(path)
            return [path, *command[1:]], f"{os.path.realpath(path)} {info.st_size} {info.st_mtime_ns} {command[1:]}"
    got = f"CC={' '.join(given)!r}, which is not found" if given else "no cc, gcc or clang"
    hint = "installing gcc, or cpu=… instead of c=…"
    raise RuntimeError(f"[{name}] its C text needs a C compiler; got {got}; try {hint}")


def _machine(flags):
    """What code for this very machine depends on."""
    if not any("native" in flag for flag in flags):
        return ""
    try:
        with open("/proc/cpuinfo") as file:
            first = file.read().split("\n\n")[0]
            return "".join(line for line in first.splitlines() if line.startswith(("model", "flags")))
    except OSError:
        return sys.platform


def compile_c(source, name, function, flags=()):
    """The address of `pydiff_entry` of a C text; a RuntimeError in the operation's name where it does not compile."""
    command, identity = _compiler(name)
    salt = "\0".join([identity, *_FLAGS, *flags, _machine(flags), source])
    key = hashlib.sha256(salt.encode()).hexdigest()
    with _lock:
        library = _libraries.get(key)
        if library is None:
            cache = DiskCache.from_environment("c")
            blob = cache.get(key) if cache else None
            if blob is None:
                blob = _compiled(command, source, name, function, flags)
                if cache:
                    cache.put(key, blob)
            library = _libraries[key] = _loaded(blob, name)
    return ctypes.cast(library.pydiff_entry, ctypes.c_void_p).value


def _compiled(command, source, name, function, flags):
    with tempfile.TemporaryDirectory(prefix="pydiff-c-") as folder:
        text, target = os.path.join(folder, "kernel.c"), os.path.join(folder, "kernel.so")
        with open(text, "w", encoding="utf-8") as file:
            file.write(source)
        command = [*command, *_FLAGS, *flags, text, "-o", target, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, errors="replace")
        if done.returncode:
            log = done.stderr.strip() or f"exit status {done.returncode}"
            raise RuntimeError(f"[{name}] the C function {function} does not compile; got {log}; try another text")
        with open(target, "rb") as file:
            return file.read()


def _loaded(blob, name):
    """The library, from a file that is gone when it is loaded."""
    with tempfile.NamedTemporaryFile(prefix="pydiff-c-", suffix=".so", delete=False) as file:
        file.write(blob)
    try:
        return ctypes.CDLL(file.name)
    except OSError as error:
        hint = "TMPDIR=<a folder whose files may be executed>"
        raise RuntimeError(f"[{name}] its compiled C text cannot be loaded; got {error}; try {hint}") from None
    finally:
        os.unlink(file.name)
