"""Around a training loop that stays the user's own: checkpoints that resume to the bit, a live line of progress, logs.

>>> import pydiff as pd
>>> for step in pd.train.progress(range(3), style="off"):
...     pass
>>> stopping = pd.train.EarlyStopping(patience=2)
>>> [stopping(loss) for loss in (1.0, 0.5, 0.6, 0.7)]
[False, False, False, True]
"""

from . import log
from ._checkpoint import Checkpoint
from ._progress import Progress, progress
from ._stopping import EarlyStopping

__all__ = ["Checkpoint", "EarlyStopping", "Progress", "log", "progress"]
