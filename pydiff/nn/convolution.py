"""Convolutions and their transposes as modules, and windows taken apart and put together."""

import math

import pydiff

from . import functional as F
from . import init
from ._sizes import check_axes, sizes, with_places
from .module import Module
from .parameter import Parameter

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "Fold", "Unfold"]

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What convolutions and their transposes share; `_axes` is the number of axes of places."""

    def __init__(
        self, in_channels, out_channels, kernel_size, stride, padding, dilation, transposed, output_padding, groups, bias,
        padding_mode, device, dtype,
    ):  # fmt: skip
        super().__init__()
        name, axes = type(self).__name__, self._axes
        kernel_size, stride = sizes(name, "kernel_size", kernel_size, axes), sizes(name, "stride", stride, axes)
        dilation, output_padding = sizes(name, "dilation", dilation, axes), sizes(name, "output_padding", output_padding, axes)
        if isinstance(padding, str) and not transposed:
            self._check_padding_word(padding, stride)
        else:
            padding = sizes(name, "padding", padding, axes)
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(
                f"[{name}] in_channels and out_channels are multiples of groups; got {in_channels}, {out_channels} and "
                f"groups={groups}; try groups=1"
            )
        modes = _PADDING_MODES[:1] if transposed else _PADDING_MODES
        if padding_mode not in modes:
            raise ValueError(f"[{name}] padding_mode is one of {modes}; got {padding_mode!r}; try 'zeros'")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.transposed, self.output_padding = transposed, output_padding
        self.groups, self.padding_mode = groups, padding_mode
        self.weight = Parameter(pydiff.empty(self._weight_shape(), device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(pydiff.empty((out_channels,), device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def _check_padding_word(self, padding, stride):
        name = type(self).__name__
        if padding not in ("same", "valid"):
            raise ValueError(f"[{name}] padding is a number, 'same' or 'valid'; got {padding!r}; try 'same'")
        if padding == "same" and max(stride) > 1:
            raise ValueError(f"[{name}] padding='same' goes with stride 1; got stride={stride}; try padding=1")

    def _weight_shape(self):
        first, second = (self.in_channels, self.out_channels) if self.transposed else (self.out_channels, self.in_channels)
        return (first, second // self.groups, *self.kernel_size)

    def reset_parameters(self):
        """Draw weight and bias anew, uniform in ±1/sqrt(fan_in)."""
        if not self.weight.numel():
            return
        # kaiming_uniform_ with this `a` is uniform in ±1/sqrt(fan_in), as in PyTorch.
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self):
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        zeros, ones = (0,) * self._axes, (1,) * self._axes
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text + (f", padding_mode={self.padding_mode}" if self.padding_mode != "zeros" else "")


class _Convolution(_Conv):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode="zeros",
        device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            False,
            0,
            groups,
            bias,
            padding_mode,
            device,
            dtype,
        )

    def forward(self, input):
        padding = self.padding
        if self.padding_mode != "zeros":
            axes = self._axes
            check_axes(type(self).__name__, input, (axes + 1, axes + 2), with_places(axes))
            input, padding = F.pad(input, self._around(), self.padding_mode), 0
        return self._convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _around(self):
        """The widths of `functional.pad`: (before, after) of the last axis first."""
        if self.padding == "valid":
            pairs = [(0, 0)] * self._axes
        elif self.padding == "same":
            totals = [d * (k - 1) for k, d in zip(self.kernel_size, self.dilation)]
            pairs = [(t // 2, t - t // 2) for t in totals]
        else:
            pairs = [(p, p) for p in self.padding]
        return [width for pair in reversed(pairs) for width in pair]


class _Transposed(_Conv):
    def __init__(
        self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True, dilation=1,
        padding_mode="zeros", device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, True, output_padding, groups, bias, padding_mode,
            device, dtype,
        )  # fmt: skip

    def forward(self, input, output_size=None):
        extra = self.output_padding if output_size is None else self._missing(input, output_size)
        return self._convolve(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _missing(self, input, output_size):
        """The `output_padding` that makes the result `output_size`, which may have batch and channels in front."""
        axes, name = self._axes, type(self).__name__
        check_axes(name, input, (axes + 1, axes + 2), with_places(axes))
        wanted = tuple(output_size)
        if len(wanted) == input.ndim:
            wanted = wanted[-axes:]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(input.shape[-axes:], self.stride, self.padding, self.dilation, self.kernel_size)
        ]
        most = [n + s - 1 for n, s in zip(least, self.stride)]
        if len(wanted) != axes or any(not low <= n <= high for low, n, high in zip(least, wanted, most)):
            raise ValueError(
                f"[{name}] output_size is one of {tuple(least)} to {tuple(most)} for an input {tuple(input.shape)}; got "
                f"{tuple(output_size)}; try {tuple(least)}"
            )
        return tuple(n - low for n, low in zip(wanted, least))


class Conv1d(_Convolution):
    """Cross-correlation of `(batch, in_channels, length)`, or without batch, with windows that are learned.

    Arguments:
        in_channels, out_channels: channels before and after, multiples of `groups`.
        kernel_size, stride, dilation: length of a window, steps between windows, steps within one.
        padding: added on both sides; 'valid' for none, 'same' for as much as keeps the length at stride 1.
        groups: parts of the channels that do not mix.
        bias: whether there is a bias, `(out_channels,)`.
        padding_mode: what is added: 'zeros', 'reflect', 'replicate' or 'circular'.
        device, dtype: of the parameters.

    `weight`, `(out_channels, in_channels / groups, kernel_size)`, and `bias` start uniform in ±1/sqrt(fan_in).
    Raises ValueError for arguments that do not go together. The result's size is in `functional.conv1d`.

    >>> import pydiff as pd
    >>> layer = pd.nn.Conv1d(4, 8, 3, padding="same")
    >>> tuple(layer(pd.zeros(2, 4, 10)).shape), tuple(layer.weight.shape)
    ((2, 8, 10), (8, 4, 3))
    """

    _axes = 1
    _convolve = staticmethod(F.conv1d)


class Conv2d(_Convolution):
    """Cross-correlation of `(batch, in_channels, height, width)`, or without batch; arguments as `Conv1d`.

    A pair gives `kernel_size`, `stride`, `padding` or `dilation` for each axis.

    >>> import pydiff as pd
    >>> layer = pd.nn.Conv2d(3, 8, (3, 5), stride=2, padding=(1, 2))
    >>> tuple(layer(pd.zeros(2, 3, 8, 8)).shape)
    (2, 8, 4, 4)
    """

    _axes = 2
    _convolve = staticmethod(F.conv2d)


class Conv3d(_Convolution):
    """Cross-correlation of `(batch, in_channels, depth, height, width)`, or without batch; arguments as `Conv1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.Conv3d(3, 8, 2, groups=1)(pd.zeros(2, 3, 4, 4, 4)).shape)
    (2, 8, 3, 3, 3)
    """

    _axes = 3
    _convolve = staticmethod(F.conv3d)


class ConvTranspose1d(_Transposed):
    """The transpose of `Conv1d` as a linear map: from its results' shape to its inputs'.

    Arguments:
        padding: how much is cut off at both ends.
        output_padding: how much is added at the end, less than `stride` or `dilation`.
        padding_mode: 'zeros', and nothing else.

    The others as `Conv1d`, in PyTorch's order. A call takes `output_size` too, of the places or of the whole
    result, which then says `output_padding`. `weight` is `(in_channels, out_channels / groups, kernel_size)`.

    >>> import pydiff as pd
    >>> layer = pd.nn.ConvTranspose1d(4, 8, 3, stride=2)
    >>> tuple(layer(pd.zeros(2, 4, 5)).shape), tuple(layer(pd.zeros(2, 4, 5), output_size=[12]).shape)
    ((2, 8, 11), (2, 8, 12))
    """

    _axes = 1
    _convolve = staticmethod(F.conv_transpose1d)


class ConvTranspose2d(_Transposed):
    """The transpose of `Conv2d`; see `ConvTranspose1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.ConvTranspose2d(4, 2, 2, stride=2)(pd.zeros(1, 4, 3, 3)).shape)
    (1, 2, 6, 6)
    """

    _axes = 2
    _convolve = staticmethod(F.conv_transpose2d)


class ConvTranspose3d(_Transposed):
    """The transpose of `Conv3d`; see `ConvTranspose1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.ConvTranspose3d(4, 2, 2)(pd.zeros(1, 4, 3, 3, 3)).shape)
    (1, 2, 4, 4, 4)
    """

    _axes = 3
    _convolve = staticmethod(F.conv_transpose3d)


class Unfold(Module):
    """The windows of `(batch, channels, height, width)` as columns; see `functional.unfold`.

    Arguments:
        kernel_size, dilation, padding, stride: a number, or one for each of the two axes.

    >>> import pydiff as pd
    >>> tuple(pd.nn.Unfold((2, 3))(pd.zeros(2, 5, 3, 4)).shape)
    (2, 30, 4)
    """

    def __init__(self, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, stride={self.stride}"


class Fold(Module):
    """Columns put back to `(batch, channels, *output_size)`, those that overlap added up; see `functional.fold`.

    Arguments:
        output_size: (height, width) of the result.
        kernel_size, dilation, padding, stride: as in `Unfold`.

    >>> import pydiff as pd
    >>> pd.nn.Fold((1, 3), (1, 2))(pd.ones(1, 2, 2))[0, 0].tolist()
    [[1.0, 2.0, 1.0]]
    """

    def __init__(self, output_size, kernel_size, dilation=1, padding=0, stride=1):
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input):
        return F.fold(input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self):
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, dilation={self.dilation}, "
            f"padding={self.padding}, stride={self.stride}"
        )
