"""Distances and similarities of vectors as modules."""

from . import functional as F
from .module import Module

__all__ = ["CosineSimilarity", "PairwiseDistance"]


class CosineSimilarity(Module):
    """The cosine of the angle between vectors along `dim`, whose lengths are held above `eps`.

    >>> import pydiff as pd
    >>> pd.nn.CosineSimilarity(dim=-1)(pd.tensor([3.0, 0.0]), pd.tensor([0.0, 2.0])).item()
    0.0
    """

    def __init__(self, dim=1, eps=1e-8):
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1, x2):
        return F.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """The p-norm of x1 - x2 + eps along the last axis: `(*, width)` twice gives `(*)`.

    Arguments:
        p: of the norm.
        eps: added to each difference, so that no gradient is infinite.
        keepdim: whether the last axis stays, of size 1.

    >>> import pydiff as pd
    >>> round(pd.nn.PairwiseDistance()(pd.zeros(1, 2), pd.tensor([[3.0, 4.0]])).item(), 4)
    5.0
    """

    def __init__(self, p=2.0, eps=1e-6, keepdim=False):
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1, x2):
        return F.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
