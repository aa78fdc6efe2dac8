"""Layers that widen their input, as modules; what they add is in `functional.pad`.

`padding` is a number for all sides, or (before, after) of the last axis, then of the one before, …
"""

from . import functional as F
from ._sizes import check_axes, sizes, with_places
from .module import Module

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d", "ConstantPad3d",
    "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d", "ReplicationPad3d",
    "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip


class _Pad(Module):
    def __init__(self, padding, axes):
        super().__init__()
        self.padding = sizes(type(self).__name__, "padding", padding, 2 * axes)

    def extra_repr(self):
        return f"{self.padding}"


class _EdgePad(_Pad):
    def forward(self, input):
        axes = len(self.padding) // 2
        check_axes(type(self).__name__, input, (axes + 1, axes + 2), with_places(axes))
        return F.pad(input, self.padding, self._mode)


class _ConstantPad(_Pad):
    def __init__(self, padding, value, axes):
        super().__init__(padding, axes)
        self.value = value

    def forward(self, input):
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self):
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """Adds `value` around the last axis.

    Arguments:
        padding: a number, or (left, right); a negative number cuts.
        value: what is added.

    Raises ValueError for a padding of another length.

    >>> import pydiff as pd
    >>> pd.nn.ConstantPad1d((1, 2), 9.0)(pd.tensor([[1.0]])).tolist()
    [[9.0, 1.0, 9.0, 9.0]]
    """

    def __init__(self, padding, value):
        super().__init__(padding, value, 1)


class ConstantPad2d(_ConstantPad):
    """Adds `value` around the last two axes.

    Arguments:
        padding: a number, or (left, right, top, bottom); a negative number cuts.
        value: what is added.

    >>> import pydiff as pd
    >>> pd.nn.ConstantPad2d((0, 1, 1, 0), 9.0)(pd.tensor([[1.0]])).tolist()
    [[9.0, 9.0], [1.0, 9.0]]
    """

    def __init__(self, padding, value):
        super().__init__(padding, value, 2)


class ConstantPad3d(_ConstantPad):
    """Adds `value` around the last three axes.

    Arguments:
        padding: a number, or (left, right, top, bottom, front, back); a negative number cuts.
        value: what is added.

    >>> import pydiff as pd
    >>> tuple(pd.nn.ConstantPad3d(1, 9.0)(pd.zeros(2, 1, 1, 1)).shape)
    (2, 3, 3, 3)
    """

    def __init__(self, padding, value):
        super().__init__(padding, value, 3)


class ZeroPad1d(ConstantPad1d):
    """Adds zeros around the last axis; see `ConstantPad1d`.

    >>> import pydiff as pd
    >>> pd.nn.ZeroPad1d(1)(pd.tensor([[1.0]])).tolist()
    [[0.0, 1.0, 0.0]]
    """

    def __init__(self, padding):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad2d(ConstantPad2d):
    """Adds zeros around the last two axes; see `ConstantPad2d`.

    >>> import pydiff as pd
    >>> pd.nn.ZeroPad2d((1, 0, 0, 0))(pd.tensor([[1.0]])).tolist()
    [[0.0, 1.0]]
    """

    def __init__(self, padding):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


class ZeroPad3d(ConstantPad3d):
    """Adds zeros around the last three axes; see `ConstantPad3d`.

    >>> import pydiff as pd
    >>> tuple(pd.nn.ZeroPad3d((1, 0, 0, 0, 2, 2))(pd.ones(1, 1, 1, 1)).shape)
    (1, 5, 1, 2)
    """

    def __init__(self, padding):
        super().__init__(padding, 0.0)

    extra_repr = _Pad.extra_repr


_EDGES = {
    "Reflection": ("reflect", "Adds what is mirrored at the ends, without the ends themselves", "[[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]"),
    "Replication": ("replicate", "Repeats the elements at the ends", "[[1.0, 1.0, 1.0, 2.0, 3.0, 3.0]]"),
    "Circular": ("circular", "Adds what is at the other end, as if the input went round", "[[2.0, 3.0, 1.0, 2.0, 3.0, 1.0]]"),
}  # fmt: skip
_SIDES = {1: "(left, right)", 2: "(left, right, top, bottom)", 3: "(left, right, top, bottom, front, back)"}
_EXAMPLES = {
    1: ("pd.nn.{name}((2, 1))(pd.tensor([[1.0, 2.0, 3.0]])).tolist()", None),
    2: ("tuple(pd.nn.{name}((2, 1, 0, 1))(pd.ones(4, 3, 3)).shape)", "(4, 4, 6)"),
    3: ("tuple(pd.nn.{name}(1)(pd.ones(4, 2, 2, 2)).shape)", "(4, 4, 4, 4)"),
}


def _edge_pad(kind, axes):
    mode, does, result = _EDGES[kind]
    name = f"{kind}Pad{axes}d"

    class Pad(_EdgePad):
        _mode = mode

        def __init__(self, padding):
            super().__init__(padding, axes)

    call, shown = _EXAMPLES[axes]
    Pad.__name__ = Pad.__qualname__ = name
    Pad.__doc__ = f"""{does}: padding for {with_places(axes)}.

    Arguments:
        padding: a number, or {_SIDES[axes]}; a negative number cuts.

    Raises ValueError for a padding or an input of another form, and where the input is too small to take from.

    >>> import pydiff as pd
    >>> {call.format(name=name)}
    {shown or result}
    """
    return Pad


ReflectionPad1d, ReflectionPad2d, ReflectionPad3d = (_edge_pad("Reflection", axes) for axes in (1, 2, 3))
ReplicationPad1d, ReplicationPad2d, ReplicationPad3d = (_edge_pad("Replication", axes) for axes in (1, 2, 3))
CircularPad1d, CircularPad2d, CircularPad3d = (_edge_pad("Circular", axes) for axes in (1, 2, 3))
