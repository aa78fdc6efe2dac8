"""Where pixels lie: crops, flips, sizes, rotations. An image is `(*, channels, height, width)`."""

import math
import numbers

import pydiff
from pydiff.nn import functional as F

from .compose import Transform
from .image import back, check_image, check_probability, per_sample, real

__all__ = [
    "CenterCrop", "Pad", "RandomAffine", "RandomCrop", "RandomHorizontalFlip", "RandomResizedCrop", "RandomRotation",
    "RandomVerticalFlip", "Resize",
]  # fmt: skip


def _pair(op, size):
    size = (size, size) if isinstance(size, int) else tuple(size)
    if len(size) == 1:
        size *= 2
    if len(size) != 2 or any(not isinstance(n, int) or n < 1 for n in size):
        raise ValueError(f"[{op}] a size is (height, width), 1 or more each; got {size}; try size=(224, 224)")
    return size


def _padded(x, sizes, fill, mode):
    """`F.pad` of images of any leading axes."""
    flat = x.reshape(-1, *x.shape[-3:])
    value = fill if mode == "constant" else 0
    names = {"constant": "constant", "edge": "replicate", "reflect": "reflect"}
    if not flat.dtype.is_floating_point and mode != "constant":
        flat = F.pad(flat.to(pydiff.float64), sizes, mode=names[mode]).to(x.dtype)
    else:
        flat = F.pad(flat, sizes, mode=names[mode], value=value)
    return flat.reshape(*x.shape[:-2], *flat.shape[-2:])


class Pad(Transform):
    """A margin.

    Arguments:
        padding: of all sides; or (left and right, top and bottom); or (left, top, right, bottom).
        fill: what the margin holds.
        padding_mode: 'constant', 'edge' or 'reflect'.

    Raises ValueError for other modes and negative margins.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.Pad((1, 2))(pd.ones(3, 4, 4)).shape)
    (3, 8, 6)
    """

    def __init__(self, padding, fill=0, padding_mode="constant"):
        super().__init__()
        sides = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
        sides = sides * 4 if len(sides) == 1 else sides * 2 if len(sides) == 2 else sides
        if len(sides) != 4 or min(sides) < 0 or padding_mode not in ("constant", "edge", "reflect"):
            got = f"{padding}, padding_mode={padding_mode!r}"
            raise ValueError(f"[Pad] margins are 0 or more, 1, 2 or 4 of them; got {got}; try padding=1, padding_mode='edge'")
        self.padding, self.fill, self.padding_mode = sides, fill, padding_mode

    def forward(self, x):
        """The larger image."""
        check_image("Pad", x)
        left, top, right, bottom = self.padding
        return _padded(x, [left, right, top, bottom], self.fill, self.padding_mode)


class Resize(Transform):
    """Another size.

    Arguments:
        size: (height, width); or one number, for the shorter side, the longer one keeping the ratio.
        interpolation: 'bilinear', 'bicubic', 'nearest', 'nearest-exact' or 'area', the modes of `F.interpolate`.
        max_size: of the longer side, where `size` is one number.
        antialias: whether the filter widens where the image shrinks.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.Resize(4)(pd.ones(3, 8, 12)).shape)
    (3, 4, 6)
    """

    def __init__(self, size, interpolation="bilinear", max_size=None, antialias=True):
        super().__init__()
        self.single = isinstance(size, int) or len(size) == 1
        if max_size is not None and not self.single:
            raise ValueError(f"[Resize] max_size is for a size of one number; got {size} and {max_size}; try max_size=None")
        self.size = _pair("Resize", size)
        self.interpolation, self.max_size, self.antialias = interpolation, max_size, antialias

    def _sizes(self, height, width):
        if not self.single:
            return self.size
        short, long = min(height, width), max(height, width)
        new_short, new_long = self.size[0], int(self.size[0] * long / short)
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = int(self.max_size * new_short / new_long), self.max_size
        return (new_short, new_long) if height <= width else (new_long, new_short)

    def forward(self, x):
        """The resized image."""
        check_image("Resize", x)
        size = self._sizes(*x.shape[-2:])
        if size == tuple(x.shape[-2:]):
            return x
        flat = real(x).reshape(-1, *x.shape[-3:])
        smooth = self.interpolation in ("bilinear", "bicubic")
        flat = F.interpolate(flat, size, mode=self.interpolation, antialias=smooth and self.antialias)
        return back(flat, x).reshape(*x.shape[:-2], *size)


class CenterCrop(Transform):
    """The middle of an image; where it is smaller, zeros around it.

    >>> import pydiff as pd
    >>> pd.data.transforms.CenterCrop(1)(pd.arange(9).reshape(1, 3, 3)).item()
    4
    """

    def __init__(self, size):
        super().__init__()
        self.size = _pair("CenterCrop", size)

    def forward(self, x):
        """The crop."""
        check_image("CenterCrop", x)
        height, width = self.size
        lack = [max(new - old, 0) for new, old in zip(self.size, x.shape[-2:])]
        if any(lack):
            x = _padded(x, [lack[1] // 2, (lack[1] + 1) // 2, lack[0] // 2, (lack[0] + 1) // 2], 0, "constant")
        top, left = (int(round((old - new) / 2.0)) for new, old in zip(self.size, x.shape[-2:]))
        return x[..., top : top + height, left : left + width]


class _Flip(Transform):
    def __init__(self, p=0.5, generator=None):
        super().__init__()
        self.p, self.generator = check_probability(type(self).__name__, p), generator

    def forward(self, x):
        """The images, some of them turned over."""
        check_image(type(self).__name__, x)
        chosen = per_sample(self._draws(x, x.shape[:-3]) < self.p)
        return pydiff.where(chosen, x.flip(self._axis), x)


class RandomHorizontalFlip(_Flip):
    """Left and right exchanged, with probability p for each sample.

    >>> import pydiff as pd
    >>> pd.data.transforms.RandomHorizontalFlip(p=1.0)(pd.tensor([[[1, 2]]])).tolist()
    [[[2, 1]]]
    """

    _axis = -1


class RandomVerticalFlip(_Flip):
    """Top and bottom exchanged, with probability p for each sample.

    >>> import pydiff as pd
    >>> pd.data.transforms.RandomVerticalFlip(p=1.0)(pd.tensor([[[1], [2]]])).tolist()
    [[[2], [1]]]
    """

    _axis = -2


class RandomCrop(Transform):
    """A part of each sample, at a place of its own.

    Arguments:
        size: (height, width), or one number for both.
        padding, fill, padding_mode: a margin that is put around first, as of `Pad`.
        pad_if_needed: whether smaller images are padded to the size.
        generator: a `pydiff.Generator`; the default one if None.

    Raises ValueError where an image is smaller than the crop.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.RandomCrop(2, padding=1)(pd.ones(5, 3, 4, 4)).shape)
    (5, 3, 2, 2)
    """

    def __init__(self, size, padding=None, pad_if_needed=False, fill=0, padding_mode="constant", generator=None):
        super().__init__()
        self.size = _pair("RandomCrop", size)
        self.pad = None if padding is None else Pad(padding, fill, padding_mode)
        self.pad_if_needed, self.fill, self.padding_mode = pad_if_needed, fill, padding_mode
        self.generator = generator

    def forward(self, x):
        """The crops."""
        check_image("RandomCrop", x)
        x = x if self.pad is None else self.pad(x)
        if self.pad_if_needed:
            lack = [max(new - old, 0) for new, old in zip(self.size, x.shape[-2:])]
            if any(lack):
                x = _padded(x, [lack[1], lack[1], lack[0], lack[0]], self.fill, self.padding_mode)
        if any(new > old for new, old in zip(self.size, x.shape[-2:])):
            got = f"{self.size} of {tuple(x.shape[-2:])}"
            raise ValueError(f"[RandomCrop] the crop is larger than the image; got {got}; try pad_if_needed=True")
        flat = x.reshape(-1, *x.shape[-3:])
        for axis, new in zip((2, 3), self.size):
            spare = flat.shape[axis] - new
            start = (self._draws(x, flat.shape[:1]) * (spare + 1)).floor().clamp(0, spare).to(pydiff.int64)
            place = start[:, None] + pydiff.arange(new, device=x.device)
            shape = (-1, 1, new, 1) if axis == 2 else (-1, 1, 1, new)
            sizes = list(flat.shape)
            sizes[axis] = new
            flat = flat.gather(axis, place.reshape(shape).expand(*sizes))
        return flat.reshape(*x.shape[:-2], *self.size)


class RandomResizedCrop(Transform):
    """A part of each sample, of random place, area and ratio, resized: the crop of Inception (arXiv:1409.4842).

    Arguments:
        size: (height, width) of the result, or one number for both.
        scale: (low, high) of the part's share of the area.
        ratio: (low, high) of its width by its height.
        antialias: whether the filter widens where the part shrinks.
        generator: a `pydiff.Generator`; the default one if None.

    The filter is bilinear and looks at nothing outside of the part. A part that would stick out is cut to the image's size,
    where torchvision draws up to ten times anew.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.RandomResizedCrop(4)(pd.ones(5, 3, 9, 7)).shape)
    (5, 3, 4, 4)
    """

    def __init__(self, size, scale=(0.08, 1.0), ratio=(3.0 / 4.0, 4.0 / 3.0), antialias=True, generator=None):
        super().__init__()
        self.size = _pair("RandomResizedCrop", size)
        if not (0 < scale[0] <= scale[1] and 0 < ratio[0] <= ratio[1]):
            got = f"scale={scale}, ratio={ratio}"
            raise ValueError(f"[RandomResizedCrop] ranges are (low, high), positive; got {got}; try scale=(0.08, 1.0)")
        self.scale, self.ratio, self.antialias, self.generator = scale, ratio, antialias, generator

    def boxes(self, x):
        """Where the parts of `x` are: top, left, height, width, each `(*,)`, whole numbers as floats."""
        lead, (height, width) = x.shape[:-3], x.shape[-2:]
        area = self._draws(x, lead, *self.scale) * (height * width)
        ratio = self._draws(x, lead, *map(math.log, self.ratio)).exp()
        h = (area / ratio).sqrt().round().clamp(1, height)
        w = (area * ratio).sqrt().round().clamp(1, width)
        top = (self._draws(x, lead) * (height - h + 1)).floor()
        left = (self._draws(x, lead) * (width - w + 1)).floor()
        return top, left, h, w

    def forward(self, x):
        """The resized parts."""
        check_image("RandomResizedCrop", x)
        return resized_crop(x, *self.boxes(x), self.size, self.antialias)


def resized_crop(x, top, left, height, width, size, antialias=True):
    """Each sample's own part of an image, resized: `W_rows @ part @ W_columnsᵀ`, with matrices of filter weights."""
    rows = _filter(x.shape[-2], top, height, size[0], antialias).to(real(x).dtype)
    columns = _filter(x.shape[-1], left, width, size[1], antialias).to(real(x).dtype)
    return back(rows[..., None, :, :] @ real(x) @ columns[..., None, :, :].mT, x)


def _filter(size, start, length, out, antialias):
    """`(*, out, size)`: the triangle filter of each new pixel over the old ones from `start` on, its weights adding up to 1."""
    start, length = start[..., None, None], length[..., None, None]
    step = length / out
    reach = step.clamp(1) if antialias else pydiff.ones_like(step)
    centre = (pydiff.arange(out, device=start.device).to(start.dtype)[:, None] + 0.5) * step
    place = pydiff.arange(size, device=start.device).to(start.dtype)[None, :] - start
    if not antialias:  # an edge is as wide as it takes
        centre = pydiff.minimum(centre.clamp(0.5), length - 0.5)
    weights = (1 - ((place + 0.5 - centre) / reach).abs()).clamp(0)
    weights = pydiff.where((place >= 0) & (place < length), weights, 0)
    return weights / weights.sum(-1, keepdim=True)


# ---- affine maps


def _affine(op, x, angle, translate, scale, shear, center, interpolation, fill):
    """Each sample of `x` turned by `angle` (degrees, clockwise), scaled, sheared and moved about a centre.

    The matrix is T C R S C⁻¹ in pixels, of which `grid_sample` wants the inverse: where each new pixel comes from.
    """
    height, width = x.shape[-2:]
    flat = real(x).reshape(-1, *x.shape[-3:])
    flat = flat if flat.dtype.itemsize > 2 else flat.to(pydiff.float32)
    angle, scale = (v.reshape(-1) * k for v, k in ((angle, math.pi / 180), (scale, 1.0)))
    sx, sy = (v.reshape(-1) * (math.pi / 180) for v in shear)
    dx, dy = (v.reshape(-1) for v in translate)
    cx, cy = (0.0, 0.0) if center is None else (center[0] - width / 2, center[1] - height / 2)
    # R S without the scale, and its inverse, whose determinant is 1.
    a = (angle - sy).cos() / sy.cos()
    b = -(angle - sy).cos() * sx.tan() / sy.cos() - angle.sin()
    c = (angle - sy).sin() / sy.cos()
    d = -(angle - sy).sin() * sx.tan() / sy.cos() + angle.cos()
    inverse = [[d / scale, -b / scale], [-c / scale, a / scale]]
    rows = []
    for (p, q), centre in zip(inverse, (cx, cy)):
        rows.append([p, q, p * (-cx - dx) + q * (-cy - dy) + centre])
    # From pixels about the middle to the range -1 to 1 of `grid_sample`.
    half = width / 2, height / 2
    theta = pydiff.stack(
        [pydiff.stack([r[0] * half[0] / h, r[1] * half[1] / h, r[2] / h], -1) for r, h in zip(rows, half)], -2
    ).to(flat.dtype)
    grid = F.affine_grid(theta, tuple(flat.shape), align_corners=False)
    moved = F.grid_sample(flat, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
    if fill not in (0, None):
        value = pydiff.tensor(fill, device=x.device).to(flat.dtype)
        value = value.reshape(-1, 1, 1) if value.ndim else value
        ones = pydiff.ones(flat.shape[0], 1, height, width, dtype=flat.dtype, device=x.device)
        inside = F.grid_sample(ones, grid, mode=interpolation, padding_mode="zeros", align_corners=False)
        moved = moved + value * (1 - inside)
    return back(moved, x).reshape(x.shape)


def _interpolation(op, name):
    if name not in ("nearest", "bilinear", "bicubic"):
        raise ValueError(f"[{op}] unknown interpolation; got {name!r}; try 'nearest' or 'bilinear'")
    return name


class RandomAffine(Transform):
    """Rotation, translation, scaling and shear, each sample by numbers of its own; the size stays.

    Arguments:
        degrees: a number d, for angles from -d to d, or (low, high); clockwise.
        translate: (a, b), for shifts of up to a * width and b * height in whole pixels either way.
        scale: (low, high) of the factor.
        shear: a number d, for a shear along x by angles from -d to d; or (low, high); or four, the last two along y.
        interpolation: 'nearest', 'bilinear' or 'bicubic'.
        fill: what comes from outside: a number, or one for each channel. Pixels on the edge are mixed of both in the shares
            of their area; torchvision weighs the image twice there.
        center: (x, y) in pixels about which it turns; the middle if None.
        generator: a `pydiff.Generator`; the default one if None.

    Raises ValueError for ranges that are none.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.RandomAffine(10, translate=(0.1, 0.1))(pd.ones(2, 1, 6, 6)).shape)
    (2, 1, 6, 6)
    """

    def __init__(
        self, degrees, translate=None, scale=None, shear=None, interpolation="nearest", fill=0, center=None, generator=None
    ):
        super().__init__()
        op = type(self).__name__
        self.degrees = _range(op, "degrees", degrees)
        self.translate = (0, 0) if translate is None else tuple(translate)
        self.scale = (1.0, 1.0) if scale is None else tuple(scale)
        shear = (0.0, 0.0) if shear is None else _range(op, "shear", shear)
        self.shear = (*shear, 0.0, 0.0) if len(shear) == 2 else shear
        if not all(0 <= t <= 1 for t in self.translate) or not 0 < self.scale[0] <= self.scale[1]:
            got = f"translate={translate}, scale={scale}"
            raise ValueError(f"[{op}] shares are from 0 to 1, scales positive; got {got}; try translate=(0.1, 0.1)")
        self.interpolation, self.fill, self.center = _interpolation(op, interpolation), fill, center
        self.generator = generator

    def forward(self, x):
        """The moved images."""
        op = type(self).__name__
        check_image(op, x)
        lead, (height, width) = x.shape[:-3], x.shape[-2:]
        angle = self._draws(x, lead, *self.degrees)
        shifts = [
            self._draws(x, lead, -share * size, share * size).round() for share, size in zip(self.translate, (width, height))
        ]
        scale = self._draws(x, lead, *self.scale)
        shear = self._draws(x, lead, *self.shear[:2]), self._draws(x, lead, *self.shear[2:])
        return _affine(op, x, angle, shifts, scale, shear, self.center, self.interpolation, self.fill)


def _range(op, name, value):
    if isinstance(value, numbers.Number):
        if value >= 0:
            return (-value, value)
    elif len(value) in (2, 4) and value[0] <= value[1]:
        return tuple(value)
    raise ValueError(f"[{op}] {name} is a number of 0 or more, or (low, high); got {value}; try {name}=10")


class RandomRotation(RandomAffine):
    """Each sample turned by an angle of its own; the size stays.

    Arguments:
        degrees: a number d, for angles from -d to d, or (low, high); counter-clockwise.
        interpolation: 'nearest', 'bilinear' or 'bicubic'.
        expand: only False: the samples of a batch have one size.
        center: (x, y) in pixels about which it turns; the middle if None.
        fill: what comes from outside: a number, or one for each channel.
        generator: a `pydiff.Generator`; the default one if None.

    >>> import pydiff as pd
    >>> pd.data.transforms.RandomRotation((90, 90))(pd.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist()
    [[[2.0, 4.0], [1.0, 3.0]]]
    """

    def __init__(self, degrees, interpolation="nearest", expand=False, center=None, fill=0, generator=None):
        if expand:
            raise ValueError("[RandomRotation] samples of a batch have one size; got expand=True; try Pad before it")
        low, high = _range("RandomRotation", "degrees", degrees)
        super().__init__((-high, -low), interpolation=interpolation, fill=fill, center=center, generator=generator)
