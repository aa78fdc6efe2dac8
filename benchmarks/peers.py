"""The libraries to compare with, None where they are not installed."""

import functools

import pydiff

try:
    import torch
except ImportError:
    torch = None
else:
    # As many threads as pydiff uses: each peer has the same part of the machine.
    torch.set_num_threads(pydiff.get_num_threads())


def torch_by_threads(label, function):
    """Peers for a workload of small operations, where threads may cost PyTorch more than they give.

    Returns label -> function with PyTorch set to pydiff's number of threads, and to one thread. Who
    compares takes the faster one (`fastest`).
    """
    peers = {}
    for threads in sorted({1, pydiff.get_num_threads()}):
        peer = functools.partial(function)
        peer.before = functools.partial(torch.set_num_threads, threads)
        peers[f"{label}, {threads} thread{'s' if threads > 1 else ''}"] = peer
    return peers


def fastest(times, label):
    """The shortest time of the peers of that label; NaN where there is none."""
    return min((t for name, t in times.items() if name.startswith(label)), default=float("nan"))


try:
    import jax
except ImportError:
    jax = None
