"""What of Python a function may read besides its tensors: found from its code, its closure and its arguments.

A guard is (owner or None, container, length or -1, [(key, expected, mode)], label); `csrc/python/jit_guards.h` checks it.
The containers are the attributes of an object (its owner), dicts, lists, cells of closures and classes.
"""

import dis
import functools
import sys
import types
from enum import Enum

import pydiff
from pydiff import Generator, Tensor
from pydiff._public import _FOLDER, _STANDARD

_SAME, _EQUAL, _TRUTH, _NO_TENSOR = range(4)
_PLAIN = (bool, int, float, complex, str, bytes, type(None), slice, range, pydiff.dtype, pydiff.device)
_MOST_ITEMS = 1000  # of a container that is walked
_MOST = 100_000  # items in all
# What is read anew at each replay, or of no effect on what a module computes.
_OF_MODULES = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers"}


def guards_of(function, args, kwargs):
    """The guards of a call, as things are now."""
    walk = _Walk()
    walk.value(function, getattr(function, "__name__", "function"))
    for place, value in enumerate(args):
        walk.value(value, f"argument {place}")
    for name, value in kwargs.items():
        walk.value(value, f"argument {name}")
    return walk.finished()


def _plain(value):
    return isinstance(value, (*_PLAIN, Enum)) or (type(value) is tuple and all(map(_plain, value)))


def _is_users(path):
    """Whether code of this file is the user's: neither pydiff's nor a library's."""
    if not path or path.startswith(_FOLDER):
        return False
    return not (path.startswith(_STANDARD) or "site-packages" in path or "dist-packages" in path or path.startswith("<frozen"))


def _users_class(cls):
    module = sys.modules.get(cls.__module__)
    if module is None or cls.__module__ == "__main__":
        return True
    return _is_users(getattr(module, "__file__", None))


@functools.lru_cache(maxsize=4096)
def _names(code, only_globals):
    """The names in code and in that of functions within it; of attributes too, unless only globals are meant."""
    if only_globals:
        names = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    else:
        names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant, only_globals)
    return frozenset(names)


class _Walk:
    def __init__(self):
        self.guards = []
        self.seen = set()
        self.keep = []  # so that no address is used twice
        self.count = 0
        self.options = []  # lists of items with what optimisers read anew
        self.reads_options = False  # whether the user's code may read it too

    def finished(self):
        if self.reads_options:
            for items in self.options:
                items[:] = [(key, value, _EQUAL if mode in (_TRUTH, _NO_TENSOR) else mode) for key, value, mode in items]
        return self.guards

    def add(self, owner, container, items, label, length=-1):
        if items or length >= 0:
            self.guards.append((owner, container, length, items, label))
            self.count += len(items)

    def items(self, pairs, label):
        """The items of a container, and the guards of what they hold."""
        items = []
        for key, value in pairs:
            items.append((key, value, _EQUAL if _plain(value) else _SAME))
            self.value(value, f"{label}.{key}")
        return items

    def value(self, value, label):
        """The guards of what is reached through a value."""
        if _plain(value) or isinstance(value, Tensor) or id(value) in self.seen or self.count > _MOST:
            return
        self.seen.add(id(value))
        self.keep.append(value)
        kind = type(value)
        if kind is types.FunctionType:
            self.function(value, label)
        elif kind is types.MethodType:
            self.value(value.__func__, label)
            self.value(value.__self__, label)
        elif kind is functools.partial:
            for part in (value.func, value.args, value.keywords):
                self.value(part, label)
        elif isinstance(value, type):
            self.of_class(value, label)
        elif isinstance(value, (list, tuple)):
            self.sequence(value, label)
        elif isinstance(value, dict):
            if len(value) <= _MOST_ITEMS:
                self.add(None, value, self.items(list(value.items()), label), label, len(value))
            else:
                self.add(None, value, [], label, len(value))
        elif isinstance(value, types.ModuleType) or isinstance(value, Generator):
            pass
        else:
            self.instance(value, label)

    def sequence(self, value, label):
        pairs = list(enumerate(value)) if len(value) <= _MOST_ITEMS else []
        self.add(None, value, self.items(pairs, label), label, len(value))

    def function(self, function, label):
        code = function.__code__
        if hasattr(function, "__wrapped__"):
            self.value(function.__wrapped__, label)
        if not _is_users(code.co_filename):
            return
        self.reads_options |= "param_groups" in _names(code, False)
        for name, cell in zip(code.co_freevars, function.__closure__ or ()):
            try:
                value = cell.cell_contents
            except ValueError:  # not yet filled
                continue
            self.add(None, cell, [(0, value, _EQUAL if _plain(value) else _SAME)], f"closure {name}")
            self.value(value, name)
        for part, what in ((function.__defaults__, "default"), (function.__kwdefaults__, "default")):
            if part:
                self.value(part, f"{label}.{what}")
        self.named(function.__globals__, _names(code, True), _names(code, False), "global")

    def named(self, container, names, attributes, label):
        """Those of a module's names that code mentions."""
        found = sorted(name for name in names if name in container)
        items = []
        for name in found:
            value = container[name]
            items.append((name, value, _EQUAL if _plain(value) else _SAME))
            if isinstance(value, types.ModuleType):
                if _is_users(getattr(value, "__file__", None)) and id(value) not in self.seen:
                    self.seen.add(id(value))
                    self.named(vars(value), attributes, attributes, name)
            else:
                self.value(value, name)
        self.add(None, container, items, label)

    def of_class(self, cls, label):
        for base in cls.__mro__:
            if base is object or not _users_class(base):
                continue
            if base is not cls:
                self.value(base, base.__name__)
                continue
            pairs = []
            for name, value in vars(base).items():
                if isinstance(value, (staticmethod, classmethod)):
                    self.value(value.__func__, f"{label}.{name}")
                elif isinstance(value, property):
                    for part in (value.fget, value.fset):
                        self.value(part, f"{label}.{name}")
                elif not name.startswith("__") or isinstance(value, types.FunctionType):
                    pairs.append((name, value))
            self.add(None, base, self.items(pairs, label), label)

    def instance(self, value, label):
        attributes = getattr(value, "__dict__", None)
        if not isinstance(attributes, dict):
            return
        if isinstance(value, pydiff.nn.Module):
            pairs = [(k, v) for k, v in attributes.items() if k not in _OF_MODULES]
            self.add(value, attributes, self.items(pairs, label), label, len(attributes))
            self.value(type(value), type(value).__name__)
        elif isinstance(value, pydiff.optim.Optimizer):
            self.optimizer(value, attributes, label)
        elif isinstance(value, pydiff.optim.lr_scheduler.LRScheduler):
            self.value(value.optimizer, f"{label}.optimizer")
        elif _users_class(type(value)) or isinstance(value, pydiff.amp.GradScaler):
            self.add(value, attributes, self.items(list(attributes.items()), label), label, len(attributes))
            self.value(type(value), type(value).__name__)

    def optimizer(self, optimizer, attributes, label):
        known = [(key, attributes[key], _SAME) for key in ("param_groups", "state", "_hooks") if key in attributes]
        self.add(optimizer, attributes, known, label)
        self.value(optimizer._hooks, f"{label}.hooks")
        groups = optimizer.param_groups
        self.add(None, groups, [(k, group, _SAME) for k, group in enumerate(groups)], f"{label}.param_groups", len(groups))
        for number, group in enumerate(groups):
            name = f"{label}.param_groups[{number}]"
            items = []
            for key, value in group.items():
                if key in ("params", "param_names", "initial_lr"):
                    continue
                if isinstance(value, Tensor):
                    items.append((key, value, _SAME))
                elif key in optimizer._read_anew and not isinstance(value, bool):
                    items.append((key, value, _NO_TENSOR if key == "lr" else _TRUTH))
                else:
                    items.append((key, value, _EQUAL if _plain(value) else _SAME))
            self.options.append(items)
            self.add(None, group, items, name)
            params = group["params"]
            self.add(None, params, [(k, p, _SAME) for k, p in enumerate(params)], f"{name}.params", len(params))
        self.value(type(optimizer), type(optimizer).__name__)
