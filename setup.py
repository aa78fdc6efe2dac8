"""Builds the extension ``pydiff._C`` with g++ alone: no CUDA toolkit, no CMake.

Objects are compiled in parallel and kept; a second build compiles only what a changed header or source
reaches (the compiler's own dependency files tell).

    PYDIFF_BUILD_JOBS   compilers at once (default: the processors that this process may use)
    PYDIFF_SANITIZE     e.g. "address,undefined": instrument the extension
    PYDIFF_BUILD_DIR    where objects are kept (default: build/objects)
"""

import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11
from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
SOURCES = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc").rglob("*.cpp"))
# A library of its own, which takes the place of the CUDA driver where there is none (device="cuda-host").
CUDA_HOST = [s for s in SOURCES if s.startswith("csrc/device/cuda_host/")]

# Never contracted, never re-associated: one definition of the arithmetic everywhere (csrc/ops/vmath/scalar.h).
# (SmallVec's union is read only where its size says which member lives; g++ cannot see that.)
COMMON = ["-std=c++17", "-Wno-maybe-uninitialized", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-g0"]
LOOPS = ["-O3", "-fopenmp-simd", "-fno-trapping-math", "-fno-math-errno"]
# Sources compiled once for each instruction set, which is chosen when the program starts.
PER_ISA = {"csrc/ops/loops.cpp", "csrc/fuse/reduce_loops.cpp"}
ISAS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma", "-mbmi2", "-mf16c"],
    "avx512": ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma", "-mbmi2", "-mf16c"],
}


def jobs():
    if "PYDIFF_BUILD_JOBS" in os.environ:
        return int(os.environ["PYDIFF_BUILD_JOBS"])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_dependencies(depfile):
    text = depfile.read_text().replace("\\\n", " ")
    return shlex.split(text.partition(":")[2])


def is_fresh(obj, command):
    depfile, cmdfile = obj.with_suffix(".d"), obj.with_suffix(".cmd")
    if not (obj.exists() and depfile.exists() and cmdfile.exists()) or cmdfile.read_text() != command:
        return False
    built = obj.stat().st_mtime
    try:
        # Only our own sources: with build isolation pybind11 lies in a new folder each time.
        return all(os.stat(ROOT / d).st_mtime <= built for d in read_dependencies(depfile) if d.startswith("csrc/"))
    except OSError:
        return False


def identity(command):
    """What an object depends on beside its sources; folders of headers come and go, their version counts."""
    return shlex.join([c for c in command if not c.startswith("-I")] + [f"pybind11-{pybind11.__version__}"])


def compile_one(task):
    command, obj = task
    line = identity(command)
    if is_fresh(obj, line):
        return
    obj.parent.mkdir(parents=True, exist_ok=True)
    started = time.time()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.stderr:
        sys.stderr.write(done.stderr)
    if done.returncode:
        raise SystemExit(f"compiling {obj.name} failed:\n{shlex.join(command)}")
    os.utime(obj, (started, started))  # a source changed meanwhile is newer than this object
    obj.with_suffix(".cmd").write_text(line)


class BuildExt(build_ext):
    def build_extension(self, ext):
        cxx = shlex.split(os.environ.get("CXX", "g++"))
        sanitize = os.environ.get("PYDIFF_SANITIZE", "")
        # Instrumented loops take minutes to optimise further, and are only tested.
        extra = [f"-fsanitize={sanitize}", "-fno-omit-frame-pointer", "-g1", "-O1"] if sanitize else []
        base = Path(os.environ.get("PYDIFF_BUILD_DIR", ROOT / "build" / "objects"))
        folder = base / (
            f"{self.plat_name}-{sys.implementation.cache_tag}" + ("-" + sanitize.replace(",", "-") if sanitize else "")
        )
        includes = [f"-I{d}" for d in ["csrc", *ext.include_dirs, *self.include_dirs]]
        tasks, objects = [], []
        for source in ext.sources:
            variants = ISAS.items() if source in PER_ISA else [("", [])]
            for isa, flags in variants:
                obj = folder / (source.replace("/", ".")[: -len(".cpp")] + (f".{isa}" if isa else "") + ".o")
                flags = [*LOOPS, *flags, f"-DPD_ISA={isa}"] if isa else self.flags_of(source)
                command = [
                    *cxx,
                    *COMMON,
                    *flags,
                    *extra,
                    *(["-O0"] if sanitize and source.startswith("csrc/python/") else []),  # half of the build's time
                    "-fPIC",
                    *includes,
                    "-MMD",
                    "-MF",
                    str(obj.with_suffix(".d")),
                    "-c",
                    source,
                    "-o",
                    str(obj),
                ]
                tasks.append((command, obj))
                objects.append(str(obj))
        # The longest first, so that no processor waits for one at the end.
        tasks.sort(key=lambda t: "loops" not in t[1].name)
        with ThreadPoolExecutor(jobs()) as pool:
            list(pool.map(compile_one, tasks))
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        link = [*cxx, "-shared", *extra, *objects, "-ldl", "-lpthread", "-o", str(target)]
        subprocess.run(link, check=True, cwd=ROOT)

    @staticmethod
    def flags_of(source):
        if source.startswith(("csrc/kernels/", "csrc/fuse/pack", "csrc/fuse/broadcast")):
            return LOOPS
        return ["-O2", "-fvisibility=default"] if source in CUDA_HOST else ["-O2"]


setup(
    ext_modules=[
        Pybind11Extension("pydiff._C", [s for s in SOURCES if s not in CUDA_HOST]),
        Pybind11Extension("pydiff._cuda_host", CUDA_HOST),
    ],
    cmdclass={"build_ext": BuildExt},
)
