"""16-bit floats through functions of several operations: computed in float32, and the result rounded once."""

import functools
import inspect

from ._C import Tensor, promote_types
from ._dtypes import DTYPES


def narrow(x):
    """Is it a tensor of 16-bit floats?"""
    return isinstance(x, Tensor) and x.dtype.itemsize == 2 and x.dtype.is_floating_point


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
        floats = [x.dtype for x in given.values() if isinstance(x, Tensor) and x.dtype.is_floating_point]
        dtype = functools.reduce(promote_types, floats)
        first = next(iter(given.values()))
        wide = {name: x.float() if narrow(x) else x for name, x in given.items()}
        result = function(**wide)
        if isinstance(result, Tensor) and result.dtype == DTYPES["float32"]:
            result = result.to(dtype)
        return first.copy_(result) if inplace else result

    return wrapped
