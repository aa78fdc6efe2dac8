"""The function of `gelu` on 16-bit floats, which are rounded after each of its eight operations."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import torch
from ..problems.rows import gelu
from ..result import Result

N = 10_000_000
TYPES = ("float16", "bfloat16")


def half():
    """tanh-GELU of 10 million float16 and bfloat16, against PyTorch's one operation at a time."""
    x = np.random.default_rng(0).standard_normal(N, dtype=np.float32)
    keep, peers = [None], {}
    for name in ("float32", *TYPES):
        ours = pydiff.tensor(x).to(getattr(pydiff, name))
        ours.numpy()

        def pydiff_gelu(ours=ours):
            keep[0] = gelu(pydiff.tanh, ours)
            keep[0].numpy()

        peers[f"pydiff, {name}"] = pydiff_gelu
        if torch and name in TYPES:
            torch.set_num_threads(pydiff.get_num_threads())
            theirs = torch.tensor(x).to(getattr(torch, name))

            def torch_gelu(theirs=theirs):
                keep[0] = gelu(torch.tanh, theirs)

            peers[f"PyTorch op by op, {name}"] = torch_gelu
    times = {label: t.median for label, t in interleaved(peers, rounds=7).items()}
    ratios = {name: times[f"PyTorch op by op, {name}"] / times[f"pydiff, {name}"] for name in TYPES}
    return Result(
        name="half",
        what="the function of the problem `gelu` of 10 M float16 and bfloat16; the smaller of two ratios",
        figure=min(ratios.values()),
        unit="x",
        limit=4,
        at_least=True,
        meaning="PyTorch op by op / pydiff",
        times=times,
        notes=[
            "; ".join(f"{name}: {ratio:.1f} x" for name, ratio in ratios.items()),
            "time of float32 in time of 16 bits: "
            + "; ".join(f"{name}: {times['pydiff, float32'] / times[f'pydiff, {name}']:.2f} x" for name in TYPES),
        ],
    )
