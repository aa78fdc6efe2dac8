"""Adam whose adaptive step waits until its variance is known."""

import functools
import math

import pydiff

from ._fused import FusedOptimizer, decay_factor, decays, named, rate

__all__ = ["RAdam"]


class RAdam(FusedOptimizer):
    """Rectified Adam: plain momentum at first, then Adam scaled by how certain its denominator is.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square, each in [0, 1).
        eps: added to the root in the denominator.
        weight_decay: factor of the parameter that is added to its gradient.
        decoupled_weight_decay: shrink the parameter instead, `p *= 1 - lr weight_decay`.
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    With `ρ∞ = 2/(1-β2) - 1` and `ρ = ρ∞ - 2t β2^t/(1-β2^t)`: `p -= lr/(1-β1^t) m r`, where r is
    `sqrt((ρ-4)(ρ-2)ρ∞ / ((ρ∞-4)(ρ∞-2)ρ)) sqrt(1-β2^t) / (sqrt(v) + eps)` for ρ above 5, else 1.
    Liu et al., arXiv:1908.03265. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.RAdam([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.5
    """

    _slot_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        decoupled_weight_decay=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("eps", "weight_decay", group=group)
        self._check_betas(group)

    def _update(self, group):
        return _formula(*decays(group), bool(group["maximize"]))

    def _scalars(self, group, step):
        beta1, beta2 = group["betas"]
        lr = rate(group)
        correction = 1.0 - beta2**step
        longest = 2.0 / (1.0 - beta2) - 1.0
        length = longest - 2.0 * step * beta2**step / correction
        rectified = 0.0  # not yet
        if length > 5.0:
            rectified = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            rectified = math.sqrt(rectified) * math.sqrt(correction)
        return (
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            lr / (1.0 - beta1**step),
            rectified,
            group["eps"],
            decay_factor(group, lr),
        )


@functools.lru_cache(maxsize=None)
def _formula(decay_gradient, decay_param, maximize):
    def update(p, g, m, v, one_minus_beta1, beta2, one_minus_beta2, step_size, rectified, eps, decay):
        if maximize:
            g = -g
        if decay_param:
            p = p * decay
        elif decay_gradient:
            g = g + p * decay
        m = m + (g - m) * one_minus_beta1
        v = v * beta2 + (g * g) * one_minus_beta2
        scale = pydiff.where(rectified > 0, rectified / (v.sqrt() + eps), 1.0)
        return p - m * step_size * scale, m, v

    return named("radam", decay_gradient=decay_gradient, decay_param=decay_param, maximize=maximize), update
