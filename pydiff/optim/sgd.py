"""Stochastic gradient descent."""

import functools

from ._fused import FusedOptimizer, named, rate

__all__ = ["SGD"]


class SGD(FusedOptimizer):
    """Stochastic gradient descent, with momentum where asked for.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: learning rate.
        momentum: factor of the running sum of gradients.
        dampening: how much of a gradient is left out of that sum (not of the first).
        weight_decay: factor of the parameter that is added to its gradient.
        nesterov: whether to look ahead along the momentum.
        maximize: climb instead of descend.
        foreach, fused: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    With gradient g of parameter p: `g += weight_decay p`, `b = momentum b + (1-dampening) g`,
    `p -= lr (g + momentum b if nesterov else b)`. Sutskever et al., ICML 2013. Raises
    ValueError for options that are negative or not finite, and for nesterov without momentum
    or with dampening.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.SGD([p], lr=0.5)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.0
    """

    _counts = False

    def __init__(
        self,
        params,
        lr=1e-3,
        momentum=0,
        dampening=0,
        weight_decay=0,
        nesterov=False,
        *,
        maximize=False,
        foreach=None,
        differentiable=False,
        fused=None,
    ):
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("momentum", "weight_decay", group=group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "[SGD] nesterov needs a momentum and no dampening; got momentum "
                f"{group['momentum']}, dampening {group['dampening']}; "
                "try momentum=0.9, dampening=0"
            )

    def _slots(self, group):
        return ("momentum_buffer",) if group["momentum"] else ()

    def _update(self, group):
        return _formula(
            bool(group["momentum"]),
            bool(group["nesterov"]),
            bool(group["weight_decay"]),
            bool(group["maximize"]),
        )

    def _scalars(self, group, step):
        momentum = group["momentum"]
        if not momentum:
            return rate(group), group["weight_decay"]
        # The first gradient enters the (zero) buffer whole, so that the formula is the same.
        share = 1.0 - group["dampening"] if step > 1 else 1.0
        return rate(group), group["weight_decay"], momentum, share

    def _steps_done(self, state):
        return int(state.get("momentum_buffer") is not None)


@functools.lru_cache(maxsize=None)
def _formula(momentum, nesterov, decay, maximize):
    """The name and the update of one combination of options, always the same objects."""

    def direction(p, g, weight_decay):
        if maximize:
            g = -g
        return g + p * weight_decay if decay else g

    def plain(p, g, lr, weight_decay):
        return (p - direction(p, g, weight_decay) * lr,)

    def with_momentum(p, g, buffer, lr, weight_decay, momentum, share):
        g = direction(p, g, weight_decay)
        buffer = buffer * momentum + g * share
        return p - (g + buffer * momentum if nesterov else buffer) * lr, buffer

    name = named("sgd", momentum=momentum, nesterov=nesterov, decay=decay, maximize=maximize)
    return name, with_momentum if momentum else plain
