"""What dtypes and tensors are: limits of dtypes, questions with one answer, and what PyTorch asks of complex and real alike."""

import functools
import math

from . import _C
from ._C import Tensor, _where, full_like, ones_like, zeros_like
from ._dtypes import DTYPES
from ._public import listed, named
from .ops import _as

__all__ = []
_public = listed(__all__)


# ---- dtypes

#: (bits of the significand behind the point, largest exponent) of the floating dtypes.
_FLOATS = {"float16": (10, 15), "bfloat16": (7, 127), "float32": (23, 127), "float64": (52, 1023)}


@_public
class finfo:
    """The limits of a floating dtype, by default of the default one.

    Attributes: `bits`, `eps` (the step behind 1), `max`, `min`, `tiny` and `smallest_normal` (the smallest normal number),
    `smallest_subnormal`, `resolution` (a power of ten), `dtype` (its name). Raises TypeError for other dtypes.

    >>> import pydiff as pd
    >>> pd.finfo(pd.float32).eps == 2.0**-23, pd.finfo(pd.bfloat16).bits
    (True, 16)
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "smallest_subnormal", "tiny")

    def __init__(self, type=None):
        dtype = _C.get_default_dtype() if type is None else _C.as_dtype(type)
        if dtype.is_complex:  # of their parts, as in PyTorch
            dtype = DTYPES["float32" if dtype.itemsize == 8 else "float64"]
        if dtype.name not in _FLOATS:
            raise TypeError(f"[finfo] a floating dtype is needed; got {dtype.name}; try iinfo")
        digits, top = _FLOATS[dtype.name]
        self.dtype, self.bits = dtype.name, 8 * dtype.itemsize
        self.eps = 2.0**-digits
        self.max = (2 - self.eps) * 2.0**top
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (1 - top)
        self.smallest_subnormal = math.ldexp(1.0, 1 - top - digits)
        self.resolution = 10.0 ** -math.floor(digits * math.log10(2))

    def __repr__(self):
        parts = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{name}={getattr(self, name):g}' for name in parts)}, dtype={self.dtype})"


@_public
class iinfo:
    """The limits of an integer dtype.

    Attributes: `bits`, `min`, `max`, `dtype` (its name). Raises TypeError for other dtypes.

    >>> import pydiff as pd
    >>> pd.iinfo(pd.int8).max, pd.iinfo(pd.uint8).min
    (127, 0)
    """

    __slots__ = ("bits", "dtype", "max", "min")

    def __init__(self, type):
        dtype = _C.as_dtype(type)
        if dtype.category != "integer":
            raise TypeError(f"[iinfo] an integer dtype is needed; got {dtype.name}; try finfo")
        self.dtype, self.bits = dtype.name, 8 * dtype.itemsize
        self.min = -(1 << self.bits - 1) if dtype.is_signed else 0
        self.max = (1 << self.bits - dtype.is_signed) - 1

    def __repr__(self):
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


#: `finfo` of a dtype, made once.
limits = functools.cache(finfo)

_KINDS = ("bool", "integer", "floating", "complex")


@_public
def can_cast(from_, to):
    """Whether a result of one dtype may be kept in another: not in a lower kind of bool, integer, floating, complex.

    >>> import pydiff as pd
    >>> pd.can_cast(pd.int64, pd.float32), pd.can_cast(pd.float64, pd.int32)
    (True, False)
    """
    from_, to = _C.as_dtype(from_), _C.as_dtype(to)
    return _KINDS.index(from_.category) <= _KINDS.index(to.category)


# ---- questions


@_public
def is_complex(input):
    """Whether the elements are complex numbers.

    >>> import pydiff as pd
    >>> pd.is_complex(pd.ones(1))
    False
    """
    return input.dtype.is_complex


@_public
def is_floating_point(input):
    """Whether the elements are real floating-point numbers.

    >>> import pydiff as pd
    >>> pd.is_floating_point(pd.ones(1))
    True
    """
    return input.dtype.is_floating_point


@_public
def is_signed(input):
    """Whether the dtype has negative numbers.

    >>> import pydiff as pd
    >>> pd.is_signed(pd.tensor([1], dtype=pd.uint8))
    False
    """
    return input.dtype.is_signed


@_public
def is_nonzero(input):
    """Whether the one element is not zero; computes it. Raises RuntimeError for more elements.

    >>> import pydiff as pd
    >>> pd.is_nonzero(pd.tensor([2.0]))
    True
    """
    if input.numel() != 1:
        raise RuntimeError(f"[is_nonzero] one element is needed; got {tuple(input.shape)}; try (x != 0).any()")
    return bool(input.item())


@_public
def is_same_size(input, other):
    """Whether both have one shape.

    >>> import pydiff as pd
    >>> pd.is_same_size(pd.ones(2), pd.ones(3))
    False
    """
    return input.shape == other.shape


@_public
def get_device(input):
    """The GPU's index, -1 for the CPU.

    >>> import pydiff as pd
    >>> pd.get_device(pd.ones(1, device="cpu"))
    -1
    """
    return -1 if input.device.index is None else input.device.index


# ---- what PyTorch asks of complex and real numbers alike; here of real ones


def _is_real(op, input):
    input = _as(input)
    if input.dtype.is_complex:
        raise TypeError(f"[{op}] complex numbers are only stored; got {input.dtype.name}; try NumPy's {op}")
    return input


def _of_real(name, line):
    def function(input):
        return _is_real(name, input)

    doc = f"""{line}: of real numbers the tensor itself. Raises TypeError for complex ones.

    >>> import pydiff as pd
    >>> pd.{name}(pd.tensor([1.0])).tolist()
    [1.0]
    """
    return _public(named(function, name, doc))


real = _of_real("real", "The real part")
conj = _of_real("conj", "The complex conjugate")
conj_physical = _of_real("conj_physical", "The complex conjugate, computed")
conjugate = _of_real("conjugate", "NumPy's name of the complex conjugate")
resolve_conj = _of_real("resolve_conj", "With a pending conjugation done")
resolve_neg = _of_real("resolve_neg", "With a pending negation done")


@_public
def isreal(input):
    """Whether the imaginary part is 0: of real numbers true everywhere.

    >>> import pydiff as pd
    >>> pd.isreal(pd.tensor([1.0])).tolist()
    [True]
    """
    return ones_like(_is_real("isreal", input), dtype=DTYPES["bool"])


@_public
def angle(input):
    """The angle of a number: of real ones 0, π below 0, NaN for NaN. Its derivative is 0.

    >>> import pydiff as pd
    >>> round(pd.angle(pd.tensor([-1.0])).item(), 4)
    3.1416
    """
    input = _is_real("angle", input)
    kind = input.dtype if input.dtype.is_floating_point else _C.get_default_dtype()
    turned = _where(input < 0, full_like(input, math.pi, dtype=kind), zeros_like(input, dtype=kind))
    return _where(input != input, input, turned) if input.dtype.is_floating_point else turned


def _never(op, input):
    if not isinstance(input, Tensor):
        raise TypeError(f"[{op}] `input` is not a tensor; got {input!r}; try tensor(numbers)")
    return False


@_public
def is_conj(input):
    """Whether a conjugation is pending: never.

    >>> import pydiff as pd
    >>> pd.is_conj(pd.ones(1))
    False
    """
    return _never("is_conj", input)


@_public
def is_neg(input):
    """Whether a negation is pending: never.

    >>> import pydiff as pd
    >>> pd.is_neg(pd.ones(1))
    False
    """
    return _never("is_neg", input)


# ---- methods


Tensor.is_cpu = property(lambda self: self.device.type == "cpu", doc="Whether it lives on the CPU.")
for _name in "is_meta is_mkldnn is_mps is_nested is_quantized is_sparse is_sparse_csr is_xla is_xpu".split():
    setattr(Tensor, _name, property(lambda self: False, doc="False: all tensors are dense, on the CPU or a CUDA device."))
