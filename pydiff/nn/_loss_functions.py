"""Losses as functions, in forms that neither overflow nor cancel.

In all of them `reduction` is 'mean', 'sum' or 'none'.
"""

import warnings

import pydiff


def _reduce(name, loss, reduction):
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise _reduction_error(name, reduction)


def _times(name, loss, weight):
    """Each element's loss times its weight."""
    if tuple(weight.shape) != tuple(loss.shape):
        raise ValueError(
            f"[{name}] one weight for each element; got {tuple(weight.shape)} for {tuple(loss.shape)}; try weight.expand(…)"
        )
    return loss * weight


def _weighted(name, loss, weight, reduction):
    """Reduced with weights, the mean over their sum."""
    if weight is None:
        return _reduce(name, loss, reduction)
    total = _reduce(name, _times(name, loss, weight), "sum" if reduction == "mean" else reduction)
    return total / weight.sum() if reduction == "mean" else total


def _reduction_error(name, reduction):
    return ValueError(f"[{name}] unknown reduction; got {reduction!r}; try 'mean', 'sum' or 'none'")


def _warn_of_broadcast(name, input, target):
    """A target `(n, 1)` for an input `(n,)` broadcasts to `(n, n)`: allowed, seldom meant."""
    pydiff.broadcast_shapes(input.shape, target.shape)
    warnings.warn(
        f"[{name}] input and target differ in shape and are broadcast; got input "
        f"{tuple(input.shape)}, target {tuple(target.shape)}; try target.reshape(input.shape)",
        stacklevel=3,
    )


def mse_loss(input, target, *, reduction="mean", weight=None):
    """(input - target)², times `weight` (of the same shape) where one is given; a mean is then over the weights.

    >>> import pydiff as pd
    >>> pd.nn.functional.mse_loss(pd.tensor([1.0, 3.0]), pd.tensor([1.0, 1.0])).item()
    2.0
    """
    if input.shape != target.shape:
        _warn_of_broadcast("mse_loss", input, target)
    difference = input - target
    return _weighted("mse_loss", difference * difference, weight, reduction)


def l1_loss(input, target, *, reduction="mean", weight=None):
    """|input - target|, times `weight` (of the same shape) where one is given; a mean is then over the weights.

    >>> import pydiff as pd
    >>> pd.nn.functional.l1_loss(pd.tensor([1.0, 3.0]), pd.tensor([1.0, 1.0])).item()
    1.0
    """
    if input.shape != target.shape:
        _warn_of_broadcast("l1_loss", input, target)
    return _weighted("l1_loss", (input - target).abs(), weight, reduction)


def smooth_l1_loss(input, target, *, reduction="mean", beta=1.0):
    """d²/(2 beta) where |d| < beta, else |d| - beta/2, with d = input - target.

    Girshick, "Fast R-CNN", arXiv:1504.08083. Raises ValueError for a negative beta.

    >>> import pydiff as pd
    >>> pd.nn.functional.smooth_l1_loss(pd.tensor([3.0]), pd.tensor([0.0])).item()
    2.5
    """
    if beta < 0:
        raise ValueError(f"[smooth_l1_loss] beta is not negative; got {beta}; try 1.0")
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    if input.shape != target.shape:
        _warn_of_broadcast("smooth_l1_loss", input, target)
    distance = (input - target).abs()
    near = distance * distance * (0.5 / beta)
    loss = pydiff.where(distance < beta, near, distance - 0.5 * beta)
    return _reduce("smooth_l1_loss", loss, reduction)


def huber_loss(input, target, *, reduction="mean", delta=1.0, weight=None):
    """d²/2 where |d| <= delta, else delta (|d| - delta/2), with d = input - target; times `weight` (of the
    same shape) where one is given, a mean still being over the elements, as in PyTorch.

    Huber, Annals of Mathematical Statistics 35 (1964). Raises ValueError unless delta > 0.

    >>> import pydiff as pd
    >>> pd.nn.functional.huber_loss(pd.tensor([3.0]), pd.tensor([0.0]), delta=2.0).item()
    4.0
    """
    if not delta > 0:
        raise ValueError(f"[huber_loss] delta is positive; got {delta}; try 1.0")
    if input.shape != target.shape:
        _warn_of_broadcast("huber_loss", input, target)
    distance = (input - target).abs()
    near = distance * distance * 0.5
    loss = pydiff.where(distance <= delta, near, (distance - 0.5 * delta) * delta)
    loss = loss if weight is None else _times("huber_loss", loss, weight)
    return _reduce("huber_loss", loss, reduction)


def cross_entropy(input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-log softmax(input) at the target class: logsumexp(x) - x[target].

    Arguments:
        input: logits, `(classes,)`, `(batch, classes)` or `(batch, classes, *)`.
        target: integer classes, the input's shape without its class axis; or probabilities,
            the input's shape.
        weight: `(classes,)`, a factor for each class, or None.
        ignore_index: a target class whose places count for nothing.
        label_smoothing: the share of the target spread evenly over the classes, 0 to 1.

    The mean over integer classes is weighted: it divides by the sum of the weights of the
    targets that count. Raises ValueError for shapes that do not match, TypeError for a target
    of the wrong dtype. A class out of range is an error when the loss is computed.

    >>> import pydiff as pd
    >>> logits = pd.tensor([[1000.0, 0.0], [0.0, 1000.0]])
    >>> pd.nn.functional.cross_entropy(logits, pd.tensor([0, 0])).item()
    500.0
    """
    name = "cross_entropy"
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"[{name}] label_smoothing is 0 to 1; got {label_smoothing}; try 0.1")
    shape = input.shape
    axis = 0 if len(shape) == 1 else 1
    if target.shape == shape:
        return _soft_cross_entropy(input, target, weight, axis, reduction, label_smoothing)
    _check_classes(name, input, target, weight, axis)
    index, valid = _safe_index(target, ignore_index, axis)
    log_total = input.logsumexp(axis, keepdim=True)
    picked = input.gather(axis, index)
    if label_smoothing and weight is None:
        # Both terms are linear in x, so they share one logsumexp.
        picked = (1 - label_smoothing) * picked + label_smoothing * input.mean(axis, keepdim=True)
    loss = log_total - picked
    if weight is None:
        return _reduce_classes(name, loss, valid, None, axis, reduction)
    factor = _class_factor(weight, index)
    loss = loss * factor
    if label_smoothing:
        factors = _along(weight, len(shape), axis)
        spread = ((log_total - input) * factors).mean(axis, keepdim=True)
        loss = (1 - label_smoothing) * loss + label_smoothing * spread
    return _reduce_classes(name, loss, valid, factor, axis, reduction)


def nll_loss(input, target, weight=None, *, ignore_index=-100, reduction="mean"):
    """-input at the target class, for an input of log-probabilities.

    Arguments and errors as `cross_entropy`, the target being integer classes.

    >>> import pydiff as pd
    >>> pd.nn.functional.nll_loss(pd.tensor([[-0.5, -1.0]]), pd.tensor([1])).item()
    1.0
    """
    axis = 0 if input.ndim == 1 else 1
    _check_classes("nll_loss", input, target, weight, axis)
    index, valid = _safe_index(target, ignore_index, axis)
    loss = -input.gather(axis, index)
    factor = None
    if weight is not None:
        factor = _class_factor(weight, index)
        loss = loss * factor
    return _reduce_classes("nll_loss", loss, valid, factor, axis, reduction)


def _check_classes(name, input, target, weight, axis):
    shape = tuple(input.shape)
    if not shape or tuple(target.shape) != shape[:axis] + shape[axis + 1 :]:
        raise ValueError(
            f"[{name}] the target's shape is the input's without its class axis {axis}"
            f"{' or its own shape' if name == 'cross_entropy' else ''}; "
            f"got input {shape}, target {tuple(target.shape)}; "
            f"try a target of shape {shape[:axis] + shape[axis + 1 :]}"
        )
    if target.dtype.is_floating_point:
        raise TypeError(f"[{name}] target classes are integers; got {target.dtype}; try target.to(pydiff.int64)")
    _check_weight(name, weight, shape[axis])


def _check_weight(name, weight, classes):
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(
            f"[{name}] the weight has one factor for each class; got {tuple(weight.shape)} "
            f"for {classes} classes; try a weight of shape ({classes},)"
        )


def _safe_index(target, ignore_index, axis):
    """The target with a class axis of size 1, ignored places set to class 0; and which count."""
    index = target.unsqueeze(axis)
    valid = index != ignore_index
    return pydiff.where(valid, index, 0), valid


def _along(weight, ndim, axis):
    """`weight`, `(classes,)`, shaped to broadcast along the class axis."""
    return weight.reshape((1,) * axis + (-1,) + (1,) * (ndim - axis - 1))


def _class_factor(weight, index):
    return weight.gather(0, index.reshape(-1)).reshape(index.shape)


def _reduce_classes(name, loss, valid, factor, axis, reduction):
    """Reduce over the places that count; the mean is weighted with `factor`."""
    loss = pydiff.where(valid, loss, 0)
    if reduction == "mean":
        count = valid if factor is None else pydiff.where(valid, factor, 0)
        return loss.sum() / count.sum()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss.squeeze(axis)
    raise _reduction_error(name, reduction)


def _soft_cross_entropy(input, target, weight, axis, reduction, label_smoothing):
    """Cross entropy for target probabilities; the mean divides by the number of places."""
    name = "cross_entropy"
    if not target.dtype.is_floating_point:
        raise TypeError(
            f"[{name}] a target of the input's shape {tuple(input.shape)} holds probabilities; "
            f"got {target.dtype}; try classes of a shape without axis {axis}, "
            "or target.to(input.dtype)"
        )
    classes = input.shape[axis]
    _check_weight(name, weight, classes)
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / classes
    terms = (input.logsumexp(axis, keepdim=True) - input) * target
    if weight is not None:
        terms = terms * _along(weight, input.ndim, axis)
    return _reduce(name, terms.sum(axis), reduction)


def binary_cross_entropy_with_logits(input, target, weight=None, *, reduction="mean", pos_weight=None):
    """-t log sigmoid(x) - (1-t) log(1 - sigmoid(x)), from the logit x.

    Arguments:
        input: logits, `(*)`.
        target: probabilities, `(*)`.
        weight: a factor for each element, broadcast to `(*)`, or None.
        pos_weight: a factor for the first term, broadcast to `(*)`, or None.

    Computed as `max(x, 0) - x t + log1p(exp(-|x|))`, whose exp cannot overflow. Raises
    ValueError where input and target differ in shape.

    >>> import pydiff as pd
    >>> loss = pd.nn.functional.binary_cross_entropy_with_logits
    >>> loss(pd.tensor([1000.0]), pd.tensor([0.0])).item()
    1000.0
    """
    name = "binary_cross_entropy_with_logits"
    if input.shape != target.shape:
        raise _shape_error(name, input, target)
    tail = (-input.abs()).exp().log1p()
    if pos_weight is None:
        loss = pydiff.maximum(input, 0) - input * target + tail
    else:
        factor = 1 + (pos_weight - 1) * target
        loss = (1 - target) * input + factor * (tail + pydiff.maximum(-input, 0))
    if weight is not None:
        loss = loss * weight
    return _reduce(name, loss, reduction)


def binary_cross_entropy(input, target, weight=None, *, reduction="mean"):
    """-t log(x) - (1-t) log(1-x), each log held above -100 as in PyTorch.

    Arguments:
        input: probabilities, `(*)`; from logits, use `binary_cross_entropy_with_logits`.
        target: probabilities, `(*)`.
        weight: a factor for each element, broadcast to `(*)`, or None.

    A log that is held has derivative 0. Raises ValueError where input and target differ in
    shape. An input outside [0, 1] gives NaN, where PyTorch raises: looking for one would part the
    loss from the operations with which it is fused.

    >>> import pydiff as pd
    >>> pd.nn.functional.binary_cross_entropy(pd.tensor([0.0]), pd.tensor([1.0])).item()
    100.0
    """
    name = "binary_cross_entropy"
    if input.shape != target.shape:
        raise _shape_error(name, input, target)
    loss = (target - 1) * (-input).log1p().clamp(min=-100) - target * input.log().clamp(min=-100)
    if weight is not None:
        loss = loss * weight
    return _reduce(name, loss, reduction)


def _shape_error(name, input, target):
    return ValueError(
        f"[{name}] input and target differ in shape; got input {tuple(input.shape)}, "
        f"target {tuple(target.shape)}; try target.reshape(input.shape)"
    )
