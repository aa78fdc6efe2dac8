"""Images: types, normalisation, colour, blur, erasing. An image is `(*, channels, height, width)`, floats from 0 to 1 or uint8."""

import math
import numbers

import numpy as np

import pydiff
from pydiff.nn import functional as F

from .compose import Transform

__all__ = [
    "ColorJitter", "ConvertImageDtype", "GaussianBlur", "GaussianNoise", "Grayscale", "Normalize", "RandomErasing",
    "RandomGrayscale", "ToDtype", "ToImage", "ToTensor",
]  # fmt: skip

# Of ITU-R BT.601-7, 2.5.1, as Pillow and torchvision have them.
_LUMA = (0.2989, 0.587, 0.114)


def check_image(op, x, channels=None):
    """An error where `x` is no image."""
    if not isinstance(x, pydiff.Tensor) or x.ndim < 3 or (channels is not None and x.shape[-3] not in channels):
        got = tuple(x.shape) if isinstance(x, pydiff.Tensor) else type(x).__name__
        wanted = "" if channels is None else f" with {' or '.join(map(str, channels))} channels"
        raise ValueError(f"[{op}] an image is a tensor (*, channels, height, width){wanted}; got {got}; try ToTensor()")
    return x


def check_probability(op, p):
    """An error where `p` is no probability."""
    if not isinstance(p, numbers.Number) or not 0 <= p <= 1:
        raise ValueError(f"[{op}] p is a probability from 0 to 1; got {p!r}; try p=0.5")
    return p


def per_sample(values):
    """Numbers of each sample, to compute with images."""
    return values[..., None, None, None]


def top(x):
    """The number that stands for white."""
    return 1.0 if x.dtype.is_floating_point else 1.0 if x.dtype == pydiff.bool else float(pydiff.iinfo(x.dtype).max)


def real(x):
    """The image in a type to compute with."""
    return x if x.dtype.is_floating_point else x.to(pydiff.float32)


def back(x, like):
    """Computed numbers in the type of the image they come from, clipped to what it can show."""
    if like.dtype.is_floating_point:
        return x.to(like.dtype)
    return x.round().clamp(0, top(like)).to(like.dtype)


# ---- types


class ToImage(Transform):
    """An array `(height, width[, channels])`, a picture of Pillow, or a tensor, as a tensor `(channels, height, width)`.

    Tensors stay as they are. Nothing is scaled.

    >>> import numpy as np, pydiff as pd
    >>> tuple(pd.data.transforms.ToImage()(np.zeros((4, 5, 3), np.uint8)).shape)
    (3, 4, 5)
    """

    def forward(self, x):
        """The image."""
        if isinstance(x, pydiff.Tensor):
            return x
        array = np.asarray(x)
        if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
            got = f"{type(x).__name__} {array.dtype} {array.shape}"
            raise TypeError(f"[ToImage] a picture is (height, width[, channels]); got {got}; try numpy.asarray(picture)")
        array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
        return pydiff.from_numpy(np.array(array, array.dtype.newbyteorder("="), order="C"))


class ToDtype(Transform):
    """Another type; with `scale`, white stays white: 255 of uint8 is 1 of a floating-point type.

    >>> import pydiff as pd
    >>> pd.data.transforms.ToDtype(pd.uint8, scale=True)(pd.tensor([[[0.5, 1.0]]])).tolist()
    [[[127, 255]]]
    """

    def __init__(self, dtype, scale=False):
        super().__init__()
        self.dtype = dtype
        self.scale = scale

    def forward(self, x):
        """The image in the type."""
        new = self.dtype
        if not self.scale or x.dtype == new:
            return x.to(new)
        if new.is_floating_point:
            return x.to(new) if x.dtype.is_floating_point else (x.to(pydiff.float64 if x.dtype.itemsize > 2 else pydiff.float32)
                                                               / top(x)).to(new)  # fmt: skip
        white = float(pydiff.iinfo(new).max)
        if x.dtype.is_floating_point:  # each number of the new type has a part of the same length
            return (x.to(pydiff.float64) * (white + 1 - 1e-3)).floor().clamp(0, white).to(new)
        ratio = (white + 1) / (top(x) + 1)
        return (x.to(pydiff.float64) * ratio).floor().to(new)


class ConvertImageDtype(ToDtype):
    """`ToDtype` with `scale`, under its old name.

    >>> import pydiff as pd
    >>> pd.data.transforms.ConvertImageDtype()(pd.full((1, 1, 1), 255, dtype=pd.uint8)).item()
    1.0
    """

    def __init__(self, dtype=None):
        super().__init__(pydiff.float32 if dtype is None else dtype, scale=True)


class ToTensor(Transform):
    """What `ToImage` takes, as floats; whole numbers are scaled to lie from 0 to 1.

    >>> import numpy as np, pydiff as pd
    >>> pd.data.transforms.ToTensor()(np.full((1, 1, 3), 51, np.uint8)).flatten().tolist() == [0.20000000298023224] * 3
    True
    """

    def forward(self, x):
        """The image."""
        return ConvertImageDtype()(ToImage()(x))


class Normalize(Transform):
    """(image - mean) / std, channel by channel.

    Arguments:
        mean, std: sequences with a number for each channel, or for all.

    Raises ValueError where a standard deviation is 0 or the channels differ in number, TypeError for whole numbers.

    >>> import pydiff as pd
    >>> pd.data.transforms.Normalize([1.0], [2.0])(pd.tensor([[[3.0]]])).item()
    1.0
    """

    def __init__(self, mean, std, inplace=False):
        super().__init__()
        if 0 in list(std):
            raise ValueError(f"[Normalize] no standard deviation is 0; got {list(std)}; try 1")
        self.mean, self.std, self.inplace = list(mean), list(std), inplace

    def forward(self, x):
        """The normalised image."""
        check_image("Normalize", x)
        if not x.dtype.is_floating_point:
            raise TypeError(f"[Normalize] an image of floats; got {x.dtype}; try ToDtype(pydiff.float32, scale=True) before it")
        if any(len(v) not in (1, x.shape[-3]) for v in (self.mean, self.std)):
            got = f"{len(self.mean)} means, {len(self.std)} deviations for {x.shape[-3]} channels"
            raise ValueError(f"[Normalize] a number for each channel; got {got}; try {x.shape[-3]} of each")
        mean, std = (pydiff.tensor(v, dtype=x.dtype, device=x.device)[:, None, None] for v in (self.mean, self.std))
        return (x - mean) / std


class GaussianNoise(Transform):
    """Normal noise added to images of floats.

    Arguments:
        mean, sigma: of the noise.
        clip: whether the result is kept between 0 and 1.
        generator: a `pydiff.Generator`; the default one if None.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.GaussianNoise()(pd.zeros(3, 4, 4)).shape)
    (3, 4, 4)
    """

    def __init__(self, mean=0.0, sigma=0.1, clip=True, generator=None):
        super().__init__()
        if sigma < 0:
            raise ValueError(f"[GaussianNoise] sigma is 0 or more; got {sigma}; try 0.1")
        self.mean, self.sigma, self.clip, self.generator = mean, sigma, clip, generator

    def forward(self, x):
        """The image with noise."""
        noise = pydiff.randn(*x.shape, dtype=x.dtype, device=x.device, generator=self.generator)
        x = x + (noise * self.sigma + self.mean)
        return x.clamp(0, 1) if self.clip else x


# ---- colour


def gray(x):
    """One channel of the brightness of three, in the type that is computed in."""
    weights = pydiff.tensor(_LUMA, dtype=x.dtype, device=x.device)[:, None, None]
    return (x * weights).sum(-3, keepdim=True)


def _whole(x, like):
    """Gray levels are whole in a whole type, as Pillow has them."""
    return x if like.dtype.is_floating_point else x.floor()


class Grayscale(Transform):
    """The brightness alone: 0.2989 red + 0.587 green + 0.114 blue (ITU-R BT.601).

    Arguments:
        num_output_channels: 1, or 3 that are alike.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.Grayscale()(pd.ones(2, 3, 4, 4)).shape)
    (2, 1, 4, 4)
    """

    def __init__(self, num_output_channels=1):
        super().__init__()
        if num_output_channels not in (1, 3):
            raise ValueError(f"[Grayscale] there are 1 or 3 channels; got {num_output_channels}; try 1")
        self.num_output_channels = num_output_channels

    def forward(self, x):
        """The gray image."""
        check_image("Grayscale", x, (1, 3))
        one = x if x.shape[-3] == 1 else back(_whole(gray(real(x)), x), x)
        return one.expand(*x.shape[:-3], self.num_output_channels, *x.shape[-2:])


class RandomGrayscale(Transform):
    """Samples made gray with probability p; the channels stay three.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.RandomGrayscale(p=1.0)(pd.ones(3, 2, 2)).shape)
    (3, 2, 2)
    """

    def __init__(self, p=0.1, generator=None):
        super().__init__()
        self.p, self.generator = check_probability("RandomGrayscale", p), generator

    def forward(self, x):
        """The images, some of them gray."""
        check_image("RandomGrayscale", x, (1, 3))
        chosen = per_sample(self._draws(x, x.shape[:-3]) < self.p)
        return pydiff.where(chosen, Grayscale(x.shape[-3])(x), x)


def _blend(x, other, factor, like):
    return back((x * factor + other * (1 - factor)).clamp(0, top(like)), like) if like.dtype.is_floating_point else (
        (x * factor + other * (1 - factor)).clamp(0, top(like)).floor()
    )  # fmt: skip


def _to_hsv(x):
    """Hue, saturation and value of red, green and blue from 0 to 1 (Smith, SIGGRAPH 1978)."""
    red, green, blue = x.unbind(-3)
    high, low = x.amax(-3), x.amin(-3)
    span = high - low
    same = span == 0
    divisor = pydiff.where(same, 1, span)
    r, g, b = ((high - c) / divisor for c in (red, green, blue))
    hue = pydiff.where(high == red, b - g, pydiff.where(high == green, 2 + r - b, 4 + g - r))
    hue = (hue / 6 + 1) % 1
    return pydiff.where(same, 0, hue), pydiff.where(same, 0, span / pydiff.where(high == 0, 1, high)), high


def _from_hsv(hue, saturation, value):
    """The inverse, without branches: channel n is v - v s max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6."""
    channels = []
    for n in (5, 3, 1):
        k = (hue * 6 + n) % 6
        channels.append(value - value * saturation * pydiff.minimum(k, 4 - k).clamp(0, 1))
    return pydiff.stack(channels, -3)


def adjust(name, x, factor):
    """An image with another brightness, contrast, saturation or hue; `factor` broadcasts with `(*, 1, 1, 1)`."""
    y = real(x)
    if name == "brightness":
        return _finish(_blend(y, 0.0, factor, x), x)
    if name == "contrast":
        mean = (_whole(gray(y), x) if x.shape[-3] == 3 else y).mean((-3, -2, -1), keepdim=True)
        return _finish(_blend(y, mean, factor, x), x)
    if x.shape[-3] == 1:
        return x
    if name == "saturation":
        return _finish(_blend(y, _whole(gray(y), x), factor, x), x)
    hue, saturation, value = _to_hsv(y / top(x))
    return back(_from_hsv((hue + factor[..., 0]) % 1, saturation, value) * top(x), x)


def _finish(y, like):
    return y if like.dtype.is_floating_point else y.to(like.dtype)


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed at random, each sample by factors of its own.

    Arguments:
        brightness, contrast, saturation: a number d, for factors from max(0, 1 - d) to 1 + d; or (low, high).
        hue: a number d up to 0.5, for a shift from -d to d of the colour wheel; or (low, high).
        generator: a `pydiff.Generator`; the default one if None.

    The four come in an order that is drawn for each call, as in torchvision. Raises ValueError for numbers out of range.

    >>> import pydiff as pd
    >>> tuple(pd.data.transforms.ColorJitter(0.5, 0.5, 0.5, 0.1)(pd.rand(2, 3, 4, 4)).shape)
    (2, 3, 4, 4)
    """

    def __init__(self, brightness=None, contrast=None, saturation=None, hue=None, generator=None):
        super().__init__()
        given = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
        self.ranges = {name: self._range(name, value) for name, value in given.items() if value is not None}
        self.generator = generator

    @staticmethod
    def _range(name, value):
        shift = name == "hue"
        if isinstance(value, numbers.Number):
            low, high = (-value, value) if shift else (max(0.0, 1.0 - value), 1.0 + value)
            wrong = value < 0
        else:
            (low, high), wrong = value, len(value) != 2
        bounds = (-0.5, 0.5) if shift else (0.0, math.inf)
        if wrong or not bounds[0] <= low <= high <= bounds[1]:
            raise ValueError(f"[ColorJitter] {name} is from {bounds[0]} to {bounds[1]}; got {value}; try {name}=0.1")
        return low, high

    def forward(self, x):
        """The images in other colours."""
        check_image("ColorJitter", x, (1, 3))
        names = list(self.ranges)
        for k in pydiff.randperm(len(names), generator=self.generator, device="cpu").tolist():
            factor = self._draws(x, x.shape[:-3], *self.ranges[names[k]])
            x = adjust(names[k], x, per_sample(factor))
        return x


# ---- neighbourhoods


class GaussianBlur(Transform):
    """A Gaussian filter, of another width for each sample.

    Arguments:
        kernel_size: an odd number, or two: along the height and the width.
        sigma: the standard deviation in pixels, or (low, high) that it is drawn from.
        generator: a `pydiff.Generator`; the default one if None.

    Edges are reflected. Raises ValueError for even sizes and sigmas that are not positive.

    >>> import pydiff as pd
    >>> round(pd.data.transforms.GaussianBlur(3)(pd.ones(1, 4, 4)).sum().item(), 4)
    16.0
    """

    def __init__(self, kernel_size, sigma=(0.1, 2.0), generator=None):
        super().__init__()
        self.kernel_size = (kernel_size,) * 2 if isinstance(kernel_size, int) else tuple(kernel_size)
        self.sigma = (float(sigma),) * 2 if isinstance(sigma, numbers.Number) else tuple(sigma)
        self.generator = generator
        if any(k < 1 or k % 2 == 0 for k in self.kernel_size):
            raise ValueError(f"[GaussianBlur] kernel sizes are odd and positive; got {kernel_size}; try kernel_size=3")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"[GaussianBlur] sigma is positive, (low, high); got {sigma}; try sigma=(0.1, 2.0)")

    def forward(self, x):
        """The blurred images."""
        check_image("GaussianBlur", x)
        sigma = self._draws(x, x.shape[:-3], *self.sigma)
        y = real(x)
        for axis, size in zip((-2, -1), self.kernel_size):
            y = _blurred(y, axis, size, sigma)
        return back(y, x)


def _blurred(x, axis, size, sigma):
    half = size // 2
    if x.shape[axis] <= half:
        raise ValueError(f"[GaussianBlur] an image is larger than half the kernel; got {tuple(x.shape)}; try kernel_size=1")
    place = pydiff.arange(-half, half + 1, device=x.device).to(sigma.dtype)
    weights = (-0.5 * (place / sigma[..., None]) ** 2).exp()
    weights = (weights / weights.sum(-1, keepdim=True)).to(x.dtype)
    sizes = [0, 0, half, half] if axis == -2 else [half, half, 0, 0]
    flat = F.pad(x.reshape(-1, *x.shape[-3:]), sizes, mode="reflect").reshape(
        *x.shape[:-2], *(n + s for n, s in zip(x.shape[-2:], (2 * sizes[2], 2 * sizes[0])))
    )
    return sum(flat.narrow(axis, k, x.shape[axis]) * per_sample(weights[..., k]) for k in range(size))


class RandomErasing(Transform):
    """A rectangle of each sample is overwritten, with probability p (Zhong et al., arXiv:1708.04896).

    Arguments:
        p: the probability.
        scale: (low, high) of the rectangle's part of the area.
        ratio: (low, high) of its height by its width.
        value: what is written: a number, one for each channel, or "random" for normal noise.
        generator: a `pydiff.Generator`; the default one if None.

    A rectangle that would stick out is cut to the image's size; torchvision draws anew instead.

    >>> import pydiff as pd
    >>> erased = pd.data.transforms.RandomErasing(p=1.0)(pd.ones(1, 8, 8))
    >>> 0 < erased.sum().item() < 64
    True
    """

    def __init__(self, p=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0, inplace=False, generator=None):
        super().__init__()
        self.p = check_probability("RandomErasing", p)
        if not (0 <= scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]):
            got = f"scale={scale}, ratio={ratio}"
            raise ValueError(f"[RandomErasing] ranges are (low, high), scale up to 1; got {got}; try scale=(0.02, 0.33)")
        self.scale, self.ratio, self.value, self.inplace, self.generator = scale, ratio, value, inplace, generator

    def forward(self, x):
        """The images, some with a rectangle erased."""
        check_image("RandomErasing", x)
        height, width = x.shape[-2:]
        lead = x.shape[:-3]
        area = self._draws(x, lead, *self.scale) * (height * width)
        ratio = self._draws(x, lead, *map(math.log, self.ratio)).exp()
        inside = per_sample(self._draws(x, lead) < self.p)
        for axis, size, length in ((-2, height, (area * ratio).sqrt()), (-1, width, (area / ratio).sqrt())):
            length = length.round().clamp(1, size)
            start = (self._draws(x, lead) * (size - length + 1)).floor()
            place = pydiff.arange(size, device=x.device).reshape(*((size, 1) if axis == -2 else (size,)))
            start, end = per_sample(start), per_sample(start + length)
            inside = inside & (place >= start) & (place < end)
        if self.value == "random":
            value = pydiff.randn(*x.shape, device=x.device, generator=self.generator).to(x.dtype)
        else:
            value = pydiff.tensor(self.value, device=x.device).to(x.dtype)
            value = value.reshape(-1, 1, 1) if value.ndim else value
        return pydiff.where(inside, value, x)
