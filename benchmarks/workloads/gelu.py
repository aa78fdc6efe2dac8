"""One fused elementwise function on an array far larger than any cache: memory traffic is the bound."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import torch
from ..result import Result

N = 10_000_000


def gelu():
    """tanh-GELU of 10 million float32, the result kept, against copying the array."""
    x = np.random.default_rng(0).standard_normal(N, dtype=np.float32)
    target = np.empty_like(x)
    ours = pydiff.tensor(x)
    keep = [None]

    def numpy_copyto():
        np.copyto(target, x)

    def numpy_copy():
        keep[0] = x.copy()

    def pydiff_gelu():
        keep[0] = pydiff_formula(ours)
        keep[0].numpy()

    def numpy_gelu():
        keep[0] = 0.5 * x * (1 + np.tanh(0.79788 * (x + 0.044715 * (x * x * x))))

    peers = {
        "pydiff": pydiff_gelu,
        "NumPy copyto (memory reused)": numpy_copyto,
        "NumPy copy (memory new)": numpy_copy,
        "NumPy op by op": numpy_gelu,
    }
    if torch:
        torch.set_num_threads(pydiff.get_num_threads())
        theirs = torch.tensor(x)

        def torch_gelu():
            keep[0] = 0.5 * theirs * (1 + torch.tanh(0.79788 * (theirs + 0.044715 * theirs**3)))

        def torch_copy():
            keep[0] = theirs.clone()

        peers["PyTorch op by op"] = torch_gelu
        peers["PyTorch copy"] = torch_copy
    times = {label: t.median for label, t in interleaved(peers, rounds=11).items()}
    ours_time = times["pydiff"]
    return Result(
        name="gelu",
        what="0.5·x·(1 + tanh(0.79788·(x + 0.044715·x³))) of 10 M float32, result kept",
        figure=ours_time / times["NumPy copyto (memory reused)"],
        unit="x",
        limit=1.5,
        meaning="pydiff / np.copyto into memory that is there already",
        times=times,
        notes=[
            f"against `x.copy()`, which gets new memory as pydiff's result does: "
            f"{ours_time / times['NumPy copy (memory new)']:.2f} x",
            f"against NumPy op by op: {ours_time / times['NumPy op by op']:.3f} x",
        ],
    )


def pydiff_formula(x):
    return 0.5 * x * (1 + pydiff.tanh(0.79788 * (x + 0.044715 * x**3)))
