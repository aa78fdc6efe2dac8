"""Loading a safetensors file of 90 MB, beside reading it."""

import os
import tempfile

import numpy as np

import pydiff

from ..measure import interleaved
from ..result import Result, number

TENSORS, ELEMENTS = 90, 250_000


def load_file():
    """`pydiff.load` of 90 tensors of 1 MB, all bytes read, against reading the file into memory; and mapped."""
    rng = np.random.default_rng(0)
    state = {f"layer.{k}.weight": pydiff.tensor(rng.standard_normal(ELEMENTS, dtype=np.float32)) for k in range(TENSORS)}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.safetensors")
        pydiff.save(state, path)
        keep = [None]

        def read():
            with open(path, "rb") as file:
                keep[0] = file.read()

        def load():
            keep[0] = pydiff.load(path, mmap=False)

        def load_mapped():
            keep[0] = pydiff.load(path)

        def load_mapped_and_sum():
            keep[0] = pydiff.load(path)
            for tensor in keep[0].values():
                tensor.numpy().max()

        def load_verified():
            keep[0] = pydiff.load(path, verify=True)

        peers = {
            "reading the file": read,
            "pydiff.load, read": load,
            "pydiff.load, mapped": load_mapped,
            "pydiff.load, mapped, and each tensor's maximum": load_mapped_and_sum,
            "pydiff.load, mapped and verified": load_verified,
        }
        times = {label: t.median for label, t in interleaved(peers, rounds=11).items()}
        size = os.path.getsize(path)
    plain = times["reading the file"]
    return Result(
        name="load_file",
        what=f"`pydiff.load` of a safetensors file of {number(size / 1e6)} MB that is in the page cache, every byte read into memory",
        figure=times["pydiff.load, read"] / plain,
        unit="x",
        limit=1.2,
        meaning="pydiff.load(mmap=False) / open().read()",
        times=times,
        notes=[f"mapped, as by default: {number(times['pydiff.load, mapped'] / plain)} x"],
    )
