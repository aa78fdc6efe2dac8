"""Layers that normalise by statistics of their input."""

import pydiff

from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter

__all__ = ["GroupNorm", "LayerNorm", "LocalResponseNorm", "RMSNorm"]


class LayerNorm(Module):
    """Normalises the last axes of each sample to mean 0 and variance 1, then scales and shifts.

    Arguments:
        normalized_shape: sizes of the last axes, an int for one axis.
        eps: added to the variance.
        elementwise_affine: whether there is a `weight` (ones), of shape `normalized_shape`.
        bias: whether there is a `bias` (zeros) too; only with `elementwise_affine`.
        device, dtype: of the parameters.

    Ba, Kiros, Hinton, "Layer Normalization", arXiv:1607.06450.

    >>> import pydiff as pd
    >>> layer = pd.nn.LayerNorm(4)
    >>> tuple(layer(pd.randn(3, 4)).shape)
    (3, 4)
    """

    def __init__(
        self,
        normalized_shape,
        eps=1e-5,
        elementwise_affine=True,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if isinstance(normalized_shape, int):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, present in (("weight", True), ("bias", bias)):
            if elementwise_affine and present:
                value = pydiff.empty(self.normalized_shape, device=device, dtype=dtype)
                self.register_parameter(name, Parameter(value))
            else:
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self):
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input):
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """x / sqrt(mean(x²) + eps) over the last axes, then `* weight`.

    Arguments:
        normalized_shape: sizes of the last axes, an int for one axis.
        eps: added to the mean of squares; by default the dtype's epsilon.
        elementwise_affine: whether there is a `weight` (ones), of shape `normalized_shape`.
        device, dtype: of the weight.

    Zhang and Sennrich, arXiv:1910.07467.

    >>> import pydiff as pd
    >>> pd.nn.RMSNorm(3)(pd.full((2, 3), 4.0)).mean().round().item()
    1.0
    """

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None):
        super().__init__()
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        shape = self.normalized_shape
        weight = Parameter(pydiff.empty(shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.reset_parameters()

    def reset_parameters(self):
        """Set the weight to ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class GroupNorm(Module):
    """Normalises each of `num_groups` groups of channels of each sample to mean 0 and variance 1.

    Arguments:
        num_groups, num_channels: the channels are a multiple of the groups.
        eps: added to the variance.
        affine: whether there is a `weight` (ones), `(num_channels,)`.
        device, dtype: of the parameters.
        bias: whether there is a `bias` (zeros) too; only with `affine`.

    Raises ValueError where the groups do not divide the channels. Wu and He, arXiv:1803.08494.

    >>> import pydiff as pd
    >>> tuple(pd.nn.GroupNorm(2, 6)(pd.randn(4, 6, 5, 5)).shape)
    (4, 6, 5, 5)
    """

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True, device=None, dtype=None, *, bias=True):
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise ValueError(
                f"[GroupNorm] num_channels is a multiple of num_groups; got {num_channels} channels, {num_groups} groups; "
                "try num_groups=1"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, present in (("weight", affine), ("bias", affine and bias)):
            value = Parameter(pydiff.empty((num_channels,), device=device, dtype=dtype)) if present else None
            self.register_parameter(name, value)
        self.reset_parameters()

    reset_parameters = LayerNorm.reset_parameters

    def forward(self, input):
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, bias={self.bias is not None}"


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x² over `size` neighbouring channels)^beta, for `(batch, channels, *)`.

    Krizhevsky et al., NIPS 2012; see `functional.local_response_norm`.

    >>> import pydiff as pd
    >>> pd.nn.LocalResponseNorm(1, alpha=3.0, beta=0.5)(pd.ones(1, 2, 3)).mean().item()
    0.5
    """

    def __init__(self, size, alpha=1e-4, beta=0.75, k=1.0):
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input):
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self):
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
