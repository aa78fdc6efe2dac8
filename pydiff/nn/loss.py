"""Losses as modules; the formulas and their errors are in `nn.functional`.

`reduction` is 'mean', 'sum' or 'none' in all of them. PyTorch's `size_average` and `reduce`, which it deprecates, are not
here, and the arguments behind them are given by name.
"""

import math
import warnings

from . import functional as F
from .distance import PairwiseDistance
from .linear import Linear
from .module import Module

__all__ = [
    "BCELoss", "BCEWithLogitsLoss", "CTCLoss", "CosineEmbeddingLoss", "CrossEntropyLoss", "GaussianNLLLoss",
    "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss", "LinearCrossEntropyLoss", "MSELoss", "MarginRankingLoss",
    "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss", "NLLLoss", "NLLLoss2d", "PoissonNLLLoss",
    "SmoothL1Loss", "SoftMarginLoss", "TripletMarginLoss", "TripletMarginWithDistanceLoss",
]  # fmt: skip


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


class NLLLoss2d(NLLLoss):
    """`NLLLoss` under an old name, which warns.

    >>> import pydiff as pd, warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     loss = pd.nn.NLLLoss2d(reduction="sum")
    >>> loss(pd.zeros(1, 2, 1, 1), pd.tensor([[[0]]])).abs().item()
    0.0
    """

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean"):
        warnings.warn("[NLLLoss2d] an old name; got NLLLoss2d; try NLLLoss", FutureWarning, stacklevel=2)
        super().__init__(weight, ignore_index=ignore_index, reduction=reduction)


class LinearCrossEntropyLoss(_WeightedLoss):
    """`CrossEntropyLoss` of a linear layer's logits, the layer being part of the loss.

    Arguments:
        in_features: width of the input, `(batch, in_features)`.
        num_classes: how many classes.
        out_features: sizes of the axes behind the classes, for a target `(batch, *out_features)`.
        bias, device, dtype: of the layer, `linear`.
        weight, reduction, label_smoothing: as in `CrossEntropyLoss`.
        ignore_index: a class whose places count for nothing; None for -100.
        options: of no effect: PyTorch's say in which chunks to compute.

    Raises ValueError for a weight that has not one factor for each class.

    >>> import pydiff as pd
    >>> loss = pd.nn.LinearCrossEntropyLoss(4, 10)
    >>> loss(pd.zeros(2, 4), pd.tensor([1, 7])).exp().round().item()
    10.0
    """

    def __init__(
        self, in_features, num_classes, *, out_features=(), bias=False, device=None, dtype=None, reduction="mean", weight=None,
        ignore_index=None, label_smoothing=0.0, options=None,
    ):  # fmt: skip
        name = type(self).__name__
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise ValueError(
                f"[{name}] the weight has one factor for each class; got {tuple(weight.shape)} for {num_classes} classes; "
                f"try a weight of shape ({num_classes},)"
            )
        if not 0.0 <= label_smoothing <= 1.0:
            raise ValueError(f"[{name}] label_smoothing is 0 to 1; got {label_smoothing}; try 0.1")
        super().__init__(weight, reduction)
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.linear = Linear(in_features, math.prod(out_features, start=num_classes), bias, device, dtype)
        self.options = options

    def forward(self, input, target):
        linear, shape = self.linear, (self.num_classes, *self.out_features)
        return F.linear_cross_entropy(
            input, linear.weight.reshape(*shape, linear.in_features), target,
            linear_bias=None if linear.bias is None else linear.bias.reshape(shape), weight=self.weight,
            reduction=self.reduction, ignore_index=self.ignore_index, label_smoothing=self.label_smoothing,
        )  # fmt: skip

    def extra_repr(self):
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, out_features={self.out_features}, "
            f"bias={self.linear.bias is not None}, reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class PoissonNLLLoss(_Loss):
    """-log of the Poisson probability of a target whose rate, or its logarithm, is the input.

    Arguments:
        log_input: whether the input is the logarithm of the rate.
        full: whether Stirling's approximation of log(target!) is added.
        eps: added to a rate before its logarithm is taken.

    >>> import pydiff as pd
    >>> pd.nn.PoissonNLLLoss()(pd.tensor([0.0]), pd.tensor([3.0])).item()
    1.0
    """

    def __init__(self, log_input=True, full=False, *, eps=1e-8, reduction="mean"):
        super().__init__(reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input, target):
        return F.poisson_nll_loss(log_input, target, self.log_input, full=self.full, eps=self.eps, reduction=self.reduction)


class GaussianNLLLoss(_Loss):
    """(log var + (input - target)² / var) / 2, the variance held above `eps`; see `functional.gaussian_nll_loss`.

    Arguments:
        full: whether log(2 π) / 2 is added.
        eps: the least variance.

    >>> import pydiff as pd
    >>> pd.nn.GaussianNLLLoss()(pd.tensor([1.0]), pd.tensor([3.0]), pd.ones(1)).item()
    2.0
    """

    def __init__(self, *, full=False, eps=1e-6, reduction="mean"):
        super().__init__(reduction)
        self.full = full
        self.eps = eps

    def forward(self, input, target, var):
        return F.gaussian_nll_loss(input, target, var, full=self.full, eps=self.eps, reduction=self.reduction)


class KLDivLoss(_Loss):
    """target * (log target - input), for an input of log-probabilities.

    Arguments:
        reduction: also 'batchmean', the sum divided by the size of the first axis.
        log_target: whether the target too is a logarithm.

    >>> import pydiff as pd
    >>> pd.nn.KLDivLoss(reduction="batchmean")(pd.tensor([0.0]), pd.tensor([1.0])).item()
    0.0
    """

    def __init__(self, *, reduction="mean", log_target=False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input, target):
        return F.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class HingeEmbeddingLoss(_Loss):
    """x where the target is 1, max(0, margin - x) where it is -1.

    >>> import pydiff as pd
    >>> pd.nn.HingeEmbeddingLoss(reduction="none")(pd.tensor([4.0, 0.25]), pd.tensor([1.0, -1.0])).tolist()
    [4.0, 0.75]
    """

    def __init__(self, margin=1.0, *, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input, target):
        return F.hinge_embedding_loss(input, target, self.margin, reduction=self.reduction)


class CosineEmbeddingLoss(_Loss):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1; cos that of the two inputs.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0, 0.0]])
    >>> round(pd.nn.CosineEmbeddingLoss()(x, x, pd.tensor([-1.0])).item(), 5)
    1.0
    """

    def __init__(self, margin=0.0, *, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        return F.cosine_embedding_loss(input1, input2, target, self.margin, reduction=self.reduction)


class MarginRankingLoss(_Loss):
    """max(0, -y (x1 - x2) + margin), for a target y of 1 and -1.

    >>> import pydiff as pd
    >>> pd.nn.MarginRankingLoss()(pd.tensor([1.0]), pd.tensor([3.0]), pd.tensor([1.0])).item()
    2.0
    """

    def __init__(self, margin=0.0, *, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input1, input2, target):
        return F.margin_ranking_loss(input1, input2, target, self.margin, reduction=self.reduction)


class SoftMarginLoss(_Loss):
    """log(1 + exp(-y x)), for a target y of 1 and -1, without overflow.

    >>> import pydiff as pd
    >>> pd.nn.SoftMarginLoss()(pd.tensor([-1000.0]), pd.tensor([1.0])).item()
    1000.0
    """

    def __init__(self, *, reduction="mean"):
        super().__init__(reduction)

    def forward(self, input, target):
        return F.soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(_WeightedLoss):
    """sum over the other classes of max(0, margin - x[target] + x)^p, divided by the number of classes.

    Arguments:
        p: 1 or 2.
        margin: what a class may lack.
        weight: `(classes,)`, a factor for each target class, or None.

    Raises ValueError for another p or a weight of another number of axes.

    >>> import pydiff as pd
    >>> pd.nn.MultiMarginLoss()(pd.tensor([[1.0, 3.0]]), pd.tensor([0])).item()
    1.5
    """

    def __init__(self, p=1, margin=1.0, weight=None, *, reduction="mean"):
        super().__init__(weight, reduction)
        if p not in (1, 2):
            raise ValueError(f"[MultiMarginLoss] p is 1 or 2; got {p}; try 1")
        if weight is not None and weight.ndim != 1:
            raise ValueError(f"[MultiMarginLoss] the weight is (classes,); got {tuple(weight.shape)}; try weight.flatten()")
        self.p = p
        self.margin = margin

    def forward(self, input, target):
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, reduction=self.reduction)


class MultiLabelMarginLoss(_Loss):
    """sum over targets t and other classes of max(0, 1 - x[t] + x), divided by the number of classes.

    The target has, for each row, its classes up to the first -1; see `functional.multilabel_margin_loss`.

    >>> import pydiff as pd
    >>> pd.nn.MultiLabelMarginLoss()(pd.tensor([[1.0, 3.0]]), pd.tensor([[0, -1]])).item()
    1.5
    """

    def __init__(self, *, reduction="mean"):
        super().__init__(reduction)

    def forward(self, input, target):
        return F.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(_WeightedLoss):
    """The mean over the classes of binary cross entropy from logits.

    Arguments:
        weight: `(classes,)`, or None.

    >>> import pydiff as pd
    >>> pd.nn.MultiLabelSoftMarginLoss()(pd.tensor([[1000.0, -1000.0]]), pd.tensor([[0.0, 0.0]])).item()
    500.0
    """

    def __init__(self, weight=None, *, reduction="mean"):
        super().__init__(weight, reduction)

    def forward(self, input, target):
        return F.multilabel_soft_margin_loss(input, target, self.weight, reduction=self.reduction)


class TripletMarginLoss(_Loss):
    """max(0, d(a, p) - d(a, n) + margin), d the p-norm of the difference + eps.

    Arguments:
        margin: how much farther the negative is to be, positive.
        p, eps: of the distance.
        swap: whether the smaller of d(a, n) and d(p, n) counts.

    Raises ValueError for a margin that is not positive. Balntas et al., BMVC 2016.

    >>> import pydiff as pd
    >>> a, p, n = pd.tensor([[0.0]]), pd.tensor([[3.0]]), pd.tensor([[1.0]])
    >>> round(pd.nn.TripletMarginLoss()(a, p, n).item(), 4)
    3.0
    """

    def __init__(self, margin=1.0, p=2.0, eps=1e-6, swap=False, *, reduction="mean"):
        super().__init__(reduction)
        _check_margin(self, margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor, positive, negative):
        return F.triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


def _check_margin(loss, margin):
    if margin <= 0:
        raise ValueError(f"[{type(loss).__name__}] the margin is positive; got {margin}; try 1.0")


class TripletMarginWithDistanceLoss(_Loss):
    """`TripletMarginLoss` with any distance.

    Arguments:
        distance_function: of two tensors; by default `PairwiseDistance()`.

    The others as in `TripletMarginLoss`.

    >>> import pydiff as pd
    >>> loss = pd.nn.TripletMarginWithDistanceLoss(distance_function=lambda x, y: (x - y).abs().sum(-1))
    >>> loss(pd.tensor([[0.0]]), pd.tensor([[3.0]]), pd.tensor([[1.0]])).item()
    3.0
    """

    def __init__(self, *, distance_function=None, margin=1.0, swap=False, reduction="mean"):
        super().__init__(reduction)
        _check_margin(self, margin)
        self.distance_function = PairwiseDistance() if distance_function is None else distance_function
        self.margin = margin
        self.swap = swap

    def forward(self, anchor, positive, negative):
        return F.triplet_margin_with_distance_loss(
            anchor, positive, negative, distance_function=self.distance_function, margin=self.margin, swap=self.swap,
            reduction=self.reduction,
        )  # fmt: skip


class CTCLoss(_Loss):
    """-log of the probability of a label sequence, summed over its alignments with the frames.

    Arguments:
        blank: the class between labels.
        zero_infinity: whether a loss without any alignment is 0, and its gradient.

    It is called with log-probabilities `(frames, batch, classes)`, targets `(batch, labels)` or joined, and the
    lengths of both; see `functional.ctc_loss`. The mean divides each loss by its target's length. Graves et al.,
    ICML 2006.

    >>> import pydiff as pd
    >>> log_probs = pd.zeros(2, 1, 2).log_softmax(-1)
    >>> round(pd.nn.CTCLoss()(log_probs, pd.tensor([[1]]), (2,), (1,)).exp().item(), 4)
    1.3333
    """

    def __init__(self, blank=0, reduction="mean", zero_infinity=False):
        super().__init__(reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(self, log_probs, targets, input_lengths, target_lengths):
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity)
