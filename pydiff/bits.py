"""Whole numbers and the parts of floating-point numbers: divisors, exponents, neighbours."""

from ._C import Tensor, _where, exp2, log2, result_type
from ._dtypes import DTYPES
from ._public import listed
from ._rounding import narrow
from .fallback import integers as _rows
from .ops import _typed, broadcast_tensors
from .pointwise import _floating

__all__ = []
_public = listed(__all__)


def _whole(op, input, other):
    kind = result_type(input, other)
    if kind.is_floating_point or kind.category == "bool":
        got = " and ".join(str(x.dtype if isinstance(x, Tensor) else type(x).__name__) for x in (input, other))
        raise TypeError(f"[{op}] operands are integers; got {got}; try .to(pydiff.int64)")
    return *_typed(kind, input, other), kind


@_public
def gcd(input, other):
    """The greatest common divisor of integers, not negative; gcd(0, 0) is 0. Raises TypeError for others.

    >>> import pydiff as pd
    >>> pd.gcd(pd.tensor([12, -8]), 18).tolist()
    [6, 2]
    """
    input, other, _ = _whole("gcd", input, other)
    return _rows.gcd(input, other)


@_public
def lcm(input, other):
    """The least common multiple of integers, not negative. Raises TypeError for others.

    >>> import pydiff as pd
    >>> pd.lcm(pd.tensor([4, -6]), 6).tolist()
    [12, 6]
    """
    input, other, _ = _whole("lcm", input, other)
    return _rows.lcm(input, other)


@_public
def ldexp(input, other):
    """input * 2^other.

    >>> import pydiff as pd
    >>> pd.ldexp(pd.tensor([1.0]), pd.tensor([4])).tolist()
    [16.0]
    """
    return input * exp2(_floating(other))


@_public
def frexp(input):
    """(mantissa in [0.5, 1), exponent int32) with input = mantissa * 2^exponent; 0, infinities and NaN have exponent 0.

    The mantissa differentiates, the exponent being held. Raises TypeError for integers.

    >>> import pydiff as pd
    >>> [part.tolist() for part in pd.frexp(pd.tensor([6.0, -0.5]))]
    [[0.75, -0.5], [3, 0]]
    """
    if not input.dtype.is_floating_point:
        raise TypeError(f"[frexp] floating-point numbers have exponents; got {input.dtype}; try x.float()")
    wide = input.float() if narrow(input) else input  # 2^60 is no number of 16 bits
    x = wide.detach()
    plain = x.isfinite() & (x != 0)
    # Denormals are made ordinary first, whose logarithm is right to one.
    small = x.abs() < 2.0**-100
    size = _where(plain, x.abs(), 1.0)
    size = _where(small & plain, size * 2.0**60, size)
    exponent = log2(size).floor() + 1
    held = _halved(size, exponent)
    exponent = _where(held >= 1, exponent + 1, _where(held < 0.5, exponent - 1, exponent))
    exponent = _where(plain, exponent - _where(small, 60.0, 0.0), 0.0)
    return _where(plain, _halved(wide, exponent), wide).to(input.dtype), exponent.to(DTYPES["int32"])


def _halved(x, times):
    """x / 2^times in two steps, neither of which overflows."""
    half = (times / 2).trunc()
    return x * exp2(-half) * exp2(half - times)


@_public
def nextafter(input, other):
    """The next number after `input` in the direction of `other`; the derivative by `input` is 1.

    >>> import pydiff as pd
    >>> (pd.nextafter(pd.tensor([1.0]), pd.tensor([2.0])) > 1).tolist()
    [True]
    """
    return _rows.nextafter(*broadcast_tensors(*_typed(result_type(input, other), input, other)))
