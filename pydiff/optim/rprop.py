"""Steps by the sign of the gradient."""

import functools

import pydiff

from ._fused import FusedOptimizer, named

__all__ = ["Rprop"]


class Rprop(FusedOptimizer):
    """Resilient propagation: each element has a step size, which grows while its gradient keeps its sign.

    Arguments:
        params: iterable of tensors, or of dicts with options of their own.
        lr: step size at the start.
        etas: what a step size is multiplied by where the sign turned and where it stayed: below 1, above 1.
        step_sizes: smallest and largest step size.
        maximize: climb instead of descend.
        foreach, capturable: accepted for PyTorch's sake; a step is always one fused update.
        differentiable: refused.

    Where the sign turned, the gradient counts as 0 in this step. For whole batches only. Riedmiller and Braun, ICNN 1993, in
    the variant without backtracking (iRprop-, Igel and Hüsken 2000). Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([1.0]))
    >>> optimizer = pd.optim.Rprop([p], lr=0.25)
    >>> (p * p).sum().backward()
    >>> optimizer.step()
    >>> p.item()
    0.75
    """

    _slot_names = ("prev", "step_size")

    def __init__(
        self,
        params,
        lr=1e-2,
        etas=(0.5, 1.2),
        step_sizes=(1e-6, 50),
        *,
        capturable=False,
        foreach=None,
        maximize=False,
        differentiable=False,
    ):
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _check_options(self, group):
        super()._check_options(group)
        etas = group["etas"]
        if len(etas) != 2 or not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(
                f"[{self._name()}] etas are a number between 0 and 1 and one above 1; got {etas}; try etas=(0.5, 1.2)"
            )

    def _initial(self, name, parameter, group):
        value = float(group["lr"]) if name == "step_size" else 0.0
        return pydiff.full(parameter.shape, value, dtype=parameter.dtype, device=parameter.device)

    def _update(self, group):
        return _formula(bool(group["maximize"]))

    def _scalars(self, group, step):
        return *group["etas"], *group["step_sizes"]


@functools.lru_cache(maxsize=None)
def _formula(maximize):
    def update(p, g, before, size, smaller, larger, smallest, largest):
        if maximize:
            g = -g
        agreement = g * before
        turned = agreement < 0
        size = size * pydiff.where(turned, smaller, pydiff.where(agreement > 0, larger, 1.0))
        size = pydiff.minimum(pydiff.maximum(size, smallest), largest)
        g = pydiff.where(turned, 0.0, g)
        return p - g.sign() * size, g, size

    return named("rprop", maximize=maximize), update
