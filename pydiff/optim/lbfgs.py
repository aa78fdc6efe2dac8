"""Quasi-Newton steps with limited memory."""

import pydiff
from pydiff import _core

from ._fused import rate
from ._line_search import strong_wolfe
from .optimizer import Optimizer

__all__ = ["LBFGS"]


class LBFGS(Optimizer):
    """L-BFGS: descent along the gradient times an inverse Hessian, which the last steps describe.

    Arguments:
        params: iterable of tensors; one group only, on one device.
        lr: length of a step, or where the line search begins.
        max_iter: most iterations of one call of `step`.
        max_eval: most evaluations of the closure of one call; by default 5/4 of `max_iter`.
        tolerance_grad: done where no element of the gradient is larger.
        tolerance_change: done where neither the loss nor any parameter changes by more.
        history_size: how many steps are remembered.
        line_search_fn: "strong_wolfe", or None for steps of length `lr`.

    Each iteration waits for the loss, since the next depends on it. What is remembered is in the state of the first
    parameter, as in PyTorch. Nocedal and Wright, Numerical Optimization, algorithm 7.4; the line search is their 3.5 and 3.6
    with cubic interpolation. Raises ValueError for options out of range.

    >>> import pydiff as pd
    >>> p = pd.nn.Parameter(pd.tensor([3.0, -2.0]))
    >>> optimizer = pd.optim.LBFGS([p], line_search_fn="strong_wolfe")
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = ((p - 1) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    13.0
    >>> [round(x, 3) for x in p.tolist()]
    [1.0, 1.0]
    """

    def __init__(
        self,
        params,
        lr=1,
        max_iter=20,
        max_eval=None,
        tolerance_grad=1e-7,
        tolerance_change=1e-9,
        history_size=100,
        line_search_fn=None,
    ):
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group):
        if self.param_groups:
            raise ValueError("[LBFGS] there is one group, with one set of options; got a second; try one list of parameters")
        super().add_param_group(param_group)

    def _check_options(self, group):
        super()._check_options(group)
        if group["line_search_fn"] not in (None, "strong_wolfe"):
            raise ValueError(
                f"[LBFGS] line_search_fn is 'strong_wolfe' or None; got {group['line_search_fn']!r}; try 'strong_wolfe'"
            )

    def step(self, closure):
        """Run up to `max_iter` iterations.

        Arguments:
            closure: computes the loss anew and returns it, after zeroing gradients and with `backward()`.

        Returns the loss before the first iteration.
        """
        group = self.param_groups[0]
        params = group["params"]
        lr = float(rate(group))
        max_iter, max_eval = group["max_iter"], group["max_eval"]
        tolerance_grad, tolerance_change = group["tolerance_grad"], group["tolerance_change"]
        state = self.state[params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        with pydiff.enable_grad():
            first_loss = closure()
        loss, grad = float(first_loss), _flat_grad(params)
        evaluations = 1
        state["func_evals"] += 1
        if float(grad.abs().max()) <= tolerance_grad:
            return first_loss

        memory = {key: state.get(key) for key in ("d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad")}
        d, t, scale, before = memory["d"], memory["t"], memory["H_diag"], memory["prev_flat_grad"]
        ys, ss, ro = (list(memory[key] or ()) for key in ("old_dirs", "old_stps", "ro"))
        loss_before = state.get("prev_loss")
        iterations = 0
        while iterations < max_iter:
            iterations += 1
            state["n_iter"] += 1
            with pydiff.no_grad():
                if state["n_iter"] == 1:
                    d, scale = -grad, 1.0
                else:
                    y, s = grad - before, d * t
                    product = y.dot(s)
                    if float(product) > 1e-10:
                        if len(ys) == group["history_size"]:
                            del ys[0], ss[0], ro[0]
                        ys.append(y)
                        ss.append(s)
                        ro.append(1.0 / product)
                        scale = product / y.dot(y)
                    d = _direction(grad, ys, ss, ro, scale)
                before, loss_before = grad, loss
                t = min(1.0, 1.0 / float(grad.abs().sum())) * lr if state["n_iter"] == 1 else lr
                slope = float(grad.dot(d))
            if slope > -tolerance_change:
                break
            used = 0
            if group["line_search_fn"] is not None:
                start = [p.detach().clone() for p in params]

                def evaluate(length, start=start, d=d):
                    _move(params, start, length, d)
                    with pydiff.enable_grad():
                        value = float(closure())
                    return value, _flat_grad(params)

                try:
                    loss, grad, t, used = strong_wolfe(evaluate, t, d, loss, grad, slope, max_eval - evaluations)
                except BaseException:
                    _core.rebind(params, start)
                    raise
                _move(params, start, t, d)
            else:
                _move(params, [p.detach() for p in params], t, d)
                if iterations != max_iter:
                    with pydiff.enable_grad():
                        loss = float(closure())
                    grad = _flat_grad(params)
                    used = 1
            evaluations += used
            state["func_evals"] += used
            if iterations == max_iter or evaluations >= max_eval or float(grad.abs().max()) <= tolerance_grad:
                break
            if float(d.abs().max()) * abs(t) <= tolerance_change or abs(loss - loss_before) < tolerance_change:
                break
        state.update(d=d, t=t, old_dirs=ys, old_stps=ss, ro=ro, H_diag=scale, prev_flat_grad=before, prev_loss=loss_before)
        _core.evaluate([*params, d, *ys, *ss, *ro])
        return first_loss


def _flat_grad(params):
    with pydiff.no_grad():
        parts = [
            pydiff.zeros(p.numel(), dtype=p.dtype, device=p.device) if p.grad is None else p.grad.detach().reshape(-1)
            for p in params
        ]
        return pydiff.cat(parts)


def _move(params, start, length, direction):
    """params = start + length direction, the latter cut into their shapes."""
    with pydiff.no_grad():
        parts = direction.split([p.numel() for p in params])
        values = [value + part.reshape(value.shape) * length for value, part in zip(start, parts)]
    _core.rebind(params, values)
    _core.evaluate(params)


def _direction(grad, ys, ss, ro, scale):
    """Minus the gradient times the inverse Hessian of the steps `ss` with changes of gradient `ys` (two loops)."""
    q = -grad
    weights = []
    for y, s, r in zip(reversed(ys), reversed(ss), reversed(ro)):
        weight = s.dot(q) * r
        weights.append(weight)
        q = q - y * weight
    q = q * scale
    for y, s, r, weight in zip(ys, ss, ro, reversed(weights)):
        q = q + s * (weight - y.dot(q) * r)
    return q
