"""Adam with Nesterov's momentum."""

import functools

import numpy as np

from ._fused import FusedOptimizer, decay_factor, decays, named, rate

__all__ = ["NAdam"]


class NAdam(FusedOptimizer):
    """Adam that looks ahead along its momentum, as Nesterov's method does.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        betas: decay of the averages of the gradient and of its square, each in [0, 1).
        eps: added to the root in the denominator.
        weight_decay: factor of the parameter that is added to its gradient.
        momentum_decay: how fast the momentum's schedule μ rises.
        decoupled_weight_decay: shrink the parameter instead, `p *= 1 - lr weight_decay`.
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    At step t, with `μ_t = β1 (1 - 0.96^(t momentum_decay) / 2)` and M_t the product of μ_1 to μ_t:
    `p -= lr ((1-μ_t) / (1-M_t) g + μ_{t+1} / (1-M_{t+1}) m) / (sqrt(v / (1-β2^t)) + eps)`. Dozat, ICLR 2016 workshop,
    with PyTorch's schedule. M_t is `state["mu_product"]`, a number that is rounded to float32 as there. Raises
    ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.NAdam([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item() < 1
    True
    """

    _slot_names = ("exp_avg", "exp_avg_sq")
    _numbers = ("mu_product",)

    def __init__(
        self,
        params,
        lr=2e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        momentum_decay=4e-3,
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
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("eps", "weight_decay", "momentum_decay", group=group)
        self._check_betas(group)

    def _first_numbers(self, group):
        return (1.0,)

    def _update(self, group):
        return _formula(*decays(group), bool(group["maximize"]))

    def _scalars_and_numbers(self, group, step, numbers):
        beta1, beta2 = group["betas"]
        lr = rate(group)
        mu, next_mu = (beta1 * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"])) for t in (step, step + 1))
        product = float(np.float32(numbers[0]) * np.float32(mu))
        scalars = (
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            1.0 - beta2**step,
            group["eps"],
            lr * ((1.0 - mu) / (1.0 - product)),
            lr * (next_mu / (1.0 - product * next_mu)),
            decay_factor(group, lr),
        )
        return scalars, (product,)


@functools.lru_cache(maxsize=None)
def _formula(decay_gradient, decay_param, maximize):
    def update(p, g, m, v, one_minus_beta1, beta2, one_minus_beta2, correction, eps, of_grad, of_average, decay):
        if maximize:
            g = -g
        if decay_param:
            p = p * decay
        elif decay_gradient:
            g = g + p * decay
        m = m + (g - m) * one_minus_beta1
        v = v * beta2 + (g * g) * one_minus_beta2
        root = (v / correction).sqrt() + eps
        return p - g / root * of_grad - m / root * of_average, m, v

    return named("nadam", decay_gradient=decay_gradient, decay_param=decay_param, maximize=maximize), update
