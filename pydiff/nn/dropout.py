"""Dropout of elements and of whole channels as modules."""

from . import functional as F
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    """`p` is the probability of being dropped; `inplace` writes the result into the input."""

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        F.check_probability(type(self).__name__, p)
        self.p = p
        self.inplace = inplace

    def forward(self, input):
        return self._function(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training, zeroes each element with probability `p` and scales the rest by 1/(1-p).

    Srivastava et al., "Dropout", JMLR 15 (2014), in the form that scales while training. Raises ValueError unless
    0 <= p <= 1.

    >>> import pydiff as pd
    >>> layer = pd.nn.Dropout(0.5).eval()
    >>> layer(pd.ones(4)).sum().item()
    4.0
    """

    _function = staticmethod(F.dropout)


class Dropout1d(_Dropout):
    """`Dropout` of whole channels of `(batch, channels, length)`, or without batch.

    Tompson et al., arXiv:1411.4280.

    >>> import pydiff as pd
    >>> pd.nn.Dropout1d(1.0)(pd.ones(2, 3, 4)).sum().item()
    0.0
    """

    _function = staticmethod(F.dropout1d)


class Dropout2d(_Dropout):
    """`Dropout` of whole channels of `(batch, channels, height, width)`.

    >>> import pydiff as pd
    >>> pd.nn.Dropout2d(1.0)(pd.ones(2, 3, 4, 4)).sum().item()
    0.0
    """

    _function = staticmethod(F.dropout2d)


class Dropout3d(_Dropout):
    """`Dropout` of whole channels of `(batch, channels, depth, height, width)`, or without batch.

    >>> import pydiff as pd
    >>> pd.nn.Dropout3d(1.0)(pd.ones(2, 3, 4, 4, 4)).sum().item()
    0.0
    """

    _function = staticmethod(F.dropout3d)


class AlphaDropout(_Dropout):
    """Dropout for networks of `SELU`: mean 0 and variance 1 stay. `inplace` has no effect, as in PyTorch.

    Klambauer et al., arXiv:1706.02515.

    >>> import pydiff as pd
    >>> pd.nn.AlphaDropout().eval()(pd.ones(2)).tolist()
    [1.0, 1.0]
    """

    def forward(self, input):
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels of `(batch, channels, *)`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.FeatureAlphaDropout()(pd.ones(2, 3, 4)).shape)
    (2, 3, 4)
    """

    def forward(self, input):
        return F.feature_alpha_dropout(input, self.p, self.training)
