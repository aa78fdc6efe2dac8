"""Padding by the input's own elements, resampling on grids, and shuffles of channels and pixels."""

import math

import numpy as np

import pydiff

from . import _pooling
from ._windows import by_channels, by_places, numbers

# ---- padding


def pad(input, pad, mode="constant", value=None):
    """Widen the last axes: `pad` is (before, after) of the last axis, then of the one before, …

    Arguments:
        mode: 'constant' adds `value` (0 by default), 'reflect' what is mirrored at the ends without
            the end itself, 'replicate' the end, 'circular' the other end.

    A negative width cuts. Raises ValueError for another mode, for an odd number of widths, and where
    there is less to mirror or to wrap than is asked for.

    >>> import pydiff as pd
    >>> x = pd.tensor([[1, 2, 3]])
    >>> [pd.nn.functional.pad(x, (2, 1), mode).tolist()[0] for mode in ("reflect", "replicate", "circular")]
    [[3, 2, 1, 2, 3, 2], [1, 1, 1, 2, 3, 3], [2, 3, 1, 2, 3, 1]]
    """
    if mode == "constant":
        return pydiff.pad(input, pad, value=0 if value is None else value)
    if mode not in _EDGES:
        raise ValueError(f"[pad] unknown mode; got {mode!r}; try 'constant', 'reflect', 'replicate' or 'circular'")
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ValueError(f"[pad] two widths an axis are needed; got {tuple(pad)} for {tuple(input.shape)}; try (before, after)")
    for k in range(len(pad) // 2):
        axis, before, after = input.ndim - 1 - k, pad[2 * k], pad[2 * k + 1]
        if mode == "circular":  # what is cut is not wrapped either, as in PyTorch
            input = _pad_axis(input, axis, min(before, 0), min(after, 0), mode)
            before, after = max(before, 0), max(after, 0)
        input = _pad_axis(input, axis, before, after, mode)
    return input


def _pad_axis(input, axis, before, after, mode):
    size = input.shape[axis]
    widest, reason = {"reflect": (size - 1, "less than its size"), "circular": (size, "its size")}.get(mode, (math.inf, ""))
    if max(before, after) > widest or size == 0:
        raise ValueError(
            f"[pad] the width of an axis is at most {reason or 'what it has'}; got {(before, after)} for size {size}, "
            f"mode {mode!r}; try mode='constant'"
        )
    low, high = max(before, 0), max(after, 0)
    if low or high:
        left, right = _EDGES[mode](input, axis, size, low, high)
        input = pydiff.cat([part for part in (left, input, right) if part.shape[axis]], axis)
    start = max(-before, 0)
    length = size + low + high - start - max(-after, 0)
    if length < 0:
        raise ValueError(f"[pad] more is cut than there is; got {(before, after)} for size {size}; try smaller widths")
    return input.narrow(axis, start, length) if length != input.shape[axis] else input


def _mirrored(input, axis, size, low, high):
    return input.narrow(axis, 1, low).flip(axis), input.narrow(axis, size - 1 - high, high).flip(axis)


def _repeated(input, axis, size, low, high):
    shape = list(input.shape)

    def times(part, count):
        shape[axis] = count
        return part.expand(shape)

    return times(input.narrow(axis, 0, 1), low), times(input.narrow(axis, size - 1, 1), high)


def _wrapped(input, axis, size, low, high):
    return input.narrow(axis, size - low, low), input.narrow(axis, 0, high)


_EDGES = {"reflect": _mirrored, "replicate": _repeated, "circular": _wrapped}


# ---- resampling axis by axis


def interpolate(
    input, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None, antialias=False
):
    """Resample the axes behind the first two of `(batch, channels, *)`.

    Arguments:
        size: of the result, a number or one an axis; or else
        scale_factor: how many times as large, a number or one an axis.
        mode: 'nearest', 'nearest-exact' and 'area' for 1 to 3 axes; 'linear' for 1, 'bilinear' and
            'bicubic' for 2, 'trilinear' for 3.
        align_corners: whether the centres of the corners, not their edges, stay where they are.
        recompute_scale_factor: whether `scale_factor` only says the size.
        antialias: whether 'bilinear' and 'bicubic' widen their filter where the result is smaller.

    The cubic is Keys's (1981) with a = -0.75, -0.5 with `antialias`. Raises ValueError for sizes, modes
    and options that do not go together.

    >>> import pydiff as pd
    >>> x = pd.tensor([[[1.0, 3.0]]])
    >>> pd.nn.functional.interpolate(x, scale_factor=2).tolist()
    [[[1.0, 1.0, 3.0, 3.0]]]
    >>> pd.nn.functional.interpolate(x, size=3, mode="linear", align_corners=True).tolist()
    [[[1.0, 2.0, 3.0]]]
    """
    axes = input.ndim - 2
    wanted = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}.get(mode, axes)
    plain = mode in ("nearest", "nearest-exact", "area")
    if axes not in (1, 2, 3) or wanted != axes or not (plain or mode in _TAPS):
        raise ValueError(
            f"[interpolate] mode and axes do not fit; got {mode!r} for {tuple(input.shape)}; "
            "try 'nearest', or one of 'linear', 'bilinear', 'bicubic', 'trilinear' for as many axes behind the first two"
        )
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"[interpolate] one of size and scale_factor is given; got {size} and {scale_factor}; try scale_factor=2"
        )
    if plain and align_corners is not None:
        raise ValueError(f"[interpolate] align_corners has no meaning for {mode!r}; got {align_corners}; try None")
    if antialias and mode not in ("bilinear", "bicubic"):
        raise ValueError(f"[interpolate] antialias is for 'bilinear' and 'bicubic'; got {mode!r}; try antialias=False")
    scales = [None] * axes
    if size is not None:
        sizes = numbers("interpolate", "size", size, axes)
    else:
        scales = [float(s) for s in _factors(scale_factor, axes)]
        sizes = tuple(math.floor(n * s) for n, s in zip(input.shape[2:], scales))
        if recompute_scale_factor:
            scales = [None] * axes
    if min(sizes) < 1 or 0 in input.shape[1:]:
        raise ValueError(f"[interpolate] sizes are positive; got {sizes} of {tuple(input.shape)}; try a larger size or factor")
    if mode == "area":
        return getattr(_pooling, f"adaptive_avg_pool{axes}d")(input, sizes)
    x, first = by_places(input)
    for k in range(axes):
        taps = _nearest if plain else _antialiased if antialias else _TAPS[mode]
        # Positions in the input's own precision, as PyTorch has them; whole ones always in float32.
        real = np.float64 if input.dtype.name == "float64" and not plain else np.float32
        index, weights = taps(input.shape[2 + k], sizes[k], scales[k], bool(align_corners), mode, real)
        x = _weighted(x, first + k, index, weights)
    return by_channels(x, first)


def _factors(scale_factor, axes):
    return (scale_factor,) * axes if isinstance(scale_factor, (int, float)) else scale_factor


def _weighted(input, axis, index, weights):
    """sum over k of weights[k] * input[index[k]] along an axis; the input alone without weights."""
    total = None
    shape = (-1,) + (1,) * (input.ndim - 1 - axis)
    for k, places in enumerate(index):
        part = input.index_select(axis, pydiff.tensor(places.astype(np.int64), device=input.device))
        if weights is not None:
            weight = pydiff.tensor(weights[k].reshape(shape).astype(np.float64), device=input.device)
            part = part * weight.to(input.dtype)
        total = part if total is None else total + part
    return total


def _nearest(size, out, scale, align, mode, real):
    step = real(size / out if scale is None else 1 / scale)
    place = np.arange(out, dtype=real) + (real(0.5) if mode == "nearest-exact" else real(0))
    return np.minimum(np.floor(place * step), size - 1)[None], None


def _sources(size, out, scale, align, real):
    """Where the elements of the result lie on the input's axis."""
    place = np.arange(out, dtype=real)
    if align:
        return place * real((size - 1) / (out - 1) if out > 1 else 0)
    step = real(size / out if scale is None else 1 / scale)
    return step * (place + real(0.5)) - real(0.5)


def _linear(size, out, scale, align, mode, real):
    source = np.maximum(_sources(size, out, scale, align, real), 0)
    low = np.minimum(np.floor(source), size - 1)
    part = np.clip(source - low, 0, 1)
    return np.stack([low, np.minimum(low + 1, size - 1)]), np.stack([1 - part, part])


def _keys(x, a):
    """The cubic kernel of Keys, IEEE Trans. ASSP 29 (1981)."""
    x = abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return near, far


def _cubic(size, out, scale, align, mode, real):
    source = _sources(size, out, scale, align, real)
    low = np.floor(source)
    part = source - low
    index = np.stack([np.clip(low + k, 0, size - 1) for k in (-1, 0, 1, 2)])
    return index, np.stack(_cubic_weights(part))


def _cubic_weights(part):
    """Of the four neighbours, at distances 1 + t, t, 1 - t, 2 - t."""
    a = -0.75
    return [_keys(1 + part, a)[1], _keys(part, a)[0], _keys(1 - part, a)[0], _keys(2 - part, a)[1]]


_TAPS = {"linear": _linear, "bilinear": _linear, "trilinear": _linear, "bicubic": _cubic}


def _antialiased(size, out, scale, align, mode, real):
    """The filter stretched by the factor by which the axis shrinks, its weights summing to 1."""
    if align:
        step = (size - 1) / (out - 1) if out > 1 else 0.0
    else:
        step = size / out if scale is None else 1 / scale
    reach, stretch = (2 if mode == "bicubic" else 1) * max(step, 1.0), 1 / max(step, 1.0)
    centre = step * (np.arange(out) + 0.5)
    start = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + reach + 0.5).astype(np.int64), size) - start
    k = np.arange(int(count.max()))[:, None]
    x = np.abs((k + start - centre + 0.5) * stretch)
    if mode == "bicubic":
        near, far = _keys(x, -0.5)
        weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    else:
        weights = np.maximum(1 - x, 0.0)
    weights = np.where(k < count, weights, 0.0)
    return np.minimum(start + k, size - 1), weights / weights.sum(0)


def upsample(input, size=None, scale_factor=None, mode="nearest", align_corners=None):
    """`interpolate` under its old name.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.upsample(pd.ones(1, 1, 2), 4).shape)
    (1, 1, 4)
    """
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input, size=None, scale_factor=None):
    """`interpolate` with mode 'nearest'.

    >>> import pydiff as pd
    >>> tuple(pd.nn.functional.upsample_nearest(pd.ones(1, 1, 2), 4).shape)
    (1, 1, 4)
    """
    return interpolate(input, size, scale_factor)


def upsample_bilinear(input, size=None, scale_factor=None):
    """`interpolate` with mode 'bilinear' and aligned corners.

    >>> import pydiff as pd
    >>> pd.nn.functional.upsample_bilinear(pd.tensor([[[[1.0, 3.0]]]]), (1, 3)).tolist()
    [[[[1.0, 2.0, 3.0]]]]
    """
    return interpolate(input, size, scale_factor, "bilinear", True)


# ---- resampling at given places


def affine_grid(theta, size, align_corners=False):
    """The grid for `grid_sample` that an affine map makes of the result's own places.

    Arguments:
        theta: `(batch, d, d + 1)`, d = 2 or 3.
        size: of the result, (batch, channels, *d sizes).
        align_corners: whether -1 and 1 are the corners' centres, not their edges.

    Returns `(batch, *d sizes, d)`. Raises ValueError where the shapes do not match. Jaderberg et al.,
    arXiv:1506.02025.

    >>> import pydiff as pd
    >>> theta = pd.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> pd.nn.functional.affine_grid(theta, (1, 1, 1, 2)).tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    d = len(size) - 2
    if d not in (2, 3) or tuple(theta.shape) != (size[0], d, d + 1):
        raise ValueError(
            f"[affine_grid] theta is (batch, d, d + 1) for a size (batch, channels, *d sizes); got "
            f"{tuple(theta.shape)} and {tuple(size)}; try theta of shape {(size[0], d, d + 1)}"
        )
    axes = []
    for k, n in enumerate(reversed(size[2:])):
        place = np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
        if not align_corners and n > 1:
            place = place * ((n - 1) / n)
        axes.append(np.broadcast_to(place.reshape((-1,) + (1,) * k), tuple(size[2:])))
    base = np.stack([*axes, np.ones(tuple(size[2:]))], -1).reshape(-1, d + 1)
    base = pydiff.tensor(base, dtype=theta.dtype, device=theta.device)
    return (base @ theta.mT).reshape(size[0], *size[2:], d)


def grid_sample(input, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    """The input at the places that a grid says.

    Arguments:
        input: `(batch, channels, height, width)` or `(batch, channels, depth, height, width)`.
        grid: `(batch, *out, d)`, d = 2 or 3: x, y (, z), where -1 and 1 are the ends of an axis.
        mode: 'bilinear' (of three axes trilinear), 'nearest', and of two axes 'bicubic'.
        padding_mode: what is outside: 'zeros', 'border' (the end), 'reflection'.
        align_corners: whether -1 and 1 are the corners' centres, not their edges.

    Returns `(batch, channels, *out)`. Raises ValueError for shapes or modes that do not fit.

    >>> import pydiff as pd
    >>> x = pd.tensor([[[[1.0, 3.0]]]])
    >>> pd.nn.functional.grid_sample(x, pd.zeros(1, 1, 1, 2)).item()
    2.0
    """
    d = input.ndim - 2
    if d not in (2, 3) or grid.ndim != d + 2 or grid.shape[-1] != d or grid.shape[0] != input.shape[0]:
        raise ValueError(
            f"[grid_sample] the grid is (batch, *out, d) for an input (batch, channels, *d sizes); got "
            f"{tuple(grid.shape)} and {tuple(input.shape)}; try a grid of shape {(input.shape[0], *(1,) * d, d)}"
        )
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and d == 3):
        raise ValueError(f"[grid_sample] unknown mode; got {mode!r} for {d} axes; try 'bilinear' or 'nearest'")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(f"[grid_sample] unknown padding_mode; got {padding_mode!r}; try 'zeros', 'border' or 'reflection'")
    sizes = input.shape[2:]
    align = bool(align_corners)
    places = []
    for k, n in enumerate(sizes):
        x = grid[..., d - 1 - k]
        places.append((x + 1) * ((n - 1) / 2) if align else ((x + 1) * n - 1) / 2)
    flat = input.reshape(*input.shape[:2], math.prod(sizes))
    if mode == "bicubic":
        taps = [_four(x) for x in places]

        def inward(x, n):
            return _inward(x, n, padding_mode, align)
    else:
        places = [_inward(x, n, padding_mode, align) for x, n in zip(places, sizes)]
        taps = [[(x.round(), None)] if mode == "nearest" else _two(x) for x in places]

        def inward(x, n):
            return x

    out = tuple(grid.shape[1:-1])
    total = 0
    for choice in _products(taps):
        index, weight, inside = 0, None, None
        for (x, w), n in zip(choice, sizes):
            x = inward(x, n).detach()
            here = (x >= 0) & (x <= n - 1)
            index = index * n + pydiff.where(here, x, 0).to(pydiff.int64)
            inside = here if inside is None else inside & here
            if w is not None:
                weight = w if weight is None else weight * w
        index = index.reshape(index.shape[0], 1, math.prod(out)).expand(*flat.shape[:2], math.prod(out))
        part = flat.gather(2, index).reshape(*flat.shape[:2], *out)
        if weight is not None:
            part = part * weight.unsqueeze(1)
        total = total + pydiff.where(inside.unsqueeze(1), part, 0)
    return total


_SAMPLERS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")


def grid_sampler_2d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` of two axes; its modes by number, in the order in which they are listed there.

    >>> import pydiff as pd
    >>> pd.grid_sampler_2d(pd.tensor([[[[1.0, 3.0]]]]), pd.zeros(1, 1, 1, 2), 0, 0, False).item()
    2.0
    """
    return grid_sample(input, grid, _SAMPLERS[0][interpolation_mode], _SAMPLERS[1][padding_mode], align_corners)


def grid_sampler_3d(input, grid, interpolation_mode, padding_mode, align_corners):
    """`grid_sample` of three axes; see `grid_sampler_2d`.

    >>> import pydiff as pd
    >>> pd.grid_sampler_3d(pd.ones(1, 1, 2, 2, 2), pd.zeros(1, 1, 1, 1, 3), 0, 0, False).item()
    1.0
    """
    return grid_sample(input, grid, _SAMPLERS[0][interpolation_mode], _SAMPLERS[1][padding_mode], align_corners)


def _products(taps):
    if not taps:
        yield ()
        return
    for first in taps[0]:
        for rest in _products(taps[1:]):
            yield (first, *rest)


def _two(x):
    low = x.floor().detach()
    part = x - low
    return [(low, 1 - part), (low + 1, part)]


def _four(x):
    low = x.floor().detach()
    return [(low + k, w) for k, w in zip((-1, 0, 1, 2), _cubic_weights(x - low))]


def _inward(x, n, padding_mode, align):
    """Places outside of an axis brought inside, as 'border' and 'reflection' do."""
    if padding_mode == "zeros":
        return x
    if padding_mode == "reflection":
        low, span = (0.0, n - 1.0) if align else (-0.5, float(n))
        if span == 0:
            return x * 0
        away = (x - low).abs()
        turns = (away / span).floor().detach()
        left = away - turns * span
        odd = (turns - 2 * (turns / 2).floor()) != 0
        x = pydiff.where(odd, span - left, left) + low
    return pydiff.where(x <= 0, 0, pydiff.where(x >= n - 1, n - 1, x))


# ---- shuffles


def pixel_shuffle(input, upscale_factor):
    """`(*, channels * r², height, width)` as `(*, channels, height * r, width * r)`.

    Shi et al., arXiv:1609.05158. Raises ValueError where the channels are no multiple of r².

    >>> import pydiff as pd
    >>> pd.nn.functional.pixel_shuffle(pd.arange(4).reshape(4, 1, 1), 2).tolist()
    [[[0, 1], [2, 3]]]
    """
    r = upscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-3] % (r * r):
        raise ValueError(
            f"[pixel_shuffle] the channels are a multiple of {r}²; got {tuple(input.shape)}; try another upscale_factor"
        )
    *lead, channels, height, width = input.shape
    k = len(lead)
    parts = input.reshape(*lead, channels // (r * r), r, r, height, width)
    parts = parts.permute(*range(k), k, k + 3, k + 1, k + 4, k + 2)
    return parts.reshape(*lead, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input, downscale_factor):
    """`(*, channels, height * r, width * r)` as `(*, channels * r², height, width)`.

    Raises ValueError where height or width are no multiple of r.

    >>> import pydiff as pd
    >>> pd.nn.functional.pixel_unshuffle(pd.arange(4).reshape(1, 2, 2), 2).flatten().tolist()
    [0, 1, 2, 3]
    """
    r = downscale_factor
    if input.ndim < 3 or r < 1 or input.shape[-1] % r or input.shape[-2] % r:
        raise ValueError(
            f"[pixel_unshuffle] height and width are multiples of {r}; got {tuple(input.shape)}; try another downscale_factor"
        )
    *lead, channels, height, width = input.shape
    k = len(lead)
    parts = input.reshape(*lead, channels, height // r, r, width // r, r)
    parts = parts.permute(*range(k), k, k + 2, k + 4, k + 1, k + 3)
    return parts.reshape(*lead, channels * r * r, height // r, width // r)


def channel_shuffle(input, groups):
    """Channels `(batch, groups * n, *)` in the order that takes one of each group in turn.

    Zhang et al., arXiv:1707.01083. Raises ValueError where the channels are no multiple of `groups`.

    >>> import pydiff as pd
    >>> pd.nn.functional.channel_shuffle(pd.arange(4).reshape(1, 4, 1), 2).flatten().tolist()
    [0, 2, 1, 3]
    """
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ValueError(
            f"[channel_shuffle] the channels are a multiple of groups; got {tuple(input.shape)}, groups {groups}; try groups=1"
        )
    batch, channels, *rest = input.shape
    return input.reshape(batch, groups, channels // groups, *rest).transpose(1, 2).reshape(input.shape)
