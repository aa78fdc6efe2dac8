"""Adam, and Adam with decoupled weight decay."""

import functools
import math

import pydiff

from ._fused import FusedOptimizer, decay_factor, decays, named, rate

__all__ = ["Adam", "AdamW"]

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
        foreach, fused, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.
        decoupled_weight_decay: shrink the parameter instead, as `AdamW` does.

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

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        amsgrad=False,
        *,
        foreach=None,
        maximize=False,
        capturable=False,
        differentiable=False,
        fused=None,
        decoupled_weight_decay=False,
    ):
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("eps", "weight_decay", group=group)
        self._check_betas(group)

    def _slots(self, group):
        return _SLOTS_AMSGRAD if group["amsgrad"] else _SLOTS

    def _update(self, group):
        return _formula(*decays(group), bool(group["amsgrad"]), bool(group["maximize"]))

    def _scalars(self, group, step):
        beta1, beta2 = group["betas"]
        lr = rate(group)
        return (
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            lr / (1.0 - beta1**step),
            math.sqrt(1.0 - beta2**step),
            group["eps"],
            decay_factor(group, lr),
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
        capturable=False,
        differentiable=False,
        fused=None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def load_state_dict(self, state_dict):
        """As `Optimizer.load_state_dict`; what `Adam` saved is decayed as `AdamW` does it."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


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

    name = named("adam", decay_gradient=decay_gradient, decay_param=decay_param, amsgrad=amsgrad, maximize=maximize)
    return name, with_amsgrad if amsgrad else plain
