"""Gradient descent that keeps an average of the parameters."""

import functools

import numpy as np
import pydiff

from ._fused import FusedOptimizer, named, rate

__all__ = ["ASGD"]


class ASGD(FusedOptimizer):
    """Averaged stochastic gradient descent: `state[p]["ax"]` is the average of the parameter.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate η at the start.
        lambd: decay, of the parameter and of the rate.
        alpha: power of the rate's decay.
        t0: the step from which parameters are averaged; before it `ax` is the parameter.
        weight_decay: factor of the parameter that is added to its gradient.
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    `p = (1 - lambd η) p - η g`, `ax += μ (p - ax)`; then `η = lr / (1 + lambd lr t)^alpha` and
    `μ = 1 / max(1, t - t0)`, numbers that are rounded to float32 as in PyTorch. Polyak and Juditsky, SIAM J. Control
    Optim. 30 (1992). Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.ASGD([p], lr=0.25, lambd=0.0)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item(), optimizer.state[p]["ax"].item()
    (0.5, 0.5)
    """

    _slot_names = ("ax",)
    _numbers = ("eta", "mu")

    def __init__(
        self,
        params,
        lr=1e-2,
        lambd=1e-4,
        alpha=0.75,
        t0=1e6,
        weight_decay=0,
        foreach=None,
        maximize=False,
        differentiable=False,
        capturable=False,
    ):
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("weight_decay", group=group)

    def _first_numbers(self, group):
        return float(np.float32(float(group["lr"]))), 1.0

    def _update(self, group):
        return _formula(bool(group["weight_decay"]), bool(group["maximize"]))

    def _scalars_and_numbers(self, group, step, numbers):
        eta, mu = numbers
        lr, lambd = float(rate(group)), group["lambd"]
        next_eta = lr / (1.0 + lambd * lr * step) ** group["alpha"]
        next_mu = 1.0 / max(1.0, step - group["t0"])
        rounded = float(np.float32(next_eta)), float(np.float32(next_mu))
        return (1.0 - lambd * eta, eta, mu, group["weight_decay"]), rounded


@functools.lru_cache(maxsize=None)
def _formula(decay, maximize):
    def update(p, g, ax, shrink, eta, mu, weight_decay):
        if maximize:
            g = -g
        if decay:
            g = g + p * weight_decay
        p = p * shrink - g * eta
        return p, pydiff.where(mu == 1, p, ax + (p - ax) * mu)

    return named("asgd", decay=decay, maximize=maximize), update
