"""Steps scaled by all gradients so far."""

import functools

import pydiff

from ._fused import FusedOptimizer, named, rate

__all__ = ["Adagrad"]


class Adagrad(FusedOptimizer):
    """Gradient descent with a rate for each element, which shrinks with the squares of its gradients.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        lr_decay: the rate is divided by `1 + (t - 1) lr_decay`.
        weight_decay: factor of the parameter that is added to its gradient.
        initial_accumulator_value: what the sum of squares begins with.
        eps: added to the root in the denominator.
        maximize: climb instead of descend.
        foreach, fused: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    `s += g²`, `p -= lr/(1 + (t-1) lr_decay) g / (sqrt(s) + eps)`. Duchi, Hazan and Singer, JMLR 12 (2011).
    The state is made with the optimiser, as in PyTorch. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.Adagrad([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.75
    """

    _slot_names = ("sum",)

    def __init__(
        self,
        params,
        lr=1e-2,
        lr_decay=0,
        weight_decay=0,
        initial_accumulator_value=0,
        eps=1e-10,
        foreach=None,
        *,
        maximize=False,
        differentiable=False,
        fused=None,
    ):
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group):
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        for parameter in group["params"]:
            self.state[parameter] = {"step": 0, "sum": self._initial("sum", parameter, group)}

    def share_memory(self):
        """Of no effect: tensors are values, which threads share as they are."""

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("lr_decay", "weight_decay", "initial_accumulator_value", "eps", group=group)

    def _initial(self, name, parameter, group):
        value = group["initial_accumulator_value"]
        return pydiff.full(parameter.shape, value, dtype=parameter.dtype, device=parameter.device)

    def _update(self, group):
        return _formula(bool(group["weight_decay"]), bool(group["maximize"]))

    def _scalars(self, group, step):
        return rate(group) / (1.0 + (step - 1) * group["lr_decay"]), group["eps"], group["weight_decay"]


@functools.lru_cache(maxsize=None)
def _formula(decay, maximize):
    def update(p, g, total, step_size, eps, weight_decay):
        if maximize:
            g = -g
        if decay:
            g = g + p * weight_decay
        total = total + g * g
        return p - g / (total.sqrt() + eps) * step_size, total

    return named("adagrad", decay=decay, maximize=maximize), update
