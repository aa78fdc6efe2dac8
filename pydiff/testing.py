"""Checking derivatives, and comparing tensors, in tests: pydiff's own and its users'."""

import math

import numpy as np

from . import _C
from ._C import Tensor
from .autograd import enable_grad
from .ops import as_tensor
from .transforms import jvp, vjp
from .tree import tree_flatten, tree_unflatten

__all__ = ["assert_close", "check_grads"]


def assert_close(actual, expected, rtol=None, atol=None):
    """Raise AssertionError unless the values are close; tolerances default by dtype, as in PyTorch.

    >>> import pydiff as pd
    >>> pd.testing.assert_close(pd.ones(2), pd.ones(2) + 1e-8)
    """
    actual, expected = (t.detach().numpy() if isinstance(t, Tensor) else np.asarray(t) for t in (actual, expected))
    if actual.shape != expected.shape:
        raise AssertionError(f"shapes differ: {actual.shape} and {expected.shape}")
    wide = actual.dtype.itemsize >= 8
    rtol = (1e-7 if wide else 1.3e-6) if rtol is None else rtol
    atol = (1e-7 if wide else 1e-5) if atol is None else atol
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def check_grads(function, order=2, modes=("rev", "fwd"), eps=None, rtol=None, atol=None, seed=0):
    """A checker: `check_grads(f)(*args)` raises AssertionError unless f's derivatives are right.

    Arguments:
        function: of pytrees of floating-point tensors; computed in float64.
        order: how many derivatives deep.
        modes: "rev" and "fwd", the modes to check.
        eps: step of the central differences, by default the cube root of float64's epsilon.
        rtol, atol: of the comparison, by default `eps` squared times 1e5 for the first order, looser
            for higher ones.
        seed: of the random directions.

    At each order both modes are compared along a random direction: forward mode with central
    differences, reverse mode with forward mode through <u, J v> = <Jᵀ u, v>. Arguments that are not
    floating-point are held fixed.

    >>> import pydiff as pd
    >>> pd.testing.check_grads(lambda x: pd.sin(x) * x)(pd.tensor([0.5, 2.0]))
    """
    unknown = set(modes) - {"rev", "fwd"}
    if unknown or not modes:
        raise ValueError(f"[check_grads] unknown modes; got {modes!r}; try ('rev', 'fwd')")
    step = eps or np.finfo(np.float64).eps ** (1 / 3)

    def checker(*args):
        rng = np.random.default_rng(seed)
        leaves, structure = tree_flatten(args)
        leaves = [as_tensor(leaf) for leaf in leaves]
        moving = [k for k, leaf in enumerate(leaves) if leaf.dtype.is_floating_point]
        if not moving:
            raise ValueError("[check_grads] no argument is floating-point; got none; try float tensors")

        def flat(*values):
            full = list(leaves)
            for k, value in zip(moving, values):
                full[k] = value
            outputs = tree_flatten(function(*tree_unflatten(structure, full)))[0]
            found = [o for o in outputs if isinstance(o, Tensor) and o.dtype.is_floating_point]
            return tuple(found)

        start = tuple(leaves[k].detach().double() for k in moving)
        with enable_grad():
            _check(flat, start, order, tuple(modes), step, rtol, atol, rng, 1)

    return checker


def _directions(rng, tensors):
    out = []
    for t in tensors:
        v = rng.standard_normal(t.shape)
        out.append(_C.tensor(v / max(1.0, math.sqrt(v.size)), device=t.device))
    return tuple(out)


def _dot(a, b):
    return sum(float((np.asarray(x.detach().numpy()) * y.detach().numpy()).sum()) for x, y in zip(a, b))


def _check(f, args, order, modes, eps, rtol, atol, rng, depth):
    directions = _directions(rng, args)
    outputs = f(*args)
    up = f(*[a + eps * d for a, d in zip(args, directions)])
    down = f(*[a - eps * d for a, d in zip(args, directions)])
    weights = _directions(rng, outputs)
    numeric = (_dot(up, weights) - _dot(down, weights)) / (2 * eps)
    scale = max(1.0, abs(numeric), max((float(o.detach().abs().max().item()) for o in outputs if o.numel()), default=1.0))
    base = eps * eps * 1e5 * 10 ** (depth - 1)
    relative = base if rtol is None else rtol
    absolute = (base if atol is None else atol) * scale

    def compare(what, value):
        if not abs(value - numeric) <= absolute + relative * abs(numeric):
            raise AssertionError(
                f"[check_grads] order {depth}, {what}: {value!r}, by differences {numeric!r}; allowed "
                f"{absolute + relative * abs(numeric):.1e}"
            )

    if "fwd" in modes:
        compare("forward mode", _dot(jvp(f, args, directions)[1], weights))
    if "rev" in modes:
        compare("reverse mode", _dot(vjp(f, *args)[1](weights), directions))
    if depth == order:
        return
    if "fwd" in modes:
        _check(lambda *a: jvp(f, a, directions)[1], args, order, modes, eps, rtol, atol, rng, depth + 1)
    if "rev" in modes:
        _check(lambda *a: vjp(f, *a)[1](weights), args, order, modes, eps, rtol, atol, rng, depth + 1)
