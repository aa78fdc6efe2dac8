"""What is recorded in another form than it is written in: docs/REWRITES.md."""

from . import _C
from .autograd import _Setting

__all__ = ["stable_forms"]


class stable_forms(_Setting):
    """Sets whether stable forms are recorded, at once; as a context manager or a decorator, until its end.

    They are on to begin with (`PYDIFF_STABLE`). With them `log(1 + exp(x))` is recorded as `logaddexp(x, 0)`, whose value
    and derivatives are finite where `exp(x)` is not; without them it is computed as it is written. The switch is that of
    the whole process.

    Arguments:
        mode: a bool.

    >>> import pydiff as pd
    >>> x = pd.tensor(1000.0)
    >>> (1 + x.exp()).log().item()
    1000.0
    >>> with pd.stable_forms(False):
    ...     (1 + x.exp()).log().item()
    inf
    """

    __slots__ = ()
    _set = staticmethod(_C.set_stable_forms)
