"""Recording: what one operation costs Python before any of it is computed."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import torch, torch_by_threads
from ..result import Result

OPS = 1000


def chain(x, a, b):
    """`OPS` operations, each on the result of the one before; the whole chain is dropped at the end."""
    for _ in range(OPS // 4):
        x = x + a
        x = x * b
        x = x - a
        x = x * b


def record():
    """Recording an operator on 64 floats from Python, and dropping it."""
    peers = {"pydiff records": _chain_of(pydiff), "NumPy computes": _chain_of(None)}
    if torch:
        peers |= torch_by_threads("PyTorch eager computes", _chain_of(torch))
    times = {label: t.median / OPS for label, t in interleaved(peers).items()}
    return Result(
        name="record",
        what="recording one operator on 64 floats, as part of a chain that is then dropped",
        figure=times["pydiff records"] * 1e6,
        unit="µs",
        limit=0.6,
        meaning="time an operator",
        times=times,
    )


def _chain_of(library):
    arrays = [np.linspace(0.5, 1.5, 64, dtype=np.float32), np.full(64, 0.25, np.float32), np.ones(64, np.float32)]
    operands = [library.tensor(x) for x in arrays] if library else arrays
    return lambda: chain(*operands)
