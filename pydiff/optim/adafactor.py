"""Adam with a second average of rows and columns."""

import pydiff

from ._fused import rate
from ._recorded import RecordedOptimizer

__all__ = ["Adafactor"]


class Adafactor(RecordedOptimizer):
    """Steps scaled by squared gradients that are remembered by row and column: little memory for large matrices.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: the largest relative step, and the rate of weight decay.
        beta2_decay: τ, 0 or less; the average's weight of step t is t^τ.
        eps: two numbers: the smallest root of a second moment (None: the dtype's epsilon), and the smallest scale of a
            parameter.
        d: largest root mean square of an update, 1 or more.
        weight_decay: decoupled, `p *= 1 - lr weight_decay`.
        foreach: accepted for PyTorch's sake; all parameters are computed together.
        maximize: climb instead of descend.

    With `ρ = min(lr, 1/sqrt(t))` and `α = max(eps[1], rms(p)) ρ`: `u = g / max(sqrt(V), eps[0])` and
    `p -= α u / max(1, rms(u)/d)`, V being the averages of rows times those of columns, over their mean; of parameters with
    fewer than two axes an average of squares. Shazeer and Stern, arXiv:1804.04235, with PyTorch's use of lr and eps. Raises
    ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.ones(4, 2))
    >>> optimizer = pd.optim.Adafactor([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> tuple(optimizer.state[p]["row_var"].shape), tuple(optimizer.state[p]["col_var"].shape)
    ((4, 1), (1, 2))
    >>> round(p[0, 0].item(), 4)
    0.75
    """

    def __init__(
        self,
        params,
        lr=1e-2,
        beta2_decay=-0.8,
        eps=(None, 1e-3),
        d=1.0,
        weight_decay=0.0,
        *,
        foreach=None,
        maximize=False,
    ):
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        self._check_not_negative("weight_decay", group=group)
        name = self._name()
        if not group["beta2_decay"] <= 0:
            raise ValueError(f"[{name}] beta2_decay is 0 or less; got {group['beta2_decay']}; try beta2_decay=-0.8")
        if not group["d"] >= 1:
            raise ValueError(f"[{name}] d is 1 or more; got {group['d']}; try d=1.0")
        eps = group["eps"]
        if len(eps) != 2 or not (eps[0] is None or eps[0] >= 0) or not eps[1] >= 0:
            raise ValueError(f"[{name}] eps are two numbers, 0 or more; got {eps}; try eps=(None, 0.001)")

    def _numbers(self, group, parameter, state):
        step = int(state.get("step", 0)) + 1
        lr, largest = rate(group), 1.0 / step**0.5
        relative = lr.clamp(max=largest) if isinstance(lr, pydiff.Tensor) else min(lr, largest)
        numbers = float(step) ** group["beta2_decay"], relative, 1.0 - lr * group["weight_decay"]
        return numbers, {"step": step}

    def _record(self, group, p, g, state, share, relative, shrink):
        eps1, eps2 = group["eps"]
        if eps1 is None:
            eps1 = pydiff.finfo(p.dtype).eps
        if group["maximize"]:
            g = -g
        alpha = _rms(p).clamp(min=eps2) * relative
        if group["weight_decay"]:
            p = p * shrink
        new = {}
        squares = g * g
        if g.ndim > 1:
            rows = _moved(state.get("row_var"), squares.mean(-1, keepdim=True), share)
            columns = _moved(state.get("col_var"), squares.mean(-2, keepdim=True), share)
            new |= {"row_var": rows, "col_var": columns}
            variance = rows * columns / rows.mean(-2, keepdim=True).clamp(min=eps1)
        else:
            variance = new["variance"] = _moved(state.get("variance"), squares, share)
        u = g / variance.clamp(min=eps1 * eps1).sqrt()
        step_size = alpha / (_rms(u) / group["d"]).clamp(min=1.0)
        return p - u * step_size.to(p.dtype), new


def _rms(x):
    return (x * x).mean().sqrt()


def _moved(average, value, share):
    return value * share if average is None else average + (value - average) * share
