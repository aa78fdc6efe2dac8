"""CUDA devices: what is there, its memory, waiting for it.

Tensors go to a CUDA device by `device="cuda"` or `.to("cuda")`; nothing else of a program changes. The driver, NVRTC and
cuBLAS are opened when a CUDA device is first named. Where there is no GPU, `device="cuda-host"` runs the same back end,
with the same CUDA C++ kernels, on the CPU: slowly, for tests.

>>> from pydiff import cuda
>>> cuda.is_available() == (cuda.device_count() > 0)
True
"""

import glob
import os

from . import _C
from . import random as _random
from ._streams import (
    Event, ExternalStream, Stream, current_device, current_stream, default_stream, device, set_device, set_stream, stream,
)  # fmt: skip
from ._streams import index_of as _index
from .random import initial_seed, manual_seed, seed

__all__ = [
    "Event", "ExternalStream", "Stream", "allow_tf32", "current_device", "current_stream", "default_stream", "device",
    "device_count", "empty_cache", "get_device_capability", "get_device_name", "get_device_properties", "get_rng_state",
    "initial_seed", "is_available", "manual_seed", "manual_seed_all", "max_memory_allocated", "memory_allocated",
    "memory_reserved", "report", "reset_peak_memory_stats", "seed", "seed_all", "set_device", "set_rng_state", "set_stream",
    "share_memory_with_cupy", "stream", "synchronize", "use_host",
]  # fmt: skip


manual_seed_all, seed_all = manual_seed, seed  # one stream of random numbers serves all devices


def get_rng_state(device="cuda"):
    """The state of the default stream of random numbers, which is the same on every device."""
    return _random.get_rng_state()


def set_rng_state(new_state, device="cuda"):
    """Go on where `get_rng_state` was called, on every device."""
    _random.set_rng_state(new_state)


def device_count():
    """How many CUDA devices can be used; 0 where the driver or a library that pydiff needs is missing."""
    return _C.device_count("cuda")


def is_available():
    """Whether there is a CUDA device that can be used."""
    return device_count() > 0


def report():
    """What was found of CUDA, and what to do about what was not: a dict of plain words. Never fails.

    >>> from pydiff import cuda
    >>> len(cuda.report()) > 0
    True
    """
    return dict(_C.cuda_report())


def use_host():
    """Put a stand-in that runs on the CPU into the place of the CUDA driver, for the rest of the process.

    Everything but the driver, the compiler and cuBLAS is then exactly what runs on a GPU: device memory, launches and the
    text of every kernel, compiled by g++ behind a header that has the threads of a block take turns. `device("cuda-host")`
    calls this. A RuntimeError where a CUDA device has been used before, or the stand-in was not built.
    """
    found = glob.glob(os.path.join(os.path.dirname(__file__), "_cuda_host.*so"))
    if not found:
        raise RuntimeError("[cuda] the stand-in is not built; got no pydiff/_cuda_host*.so; try installing pydiff again")
    names = ("PYDIFF_CUDA_DRIVER", "PYDIFF_NVRTC", "PYDIFF_CUBLAS")
    if all(os.environ.get(name) == found[0] for name in names):
        return
    if not _C.cuda_look_again():
        raise RuntimeError("[cuda] another driver is in use; got device 'cuda-host' after 'cuda'; try one of them in a process")
    for name in names:
        os.environ[name] = found[0]


def get_device_properties(device=None):
    """A dict: name, major, minor, multi_processor_count, total_memory (bytes) and more."""
    return _C.cuda_properties(_index(device))


def get_device_name(device=None):
    """The device's name, as its driver gives it."""
    return get_device_properties(device)["name"]


def get_device_capability(device=None):
    """Compute capability: (major, minor)."""
    properties = get_device_properties(device)
    return properties["major"], properties["minor"]


def synchronize(device=None):
    """Compute what is pending and wait until the device has done all its work."""
    _C.synchronize(f"cuda:{_index(device)}")


def _memory(device):
    if not is_available():
        return {"live": 0, "peak": 0, "cached": 0}  # a program for either kind of machine may ask
    return _C.memory_stats(f"cuda:{_index(device)}")


def memory_allocated(device=None):
    """Bytes in use by tensors and by work under way; 0 without a GPU."""
    return _memory(device)["live"]


def max_memory_allocated(device=None):
    """The most bytes in use since the start or `reset_peak_memory_stats`; 0 without a GPU."""
    return _memory(device)["peak"]


def memory_reserved(device=None):
    """Bytes in use and bytes kept for later use; 0 without a GPU."""
    stats = _memory(device)
    return stats["live"] + stats["cached"]


def reset_peak_memory_stats(device=None):
    """Count the peak from now on; nothing without a GPU."""
    if is_available():
        _C.reset_peak(f"cuda:{_index(device)}")


def empty_cache(device=None):
    """Give memory that is kept for later use back to the system; nothing without a GPU."""
    if is_available():
        _C.empty_cache(f"cuda:{_index(device)}")


def share_memory_with_cupy(on=True):
    """Whether CuPy takes its memory from pydiff's pool, so that what one frees is there for the other.

    It does so from the first operation that pydiff gives CuPy, unless CuPy was given an allocator before. With `on` CuPy's
    allocator is set now, whatever it was; without, CuPy goes back to its own pool and stays there. Returns whether the pool
    is shared now. A RuntimeError where CuPy is not installed.
    """
    from .fallback import _arrays, _pool

    cupy, problem = _arrays.find_cupy()
    if cupy is None:
        raise RuntimeError(f"[cuda] CuPy is needed; got {problem}; try pip install 'pydiff-tensor[{_arrays.cupy_extra()}]'")
    return _pool.choose(cupy, on)


def allow_tf32(allow=None):
    """Whether products of float32 matrices may round their operands to TF32 (10 bits of mantissa). False at the start.

    Sets it where `allow` is given; returns what held before.
    """
    return _C.cuda_allow_tf32(allow)
