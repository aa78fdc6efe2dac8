"""Adam for the rows that a batch used."""

import functools
import math

import pydiff

from ._fused import FusedOptimizer, named, rate

__all__ = ["SparseAdam"]


class SparseAdam(FusedOptimizer):
    """Adam that leaves the rows without a gradient as they are: the parameter and both averages.

    For embeddings. Gradients are dense here, so a row (an index of the first axis) counts as used where any element of its
    gradient is not 0. In PyTorch the sparse gradient lists the rows: one that is listed with zeros alone is updated there and
    not here. The averages decay only in steps that use their row; the step count of the bias correction is the parameter's.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate, above 0.
        betas: decay of the averages of the gradient and of its square, each in [0, 1).
        eps: added to the root in the denominator, above 0.
        maximize: climb instead of descend.

    In used rows: `m += (1-β1)(g - m)`, `v += (1-β2)(g² - v)`, `p -= lr sqrt(1-β2^t)/(1-β1^t) m / (sqrt(v) + eps)`. Kingma and
    Ba, arXiv:1412.6980, before their section 2.1 is rearranged. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.ones(3, 2))
    >>> optimizer = pd.optim.SparseAdam([p], lr=0.25)
    >>> p[1].sum().backward()
    >>> optimizer.step()
    >>> [round(x, 4) for x in p[:, 0].tolist()]
    [1.0, 0.75, 1.0]
    """

    _slot_names = ("exp_avg", "exp_avg_sq")

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("eps", group=group)
        for option, usual in (("lr", 1e-3), ("eps", 1e-8)):
            if float(group[option]) == 0:
                raise ValueError(f"[{self._name()}] {option} is above 0; got {group[option]}; try {option}={usual}")
        self._check_betas(group)

    def _operands(self, bucket, grads):
        return bucket.params, grads, *bucket.slots, [_used_rows(grad) for grad in grads]

    def _update(self, group):
        return _formula(bool(group["maximize"]))

    def _scalars(self, group, step):
        beta1, beta2 = group["betas"]
        step_size = rate(group) * (math.sqrt(1.0 - beta2**step) / (1.0 - beta1**step))
        return 1.0 - beta1, 1.0 - beta2, step_size, group["eps"]


def _used_rows(grad):
    """Where the rows of a gradient have an element that is not 0, in the gradient's shape."""
    used = grad != 0
    if grad.ndim > 1:
        used = used.any(tuple(range(1, grad.ndim)), keepdim=True)
    return used.expand(grad.shape)


@functools.lru_cache(maxsize=None)
def _formula(maximize):
    def update(p, g, m, v, used, one_minus_beta1, one_minus_beta2, step_size, eps):
        if maximize:
            g = -g
        new_m = m + (g - m) * one_minus_beta1
        new_v = v + (g * g - v) * one_minus_beta2
        new_p = p - new_m / (new_v.sqrt() + eps) * step_size
        return pydiff.where(used, new_p, p), pydiff.where(used, new_m, m), pydiff.where(used, new_v, v)

    return named("sparse_adam", maximize=maximize), update
