"""Transforms of images and sequences, under the names of `torchvision.transforms.v2` where it has them.

They are made of pydiff's operations: they run on any device, on single samples and on batches, fuse, and differentiate. An image
is `(*, channels, height, width)`, a sequence `(*, length, features)` or as its transform says.

>>> import pydiff as pd
>>> T = pd.data.transforms
>>> T.Compose([T.ToDtype(pd.float32, scale=True), T.Normalize([0.5], [0.5])])(pd.full((1, 2, 2), 255, dtype=pd.uint8)).mean().item()
1.0
"""

from . import compose, geometry, image, mixing, sequence
from .compose import *
from .geometry import *
from .image import *
from .mixing import *
from .sequence import *

__all__ = [*compose.__all__, *geometry.__all__, *image.__all__, *mixing.__all__, *sequence.__all__]
