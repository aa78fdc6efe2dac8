"""Layers that learn the size of their input at the first call, and are then ordinary ones."""

import pydiff

from . import batchnorm, convolution
from ._sizes import check_axes, with_places
from .linear import Linear
from .parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d",
    "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d",
    "LazyInstanceNorm3d", "LazyLinear",
]  # fmt: skip


class LazyModuleMixin:
    """Stands before a module's class: `class LazyThing(LazyModuleMixin, Thing)`.

    At the first call, before all hooks, `initialize_parameters` sees the arguments and gives the uninitialised
    parameters their sizes; then the module becomes a `cls_to_become`, where there is one.
    """

    cls_to_become = None
    _sized = False

    def initialize_parameters(self, *args, **kwargs):
        """Give the parameters the sizes that the arguments of the call say; each lazy module defines it."""
        name = type(self).__name__
        raise NotImplementedError(
            f"[{name}] initialize_parameters is not defined; got the first call; try def initialize_parameters(self, input): …"
        )

    def has_uninitialized_params(self):
        """Whether the size of some parameter or buffer is not known yet."""
        return any(is_lazy(tensor) for _, tensor in self._own_state())

    def __call__(self, *args, **kwargs):
        if not self._sized:
            self.initialize_parameters(*args, **kwargs)
            if self.has_uninitialized_params():
                left = [name for name, tensor in self._own_state() if is_lazy(tensor)]
                raise RuntimeError(
                    f"[{type(self).__name__}] initialize_parameters left parameters without a size; got {left}; "
                    "try materialize(shape) of each"
                )
            if self.cls_to_become is not None:
                self.__class__ = self.cls_to_become
                return self(*args, **kwargs)
            self._sized = True
        return super().__call__(*args, **kwargs)


def _give_sizes(layer, **shapes):
    """Give what has no size yet its shape and first values; what a loaded state brought stays as it is."""
    known = {name: tensor.detach().clone() for name, tensor in layer._own_state() if not is_lazy(tensor)}
    for name, tensor in layer._own_state():
        if is_lazy(tensor):
            tensor.materialize(shapes[name])
    layer.reset_parameters()
    with pydiff.no_grad():
        for name, value in known.items():
            getattr(layer, name).copy_(value)


def _unsized(layer, bias, device, dtype):
    layer.weight = UninitializedParameter(device=device, dtype=dtype)
    if bias:
        layer.bias = UninitializedParameter(device=device, dtype=dtype)


class LazyLinear(LazyModuleMixin, Linear):
    """A `Linear` whose `in_features` are the size of the first input's last axis.

    Arguments:
        out_features: size of the last axis after.
        bias, device, dtype: as in `Linear`.

    Create an optimiser before or after the first call: the parameters stay the same objects. A state that is loaded
    before it gives the size too.

    >>> import pydiff as pd
    >>> layer = pd.nn.LazyLinear(2)
    >>> tuple(layer(pd.zeros(3, 4)).shape), layer
    ((3, 2), Linear(in_features=4, out_features=2, bias=True))
    """

    cls_to_become = Linear

    def __init__(self, out_features, bias=True, device=None, dtype=None):
        super().__init__(0, 0, False)
        if out_features < 0:
            raise ValueError(f"[LazyLinear] a size is not negative; got out_features {out_features}; try LazyLinear(10)")
        self.out_features = out_features
        _unsized(self, bias, device, dtype)

    def reset_parameters(self):
        """Draw weight and bias anew, where their size is known."""
        if not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, input):
        """Take `in_features` from the input."""
        if self.has_uninitialized_params():
            if not input.ndim:
                raise ValueError("[LazyLinear] the input has an axis of features; got shape (); try input.reshape(1)")
            self.in_features = input.shape[-1] if is_lazy(self.weight) else self.weight.shape[1]
            _give_sizes(self, weight=(self.out_features, self.in_features), bias=(self.out_features,))
        self.in_features = self.weight.shape[1]


class _LazyConv(LazyModuleMixin):
    def _prepare(self, out_channels, bias, device, dtype):
        if out_channels % self.groups:
            raise ValueError(
                f"[{type(self).__name__}] out_channels are a multiple of groups; got {out_channels} and groups={self.groups}; "
                "try groups=1"
            )
        self.out_channels = out_channels
        _unsized(self, bias, device, dtype)

    def reset_parameters(self):
        """Draw weight and bias anew, where their size is known."""
        if not self.has_uninitialized_params():
            super().reset_parameters()

    def initialize_parameters(self, input, *args, **kwargs):
        """Take `in_channels` from the input."""
        name, axes = type(self).__name__, self._axes
        if self.has_uninitialized_params():
            check_axes(name, input, (axes + 1, axes + 2), with_places(axes))
            channels = input.shape[-axes - 1]
            if channels % self.groups:
                raise ValueError(
                    f"[{name}] the input's channels are a multiple of groups; got {channels} and groups={self.groups}; "
                    f"try an input of {self.groups} channels"
                )
            self.in_channels = channels
            _give_sizes(self, weight=self._weight_shape(), bias=(self.out_channels,))
        self.in_channels = self.weight.shape[0] if self.transposed else self.weight.shape[1] * self.groups


class _LazyConvolution(_LazyConv):
    def __init__(
        self, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode="zeros", device=None,
        dtype=None,
    ):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode)
        self._prepare(out_channels, bias, device, dtype)


class _LazyTransposed(_LazyConv):
    def __init__(
        self, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1,
        padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode)
        self._prepare(out_channels, bias, device, dtype)


class _LazyNorm(LazyModuleMixin):
    def __init__(self, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True, device=None, dtype=None, *, bias=True):
        super().__init__(0, eps, momentum, False, False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            _unsized(self, bias, device, dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = pydiff.tensor(0, dtype=pydiff.int64, device=device)

    def reset_parameters(self):
        """Set weight, bias and statistics to what they begin with, where their size is known."""
        if not self.has_uninitialized_params() and self.num_features:
            super().reset_parameters()

    def initialize_parameters(self, input):
        """Take `num_features` from the input."""
        self._check_input(input)
        sized = [tensor for name, tensor in self._own_state() if name != "num_batches_tracked" and not is_lazy(tensor)]
        self.num_features = sized[0].shape[0] if sized else self._channels(input)
        if self.has_uninitialized_params():
            shape = (self.num_features,)
            _give_sizes(self, weight=shape, bias=shape, running_mean=shape, running_var=shape)


def _lazy(base, mixin, learnt, arguments, call, result):
    """The lazy class of a layer: what it learns, its other arguments, and an example."""
    name = "Lazy" + base.__name__

    class Lazy(mixin, base):
        cls_to_become = base

    Lazy.__name__ = Lazy.__qualname__ = name
    Lazy.__doc__ = f"""A `{base.__name__}` whose `{learnt}` the first input says; see `LazyLinear`.

    Arguments: {arguments}.

    >>> import pydiff as pd
    >>> layer = pd.nn.{name}({call[0]})
    >>> tuple(layer(pd.zeros({call[1]})).shape), layer.{learnt}
    {result}
    """
    return Lazy


def _of_axes(kind, mixin, learnt, arguments, call, shape):
    for axes in (1, 2, 3):
        base = getattr(convolution if "Conv" in kind else batchnorm, f"{kind}{axes}d")
        size = ", ".join(["4"] * axes)
        out = ", ".join([shape] * axes)
        channels = 8 if "Conv" in kind else 3
        yield _lazy(base, mixin, learnt, arguments, (call, f"2, 3, {size}"), f"((2, {channels}, {out}), 3)")


_OTHERS = "`out_channels`, `kernel_size` and those behind them, as in the layer itself"
LazyConv1d, LazyConv2d, LazyConv3d = _of_axes("Conv", _LazyConvolution, "in_channels", _OTHERS, "8, 3", "2")
LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d = _of_axes(
    "ConvTranspose", _LazyTransposed, "in_channels", _OTHERS, "8, 3", "6"
)
_OTHERS = "those of the layer itself without `num_features`; `affine` and `track_running_stats` are True by default"
LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d = _of_axes("BatchNorm", _LazyNorm, "num_features", _OTHERS, "", "4")
LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d = _of_axes(
    "InstanceNorm", _LazyNorm, "num_features", _OTHERS, "", "4"
)
