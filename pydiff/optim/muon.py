"""Momentum whose matrices are made orthogonal."""

import math

from ._fused import rate
from ._recorded import RecordedOptimizer

__all__ = ["Muon"]

_COEFFICIENTS = (3.4445, -4.775, 2.0315)


class Muon(RecordedOptimizer):
    """Steps along the orthogonal matrix that is nearest to the momentum, found by Newton–Schulz iterations in bfloat16.

    For the matrices of hidden layers; embeddings, biases and last layers want another optimiser.

    Arguments:
        params: iterable of matrices, or of dicts with options of their own.
        lr: learning rate.
        weight_decay: decoupled, `p *= 1 - lr weight_decay`.
        momentum: share of the past in the running average of gradients.
        nesterov: whether to look ahead along the momentum.
        ns_coefficients: (a, b, c) of the iteration `X = a X + (b A + c A²) X`, `A = X Xᵀ`.
        eps: smallest norm that a matrix is divided by.
        ns_steps: iterations, fewer than 100.
        adjust_lr_fn: "original" (also None): the rate times `sqrt(max(1, rows/columns))`; "match_rms_adamw": times
            `0.2 sqrt(max(rows, columns))`.

    Jordan, "Muon: an optimizer for hidden layers in neural networks" (2024); the second rate: Liu et al., arXiv:2502.16982.
    The iterations round to bfloat16, so that results agree with PyTorch's to some of its epsilons. Raises ValueError for
    options out of range and for a parameter that is no matrix.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.ones(2, 2))
    >>> optimizer = pd.optim.Muon([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> bool((p < 1).all())
    True
    """

    def __init__(
        self,
        params,
        lr=1e-3,
        weight_decay=0.1,
        momentum=0.95,
        nesterov=True,
        ns_coefficients=_COEFFICIENTS,
        eps=1e-7,
        ns_steps=5,
        adjust_lr_fn=None,
    ):
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("weight_decay", "momentum", "eps", group=group)
        name = self._name()
        for position, parameter in enumerate(group["params"]):
            if parameter.ndim != 2:
                raise ValueError(
                    f"[{name}] parameters are matrices; got parameter {position} of shape {tuple(parameter.shape)}; "
                    "try AdamW for the others"
                )
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f"[{name}] adjust_lr_fn is 'original' or 'match_rms_adamw'; got {group['adjust_lr_fn']!r}; try None"
            )
        if len(group["ns_coefficients"]) != 3:
            raise ValueError(
                f"[{name}] ns_coefficients are three numbers; got {group['ns_coefficients']}; "
                f"try ns_coefficients={_COEFFICIENTS}"
            )
        if not 0 <= group["ns_steps"] < 100:
            raise ValueError(f"[{name}] ns_steps is from 0 to 99; got {group['ns_steps']}; try ns_steps=5")

    def _numbers(self, group, parameter, state):
        lr = rate(group)
        rows, columns = parameter.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            ratio = 0.2 * math.sqrt(max(rows, columns))
        else:
            ratio = math.sqrt(max(1.0, rows / columns))
        return (1.0 - lr * group["weight_decay"], lr * ratio), {}

    def _record(self, group, p, g, state, shrink, step_size):
        share = 1.0 - group["momentum"]
        average = state.get("momentum_buffer")
        average = g * share if average is None else average + (g - average) * share
        direction = g + (average - g) * group["momentum"] if group["nesterov"] else average
        direction = _orthogonal(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
        return p * shrink - direction.to(p.dtype) * step_size, {"momentum_buffer": average}


def _orthogonal(matrix, coefficients, steps, eps):
    """A matrix with the singular vectors of `matrix` and singular values near 1, in bfloat16."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16()
    if tall:
        x = x.mT
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.mT
        factor = (gram.float() * b + (gram @ gram).float() * c).bfloat16()
        x = (x.float() * a + (factor @ x).float()).bfloat16()
    return x.mT if tall else x
