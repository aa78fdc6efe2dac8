"""A batch norm in evaluation, put into the weights of the layer before it."""

import copy

import pydiff

from ..parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv, bn, transpose=False):
    """One convolution that does what `conv` and then `bn` do in evaluation.

    Arguments:
        conv: a convolution; `transpose` says of it that it is a transposed one.
        bn: a batch norm with running statistics.

    Returns a copy of `conv`. Raises ValueError for modules in training mode or a norm without statistics.

    >>> import pydiff as pd
    >>> weight, bias = pd.nn.utils.fuse_conv_bn_weights(
    ...     pd.ones(1, 1, 1), None, pd.tensor([1.0]), pd.tensor([4.0]), 0.0, None, None)
    >>> weight.tolist(), bias.tolist()
    ([[[0.5]]], [-0.5])
    """
    _check("fuse_conv_bn_eval", conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return fused


def fuse_conv_bn_weights(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose=False):
    """(weight, bias) of the convolution that `fuse_conv_bn_eval` makes: each output channel is scaled and shifted.

    >>> import pydiff as pd
    >>> one = pd.ones(1)
    >>> pd.nn.utils.fuse_conv_bn_weights(pd.ones(1, 1, 1), one, one, one, 0.0, one * 3, one)[0].item()
    3.0
    """
    axis = 1 if transpose else 0
    shape = [-1 if k == axis else 1 for k in range(conv_w.ndim)]
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_linear_bn_eval(linear, bn):
    """One linear layer that does what `linear` and then `bn`, a batch norm of its features, do in evaluation.

    Returns a copy of `linear`. Raises ValueError for modules in training mode, a norm without statistics or of another
    width.

    >>> import pydiff as pd
    >>> weight, bias = pd.nn.utils.fuse_linear_bn_weights(
    ...     pd.ones(1, 2), None, pd.tensor([1.0]), pd.tensor([4.0]), 0.0, pd.ones(1), pd.zeros(1))
    >>> weight.tolist(), bias.tolist()
    ([[0.5, 0.5]], [-0.5])
    """
    _check("fuse_linear_bn_eval", linear, bn)
    if bn.running_mean.shape != linear.weight.shape[:1]:
        raise ValueError(
            f"[fuse_linear_bn_eval] the norm has the layer's width; got {tuple(bn.running_mean.shape)} for "
            f"{tuple(linear.weight.shape)}; try a norm of {linear.weight.shape[0]} features"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused


def fuse_linear_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b):
    """(weight, bias) of the layer that `fuse_linear_bn_eval` makes.

    >>> import pydiff as pd
    >>> one = pd.ones(1)
    >>> pd.nn.utils.fuse_linear_bn_weights(pd.ones(1, 2), one, one, one, 0.0, one * 3, one)[1].item()
    1.0
    """
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, (-1, 1))


def _check(name, layer, bn):
    if layer.training or bn.training:
        raise ValueError(f"[{name}] only modules in evaluation are fused; got one in training mode; try eval() on both")
    if bn.running_mean is None or bn.running_var is None:
        raise ValueError(f"[{name}] the norm has running statistics; got none; try track_running_stats=True")


def _fused(weight, bias, mean, variance, eps, scale, shift, shape):
    """W' = W s, b' = (b - mean) s + shift with s = scale / sqrt(variance + eps)."""
    trained = bias.requires_grad if bias is not None else False
    with pydiff.no_grad():
        factor = pydiff.rsqrt(variance + eps)
        factor = factor if scale is None else factor * scale
        offset = (-mean if bias is None else bias - mean) * factor
        offset = offset if shift is None else offset + shift
        fused = (weight * factor.reshape(shape)).to(weight.dtype)
        offset = offset.to(weight.dtype if bias is None else bias.dtype)
    return Parameter(fused, weight.requires_grad), Parameter(offset, trained)
