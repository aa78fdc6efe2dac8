"""Modules made of parameters: `ParameterList` and `ParameterDict`."""

from collections import OrderedDict
from collections.abc import Mapping
from operator import index

from pydiff import Tensor

from .module import Module
from .parameter import Parameter

__all__ = ["ParameterDict", "ParameterList"]


def _held(value):
    """The value as it is kept: a plain tensor becomes a parameter."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _line(name, value, kind):
    """How `repr` shows one item; `kind(value)` is its type in words."""
    if not isinstance(value, Tensor):
        return f"  ({name}): Object of type: {type(value).__name__}"
    size = "x".join(str(n) for n in value.shape)
    where = f" ({value.device})" if value.device.type == "cuda" else ""
    return f"  ({name}): Parameter containing: [{kind(value)} of size {size}{where}]"


class _Holder(Module):
    def __call__(self, *args, **kwargs):
        name = type(self).__name__
        raise RuntimeError(f"[{name}] it holds parameters and computes nothing; got a call; try one of its items")


class ParameterList(_Holder):
    """A list whose tensors are parameters, all of them registered. It cannot be called.

    Arguments:
        values: iterable. Tensors become parameters; what is no tensor is kept as it is and is no part of the state.

    >>> import pydiff as pd
    >>> scales = pd.nn.ParameterList([pd.ones(2), pd.zeros(3)])
    >>> len(scales), [name for name, _ in scales.named_parameters()]
    (2, ['0', '1'])
    """

    def __init__(self, values=None):
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _name(self, position):
        given, size = index(position), len(self)
        if not -size <= given < size:
            raise IndexError(
                f"[{type(self).__name__}] index is out of range; got {given} for {size} items; try -{size} to {size - 1}"
            )
        return str(given % size)

    def __getitem__(self, position):
        if isinstance(position, slice):
            return type(self)(list(self)[position])
        return getattr(self, self._name(position))

    def __setitem__(self, position, value):
        setattr(self, self._name(position), _held(value))

    def __len__(self):
        return self._size

    def __iter__(self):
        return (getattr(self, str(k)) for k in range(self._size))

    def __iadd__(self, values):
        return self.extend(values)

    def append(self, value):
        """Add `value` at the end; returns self."""
        setattr(self, str(self._size), _held(value))
        self._size += 1
        return self

    def extend(self, values):
        """Add all of `values` at the end; returns self. Raises TypeError for what is not iterable, or a tensor."""
        if isinstance(values, Tensor) or not hasattr(values, "__iter__"):
            raise TypeError(f"[ParameterList] extend takes an iterable; got {type(values).__name__}; try append, or [value]")
        for value in list(values):
            self.append(value)
        return self

    def extra_repr(self):
        return "\n".join(_line(k, value, lambda v: v.dtype) for k, value in enumerate(self))


class ParameterDict(_Holder):
    """A dictionary whose tensors are parameters, all of them registered. It cannot be called.

    Arguments:
        parameters: mapping, or iterable of pairs, from name to value. Tensors become parameters; what is no tensor
            is kept as it is and is no part of the state. A mapping is taken in the order of its names, as in PyTorch;
            a `ParameterDict`, an `OrderedDict` and pairs in their own order.

    >>> import pydiff as pd
    >>> sides = pd.nn.ParameterDict({"left": pd.ones(2), "right": pd.zeros(3)})
    >>> list(sides), "left" in sides, list(sides.state_dict())
    (['left', 'right'], True, ['left', 'right'])
    """

    def __init__(self, parameters=None):
        super().__init__()
        self._keys = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key):
        if key not in self._keys:
            raise KeyError(f"[ParameterDict] no such item; got {key!r}; try one of {list(self._keys)}")
        return getattr(self, key)

    def __setitem__(self, key, value):
        if not isinstance(key, str):
            raise TypeError(f"[ParameterDict] a name is a string; got {type(key).__name__}; try str(name)")
        if key not in self._keys:
            self._check_name(key)
        setattr(self, key, _held(value))
        self._keys[key] = None

    def __delitem__(self, key):
        self[key]  # raises in the usual form
        del self._keys[key]
        delattr(self, key)

    def __len__(self):
        return len(self._keys)

    def __iter__(self):
        return iter(self._keys)

    def __reversed__(self):
        return reversed(self._keys)

    def __contains__(self, key):
        return key in self._keys

    def copy(self):
        """A `ParameterDict` with the same items."""
        return ParameterDict(self.items())

    def keys(self):
        """The names."""
        return self._keys.keys()

    def values(self):
        """The items."""
        return (self[key] for key in self._keys)

    def items(self):
        """Pairs of name and item."""
        return ((key, self[key]) for key in self._keys)

    def get(self, key, default=None):
        """The item called `key`, or `default`."""
        return self[key] if key in self else default

    def setdefault(self, key, default=None):
        """The item called `key`, which is `default` from now on where there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, key):
        """Remove the item called `key` and return it."""
        value = self[key]
        del self[key]
        return value

    def popitem(self):
        """Remove the last pair of name and item and return it. Raises KeyError where there is none."""
        if not self._keys:
            raise KeyError("[ParameterDict] nothing to remove; got an empty one; try len() first")
        key = next(reversed(self._keys))
        return key, self.pop(key)

    def clear(self):
        """Remove all items."""
        for key in list(self._keys):
            del self[key]

    def fromkeys(self, keys, default=None):
        """A new `ParameterDict` of these names, all with `default`."""
        return ParameterDict((key, default) for key in keys)

    def update(self, parameters):
        """Add or replace items from a mapping or from pairs of name and item."""
        if not hasattr(parameters, "__iter__"):
            raise TypeError(
                f"[ParameterDict] update takes a mapping or pairs; got {type(parameters).__name__}; try {{'name': value}}"
            )
        pairs = parameters
        if isinstance(parameters, (OrderedDict, ParameterDict)):
            pairs = parameters.items()
        elif isinstance(parameters, Mapping):
            pairs = sorted(parameters.items())
        for pair in list(pairs):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"[ParameterDict] update takes pairs of name and item; got {pair!r}; try (name, value)")
            self[pair[0]] = pair[1]

    def __or__(self, other):
        result = self.copy()
        result.update(other)
        return result

    def __ror__(self, other):
        result = ParameterDict(other)
        result.update(self)
        return result

    def __ior__(self, other):
        self.update(other)
        return self

    def extra_repr(self):
        return "\n".join(_line(key, value, lambda v: v.type()) for key, value in self.items())
