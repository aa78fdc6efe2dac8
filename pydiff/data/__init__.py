"""Reading data: datasets, samplers, `DataLoader` with workers, transforms, readers. PyTorch's names of `torch.utils.data`.

>>> import pydiff as pd
>>> data = pd.data.TensorDataset(pd.arange(4.0), pd.arange(4))
>>> [y.tolist() for x, y in pd.data.DataLoader(data, batch_size=2)]
[[0, 1], [2, 3]]
"""

import importlib

from . import collate, dataset, loader, readers, samplers
from .collate import *
from .dataset import *
from .loader import *
from .readers import *
from .samplers import *

__all__ = [
    "transforms", *collate.__all__, *dataset.__all__, *loader.__all__, *readers.__all__, *samplers.__all__,
]  # fmt: skip


def __getattr__(name):
    if name == "transforms":  # these need `nn`, which workers mostly do without
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'pydiff.data' has no attribute {name!r}")
