"""Layers without weights that move elements about or resample them."""

from operator import index

from . import functional as F
from .module import Module

__all__ = [
    "ChannelShuffle", "PixelShuffle", "PixelUnshuffle", "Unflatten", "Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d",
]  # fmt: skip


class Unflatten(Module):
    """Divides the axis `dim` into several of sizes `unflattened_size`, one of which may be -1.

    Raises TypeError for sizes that are not a tuple or list of integers. A call raises ValueError where the sizes
    do not multiply to the axis's.

    >>> import pydiff as pd
    >>> tuple(pd.nn.Unflatten(1, (2, -1))(pd.zeros(3, 8)).shape)
    (3, 2, 4)
    """

    def __init__(self, dim, unflattened_size):
        super().__init__()
        if not isinstance(unflattened_size, (tuple, list)) or not all(hasattr(n, "__index__") for n in unflattened_size):
            raise TypeError(
                f"[Unflatten] unflattened_size is a tuple of integers; got {unflattened_size!r}; try Unflatten(1, (2, -1))"
            )
        self.dim = index(dim)
        self.unflattened_size = unflattened_size

    def forward(self, input):
        return input.unflatten(self.dim, self.unflattened_size)

    def extra_repr(self):
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class ChannelShuffle(Module):
    """Turns channels (groups, n) into (n, groups), so that convolutions in groups mix: `(batch, channels, *)`.

    Zhang et al., arXiv:1707.01083.

    >>> import pydiff as pd
    >>> pd.nn.ChannelShuffle(2)(pd.arange(4).reshape(1, 4, 1, 1)).flatten().tolist()
    [0, 2, 1, 3]
    """

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, input):
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self):
        return f"groups={self.groups}"


class PixelShuffle(Module):
    """Channels become places: `(*, c r², h, w)` gives `(*, c, h r, w r)`, r = `upscale_factor`.

    Shi et al., arXiv:1609.05158.

    >>> import pydiff as pd
    >>> pd.nn.PixelShuffle(2)(pd.arange(4).reshape(1, 4, 1, 1)).tolist()
    [[[[0, 1], [2, 3]]]]
    """

    def __init__(self, upscale_factor):
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input):
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self):
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """The inverse of `PixelShuffle`: places become channels.

    >>> import pydiff as pd
    >>> tuple(pd.nn.PixelUnshuffle(2)(pd.zeros(1, 3, 4, 6)).shape)
    (1, 12, 2, 3)
    """

    def __init__(self, downscale_factor):
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input):
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self):
        return f"downscale_factor={self.downscale_factor}"


class Upsample(Module):
    """Resamples the axes behind the first two of `(batch, channels, *)`; see `functional.interpolate`.

    Arguments:
        size: of the result, a number or one an axis; or else
        scale_factor: how many times as large, a number or a tuple.
        mode: 'nearest', 'linear', 'bilinear', 'bicubic' or 'trilinear'.
        align_corners: whether the centres of the corners, not their edges, stay where they are.
        recompute_scale_factor: whether `scale_factor` only says the size.

    A call raises ValueError for arguments that do not go together.

    >>> import pydiff as pd
    >>> pd.nn.Upsample(scale_factor=2)(pd.tensor([[[1.0, 3.0]]])).tolist()
    [[[1.0, 1.0, 3.0, 3.0]]]
    """

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        if isinstance(scale_factor, tuple):
            self.scale_factor = tuple(float(factor) for factor in scale_factor)
        else:
            self.scale_factor = float(scale_factor) if scale_factor else None
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input):
        return F.interpolate(input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor)

    def extra_repr(self):
        of = f"size={self.size!r}" if self.scale_factor is None else f"scale_factor={self.scale_factor!r}"
        return f"{of}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` with mode 'nearest'.

    >>> import pydiff as pd
    >>> tuple(pd.nn.UpsamplingNearest2d(size=(4, 6))(pd.zeros(1, 1, 2, 3)).shape)
    (1, 1, 4, 6)
    """

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, mode="nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` with mode 'bilinear' and aligned corners.

    >>> import pydiff as pd
    >>> pd.nn.UpsamplingBilinear2d((1, 3))(pd.tensor([[[[1.0, 3.0]]]])).tolist()
    [[[[1.0, 2.0, 3.0]]]]
    """

    def __init__(self, size=None, scale_factor=None):
        super().__init__(size, scale_factor, mode="bilinear", align_corners=True)
