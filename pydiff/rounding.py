"""Functions whose results are whole numbers or signs: they require a gradient where their operands do, and it is 0."""

from . import _C
from ._C import Tensor, _where

__all__ = ["ceil", "div", "divide", "fix", "floor", "round", "sgn", "sign", "true_divide", "trunc"]


def _flat(result, *operands):
    """`result` with an edge to its operands, along which nothing passes."""
    for x in operands:
        if isinstance(x, Tensor) and x.requires_grad:
            result = _where(_C.zeros((), dtype="bool", device=x.device), x, result)
    return result


def _rounded(row, input):
    """Integers are whole already."""
    if isinstance(input, Tensor) and not input.dtype.is_floating_point:
        return input.clone()
    return _flat(row(input), input)


def floor(input):
    """The largest whole number not above x. The derivative is 0.

    >>> import pydiff as pd
    >>> pd.floor(pd.tensor([1.5, -1.5])).tolist()
    [1.0, -2.0]
    """
    return _rounded(_C.floor, input)


def ceil(input):
    """The smallest whole number not below x. The derivative is 0.

    >>> import pydiff as pd
    >>> pd.ceil(pd.tensor([1.5, -1.5])).tolist()
    [2.0, -1.0]
    """
    return _rounded(_C.ceil, input)


def trunc(input):
    """x without its fraction. The derivative is 0.

    >>> import pydiff as pd
    >>> pd.trunc(pd.tensor([1.5, -1.5])).tolist()
    [1.0, -1.0]
    """
    return _rounded(_C.trunc, input)


fix = trunc


def round(input, *, decimals=0):
    """The nearest number with so many decimals, ties to even. The derivative is 0.

    Negative `decimals` round to tens, hundreds, …. Raises TypeError for decimals of integers.

    >>> import pydiff as pd
    >>> pd.round(pd.tensor([2.5, 1234.567]), decimals=-2).tolist()
    [0.0, 1200.0]
    """
    if not decimals:
        return _rounded(_C.round, input)
    if not input.dtype.is_floating_point:
        raise TypeError(f"[round] decimals are of floating-point numbers; got {input.dtype}; try x.double()")
    scale = 10.0 ** abs(decimals)
    result = _C.round(input * scale) / scale if decimals > 0 else _C.round(input / scale) * scale
    return _flat(result, input)


def sign(input):
    """-1, 0 or 1; NaN stays. The derivative is 0.

    >>> import pydiff as pd
    >>> pd.sign(pd.tensor([-3.0, 0.0])).tolist()
    [-1.0, 0.0]
    """
    if isinstance(input, Tensor) and input.dtype.category == "bool":
        return input.clone()
    return _flat(_C.sign(input), input)


sgn = sign


def div(input, other, *, rounding_mode=None):
    """Quotient; `rounding_mode` 'floor' or 'trunc' rounds it down or towards 0, with derivative 0.

    >>> import pydiff as pd
    >>> pd.div(pd.tensor([-7, 7]), 2, rounding_mode="trunc").tolist()
    [-3, 3]
    """
    result = _C.div(input, other, rounding_mode=rounding_mode)
    return result if rounding_mode is None else _flat(result, input, other)


divide = true_divide = div
