"""Special functions, under the names of `torch.special` and, where they have one, of SciPy.

The common ones are the core's own or composed of its functions. The rarer ones (`polygamma`, `igamma`, `zeta`, the
Bessel functions but `i0 i1 i0e i1e`, `airy_ai`) are computed by SciPy, on a GPU by CuPy, which are asked for when such
a function is called; these are computed when recorded, and so are an error inside `vmap`. Derivatives are functions of
this module again, so they go to any order, but for those by an order or a shape parameter. Integers become floats of
the default dtype.
"""

import math

from . import _C
from ._C import (
    Tensor, _where, erf, erfc, exp2, expm1, log1p, log_softmax, logsumexp, softmax,
)  # fmt: skip
from ._public import listed, publish
from .fallback import special_functions as _rows
from .pointwise import _both, _floating, _times_log, logit, xlogy
from .pointwise import round

__all__ = [
    "erf", "erfc", "exp2", "expm1", "log1p", "log_softmax", "logit", "logsumexp", "round", "softmax", "xlogy",
]  # fmt: skip
_public = listed(__all__)


def _alias(name, function):
    globals()[name] = function
    __all__.append(name)


# ---- the gamma function


@_public
def lgamma(input):
    """log |Γ(x)|.

    >>> import pydiff as pd
    >>> print(f"{pd.lgamma(pd.tensor(5.0)).exp().item():.3f}")
    24.000
    """
    return _rows.lgamma(_floating(input))


@_public
def digamma(input):
    """Γ'(x) / Γ(x), the derivative of `lgamma`.

    >>> import pydiff as pd
    >>> print(f"{-pd.digamma(pd.tensor(1.0)).item():.4f}")  # Euler's constant
    0.5772
    """
    return _rows.digamma(_floating(input))


@_public
def polygamma(n, input):
    """The n-th derivative of `digamma`, n = 0, 1, ….

    As a method it is called x.polygamma(n). Raises ValueError for a negative n.

    >>> import pydiff as pd
    >>> print(f"{pd.polygamma(1, pd.tensor(1.0)).item():.4f}")  # π² / 6
    1.6449
    """
    if isinstance(n, Tensor):
        n, input = input, n
    if n < 0:
        raise ValueError(f"[polygamma] n is not negative; got {n}; try 0")
    return _rows.polygamma(n, _floating(input))


@_public
def mvlgamma(input, p):
    """log of the multivariate gamma function: p (p - 1) / 4 log π + sum of lgamma(x - j / 2), j < p.

    Raises ValueError unless p is positive.

    >>> import pydiff as pd
    >>> pd.mvlgamma(pd.tensor(1.0), 1).item()
    0.0
    """
    if p < 1:
        raise ValueError(f"[mvlgamma] p is positive; got {p}; try 1")
    x = _floating(input)
    total = p * (p - 1) / 4 * math.log(math.pi)
    for j in range(p):
        total = _rows.lgamma(x - j / 2) + total
    return total


@_public
def igamma(input, other):
    """Regularized lower incomplete gamma function P(a, x), a = `input`; differentiable by x only.

    >>> import pydiff as pd
    >>> print(f"{pd.igamma(pd.tensor(1.0), pd.tensor(1.0)).item():.4f}")  # 1 - 1/e
    0.6321
    """
    return _rows.gammainc(*_both(input, other))


@_public
def igammac(input, other):
    """1 - P(a, x), without cancellation; see `igamma`.

    >>> import pydiff as pd
    >>> print(f"{pd.igammac(pd.tensor(1.0), pd.tensor(1.0)).item():.4f}")
    0.3679
    """
    return _rows.gammaincc(*_both(input, other))


@_public
def zeta(input, other):
    """Hurwitz's zeta function: sum over k >= 0 of (k + q)^-x, x = `input`; differentiable by q only.

    >>> import pydiff as pd
    >>> print(f"{pd.special.zeta(pd.tensor(2.0), pd.tensor(1.0)).item():.4f}")
    1.6449
    """
    return _rows.zeta(*_both(input, other))


# ---- the normal distribution and the error function


@_public
def erfinv(input):
    """The inverse of erf, on [-1, 1].

    >>> import pydiff as pd
    >>> pd.erfinv(pd.tensor([0.0, 1.0])).tolist()
    [0.0, inf]
    """
    return _C.erfinv(_floating(input))


@_public
def erfcx(input):
    """exp(x²) erfc(x), which neither over- nor underflows for large x.

    >>> import pydiff as pd
    >>> pd.special.erfcx(pd.tensor(0.0)).item()
    1.0
    """
    return _C.erfcx(_floating(input))


@_public
def ndtr(input):
    """The distribution function of the standard normal: erfc(-x / √2) / 2.

    >>> import pydiff as pd
    >>> pd.special.ndtr(pd.tensor(0.0)).item()
    0.5
    """
    return _C.ndtr(_floating(input))


@_public
def ndtri(input):
    """The inverse of `ndtr`, on [0, 1].

    >>> import pydiff as pd
    >>> pd.special.ndtri(pd.tensor(0.5)).item()
    0.0
    """
    return _C.ndtri(_floating(input))


@_public
def log_ndtr(input):
    """log of `ndtr`, which does not underflow.

    >>> import pydiff as pd
    >>> pd.special.log_ndtr(pd.tensor(-100.0)).isfinite().item()
    True
    """
    return _C.log_ndtr(_floating(input))


# ---- entropies and logarithms


@_public
def entr(input):
    """-x log(x) for x > 0, 0 at 0, -inf below.

    >>> import pydiff as pd
    >>> pd.special.entr(pd.tensor([0.0, 1.0, -1.0])).abs().tolist()
    [0.0, 0.0, inf]
    """
    x = _floating(input)
    inside = ~(x <= 0)  # a NaN is
    return _where(x == 0, 0.0, _where(x < 0, -math.inf, -x * _where(inside, x, 1.0).log()))


@_public
def xlog1py(input, other):
    """x log(1 + y), and 0 where x is 0, unless y is NaN.

    >>> import pydiff as pd
    >>> pd.special.xlog1py(pd.tensor([0.0]), pd.tensor([-1.0])).tolist()
    [0.0]
    """
    return _times_log(input, other, log1p, -1.0)


# ---- sin(x) / x


@_public
def sinc(input):
    """sin(π x) / (π x), 1 at 0.

    >>> import pydiff as pd
    >>> pd.sinc(pd.tensor([0.0, 0.5])).tolist()[0]
    1.0
    """
    x = _floating(input)
    return _sin_over(x * math.pi, lambda small: _C.sinc(_where(small, 1.0, x)))


def _sin_over(x, away=None):
    # Near 0 Taylor's polynomial, whose derivatives are right to any order.
    small = x.abs() < 0.5
    y = x * x
    series = 0.0
    for k in range(9, 0, -1):
        series = (1.0 - series) * y / (2 * k * (2 * k + 1))
    if away is None:
        large = _where(small, 1.0, x)
        return _where(small, 1.0 - series, large.sin() / large)
    return _where(small, 1.0 - series, away(small))


@_public
def spherical_bessel_j0(input):
    """sin(x) / x, 1 at 0 and 0 at infinity.

    >>> import pydiff as pd
    >>> pd.special.spherical_bessel_j0(pd.tensor(0.0)).item()
    1.0
    """
    x = _floating(input)
    return _where(x.isinf(), 0.0, _sin_over(x))


# ---- functions of one number that a row computes


def _one(name, row, doc, example):
    def function(input):
        return row(_floating(input))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{doc}

    >>> import pydiff as pd
    >>> print("%.3f" % pd.special.{name}(pd.tensor(1.0)).item())
    {example:.3f}
    """
    _alias(name, function)


_FIRST, _SECOND = "Bessel function of the first kind, of order", "Bessel function of the second kind, of order"
_one("i0", _C.i0, f"Modified {_FIRST} 0.", 1.266)
_one("i0e", _C.i0e, "exp(-|x|) i0(x).", 0.466)
_one("i1", _C.i1, f"Modified {_FIRST} 1.", 0.565)
_one("i1e", _C.i1e, "exp(-|x|) i1(x).", 0.208)
_one("bessel_j0", _rows.bessel_j0, f"{_FIRST} 0.", 0.765)
_one("bessel_j1", _rows.bessel_j1, f"{_FIRST} 1.", 0.44)
_one("bessel_y0", _rows.bessel_y0, f"{_SECOND} 0.", 0.088)
_one("bessel_y1", _rows.bessel_y1, f"{_SECOND} 1.", -0.781)
_one("modified_bessel_k0", _rows.k0, f"Modified {_SECOND} 0.", 0.421)
_one("modified_bessel_k1", _rows.k1, f"Modified {_SECOND} 1.", 0.602)
_one("scaled_modified_bessel_k0", _rows.k0e, "exp(x) modified_bessel_k0(x).", 1.144)
_one("scaled_modified_bessel_k1", _rows.k1e, "exp(x) modified_bessel_k1(x).", 1.636)
_one("airy_ai", _rows.airy_ai, "Airy's function Ai.", 0.135)


# ---- orthogonal polynomials


def _polynomial(name, what, shifted=False):
    base = name.removeprefix("shifted_")

    def function(input, n):
        x = _floating(input)
        if isinstance(n, Tensor):
            x, n = _both(input, n)
        x = 2 * x - 1 if shifted else x
        if isinstance(n, Tensor):
            return _rows.polynomials_of(x, n, name=base)
        return _rows.polynomial_of(base, x, int(n))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{what} of degree n{", of 2 x - 1" if shifted else ""}; 0 for a negative n.

    Arguments:
        n: a number, for a composition that differentiates; or a tensor, that broadcasts with `input` and does not.

    >>> import pydiff as pd
    >>> pd.special.{name}(pd.tensor(1.0), 0).item()
    1.0
    """
    _alias(name, function)


for _kind, _number in (("t", "first"), ("u", "second"), ("v", "third"), ("w", "fourth")):
    _polynomial(f"chebyshev_polynomial_{_kind}", f"Chebyshev's polynomial of the {_number} kind")
    _polynomial(f"shifted_chebyshev_polynomial_{_kind}", f"Chebyshev's polynomial of the {_number} kind", True)
_polynomial("hermite_polynomial_h", "Hermite's polynomial, the physicists',")
_polynomial("hermite_polynomial_he", "Hermite's polynomial, the probabilists',")
_polynomial("laguerre_polynomial_l", "Laguerre's polynomial")
_polynomial("legendre_polynomial_p", "Legendre's polynomial")

# ---- second names

_alias("expit", Tensor.sigmoid)
_alias("gammaln", lgamma)
_alias("gammainc", igamma)
_alias("gammaincc", igammac)
_alias("psi", digamma)
_alias("multigammaln", mvlgamma)
_alias("modified_bessel_i0", globals()["i0"])
_alias("modified_bessel_i1", globals()["i1"])

publish(globals(), __all__)
