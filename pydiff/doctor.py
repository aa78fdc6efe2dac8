"""What pydiff finds on this machine, and what to do about what it does not find.

    python -m pydiff.doctor          in words
    python -m pydiff.doctor --json   the same for programs

Nothing is changed and nothing is needed: each part that is missing is a line of the report.
"""

import argparse
import contextlib
import ctypes
import glob
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import textwrap
from typing import NamedTuple

import numpy

from . import _C, __version__, _llvm, cuda
from .fallback import _arrays

__all__ = ["Entry", "main", "report"]

_PROBE = "PD_KERNEL probe(int* out) { out[threadIdx.x] = threadIdx.x; }"
_OLDEST_FOR_13 = (7, 5)  # compute capability: CUDA 13 compiles for Turing and newer


class Entry(NamedTuple):
    """One line: `name` of the part, `state` ('ok', 'missing' or 'problem'), what was `found`, `advice` where not ok."""

    name: str
    state: str
    found: str
    advice: str = ""


def report():
    """What was found, a list of `Entry`.

    >>> from pydiff import doctor
    >>> {entry.state for entry in doctor.report()} <= {"ok", "missing", "problem"}
    True
    """
    entries = [*_package(), _processor(), _threads(), _blas(), _compiler(), _cache()]
    facts = cuda.report()
    return [*entries, *_cuda(facts), _stand_in(), _cupy(facts)]


# ---- pydiff on the CPU


def _package():
    yield Entry("pydiff", "ok", f"{__version__}, {os.path.dirname(__file__)}")
    yield Entry("Python", "ok", f"{platform.python_version()}, {sys.executable}; NumPy {numpy.__version__}")
    tested = sys.platform == "linux" and platform.machine() == "x86_64"
    advice = "" if tested else "Linux on x86-64 is what pydiff is tested on; run its tests before relying on it here."
    yield Entry("system", "ok" if tested else "problem", platform.platform(), advice)


def _cpu_facts():
    """The processor's name and its instruction sets."""
    name, flags = platform.processor() or platform.machine(), set()
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() == "flags":
                    flags = set(value.split())
                    break
    except OSError:
        pass
    return name, flags


def _processor():
    name, flags = _cpu_facts()
    known = ["baseline"]  # as csrc/ops/loops_dispatch.cpp chooses
    if {"avx2", "fma", "bmi2"} <= flags:
        known.append("avx2")
        if {"avx512f", "avx512vl", "avx512dq", "avx512bw"} <= flags:
            known.append("avx512")
    asked = os.environ.get("PYDIFF_ISA")
    if asked and asked not in known:
        advice = f"Unset PYDIFF_ISA, or set it to one of {', '.join(known)}: as it is, no work can be done."
        return Entry("CPU", "problem", f"{name}; PYDIFF_ISA={asked}, which it has not", advice)
    return Entry("CPU", "ok", f"{name}; loops for {asked + ' (PYDIFF_ISA)' if asked else known[-1]}")


def _threads():
    cpus = _C.num_cpus()
    try:
        threads = _C.num_threads()
    except ValueError as error:
        return _entry("threads", "problem", str(error))
    found = f"{threads} threads on {cpus} CPUs that this process may use"
    if threads > cpus:
        return Entry("threads", "problem", found, f"Set PYDIFF_NUM_THREADS to {cpus}: more only wait for each other.")
    return Entry("threads", "ok", found)


def _blas():
    if _C.blas_available():
        return Entry("BLAS", "ok", _C.blas_name())
    asked = os.environ.get("PYDIFF_BLAS")
    found = f"PYDIFF_BLAS={asked} is no library that can be used" if asked else "no OpenBLAS"
    advice = "pip install scipy-openblas32. Until then matrix products run on pydiff's own loops, which are slower."
    return Entry("BLAS", "problem" if asked else "missing", found, advice)


def _compiler():
    name, mode = "LLVM JIT", _C.jit_mode()
    slow = "Until then kernels are interpreted: the same results, slower."
    try:
        import llvmlite.binding as llvm

        version = importlib.metadata.version("llvmlite")
        compiler = _llvm.Compiler()
        answer = ctypes.CFUNCTYPE(ctypes.c_int32)(compiler.compile("probe", "define i32 @probe() { ret i32 42 }"))()
    except ModuleNotFoundError:
        return Entry(name, "missing", "no llvmlite", f"pip install llvmlite. {slow}")
    except Exception as error:  # whatever stands in its way is what there is to tell
        return Entry(name, "problem", f"llvmlite does not work: {error}", f"pip install --upgrade llvmlite. {slow}")
    if answer != 42:
        return Entry(name, "problem", f"compiled code is wrong: {answer} for 42", "Set PYDIFF_JIT=off and report this.")
    llvm_version = ".".join(map(str, llvm.llvm_version_info))
    return Entry(name, "ok", f"llvmlite {version}, LLVM {llvm_version}, mode {mode}{' (PYDIFF_JIT)' * (mode == 'off')}")


def _cache():
    disk = _llvm.DiskCache.from_environment()
    if disk is None:
        return Entry("kernel cache", "ok", "none: PYDIFF_CACHE_DIR is empty")
    folder = os.path.dirname(disk.folder)
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        advice = "Set PYDIFF_CACHE_DIR to a folder that can be written. Until then every process compiles anew."
        return Entry("kernel cache", "problem", f"{folder} cannot be written: {error.strerror or error}", advice)
    kept = [os.path.join(at, file) for at, _, files in os.walk(folder) for file in files]
    size = sum(os.path.getsize(path) for path in kept if os.path.exists(path))
    return Entry("kernel cache", "ok", f"{folder}, {len(kept)} files, {size / (1 << 20):.1f} MB")


def _existing(folder):
    """The folder, or the nearest one above it that is there."""
    while not os.path.exists(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


# ---- CUDA


def _entry(name, state, text):
    """An entry of an error's text, "[op] what; got …; try …"."""
    what, _, advice = text.partition("; try ")
    what = re.sub(r"^\[\w+\] ", "", what)
    return Entry(name, state, what.replace("; got ", ": "), f"Try {advice}." if advice else "")


def _version(text):
    """The first major.minor in it, or None."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _cuda(facts):
    """`facts`: pydiff.cuda.report(). What is not there is the text of an error."""
    there = {key: not value.startswith("[") for key, value in facts.items()}
    driver = _version(facts["driver"]) if there["driver"] else None
    stand_in = "_cuda_host" in facts["driver"]
    if driver is None:
        yield _entry("CUDA driver", "missing" if "was found" in facts["driver"] else "problem", facts["driver"])
    else:
        yield Entry("CUDA driver", "ok", facts["driver"] + ", the stand-in that runs on the CPU" * stand_in)
    extra = _arrays.cupy_extra()
    install = f"pip install 'pydiff-tensor[{extra}]' brings it, where there is a GPU."
    nvrtc = _version(facts["NVRTC"]) if there["NVRTC"] else None

    for key in filter(re.compile(r"cuda:\d+$").match, facts):
        capability = _version(facts[key].partition("capability ")[2])
        if nvrtc and not stand_in and nvrtc[0] >= 13 and capability < _OLDEST_FOR_13:
            advice = "CUDA 13 has no compiler for this GPU: pip install 'pydiff-tensor[cuda12]' in a fresh environment."
            yield Entry(key, "problem", facts[key], advice)
        else:
            yield Entry(key, "ok", facts[key])

    for key in ("NVRTC", "cuBLAS"):
        if not there[key]:
            state = "missing" if "was not found" in facts[key] else "problem"
            chosen = os.environ.get("PYDIFF_NVRTC" if key == "NVRTC" else "PYDIFF_CUBLAS")
            entry = _entry(key, state, facts[key])
            yield entry if chosen else entry._replace(advice=install)
            continue
        version = _version(facts[key].partition(",")[0])
        if driver and version and version[0] > driver[0]:
            found = f"{facts[key]}, for newer drivers than this one of CUDA {driver[0]}"
            yield Entry(key, "problem", found, f"Update the driver, or pip install 'pydiff-tensor[{extra}]' afresh.")
        else:
            yield _probed(facts) if key == "NVRTC" else Entry(key, "ok", facts[key])


def _probed(facts):
    """NVRTC, asked to compile a kernel: it needs no GPU for that."""
    first = _version(facts.get("cuda:0", "").partition("capability ")[2]) or (8, 0)
    with _no_cache():
        image, log = _C.cuda_compile(_PROBE, "sm_{}{}".format(*first))
    if image:
        return Entry("NVRTC", "ok", f"{facts['NVRTC']}; compiles for sm_{first[0]}{first[1]}")
    said = (log.strip().splitlines() or ["nothing"])[0]
    advice = "Install NVRTC again. The stand-in needs g++ (PYDIFF_CUDA_HOST_CXX)."
    return Entry("NVRTC", "problem", f"{facts['NVRTC']}; does not compile a kernel: {said}", advice)


@contextlib.contextmanager
def _no_cache():
    """Images are neither taken from the disk nor kept there."""
    before = os.environ.get("PYDIFF_CACHE_DIR")
    os.environ["PYDIFF_CACHE_DIR"] = ""
    try:
        yield
    finally:
        os.environ.pop("PYDIFF_CACHE_DIR")
        if before is not None:
            os.environ["PYDIFF_CACHE_DIR"] = before


def _stand_in():
    found = glob.glob(os.path.join(os.path.dirname(__file__), "_cuda_host.*so"))
    compiler = os.environ.get("PYDIFF_CUDA_HOST_CXX") or "g++"
    if not found:
        return Entry("CUDA stand-in", "missing", "not built", "Install pydiff again; only tests without a GPU need it.")
    if not shutil.which(compiler):
        advice = f"Install {compiler}, which compiles its kernels; only tests without a GPU need it."
        return Entry("CUDA stand-in", "missing", f"{found[0]}, but no {compiler}", advice)
    return Entry("CUDA stand-in", "ok", f"{found[0]}, kernels by {shutil.which(compiler)}")


def _cupy(facts):
    stand_in = "_cuda_host" in facts["driver"]
    gpus = 0 if facts["driver"].startswith("[") or stand_in else int(facts["devices"])
    module, problem = _arrays.find_cupy()
    install = f"pip install 'pydiff-tensor[{_arrays.cupy_extra()}]'"
    if module is None:
        needed = "sort, unique and linalg on a GPU are errors without it." if gpus else "Only a GPU needs it."
        state = "missing" if problem == "no CuPy" else "problem"
        return Entry("CuPy", state, "not installed" if state == "missing" else problem, f"{install}. {needed}")
    seen, why = _arrays.count_cupy_devices(module)
    found = f"{module.__version__}, sees {seen} {'GPU' if seen == 1 else 'GPUs'}"
    if gpus and not seen:
        found += f": {why}" if why else ""
        return Entry("CuPy", "problem", found, f"pydiff sees {gpus}. {install} brings a CuPy that fits the driver.")
    return Entry("CuPy", "ok", found)


# ---- in words


def _in_words(entries):
    width = max(len(entry.name) for entry in entries)
    indent = " " * (width + 11)
    for entry in entries:
        yield f"{entry.state:<8} {entry.name:<{width}}  {entry.found}"
        if entry.advice:
            yield from textwrap.wrap(entry.advice, 120, initial_indent=indent + "-> ", subsequent_indent=indent + "   ")
    names = {entry.name for entry in entries}
    bad = [entry.name for entry in entries if entry.state == "problem"]
    yield ""
    where = "the CPU and on CUDA devices" if "cuda:0" in names else "the CPU; there is no CUDA device"
    yield f"pydiff runs on {where}." + (f" To look at: {', '.join(bad)}." if bad else "")


def main(arguments=None):
    """Print the report; returns the exit status, 0 whatever was found."""
    parser = argparse.ArgumentParser(prog="python -m pydiff.doctor", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="a list of objects: name, state, found, advice")
    options = parser.parse_args(arguments)
    entries = report()
    if options.json:
        print(json.dumps([entry._asdict() for entry in entries], indent=1))
    else:
        print("\n".join(_in_words(entries)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
