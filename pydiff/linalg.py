"""Linear algebra: systems, factors, norms."""

from .reductions import norm
from .fallback.linear_algebra import cholesky, det, inv, qr, slogdet, solve, svdvals
from ._C import matmul
from .contraction import einsum

__all__ = [
    "cholesky", "det", "inv", "matmul", "matrix_norm", "matrix_power", "multi_dot", "norm", "qr", "slogdet", "solve", "svdvals",
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


def multi_dot(tensors):
    """Product of two matrices or more in the cheapest order; the first and the last may be vectors.

    >>> import pydiff as pd
    >>> pd.linalg.multi_dot([pd.ones(2), pd.eye(2), pd.ones(2)]).item()
    2.0
    """
    tensors = list(tensors)
    if len(tensors) < 2:
        raise ValueError(f"[multi_dot] two matrices at least are needed; got {len(tensors)}; try matmul")
    for k, t in enumerate(tensors):
        if t.ndim != 2 and not (t.ndim == 1 and k in (0, len(tensors) - 1)):
            raise ValueError(f"[multi_dot] matrices, and vectors at the ends; got {t.shape} at {k}; try matmul")
    first, last = tensors[0].ndim == 1, tensors[-1].ndim == 1
    terms = [[k, k + 1] for k in range(len(tensors))]
    if first:
        terms[0] = [1]
    if last:
        terms[-1] = [len(tensors) - 1]
    for k, (a, b) in enumerate(zip(tensors, tensors[1:])):
        if a.shape[-1] != b.shape[0]:
            raise ValueError(f"[multi_dot] inner sizes differ; got {a.shape} and {b.shape} at {k}; try a transpose")
    result = ([] if first else [0]) + ([] if last else [len(tensors)])
    return einsum(*[x for pair in zip(tensors, terms) for x in pair], result)
