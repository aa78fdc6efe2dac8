"""Steps in the parameter's own unit."""

import functools

from ._fused import FusedOptimizer, named, rate

__all__ = ["Adadelta"]


class Adadelta(FusedOptimizer):
    """Steps as large as past steps were, by the ratio of two running averages of squares.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: factor of the step.
        rho: decay of the averages, in [0, 1].
        eps: added below both roots.
        weight_decay: factor of the parameter that is added to its gradient.
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    `v = ρ v + (1-ρ) g²`, `d = sqrt(a + eps) / sqrt(v + eps) g`, `a = ρ a + (1-ρ) d²`, `p -= lr d`.
    Zeiler, arXiv:1212.5701. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.Adadelta([p])
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item() < 1
    True
    """

    _slot_names = ("square_avg", "acc_delta")

    def __init__(
        self,
        params,
        lr=1.0,
        rho=0.9,
        eps=1e-6,
        weight_decay=0,
        foreach=None,
        *,
        capturable=False,
        maximize=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("eps", "weight_decay", group=group)
        if not 0.0 <= group["rho"] <= 1.0:
            raise ValueError(f"[{self._name()}] rho is a number from 0 to 1; got {group['rho']}; try rho=0.9")

    def _update(self, group):
        return _formula(bool(group["weight_decay"]), bool(group["maximize"]))

    def _scalars(self, group, step):
        return rate(group), group["rho"], 1.0 - group["rho"], group["eps"], group["weight_decay"]


@functools.lru_cache(maxsize=None)
def _formula(decay, maximize):
    def update(p, g, v, a, lr, rho, one_minus_rho, eps, weight_decay):
        if maximize:
            g = -g
        if decay:
            g = g + p * weight_decay
        v = v * rho + (g * g) * one_minus_rho
        delta = (a + eps).sqrt() / (v + eps).sqrt() * g
        a = a * rho + (delta * delta) * one_minus_rho
        return p - delta * lr, v, a

    return named("adadelta", decay=decay, maximize=maximize), update
