"""Batches whose samples are mixed with one another, labels included."""

import numbers

import pydiff
from pydiff.nn import functional as F

from .compose import Transform
from .image import check_image, per_sample

__all__ = ["CutMix", "MixUp"]


class _Mix(Transform):
    def __init__(self, *, alpha=1.0, num_classes=None, generator=None):
        super().__init__()
        if not isinstance(alpha, numbers.Number) or alpha <= 0:
            raise ValueError(f"[{type(self).__name__}] alpha is a positive number; got {alpha!r}; try alpha=1.0")
        self.alpha, self.num_classes, self.generator = float(alpha), num_classes, generator

    def forward(self, x, labels):
        """(mixed images, their mixed labels)."""
        op = type(self).__name__
        check_image(op, x)
        if x.ndim != 4 or labels.shape[0] != x.shape[0]:
            got = f"images {tuple(x.shape)}, labels {tuple(labels.shape)}"
            raise ValueError(f"[{op}] a batch (batch, channels, height, width) and its labels; got {got}; try a collate_fn")
        if labels.ndim == 1:
            if self.num_classes is None:
                raise ValueError(f"[{op}] labels that are numbers need num_classes; got None; try {op}(num_classes=10)")
            labels = F.one_hot(labels, self.num_classes)
        labels = labels if labels.dtype.is_floating_point else labels.to(pydiff.float32)
        shape = (x.shape[0],)
        lam = pydiff.random.beta(self.alpha, self.alpha, shape, device=x.device, generator=self.generator)
        x, lam = self._mixed(x, lam)
        lam = lam.to(labels.dtype)[:, None]
        return x, labels * lam + labels.roll(1, 0) * (1 - lam)


class MixUp(_Mix):
    """Each sample of a batch mixed with the one before it: lam x + (1 - lam) x' (Zhang et al., arXiv:1710.09412).

    Arguments:
        alpha: lam is drawn of Beta(alpha, alpha), for each sample one; torchvision draws one a batch.
        num_classes: how many there are, where labels are numbers and not rows of probabilities.
        generator: a `pydiff.Generator`; the default one if None.

    `forward(images, labels)` returns the images and rows of probabilities. Raises ValueError for what is no batch.

    >>> import pydiff as pd
    >>> x, y = pd.data.transforms.MixUp(num_classes=3)(pd.rand(4, 1, 2, 2), pd.tensor([0, 1, 2, 0]))
    >>> tuple(y.shape), round(y.sum().item(), 4)
    ((4, 3), 4.0)
    """

    def _mixed(self, x, lam):
        weight = per_sample(lam).to(x.dtype)
        return x * weight + x.roll(1, 0) * (1 - weight), lam


class CutMix(_Mix):
    """A rectangle of each sample replaced by that of the one before it (Yun et al., arXiv:1905.04899).

    Arguments:
        alpha: the share of the area that stays is drawn of Beta(alpha, alpha), for each sample one; torchvision draws
            one a batch.
        num_classes: how many there are, where labels are numbers and not rows of probabilities.
        generator: a `pydiff.Generator`; the default one if None.

    `forward(images, labels)` returns the images and rows of probabilities, in the shares of the pixels. Raises ValueError
    for what is no batch.

    >>> import pydiff as pd
    >>> x, y = pd.data.transforms.CutMix(num_classes=3)(pd.rand(4, 1, 8, 8), pd.tensor([0, 1, 2, 0]))
    >>> tuple(y.shape), round(y.sum().item(), 4)
    ((4, 3), 4.0)
    """

    def _mixed(self, x, lam):
        height, width = x.shape[-2:]
        half = (1 - lam).sqrt() * 0.5
        inside, area = None, 1.0
        for size, shape in ((height, (height, 1)), (width, (width,))):
            centre = (self._draws(x, lam.shape) * size).floor()
            length = (half * size).floor()
            start, end = (centre - length).clamp(0), (centre + length).clamp(max=size)
            place = pydiff.arange(size, device=x.device).reshape(*shape)
            here = (place >= per_sample(start)) & (place < per_sample(end))
            inside = here if inside is None else inside & here
            area = area * (end - start)
        return pydiff.where(inside, x.roll(1, 0), x), 1 - area / (height * width)
