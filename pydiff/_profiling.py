"""The core's record of what runs, and what is given to it from Python: for `pydiff.profiler`, and for what Python computes."""

from time import perf_counter_ns

from . import _C

__all__ = ["add", "computed", "copy_bandwidth", "running", "start", "stop", "synchronize_all"]

add, running, start, stop = _C.profile_add, _C.profile_running, _C.profile_start, _C.profile_stop
copy_bandwidth, synchronize_all = _C.copy_bandwidth, _C.synchronize_all


def computed(name, begin, operands, results, device):
    """Record what NumPy or CuPy computed of these arrays since `begin`, by time.perf_counter_ns()."""
    end = perf_counter_ns()
    add("fallback", name, begin, end, device, sum(getattr(a, "nbytes", 0) for a in (*operands, *results)))
