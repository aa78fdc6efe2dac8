"""Elementwise functions composed of the core's rows."""

import math

from . import _C
from ._C import Tensor, _where, atan2, get_default_dtype, log, log1p, maximum, minimum, result_type
from ._dtypes import DTYPES
from ._public import listed
from .facts import limits
from .ops import _as, _typed, broadcast_tensors

__all__ = []
_public = listed(__all__)


def _floating(x):
    x = _as(x)
    return x if x.dtype.is_floating_point else _real(x).to(get_default_dtype())


def _real(x):
    """x, which is not complex: its imaginary part would be lost."""
    if x.dtype.category == "complex":
        raise TypeError(f"[to] no kernel for this type; got {x.dtype.name}; try the real and the imaginary part apart")
    return x


def _both(x, y):
    """Two operands as floats of one dtype and shape; a Python number takes the tensor's dtype."""
    for v in (x, y):
        if isinstance(v, Tensor):
            _real(v)
    kind = result_type(x, y)
    if not kind.is_floating_point:
        kind = get_default_dtype()
    return broadcast_tensors(*_typed(kind, x, y))


def _signed(x):
    """Unsigned integers in a type that has their negatives, so that a difference does not wrap."""
    if x.dtype.category != "integer" or x.dtype.is_signed:
        return x
    return x.to(DTYPES["float64" if x.dtype.itemsize == 8 else "int64"])


def _truth(x):
    x = _as(x)
    return x if x.dtype.category == "bool" else x != 0


@_public
def logical_and(input, other):
    """Whether both are true (not zero).

    >>> import pydiff as pd
    >>> pd.logical_and(pd.tensor([1, 0]), pd.tensor([2, 2])).tolist()
    [True, False]
    """
    return _truth(input) & _truth(other)


@_public
def logical_or(input, other):
    """Whether one or both are true (not zero).

    >>> import pydiff as pd
    >>> pd.logical_or(pd.tensor([1, 0]), pd.tensor([0, 0])).tolist()
    [True, False]
    """
    return _truth(input) | _truth(other)


@_public
def logical_xor(input, other):
    """Whether exactly one is true (not zero).

    >>> import pydiff as pd
    >>> pd.logical_xor(pd.tensor([1, 0]), pd.tensor([1, 1])).tolist()
    [False, True]
    """
    return _truth(input) ^ _truth(other)


@_public
def logical_not(input):
    """Whether it is false (zero).

    >>> import pydiff as pd
    >>> pd.logical_not(pd.tensor([1, 0])).tolist()
    [False, True]
    """
    return ~_truth(input)


@_public
def fmod(input, other):
    """The remainder of truncated division; the sign is that of `input`. An integer is left as it is by a divisor of 0.

    >>> import pydiff as pd
    >>> pd.fmod(pd.tensor([-3., 3.]), 2).tolist()
    [-1.0, 1.0]
    """
    input = _as(input)
    if result_type(input, other).category == "integer":
        left = input.remainder(other)
        return _where((left != 0) & ((input < 0) != (other < 0)), left - other, left)
    size = abs(other) if not isinstance(other, Tensor) else other.abs()
    left = input.abs().remainder(size)
    return _where(input < 0, -left, left)


@_public
def frac(input):
    """What is left of x without trunc(x).

    >>> import pydiff as pd
    >>> pd.frac(pd.tensor([1.5, -1.5])).tolist()
    [0.5, -0.5]
    """
    return input - input.trunc()


@_public
def xlogy(input, other):
    """x log(y), and 0 where x is 0, unless y is NaN.

    >>> import pydiff as pd
    >>> pd.xlogy(pd.tensor([0., 2.]), pd.tensor([0., 1.])).tolist()
    [0.0, 0.0]
    """
    return _times_log(input, other, log)


def _times_log(x, y, logarithm, edge=0.0):
    x, y = _both(x, y)
    zero = (x == 0) & ~y.isnan()
    # Where x is 0 its derivative is log(y) still.
    at_zero = _C.strong_mul(x, _where(zero, logarithm(_where(y > edge, y, 1.0)), 0.0))
    return _where(zero, at_zero, x * logarithm(y))


@_public
def logit(input, eps=None):
    """log(p / (1 - p)), with p clamped to [eps, 1 - eps] where eps is given.

    >>> import pydiff as pd
    >>> pd.logit(pd.tensor([0.5])).tolist()
    [0.0]
    """
    p = _floating(input)
    if eps is not None:
        p = p.clamp(eps, 1 - eps)
    # Around 1/2 the two logarithms nearly cancel; 2 p - 1 is exact there.
    return _where((p - 0.5).abs() < 0.25, 2 * _C.atanh(2 * p - 1), log(p) - log1p(-p))


@_public
def lerp(input, end, weight):
    """input + weight * (end - input).

    >>> import pydiff as pd
    >>> pd.lerp(pd.tensor([0.]), pd.tensor([10.]), 0.5).tolist()
    [5.0]
    """
    return input + weight * (end - input)


@_public
def addcmul(input, tensor1, tensor2, value=1):
    """input + value * tensor1 * tensor2.

    >>> import pydiff as pd
    >>> pd.addcmul(pd.ones(1), pd.ones(1), pd.ones(1), value=2).tolist()
    [3.0]
    """
    return input + value * tensor1 * tensor2


@_public
def addcdiv(input, tensor1, tensor2, value=1):
    """input + value * tensor1 / tensor2.

    >>> import pydiff as pd
    >>> pd.addcdiv(pd.ones(1), pd.ones(1), pd.full((1,), 2.), value=4).tolist()
    [3.0]
    """
    return input + value * tensor1 / tensor2


@_public
def deg2rad(input):
    """Degrees as radians.

    >>> import pydiff as pd
    >>> round(pd.deg2rad(pd.tensor(180.)).item(), 5)
    3.14159
    """
    return _floating(input) * (math.pi / 180)


@_public
def rad2deg(input):
    """Radians as degrees.

    >>> import pydiff as pd
    >>> round(pd.rad2deg(pd.tensor(3.14159265)).item(), 3)
    180.0
    """
    return _floating(input) * (180 / math.pi)


@_public
def nan_to_num(input, nan=0.0, posinf=None, neginf=None):
    """NaN and infinities replaced, by default with 0 and the largest finite numbers.

    >>> import pydiff as pd
    >>> pd.nan_to_num(pd.tensor([float("nan"), 1.])).tolist()
    [0.0, 1.0]
    """
    if not input.dtype.is_floating_point:
        return _real(input).clone()
    largest = limits(input.dtype).max
    result = _where(input.isnan(), nan, input)
    result = _where(input == math.inf, largest if posinf is None else posinf, result)
    return _where(input == -math.inf, -largest if neginf is None else neginf, result)


@_public
def fmax(input, other):
    """The larger of two; a NaN loses.

    >>> import pydiff as pd
    >>> pd.fmax(pd.tensor([float("nan")]), pd.tensor([1.])).tolist()
    [1.0]
    """
    return _but_nan(input, other, maximum)


@_public
def fmin(input, other):
    """The smaller of two; a NaN loses.

    >>> import pydiff as pd
    >>> pd.fmin(pd.tensor([float("nan")]), pd.tensor([1.])).tolist()
    [1.0]
    """
    return _but_nan(input, other, minimum)


def _but_nan(a, b, best):
    a, b = _as(a), _as(b)
    if not (a.dtype.is_floating_point or b.dtype.is_floating_point):
        return best(a, b)
    # Where the left is no NaN and they are equal, or the right is NaN, all of the gradient goes left, as in PyTorch.
    from_left = (best(a, b) == a) | _floating(b).isnan()
    return _where(from_left, a, b)


@_public
def heaviside(input, values):
    """0 where x < 0, 1 where x > 0, `values` where x is 0.

    >>> import pydiff as pd
    >>> pd.heaviside(pd.tensor([-2., 0., 3.]), pd.tensor(0.5)).tolist()
    [0.0, 0.5, 1.0]
    """
    input, values = _typed(result_type(input, values), input, values)
    return _where(input == 0, values, (input > 0).to(input.dtype))


@_public
def isposinf(input):
    """Whether it is +inf; integers never are.

    >>> import pydiff as pd
    >>> pd.isposinf(pd.tensor([float("inf"), 1.])).tolist()
    [True, False]
    """
    return _is_infinity(input, math.inf)


@_public
def isneginf(input):
    """Whether it is -inf; integers never are.

    >>> import pydiff as pd
    >>> pd.isneginf(pd.tensor([-float("inf"), 1.])).tolist()
    [True, False]
    """
    return _is_infinity(input, -math.inf)


def _is_infinity(input, infinity):
    input = _as(input)
    return input == infinity if input.dtype.is_floating_point else input != input


@_public
def round(input, *, decimals=0):
    """The nearest number with so many decimals, ties to even. The derivative is 0.

    Negative `decimals` round to tens, hundreds, …. Raises TypeError for decimals of integers.

    >>> import pydiff as pd
    >>> pd.round(pd.tensor([2.5, 1234.567]), decimals=-2).tolist()
    [0.0, 1200.0]
    """
    if not decimals:
        return _C.round(input)
    if not input.dtype.is_floating_point:
        raise TypeError(f"[round] decimals are of floating-point numbers; got {input.dtype}; try x.double()")
    scale = 10.0 ** abs(decimals)
    return _C.round(input * scale) / scale if decimals > 0 else _C.round(input / scale) * scale


@_public
def positive(input):
    """The tensor itself. Raises TypeError for booleans.

    >>> import pydiff as pd
    >>> pd.positive(pd.tensor([-1.])).tolist()
    [-1.0]
    """
    if input.dtype.category == "bool":
        raise TypeError(f"[positive] numbers have a sign; got {input.dtype}; try input.to(pydiff.int64)")
    return input


@_public
def rsub(input, other, alpha=1):
    """other - alpha * input.

    >>> import pydiff as pd
    >>> pd.rsub(pd.tensor([1.]), 3, alpha=2).tolist()
    [1.0]
    """
    return other - (input if alpha == 1 else alpha * input)


@_public
def float_power(input, exponent):
    """input ** exponent in float64.

    >>> import pydiff as pd
    >>> pd.float_power(pd.tensor([2]), 3).dtype
    pydiff.float64
    """
    wide = [_real(x).double() if isinstance(x, Tensor) else float(x) for x in (input, exponent)]
    return wide[0] ** wide[1]


@_public
def signbit(input):
    """Whether the sign bit is set, that of -0.0 too.

    >>> import pydiff as pd
    >>> pd.signbit(pd.tensor([-0.0, 1.])).tolist()
    [True, False]
    """
    # The angle of (x, -1) is -π exactly where x is negative or -0.
    return atan2(_floating(input), -1.0) < 0


@_public
def copysign(input, other):
    """|input| with the sign of `other`.

    >>> import pydiff as pd
    >>> pd.copysign(pd.tensor([1.]), pd.tensor([-2.])).tolist()
    [-1.0]
    """
    input, other = _both(input, other)
    size = input.abs()
    return _where(signbit(other), -size, size)


# ---- comparing


@_public
def isclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """|a - b| <= atol + rtol * |b|, element by element.

    >>> import pydiff as pd
    >>> pd.isclose(pd.tensor([1., 2.]), pd.tensor([1., 2.1])).tolist()
    [True, False]
    """
    same = input == other
    if not (input.dtype.is_floating_point or other.dtype.is_floating_point):
        input, other = input.double(), other.double()
    near = (input - other).abs() <= atol + rtol * other.abs()
    # An infinity is close to nothing but itself, however large the tolerance.
    result = same | (near & other.isfinite() & input.isfinite())
    return result | (input.isnan() & other.isnan()) if equal_nan else result


@_public
def allclose(input, other, rtol=1e-05, atol=1e-08, equal_nan=False):
    """Whether all elements are close; a Python bool.

    >>> import pydiff as pd
    >>> pd.allclose(pd.ones(2), pd.ones(2) + 1e-9)
    True
    """
    return isclose(_as(input), _as(other), rtol, atol, equal_nan).all().item()


@_public
def equal(input, other):
    """Whether shapes and all elements are equal; a Python bool.

    >>> import pydiff as pd
    >>> pd.equal(pd.ones(2), pd.ones(2)), pd.equal(pd.ones(2), pd.ones(3))
    (True, False)
    """
    return input.shape == other.shape and (input == other).all().item()
