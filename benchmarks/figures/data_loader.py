"""Batches of decoded images from worker processes."""

import zlib

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import torch
from ..result import Result

BATCH, WORKERS = 64, 2


class Digits:
    """8 x 8 digits, compressed: a sample is decoded, scaled and given its channel axis. The same for both libraries."""

    def __init__(self):
        images, self.targets = _digits()
        self.packed = [zlib.compress(image.tobytes()) for image in images]

    def __len__(self):
        return len(self.packed)

    def __getitem__(self, k):
        pixels = np.frombuffer(zlib.decompress(self.packed[k]), np.uint8)
        return (pixels.astype(np.float32) / 16).reshape(1, 8, 8), self.targets[k]


def _digits():
    try:
        from sklearn.datasets import load_digits
    except ImportError:  # the same amount of work
        rng = np.random.default_rng(0)
        return rng.integers(0, 17, (1797, 8, 8), np.uint8), list(range(1797))
    digits = load_digits()
    return digits.images.astype(np.uint8), digits.target.tolist()


def data_loader():
    """An epoch over scikit-learn's digits, decoded by two persistent workers, shuffled, in batches of 64."""
    data = Digits()
    peers = {f"pydiff, {WORKERS} workers": _epoch(pydiff.data.DataLoader, data, WORKERS)}
    peers["pydiff, no worker"] = _epoch(pydiff.data.DataLoader, data, 0)
    if torch:
        peers[f"PyTorch, {WORKERS} workers"] = _epoch(torch.utils.data.DataLoader, data, WORKERS)
        peers["PyTorch, no worker"] = _epoch(torch.utils.data.DataLoader, data, 0)
    times = {label: t.median for label, t in interleaved(peers, rounds=11).items()}
    ours = times[f"pydiff, {WORKERS} workers"]
    notes = [f"{len(data) / ours:,.0f} images/s with {WORKERS} workers"]
    if torch:
        notes.append(f"without workers: PyTorch / pydiff {times['PyTorch, no worker'] / times['pydiff, no worker']:.2f} x")
    return Result(
        name="data_loader",
        what=f"an epoch of 1,797 digits, decoded by {WORKERS} persistent workers, shuffled, batches of {BATCH}",
        figure=times.get(f"PyTorch, {WORKERS} workers", float("nan")) / ours,
        unit="x",
        limit=1,
        at_least=True,
        meaning="PyTorch / pydiff",
        times=times,
        notes=notes,
    )


def _epoch(loader, data, workers):
    batches = loader(data, batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)

    def epoch():
        seen = 0
        for images, targets in batches:
            seen += len(images)
            assert targets.shape[0] == images.shape[0]
        assert seen == len(data)

    return epoch
