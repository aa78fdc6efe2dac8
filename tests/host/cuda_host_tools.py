"""Builds the stand-in for CUDA (csrc/device/cuda_host/) and drives it through ctypes, for the tests of it."""

import ctypes
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "csrc/device/cuda_host").glob("*.cpp"))
PRELUDE = re.search(r'R"cuda\((.*?)\)cuda"', (ROOT / "csrc/device/cuda/prelude.h").read_text(), re.S).group(1)
PRELUDE_LINES = PRELUDE.count("\n")


@functools.lru_cache(None)
def library_path():
    """The library, built once a process into a folder that goes when the process ends."""
    global FOLDER
    FOLDER = tempfile.TemporaryDirectory(prefix="cuda_host")
    target = pathlib.Path(FOLDER.name) / "_cuda_host.so"
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is needed to build the stand-in")
    flags = ["-std=c++17", "-O2", "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, *map(str, SOURCES), "-o", str(target), "-ldl", "-lpthread"], check=True)
    return target


@functools.lru_cache(None)
def shared_cuda():
    return Cuda(library_path())


class Failure(Exception):
    pass


class Array:
    """Device memory with the shape and dtype of a NumPy array."""

    def __init__(self, cuda, like):
        self.cuda, self.shape, self.dtype, self.bytes = cuda, like.shape, like.dtype, like.nbytes
        self.pointer = ctypes.c_uint64()
        cuda.call("cuMemAllocAsync", ctypes.byref(self.pointer), self.bytes, None)
        cuda.call("cuMemcpyHtoD_v2", self.pointer, np.ascontiguousarray(like).ctypes.data, self.bytes)

    def get(self):
        out = np.empty(self.shape, self.dtype)
        self.cuda.call("cuMemcpyDtoH_v2", out.ctypes.data, self.pointer, self.bytes)
        return out

    def free(self):
        self.cuda.call("cuMemFreeAsync", self.pointer, None)


class Cuda:
    """What the back end does with the three libraries, in as few lines as possible."""

    def __init__(self, path):
        self.lib = ctypes.CDLL(str(path))
        self.call("cuInit", 0)
        self.context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), 0)
        self.call("cuCtxSetCurrent", self.context)
        self.kernels = {}

    @staticmethod
    def converted(a):
        if isinstance(a, bool) or not isinstance(a, int):
            return a
        return ctypes.c_size_t(a)

    def code(self, name, *args):
        return getattr(self.lib, name)(*map(self.converted, args))

    def call(self, name, *args):
        code = self.code(name, *args)
        if code:
            text = ctypes.c_char_p()
            self.lib.cuGetErrorName(code, ctypes.byref(text))
            raise Failure(f"{name}: {code} {text.value and text.value.decode()}")

    def compile(self, text, *options):
        """(image or None, log)"""
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        source = (PRELUDE + text).encode()
        assert self.lib.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None) == 0
        opts = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        code = self.lib.nvrtcCompileProgram(program, len(options), opts)
        assert self.lib.nvrtcGetProgramLogSize(program, ctypes.byref(size)) == 0
        log = ctypes.create_string_buffer(size.value)
        self.lib.nvrtcGetProgramLog(program, log)
        image = None
        if code == 0:
            self.lib.nvrtcGetCUBINSize(program, ctypes.byref(size))
            image = ctypes.create_string_buffer(size.value)
            self.lib.nvrtcGetCUBIN(program, image)
        assert self.lib.nvrtcDestroyProgram(ctypes.byref(program)) == 0
        return image, log.value.decode()

    def module(self, text):
        image, log = self.compile(text, "--gpu-architecture=sm_90", "--fmad=false")
        assert image is not None, log
        module = ctypes.c_void_p()
        self.call("cuModuleLoadData", ctypes.byref(module), image)
        return module

    def kernel(self, text, name):
        if (text, name) not in self.kernels:
            function = ctypes.c_void_p()
            self.call("cuModuleGetFunction", ctypes.byref(function), self.module(text), name.encode())
            self.kernels[text, name] = function
        return self.kernels[text, name]

    def launch_code(self, function, grid, block, args, shared=0, stream=None):
        values = [a.pointer if isinstance(a, Array) else a for a in args]
        pointers = (ctypes.c_void_p * max(1, len(values)))(*(ctypes.addressof(v) for v in values))
        grid, block = ((*d, 1, 1)[:3] if isinstance(d, tuple) else (d, 1, 1) for d in (grid, block))
        sizes = [ctypes.c_uint(v) for v in (*grid, *block, shared)]
        return self.lib.cuLaunchKernel(function, *sizes, stream, pointers, None)

    def launch(self, function, grid, block, *args, shared=0, stream=None):
        code = self.launch_code(function, grid, block, args, shared, stream)
        if code:
            raise Failure(f"cuLaunchKernel: {code}")

    def array(self, values):
        return Array(self, values)


def i32(v):
    return ctypes.c_int(v)


def f32(v):
    return ctypes.c_float(v)


def run_apart(library, body, **environment):
    """Runs `body`, in which `cuda` is a Cuda, in another process."""
    code = f"import sys; sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})\n"
    code += f"from cuda_host_tools import *\ncuda = Cuda({str(library)!r})\n" + body
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)


def reported(library, body, **environment):
    """What it says when it ends the process."""
    done = run_apart(library, body, **environment)
    assert done.returncode == -signal.SIGABRT, (done.returncode, done.stdout, done.stderr)
    return done.stderr


SAXPY = """
PD_KERNEL saxpy(const f32* __restrict__ x, f32* __restrict__ y, const f32 a, const i32 n) {
  const i32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = a * x[i] + y[i];
}
"""

ROW_SUM = """
PD_DEVICE f32 warp_sum(f32 v) {
  for (i32 offset = 16; offset; offset >>= 1) v += __shfl_xor_sync(PD_ALL, v, offset);
  return v;
}
PD_KERNEL __launch_bounds__(256) row_sum(const f32* x, f32* y, i32 n) {
  __shared__ f32 part[32];
  f32 sum = 0.0f;
  for (i32 j = threadIdx.x; j < n; j += blockDim.x) sum += x[(i64)blockIdx.x * n + j];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = warp_sum(threadIdx.x < blockDim.x / 32 ? part[threadIdx.x] : 0.0f);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
  }
}
"""
