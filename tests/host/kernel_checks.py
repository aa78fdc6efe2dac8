"""What the tests of hand-written CUDA kernels share: their build, and checks that run in a process of their own.

A kernel that goes wrong may end its process. So a test file registers its checks in a `Checks`, is run as a program with
the driver's library (and names of checks), and prints a line of JSON for each: name, problem, digest of the results.
"""

import json
import os
import subprocess
import sys
import traceback

from cuda_host_tools import library_path
from objects import CSRC, HERE  # noqa: F401 — for the files of checks

#: What every driver of kernels is linked with: the device layer, and what texts are printed by.
DEVICE = [
    CSRC / "base/dtype.cpp",
    CSRC / "device/registry.cpp",
    *sorted((CSRC / "device/cpu").glob("*.cpp")),
    *sorted((CSRC / "device/cuda").glob("*.cpp")),
    CSRC / "fuse/cuda/expr_text.cpp",
    CSRC / "ops/exprs.cpp",
]
DTYPES = {
    name: code
    for code, name in enumerate(
        "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128".split()
    )
}


class Checks(dict):
    """Checks by name: functions of a rig and of a case."""

    def __call__(self, *cases):
        """A decorator: each case is a check of its own."""

        def add(f):
            for case in cases or [()]:
                case = case if isinstance(case, tuple) else (case,)
                self["-".join([f.__name__, *map(str, case)])] = (f, case)
            return f

        return add

    def run(self, lib, make_rig, only):
        """Runs all, or those named, and prints what came out."""
        for seed, (name, (f, case)) in enumerate(self.items()):
            if only and name not in only and f.__name__ not in only:
                continue
            rig, problem = make_rig(lib, seed), ""
            try:
                f(rig, *case)
            except Exception:
                problem = traceback.format_exc()
            print(json.dumps([name, problem, rig.digest.hexdigest()]), flush=True)


def run_apart(file, library, names=(), **environment):
    """Runs a file's checks on the stand-in; {name: (problem, digest)}, and what the process said at its end."""
    env = {**os.environ, **environment}
    env.update(dict.fromkeys(["PYDIFF_CUDA_DRIVER", "PYDIFF_NVRTC", "PYDIFF_CUBLAS"], str(library_path())))
    done = subprocess.run([sys.executable, file, library, *names], env=env, capture_output=True, text=True)
    found = {name: (problem, digest) for name, problem, digest in map(json.loads, done.stdout.splitlines())}
    return found, f"exit status {done.returncode}: {done.stderr[-2000:]}"


def results_of(file, library, cache, runs):
    """run_apart for each of `runs`, {kind: environment}, when it is first asked for."""
    out = {}

    def of_run(kind):
        if kind not in out:
            out[kind] = run_apart(file, library, PYDIFF_CACHE_DIR=str(cache), **runs[kind])
        return out[kind]

    return of_run
