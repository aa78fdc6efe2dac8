"""PyTorch's path of `pydiff.data`.

>>> import pydiff as pd
>>> pd.utils.data.DataLoader is pd.data.DataLoader
True
"""

from ..data import *
from ..data import __all__  # noqa: F401
