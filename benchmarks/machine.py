"""The machine and the versions that a result belongs to."""

import importlib.metadata
import os
import platform

import pydiff

from .peers import torch, jax


def describe():
    """One paragraph: processor, cores, threads, system, versions."""
    packages = ["numpy", "llvmlite", "scipy-openblas32"]
    packages += [name for name, there in (("torch", torch), ("jax", jax)) if there]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{processor()}, {cores} logical CPUs, {pydiff.get_num_threads()} threads; {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, pydiff {pydiff.__version__}, {versions}"
    )


def processor():
    """The processor's name and, where the system tells, the widest vectors that it has."""
    name, flags = platform.processor() or platform.machine(), ()
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    name = value.strip()
                elif key.strip() == "flags":
                    flags = value.split()
                    break
    except OSError:
        pass
    widest = next((f for f in ("avx512f", "avx2") if f in flags), "")
    return f"{name} ({widest.upper().rstrip('F')})" if widest else name


def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed as a package)"
