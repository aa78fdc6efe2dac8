"""What `Tensor` has beyond the core: printing, copying, pickling, and methods composed in Python."""

import copy

import numpy as np

from . import (
    _C, autograd, bits, contraction, decompositions, facts, functions, indexing, movement, ops,
    pointwise, reductions, scans, special, statistics,
)  # fmt: skip
from ._C import Tensor
from ._dtypes import DTYPES, device

# ---- facts


def size(self, dim=None):
    """The shape, or the size of one axis.

    >>> import pydiff as pd
    >>> pd.zeros(2, 3).size(), pd.zeros(2, 3).size(-1)
    ((2, 3), 3)
    """
    return self.shape if dim is None else self.shape[dim]


def dim(self):
    """Number of axes."""
    return self.ndim


def element_size(self):
    """Bytes of one element."""
    return self.itemsize


def cpu(self, memory_format=None):
    """The value on the CPU."""
    return self.to("cpu", memory_format=memory_format)


def cuda(self, device=None, non_blocking=False, memory_format=None):
    """The value on a GPU, by index or name."""
    if isinstance(device, int):
        device = f"cuda:{device}"
    return self.to(device or "cuda", memory_format=memory_format)


def type_as(self, other):
    """The value in the dtype and on the device of another tensor."""
    if not isinstance(other, Tensor):
        raise TypeError(f"[type_as] `other` is a tensor; got {other!r}; try .to(dtype)")
    return self.to(other)


def astype(self, dtype, copy=True):
    """The value in another dtype (NumPy's name of `to`)."""
    return self.to(dtype=dtype, copy=copy)


def hardshrink(self, lambd=0.5):
    """`nn.functional.hardshrink`."""
    from .nn.functional import hardshrink as of

    return of(self, lambd)


def prelu(self, weight):
    """`nn.functional.prelu`."""
    from .nn.functional import prelu as of

    return of(self, weight)


def _new(name):
    make = getattr(_C, name)

    def method(self, *shape, size=None, dtype=None, device=None, requires_grad=False):
        if size is not None:
            shape = size if isinstance(size, (tuple, list)) else (size,)
        elif len(shape) == 1 and isinstance(shape[0], (tuple, list)):
            shape = shape[0]
        dtype, device = dtype or self.dtype, device or self.device
        return make(tuple(shape), dtype=dtype, device=device, requires_grad=requires_grad)

    method.__name__ = f"new_{name}"
    method.__doc__ = f"`{name}` of this tensor's dtype and device."
    return method


def new_full(self, size, fill_value, dtype=None, device=None, requires_grad=False):
    """`full` of this tensor's dtype and device."""
    return _C.full(size, fill_value, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def new_tensor(self, data, dtype=None, device=None, requires_grad=False):
    """`tensor` of this tensor's dtype and device."""
    return _C.tensor(data, dtype=dtype or self.dtype, device=device or self.device, requires_grad=requires_grad)


def new(self, *args):
    """`new_tensor` of data, or `new_empty` of sizes (PyTorch's older name of both)."""
    sizes = all(isinstance(a, int) for a in args)
    return self.new_empty(args or (0,)) if sizes else self.new_tensor(*args)


def _type(self, dtype=None, non_blocking=False):
    """The value in another dtype; without one the dtype's name: 'pydiff.float32'."""
    return repr(self.dtype) if dtype is None else self.to(dtype=dtype)


def to_dense(self, dtype=None):
    """The value with all its elements there: itself, since all tensors are dense; in `dtype` where one is given."""
    return self if dtype is None else self.to(dtype=dtype)


def dense_dim(self):
    """Number of axes: all tensors are dense."""
    return self.ndim


def sparse_dim(self):
    """0: all tensors are dense."""
    return 0


# ---- printing


def __repr__(self):
    parts = [self.detach()._text()]
    if self.dtype not in (DTYPES["bool"], DTYPES["int64"], _C.get_default_dtype()):
        parts.append(f"dtype={self.dtype!r}")
    if self.device.type != "cpu":
        parts.append(f"device='{self.device}'")
    if self.grad_fn is not None:
        parts.append(f"grad_fn={self.grad_fn!r}")
    elif self.requires_grad:
        parts.append("requires_grad=True")
    return f"tensor({', '.join(parts)})"


def _text(self):
    if self.is_abstract:
        return f"<stands for {self.dtype.name} {self.shape}>"
    array = self.numpy()
    if array.dtype.kind == "V":  # bfloat16, which array2string prints as it is
        array = array.astype(np.float32)
    if not array.size:
        return "[]" if array.shape == (0,) else f"[], size={self.shape}"
    if array.ndim == 0 and array.dtype.kind == "b":
        return str(bool(array))
    if array.dtype.kind not in "fc":
        return np.array2string(array, separator=", ", threshold=1000, prefix="tensor(")
    # As PyTorch: whole numbers as 1., everything else with four digits.
    whole = bool(np.all(array[np.isfinite(array)] == np.trunc(array[np.isfinite(array)]))) if array.dtype.kind == "f" else False
    mode = "maxprec" if whole else "fixed"
    if array.ndim:
        return np.array2string(array, precision=4, separator=", ", threshold=1000, prefix="tensor(", floatmode=mode)
    return np.array2string(array.reshape(1), precision=4, floatmode=mode)[1:-1].strip()


def __format__(self, spec):
    if spec and self.ndim == 0:
        return format(self.item(), spec)
    if spec:
        raise TypeError(
            f"[format] only a 0-d tensor takes a format; got {spec!r} for shape {self.shape}; try .item() or f'{{x}}'"
        )
    return str(self.item()) if self.ndim == 0 and not self.is_abstract else repr(self)


# ---- containers


def __contains__(self, value):
    return (self == value).any().item()


# ---- copying


def _rebuild(array, dtype, requires_grad):
    if dtype == "bfloat16":
        import ml_dtypes

        array = array.view(ml_dtypes.bfloat16)
    return _C.tensor(array, requires_grad=requires_grad)


def __reduce_ex__(self, protocol):
    _check_leaf("pickle", self)
    array = self.detach().numpy()
    if self.dtype.name == "bfloat16":
        array = array.view(np.uint16)
    return _rebuild, (array, self.dtype.name, self.requires_grad)


def _check_leaf(op, tensor):
    if not tensor.is_leaf:
        raise RuntimeError(
            f"[{op}] only leaves are copied with what they require; got the result of {tensor.grad_fn.name()}; "
            "try .detach() first"
        )


def __copy__(self):
    result = self.detach().clone()
    if self.requires_grad and self.is_leaf:
        result.requires_grad_()
    return result if self.is_leaf else self.clone()


def __deepcopy__(self, memo):
    _check_leaf("deepcopy", self)
    known = memo.get(id(self))
    if known is None:
        known = self.detach().clone()
        if self.requires_grad:
            known.requires_grad_()
        if self.grad is not None:
            known.grad = copy.deepcopy(self.grad, memo)
        memo[id(self)] = known
    return known


# ---- the tape


def backward(self, gradient=None, retain_graph=None, create_graph=False, inputs=None):
    """Add the gradients of this tensor to the `.grad` of the leaves it depends on.

    Arguments: see `pydiff.autograd.backward`; `gradient` may be missing for a scalar.

    >>> import pydiff as pd
    >>> x = pd.tensor([1., 2.], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad.tolist()
    [2.0, 4.0]
    """
    autograd.backward(self, gradient, retain_graph, create_graph, inputs)


class _HookHandle:
    """`remove()` takes the hook away."""

    __slots__ = ("remove",)

    def __init__(self, remove):
        self.remove = remove


def register_hook(self, hook):
    """Call `hook(gradient)` in backward passes; what it returns, if not None, goes on in its place.

    Returns a handle; `handle.remove()` takes the hook away.
    """
    return _HookHandle(_C.register_hook(self, hook))


def retain_grad(self):
    """Keep the gradient of a result in its `.grad`, too."""
    _C.retain_grad(self)


def detach_(self):
    """Cut the tensor off the tape, in place; returns self."""
    return _C.cut(self)


# ---- in place


def _in_place(name, compute, doc=None):
    def method(self, *args, **kwargs):
        _C.check_writable(name, self)
        return _C.assign(name, self, compute(self, *args, **kwargs))

    method.__name__ = name
    method.__doc__ = doc or f"`{name[:-1]}` in place; returns self."
    method.__wrapped__ = compute  # whose arguments it takes
    setattr(Tensor, name, method)


def _filled(self, value):
    value = value if isinstance(value, Tensor) else _C.full((), value, dtype=self.dtype, device=self.device)
    return value.to(self.dtype).expand(self.shape)


def _copied(self, source, non_blocking=False):
    source = source if isinstance(source, Tensor) else _C.tensor(source)
    return source.to(dtype=self.dtype, device=self.device).expand(self.shape)


def apply_(self, callable):
    """Replace each element by `callable(element)`, a Python call each; returns self."""
    values = [callable(v) for v in self.reshape(-1).tolist()]
    return self.copy_(_C.tensor(values, dtype=self.dtype).reshape(self.shape))


# ---- put together

Tensor.__array_priority__ = 1000.0
Tensor.__module__ = "pydiff"
Tensor.grad_fn = property(_C.grad_fn, doc="The operation that made it, or None.")
Tensor.H = property(lambda self: self.mT, doc="The last two axes swapped; of real numbers, so the same as mT.")
Tensor.mH = property(lambda self: self.mT, doc="The last two axes swapped; of real numbers, so the same as mT.")
Tensor.is_cuda = property(lambda self: self.device.type == "cuda", doc="Whether it lives on a GPU.")
Tensor.nelement = Tensor.numel = ops.numel
Tensor.ndimension, Tensor.type = dim, _type
_type.__name__ = _type.__qualname__ = "type"

for _function in (
    size, dim, element_size, cpu, cuda, type_as, astype, new_full, new_tensor, __repr__, new, to_dense, dense_dim,
    sparse_dim, _text, __format__, __contains__, __reduce_ex__, __copy__, __deepcopy__, backward, register_hook,
    retain_grad, detach_, apply_, hardshrink, prelu,
):  # fmt: skip
    setattr(Tensor, _function.__name__, _function)
for _name in ("zeros", "ones", "empty"):
    setattr(Tensor, f"new_{_name}", _new(_name))

_METHODS = {
    decompositions: "cholesky cholesky_inverse cholesky_solve det geqrf inverse logdet lu lu_solve matrix_exp "
    "matrix_power orgqr ormqr pinverse qr slogdet svd triangular_solve",
    facts: "angle conj conj_physical get_device is_complex is_conj is_floating_point is_neg is_nonzero is_same_size "
    "is_signed isreal real resolve_conj resolve_neg",
    indexing: "argwhere index_copy index_fill index_reduce masked_scatter nonzero_static put scatter_reduce",
    movement: "adjoint as_strided as_strided_scatter diag_embed diagflat diagonal_scatter dsplit fliplr flipud hsplit rot90 "
    "select_scatter slice_scatter split_with_sizes sum_to_size swapdims tensor_split unfold vsplit",
    ops: "clamp_min clamp_max diag diagonal index_add masked_select movedim moveaxis ravel repeat repeat_interleave roll "
    "take take_along_dim tile trace tril triu unflatten",
    pointwise: "addcdiv addcmul allclose copysign "
    "deg2rad equal float_power fmax fmin fmod frac heaviside isclose isneginf isposinf lerp "
    "logical_and logical_not logical_or logical_xor logit nan_to_num positive "
    "rad2deg round signbit xlogy",
    bits: "frexp gcd lcm ldexp nextafter",
    special: "digamma erfinv i0 igamma igammac lgamma mvlgamma polygamma sinc",
    reductions: "bincount count_nonzero diff nanmean nansum norm",
    scans: "cummax cummin cumprod logcumsumexp",
    statistics: "corrcoef cov dist histc histogram mode nanmedian nanquantile quantile renorm",
    contraction: "addbmm addmm addmv addr baddbmm bmm cross dot ger inner kron mm mv outer vdot",
}
for _module, _names in _METHODS.items():
    for _name in _names.split():
        setattr(Tensor, _name, getattr(_module, _name))
for _name, _others in functions.ALIASES.items():
    if hasattr(Tensor, _name):
        for _other in _others:
            setattr(Tensor, _other, getattr(Tensor, _name))
            if hasattr(Tensor, _name + "_"):
                setattr(Tensor, _other + "_", getattr(Tensor, _name + "_"))


def reshape_as(self, other):
    """In the shape of another tensor."""
    return self.reshape(other.shape)


def view_as(self, other):
    """In the shape of another tensor, sharing memory."""
    return self.view(other.shape)


Tensor.reshape_as, Tensor.view_as = reshape_as, view_as
_in_place("zero_", lambda self: _C.zeros_like(self), "Set all elements to 0; returns self.")
_in_place("fill_", _filled, "Set all elements to a number; returns self.")
_in_place("copy_", _copied, "Take over the elements of another tensor, cast and broadcast; returns self.")
for _name in (
    "acosh addbmm addcdiv addcmul addmm addmv addr arccosh arcsinh arctanh asinh atanh baddbmm ceil clamp clamp_max "
    "clamp_min clip copysign cumprod cumsum deg2rad digamma div erfinv float_power floor fmod frac gcd heaviside hypot i0 "
    "igamma igammac index_add index_copy index_fill index_put index_reduce lcm ldexp lerp lgamma logical_and logical_not "
    "logical_or logical_xor logit masked_fill masked_scatter mvlgamma nan_to_num nextafter polygamma put rad2deg renorm "
    "round scatter scatter_add scatter_reduce sgn sign sinc square tril triu trunc xlogy"
).split():
    _in_place(_name + "_", getattr(Tensor, _name))


def set_printoptions(**options):
    """How tensors print: as `numpy.set_printoptions`, which it sets."""
    np.set_printoptions(**options)


__all__ = ["Tensor", "device", "set_printoptions"]
