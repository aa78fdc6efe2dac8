"""Where time and memory go: every kernel with its operations, the user's lines, its time and its bytes.

    python -m pydiff.profiler script.py …       a table of a whole script; --help says more

>>> import pydiff as pd
>>> x = pd.ones(100, 100)
>>> with pd.profiler.profile() as p:
...     y = (x @ x).relu().sum()
>>> sorted({e.kind for e in p.events if e.ops})
['kernel', 'product']
"""

from ._events import Event, Held, Line
from ._profile import profile, record
from ._table import Row

__all__ = ["Event", "Held", "Line", "Row", "profile", "record"]
