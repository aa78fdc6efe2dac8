"""Objects of csrc/ and of drivers that are linked with it, compiled once a run, whoever wants them."""

import functools
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CSRC = HERE.parents[1] / "csrc"
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pthread", "-fopenmp-simd"]


@functools.cache
def _folder():
    return tempfile.TemporaryDirectory(prefix="pydiff_objects_")  # goes when the process ends


@functools.cache
def _compiled(source):
    target = Path(_folder().name) / f"{source.parent.parent.name}_{source.parent.name}_{source.stem}.o"
    subprocess.run([compiler(), *FLAGS, "-I", str(CSRC), "-c", str(source), "-o", str(target)], check=True)
    return str(target)


def compiler():
    """The C++ compiler; skips the test where there is none."""
    name = os.environ.get("CXX", "g++")
    if not shutil.which(name):
        pytest.skip(f"no C++ compiler {name!r}")
    return name


def objects(sources):
    """The paths of the sources' objects."""
    compiler(), _folder()  # here: threads would make two
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(_compiled, sources))


def library(folder, name, sources):
    """The path of a shared library of the sources."""
    target = str(folder / f"{name}.so")
    subprocess.run([compiler(), "-shared", "-pthread", *objects(sources), "-o", target, "-ldl"], check=True)
    return target
