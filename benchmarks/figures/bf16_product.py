"""A product of bfloat16 matrices, by the processor's instruction for pairs of them where it has one."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import torch
from ..result import Result

N = 1024


def bf16_product():
    """A product of two square matrices of bfloat16, against the same numbers in float32."""
    x, y = np.random.default_rng(0).standard_normal((2, N, N), dtype=np.float32)
    keep, peers = [None], {}
    for name in ("float32", "bfloat16"):
        a, b = (pydiff.tensor(m).to(getattr(pydiff, name)) for m in (x, y))
        a.numpy(), b.numpy()

        def ours(a=a, b=b):
            keep[0] = a @ b
            keep[0].numpy()

        peers[f"pydiff, {name}"] = ours
        if torch:
            p, q = (torch.tensor(m).to(getattr(torch, name)) for m in (x, y))

            def theirs(p=p, q=q):
                keep[0] = p @ q

            peers[f"PyTorch, {name}"] = theirs
    times = {label: t.median for label, t in interleaved(peers, rounds=7).items()}
    notes = []
    if torch:
        notes.append(f"PyTorch's bfloat16 / pydiff's {times['PyTorch, bfloat16'] / times['pydiff, bfloat16']:.2f} x")
    return Result(
        name="bf16_product",
        what=f"a product of two {N} x {N} matrices of bfloat16, result bfloat16; on a processor with AVX512_BF16",
        figure=times["pydiff, float32"] / times["pydiff, bfloat16"],
        unit="x",
        limit=1.5,
        at_least=True,
        meaning="time of float32 / time of bfloat16",
        times=times,
        notes=notes,
    )
