"""Layers, activations and losses as functions of tensors.

Each is a tensor operation or a composition of them, from which the fuser makes one kernel; so
each differentiates any number of times without a rule of its own.
"""

import math

import pydiff
from pydiff import pdist

from .._public import publish
from .._rounding import rounded_once
from ._activations import (
    celu, celu_, elu, elu_, glu, gumbel_softmax, hardshrink, hardsigmoid, hardswish, hardtanh, hardtanh_, into,
    logsigmoid, mish, normalize, prelu, relu6, rrelu, rrelu_, selu, selu_, softmin, softshrink, softsign, tanhshrink,
    threshold, threshold_,
)  # fmt: skip
from ._attention import (
    bilinear, cosine_similarity, embedding, embedding_bag, pairwise_distance, scaled_dot_product_attention,
)  # fmt: skip
from ._convolution import (
    conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d, fold, unfold,
)  # fmt: skip
from ._dropouts import (
    alpha_dropout, check_probability as check_probability, dropout, dropout1d, dropout2d, dropout3d, feature_alpha_dropout,
)  # fmt: skip
from ._fractional import fractional_max_pool2d, fractional_max_pool3d
from ._loss_functions import (
    binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, huber_loss, l1_loss, mse_loss, nll_loss,
    smooth_l1_loss,
)  # fmt: skip
from ._margin_losses import (
    cosine_embedding_loss, ctc_loss, gaussian_nll_loss, hinge_embedding_loss, kl_div, margin_ranking_loss,
    multi_margin_loss, multilabel_margin_loss, multilabel_soft_margin_loss, poisson_nll_loss, soft_margin_loss,
    triplet_margin_loss, triplet_margin_with_distance_loss,
)  # fmt: skip
from ._multi_head import multi_head_attention_forward
from ._normalization import batch_norm, group_norm, instance_norm, layer_norm, local_response_norm, rms_norm
from ._pooling import (
    adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d, adaptive_max_pool1d, adaptive_max_pool2d,
    adaptive_max_pool3d, avg_pool1d, avg_pool2d, avg_pool3d, lp_pool1d, lp_pool2d, lp_pool3d, max_pool1d,
    max_pool1d_with_indices, max_pool2d, max_pool2d_with_indices, max_pool3d, max_pool3d_with_indices, max_unpool1d,
    max_unpool2d, max_unpool3d,
)  # fmt: skip
from ._resampling import (
    affine_grid, channel_shuffle, grid_sample, grid_sampler_2d as grid_sampler_2d, grid_sampler_3d as grid_sampler_3d,
    interpolate, pad, pixel_shuffle, pixel_unshuffle, upsample, upsample_bilinear, upsample_nearest,
)  # fmt: skip

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "affine_grid", "alpha_dropout", "avg_pool1d", "avg_pool2d", "avg_pool3d", "batch_norm",
    "bilinear", "binary_cross_entropy", "binary_cross_entropy_with_logits", "celu", "celu_", "channel_shuffle", "conv1d",
    "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cosine_embedding_loss",
    "cosine_similarity", "cross_entropy", "ctc_loss", "dropout", "dropout1d", "dropout2d", "dropout3d", "elu", "elu_",
    "embedding", "embedding_bag", "feature_alpha_dropout", "flatten", "fold", "fractional_max_pool2d",
    "fractional_max_pool3d", "gaussian_nll_loss", "gelu", "glu", "grid_sample", "group_norm", "gumbel_softmax",
    "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "hardtanh_", "hinge_embedding_loss", "huber_loss",
    "instance_norm", "interpolate", "kl_div", "l1_loss", "layer_norm", "leaky_relu", "leaky_relu_", "linear",
    "linear_cross_entropy", "local_response_norm", "log_softmax", "logsigmoid", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "margin_ranking_loss", "max_pool1d", "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices", "max_pool3d",
    "max_pool3d_with_indices", "max_unpool1d", "max_unpool2d", "max_unpool3d", "mish", "mse_loss",
    "multi_head_attention_forward", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "nll_loss", "normalize", "one_hot", "pad", "pairwise_distance", "pdist", "pixel_shuffle", "pixel_unshuffle",
    "poisson_nll_loss", "prelu", "relu", "relu6", "relu_", "rms_norm", "rrelu", "rrelu_", "scaled_dot_product_attention",
    "selu", "selu_", "sigmoid", "silu", "smooth_l1_loss", "soft_margin_loss", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "tanh", "tanhshrink", "threshold", "threshold_", "triplet_margin_loss",
    "triplet_margin_with_distance_loss", "unfold", "upsample", "upsample_bilinear", "upsample_nearest",
]  # fmt: skip

_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)


def linear(input, weight, bias=None):
    """`input @ weight.T + bias`.

    Arguments:
        input: `(*, in_features)`.
        weight: `(out_features, in_features)`.
        bias: `(out_features,)` or None.

    Returns `(*, out_features)`. Raises ValueError where the sizes do not match.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.linear(pd.ones(5, 3), pd.ones(2, 3), pd.zeros(2)).shape)
    (5, 2)
    """
    try:
        result = input @ weight.T
        return result if bias is None else result + bias
    except Exception as error:
        # Diagnosed after the fact, so that a call that is right pays for no check.
        text = _linear_error(input, weight, bias)
        if text is None:
            raise
        raise ValueError(text) from error


def _linear_error(input, weight, bias):
    """What is wrong with the shapes, or None where it is not the shapes."""
    given, shape = tuple(input.shape), tuple(weight.shape)
    got = f"input {given}, weight {shape}"
    if len(shape) != 2:
        return f"[linear] the weight is (out_features, in_features); got {got}; try a weight with two axes"
    if not given or given[-1] != shape[1]:
        return (
            f"[linear] the input's last axis is not in_features; got {got}; "
            f"try in_features={given[-1] if given else 1}, or an input of shape (*, {shape[1]})"
        )
    if bias is not None and tuple(bias.shape) not in ((), (1,), shape[:1]):
        return f"[linear] the bias is (out_features,); got {got}, bias {tuple(bias.shape)}; try a bias of shape {shape[:1]}"
    return None


def relu(input, inplace=False):
    """max(x, 0), with derivative 0 at 0.

    >>> import pydiff as pd
    >>> pd.nn.functional.relu(pd.tensor([-1.0, 2.0])).sum().item()
    2.0
    """
    return into(input, input.relu(), inplace)


@rounded_once
def leaky_relu(input, negative_slope=0.01, inplace=False):
    """x where x > 0, else `negative_slope * x`.

    >>> import pydiff as pd
    >>> pd.nn.functional.leaky_relu(pd.tensor(-4.0), 0.5).item()
    -2.0
    """
    return into(input, pydiff.where(input > 0, input, input * negative_slope), inplace)


def silu(input, inplace=False):
    """x * sigmoid(x) (Elfwing et al., arXiv:1702.03118).

    >>> import pydiff as pd
    >>> pd.nn.functional.silu(pd.tensor(0.0)).item()
    0.0
    """
    return into(input, input.silu(), inplace)


@rounded_once
def gelu(input, approximate="none"):
    """x * Φ(x), Φ the standard normal distribution function.

    Arguments:
        approximate: 'none' for Φ through erf, 'tanh' for
            `0.5 x (1 + tanh(sqrt(2/π) (x + 0.044715 x³)))`.

    Hendrycks and Gimpel, arXiv:1606.08415. Raises ValueError for another `approximate`.

    >>> import pydiff as pd
    >>> pd.nn.functional.gelu(pd.tensor(0.0), approximate="tanh").item()
    0.0
    """
    if approximate == "none":
        return input.gelu()
    if approximate == "tanh":
        inner = _SQRT_2_OVER_PI * (input + 0.044715 * (input * input * input))
        return (0.5 * input) * (1 + inner.tanh())
    raise ValueError(f"[gelu] unknown approximation; got {approximate!r}; try 'none' or 'tanh'")


@rounded_once
def softplus(input, beta=1.0, threshold=20.0):
    """log(1 + exp(beta x)) / beta, and x itself where beta x > threshold.

    >>> import pydiff as pd
    >>> pd.nn.functional.softplus(pd.tensor(50.0)).item()
    50.0
    """
    if beta == 1:
        return pydiff.where(input > threshold, input, input.exp().log1p())
    scaled = input * beta
    return pydiff.where(scaled > threshold, input, scaled.exp().log1p() / beta)


def sigmoid(input):
    """1 / (1 + exp(-x)).

    >>> import pydiff as pd
    >>> pd.nn.functional.sigmoid(pd.tensor(0.0)).item()
    0.5
    """
    return input.sigmoid()


def tanh(input):
    """tanh(x).

    >>> import pydiff as pd
    >>> pd.nn.functional.tanh(pd.tensor(0.0)).item()
    0.0
    """
    return input.tanh()


def softmax(input, dim, dtype=None):
    """exp(x) / sum(exp(x)) along `dim`, in `dtype` where one is given.

    >>> import pydiff as pd
    >>> pd.nn.functional.softmax(pd.zeros(4), dim=0).sum().item()
    1.0
    """
    return input.softmax(dim, dtype)


def log_softmax(input, dim, dtype=None):
    """x - log(sum(exp(x))) along `dim`, in `dtype` where one is given.

    >>> import pydiff as pd
    >>> pd.nn.functional.log_softmax(pd.zeros(1), dim=0).item()
    0.0
    """
    return input.log_softmax(dim, dtype)


def linear_cross_entropy(
    input, linear_weight, target, *, linear_bias=None, weight=None, reduction="mean", ignore_index=None,
    label_smoothing=0.0, options=None,
):  # fmt: skip
    """`cross_entropy` of `linear(input, linear_weight)`.

    Arguments:
        input: `(batch, in_features)` or `(in_features,)`.
        linear_weight: `(classes, *, in_features)`.
        target: classes `(batch, *)`, or probabilities `(batch, classes, *)`.
        linear_bias: `(classes, *)`, or None.
        options: of no effect: PyTorch's say in which chunks to compute.

    The others as in `cross_entropy`. Raises ValueError where the sizes do not match.

    >>> import pydiff as pd
    >>> f = pd.nn.functional.linear_cross_entropy
    >>> f(pd.tensor([1000.0]), pd.tensor([[0.0], [1.0]]), pd.tensor(0)).item()
    1000.0
    """
    outer = tuple(linear_weight.shape[:-1])
    flat = linear_weight.reshape(math.prod(outer), linear_weight.shape[-1])
    bias = None if linear_bias is None else linear_bias.reshape(math.prod(outer))
    logits = linear(input, flat, bias).reshape(*input.shape[:-1], *outer)
    return cross_entropy(
        logits, target, weight, ignore_index=-100 if ignore_index is None else ignore_index, reduction=reduction,
        label_smoothing=label_smoothing,
    )  # fmt: skip


def flatten(input, start_dim=0, end_dim=-1):
    """Join the axes from `start_dim` to `end_dim` (inclusive) into one.

    Raises IndexError for an axis that the input lacks, ValueError where start is after end.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.flatten(pd.zeros(2, 3, 4), 1).shape)
    (2, 12)
    """
    shape = tuple(input.shape)
    axes = max(len(shape), 1)
    for dim in (start_dim, end_dim):
        if not hasattr(dim, "__index__"):
            raise TypeError(f"[flatten] an axis is an integer; got {dim!r}; try {axes - 1}")
        if not -axes <= dim < axes:
            raise IndexError(f"[flatten] no such axis; got {dim} for shape {shape}; try -{axes} to {axes - 1}")
    start, end = start_dim % axes, end_dim % axes
    if start > end:
        raise ValueError(
            f"[flatten] start_dim comes after end_dim; got {start_dim} and {end_dim} "
            f"for shape {shape}; try flatten(input, {end_dim}, {start_dim})"
        )
    joined = math.prod(shape[start : end + 1])
    return input.reshape(shape[:start] + (joined,) + shape[end + 1 :])


def one_hot(tensor, num_classes=-1):
    """Rows of the identity matrix, chosen by `tensor`.

    Arguments:
        tensor: integer classes, `(*)`.
        num_classes: length of a row; -1 for one more than the largest class, which computes it.

    Returns int64, `(*, num_classes)`. A class outside 0 … num_classes-1 gives a row of zeros.
    Raises TypeError for classes that are not integers.

    >>> import pydiff as pd
    >>> pd.nn.functional.one_hot(pd.tensor([2, 0]), 3).tolist()
    [[0, 0, 1], [1, 0, 0]]
    """
    if tensor.dtype.is_floating_point:
        raise TypeError(f"[one_hot] classes are integers; got {tensor.dtype}; try tensor.to(pydiff.int64)")
    if num_classes == -1:
        if not tensor.numel():
            raise ValueError(f"[one_hot] no classes to count; got shape {tuple(tensor.shape)}; try num_classes=10")
        num_classes = int(tensor.max().item()) + 1
    elif num_classes < 1:
        raise ValueError(f"[one_hot] num_classes is positive; got {num_classes}; try -1")
    classes = pydiff.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(pydiff.int64)


def relu_(input):
    """`relu` in place; returns the input."""
    return input.copy_(input.relu())


def leaky_relu_(input, negative_slope=0.01):
    """`leaky_relu` in place; returns the input."""
    return leaky_relu(input, negative_slope, inplace=True)


def conv_tbc(input, weight, bias, pad=0):
    """`conv1d` of `(length, batch, channels)` with a weight `(kernel, channels, out_channels)`; `pad` zeros on both sides.

    >>> import pydiff as pd
    >>> pd.nn.functional.conv_tbc(pd.ones(3, 1, 1), pd.ones(2, 1, 1), pd.zeros(1)).flatten().tolist()
    [2.0, 2.0]
    """
    return conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad).permute(2, 0, 1)


def _with_indices(function):
    def pool(input, *args, **kwargs):
        kwargs["return_indices"] = True
        return function(input, *args, **kwargs)

    pool.__name__ = pool.__qualname__ = function.__name__ + "_with_indices"
    pool.__doc__ = f"`{function.__name__}` with the positions: (values, indices)."
    pool.__wrapped__ = function
    return pool


adaptive_max_pool1d_with_indices = _with_indices(adaptive_max_pool1d)
adaptive_max_pool2d_with_indices = _with_indices(adaptive_max_pool2d)
adaptive_max_pool3d_with_indices = _with_indices(adaptive_max_pool3d)
fractional_max_pool2d_with_indices = _with_indices(fractional_max_pool2d)
fractional_max_pool3d_with_indices = _with_indices(fractional_max_pool3d)
__all__ += [
    "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d_with_indices", "conv_tbc",
    "fractional_max_pool2d_with_indices", "fractional_max_pool3d_with_indices",
]  # fmt: skip
publish(globals(), [*__all__, "grid_sampler_2d", "grid_sampler_3d"])
