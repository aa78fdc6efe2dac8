"""Linear algebra: systems, factors, norms."""

from .pointwise import norm
from .fallback.linear_algebra import cholesky, det, inv, qr, slogdet, solve, svdvals
from ._C import matmul

__all__ = [
    "cholesky", "det", "inv", "matmul", "matrix_norm", "matrix_power", "norm", "qr", "slogdet", "solve", "svdvals",
    "vector_norm",
]  # fmt: skip


def vector_norm(x, ord=2, dim=None, keepdim=False):
    """The p-norm of all elements, or over `dim`.

    >>> import pydiff as pd
    >>> pd.linalg.vector_norm(pd.tensor([3., 4.])).item()
    5.0
    """
    return norm(x, ord, dim, keepdim)


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False):
    """A norm of matrices: 'fro', or 1, -1, inf, -inf for the largest (smallest) column or row sum.

    >>> import pydiff as pd
    >>> pd.linalg.matrix_norm(pd.tensor([[3., 0.], [0., 4.]])).item()
    5.0
    """
    if ord == "fro":
        return norm(A, 2, dim, keepdim)
    if ord not in (1, -1, float("inf"), -float("inf")):
        raise ValueError(f"[matrix_norm] unknown norm; got {ord!r}; try 'fro', 1, -1, inf or -inf")
    summed, kept = (dim[0], dim[1]) if abs(ord) == 1 else (dim[1], dim[0])
    sums = A.abs().sum(summed, keepdim=True)
    result = sums.amax(kept, True) if ord > 0 else sums.amin(kept, True)
    return result if keepdim else result.squeeze(dim)


def matrix_power(A, n):
    """A multiplied with itself n times, by squaring; of the inverse where n < 0.

    >>> import pydiff as pd
    >>> pd.linalg.matrix_power(pd.tensor([[1., 1.], [0., 1.]]), 3).tolist()
    [[1.0, 3.0], [0.0, 1.0]]
    """
    from .ops import eye

    if n < 0:
        return matrix_power(inv(A), -n)
    result = None
    while n:
        if n & 1:
            result = A if result is None else matmul(result, A)
        n >>= 1
        if n:
            A = matmul(A, A)
    return eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape) if result is None else result
