"""Gradients kept from being too large: by their norm together, or each element by itself."""

import math

import pydiff
from pydiff import Tensor, _core

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _listed(tensors):
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _grads(parameters):
    return [p.grad for p in _listed(parameters) if p.grad is not None]


def get_total_norm(tensors, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """The norm of all tensors together, as if they were one vector: a 0-d tensor.

    Arguments:
        tensors: a tensor or several.
        norm_type: p of the norm; `math.inf` for the largest absolute value.
        error_if_nonfinite: raise RuntimeError where the norm is NaN or infinite, which computes it at once.
        foreach: of no effect.

    >>> import pydiff as pd
    >>> pd.nn.utils.get_total_norm([pd.tensor([3.0]), pd.tensor([0.0, 4.0])]).item()
    5.0
    """
    return _total_norm("get_total_norm", _listed(tensors), float(norm_type), error_if_nonfinite)


def _total_norm(name, tensors, norm_type, error_if_nonfinite):
    if not tensors:
        return pydiff.tensor(0.0)
    device = tensors[0].device
    norms = [pydiff.linalg.vector_norm(t, norm_type).to(device) for t in tensors]
    total = pydiff.linalg.vector_norm(pydiff.stack(norms), norm_type)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"[{name}] the norm of the gradients is not finite; got {total.item()} of order {norm_type}; "
            "try a smaller learning rate, or error_if_nonfinite=False"
        )
    return total


def clip_grads_with_norm_(parameters, max_norm, total_norm, foreach=None):
    """Multiply the gradients by max_norm / (total_norm + 1e-6) where that is smaller than 1, in place.

    Arguments:
        parameters: tensors whose gradients are meant.
        max_norm: a number.
        total_norm: of the gradients, a 0-d tensor, as `get_total_norm` gives.
        foreach: of no effect; there is one launch for all gradients of a dtype.

    >>> import pydiff as pd
    >>> w = pd.ones(2, requires_grad=True)
    >>> (w * 4).sum().backward()
    >>> pd.nn.utils.clip_grads_with_norm_([w], 1.0, pd.tensor(8.0))
    >>> round(w.grad[0].item(), 4)
    0.5
    """
    with pydiff.no_grad():
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        _change(_grads(parameters), "clip_grad_norm", _scaled, (factor,))


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False, foreach=None):
    """Scale the gradients, in place, so that their norm together is `max_norm` at most; returns the norm before.

    Arguments as of `get_total_norm` and `clip_grads_with_norm_`. Pascanu, Mikolov and Bengio, arXiv:1211.5063.
    Raises RuntimeError, with `error_if_nonfinite`, for a norm that is not finite; the gradients are then unchanged.

    >>> import pydiff as pd
    >>> w = pd.ones(2, requires_grad=True)
    >>> (w * pd.tensor([3.0, 4.0])).sum().backward()
    >>> pd.nn.utils.clip_grad_norm_([w], 1.0).item(), round(w.grad[1].item(), 4)
    (5.0, 0.8)
    """
    parameters = _listed(parameters)
    with pydiff.no_grad():
        total = _total_norm("clip_grad_norm_", _grads(parameters), float(norm_type), error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters, clip_value, foreach=None):
    """Put each element of the gradients into ±clip_value, in place.

    >>> import pydiff as pd
    >>> w = pd.ones(2, requires_grad=True)
    >>> (w * pd.tensor([3.0, -0.2])).sum().backward()
    >>> pd.nn.utils.clip_grad_value_([w], 0.5)
    >>> [round(g, 4) for g in w.grad.tolist()]
    [0.5, -0.2]
    """
    bound = float(clip_value)
    with pydiff.no_grad():
        _change(_grads(parameters), "clip_grad_value", _bounded, (-bound, bound))


def _scaled(grad, factor):
    return grad * factor


def _bounded(grad, low, high):
    return grad.clamp(low, high)


def _change(grads, name, update, scalars):
    """Give the gradients new values, one launch for each dtype and device."""
    groups = {}
    for grad in {id(g): g for g in grads}.values():
        groups.setdefault((grad.dtype, str(grad.device)), []).append(grad)
    for (dtype, _), some in groups.items():
        told = [s.to(dtype=dtype, device=some[0].device) if isinstance(s, Tensor) else s for s in scalars]
        (values,) = _core.foreach(name, update, (some,), tuple(told))
        _core.rebind(some, values)
