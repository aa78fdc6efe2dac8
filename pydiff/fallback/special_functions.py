"""Special functions that SciPy computes, or on a GPU CuPy, with derivatives among themselves.

What has an accurate composition of the core's functions is in `pydiff/special.py`. Integers become floats of the default
dtype before they come here.
"""

import importlib

import numpy as np

from .. import _C
from .._C import _where
from ._batching import ELEMENTWISE
from ._rows import fallback

__all__ = []


def _library(xp, name):
    """The function of `scipy.special`, or of its likeness in CuPy."""
    module = "scipy.special" if xp is np else "cupyx.scipy.special"
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        package = "scipy" if xp is np else "cupy"
        raise RuntimeError(f"[{name}] SciPy's functions compute it; got no {module}; try pip install {package}") from error
    if found is None:
        raise RuntimeError(f"[{name}] {module} computes it; got a version without it; try .cpu()")
    return found


def _zeta(xp, s, q):
    """Hurwitz's zeta function of whole s at negative q, too, in time that does not depend on q.

    SciPy adds the terms below 0 one by one. Of q far below 0, with f = q - floor(q), they are up to their sign those of 1 - f
    that come before those of 1 - q.
    """
    zeta = _library(xp, "zeta")
    dtype = xp.result_type(s, q)
    s, q = (xp.asarray(v, np.float64) for v in xp.broadcast_arrays(s, q))
    far = (q < -16) & (q != xp.floor(q)) & (s > 1) & (s == xp.floor(s)) & xp.isfinite(s)
    result = zeta(s, xp.where(far, 1.0, q))
    if far.any():
        whole, below = s[far], q[far]
        f = below - xp.floor(below)
        sign = xp.where(whole % 2 == 0, 1.0, -1.0)
        result = xp.asarray(result)
        result[far] = zeta(whole, f) + sign * (zeta(whole, 1 - f) - zeta(whole, 1 - below))
    return xp.asarray(result, dtype=dtype)


def _special(name, *derivatives, library=None, pick=None, doc):
    """A row of a function of SciPy's: `derivatives` are functions of (operands…, result), or None, one an operand.

    `library`: SciPy's name, where it is another, or a function of xp and arrays.
    """
    library = library or name

    def forward(xp, *arrays):
        result = library(xp, *arrays) if callable(library) else _library(xp, library)(*arrays)
        if pick is not None:
            result = result[pick]
        return xp.asarray(result, dtype=xp.result_type(*[a.dtype for a in arrays]))

    forward.__doc__ = doc

    def slopes(operands, results):
        return [None if d is None else d(*operands, results[0]) for d in derivatives]

    def vjp(operands, results, cotangents):
        (g,) = cotangents
        return tuple(None if s is None else _met(g, s) for s in slopes(operands, results))

    def jvp(operands, results, tangents):
        terms = [_met(t, s) for t, s in zip(tangents, slopes(operands, results)) if s is not None]
        return sum(terms[1:], start=terms[0])

    has = any(d is not None for d in derivatives)
    return fallback(name, batch=ELEMENTWISE, vjp=vjp if has else None, jvp=jvp if has else None)(forward)


def _met(g, slope):
    """g times the slope; 0 where g is, whatever the slope."""
    return _where(g == 0, 0.0, g * slope)


def _over(y, x, at_zero):
    """y / x, and its limit at 0."""
    zero = x == 0
    return _where(zero, at_zero, y / _where(zero, 1.0, x))


def _of_core(name, slope, doc):
    """A row of the core's own, whose derivative is a function of this module."""

    def forward(x):
        return getattr(_C, name)(x)

    forward.__doc__ = doc
    return fallback(
        name,
        vjp=lambda operands, results, cotangents: (_met(cotangents[0], slope(operands[0])),),
        jvp=lambda operands, results, tangents: _met(tangents[0], slope(operands[0])),
        core=True,
    )(forward)


lgamma = _of_core("lgamma", lambda x: digamma(x), "log |Γ(x)|.")
digamma = _of_core("digamma", lambda x: polygamma(1, x), "Γ'(x) / Γ(x).")
bessel_j0 = _special(
    "bessel_j0", lambda x, y: -bessel_j1(x), library="j0", doc="Bessel function of the first kind, of order 0."
)
bessel_j1 = _special(
    "bessel_j1", lambda x, y: bessel_j0(x) - _over(y, x, 0.5), library="j1", doc="Bessel function of the first kind, of order 1."
)  # fmt: skip
bessel_y0 = _special(
    "bessel_y0", lambda x, y: -bessel_y1(x), library="y0", doc="Bessel function of the second kind, of order 0."
)
bessel_y1 = _special(
    "bessel_y1", lambda x, y: bessel_y0(x) - y / x, library="y1", doc="Bessel function of the second kind, of order 1."
)  # fmt: skip
k0 = _special("k0", lambda x, y: -k1(x), doc="Modified Bessel function of the second kind, of order 0.")
k1 = _special("k1", lambda x, y: -k0(x) - y / x, doc="Modified Bessel function of the second kind, of order 1.")
k0e = _special("k0e", lambda x, y: y - k1e(x), doc="exp(x) k0(x).")
k1e = _special("k1e", lambda x, y: y - k0e(x) - y / x, doc="exp(x) k1(x).")
airy_ai = _special("airy_ai", lambda x, y: _airy_slope(x), library="airy", pick=0, doc="Airy function Ai.")
_airy_slope = _special("airy_ai_slope", lambda x, y: x * airy_ai(x), library="airy", pick=1, doc="Derivative of Ai.")


def _density(a, x, y):
    """Derivative of gammainc(a, x) by x: x^(a-1) exp(-x) / Γ(a)."""
    return ((a - 1) * x.log() - x - lgamma(a)).exp()


gammainc = _special("gammainc", None, _density, doc="Regularized lower incomplete gamma function.")
gammaincc = _special("gammaincc", None, lambda a, x, y: -_density(a, x, y), doc="1 - gammainc.")
zeta = _special(
    "zeta", None, lambda x, q, y: -x * zeta(x + 1, q), library=_zeta, doc="Hurwitz zeta function: sum of (k + q)^-x."
)


@fallback(
    "polygamma",
    batch=ELEMENTWISE,
    vjp=lambda operands, results, cotangents, n: (_met(cotangents[0], polygamma(n + 1, operands[0])),),
    jvp=lambda operands, results, tangents, n: _met(tangents[0], polygamma(n + 1, operands[0])),
)
def _polygamma(xp, x, n):
    """The n-th derivative of digamma."""
    factor = (-1.0) ** (n + 1) * _library(xp, "gamma")(n + 1.0)
    return xp.asarray(factor * _zeta(xp, n + 1.0, x.astype(np.float64)), dtype=x.dtype)


def polygamma(n, x):
    """The n-th derivative of digamma."""
    return _polygamma(x, n=n) if n else digamma(x)


# ---- orthogonal polynomials: p0 = 1, p1, and p[k+1] of p[k] and p[k-1]

_POLYNOMIALS = {
    "chebyshev_polynomial_t": (lambda x: x, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_u": (lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_v": (lambda x: 2 * x - 1, lambda k, x, p, q: 2 * x * p - q),
    "chebyshev_polynomial_w": (lambda x: 2 * x + 1, lambda k, x, p, q: 2 * x * p - q),
    "hermite_polynomial_h": (lambda x: 2 * x, lambda k, x, p, q: 2 * x * p - 2 * k * q),
    "hermite_polynomial_he": (lambda x: x, lambda k, x, p, q: x * p - k * q),
    "laguerre_polynomial_l": (lambda x: 1 - x, lambda k, x, p, q: ((2 * k + 1 - x) * p - k * q) / (k + 1)),
    "legendre_polynomial_p": (lambda x: x, lambda k, x, p, q: ((2 * k + 1) * x * p - k * q) / (k + 1)),
}


def polynomial_of(name, x, n):
    """The polynomial of a number n: composed, so it differentiates."""
    first, step = _POLYNOMIALS[name]
    if n < 0:
        return x * 0
    q, p = x * 0 + 1, first(x)
    if n == 0:
        return q
    for k in range(1, n):
        p, q = step(k, x, p, q), p
    return p


@fallback("orthogonal_polynomial", batch=ELEMENTWISE)
def polynomials_of(xp, x, n, name):
    """The polynomials of a number n for each element; 0 where n is negative."""
    first, step = _POLYNOMIALS[name]
    x, n = xp.broadcast_arrays(x, xp.trunc(n))
    q = xp.ones_like(x)
    result = xp.where(n < 0, xp.zeros_like(x), q)
    p = first(x)
    top = int(n.max()) if n.size else 0
    for k in range(1, top + 1):
        result = xp.where(n == k, p, result)
        p, q = step(k, x, p, q), p
    return result
