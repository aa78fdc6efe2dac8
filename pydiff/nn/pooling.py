"""Pooling as modules; the formulas, shapes and errors are in `nn.functional`."""

from . import functional as F
from ._sizes import sizes
from .module import Module

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d", "LPPool1d",
    "LPPool2d", "LPPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "MaxUnpool1d", "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip


class _MaxPool(Module):
    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, return_indices=False, ceil_mode=False):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input):
        window = self.kernel_size, self.stride, self.padding, self.dilation
        return self._pool(input, *window, ceil_mode=self.ceil_mode, return_indices=self.return_indices)

    def extra_repr(self):
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window of `(batch, channels, length)`, or without batch.

    Arguments:
        kernel_size: places of a window.
        stride: steps between windows; by default `kernel_size`.
        padding: places on both sides that never win, at most half of the kernel.
        dilation: steps between the places of a window.
        return_indices: whether the positions come too, for `MaxUnpool1d`.
        ceil_mode: whether a window that is only begun at the end counts.

    A call raises ValueError where no window fits.

    >>> import pydiff as pd
    >>> pd.nn.MaxPool1d(2)(pd.tensor([[1.0, 4.0, 2.0, 3.0]])).tolist()
    [[4.0, 3.0]]
    """

    _pool = staticmethod(F.max_pool1d)


class MaxPool2d(_MaxPool):
    """The largest element of each window of `(batch, channels, height, width)`; arguments as `MaxPool1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.MaxPool2d((3, 2), stride=(2, 1))(pd.zeros(1, 4, 7, 5)).shape)
    (1, 4, 3, 4)
    """

    _pool = staticmethod(F.max_pool2d)


class MaxPool3d(_MaxPool):
    """The largest element of each window of `(batch, channels, depth, height, width)`; arguments as `MaxPool1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.MaxPool3d(2)(pd.zeros(1, 4, 4, 6, 8)).shape)
    (1, 4, 2, 3, 4)
    """

    _pool = staticmethod(F.max_pool3d)


class _MaxUnpool(Module):
    def __init__(self, kernel_size, stride=None, padding=0):
        super().__init__()
        name, axes = type(self).__name__, self._axes
        self.kernel_size = sizes(name, "kernel_size", kernel_size, axes)
        self.stride = sizes(name, "stride", kernel_size if stride is None else stride, axes)
        self.padding = sizes(name, "padding", padding, axes)

    def forward(self, input, indices, output_size=None):
        return self._unpool(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """The elements put back where `MaxPool1d` found them, zeros elsewhere.

    Arguments:
        kernel_size, stride, padding: those of the pooling.

    It is called with the values, the indices and, where several sizes are possible, `output_size`.

    >>> import pydiff as pd
    >>> pool = pd.nn.MaxPool1d(2, return_indices=True)
    >>> pd.nn.MaxUnpool1d(2)(*pool(pd.tensor([[1.0, 4.0, 2.0, 3.0]]))).tolist()
    [[0.0, 4.0, 0.0, 3.0]]
    """

    _axes = 1
    _unpool = staticmethod(F.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """The elements put back where `MaxPool2d` found them; see `MaxUnpool1d`.

    >>> import pydiff as pd
    >>> pool = pd.nn.MaxPool2d(2, return_indices=True)
    >>> tuple(pd.nn.MaxUnpool2d(2)(*pool(pd.zeros(1, 4, 5)), output_size=(4, 5)).shape)
    (1, 4, 5)
    """

    _axes = 2
    _unpool = staticmethod(F.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """The elements put back where `MaxPool3d` found them; see `MaxUnpool1d`.

    >>> import pydiff as pd
    >>> pool = pd.nn.MaxPool3d(2, return_indices=True)
    >>> tuple(pd.nn.MaxUnpool3d(2)(*pool(pd.zeros(1, 2, 4, 6))).shape)
    (1, 2, 4, 6)
    """

    _axes = 3
    _unpool = staticmethod(F.max_unpool3d)


class AvgPool1d(Module):
    """The mean of each window of `(batch, channels, length)`, or without batch.

    Arguments:
        kernel_size: places of a window.
        stride: steps between windows; by default `kernel_size`.
        padding: zeros on both sides, at most half of the kernel.
        ceil_mode: whether a window that is only begun at the end counts.
        count_include_pad: whether the padding counts in the divisor.

    A call raises ValueError where no window fits.

    >>> import pydiff as pd
    >>> pd.nn.AvgPool1d(2)(pd.tensor([[1.0, 3.0, 2.0, 4.0]])).tolist()
    [[2.0, 3.0]]
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__()
        self.kernel_size = sizes("AvgPool1d", "kernel_size", kernel_size, 1)
        self.stride = sizes("AvgPool1d", "stride", kernel_size if stride is None else stride, 1)
        self.padding = sizes("AvgPool1d", "padding", padding, 1)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input):
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input):
        window = self.kernel_size, self.stride, self.padding
        return self._pool(input, *window, self.ceil_mode, self.count_include_pad, self.divisor_override)

    extra_repr = AvgPool1d.extra_repr


class AvgPool2d(_AvgPool):
    """The mean of each window of `(batch, channels, height, width)`; arguments as `AvgPool1d`.

    `divisor_override` is divided by, where given, in place of the count.

    >>> import pydiff as pd
    >>> pd.nn.AvgPool2d(2, divisor_override=1)(pd.ones(1, 2, 2)).item()
    4.0
    """

    _pool = staticmethod(F.avg_pool2d)


class AvgPool3d(_AvgPool):
    """The mean of each window of `(batch, channels, depth, height, width)`; see `AvgPool2d`.

    >>> import pydiff as pd
    >>> pd.nn.AvgPool3d(2)(pd.ones(1, 2, 2, 2)).item()
    1.0
    """

    _pool = staticmethod(F.avg_pool3d)


class _LPPool(Module):
    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False):
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def forward(self, input):
        return self._pool(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self):
        return f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, ceil_mode={self.ceil_mode}"


class LPPool1d(_LPPool):
    """(sum of x^p)^(1/p) of each window of `(batch, channels, length)`, p = `norm_type`.

    Arguments:
        norm_type: p; 1 gives sums, a large one nearly the maximum.
        kernel_size, stride, ceil_mode: as in `AvgPool1d`.

    >>> import pydiff as pd
    >>> pd.nn.LPPool1d(2, 2)(pd.tensor([[3.0, 4.0]])).item()
    5.0
    """

    _pool = staticmethod(F.lp_pool1d)


class LPPool2d(_LPPool):
    """(sum of x^p)^(1/p) of each window of `(batch, channels, height, width)`; see `LPPool1d`.

    >>> import pydiff as pd
    >>> pd.nn.LPPool2d(2, (1, 2))(pd.tensor([[[3.0, 4.0]]])).item()
    5.0
    """

    _pool = staticmethod(F.lp_pool2d)


class LPPool3d(_LPPool):
    """(sum of x^p)^(1/p) of each window of `(batch, channels, depth, height, width)`; see `LPPool1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.LPPool3d(1, 2)(pd.ones(1, 4, 4, 4)).shape)
    (1, 2, 2, 2)
    """

    _pool = staticmethod(F.lp_pool3d)


class _FractionalMaxPool(Module):
    def __init__(self, kernel_size, output_size=None, output_ratio=None, return_indices=False, _random_samples=None):
        super().__init__()
        name, axes = type(self).__name__, self._axes
        self.kernel_size = sizes(name, "kernel_size", kernel_size, axes)
        if min(self.kernel_size) < 1:
            raise ValueError(f"[{name}] kernel_size is positive; got {kernel_size}; try 2")
        if (output_size is None) == (output_ratio is None):
            raise ValueError(
                f"[{name}] one of output_size and output_ratio is given; got {output_size} and {output_ratio}; "
                "try output_ratio=0.5"
            )
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = None if output_size is None else sizes(name, "output_size", output_size, axes)
        if isinstance(output_ratio, (int, float)):
            output_ratio = (output_ratio,) * axes
        self.output_ratio = output_ratio
        if output_ratio is not None and (len(output_ratio) != axes or any(not 0 < r < 1 for r in output_ratio)):
            raise ValueError(f"[{name}] output_ratio is between 0 and 1; got {output_ratio}; try output_ratio=0.5")

    def forward(self, input):
        size = self.kernel_size, self.output_size, self.output_ratio
        return self._pool(input, *size, self.return_indices, _random_samples=self._random_samples)


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest element of each of `output_size` windows that begin at random places, a little apart.

    Arguments:
        kernel_size: places of a window, a number or a pair.
        output_size: windows of each axis of `(batch, channels, height, width)`; or else
        output_ratio: their share of the input's size, between 0 and 1.
        return_indices: whether the positions come too.

    Raises ValueError unless one of `output_size` and `output_ratio` is given. Graham, arXiv:1412.6071.

    >>> import pydiff as pd
    >>> tuple(pd.nn.FractionalMaxPool2d(2, output_ratio=0.5)(pd.ones(1, 8, 8)).shape)
    (1, 4, 4)
    """

    _axes = 2
    _pool = staticmethod(F.fractional_max_pool2d)


class FractionalMaxPool3d(_FractionalMaxPool):
    """`FractionalMaxPool2d` of `(batch, channels, depth, height, width)`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.FractionalMaxPool3d(2, output_size=3)(pd.ones(1, 8, 8, 8)).shape)
    (1, 3, 3, 3)
    """

    _axes = 3
    _pool = staticmethod(F.fractional_max_pool3d)


class _AdaptiveMaxPool(Module):
    def __init__(self, output_size, return_indices=False):
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def forward(self, input):
        return self._pool(input, self.output_size, self.return_indices)

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest of each of `output_size` windows that cover the last axis of `(batch, channels, length)`.

    Arguments:
        output_size: number of windows; None keeps the axis as it is.
        return_indices: whether the positions come too.

    >>> import pydiff as pd
    >>> pd.nn.AdaptiveMaxPool1d(2)(pd.tensor([[1.0, 2.0, 6.0]])).tolist()
    [[2.0, 6.0]]
    """

    _pool = staticmethod(F.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest of windows that cover `(batch, channels, height, width)`; see `AdaptiveMaxPool1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.AdaptiveMaxPool2d((3, None))(pd.zeros(1, 7, 5)).shape)
    (1, 3, 5)
    """

    _pool = staticmethod(F.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest of windows that cover `(batch, channels, depth, height, width)`; see `AdaptiveMaxPool1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.AdaptiveMaxPool3d(2)(pd.zeros(1, 7, 5, 3)).shape)
    (1, 2, 2, 2)
    """

    _pool = staticmethod(F.adaptive_max_pool3d)


class _AdaptiveAvgPool(Module):
    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size

    def forward(self, input):
        return self._pool(input, self.output_size)

    extra_repr = _AdaptiveMaxPool.extra_repr


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """The means of `output_size` windows that cover the last axis of `(batch, channels, length)`.

    Window i goes from floor(i n / m) to ceil((i + 1) n / m). None keeps the axis as it is.

    >>> import pydiff as pd
    >>> pd.nn.AdaptiveAvgPool1d(2)(pd.tensor([[1.0, 2.0, 6.0]])).tolist()
    [[1.5, 4.0]]
    """

    _pool = staticmethod(F.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """The means of windows that cover `(batch, channels, height, width)`; see `AdaptiveAvgPool1d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.AdaptiveAvgPool2d((None, 2))(pd.zeros(1, 3, 4)).shape)
    (1, 3, 2)
    """

    _pool = staticmethod(F.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """The means of windows that cover `(batch, channels, depth, height, width)`; see `AdaptiveAvgPool1d`.

    >>> import pydiff as pd
    >>> pd.nn.AdaptiveAvgPool3d(1)(pd.ones(1, 2, 3, 4)).item()
    1.0
    """

    _pool = staticmethod(F.adaptive_avg_pool3d)
