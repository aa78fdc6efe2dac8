"""Systems and determinants by NumPy (LAPACK) or CuPy (cuSOLVER), with rules composed of themselves.

The rules are the classical ones (Giles, "Collected matrix derivative results for forward and
reverse mode algorithmic differentiation", 2008).
"""

import numpy as np

from .._C import matmul
from ._batching import LEADING
from ._rows import fallback

__all__ = ["cholesky", "det", "inv", "slogdet", "solve"]


def _two(tensor, vector):
    return tensor.unsqueeze(-1) if vector else tensor


def _sum_to(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for k, n in enumerate(shape):
        if n == 1 and g.shape[k] != 1:
            g = g.sum(k, keepdim=True)
    return g


# A x = b.   A' x + A x' = b';   ḡb = A⁻ᵀ g, ḡA = -ḡb xᵀ


def _solve_vjp(operands, results, cotangents, vector):
    a, b = operands
    (x,), (g,) = results, cotangents
    gb = _solve(a.mT, g, vector=vector)
    ga = -matmul(_two(gb, vector), _two(x, vector).mT)
    return _sum_to(ga, a.shape), _sum_to(gb, b.shape)


def _solve_jvp(operands, results, tangents, vector):
    a, _ = operands
    (x,), (da, db) = results, tangents
    moved = matmul(da, _two(x, vector))
    moved = moved.squeeze(-1) if vector else moved
    return _solve(a, db - moved, vector=vector)


def _solve_batch(call, operands, vector):
    a, b = operands
    return call(a, b, vector=vector) if a.ndim - 2 == b.ndim - (1 if vector else 2) else None


@fallback(
    "solve", batch=_solve_batch, vjp=_solve_vjp, jvp=_solve_jvp,
    example=lambda: (([[4.0, 1.0], [0.5, 3.0]], [1.0, 2.0]), {"vector": True}),
)  # fmt: skip
def _solve(xp, a, b, vector):
    """x with A x = b."""
    b = b[..., None] if vector else b
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # which CuPy leaves to its caller
    a, b = xp.broadcast_to(a, batch + a.shape[-2:]), xp.broadcast_to(b, batch + b.shape[-2:])
    try:
        x = xp.linalg.solve(a, b) if b.size else xp.zeros(b.shape, xp.result_type(a, b))
        return x[..., 0] if vector else x
    except xp.linalg.LinAlgError:
        raise RuntimeError(f"[solve] the matrix is singular; got shape {a.shape}; try lstsq of A.T A + eps I") from None


def _square(op, a):
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"[{op}] a square matrix is needed; got {a.shape}; try (…, n, n)")


def _float(a):
    from .._C import get_default_dtype

    if a.dtype.category == "complex":
        raise TypeError(f"[linalg] no kernel for this type; got {a.dtype.name}; try the real and the imaginary part apart")
    return a if a.dtype.is_floating_point else a.to(get_default_dtype())


def solve(A, B, *, left=True):
    """x with A x = B, for square A; B is a vector (or a batch of them) or a matrix.

    Arguments:
        A: `(..., n, n)`.
        B: `(n,)`, `(..., n)` with A's batch axes, or `(..., n, k)`.
        left: False for x with x A = B.

    Raises RuntimeError where A is singular.

    >>> import pydiff as pd
    >>> pd.linalg.solve(pd.tensor([[2., 0.], [0., 4.]]), pd.tensor([2., 4.])).tolist()
    [1.0, 1.0]
    """
    A, B = _float(A), _float(B)
    _square("solve", A)
    vector = B.ndim == 1 or (B.ndim == A.ndim - 1 and B.shape == A.shape[:-1])
    if not left:
        return solve(A.mT, B) if vector else solve(A.mT, B.mT).mT
    rows = B.shape[-1] if vector else B.shape[-2]
    if rows != A.shape[-1]:
        raise ValueError(f"[solve] sizes differ; got {A.shape} and {B.shape}; try a right side of {A.shape[-1]} rows")
    return _solve(A, B, vector=vector)


# B = A⁻¹.   B' = -B A' B


def _inv_vjp(operands, results, cotangents):
    (b,) = results
    return (-matmul(matmul(b.mT, cotangents[0]), b.mT),)


def _inv_jvp(operands, results, tangents):
    (b,) = results
    return -matmul(matmul(b, tangents[0]), b)


@fallback("inv", batch=LEADING, vjp=_inv_vjp, jvp=_inv_jvp, example=lambda: (([[4.0, 1.0], [0.5, 3.0]],), {}))
def _inv(xp, a):
    """The inverse."""
    try:
        return xp.linalg.inv(a)
    except xp.linalg.LinAlgError:
        raise RuntimeError(f"[inv] the matrix is singular; got shape {a.shape}; try solve with A.T A + eps I") from None


def inv(A):
    """The inverse of a square matrix; `solve` is the better way to use one.

    >>> import pydiff as pd
    >>> pd.linalg.inv(pd.tensor([[2., 0.], [0., 4.]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    A = _float(A)
    _square("inv", A)
    return _inv(A)


# log|det A|' = tr(A⁻¹ A')


def _slogdet_vjp(operands, results, cotangents):
    g = cotangents[1]
    return (g.unsqueeze(-1).unsqueeze(-1) * _inv(operands[0]).mT,)


def _slogdet_jvp(operands, results, tangents):
    product = _inv(operands[0]).mT * tangents[0]
    return None, product.sum((-2, -1))


@fallback("slogdet", batch=LEADING, vjp=_slogdet_vjp, jvp=_slogdet_jvp)
def _slogdet(xp, a):
    """Sign and logarithm of the absolute determinant."""
    sign, log = xp.linalg.slogdet(a)
    return xp.asarray(sign), xp.asarray(log)


def slogdet(A):
    """(sign, log |det A|) of a square matrix.

    >>> import pydiff as pd
    >>> [round(t.item(), 4) for t in pd.linalg.slogdet(pd.eye(3))]
    [1.0, 0.0]
    """
    A = _float(A)
    _square("slogdet", A)
    return _slogdet(A)


def det(A):
    """The determinant of a square matrix. At a singular one the gradient is not defined.

    >>> import pydiff as pd
    >>> round(pd.linalg.det(pd.tensor([[2., 0.], [0., 4.]])).item(), 4)
    8.0
    """
    sign, log = slogdet(A)
    return sign.detach() * log.exp()


# A = L Lᵀ.   L' = L Φ(L⁻¹ A' L⁻ᵀ), Φ the lower triangle with half the diagonal


def _half_lower(x):
    from ..ops import eye, tril

    return tril(x) - 0.5 * x * eye(x.shape[-1], dtype=x.dtype, device=x.device)


def _cholesky_vjp(operands, results, cotangents):
    (low,) = results
    inverse = _inv(low)
    core = _half_lower(matmul(low.mT, cotangents[0]))
    g = matmul(matmul(inverse.mT, core), inverse)
    return (0.5 * (g + g.mT),)


def _cholesky_jvp(operands, results, tangents):
    (low,) = results
    inverse = _inv(low)
    return matmul(low, _half_lower(matmul(matmul(inverse, tangents[0]), inverse.mT)))


@fallback("cholesky", batch=LEADING, vjp=_cholesky_vjp, jvp=_cholesky_jvp)
def _cholesky(xp, a):
    """The lower triangular L with A = L Lᵀ."""
    try:
        return xp.linalg.cholesky(a)
    except xp.linalg.LinAlgError:
        raise RuntimeError(f"[cholesky] the matrix is not positive definite; got shape {a.shape}; try A + eps I") from None


def cholesky(A, *, upper=False):
    """The lower triangular L with A = L Lᵀ, for symmetric positive definite A; with `upper` Lᵀ.

    >>> import pydiff as pd
    >>> pd.linalg.cholesky(pd.tensor([[4., 0.], [0., 9.]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    A = _float(A)
    _square("cholesky", A)
    return _cholesky(A).mT if upper else _cholesky(A)
