"""Batch and instance normalisation as modules, with the statistics that they keep for evaluation."""

import warnings

import pydiff

from . import functional as F
from . import init
from ._sizes import check_axes, with_places
from .module import Module
from .parameter import Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]


class _Norm(Module):
    def __init__(self, num_features, eps, momentum, affine, track_running_stats, device, dtype, bias):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        for name, present in (("weight", affine), ("bias", affine and bias)):
            value = Parameter(pydiff.empty((num_features,), device=device, dtype=dtype)) if present else None
            self.register_parameter(name, value)
        for name, make in (("running_mean", pydiff.zeros), ("running_var", pydiff.ones)):
            self.register_buffer(name, make((num_features,), device=device, dtype=dtype) if track_running_stats else None)
        count = pydiff.tensor(0, dtype=pydiff.int64, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self):
        """Forget the statistics: mean 0, variance 1, no batch seen."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            with pydiff.no_grad():
                self.num_batches_tracked.fill_(0)

    def reset_parameters(self):
        """Set the weight to ones and the bias to zeros, and forget the statistics."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        if self.num_batches_tracked is not None and (local_metadata.get("version") or 1) < 2:
            state_dict.setdefault(prefix + "num_batches_tracked", self.num_batches_tracked)  # older states lack it
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class _BatchNorm(_Norm):
    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, *, bias=True
    ):
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def _check_input(self, input):
        axes = self._axes
        form = "(batch, channels) or (batch, channels, length)" if axes == 1 else with_places(axes, batch="")
        check_axes(type(self).__name__, input, (2, 3) if axes == 1 else (axes + 2,), form)

    def _channels(self, input):
        return input.shape[1]

    def forward(self, input):
        self._check_input(input)
        moves = self.training and self.track_running_stats
        mean, variance = self.running_mean, self.running_var
        if self.training and not self.track_running_stats:
            mean = variance = None
        from_input = self.training or mean is None
        if not moves:
            return F.batch_norm(input, mean, variance, self.weight, self.bias, from_input, self.momentum or 0.0, self.eps)
        share, seen = self.momentum, self.num_batches_tracked + 1
        if share is None:  # every batch weighs the same: a mean of all, whose share stays on the device
            share = seen.double().reciprocal()
        result = F.batch_norm(input, mean, variance, self.weight, self.bias, True, share, self.eps)
        with pydiff.no_grad():
            self.num_batches_tracked.copy_(seen)
        return result


class BatchNorm1d(_BatchNorm):
    """(x - mean) / sqrt(var + eps) for each channel of `(batch, channels)` or `(batch, channels, length)`.

    Arguments:
        num_features: channels.
        eps: added to the variance.
        momentum: the share by which the running statistics move towards those of a batch; None for
            the mean of all batches.
        affine: whether there is a `weight` (ones), by which the result is multiplied.
        track_running_stats: whether `running_mean`, `running_var` and `num_batches_tracked` are kept.
        device, dtype: of parameters and statistics.
        bias: whether there is a `bias` (zeros) too; only with `affine`.

    In training the statistics are the batch's, in evaluation the running ones, where they are kept. The running
    variance divides by count - 1. A call raises ValueError for another number of axes or of channels, and in
    training for one value a channel; the statistics are then as before. Ioffe and Szegedy, arXiv:1502.03167.

    >>> import pydiff as pd
    >>> layer = pd.nn.BatchNorm1d(1, momentum=0.5)
    >>> layer(pd.tensor([[1.0], [3.0]])).round().tolist()
    [[-1.0], [1.0]]
    >>> layer.running_mean.tolist(), layer.running_var.tolist(), layer.num_batches_tracked.item()
    ([1.0], [1.5], 1)
    """

    _axes = 1


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for `(batch, channels, height, width)`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.BatchNorm2d(3)(pd.randn(2, 3, 4, 4)).shape)
    (2, 3, 4, 4)
    """

    _axes = 2


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for `(batch, channels, depth, height, width)`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.BatchNorm3d(3)(pd.randn(2, 3, 2, 4, 4)).shape)
    (2, 3, 2, 4, 4)
    """

    _axes = 3


class _InstanceNorm(_Norm):
    def __init__(
        self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False, device=None, dtype=None, *,
        bias=True,
    ):  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def _check_input(self, input):
        axes = self._axes
        check_axes(type(self).__name__, input, (axes + 1, axes + 2), with_places(axes))

    def _channels(self, input):
        return input.shape[-self._axes - 1]

    def forward(self, input):
        self._check_input(input)
        name, channels = type(self).__name__, self._channels(input)
        if channels != self.num_features:
            text = (
                f"[{name}] the input has num_features channels; got {channels} for {self.num_features}; try {name}({channels})"
            )
            if self.affine or self.track_running_stats:
                raise ValueError(text)
            warnings.warn(text + ", though without weights the number is not used", stacklevel=3)
        batched = input.ndim == self._axes + 2
        result = F.instance_norm(
            input if batched else input.unsqueeze(0), self.running_mean, self.running_var, self.weight, self.bias,
            self.training or not self.track_running_stats, self.momentum or 0.0, self.eps,
        )  # fmt: skip
        return result if batched else result.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    """`BatchNorm1d` of each sample by itself: the statistics are over the places of `(batch, channels, length)`.

    Arguments are `BatchNorm1d`'s, but by default there are no weights and no running statistics, so that
    evaluation normalises as training does. The input may be without batch. `num_batches_tracked` stays 0, as in
    PyTorch. Ulyanov et al., arXiv:1607.08022.

    >>> import pydiff as pd
    >>> pd.nn.InstanceNorm1d(1)(pd.tensor([[[1.0, 3.0]]])).round().tolist()
    [[[-1.0, 1.0]]]
    """

    _axes = 1


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` for `(batch, channels, height, width)`, or without batch.

    >>> import pydiff as pd
    >>> tuple(pd.nn.InstanceNorm2d(3, affine=True)(pd.randn(3, 4, 4)).shape)
    (3, 4, 4)
    """

    _axes = 2


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` for `(batch, channels, depth, height, width)`, or without batch.

    >>> import pydiff as pd
    >>> tuple(pd.nn.InstanceNorm3d(3)(pd.randn(2, 3, 2, 4, 4)).shape)
    (2, 3, 2, 4, 4)
    """

    _axes = 3
