"""Losses as modules; the formulas and their errors are in `nn.functional`."""

from . import functional as F
from .module import Module

__all__ = ["BCELoss", "BCEWithLogitsLoss", "CrossEntropyLoss", "HuberLoss", "L1Loss", "MSELoss", "NLLLoss", "SmoothL1Loss"]


class _Loss(Module):
    def __init__(self, reduction):
        super().__init__()
        self.reduction = reduction


class MSELoss(_Loss):
    """(input - target)², reduced.

    >>> import pydiff as pd
    >>> pd.nn.MSELoss(reduction="sum")(pd.zeros(3), pd.ones(3)).item()
    3.0
    """

    def __init__(self, *, reduction="mean"):
        super().__init__(reduction)

    def forward(self, input, target):
        return F.mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|, reduced.

    >>> import pydiff as pd
    >>> pd.nn.L1Loss()(pd.zeros(3), pd.ones(3)).item()
    1.0
    """

    def __init__(self, *, reduction="mean"):
        super().__init__(reduction)

    def forward(self, input, target):
        return F.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """Squared below `beta`, absolute above; see `functional.smooth_l1_loss`.

    >>> import pydiff as pd
    >>> pd.nn.SmoothL1Loss()(pd.zeros(3), pd.ones(3)).item()
    0.5
    """

    def __init__(self, *, reduction="mean", beta=1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input, target):
        return F.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """Squared up to `delta`, absolute above; see `functional.huber_loss`.

    >>> import pydiff as pd
    >>> pd.nn.HuberLoss()(pd.zeros(3), pd.ones(3)).item()
    0.5
    """

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input, target):
        return F.huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class _WeightedLoss(_Loss):
    def __init__(self, weight, reduction):
        super().__init__(reduction)
        self.register_buffer("weight", weight)


class CrossEntropyLoss(_WeightedLoss):
    """Cross entropy of logits with classes or probabilities; see `functional.cross_entropy`.

    >>> import pydiff as pd
    >>> loss = pd.nn.CrossEntropyLoss(reduction="sum")
    >>> loss(pd.tensor([[0.0, 1000.0]]), pd.tensor([1])).item()
    0.0
    """

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input, target):
        return F.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class NLLLoss(_WeightedLoss):
    """-input at the target class, for log-probabilities; see `functional.nll_loss`.

    >>> import pydiff as pd
    >>> pd.nn.NLLLoss()(pd.tensor([[-0.5, -1.0]]), pd.tensor([0])).item()
    0.5
    """

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean"):
        super().__init__(weight, reduction)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        return F.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class BCELoss(_WeightedLoss):
    """Binary cross entropy of probabilities; see `functional.binary_cross_entropy`.

    >>> import pydiff as pd
    >>> pd.nn.BCELoss()(pd.ones(3), pd.ones(3)).item()
    0.0
    """

    def __init__(self, weight=None, *, reduction="mean"):
        super().__init__(weight, reduction)

    def forward(self, input, target):
        return F.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_WeightedLoss):
    """Binary cross entropy of logits; see `functional.binary_cross_entropy_with_logits`.

    >>> import pydiff as pd
    >>> pd.nn.BCEWithLogitsLoss()(pd.tensor([1000.0]), pd.tensor([0.0])).item()
    1000.0
    """

    def __init__(self, weight=None, *, reduction="mean", pos_weight=None):
        super().__init__(weight, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input, target):
        return F.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
