"""Adam with the infinity norm."""

import functools

import pydiff

from ._fused import FusedOptimizer, named, rate

__all__ = ["Adamax"]


class Adamax(FusedOptimizer):
    """Adam whose second average is a decaying maximum of the gradient's size.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        betas: decay of the average and of the maximum, each in [0, 1).
        eps: added to the gradient's size.
        weight_decay: factor of the parameter that is added to its gradient.
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    At step t: `m += (1-β1)(g - m)`, `u = max(β2 u, |g| + eps)`, `p -= lr/(1-β1^t) m / u`.
    Kingma and Ba, arXiv:1412.6980, section 7.1. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.Adamax([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.75
    """

    _slot_names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("eps", "weight_decay", group=group)
        self._check_betas(group)

    def _update(self, group):
        return _formula(bool(group["weight_decay"]), bool(group["maximize"]))

    def _scalars(self, group, step):
        beta1, beta2 = group["betas"]
        return 1.0 - beta1, beta2, group["eps"], rate(group) / (1.0 - beta1**step), group["weight_decay"]


@functools.lru_cache(maxsize=None)
def _formula(decay, maximize):
    def update(p, g, m, u, one_minus_beta1, beta2, eps, step_size, weight_decay):
        if maximize:
            g = -g
        if decay:
            g = g + p * weight_decay
        m = m + (g - m) * one_minus_beta1
        u = pydiff.maximum(u * beta2, g.abs() + eps)
        return p - m / u * step_size, m, u

    return named("adamax", decay=decay, maximize=maximize), update
