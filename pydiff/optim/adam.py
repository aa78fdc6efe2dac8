"""Adam, and Adam with decoupled weight decay."""

import functools
import math

import pydiff

from ._fused import FusedOptimizer

_SLOTS = ("exp_avg", "exp_avg_sq")
_SLOTS_AMSGRAD = (*_SLOTS, "max_exp_avg_sq")


class Adam(FusedOptimizer):
    """Adam: steps scaled by running averages of the gradient and of its square.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        betas: decay of the two averages, each in [0, 1).
        eps: added to the root in the denominator.
        weight_decay: factor of the parameter that is added to its gradient.
        amsgrad: divide by the largest second average so far (Reddi et al., ICLR 2018).
        maximize: climb instead of descend.
        foreach, fused: accepted for PyTorch's sake; a step is always one fused update.

    At step t: `m += (1-β1)(g - m)`, `v = β2 v + (1-β2) g²`,
    `p -= lr/(1-β1^t) m / (sqrt(v)/sqrt(1-β2^t) + eps)`. Kingma and Ba, arXiv:1412.6980. Raises
    ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.Adam([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.75
    """

    # Whether the decay shrinks the parameter itself rather than adding to the gradient.
    _decoupled = False

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        maximize=False,
        foreach=None,
        fused=None,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        for option in ("lr", "eps", "weight_decay"):
            self._check_not_negative(option, group[option])
        betas = group["betas"]
        if len(betas) != 2 or not all(0.0 <= beta < 1.0 for beta in betas):
            raise ValueError(
                f"[{self._name()}] betas are two numbers from 0 up to but not 1; got {betas}; try betas=(0.9, 0.999)"
            )

    def _slots(self, group):
        return _SLOTS_AMSGRAD if group["amsgrad"] else _SLOTS

    def _update(self, group):
        decay = bool(group["weight_decay"])
        return _formula(
            decay and not self._decoupled,
            decay and self._decoupled,
            bool(group["amsgrad"]),
            bool(group["maximize"]),
        )

    def _scalars(self, group, step):
        beta1, beta2 = group["betas"]
        lr, decay = group["lr"], group["weight_decay"]
        return (
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            lr / (1.0 - beta1**step),
            math.sqrt(1.0 - beta2**step),
            group["eps"],
            1.0 - lr * decay if self._decoupled else decay,
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: `p *= 1 - lr weight_decay` before the step.

    Arguments as `Adam`, with a weight decay of 0.01. Loshchilov and Hutter, arXiv:1711.05101.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.AdamW([p], lr=0.25, weight_decay=1.0)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> round(p.item(), 4)
    0.5
    """

    _decoupled = True

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=1e-2,
        amsgrad=False,
        *,
        maximize=False,
        foreach=None,
        fused=None,
    ):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


@functools.lru_cache(maxsize=None)
def _formula(decay_gradient, decay_param, amsgrad, maximize):
    """The name and the update of one combination of options, always the same objects."""

    def averages(p, g, m, v, one_minus_beta1, beta2, one_minus_beta2, decay):
        if maximize:
            g = -g
        if decay_gradient:
            g = g + p * decay
        return m + (g - m) * one_minus_beta1, v * beta2 + (g * g) * one_minus_beta2

    def moved(p, m, largest, step_size, root_correction, eps, decay):
        if decay_param:
            p = p * decay
        return p - (m / (largest.sqrt() / root_correction + eps)) * step_size

    def plain(p, g, m, v, one_minus_beta1, beta2, one_minus_beta2, *rest):
        m, v = averages(p, g, m, v, one_minus_beta1, beta2, one_minus_beta2, rest[-1])
        return moved(p, m, v, *rest), m, v

    def with_amsgrad(p, g, m, v, largest, one_minus_beta1, beta2, one_minus_beta2, *rest):
        m, v = averages(p, g, m, v, one_minus_beta1, beta2, one_minus_beta2, rest[-1])
        largest = pydiff.maximum(largest, v)
        return moved(p, m, largest, *rest), m, v, largest

    traits = (
        ("decay_gradient", decay_gradient),
        ("decay_param", decay_param),
        ("amsgrad", amsgrad),
        ("maximize", maximize),
    )
    name = "_".join(["adam", *(trait for trait, present in traits if present)])
    return name, with_amsgrad if amsgrad else plain
