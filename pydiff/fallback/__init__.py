"""Operations that NumPy computes, or on a GPU CuPy: what the fuser cannot make and no kernel is written for yet.

A row is one function `f(xp, *arrays, **options)`, written against `xp` (NumPy's interface, as far as CuPy has it
too), and its derivative rules in public operations. Rows are computed when recorded, and their bits are those of
NumPy or of CuPy. `_arrays.py` has which of the two serves a device. Inside `vmap` there is nothing to compute with yet:
there they are recorded, and computed when the batch is known (`_batching.py`).
"""

from .._public import publish
from ._rows import fallback, rows
from .linear_algebra import *
from .sorting import *
from . import factorizations, linear_algebra, sorting  # noqa: F401  rows of all three

__all__ = ["fallback", "rows", *linear_algebra.__all__, *sorting.__all__]

publish(globals(), [*linear_algebra.__all__, *sorting.__all__])
