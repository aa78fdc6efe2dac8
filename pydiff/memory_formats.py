"""Memory formats: in which order the elements of images and volumes lie.

`channels_last` keeps the channels of a place together: a tensor of shape (batch, channels, height, width) lies as
(batch, height, width, channels). Convolutions, pooling, normalisations, `interpolate` and elementwise operations compute in
that order and keep it.
"""

from . import _C

__all__ = ["channels_last", "channels_last_3d", "contiguous_format", "memory_format", "preserve_format"]


class memory_format:
    """In which order elements lie: `contiguous_format`, `channels_last` (of 4 axes), `channels_last_3d` (of 5), or
    `preserve_format`: that of the operand.

    >>> import pydiff as pd
    >>> x = pd.zeros(1, 3, 2, 2).to(memory_format=pd.channels_last)
    >>> x.stride(), x.is_contiguous(memory_format=pd.channels_last)
    ((12, 1, 6, 3), True)
    """

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return "pydiff." + self.name

    def __reduce__(self):
        return _named, (self.name,)


preserve_format, contiguous_format, channels_last, channels_last_3d = map(
    memory_format, ("preserve_format", "contiguous_format", "channels_last", "channels_last_3d")
)
_C.set_memory_formats([preserve_format, contiguous_format, channels_last, channels_last_3d])


def _named(name):
    return globals()[name]


#: Of a channels-last tensor its value of shape (batch, *places, channels), else None; and the way back.
places_last, channels_last_of = _C.places_last, _C.channels_last_of


def laid_out_like(tensor, other):
    """The tensor channels-last where another one of its shape is."""
    if tensor.shape != other.shape or places_last(other) is None:
        return tensor
    return tensor.to(memory_format=channels_last if tensor.ndim == 4 else channels_last_3d)
