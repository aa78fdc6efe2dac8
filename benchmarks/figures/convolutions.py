"""Convolutions of a residual network's stages, forward and backward, in both memory formats."""

import math

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import torch
from ..result import Result

BATCH = 8
STAGES = ((64, 56), (128, 28), (256, 14), (512, 7))  # channels, height and width


def convolutions():
    """A 3x3 convolution and both its gradients at each stage of a ResNet-18, against PyTorch."""
    keep, times, ratios, notes = [None], {}, [], []
    for layout in ("contiguous_format", "channels_last"):
        of_layout = []
        for channels, size in STAGES:
            peers = {
                f"{name}, {channels} channels, {layout}": _step(library, channels, size, layout, keep)
                for name, library in (("pydiff", pydiff), ("PyTorch", torch))
                if library
            }
            found = [t.median for t in interleaved(peers, rounds=7).values()]
            times.update(zip(peers, found))
            if torch:
                of_layout.append(found[1] / found[0])
        ratios += of_layout
        if torch:
            notes.append(f"{layout}: PyTorch's time / pydiff's {', '.join(f'{r:.2f}' for r in of_layout)} x")
    return Result(
        name="convolutions",
        what=f"a 3x3 convolution, its result and both gradients, at ResNet-18's four stages, batch {BATCH}, float32",
        figure=math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else math.nan,
        unit="x",
        limit=1.0,
        at_least=True,
        meaning="PyTorch's time / pydiff's, geometric mean of stages and memory formats",
        times=times,
        notes=notes,
    )


def _step(library, channels, size, layout, keep):
    rng = np.random.default_rng(0)

    def tensor(*shape):
        x = library.tensor(rng.standard_normal(shape, dtype=np.float32))
        return x.contiguous(memory_format=getattr(library, layout))

    x, w = tensor(BATCH, channels, size, size).requires_grad_(True), tensor(channels, channels, 3, 3).requires_grad_(True)
    cotangent = tensor(BATCH, channels, size, size)
    order = (0, 1, 2, 3) if layout == "contiguous_format" else (0, 2, 3, 1)  # as the results lie, so reading copies nothing

    def step():
        y = library.nn.functional.conv2d(x, w, padding=1)
        keep[0] = [y.detach().permute(order).numpy()]
        keep[0] += [g.permute(order).numpy() for g in library.autograd.grad(y, [x, w], cotangent)]

    return step
