"""`python -m pydiff.doctor` tells what is there, and what to do about what is not, whatever is missing."""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pd = pytest.importorskip("pydiff")

from pydiff import doctor  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
STAND_IN = glob.glob(os.path.join(os.path.dirname(pd.__file__), "_cuda_host.*so"))
LIBRARIES = ("PYDIFF_CUDA_DRIVER", "PYDIFF_NVRTC", "PYDIFF_CUBLAS")
NOWHERE = {name: "/nowhere/lib.so" for name in LIBRARIES}
ALWAYS = ["pydiff", "Python", "system", "CPU", "threads", "BLAS", "LLVM JIT", "kernel cache"]
ALWAYS += ["CUDA driver", "NVRTC", "cuBLAS", "CUDA stand-in", "CuPy"]


def test_what_a_program_may_ask_without_a_gpu():
    """As in PyTorch: no memory is in use, and there is none to give back; what needs a device says so."""
    program = """
from pydiff import cuda
assert not cuda.is_available()
assert cuda.memory_allocated() == cuda.max_memory_allocated() == cuda.memory_reserved() == 0
assert cuda.reset_peak_memory_stats() is cuda.empty_cache() is None
cuda.synchronize()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, **NOWHERE})
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: [cuda] no NVIDIA driver was found; got"), done.stderr


def examine(*options, cwd=ROOT, **environment):
    """What the command prints, in an environment of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYDIFF_")}
    command = [sys.executable, "-m", "pydiff.doctor", *options]
    return subprocess.run(command, capture_output=True, text=True, env={**clean, **environment}, cwd=cwd)


def entries(**environment):
    run = examine("--json", **environment)
    assert run.returncode == 0, run.stderr
    return {entry["name"]: doctor.Entry(**entry) for entry in json.loads(run.stdout)}


@pytest.mark.smoke
def test_every_line_has_a_state_and_advice_where_it_is_not_ok():
    found = entries(**NOWHERE)
    assert [name for name in found if not name.startswith("cuda:")] == ALWAYS
    for entry in found.values():
        assert entry.state in ("ok", "missing", "problem") and entry.found, entry
        assert bool(entry.advice) == (entry.state != "ok"), entry
    assert {found[name].state for name in ("pydiff", "Python", "threads", "kernel cache")} == {"ok"}


def test_the_words_are_those_of_the_entries():
    lines = examine(**NOWHERE).stdout
    words = " ".join(lines.split())
    for entry in entries(**NOWHERE).values():
        assert re.search(rf"^{entry.state} +{re.escape(entry.name)}  ", lines, re.M), entry
        assert " ".join(entry.advice.split()) in words.replace("-> ", ""), entry
    assert "pydiff runs on the CPU; there is no CUDA device." in lines


def test_no_driver_and_no_toolkit():
    found = entries(**NOWHERE)
    for name, variable in zip(("CUDA driver", "NVRTC", "cuBLAS"), LIBRARIES):
        assert found[name].state == "missing" and "/nowhere/lib.so" in found[name].found, found[name]
        assert not found[name].found.startswith("[")
    assert "PYDIFF_NVRTC" in found["NVRTC"].advice
    assert "cuda:0" not in found


@pytest.mark.skipif(not STAND_IN, reason="the stand-in is not built")
def test_the_stand_in_is_a_device(tmp_path):
    libraries = dict.fromkeys(LIBRARIES, STAND_IN[0])
    found = entries(**libraries, PYDIFF_CUDA_HOST_DEVICES="2", PYDIFF_CACHE_DIR=str(tmp_path))
    assert found["CUDA driver"].state == "ok" and "the stand-in" in found["CUDA driver"].found
    assert {"cuda:0", "cuda:1"} <= set(found) and "compute capability" in found["cuda:1"].found
    assert found["NVRTC"].state == found["cuBLAS"].state == "ok" and "compiles for sm_90" in found["NVRTC"].found


@pytest.mark.skipif(not STAND_IN, reason="the stand-in is not built")
def test_a_compiler_that_does_not_compile(tmp_path):
    libraries = dict.fromkeys(LIBRARIES, STAND_IN[0])
    found = entries(**libraries, PYDIFF_CUDA_HOST_CXX="/bin/false", PYDIFF_CACHE_DIR=str(tmp_path))
    assert found["NVRTC"].state == "problem" and "does not compile" in found["NVRTC"].found
    assert entries(PYDIFF_CUDA_HOST_CXX="no-such-compiler")["CUDA stand-in"].state == "missing"


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = entries(PYDIFF_CACHE_DIR=str(tmp_path / "file"))["kernel cache"]
    assert found.state == "problem" and "PYDIFF_CACHE_DIR" in found.advice
    found = entries(PYDIFF_CACHE_DIR=str(tmp_path / "new" / "folder"))["kernel cache"]
    assert found.state == "ok" and not (tmp_path / "new").exists()
    assert "none" in entries(PYDIFF_CACHE_DIR="")["kernel cache"].found


def test_choices_of_the_environment():
    found = entries(PYDIFF_NUM_THREADS="1", PYDIFF_JIT="off", PYDIFF_ISA="baseline")
    assert found["threads"].found.startswith("1 thread") and found["threads"].state == "ok"
    assert "off (PYDIFF_JIT)" in found["LLVM JIT"].found or found["LLVM JIT"].state == "missing"
    assert "baseline (PYDIFF_ISA)" in found["CPU"].found
    found = entries(PYDIFF_NUM_THREADS="many", PYDIFF_ISA="mmx", PYDIFF_BLAS="/nowhere/blas.so")
    assert {found[name].state for name in ("threads", "CPU", "BLAS")} == {"problem"}
    assert found["threads"].advice and "'many'" in found["threads"].found


def test_python_packages_that_are_missing(tmp_path):
    for name in ("llvmlite", "cupy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ModuleNotFoundError('hidden', name={name!r})\n")
    found = entries(PYTHONPATH=str(tmp_path))
    assert found["LLVM JIT"].state == found["CuPy"].state == "missing"
    assert "pip install llvmlite" in found["LLVM JIT"].advice and "pydiff-tensor[cuda" in found["CuPy"].advice
    (tmp_path / "cupy" / "__init__.py").write_text("raise OSError('libcudart.so.13 is from elsewhere')\n")
    found = entries(PYTHONPATH=str(tmp_path))["CuPy"]
    assert found.state == "problem" and "libcudart" in found.found


# ---- GPUs, drivers and libraries that are not here: the facts of other machines

FACTS = {
    "driver": "CUDA 12.4, /usr/lib/libcuda.so.1",
    "devices": "1",
    "cuda:0": "NVIDIA V100, compute capability 7.0, 31.7 GiB, 80 multiprocessors",
    "NVRTC": "12.9, /lib/libnvrtc.so.12",
    "cuBLAS": "12.9.1, /lib/libcublas.so.12",
    "kernel cache": "/tmp",
}


def states(**changes):
    return {entry.name: entry for entry in doctor._cuda({**FACTS, **changes})}


@pytest.fixture
def compiles(monkeypatch):
    monkeypatch.setattr(doctor._C, "cuda_compile", lambda text, arch: (b"image" if arch == "sm_70" else b"", "no"))
    monkeypatch.setattr(doctor._arrays._C, "cuda_report", lambda: list(FACTS.items()))


def test_a_gpu_with_all_that_it_needs(compiles):
    assert {entry.state for entry in states().values()} == {"ok"}


def test_a_toolkit_that_is_newer_than_the_driver(compiles):
    found = states(NVRTC="13.0, /lib/libnvrtc.so.13", cuBLAS="13.1, /lib/libcublas.so.13")
    for name in ("NVRTC", "cuBLAS"):
        assert found[name].state == "problem" and "pydiff-tensor[cuda12]" in found[name].advice


def test_a_gpu_that_is_too_old_for_the_compiler(compiles):
    found = states(driver="CUDA 13.0, /usr/lib/libcuda.so.1", NVRTC="13.0, /lib/libnvrtc.so.13")
    assert found["cuda:0"].state == "problem" and "cuda12" in found["cuda:0"].advice


def test_a_driver_that_does_not_serve(compiles):
    text = "[cuda] the NVIDIA driver is too old; got one for CUDA 11.8; try a driver for CUDA 12.0 or newer"
    entry = states(driver=text)["CUDA driver"]
    assert entry == ("CUDA driver", "problem", "the NVIDIA driver is too old: one for CUDA 11.8",
                     "Try a driver for CUDA 12.0 or newer.")  # fmt: skip


def test_cupy_that_sees_no_gpu(monkeypatch):
    class CuPy:
        __version__ = "14.0"

    monkeypatch.setattr(doctor._arrays, "find_cupy", lambda: (CuPy, ""))
    entry = doctor._cupy(FACTS)
    assert entry.state == "problem" and "pydiff sees 1" in entry.advice
    assert doctor._cupy({**FACTS, "driver": "[cuda] no NVIDIA driver was found"}).state == "ok"


# ---- no core


def test_without_the_core_it_says_how_to_install(tmp_path):
    shutil.copytree(ROOT / "pydiff", tmp_path / "pydiff", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    # Before whatever an editable installation puts ahead of the path.
    code = (
        "import runpy, sys\n"
        "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "runpy.run_module('pydiff.doctor', run_name='__main__')"
    )
    run = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1
    assert "pip install" in run.stderr, run.stderr
