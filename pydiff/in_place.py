"""In place: the axes of a tensor, its diagonal, and PyTorch's functions `f_(tensor)` of the methods `tensor.f_()`."""

from . import _C
from ._C import Tensor
from .tensor import _in_place

__all__ = []

# ---- axes: the tensor becomes a view of what it was


def _axes_in_place(name):
    of_new = getattr(Tensor, name[:-1])

    def method(self, *args, **kwargs):
        return _C.become(name, self, of_new(self, *args, **kwargs))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"""`{name[:-1]}` in place: the tensor gets the other shape; returns self.

    Its views keep what they show. Raises RuntimeError for a leaf that requires grad.
    """
    setattr(Tensor, name, method)


for _name in ("squeeze_", "swapaxes_", "swapdims_", "t_", "transpose_", "unsqueeze_"):
    _axes_in_place(_name)


# ---- elements


def _with_diagonal(self, fill_value, wrap=False):
    if self.ndim < 2 or (self.ndim > 2 and len(set(self.shape)) > 1):
        raise RuntimeError(
            f"[fill_diagonal_] a matrix, or as many equal sizes as axes, is needed; got {tuple(self.shape)}; try diagonal()"
        )
    step = sum(_C.zeros(self.shape, device="cpu").stride())
    size = min(self.shape)
    count = size if not (wrap and self.ndim == 2) else -(-self.numel() // step) if self.numel() else 0
    places = _C._iota((count,), self.device) * step
    value = _C.full((), fill_value, dtype=self.dtype, device=self.device).expand(places.shape)
    return self.reshape(-1).index_put((places,), value).reshape(self.shape)


_in_place(
    "fill_diagonal_", _with_diagonal,
    "Set the diagonal to a number, with `wrap` again and again down a tall matrix; returns self.",
)  # fmt: skip


def map_(self, tensor, callable):
    """Replace each element by `callable(element, element of tensor)`, a Python call each; returns self."""
    other = tensor.expand(self.shape).reshape(-1).tolist()
    values = [callable(a, b) for a, b in zip(self.reshape(-1).tolist(), other)]
    return self.copy_(_C.tensor(values, dtype=self.dtype).reshape(self.shape))


Tensor.map_ = map_
_in_place("conj_physical_", Tensor.conj_physical)


# ---- functions of the methods

_FUNCTIONS = (
    "abs_ acos_ acosh_ addmv_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ atan_ atanh_ ceil_ clamp_ "
    "clamp_max_ clamp_min_ clip_ conj_physical_ cos_ cosh_ deg2rad_ detach detach_ erf_ erfc_ exp2_ exp_ expm1_ fill_ fix_ "
    "floor_ frac_ gcd_ i0_ index_put_ lcm_ ldexp_ log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ "
    "reciprocal_ relu_ round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ tan_ tanh_ trunc_ xlogy_ zero_"
).split()


def _function_of(name):
    method = getattr(Tensor, name)

    def function(input, *args, **kwargs):
        return method(input, *args, **kwargs)

    function.__name__ = function.__qualname__ = name
    place = f"`{name[:-1]}` in place, the" if name.endswith("_") else "The"
    function.__doc__ = f"{place} function of `Tensor.{name}`; returns the tensor."
    function.__wrapped__ = method
    globals()[name] = function
    __all__.append(name)


for _name in _FUNCTIONS:
    _function_of(_name)
