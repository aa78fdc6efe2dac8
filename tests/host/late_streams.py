"""Runs a program on the stand-in with two devices and streams that are late, in a process of its own."""

import os
import subprocess
import sys
import textwrap

START = """
import ctypes, gc, glob, os, threading
import numpy as np
import pytest
import pydiff as pd
from pydiff import cuda
pd.device("cuda-host")
lib = ctypes.CDLL(os.environ["PYDIFF_CUDA_DRIVER"])

def call(name, *args):
    code = getattr(lib, name)(*(ctypes.c_size_t(a) if isinstance(a, int) else a for a in args))
    assert code == 0, (name, code)

class Foreign:
    "A stream of another library, which excludes the default stream."
    def __init__(self, device=0, flags=1):
        with cuda.device(device):
            handle = ctypes.c_void_p()
            call("cuStreamCreate", ctypes.byref(handle), flags)
        self.handle = handle.value
    def __cuda_stream__(self):
        return 0, self.handle

def seen(stream, address, n):
    "float32 numbers at a device address, read by work of a stream, which waits for nothing else."
    out = np.zeros(n, np.float32)
    call("cuMemcpyDtoHAsync_v2", ctypes.c_void_p(out.ctypes.data), address, out.nbytes, ctypes.c_void_p(stream))
    return out
"""


def run(body, **variables):
    env = {**os.environ, "PYDIFF_CUDA_HOST_STREAMS": "late", "PYDIFF_CUDA_HOST_DEVICES": "2", **variables}
    for name in ("PYDIFF_CUDA_DRIVER", "PYDIFF_NVRTC", "PYDIFF_CUBLAS"):
        env.pop(name, None)
    code = START + textwrap.dedent(body)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done
