"""The core's record of what runs, and what is given to it from Python: for `pydiff.profiler`, and for what Python computes."""

from time import perf_counter_ns

from ._C import (
    copy_bandwidth, profile_add as add, profile_running as running, profile_start as start, profile_stop as stop,
    synchronize_all,
)  # fmt: skip

__all__ = ["add", "computed", "copy_bandwidth", "running", "start", "stop", "synchronize_all"]


def computed(name, begin, operands, results, device):
    """Record what NumPy or CuPy computed of these arrays since `begin`, by time.perf_counter_ns()."""
    end = perf_counter_ns()
    add("fallback", name, begin, end, device, sum(getattr(a, "nbytes", 0) for a in (*operands, *results)))
