"""Sequences: lengths, masks, noise, shifts. A sequence is `(length, *)`, a batch `(batch, length, *)`."""

import pydiff

from .compose import Transform
from .image import check_probability

__all__ = ["AddNoise", "PadSequence", "RandomMask", "TimeShift", "Truncate"]


def _length(op, value, least=1):
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"[{op}] a length is a whole number, {least} or more; got {value!r}; try 128")
    return value


class PadSequence(Transform):
    """A sequence, or a list of sequences of different lengths, filled up to one length.

    Arguments:
        length: of the result; of a list, that of the longest if None.
        value: what is put at the end.
        multiple: the length is rounded up to a multiple of this.

    `forward` of a tensor `(length, *)` returns one, of a list of them `(batch, length, *)`: so it serves in a `collate_fn`.
    Raises ValueError where a sequence is longer than the length.

    >>> import pydiff as pd
    >>> pd.data.transforms.PadSequence()([pd.tensor([1, 2]), pd.tensor([3])]).tolist()
    [[1, 2], [3, 0]]
    """

    def __init__(self, length=None, value=0, multiple=1):
        super().__init__()
        self.length = None if length is None else _length("PadSequence", length)
        self.value, self.multiple = value, _length("PadSequence", multiple)

    def forward(self, x):
        """The filled sequence, or the batch of them."""
        single = isinstance(x, pydiff.Tensor)
        sequences = [x] if single else list(x)
        longest = max((len(s) for s in sequences), default=0)
        length = longest if self.length is None else self.length
        length = -(-length // self.multiple) * self.multiple
        if longest > length:
            raise ValueError(
                f"[PadSequence] a sequence is too long; got {longest} for {length}; try Truncate({length}) before it"
            )
        filled = []
        for s in sequences:
            rest = pydiff.full((length - len(s), *s.shape[1:]), self.value, dtype=s.dtype, device=s.device)
            filled.append(pydiff.cat([s, rest]) if len(s) < length else s)
        return filled[0] if single else pydiff.stack(filled)


class Truncate(Transform):
    """The first elements of a sequence, or the last ones.

    Arguments:
        max_seq_len: how many at most.
        dim: the axis of the length: 0 of a sequence, 1 of a batch.
        end: whether the last ones are kept.

    >>> import pydiff as pd
    >>> pd.data.transforms.Truncate(2)(pd.arange(5)).tolist()
    [0, 1]
    """

    def __init__(self, max_seq_len, dim=0, end=False):
        super().__init__()
        self.max_seq_len, self.dim, self.end = _length("Truncate", max_seq_len), dim, end

    def forward(self, x):
        """The shorter sequence; lists are cut too."""
        if not isinstance(x, pydiff.Tensor):
            return x[-self.max_seq_len :] if self.end else x[: self.max_seq_len]
        size = x.shape[self.dim]
        kept = min(size, self.max_seq_len)
        return x.narrow(self.dim, size - kept if self.end else 0, kept)


class RandomMask(Transform):
    """Elements overwritten at random, as of masked language models (Devlin et al., arXiv:1810.04805).

    Arguments:
        p: the probability of each element.
        value: what is written, the number of a mask token.
        keep: values that are never masked (padding, separators).
        return_mask: whether the mask is returned too.
        generator: a `pydiff.Generator`; the default one if None.

    >>> import pydiff as pd
    >>> pd.data.transforms.RandomMask(p=1.0, value=9, keep=(0,))(pd.tensor([3, 4, 0])).tolist()
    [9, 9, 0]
    """

    def __init__(self, p=0.15, value=0, keep=(), return_mask=False, generator=None):
        super().__init__()
        self.p, self.value, self.keep = check_probability("RandomMask", p), value, tuple(keep)
        self.return_mask, self.generator = return_mask, generator

    def forward(self, x):
        """The masked sequence, and where it is masked if asked for."""
        mask = self._draws(x, x.shape) < self.p
        for value in self.keep:
            mask = mask & (x != value)
        masked = pydiff.where(mask, pydiff.tensor(self.value, dtype=x.dtype, device=x.device), x)
        return (masked, mask) if self.return_mask else masked


class AddNoise(Transform):
    """Normal noise of standard deviation `std` added.

    Arguments:
        std: a number; with `relative`, in units of each sequence's own standard deviation.
        relative: whether it is.
        generator: a `pydiff.Generator`; the default one if None.

    Raises ValueError where std is negative, TypeError for whole numbers.

    >>> import pydiff as pd
    >>> pd.data.transforms.AddNoise(0.0)(pd.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, std=0.1, relative=False, generator=None):
        super().__init__()
        if std < 0:
            raise ValueError(f"[AddNoise] std is 0 or more; got {std}; try 0.1")
        self.std, self.relative, self.generator = std, relative, generator

    def forward(self, x):
        """The sequence with noise."""
        if not x.dtype.is_floating_point:
            raise TypeError(f"[AddNoise] noise is added to floats; got {x.dtype}; try x.float()")
        noise = pydiff.randn(*x.shape, dtype=x.dtype, device=x.device, generator=self.generator) * self.std
        if self.relative:
            noise = noise * x.std(-1 if x.ndim == 1 else tuple(range(x.ndim > 1 and x.ndim > 2, x.ndim)), keepdim=True)
        return x + noise


class TimeShift(Transform):
    """Each sequence of a batch moved along its axis by a number of steps of its own.

    Arguments:
        max_shift: steps, at most so many either way.
        wrap: whether what leaves at one end comes in at the other; else `value` does.
        value: what comes in.
        dim: the axis of the length; those before it are samples.
        generator: a `pydiff.Generator`; the default one if None.

    >>> import pydiff as pd
    >>> pd.data.transforms.TimeShift(0)(pd.arange(3)).tolist()
    [0, 1, 2]
    """

    def __init__(self, max_shift, wrap=False, value=0, dim=-1, generator=None):
        super().__init__()
        self.max_shift = _length("TimeShift", max_shift, least=0)
        self.wrap, self.value, self.dim, self.generator = wrap, value, dim, generator

    def forward(self, x):
        """The moved sequences."""
        axis = self.dim % x.ndim
        size, lead = x.shape[axis], x.shape[:axis]
        shift = (self._draws(x, lead) * (2 * self.max_shift + 1)).floor().clamp(0, 2 * self.max_shift) - self.max_shift
        source = pydiff.arange(size, device=x.device) - shift.to(pydiff.int64)[..., None]
        inside = (source >= 0) & (source < size)
        shape = (*lead, size) + (1,) * (x.ndim - axis - 1)
        moved = x.gather(axis, (source % size).reshape(shape).expand(*x.shape))
        if self.wrap:
            return moved
        return pydiff.where(inside.reshape(shape), moved, pydiff.tensor(self.value, dtype=x.dtype, device=x.device))
