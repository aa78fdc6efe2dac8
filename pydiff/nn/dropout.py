"""Dropout as a module."""

from . import functional as F
from .module import Module

__all__ = ["Dropout"]


class Dropout(Module):
    """In training, zeroes each element with probability `p` and scales the rest by 1/(1-p).

    Srivastava et al., "Dropout", JMLR 15 (2014), in the form that scales while training.

    >>> import pydiff as pd
    >>> layer = pd.nn.Dropout(0.5).eval()
    >>> layer(pd.ones(4)).sum().item()
    4.0
    """

    def __init__(self, p=0.5, inplace=False):
        super().__init__()
        F.check_probability("Dropout", p)
        self.p = p
        self.inplace = inplace

    def forward(self, input):
        return F.dropout(input, self.p, self.training, self.inplace)

    def extra_repr(self):
        return f"p={self.p}, inplace={self.inplace}"
