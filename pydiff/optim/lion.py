"""Steps by the sign of a running average."""

import functools

from ._fused import FusedOptimizer, named, rate

__all__ = ["Lion"]


class Lion(FusedOptimizer):
    """Evolved sign momentum: every element moves by the learning rate, up or down. PyTorch has none of this name.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate, a third to a tenth of what Adam would have.
        betas: share of the average in the step's direction, and decay of the average; each in [0, 1).
        weight_decay: decoupled, `p *= 1 - lr weight_decay`; three to ten times what AdamW would have.
        maximize: climb instead of descend.
        foreach, fused, capturable: accepted; a step is always one fused update.
        differentiable: refused.

    `p -= lr sign(β1 m + (1-β1) g)`, then `m = β2 m + (1-β2) g`; m is `state[p]["exp_avg"]`. Chen et al.,
    arXiv:2302.06675. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.Lion([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.75
    """

    _slot_names = ("exp_avg",)
    _counts = False

    def __init__(
        self,
        params,
        lr=1e-4,
        betas=(0.9, 0.99),
        weight_decay=0.0,
        *,
        maximize=False,
        foreach=None,
        capturable=False,
        differentiable=False,
        fused=None,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("weight_decay", group=group)
        self._check_betas(group)

    def _usual_betas(self):
        return (0.9, 0.99)

    def _update(self, group):
        return _formula(bool(group["weight_decay"]), bool(group["maximize"]))

    def _scalars(self, group, step):
        beta1, beta2 = group["betas"]
        lr = rate(group)
        return lr, beta1, 1.0 - beta1, beta2, 1.0 - beta2, 1.0 - lr * group["weight_decay"]


@functools.lru_cache(maxsize=None)
def _formula(decay, maximize):
    def update(p, g, m, lr, beta1, one_minus_beta1, beta2, one_minus_beta2, shrink):
        if maximize:
            g = -g
        if decay:
            p = p * shrink
        direction = (m * beta1 + g * one_minus_beta1).sign()
        return p - direction * lr, m * beta2 + g * one_minus_beta2

    return named("lion", decay=decay, maximize=maximize), update
