"""PyTorch's names outside `linalg` for what is there: factors, systems, inverses."""

from collections import namedtuple

from . import linalg
from ._C import matmul, zeros
from .fallback import factorizations as _rows
from .fallback.linear_algebra import _float, _square
from .ops import eye, tril, triu

__all__ = [
    "cholesky", "cholesky_inverse", "cholesky_solve", "det", "geqrf", "inverse", "logdet", "lu", "lu_solve", "lu_unpack",
    "matrix_exp", "matrix_power", "orgqr", "ormqr", "pca_lowrank", "pinverse", "qr", "slogdet", "svd", "svd_lowrank",
    "triangular_solve",
]  # fmt: skip

TriangularSolveResult = namedtuple("triangular_solve", ["solution", "cloned_coefficient"], module="pydiff")
LuUnpackResult = namedtuple("lu_unpack", ["P", "L", "U"], module="pydiff")
GeqrfResult = namedtuple("geqrf", ["a", "tau"], module="pydiff")
SvdResult = namedtuple("svd", ["U", "S", "V"], module="pydiff")

det, inverse, slogdet = linalg.det, linalg.inv, linalg.slogdet
matrix_exp, matrix_power = linalg.matrix_exp, linalg.matrix_power
orgqr = linalg.householder_product


def cholesky(input, upper=False):
    """`linalg.cholesky` under PyTorch's older name.

    >>> import pydiff as pd
    >>> pd.cholesky(pd.tensor([[4.]])).tolist()
    [[2.0]]
    """
    return linalg.cholesky(input, upper=upper)


def cholesky_solve(B, L, upper=False):
    """x with A x = B of the Cholesky factor L of A (with `upper` of its transpose).

    >>> import pydiff as pd
    >>> pd.cholesky_solve(pd.tensor([[8.]]), pd.tensor([[2.]])).tolist()
    [[2.0]]
    """
    _square("cholesky_solve", L)
    low = L.mT if upper else L
    half = linalg.solve_triangular(low, B, upper=False)
    return linalg.solve_triangular(low.mT, half, upper=True)


def cholesky_inverse(L, upper=False):
    """The inverse of A of its Cholesky factor L (with `upper` of its transpose).

    >>> import pydiff as pd
    >>> pd.cholesky_inverse(pd.tensor([[2.]])).tolist()
    [[0.25]]
    """
    L = _float(L)
    _square("cholesky_inverse", L)
    half = linalg.inv(tril(L.mT if upper else L))
    return matmul(half.mT, half)


def svd_lowrank(A, q=6, niter=2, M=None):
    """(U, S, V) with A - M near U diag(S) Vᵀ, of rank q: by a random basis of what A maps to, improved `niter` times.

    Halko, Martinsson & Tropp, "Finding structure with randomness" (2009), algorithms 4.4 and 5.1.

    Arguments:
        A: `(…, m, n)`.
        q: the rank, somewhat more than is wanted; at most m and n.
        M: what is subtracted, of a shape that broadcasts to A's.

    >>> import pydiff as pd
    >>> a = pd.arange(6.0).reshape(3, 2)
    >>> U, S, V = pd.svd_lowrank(a, 2)
    >>> bool(((U * S) @ V.mT - a).abs().max() < 1e-4)
    True
    """
    A = linalg._matrix("svd_lowrank", A)
    m, n = A.shape[-2:]
    if not 0 <= q <= min(m, n) or niter < 0:
        raise ValueError(
            f"[svd_lowrank] q is at most the smaller size; got q={q}, niter={niter} for {A.shape}; try q={min(m, n)}"
        )
    if M is not None:
        A = A - M
    if m < n:
        V, S, U = _low_rank(A.mT, q, niter)
    else:
        U, S, V = _low_rank(A, q, niter)
    return SvdResult(U, S, V)


def _low_rank(A, q, niter):
    from .random import randn

    basis = linalg.qr(matmul(A, randn(A.shape[-1], q, dtype=A.dtype, device=A.device))).Q
    for _ in range(niter):
        basis = linalg.qr(matmul(A.mT, basis)).Q
        basis = linalg.qr(matmul(A, basis)).Q
    U, S, Vh = linalg.svd(matmul(basis.mT, A), full_matrices=False)
    return matmul(basis, U), S, Vh.mT


def pca_lowrank(A, q=None, center=True, niter=2):
    """(U, S, V) of `svd_lowrank` of A's rows less their mean (with `center`): V's columns are the principal directions.

    Arguments:
        A: `(…, m, n)`, m samples of n features.
        q: the rank, by default 6, or the smaller size where that is less.

    >>> import pydiff as pd
    >>> pd.pca_lowrank(pd.tensor([[1., 1.], [2., 2.], [3., 3.]]), 1).V.abs().square().sum().round().item()
    1.0
    """
    A = linalg._matrix("pca_lowrank", A)
    m, n = A.shape[-2:]
    q = min(6, m, n) if q is None else q
    if not 0 <= q <= min(m, n):
        raise ValueError(f"[pca_lowrank] q is at most the smaller size; got q={q} for {A.shape}; try q={min(m, n)}")
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, q, niter)


def geqrf(input):
    """(a, tau) of Q R: R above a's diagonal, below it the vectors of Householder matrices I - tau v vᵀ; not differentiable.

    >>> import pydiff as pd
    >>> abs(pd.geqrf(pd.tensor([[3.], [4.]])).a[0, 0].item())
    5.0
    """
    return GeqrfResult(*_rows._geqrf(linalg._matrix("geqrf", input)))


def ormqr(input, tau, other, left=True, transpose=False):
    """The product of Q, of m by m, and another matrix: Q is that of `geqrf`'s (input, tau).

    Arguments:
        input, tau: `(…, m, k)` and `(…, k)`.
        other: `(…, m, n)`, or `(…, n, m)` where it is at the left.
        left: whether Q is at the left.
        transpose: whether Qᵀ is meant.

    >>> import pydiff as pd
    >>> pd.ormqr(pd.eye(2), pd.zeros(2), pd.ones(2, 1)).tolist()
    [[1.0], [1.0]]
    """
    if not left:
        return ormqr(input, tau, other.mT, True, not transpose).mT
    if input.ndim < 2 or other.ndim < 2 or other.shape[-2] != input.shape[-2] or tau.shape[-1] > input.shape[-1]:
        raise ValueError(f"[ormqr] sizes do not fit; got {input.shape}, {tau.shape}, {other.shape}; try left=False")
    m, k = input.shape[-2], tau.shape[-1]
    vectors = tril(input, -1) + eye(m, input.shape[-1], dtype=input.dtype, device=input.device)
    for i in range(k) if transpose else reversed(range(k)):
        v = vectors.narrow(-1, i, 1)
        other = other - tau.narrow(-1, i, 1).unsqueeze(-1) * matmul(v, matmul(v.mT, other))
    return other


def lu(A, pivot=True, get_infos=False):
    """(LU, pivots), with `get_infos` info too: PyTorch's older `linalg.lu_factor`, not `linalg.lu`.

    >>> import pydiff as pd
    >>> pd.lu(pd.tensor([[2.]]))[1].tolist()
    [1]
    """
    return linalg.lu_factor_ex(A, pivot=pivot) if get_infos else linalg.lu_factor(A, pivot=pivot)


def logdet(input):
    """The logarithm of the determinant; NaN where that is negative.

    >>> import pydiff as pd
    >>> pd.logdet(pd.eye(2)).item()
    0.0
    """
    sign, log = linalg.slogdet(input)
    return log + sign.detach().log()


def lu_solve(b, LU_data, LU_pivots):
    """`linalg.lu_solve` in PyTorch's older order of arguments.

    >>> import pydiff as pd
    >>> pd.lu_solve(pd.tensor([[4.]]), *pd.linalg.lu_factor(pd.tensor([[2.]]))).tolist()
    [[2.0]]
    """
    return linalg.lu_solve(LU_data, LU_pivots, b)


def lu_unpack(LU_data, LU_pivots, unpack_data=True, unpack_pivots=True):
    """(P, L, U) of `linalg.lu_factor`; what is not to be unpacked is empty.

    >>> import pydiff as pd
    >>> pd.lu_unpack(*pd.linalg.lu_factor(pd.tensor([[2.]]))).U.tolist()
    [[2.0]]
    """
    linalg._matrix("lu_unpack", LU_data)
    if LU_data.device != LU_pivots.device:
        raise ValueError(f"[lu_unpack] operands on different devices; got {LU_data.device} and {LU_pivots.device}; try .to")
    none = zeros((0,), dtype=LU_data.dtype, device=LU_data.device)
    low, up = linalg._unpacked(LU_data) if unpack_data else (none, none)
    if not unpack_pivots:
        return LuUnpackResult(none, low, up)
    order = _rows._permutation(LU_pivots, rows=LU_data.shape[-2])
    return LuUnpackResult(linalg._permutation_matrix(order, LU_data), low, up)


def pinverse(input, rcond=1e-15):
    """`linalg.pinv` under PyTorch's older name.

    >>> import pydiff as pd
    >>> pd.pinverse(pd.tensor([[2.], [0.]])).tolist()
    [[0.5, 0.0]]
    """
    return linalg.pinv(input, rcond)


def qr(input, some=True):
    """`linalg.qr` under PyTorch's older name; `some=False` is the mode 'complete'.

    >>> import pydiff as pd
    >>> tuple(pd.qr(pd.ones(3, 2))[1].shape)
    (2, 2)
    """
    return linalg.qr(input, "reduced" if some else "complete")


def svd(input, some=True, compute_uv=True):
    """(U, S, V) with input = U diag(S) Vᵀ: PyTorch's older `linalg.svd`, which gives Vᵀ.

    >>> import pydiff as pd
    >>> pd.svd(pd.tensor([[3., 0.], [0., 4.]])).S.tolist()
    [4.0, 3.0]
    """
    if not compute_uv:
        m, n = input.shape[-2:]
        empty = lambda k: zeros((*input.shape[:-2], k, k), dtype=input.dtype, device=input.device)  # noqa: E731
        return SvdResult(empty(m), linalg.svdvals(input), empty(n))
    u, s, vh = linalg.svd(input, full_matrices=not some)
    return SvdResult(u, s, vh.mT)


def triangular_solve(b, A, upper=True, transpose=False, unitriangular=False):
    """(x with A x = b, A): PyTorch's older `linalg.solve_triangular`; with `transpose` of Aᵀ.

    >>> import pydiff as pd
    >>> pd.triangular_solve(pd.tensor([[4.]]), pd.tensor([[2.]])).solution.tolist()
    [[2.0]]
    """
    part = triu(A) if upper else tril(A)
    part, upper = (part.mT, not upper) if transpose else (part, upper)
    solution = linalg.solve_triangular(part, b, upper=upper, unitriangular=unitriangular)
    return TriangularSolveResult(solution, A)
