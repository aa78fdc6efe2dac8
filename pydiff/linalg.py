"""Linear algebra: systems, factors, eigenvalues, inverses, norms.

What has a factorization behind it is computed by NumPy, on a GPU by CuPy, when it is recorded (`pydiff.fallback`);
the rest is composed. Everything differentiates in both modes where it has a derivative.
"""

import math
from collections import namedtuple

from . import _C, contraction, numpy_names, ops
from ._C import Tensor, _where, full, matmul, tensor, zeros
from ._dtypes import DTYPES
from ._public import publish
from .contraction import einsum
from .fallback import factorizations as _rows
from .fallback.linear_algebra import _float, _solve, _square, cholesky, det, inv, slogdet, solve
from .ops import _axis, diagonal as _diagonal, eye, tril, triu
from .pointwise import _real
from .reductions import _flat_on_tape, norm as _norm
from .scans import cumprod

__all__ = [
    "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "eigh", "eigvalsh", "householder_product", "inv",
    "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve", "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul",
    "matrix_exp", "matrix_norm", "matrix_power", "matrix_rank", "multi_dot", "norm", "pinv", "qr", "slogdet", "solve",
    "solve_ex", "solve_triangular", "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip

EighResult = namedtuple("eigh", ["eigenvalues", "eigenvectors"], module="pydiff")
SvdResult = namedtuple("svd", ["U", "S", "Vh"], module="pydiff")
QrResult = namedtuple("qr", ["Q", "R"], module="pydiff")
LuResult = namedtuple("lu", ["P", "L", "U"], module="pydiff")
LuFactorResult = namedtuple("lu_factor", ["LU", "pivots"], module="pydiff")
LuFactorExResult = namedtuple("lu_factor_ex", ["LU", "pivots", "info"], module="pydiff")
LdlFactorResult = namedtuple("ldl_factor", ["LD", "pivots"], module="pydiff")
LdlFactorExResult = namedtuple("ldl_factor_ex", ["LD", "pivots", "info"], module="pydiff")
LstsqResult = namedtuple("lstsq", ["solution", "residuals", "rank", "singular_values"], module="pydiff")
CholeskyExResult = namedtuple("cholesky_ex", ["L", "info"], module="pydiff")
InvExResult = namedtuple("inv_ex", ["inverse", "info"], module="pydiff")
SolveExResult = namedtuple("solve_ex", ["result", "info"], module="pydiff")


def _matrix(op, A):
    if A.ndim < 2:
        raise ValueError(f"[{op}] a matrix has two axes at least; got {A.shape}; try unsqueeze(0)")
    return _float(A)


# ---- norms


def vector_norm(x, ord=2, dim=None, keepdim=False, *, dtype=None):
    """The p-norm of all elements, or over `dim`; see `pydiff.norm`.

    >>> import pydiff as pd
    >>> pd.linalg.vector_norm(pd.tensor([3., 4.])).item()
    5.0
    """
    return _norm(x, ord, dim, keepdim, dtype)


def matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, *, dtype=None):
    """A norm of matrices.

    Arguments:
        A: `(…, m, n)`, or any tensor whose two axes `dim` are the matrices'.
        ord: 'fro'; 'nuc', the sum of the singular values; 2 or -2, the largest or smallest of them; 1, -1, inf or -inf, the
            largest or smallest sum of the absolute values of a column or a row.

    >>> import pydiff as pd
    >>> pd.linalg.matrix_norm(pd.tensor([[3., 0.], [0., 4.]])).item()
    5.0
    """
    A = _matrix("matrix_norm", A if dtype is None else A.to(dtype))
    if not isinstance(dim, (tuple, list)):
        raise TypeError(f"[matrix_norm] a matrix has two axes; got {dim!r}; try (-2, -1)")
    if len(dim) != 2:
        raise ValueError(f"[matrix_norm] a matrix has two axes; got {tuple(dim)}; try (-2, -1)")
    a, b = (_axis("matrix_norm", d, A.ndim) for d in dim)
    if a == b:
        raise ValueError(f"[matrix_norm] the two axes are one; got {tuple(dim)}; try different axes")
    if ord == "fro":
        return _norm(A, 2, (a, b), keepdim)
    if ord in ("nuc", 2, -2):
        values = svdvals(ops.movedim(A, (a, b), (-2, -1)))
        result = (
            values.sum(-1)
            if ord == "nuc" or (ord == 2 and not values.shape[-1])
            else values.amax(-1)
            if ord == 2
            else values.amin(-1)
        )
        if keepdim:
            for axis in sorted((a, b)):
                result = result.unsqueeze(axis)
        return result
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(f"[matrix_norm] unknown norm; got {ord!r}; try 'fro', 'nuc', 1, -1, 2, -2, inf or -inf")
    summed, kept = (a, b) if abs(ord) == 1 else (b, a)
    sums = A.abs().sum(summed, keepdim=True)
    if ord > 0:  # of no columns, or rows, 0
        result = sums.amax(kept, True) if sums.shape[kept] else sums.sum(kept, keepdim=True)
    else:
        result = sums.amin(kept, True)
    return result if keepdim else result.squeeze((a, b))


def norm(A, ord=None, dim=None, keepdim=False, *, dtype=None):
    """A norm of vectors or of matrices: of these where `ord` is given and there are two axes (or `dim` names two).

    >>> import pydiff as pd
    >>> pd.linalg.norm(pd.tensor([3., 4.])).item(), pd.linalg.norm(pd.eye(2), 1).item()
    (5.0, 1.0)
    """
    if ord is not None and (A.ndim == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2):
        return matrix_norm(A, ord, (0, 1) if dim is None else dim, keepdim, dtype=dtype)
    if ord is not None and dim is None and A.ndim != 1:
        raise ValueError(f"[linalg.norm] of a vector or a matrix, unless dim is given; got {A.shape}; try dim=(-2, -1)")
    if isinstance(ord, str):
        raise ValueError(f"[linalg.norm] {ord!r} is a norm of matrices; got {A.shape} over {dim}; try dim=(-2, -1)")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def cond(A, p=None):
    """The condition number: the norm times that of the inverse, infinite for a singular matrix.

    Arguments:
        A: `(…, m, n)`, square but for p = None, 2 and -2.
        p: as `ord` of `matrix_norm`; None is 2.

    >>> import pydiff as pd
    >>> pd.linalg.cond(pd.tensor([[2., 0.], [0., 1.]])).item()
    2.0
    """
    A = _matrix("cond", A)
    if p in (None, 2, -2):
        values = svdvals(A)
        if not values.shape[-1]:
            return values.sum(-1)
        large, small = values.select(-1, 0), values.select(-1, values.shape[-1] - 1)
        return small / large if p == -2 else large / small
    _square("cond", A)
    if not A.shape[-1]:
        return A.sum((-2, -1))
    try:
        return matrix_norm(A, p) * matrix_norm(inv(A), p)
    except RuntimeError:
        return full(A.shape[:-2], math.inf, dtype=A.dtype, device=A.device)


# ---- products


def matrix_power(A, n):
    """A multiplied with itself n times, by squaring; of the inverse where n < 0.

    >>> import pydiff as pd
    >>> pd.linalg.matrix_power(pd.tensor([[1., 1.], [0., 1.]]), 3).tolist()
    [[1.0, 3.0], [0.0, 1.0]]
    """
    if A.ndim < 2 or A.shape[-1] != A.shape[-2]:
        _square("matrix_power", A)
    if n < 0:
        return matrix_power(inv(A), -n)
    result = None
    while n:
        if n & 1:
            result = A if result is None else matmul(result, A)
        n >>= 1
        if n:
            A = matmul(A, A)
    if result is not None:
        return result
    return _flat_on_tape(eye(A.shape[-1], dtype=A.dtype, device=A.device).expand(A.shape), A)


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


def matrix_exp(A):
    """The exponential of square matrices; looks at their size at once.

    By scaling, a Taylor polynomial of degree 18, and squaring (Higham, "The scaling and squaring method for the matrix
    exponential revisited", 2005, has the bounds).

    >>> import pydiff as pd
    >>> pd.linalg.matrix_exp(pd.zeros(2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    A = _matrix("matrix_exp", A)
    _square("matrix_exp", A)
    if not A.numel():
        return A
    size = A.detach().abs().sum(-2).amax().item()
    if not math.isfinite(size):
        return A * math.nan
    # Up to which norm 18 terms are as good as the dtype: Bader, Blanes and Casas 2019, table 2.
    bound = 1.09 if A.dtype.itemsize == 8 else 3.01
    halved = max(0, math.ceil(math.log2(size / bound))) if size > 0 else 0
    A = A * 0.5**halved
    one = eye(A.shape[-1], dtype=A.dtype, device=A.device)
    result = one + A / 18
    for k in range(17, 0, -1):
        result = one + matmul(A, result) / k
    for _ in range(halved):
        result = matmul(result, result)
    return result


def vecdot(x, y, *, dim=-1):
    """Sums of products along an axis; the other axes broadcast.

    >>> import pydiff as pd
    >>> pd.linalg.vecdot(pd.tensor([[1., 2.]]), pd.tensor([3., 4.])).tolist()
    [11.0]
    """
    return numpy_names.vecdot(x, y, dim)


def cross(input, other, *, dim=-1):
    """The vector product along an axis of size 3; the other axes broadcast.

    >>> import pydiff as pd
    >>> pd.linalg.cross(pd.tensor([1, 0, 0]), pd.tensor([0, 1, 0])).tolist()
    [0, 0, 1]
    """
    return contraction.cross(input, other, dim)


def diagonal(A, *, offset=0, dim1=-2, dim2=-1):
    """The diagonals of matrices, as the last axis of the result.

    >>> import pydiff as pd
    >>> pd.linalg.diagonal(pd.eye(2)).tolist()
    [1.0, 1.0]
    """
    return _diagonal(A, offset, dim1, dim2)


def vander(x, N=None):
    """Powers 0 to N - 1 of the last axis, as columns; N is by default its size.

    >>> import pydiff as pd
    >>> pd.linalg.vander(pd.tensor([2, 3]), 3).tolist()
    [[1, 2, 4], [1, 3, 9]]
    """
    x = _real(x if x.ndim else x.reshape(1))
    N = x.shape[-1] if N is None else N
    if N < 1:
        raise ValueError(f"[vander] one power at least; got {N}; try 1")
    x = x if x.dtype.is_floating_point else x.long()
    one = _C.ones_like(x).unsqueeze(-1)
    if N == 1:
        return one
    return cumprod(_C.cat([one, x.unsqueeze(-1).expand((*x.shape, N - 1))], -1), -1)


# ---- eigenvalues, singular values, Q R


def _lower(op, UPLO):
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"[{op}] UPLO is 'L' or 'U'; got {UPLO!r}; try 'L'")
    return UPLO.upper() == "L"


def eigh(A, UPLO="L"):
    """(eigenvalues, eigenvectors) of symmetric matrices: ascending, and columns of length 1.

    Arguments:
        A: `(…, n, n)`, of which only the lower triangle is read, with `UPLO="U"` the upper one.

    The derivative of the eigenvectors needs eigenvalues that differ; of equal ones it is taken as 0.

    >>> import pydiff as pd
    >>> pd.linalg.eigh(pd.tensor([[2., 0.], [0., 1.]])).eigenvalues.tolist()
    [1.0, 2.0]
    """
    A = _matrix("eigh", A)
    _square("eigh", A)
    return EighResult(*_rows._eigh(A, lower=_lower("eigh", UPLO)))


def eigvalsh(A, UPLO="L"):
    """Eigenvalues of symmetric matrices, in ascending order; see `eigh`.

    >>> import pydiff as pd
    >>> pd.linalg.eigvalsh(pd.tensor([[2., 0.], [0., 1.]])).tolist()
    [1.0, 2.0]
    """
    A = _matrix("eigvalsh", A)
    _square("eigvalsh", A)
    return _rows._eigvalsh(A, lower=_lower("eigvalsh", UPLO))


def svd(A, full_matrices=True, *, driver=None):
    """(U, S, Vh) with A = U diag(S) Vh, the singular values S largest first.

    Arguments:
        A: `(…, m, n)`.
        full_matrices: whether U and Vh are square; these are differentiable where A is.
        driver: taken for PyTorch's sake.

    The derivative of U and Vh needs singular values that differ; of equal ones it is taken as 0.

    >>> import pydiff as pd
    >>> pd.linalg.svd(pd.tensor([[3., 0.], [0., 4.]])).S.tolist()
    [4.0, 3.0]
    """
    A = _matrix("svd", A)
    square = A.shape[-1] == A.shape[-2]
    if full_matrices and not square and not (A.requires_grad or _C.tangent_levels(A)):
        return SvdResult(*_rows._svd_full(A))
    if full_matrices and not square:
        u, _, vh = _rows._svd_full(A.detach())  # of these there is no derivative; of the singular values there is
        if not A.numel():
            u, vh = _flat_on_tape(u, A), _flat_on_tape(vh, A)
        return SvdResult(u, svdvals(A), vh)
    return SvdResult(*_rows._svd(A))


def svdvals(A, *, driver=None):
    """Singular values, largest first.

    >>> import pydiff as pd
    >>> pd.linalg.svdvals(pd.tensor([[3., 0.], [0., 4.]])).tolist()
    [4.0, 3.0]
    """
    return _rows._svdvals(_matrix("svdvals", A))


def qr(A, mode="reduced"):
    """(Q, R) with A = Q R, Q of orthonormal columns, R upper triangular.

    Arguments:
        A: `(…, m, n)`.
        mode: 'reduced'; 'complete', a square Q, differentiable where m <= n; 'r', R alone and an empty Q, not differentiable.

    >>> import pydiff as pd
    >>> tuple(pd.linalg.qr(pd.ones(3, 2))[1].shape)
    (2, 2)
    """
    A = _matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"[qr] unknown mode; got {mode!r}; try 'reduced', 'complete' or 'r'")
    if mode == "complete" and A.shape[-2] > A.shape[-1]:
        return QrResult(*_rows._qr_complete(A))
    q, r = _rows._qr(A.detach() if mode == "r" else A)
    return QrResult(zeros((0,), dtype=A.dtype, device=A.device) if mode == "r" else q, r)


def householder_product(A, tau):
    """The first columns of a product of Householder matrices I - tau v vᵀ, whose vectors are below A's diagonal.

    Arguments:
        A: `(…, m, n)`, m >= n; column i has v_i below the diagonal, on which it is 1.
        tau: `(…, k)`, k <= n.

    >>> import pydiff as pd
    >>> pd.linalg.householder_product(pd.eye(2), pd.zeros(2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    A = _matrix("householder_product", A)
    m, n = A.shape[-2:]
    if m < n or not tau.ndim or tau.shape[-1] > n:
        raise ValueError(f"[householder_product] m >= n >= k; got {A.shape} and {tau.shape}; try a transpose")
    vectors = tril(A, -1) + eye(m, n, dtype=A.dtype, device=A.device)
    result = eye(m, n, dtype=A.dtype, device=A.device).expand(A.shape)
    for i in reversed(range(tau.shape[-1])):
        v = vectors.narrow(-1, i, 1)
        result = result - tau.narrow(-1, i, 1).unsqueeze(-1) * matmul(v, matmul(v.mT, result))
    return result if tau.shape[-1] else _flat_on_tape(result, A)


# ---- L U


def _moved_rows(x, order):
    """Rows in another order, of batches that broadcast."""
    shape = ops.broadcast_shapes(x.shape[:-2], order.shape[:-1])
    x = x.expand((*shape, *x.shape[-2:]))
    return x.gather(-2, order.unsqueeze(-1).expand((*shape, order.shape[-1], x.shape[-1]))) if x.numel() else x


def _back(order):
    from .fallback import argsort

    return argsort(order, -1)


def _permutation_matrix(order, like):
    """P with P x = x in the order that undoes `order`: A = P L U."""
    columns = _C._iota((order.shape[-1],), order.device)
    return (order.unsqueeze(-2) == columns.unsqueeze(-1)).to(like.dtype)


def lu_factor(A, *, pivot=True):
    """(LU, pivots): L below the diagonal, where it is 1, and U in one matrix; with which row each was exchanged, from 1 on.

    >>> import pydiff as pd
    >>> pd.linalg.lu_factor(pd.tensor([[1., 2.], [2., 2.]])).pivots.tolist()
    [2, 2]
    """
    A = _matrix("lu_factor", A)
    factors, pivots = _rows._lu_pivots(A.detach(), pivot=bool(pivot))
    if not (A.requires_grad or _C.tangent_levels(A)) or not A.numel():
        return LuFactorResult(factors if A.numel() else A, pivots)
    m, n = A.shape[-2:]
    k = min(m, n)
    moved = _moved_rows(A, _rows._permutation(pivots, rows=m))
    square = _rows._lu_plain(moved[..., :k, :k])
    low, up = tril(square, -1) + eye(k, dtype=A.dtype, device=A.device), triu(square)
    if m > k:
        square = _C.cat([square, _rows._right(moved[..., k:, :], up)], -2)
    if n > k:
        square = _C.cat([square, _solve(low, moved[..., k:], vector=False)], -1)
    return LuFactorResult(square, pivots)


def lu_factor_ex(A, *, pivot=True, check_errors=False):
    """`lu_factor` and `info`: 0, or where U has its first zero on the diagonal, counted from 1.

    >>> import pydiff as pd
    >>> pd.linalg.lu_factor_ex(pd.eye(2)).info.item()
    0
    """
    factors, pivots = lu_factor(A, pivot=pivot)
    zero = _diagonal(factors, 0, -2, -1).detach() == 0
    if zero.shape[-1]:
        info = _where(zero.any(-1), zero.to(DTYPES["int64"]).argmax(-1) + 1, 0).to(DTYPES["int32"])
    else:
        info = zeros(factors.shape[:-2], dtype=DTYPES["int32"], device=factors.device)
    if check_errors and info.any().item():
        raise RuntimeError(f"[lu_factor_ex] U has a zero on its diagonal; got {A.shape}; try check_errors=False")
    return LuFactorExResult(factors, pivots, info)


def _unpacked(factors):
    m, n = factors.shape[-2:]
    k = min(m, n)
    low = tril(factors[..., :k], -1) + eye(m, k, dtype=factors.dtype, device=factors.device)
    return low, triu(factors[..., :k, :])


def ldl_factor(A, *, hermitian=False):
    """(LD, pivots) of a symmetric matrix: A = L D Lᵀ with exchanged rows, L below the diagonal and D on it and beside it.

    The lower triangle is read. Positive pivots count rows from 1; two equal negative ones are a block of two of D. SciPy
    (LAPACK's sytrf) computes it, in host memory; not differentiable. `hermitian` changes nothing of real numbers.

    >>> import pydiff as pd
    >>> pd.linalg.ldl_factor(pd.tensor([[4., 2.], [2., 3.]])).LD.tolist()
    [[4.0, 0.0], [0.5, 2.0]]
    """
    factors, pivots, _ = ldl_factor_ex(A, hermitian=hermitian, check_errors=not A.is_abstract)
    return LdlFactorResult(factors, pivots)


def ldl_factor_ex(A, *, hermitian=False, check_errors=False):
    """`ldl_factor` and `info`: 0, or where D has its first zero on the diagonal, counted from 1.

    >>> import pydiff as pd
    >>> pd.linalg.ldl_factor_ex(pd.eye(2)).info.item()
    0
    """
    A = _matrix("ldl_factor", A)
    _square("ldl_factor", A)
    factors, pivots, info = _rows._ldl_factor(A)
    if check_errors and info.any().item():
        raise RuntimeError(f"[ldl_factor] D has a zero on its diagonal; got {A.shape}; try ldl_factor_ex")
    return LdlFactorExResult(factors, pivots, info)


def ldl_solve(LD, pivots, B, *, hermitian=False):
    """x with A x = B, of A's `ldl_factor`. Differentiable by B.

    Arguments:
        LD, pivots: `(…, n, n)` and `(…, n)`.
        B: `(…, n, k)`; the first axes broadcast.

    >>> import pydiff as pd
    >>> factors = pd.linalg.ldl_factor(pd.tensor([[2., 0.], [0., 4.]]))
    >>> pd.linalg.ldl_solve(*factors, pd.tensor([[2.], [4.]])).tolist()
    [[1.0], [1.0]]
    """
    LD, B = _matrix("ldl_solve", LD), _matrix("ldl_solve", B)
    _square("ldl_solve", LD)
    if LD.requires_grad or _C.tangent_levels(LD):
        raise _C.NotDifferentiableError(
            "[ldl_solve] differentiable by B alone; got LD that requires a gradient; try solve(A, B)"
        )
    if B.shape[-2] != LD.shape[-1]:
        raise ValueError(f"[ldl_solve] sizes differ; got {LD.shape} and {B.shape}; try a right side of {LD.shape[-1]} rows")
    batch = ops.broadcast_shapes(LD.shape[:-2], B.shape[:-2])
    return _rows._ldl_solve(LD, pivots, B.expand((*batch, *B.shape[-2:])))


def lu(A, *, pivot=True):
    """(P, L, U) with A = P L U; without `pivot` P is empty and A = L U.

    >>> import pydiff as pd
    >>> pd.linalg.lu(pd.tensor([[0., 2.], [1., 0.]])).U.tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    factors, pivots = lu_factor(A, pivot=pivot)
    low, up = _unpacked(factors)
    if not pivot:
        return LuResult(zeros((0,), dtype=factors.dtype, device=factors.device), low, up)
    return LuResult(_permutation_matrix(_rows._permutation(pivots, rows=A.shape[-2]), factors), low, up)


def lu_solve(LU, pivots, B, *, left=True, adjoint=False):
    """x with A x = B (with `left=False` x A = B), of A's `lu_factor`; with `adjoint` of Aᵀ.

    >>> import pydiff as pd
    >>> factors = pd.linalg.lu_factor(pd.tensor([[2., 0.], [0., 4.]]))
    >>> pd.linalg.lu_solve(*factors, pd.tensor([[2.], [4.]])).tolist()
    [[1.0], [1.0]]
    """
    _square("lu_solve", LU)
    B = _float(B)
    if B.ndim < 2 or B.shape[-2 if left else -1] != LU.shape[-1]:
        raise ValueError(f"[lu_solve] as many equations as unknowns; got {LU.shape} and {B.shape}; try B of shape (…, n, k)")
    if not left:
        return lu_solve(LU, pivots, B.mT, adjoint=not adjoint).mT
    low, up = _unpacked(LU)
    order = _rows._permutation(pivots, rows=LU.shape[-1])
    if not adjoint:
        return _solve(up, _solve(low, _moved_rows(B, order), vector=False), vector=False)
    return _moved_rows(_solve(low.mT, _solve(up.mT, B, vector=False), vector=False), _back(order))


# ---- systems and inverses


def solve_triangular(A, B, *, upper, left=True, unitriangular=False):
    """x with A x = B (with `left=False` x A = B), of a triangular A; what is beyond its triangle is not read.

    Arguments:
        A: `(…, n, n)`.
        B: `(…, n, k)`.
        upper: whether the triangle is the upper one.
        unitriangular: whether the diagonal is taken as 1.

    Raises RuntimeError where A is singular.

    >>> import pydiff as pd
    >>> pd.linalg.solve_triangular(pd.tensor([[2., 9.], [0., 4.]]), pd.tensor([[11.], [4.]]), upper=True).tolist()
    [[1.0], [1.0]]
    """
    A, B = _matrix("solve_triangular", A), _matrix("solve_triangular", B)
    _square("solve_triangular", A)
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise ValueError(f"[solve_triangular] sizes differ; got {A.shape} and {B.shape}; try {A.shape[-1]} rows")
    if unitriangular:
        A = (triu(A, 1) if upper else tril(A, -1)) + eye(A.shape[-1], dtype=A.dtype, device=A.device)
    else:
        A = triu(A) if upper else tril(A)
    return _solve(A, B, vector=False) if left else _rows._right(B, A)


def _with_info(result_type, name, compute, A, check_errors):
    """A result and its info, which is 0; or NaN and 1, of the whole batch, where it fails."""
    info = zeros(A.shape[:-2], dtype=DTYPES["int32"], device=A.device)
    try:
        return result_type(compute(), info)
    except RuntimeError:
        if check_errors:
            raise
        return result_type(None, info + 1)


def inv_ex(A, *, check_errors=False):
    """(inverse, info): where one matrix of the batch is singular all are NaN, and info, int32, is 1 instead of 0.

    >>> import pydiff as pd
    >>> pd.linalg.inv_ex(pd.zeros(1, 1)).info.item()
    1
    """
    result = _with_info(InvExResult, "inv_ex", lambda: inv(A), A, check_errors)
    return result if result[0] is not None else result._replace(inverse=_float(A) * math.nan)


def cholesky_ex(A, *, upper=False, check_errors=False):
    """(L, info) as `cholesky`: where one matrix of the batch is not positive definite all are NaN, and info is 1.

    >>> import pydiff as pd
    >>> pd.linalg.cholesky_ex(pd.eye(1)).info.item()
    0
    """
    result = _with_info(CholeskyExResult, "cholesky_ex", lambda: cholesky(A, upper=upper), A, check_errors)
    return result if result[0] is not None else result._replace(L=_float(A) * math.nan)


def solve_ex(A, B, *, left=True, check_errors=False):
    """(result, info) as `solve`: where one matrix of the batch is singular all are NaN, and info is 1.

    >>> import pydiff as pd
    >>> pd.linalg.solve_ex(pd.eye(1), pd.ones(1)).result.tolist()
    [1.0]
    """
    result = _with_info(SolveExResult, "solve_ex", lambda: solve(A, B, left=left), A, check_errors)
    return result if result[0] is not None else result._replace(result=_float(B) * math.nan)


def _tolerance(values, shape, atol, rtol):
    """Up to which size a singular value counts as 0, for each matrix."""
    values = values.detach()
    largest = values.amax(-1) if values.shape[-1] else values.sum(-1)
    if rtol is None:
        epsilon = {2: 2.0**-10, 4: 2.0**-23, 8: 2.0**-52}[values.dtype.itemsize]
        small = max(shape[-2:]) * epsilon
        rtol = (
            small if atol is None else _where(atol > 0, 0.0, small) if isinstance(atol, Tensor) else 0.0 if atol > 0 else small
        )
    relative = largest * rtol
    return _C.maximum(
        relative, atol if isinstance(atol, Tensor) else tensor(atol or 0.0, dtype=values.dtype, device=values.device)
    )


def matrix_rank(A, tol=None, hermitian=False, *, atol=None, rtol=None):
    """How many singular values are above the tolerance max(atol, rtol * the largest).

    Arguments:
        A: `(…, m, n)`.
        atol, rtol: by default 0, and max(m, n) times the epsilon of the dtype where `atol` is 0; `tol` is an `atol`.
        hermitian: whether A is symmetric, so that its eigenvalues do.

    >>> import pydiff as pd
    >>> pd.linalg.matrix_rank(pd.ones(2, 2)).item()
    1
    """
    A = _matrix("matrix_rank", A).detach()
    values = eigvalsh(A).abs() if hermitian else svdvals(A)
    return (values > _tolerance(values, A.shape, tol if atol is None else atol, rtol).unsqueeze(-1)).sum(-1)


def pinv(A, rcond=None, hermitian=False, *, atol=None, rtol=None):
    """The pseudoinverse, `(…, n, m)`; singular values up to max(atol, rtol * the largest) count as 0.

    The derivative is that along matrices of the same rank. Arguments: as of `matrix_rank`; `rcond` is an `rtol`; of
    what is said to be `hermitian` only the lower triangle is read.

    >>> import pydiff as pd
    >>> pd.linalg.pinv(pd.tensor([[2.], [0.]])).tolist()
    [[0.5, 0.0]]
    """
    A = _matrix("pinv", A)
    rtol = rcond if rtol is None else rtol
    if hermitian:  # the value of the lower triangle, the derivative of any matrix
        plain = A.detach()
        A = tril(plain) + tril(plain, -1).mT + (A - plain)
    # Of the very decomposition that the row computes: a value may be as large as the tolerance.
    tolerance = _tolerance(_rows._svd(A.detach())[1], A.shape, atol, rtol)
    return _rows._pinv(A, tolerance.expand(A.shape[:-2]))


def lstsq(A, B, rcond=None, *, driver=None):
    """(solution, residuals, rank, singular_values) of min |A x - B|², by the pseudoinverse.

    Arguments:
        A: `(…, m, n)`.
        B: `(…, m, k)`, or `(…, m)` with A's first axes.
        rcond: singular values up to this times the largest count as 0.
        driver: which of the last three are not empty: 'gels' none of the last two, 'gelsy' (the default) `rank`, 'gelsd' and
            'gelss' all. `residuals` is empty unless m > n, the rank is full, and the driver not 'gelsy'.

    >>> import pydiff as pd
    >>> pd.linalg.lstsq(pd.tensor([[1.], [1.]]), pd.tensor([[1.], [3.]])).solution.round().tolist()
    [[2.0]]
    """
    A, B = _matrix("lstsq", A), _float(B)
    driver = driver or "gelsy"
    if driver not in ("gels", "gelsy", "gelsd", "gelss"):
        raise ValueError(f"[lstsq] unknown driver; got {driver!r}; try 'gels', 'gelsy', 'gelsd' or 'gelss'")
    vector = B.ndim == A.ndim - 1 and B.shape == A.shape[:-1]
    if (not vector and B.ndim < 2) or (B.shape[-1] if vector else B.shape[-2]) != A.shape[-2]:
        raise ValueError(f"[lstsq] sizes differ; got {A.shape} and {B.shape}; try a right side of {A.shape[-2]} rows")
    b = B.unsqueeze(-1) if vector else B
    x = matmul(pinv(A, rcond), b)
    m, n = A.shape[-2:]
    none = x.reshape(-1).narrow(0, 0, 0)
    rank = matrix_rank(A, rtol=rcond) if driver != "gels" else zeros((0,), dtype=DTYPES["int64"], device=A.device)
    is_full = driver == "gels" or bool((rank == n).all().item())
    has_rest = m > n and is_full and driver != "gelsy"
    residuals = ((matmul(A, x) - b) ** 2).sum(-2) if has_rest else none
    values = svdvals(A.detach()) if driver in ("gelsd", "gelss") else none
    return LstsqResult(x.squeeze(-1) if vector else x, residuals, rank, values)


def tensorinv(A, ind=2):
    """The inverse of what `tensordot` over the last axes does: A's first `ind` axes become the last.

    >>> import pydiff as pd
    >>> tuple(pd.linalg.tensorinv(pd.eye(4).reshape(4, 2, 2), 1).shape)
    (2, 2, 4)
    """
    if ind < 1 or math.prod(A.shape[:ind]) != math.prod(A.shape[ind:]):
        raise ValueError(f"[tensorinv] the axes before and after ind have equally many elements; got {A.shape}, {ind}; try 2")
    size = math.prod(A.shape[:ind])
    return inv(A.reshape(size, size)).reshape((*A.shape[ind:], *A.shape[:ind]))


def tensorsolve(A, B, dims=None):
    """x with `tensordot(A, x, x.ndim)` = B.

    Arguments:
        dims: axes of A that are moved to the end first.

    >>> import pydiff as pd
    >>> pd.linalg.tensorsolve(pd.eye(4).reshape(2, 2, 4), pd.ones(2, 2)).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    if dims is not None:
        A = ops.movedim(A, tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = tuple(A.shape[B.ndim :])
    if math.prod(shape) != B.numel():
        raise ValueError(f"[tensorsolve] as many equations as unknowns; got {A.shape} and {B.shape}; try dims")
    return solve(A.reshape(B.numel(), B.numel()), B.reshape(-1)).reshape(shape)


publish(globals(), __all__)
