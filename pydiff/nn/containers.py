"""Modules made of modules: `Sequential`, `ModuleList`, `ModuleDict`."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from operator import index as as_index

from .module import Module

__all__ = ["ModuleDict", "ModuleList", "Sequential"]


class _Numbered(Module):
    """What `Sequential` and `ModuleList` share: children named by position, a list's methods."""

    def _key(self, position, *, end=False):
        """The name of the child at `position`; with `end`, one past the last is allowed."""
        names, given = list(self._modules), as_index(position)
        position = given + len(names) if given < 0 else given
        if not 0 <= position < len(names) + end:
            raise IndexError(
                f"[{type(self).__name__}] index is out of range; got {given} for {len(names)} "
                f"modules; try -{len(names)} to {len(names) - 1 + end}"
            )
        return position if end else names[position]

    def _renumber(self, modules):
        modules = list(modules)
        for name in list(self._modules):
            delattr(self, name)
        for position, module in enumerate(modules):
            self.register_module(str(position), module)

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules.values())

    def __contains__(self, module):
        return any(module is child for child in self._modules.values())

    def __getitem__(self, position):
        if isinstance(position, slice):
            return self._slice(position)
        return self._modules[self._key(position)]

    def __setitem__(self, position, module):
        setattr(self, self._key(position), module)

    def __delitem__(self, position):
        names = list(self._modules)
        chosen = names[position] if isinstance(position, slice) else [self._key(position)]
        self._renumber(self._modules[name] for name in names if name not in chosen)

    def append(self, module):
        """Add `module` at the end; returns self."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules):
        """Add all of `modules` at the end; returns self."""
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, position, module):
        """Put `module` before the one at `position`; returns self."""
        if not isinstance(module, Module):
            self._refuse(str(position), "a module", module, "an nn.Module")
        modules = list(self)
        modules.insert(self._key(position, end=True), module)
        self._renumber(modules)
        return self

    def pop(self, position=-1):
        """Remove the module at `position` and return it."""
        module = self[position]
        del self[position]
        return module

    def __iadd__(self, modules):
        return self.extend(modules)


class Sequential(_Numbered):
    """Modules called one after the other, each on the result of the one before.

    Arguments:
        *args: modules, named "0", "1", …, or one `OrderedDict` of names and modules.

    >>> import pydiff as pd
    >>> model = pd.nn.Sequential(pd.nn.Linear(4, 8), pd.nn.ReLU(), pd.nn.Linear(8, 2))
    >>> tuple(model(pd.zeros(5, 4)).shape), len(model), len(model[:2])
    ((5, 2), 3, 2)
    """

    def __init__(self, *args):
        super().__init__()
        if len(args) == 1 and isinstance(args[0], Mapping):
            for name, module in args[0].items():
                self.register_module(name, module)
        elif len(args) == 1 and isinstance(args[0], Iterable) and not isinstance(args[0], Module):
            got = type(args[0]).__name__
            raise TypeError(f"[Sequential] modules are arguments of their own; got one {got}; try nn.Sequential(*layers)")
        else:
            self.extend(args)

    def forward(self, input):
        for module in self._modules.values():
            input = module(input)
        return input

    def _slice(self, positions):
        return type(self)(OrderedDict(list(self._modules.items())[positions]))

    def __delitem__(self, position):
        # Names given by the user are kept; only numbers close the gap.
        names = list(self._modules)
        if all(name == str(i) for i, name in enumerate(names)):
            super().__delitem__(position)
            return
        for name in names[position] if isinstance(position, slice) else [self._key(position)]:
            delattr(self, name)

    def __add__(self, other):
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)


class ModuleList(_Numbered):
    """A list of modules, all of them registered. It has no `forward`.

    Arguments:
        modules: iterable of modules.

    >>> import pydiff as pd
    >>> layers = pd.nn.ModuleList(pd.nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), len(list(layers.parameters()))
    (3, 6)
    """

    def __init__(self, modules=()):
        super().__init__()
        self.extend(modules or ())

    def _slice(self, positions):
        return type(self)(list(self)[positions])

    def __add__(self, other):
        return type(self)([*self, *other])

    def _children_repr(self):
        """As in PyTorch, equal neighbours share a line: `(0-2): 3 x Linear(…)`."""
        runs = []
        for position, child in enumerate(self):
            text = repr(child)
            if runs and runs[-1][2] == text:
                runs[-1][1] = position
            else:
                runs.append([position, position, text])
        return [(str(a), text) if a == b else (f"{a}-{b}", f"{b - a + 1} x {text}") for a, b, text in runs]


class ModuleDict(Module):
    """A dictionary of modules, all of them registered. It has no `forward`.

    Arguments:
        modules: mapping, or iterable of pairs, from name to module.

    >>> import pydiff as pd
    >>> heads = pd.nn.ModuleDict({"mean": pd.nn.Linear(4, 1), "scale": pd.nn.Softplus()})
    >>> list(heads), "mean" in heads
    (['mean', 'scale'], True)
    """

    def __init__(self, modules=None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, name):
        return self._modules[name]

    def __setitem__(self, name, module):
        self.register_module(name, module)

    def __delitem__(self, name):
        if name not in self._modules:
            raise KeyError(name)
        delattr(self, name)

    def __len__(self):
        return len(self._modules)

    def __iter__(self):
        return iter(self._modules)

    def __contains__(self, name):
        return name in self._modules

    def keys(self):
        """The names."""
        return self._modules.keys()

    def values(self):
        """The modules."""
        return self._modules.values()

    def items(self):
        """Pairs of name and module."""
        return self._modules.items()

    def pop(self, name):
        """Remove the module called `name` and return it."""
        module = self[name]
        del self[name]
        return module

    def clear(self):
        """Remove all modules."""
        for name in list(self._modules):
            delattr(self, name)

    def update(self, modules):
        """Add or replace modules from a mapping or from pairs of name and module."""
        pairs = modules.items() if hasattr(modules, "items") else modules
        for name, module in pairs:
            self[name] = module
