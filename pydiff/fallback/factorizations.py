"""Factors of matrices by NumPy (LAPACK) or CuPy (cuSOLVER), with rules composed of public operations.

The rules: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic differentiation" (2008);
of Q R, Walter and Lehmann, "Algorithmic differentiation of linear algebra functions" (2010); of the singular value
decomposition, Townsend, "Differentiating the singular value decomposition" (2016); of the pseudoinverse, Golub and
Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares problems" (1973).
"""

import numpy as np

from .._C import _where, cat, matmul
from ..movement import diag_embed
from ..ops import diagonal, eye, tril, triu
from ._batching import LEADING, together
from ._rows import fallback
from .linear_algebra import _solve

__all__ = []


def _diagonal(x):
    return diagonal(x, 0, -2, -1)


def _identity(x):
    return eye(x.shape[-1], dtype=x.dtype, device=x.device)


def _gaps(w):
    """1 / (w_j - w_i), and 0 where both are equal, on the diagonal first of all."""
    gap = w.unsqueeze(-2) - w.unsqueeze(-1)
    same = gap == 0
    return _where(same, 0.0, 1 / _where(same, 1.0, gap))


def _over(x):
    """1 / x, and 0 for 0."""
    zero = x == 0
    return _where(zero, 0.0, 1 / _where(zero, 1.0, x))


# A = V diag(w) Vᵀ, A' symmetric.   w' = diag(Vᵀ A' V), V' = V (F ∘ Vᵀ A' V), F_ij = 1 / (w_j - w_i)


def _eigh_vjp(operands, results, cotangents, lower):
    (w, v), (gw, gv) = results, cotangents
    return (matmul(matmul(v, diag_embed(gw) + _gaps(w) * matmul(v.mT, gv)), v.mT),)


def _eigh_jvp(operands, results, tangents, lower):
    w, v = results
    moved = matmul(matmul(v.mT, tangents[0]), v)
    return _diagonal(moved), matmul(v, _gaps(w) * moved)


@fallback("eigh", batch=LEADING, vjp=_eigh_vjp, jvp=_eigh_jvp)
def _eigh(xp, a, lower):
    """Eigenvalues in ascending order, and eigenvectors as columns, of a symmetric matrix."""
    if not a.size:
        return xp.zeros(a.shape[:-1], a.dtype), xp.zeros(a.shape, a.dtype)
    w, v = xp.linalg.eigh(a, UPLO="L" if lower else "U")
    return w, v


def _eigvalsh_vjp(operands, results, cotangents, lower):
    v = _eigh(operands[0], lower=lower)[1]
    return (matmul(v * cotangents[0].unsqueeze(-2), v.mT),)


def _eigvalsh_jvp(operands, results, tangents, lower):
    v = _eigh(operands[0], lower=lower)[1]
    return (matmul(v.mT, tangents[0]) * v.mT).sum(-1)


@fallback("eigvalsh", batch=LEADING, vjp=_eigvalsh_vjp, jvp=_eigvalsh_jvp)
def _eigvalsh(xp, a, lower):
    """Eigenvalues of a symmetric matrix, in ascending order."""
    return xp.linalg.eigvalsh(a, UPLO="L" if lower else "U") if a.size else xp.zeros(a.shape[:-1], a.dtype)


# A = U diag(s) Vᵀ, dP = Uᵀ A' V, F_ij = 1 / (s_j² - s_i²):   s' = diag(dP),
# U' = U (F ∘ (dP S + S dPᵀ)) + (I - U Uᵀ) A' V S⁻¹,   V' = V (F ∘ (S dP + dPᵀ S)) + (I - V Vᵀ) A'ᵀ U S⁻¹


def _svd_vjp(operands, results, cotangents):
    (u, s, vh), (gu, gs, gvh) = results, cotangents
    v, gv, across, f = vh.mT, gvh.mT, s.unsqueeze(-2), _gaps(s * s)
    turn_u, turn_v = matmul(u.mT, gu), matmul(v.mT, gv)
    core = diag_embed(gs) + f * (turn_u - turn_u.mT) * across + s.unsqueeze(-1) * f * (turn_v - turn_v.mT)
    g = matmul(matmul(u, core), vh)
    if u.shape[-2] > u.shape[-1]:
        g = g + matmul((gu - matmul(u, turn_u)) * _over(across), vh)
    if v.shape[-2] > v.shape[-1]:
        g = g + matmul(u * _over(across), (gv - matmul(v, turn_v)).mT)
    return (g,)


def _svd_jvp(operands, results, tangents):
    (u, s, vh), (da,) = results, tangents
    v, across, down, f = vh.mT, s.unsqueeze(-2), s.unsqueeze(-1), _gaps(s * s)
    moved = matmul(matmul(u.mT, da), v)
    du = matmul(u, f * (moved * across + down * moved.mT))
    dv = matmul(v, f * (down * moved + moved.mT * across))
    if u.shape[-2] > u.shape[-1]:
        part = matmul(da, v)
        du = du + (part - matmul(u, matmul(u.mT, part))) * _over(across)
    if v.shape[-2] > v.shape[-1]:
        part = matmul(da.mT, u)
        dv = dv + (part - matmul(v, matmul(v.mT, part))) * _over(across)
    return du, _diagonal(moved), dv.mT


@fallback("svd", batch=LEADING, vjp=_svd_vjp, jvp=_svd_jvp, example=lambda: (([[2.0, 0.5], [-0.5, 1.0], [0.3, 0.1]],), {}))
def _svd(xp, a):
    """U, the singular values, largest first, and Vᵀ, of the smaller size."""
    return _factors(xp, a, False)


@fallback("svd_full", batch=LEADING)
def _svd_full(xp, a):
    """U, the singular values, largest first, and Vᵀ, U and V square."""
    return _factors(xp, a, True)


def _factors(xp, a, full):
    *batch, m, n = a.shape
    if not a.size:
        k = min(m, n)
        rows, columns = (m, n) if full else (k, k)
        u, vh = (xp.zeros((*batch, *shape), a.dtype) for shape in ((m, rows), (columns, n)))
        return u + xp.eye(m, rows, dtype=a.dtype), xp.zeros((*batch, k), a.dtype), vh + xp.eye(columns, n, dtype=a.dtype)
    u, s, vh = xp.linalg.svd(a, full_matrices=full)
    return u, s, vh


def _svdvals_vjp(operands, results, cotangents):
    u, _, vh = _svd(operands[0])
    return (matmul(u * cotangents[0].unsqueeze(-2), vh),)


def _svdvals_jvp(operands, results, tangents):
    u, _, vh = _svd(operands[0])
    return (matmul(u.mT, tangents[0]) * vh).sum(-1)


@fallback(
    "svdvals", batch=LEADING, vjp=_svdvals_vjp, jvp=_svdvals_jvp, example=lambda: (([[2.0, 0.5], [-0.5, 1.0], [0.3, 0.1]],), {})
)
def _svdvals(xp, a):
    """Singular values, largest first."""
    if not a.size:
        return xp.zeros((*a.shape[:-2], min(a.shape[-2:])), a.dtype)
    return xp.linalg.svd(a, compute_uv=False)


# A = Q R, of m >= n.   B = A' R⁻¹, C = Qᵀ B, Ω = tril(C, -1) - tril(C, -1)ᵀ:   Q' = B - Q C + Q Ω, R' = (C - Ω) R


def _right(a, r):
    """a R⁻¹."""
    return _solve(r.mT, a.mT, vector=False).mT


def _qr_vjp(operands, results, cotangents):
    (q, r), (gq, gr) = results, cotangents
    m, n = operands[0].shape[-2:]
    rest = None
    if m < n:  # A = [X Y], R = [U V] with V = Qᵀ Y
        y, gv = operands[0][..., m:], gr[..., m:]
        gq, rest = gq + matmul(y, gv.mT), matmul(q, gv)
        r, gr = r[..., :m], gr[..., :m]
    core = matmul(r, gr.mT) - matmul(gq.mT, q)
    core = tril(core) + tril(core, -1).mT
    g = _right((gq + matmul(q, core)), r.mT)
    return (g if rest is None else cat([g, rest], -1),)


def _qr_jvp(operands, results, tangents):
    (q, r), (da,) = results, tangents
    m, n = da.shape[-2:]
    b = _right(da[..., :m] if m < n else da, r[..., :m] if m < n else r)
    c = matmul(q.mT, b)
    low = tril(c, -1)
    turn = low - low.mT
    dq = b - matmul(q, c) + matmul(q, turn)
    if m >= n:
        return dq, matmul(c - turn, r)
    y = operands[0][..., m:]
    return dq, cat([matmul(c - turn, r[..., :m]), matmul(dq.mT, y) + matmul(q.mT, da[..., m:])], -1)


@fallback("qr", batch=LEADING, vjp=_qr_vjp, jvp=_qr_jvp, example=lambda: (([[2.0, 0.5], [-0.5, 1.0], [0.3, 0.1]],), {}))
def _qr(xp, a):
    """Q and R with A = Q R, of the smaller size."""
    q, r = xp.linalg.qr(a)
    return q, r


@fallback("qr_complete", batch=LEADING)
def _qr_complete(xp, a):
    """Q and R with A = Q R, Q square."""
    q, r = xp.linalg.qr(a, mode="complete")
    return q, r


@fallback("geqrf", batch=LEADING)
def _geqrf(xp, a):
    """R above the diagonal and Householder vectors below it, and the factors of these."""
    h, tau = xp.linalg.qr(a, mode="raw")
    return xp.swapaxes(h, -1, -2), tau


# F = L - I + U with A = L U.   A' = L dP U:   L' = L tril(dP, -1), U' = triu(dP) U


def _lu_plain_vjp(operands, results, cotangents):
    (f,), (g,) = results, cotangents
    low, up = tril(f, -1) + _identity(f), triu(f)
    core = tril(matmul(low.mT, tril(g, -1)), -1) + triu(matmul(triu(g), up.mT))
    return (_right(_solve(low.mT, core, vector=False), up.mT),)


def _lu_plain_jvp(operands, results, tangents):
    (f,) = results
    low, up = tril(f, -1) + _identity(f), triu(f)
    moved = _right(_solve(low, tangents[0], vector=False), up)
    return matmul(low, tril(moved, -1)) + matmul(triu(moved), up)


@fallback("lu_plain", batch=LEADING, vjp=_lu_plain_vjp, jvp=_lu_plain_jvp, example=lambda: (([[2.0, 0.5], [-0.5, 1.0]],), {}))
def _lu_plain(xp, a):
    """L (below the diagonal, which is 1) and U of a square matrix, without exchanging rows."""
    return _eliminated(xp, a, False)[0]


@fallback("lu_pivots", batch=LEADING)
def _lu_pivots(xp, a, pivot):
    """L and U in one matrix, and with which row, counted from 1, each was exchanged."""
    factors, pivots = _eliminated(xp, a, pivot)
    return factors, (pivots + 1).astype(xp.int32)


def _eliminated(xp, a, pivot):
    # Column by column, of all matrices at once: neither NumPy nor CuPy has this factorization.
    *batch, m, n = a.shape
    flat, k = a.reshape(int(np.prod(batch)), m, n).copy(), min(m, n)
    each, pivots = xp.arange(len(flat)), xp.zeros((len(flat), k), xp.int64)
    for j in range(k):
        place = xp.full(len(flat), j)
        if pivot:
            place = xp.argmax(xp.abs(flat[:, j:, j]), axis=1) + j
            upper = flat[each, j].copy()
            flat[each, j] = flat[each, place]
            flat[each, place] = upper
        pivots[:, j] = place
        top = flat[:, j, j]
        flat[:, j + 1 :, j] /= xp.where(top == 0, 1, top)[:, None]
        flat[:, j + 1 :, j + 1 :] -= flat[:, j + 1 :, j, None] * flat[:, j, None, j + 1 :]
    return flat.reshape(a.shape), pivots.reshape((*batch, k))


@fallback("permutation", batch=LEADING)
def _permutation(xp, pivots, rows):
    """Which row comes where after exchanges that are counted from 1."""
    flat = pivots.reshape(int(np.prod(pivots.shape[:-1])), pivots.shape[-1])
    each = xp.arange(len(flat))
    order = xp.zeros((len(flat), rows), xp.int64) + xp.arange(rows)
    for j in range(flat.shape[1]):
        place = flat[:, j] - 1
        upper = order[each, j].copy()
        order[each, j] = order[each, place]
        order[each, place] = upper
    return order.reshape((*pivots.shape[:-1], rows))


# P = A⁺, of constant rank.   P' = -P A' P + P Pᵀ A'ᵀ (I - A P) + (I - P A) A'ᵀ Pᵀ P


def _pinv_vjp(operands, results, cotangents):
    (a, _), (p,), (g,) = operands, results, cotangents
    gt = g.mT
    second, third = matmul(matmul(gt, p), p.mT), matmul(p.mT, matmul(p, gt))
    return (
        -matmul(matmul(p.mT, g), p.mT) + second - matmul(a, matmul(p, second)) + third - matmul(matmul(third, p), a),
        None,
    )


def _pinv_jvp(operands, results, tangents):
    (a, _), (p,), (da, _) = operands, results, tangents
    second, third = matmul(matmul(p, p.mT), da.mT), matmul(da.mT, matmul(p.mT, p))
    return -matmul(matmul(p, da), p) + second - matmul(matmul(second, a), p) + third - matmul(p, matmul(a, third))


@fallback(
    "pinv", batch=together, vjp=_pinv_vjp, jvp=_pinv_jvp, example=lambda: (([[2.0, 0.5], [-0.5, 1.0], [0.3, 0.1]], 1e-9), {})
)
def _pinv(xp, a, tolerance):
    """The pseudoinverse; singular values up to the tolerance count as 0."""
    u, s, vh = _factors(xp, a, False)
    keep = s > tolerance[..., None]
    s = xp.where(keep, 1 / xp.where(keep, s, 1), 0).astype(a.dtype)
    return xp.matmul(xp.swapaxes(vh, -1, -2) * s[..., None, :], xp.swapaxes(u, -1, -2))


# A = L D Lᵀ of a symmetric A, D of blocks of 1 or 2 a side (Bunch & Kaufman 1977): LAPACK's sytrf and sytrs, which NumPy has
# not and CuPy has not; SciPy computes them in host memory.


def _lapack(name, a):
    from scipy.linalg.lapack import get_lapack_funcs

    return get_lapack_funcs(name, (a,))


def _host(xp, a):
    return np.asarray(a) if xp is np else a.get()  # CuPy's array, copied to the host


@fallback("ldl_factor", batch=LEADING)
def _ldl_factor(xp, a):
    """L and D in the lower triangle, the exchanges of rows (negative twice: a block of two), and LAPACK's info."""
    *batch, n, _ = a.shape
    flat = _host(xp, a).reshape(int(np.prod(batch)), n, n)
    factors, pivots, info = flat.copy(), np.zeros((len(flat), n), np.int32), np.zeros(len(flat), np.int32)
    for k, one in enumerate(flat):
        if n:
            factors[k], pivots[k], info[k] = _lapack("sytrf", one)(one, lower=1)
    return (
        xp.asarray(np.tril(factors).reshape(a.shape)), xp.asarray(pivots.reshape((*batch, n))), xp.asarray(info.reshape(batch)),
    )  # fmt: skip


def _ldl_solve_batch(call, operands):
    factors, pivots, b = operands
    return call(*operands) if factors.ndim == b.ndim == pivots.ndim + 1 else None


def _ldl_solve_vjp(operands, results, cotangents):
    factors, pivots, _ = operands
    return None, None, _ldl_solve(factors, pivots, cotangents[0])


def _ldl_solve_jvp(operands, results, tangents):
    factors, pivots, _ = operands
    return _ldl_solve(factors, pivots, tangents[2])


def _are_pivots(p):
    k = 0
    while k < len(p):
        if not 1 <= abs(p[k]) <= len(p) or (p[k] < 0 and p[k + 1 : k + 2] != [p[k]]):
            return False
        k += 1 if p[k] > 0 else 2
    return True


@fallback("ldl_solve", batch=_ldl_solve_batch, vjp=_ldl_solve_vjp, jvp=_ldl_solve_jvp)
def _ldl_solve(xp, factors, pivots, b):
    """x with A x = b, of A's factors."""
    *batch, n, columns = b.shape
    ld, b, p = (_host(xp, v) for v in (factors, b, pivots))
    for one in p.reshape(int(np.prod(p.shape[:-1])), n):
        if not _are_pivots(one.tolist()):  # LAPACK would write outside its operands
            raise ValueError(
                f"[ldl_solve] pivots name rows from 1 to {n}, negative ones two and two alike; got {one[:8].tolist()}; "
                f"try those of ldl_factor"
            )
    count = int(np.prod(batch))
    ld, p = np.broadcast_to(ld, (*batch, n, n)).reshape(count, n, n), np.broadcast_to(p, (*batch, n)).reshape(count, n)
    x = b.reshape(count, n, columns).copy()
    for k in range(count):
        if n and columns:
            x[k] = _lapack("sytrs", ld[k])(ld[k], p[k], x[k], lower=1)[0]
    return xp.asarray(x.reshape(b.shape))
