"""Writing a checkpoint of 1 GB, beside a plain write of as many bytes."""

import os
import tempfile

import numpy as np

import pydiff

from ..measure import interleaved
from ..result import Result, number

TENSORS, ELEMENTS = 100, 2_500_000


def save_file():
    """`pydiff.save` of 1 GB, checksums and fsync included, against writing the same bytes with fsync."""
    rng = np.random.default_rng(0)
    state = {f"layer.{k}.weight": pydiff.tensor(rng.standard_normal(ELEMENTS, dtype=np.float32)) for k in range(TENSORS)}
    arrays = [tensor.numpy() for tensor in state.values()]
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = os.path.join(folder, "checkpoint.safetensors")

        def save():
            pydiff.save(state, path)

        def plain():
            with open(path + ".plain", "wb", buffering=0) as file:
                for array in arrays:
                    file.write(array)
                os.fsync(file.fileno())

        times = {
            label: t.median
            for label, t in interleaved({"pydiff.save": save, "write and fsync": plain}, rounds=3, warmup=1).items()
        }
        size = os.path.getsize(path)
    return Result(
        name="save_file",
        what=f"`pydiff.save` of {number(size / 1e9)} GB, with checksums, fsync and rename",
        figure=times["pydiff.save"] / times["write and fsync"],
        unit="x",
        limit=1.2,
        meaning="pydiff.save / plain write and fsync of the same bytes",
        times=times,
        notes=[f"{number(size / times['pydiff.save'] / 1e9)} GB/s"],
    )
