"""Steps scaled by a running mean of squares."""

import functools

from ._fused import FusedOptimizer, named, rate

__all__ = ["RMSprop"]


class RMSprop(FusedOptimizer):
    """Gradient descent, divided by the root of a running mean of squared gradients.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        alpha: decay of the mean.
        eps: added to the root.
        weight_decay: factor of the parameter that is added to its gradient.
        momentum: factor of the running sum of steps.
        centered: divide by the deviation from the mean gradient (Graves, arXiv:1308.0850).
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    `v = α v + (1-α) g²`, `b = momentum b + g / (sqrt(v) + eps)`, `p -= lr b`; centred, v less the square of the mean
    gradient stands below the root. Hinton, lecture 6 of Neural Networks for Machine Learning (2012). Raises ValueError for
    options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.RMSprop([p], lr=0.25, alpha=0)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.75
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        alpha=0.99,
        eps=1e-8,
        weight_decay=0,
        momentum=0,
        centered=False,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("alpha", "eps", "weight_decay", "momentum", group=group)

    def _slots(self, group):
        slots = ["square_avg"]
        if group["momentum"]:
            slots.append("momentum_buffer")
        if group["centered"]:
            slots.append("grad_avg")
        return tuple(slots)

    def _update(self, group):
        traits = (group[k] for k in ("momentum", "centered", "weight_decay", "maximize"))
        return _formula(*map(bool, traits))

    def _scalars(self, group, step):
        return rate(group), group["alpha"], 1.0 - group["alpha"], group["eps"], group["weight_decay"], group["momentum"]


@functools.lru_cache(maxsize=None)
def _formula(momentum, centered, decay, maximize):
    def update(p, g, v, *rest):
        *others, lr, alpha, one_minus_alpha, eps, weight_decay, factor = rest
        if maximize:
            g = -g
        if decay:
            g = g + p * weight_decay
        v = v * alpha + (g * g) * one_minus_alpha
        below = v
        kept = [v]
        if centered:
            mean = others[-1]
            mean = mean + (g - mean) * one_minus_alpha
            below = v - mean * mean
        delta = g / (below.sqrt() + eps)
        if momentum:
            delta = others[0] * factor + delta
            kept.append(delta)
        if centered:
            kept.append(mean)
        return p - delta * lr, *kept

    return named("rmsprop", momentum=momentum, centered=centered, decay=decay, maximize=maximize), update
