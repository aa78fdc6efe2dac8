"""Inputs of ADBench (Srajer, Kukelova and Fitzgibbon, 2018): its files where a folder is given, the same sizes where not.

The folder is told by the environment variable ADBENCH, which `python -m benchmarks --adbench` sets.
"""

import os
from pathlib import Path

import numpy as np


def numbers(name, skip=0):
    """All numbers of a file of the folder, or None where there is no folder."""
    folder = os.environ.get("ADBENCH")
    return np.array((Path(folder) / name).read_text().split(), dtype=np.float64)[skip:] if folder else None


def cut(flat, *shapes):
    """Consecutive parts of a flat array, in these shapes."""
    parts, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(flat[at : at + size].reshape(shape))
        at += size
    return parts
