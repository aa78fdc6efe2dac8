"""Losses of distributions, margins, distances and alignments, as functions.

In all of them `reduction` is 'mean', 'sum' or 'none'.
"""

import math

import pydiff

from ._attention import pairwise_distance
from ._loss_functions import _reduce, _reduction_error, _shape_error


def kl_div(input, target, *, reduction="mean", log_target=False):
    """target * (log target - input), for an input of log-probabilities.

    Arguments:
        reduction: also 'batchmean': the sum divided by the size of the first axis.
        log_target: whether the target too is a logarithm.

    Where the target is 0 the term is 0.

    >>> import pydiff as pd
    >>> pd.nn.functional.kl_div(pd.tensor([0.0]), pd.tensor([1.0]), reduction="sum").item()
    0.0
    """
    if log_target:
        loss = target.exp() * (target - input)
    else:
        loss = pydiff.xlogy(target, target) - target * input
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.ndim else loss.sum()
    return _reduce("kl_div", loss, reduction)


def poisson_nll_loss(input, target, log_input=True, *, full=False, eps=1e-8, reduction="mean"):
    """-log of the Poisson probability of `target`, of which `input` is the rate, or its logarithm.

    Arguments:
        log_input: whether `input` is the logarithm of the rate.
        full: whether Stirling's `t log t - t + log(2 π t) / 2` is added where t > 1.
        eps: added to a rate before its logarithm is taken.

    >>> import pydiff as pd
    >>> pd.nn.functional.poisson_nll_loss(pd.tensor([0.0]), pd.tensor([3.0])).item()
    1.0
    """
    if log_input:
        loss = input.exp() - target * input
    else:
        loss = input - target * (input + eps).log()
    if full:
        t = pydiff.where(target > 1, target, 1)
        stirling = t * t.log() - t + 0.5 * (2 * math.pi * t).log()
        loss = loss + pydiff.where(target > 1, stirling, 0)
    return _reduce("poisson_nll_loss", loss, reduction)


def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """(log var + (input - target)² / var) / 2, the variance held above `eps`.

    Arguments:
        var: of the input's shape, or 1 along one axis, or without the last one, or a number.
        full: whether log(2 π) / 2 is added.

    The hold on `var` passes its gradient on. Raises ValueError for shapes that do not match and for a
    negative number as variance.

    >>> import pydiff as pd
    >>> x, t = pd.tensor([1.0]), pd.tensor([3.0])
    >>> pd.nn.functional.gaussian_nll_loss(x, t, pd.ones(1)).item()
    2.0
    """
    name = "gaussian_nll_loss"
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError(f"[{name}] a variance is not negative; got {var}; try 1.0")
        var = pydiff.full_like(input, var)
    shape, given = tuple(input.shape), tuple(var.shape)
    if given != shape:
        if given == shape[:-1]:
            var = var.unsqueeze(-1)
        elif len(given) != len(shape) or [n for n, m in zip(given, shape) if n != m] != [1]:
            raise ValueError(
                f"[{name}] the variance has the input's shape, or 1 along one axis; got {given} for {shape}; try shape {shape}"
            )
    held = var + (var.detach().clamp(min=eps) - var.detach())
    loss = 0.5 * (held.log() + (input - target) ** 2 / held)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(name, loss, reduction)


def margin_ranking_loss(input1, input2, target, margin=0.0, *, reduction="mean"):
    """max(0, -y (x1 - x2) + margin), for a target y of 1 and -1.

    >>> import pydiff as pd
    >>> f = pd.nn.functional.margin_ranking_loss
    >>> f(pd.tensor([1.0]), pd.tensor([3.0]), pd.tensor([1.0])).item()
    2.0
    """
    return _reduce("margin_ranking_loss", _hinge(-target * (input1 - input2) + margin), reduction)


def _hinge(x):
    """max(0, x), whose derivative at 0 is 1, as PyTorch's clamp_min has it."""
    return pydiff.where(x < 0, 0, x)


def hinge_embedding_loss(input, target, margin=1.0, *, reduction="mean"):
    """x where the target is 1, max(0, margin - x) where it is -1.

    >>> import pydiff as pd
    >>> f = pd.nn.functional.hinge_embedding_loss
    >>> f(pd.tensor([4.0, 0.25]), pd.tensor([1.0, -1.0]), reduction="none").tolist()
    [4.0, 0.75]
    """
    target = pydiff.as_tensor(target)
    near = pydiff.where(target == 1, 0, _hinge(margin - input))
    far = pydiff.where(target == -1, 0, input)
    return _reduce("hinge_embedding_loss", near + far, reduction)


def cosine_embedding_loss(input1, input2, target, margin=0.0, *, reduction="mean"):
    """1 - cos where the target is 1, max(0, cos - margin) where it is -1; cos that of the two inputs.

    Arguments:
        input1, input2: `(batch, width)` with a target `(batch,)`; or `(width,)` with one number.

    Raises ValueError for other shapes.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1.0, 0.0]])
    >>> round(pd.nn.functional.cosine_embedding_loss(x, x, pd.tensor([-1.0])).item(), 5)
    1.0
    """
    name = "cosine_embedding_loss"
    if target.ndim > 1 or input1.ndim != target.ndim + 1 or input2.ndim != target.ndim + 1:
        raise ValueError(
            f"[{name}] inputs (batch, width) go with a target (batch,); got {tuple(input1.shape)}, "
            f"{tuple(input2.shape)} and {tuple(target.shape)}; try target.reshape({tuple(input1.shape[:-1])})"
        )
    # One epsilon beneath both roots, as in PyTorch.
    epsilon = 1e-12
    first = (input1 * input1).sum(-1) + epsilon
    second = (input2 * input2).sum(-1) + epsilon
    cosine = (input1 * input2).sum(-1) / (first * second).sqrt()
    loss = pydiff.where(target == 1, 1 - cosine, 0) + pydiff.where(target == -1, _hinge(cosine - margin), 0)
    return _reduce(name, loss, reduction)


def soft_margin_loss(input, target, *, reduction="mean"):
    """log(1 + exp(-y x)), for a target y of 1 and -1, without overflow.

    >>> import pydiff as pd
    >>> pd.nn.functional.soft_margin_loss(pd.tensor([-1000.0]), pd.tensor([1.0])).item()
    1000.0
    """
    if input.shape != target.shape:
        raise _shape_error("soft_margin_loss", input, target)
    x = -target * input
    loss = pydiff.where(x > 0, x + (-x).exp().log1p(), x.exp().log1p())
    return _reduce("soft_margin_loss", loss, reduction)


def multilabel_soft_margin_loss(input, target, weight=None, *, reduction="mean"):
    """The mean over the classes of binary cross entropy from logits.

    Arguments:
        input: logits, `(*, classes)`; target: 0 and 1, of its shape.
        weight: `(classes,)`, or None.

    >>> import pydiff as pd
    >>> f = pd.nn.functional.multilabel_soft_margin_loss
    >>> f(pd.tensor([[1000.0, -1000.0]]), pd.tensor([[0.0, 0.0]])).item()
    500.0
    """
    from ._activations import logsigmoid

    if input.shape != target.shape:
        raise _shape_error("multilabel_soft_margin_loss", input, target)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduce("multilabel_soft_margin_loss", loss.mean(-1), reduction)


def _rows_of(name, input, target, of_classes):
    """`(batch, classes)` of both, and whether there was a batch."""
    shape, given = tuple(input.shape), tuple(target.shape)
    wanted = shape if of_classes else shape[:-1]
    if input.ndim > 2 or (given != wanted and not (input.ndim < 2 and target.numel() == (input.numel() if of_classes else 1))):
        raise ValueError(
            f"[{name}] an input (batch, classes) goes with a target {wanted}; got {shape} and {given}; "
            f"try target.reshape({wanted})"
        )
    if input.ndim == 2:
        return input, target, True
    input = input.reshape(1, -1)
    return input, target.reshape(1, -1) if of_classes else target.reshape(1), False


def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, *, reduction="mean"):
    """sum over the other classes of max(0, margin - x[target] + x)^p, divided by the number of classes.

    Arguments:
        input: `(batch, classes)` or `(classes,)`; target: integer classes, `(batch,)` or one.
        p: 1 or 2.
        weight: `(classes,)`, a factor for each target class, or None.

    Raises ValueError for another p and for shapes that do not match.

    >>> import pydiff as pd
    >>> pd.nn.functional.multi_margin_loss(pd.tensor([[1.0, 3.0]]), pd.tensor([0])).item()
    1.5
    """
    name = "multi_margin_loss"
    if p not in (1, 2):
        raise ValueError(f"[{name}] p is 1 or 2; got {p}; try 1")
    x, target, batched = _rows_of(name, input, target, False)
    classes = x.shape[1]
    index = target.unsqueeze(1)
    z = margin - x.gather(1, index) + x
    terms = pydiff.where(z > 0, z if p == 1 else z * z, 0)
    if weight is not None:
        terms = terms * weight.gather(0, target).unsqueeze(1)
    others = pydiff.arange(classes, device=x.device) != index
    loss = pydiff.where(others, terms, 0).sum(1) / classes
    return _reduce(name, loss if batched else loss.squeeze(0), reduction)


def multilabel_margin_loss(input, target, *, reduction="mean"):
    """sum over targets t and other classes of max(0, 1 - x[t] + x), divided by the number of classes.

    Arguments:
        input: `(batch, classes)` or `(classes,)`.
        target: int64 of the same shape: the classes of a row up to the first -1.

    Raises ValueError for shapes that do not match.

    >>> import pydiff as pd
    >>> pd.nn.functional.multilabel_margin_loss(pd.tensor([[1.0, 3.0]]), pd.tensor([[0, -1]])).item()
    1.5
    """
    name = "multilabel_margin_loss"
    x, target, batched = _rows_of(name, input, target, True)
    classes = x.shape[1]
    listed = (target < 0).to(pydiff.int64).cumsum(1) == 0  # before the first -1
    index = pydiff.where(listed, target, 0)
    place = pydiff.arange(classes, device=x.device)
    is_target = (listed.unsqueeze(-1) & (index.unsqueeze(-1) == place)).any(1)
    z = 1 - x.gather(1, index).unsqueeze(-1) + x.unsqueeze(1)  # (batch, target, class)
    counts = listed.unsqueeze(-1) & ~is_target.unsqueeze(1) & (z > 0)
    loss = pydiff.where(counts, z, 0).sum((1, 2)) / classes
    return _reduce(name, loss if batched else loss.squeeze(0), reduction)


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2, eps=1e-6, swap=False, *, reduction="mean"):
    """max(0, d(a, p) - d(a, n) + margin), d the p-norm of the difference + eps.

    Arguments:
        anchor, positive, negative: `(*, width)`.
        swap: whether the smaller of d(a, n) and d(p, n) counts (Balntas et al., BMVC 2016).

    >>> import pydiff as pd
    >>> a, p, n = pd.tensor([[0.0]]), pd.tensor([[3.0]]), pd.tensor([[1.0]])
    >>> round(pd.nn.functional.triplet_margin_loss(a, p, n).item(), 4)
    3.0
    """

    def distance(x, y):
        return pairwise_distance(x, y, p, eps)

    return _triplet("triplet_margin_loss", anchor, positive, negative, distance, margin, swap, reduction)


def triplet_margin_with_distance_loss(
    anchor, positive, negative, *, distance_function=None, margin=1.0, swap=False, reduction="mean"
):
    """`triplet_margin_loss` with any distance; by default `pairwise_distance`.

    >>> import pydiff as pd
    >>> a, p, n = pd.tensor([[0.0]]), pd.tensor([[3.0]]), pd.tensor([[1.0]])
    >>> f = pd.nn.functional.triplet_margin_with_distance_loss
    >>> f(a, p, n, distance_function=lambda x, y: (x - y).abs().sum(-1)).item()
    3.0
    """
    distance = distance_function or pairwise_distance
    name = "triplet_margin_with_distance_loss"
    return _triplet(name, anchor, positive, negative, distance, margin, swap, reduction)


def _triplet(name, anchor, positive, negative, distance, margin, swap, reduction):
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = pydiff.minimum(far, distance(positive, negative))
    return _reduce(name, _hinge(margin + near - far), reduction)


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """-log of the probability of label sequences, summed over all their alignments with the frames.

    Arguments:
        log_probs: `(frames, batch, classes)`, or `(frames, classes)`: logarithms of probabilities.
        targets: integers, `(batch, longest)`, or all sequences joined, `(sum of lengths,)`.
        input_lengths, target_lengths: how many frames and labels of each sequence count: tensors or
            tuples; read at once.
        blank: the class that stands for no label.
        reduction: 'mean' divides each loss by its number of labels first.
        zero_infinity: whether a loss that is infinite, and its gradient, is 0.

    Graves et al., ICML 2006: the forward recursion, in logarithms. Raises ValueError for shapes that do
    not match.

    >>> import pydiff as pd
    >>> frames = pd.full((2, 1, 2), 0.5).log()
    >>> loss = pd.nn.functional.ctc_loss(frames, pd.tensor([[1]]), (2,), (1,))
    >>> round(loss.exp().item(), 4)  # 1 / (3 of 4 paths)
    1.3333
    """
    name = "ctc_loss"
    batched = log_probs.ndim == 3
    if log_probs.ndim not in (2, 3):
        raise ValueError(f"[{name}] log_probs is (frames, batch, classes); got {tuple(log_probs.shape)}; try unsqueeze(1)")
    x = log_probs if batched else log_probs.unsqueeze(1)
    frames, batch, classes = x.shape
    inputs, labels = _lengths(input_lengths), _lengths(target_lengths)
    if len(inputs) != batch or len(labels) != batch:
        raise ValueError(
            f"[{name}] a length for each of {batch} sequences; got {len(inputs)} and {len(labels)}; try tuples of {batch}"
        )
    if max(inputs, default=0) > frames or min(inputs + labels, default=0) < 0:
        raise ValueError(f"[{name}] lengths are 0 to {frames} frames; got {inputs} and {labels}; try {(frames,) * batch}")
    longest = max(labels, default=0)
    table = _label_table(name, targets, labels, longest, batch, batched)
    # The labels with blanks around: b l1 b l2 b, as (batch, states).
    states = 2 * longest + 1
    state = pydiff.arange(states, device=x.device)
    is_label = state % 2 == 1
    if longest:
        spread = table.index_select(1, (state // 2).clamp(max=longest - 1))
        extended = pydiff.where(is_label, spread, blank)
    else:
        extended = pydiff.full((batch, states), blank, dtype=pydiff.int64, device=x.device)
    # A state may be entered from two before it, if both are labels and differ.
    two_back = pydiff.pad(extended, (2, 0), value=blank).narrow(1, 0, states)
    skips = is_label & (extended != two_back) & (state > 1)
    ends = pydiff.tensor(labels, device=x.device).unsqueeze(1) * 2
    lasts = pydiff.tensor(inputs, device=x.device).unsqueeze(1)
    never = -math.inf
    reach = pydiff.where(state <= 1, 0.0, never).to(x.dtype)  # (states,): before the first frame
    alpha = None
    for t in range(frames):
        emitted = x[t].gather(1, extended)
        if alpha is None:
            moved = reach + emitted
            alpha = pydiff.where(lasts > 0, moved, pydiff.where(state == 0, 0.0, never).to(x.dtype))
            continue
        one = pydiff.pad(alpha, (1, 0), value=never).narrow(1, 0, states)
        two = pydiff.pad(alpha, (2, 0), value=never).narrow(1, 0, states)
        total = _log_sum([alpha, one, pydiff.where(skips, two, never)])
        alpha = pydiff.where(t < lasts, total + emitted, alpha)
    if alpha is None:
        alpha = pydiff.where(state == 0, 0.0, never).to(x.dtype).expand(batch, states)
    last = alpha.gather(1, ends)
    before = pydiff.where(ends > 0, alpha.gather(1, (ends - 1).clamp(min=0)), never)
    loss = -_log_sum([last, before]).squeeze(1)
    if zero_infinity:
        loss = pydiff.where(loss == math.inf, 0, loss)
    if reduction == "mean":
        return (loss / pydiff.tensor(labels, device=x.device).clamp(min=1)).mean()
    if reduction == "sum":
        return loss.sum()
    if reduction != "none":
        raise _reduction_error(name, reduction)
    return loss if batched else loss.squeeze(0)


def _lengths(lengths):
    values = lengths.tolist() if hasattr(lengths, "tolist") else lengths
    return [int(v) for v in values] if isinstance(values, (list, tuple)) else [int(values)]


def _label_table(name, targets, labels, longest, batch, batched):
    """The labels as `(batch, longest)`; what is behind the end of a row is any class."""
    if targets.dtype.is_floating_point:
        raise TypeError(f"[{name}] targets are integers; got {targets.dtype.name}; try targets.long()")
    if targets.ndim == 2 or (not batched and targets.ndim == 1):
        table = targets if targets.ndim == 2 else targets.unsqueeze(0)
        if table.shape[0] == batch and table.shape[1] >= longest:
            return table.narrow(1, 0, longest).to(pydiff.int64)
    elif targets.ndim == 1 and targets.shape[0] >= sum(labels):
        rows, start = [], 0
        for n in labels:
            rows.append([min(start + k, max(targets.shape[0] - 1, 0)) for k in range(longest)])
            start += n
        index = pydiff.tensor(rows, dtype=pydiff.int64, device=targets.device).reshape(batch, longest)
        return targets.to(pydiff.int64)[index] if longest else index
    raise ValueError(
        f"[{name}] targets are (batch, {longest}) or all of them joined; got {tuple(targets.shape)} for lengths {labels}; "
        f"try shape {(batch, longest)}"
    )


def _log_sum(parts):
    """log of the sum of exps; -inf, with gradient 0, where all are -inf."""
    top = parts[0]
    for part in parts[1:]:
        top = pydiff.maximum(top, part)
    top = top.detach()
    none = top == -math.inf
    shift = pydiff.where(none, 0, top)
    total = sum((part - shift).exp() for part in parts)
    return pydiff.where(none, -math.inf, pydiff.where(none, 1, total).log() + shift)
