"""Transforms one after the other, and what all random ones share."""

import pydiff
from pydiff import nn

__all__ = ["Compose", "Identity", "Lambda", "RandomApply", "Transform"]


class Transform(nn.Module):
    """A module whose `forward` changes a sample or a batch; put together by `Compose` or `nn.Sequential`.

    Random transforms have a `generator`: a `pydiff.Generator`, the default one if None. Where they are given a batch, each
    sample has draws of its own. They do the same in training and in evaluation, as torchvision's.

    >>> import pydiff as pd
    >>> class Double(pd.data.transforms.Transform):
    ...     def forward(self, x):
    ...         return x * 2
    >>> Double()(pd.ones(2)).tolist()
    [2.0, 2.0]
    """

    generator = None

    def _draws(self, x, shape, low=0.0, high=1.0):
        """Uniform numbers of a shape, on the device of `x`, in its type if that is a real one."""
        dtype = x.dtype if x.dtype.is_floating_point and x.dtype.itemsize > 2 else pydiff.float32
        return pydiff.rand(*shape, dtype=dtype, device=x.device, generator=self.generator) * (high - low) + low


class Compose(Transform):
    """Transforms one after the other.

    Arguments:
        transforms: a list of callables, each given what the one before returned.

    Raises TypeError where it is no list of callables.

    >>> import pydiff as pd
    >>> T = pd.data.transforms
    >>> T.Compose([T.Lambda(lambda x: x + 1), T.Normalize([1.0], [2.0])])(pd.ones(1, 1, 1)).item()
    0.5
    """

    def __init__(self, transforms):
        super().__init__()
        if not isinstance(transforms, (list, tuple)) or not all(callable(t) for t in transforms):
            raise TypeError(f"[Compose] it takes a list of callables; got {transforms!r}; try Compose([first, second])")
        self.transforms = transforms

    def forward(self, *inputs):
        """All transforms in turn; what several inputs give is handed on as several."""
        for transform in self.transforms:
            outputs = transform(*inputs)
            inputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return inputs if len(inputs) > 1 else inputs[0]

    def extra_repr(self):
        return ", ".join(map(repr, self.transforms))


class Lambda(Transform):
    """A function as a transform.

    >>> import pydiff as pd
    >>> pd.data.transforms.Lambda(lambda x: x * 3)(pd.ones(1)).item()
    3.0
    """

    def __init__(self, lambd):
        super().__init__()
        if not callable(lambd):
            raise TypeError(f"[Lambda] it takes a function; got {type(lambd).__name__}; try lambda x: x")
        self.lambd = lambd

    def forward(self, *inputs):
        """What the function returns."""
        return self.lambd(*inputs)


class Identity(Transform):
    """Changes nothing.

    >>> import pydiff as pd
    >>> pd.data.transforms.Identity()(3)
    3
    """

    def forward(self, x):
        """The input."""
        return x


class RandomApply(Transform):
    """Transforms one after the other for some samples of a batch, and nothing for the others.

    Arguments:
        transforms: a list of callables that keep the shape of a batch `(*, channels, height, width)`.
        p: the probability that a sample is transformed.
        generator: a `pydiff.Generator`; the default one if None.

    >>> import pydiff as pd
    >>> T = pd.data.transforms
    >>> T.RandomApply([T.Lambda(lambda x: x + 1)], p=1.0)(pd.zeros(1, 1, 1)).item()
    1.0
    """

    def __init__(self, transforms, p=0.5, generator=None):
        super().__init__()
        self.inner = Compose(transforms)
        self.p = p
        self.generator = generator

    def forward(self, x):
        """The batch, some of its samples transformed."""
        chosen = self._draws(x, x.shape[:-3]) < self.p
        return pydiff.where(chosen[..., None, None, None], self.inner(x), x)
