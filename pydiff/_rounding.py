"""16-bit floats through functions of several operations: computed in float32, and the result rounded once."""

import functools
import inspect

from ._C import Tensor, promote_types
from ._dtypes import DTYPES


def narrow(x):
    """Is it a tensor of 16-bit floats?"""
    return isinstance(x, Tensor) and x.dtype.itemsize == 2 and x.dtype.is_floating_point


def in_float32(call, operands):
    """`call` of the operands, 16-bit floats among them as float32; float32 results in the dtype of all operands together."""
    dtype = functools.reduce(promote_types, [x.dtype for x in operands if isinstance(x, Tensor) and x.dtype.is_floating_point])
    results = call([x.float() if narrow(x) else x for x in operands])

    def back(result):
        return result.to(dtype) if isinstance(result, Tensor) and result.dtype == DTYPES["float32"] else result

    return tuple(map(back, results)) if isinstance(results, tuple) else back(results)


def rounded_once(function):
    """Rows of the op table take 16-bit floats to float32 and round what comes out; this does so for a function of many rows.

    The function's result has the dtype that its 16-bit and other floating-point tensors have together. With `inplace` the
    first operand takes the result over.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        if not (any(map(narrow, args)) or kwargs and any(map(narrow, kwargs.values()))):
            return function(*args, **kwargs)
        given = signature.bind(*args, **kwargs).arguments
        inplace = given.pop("inplace", False)
        result = in_float32(lambda wide: function(**dict(zip(given, wide))), list(given.values()))
        return next(iter(given.values())).copy_(result) if inplace else result

    return wrapped
