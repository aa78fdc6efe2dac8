"""Nested containers as JSON: numbers, text, lists as they are, everything else an object with one key that tells what it is.

    {"dict": {"lr": 0.1}}   {"dict": [[0, …], [1, …]]}   {"tuple": […]}   {"tensor": "model.weight"}   {"float": "nan"}

Tensors stand apart, under names made of the keys that lead to them.
"""

import base64
import math
from collections import Counter, OrderedDict, namedtuple

import numpy as np

from pydiff import DTYPES, Tensor, device, dtype

from ._errors import bad, is_told, short

__all__ = ["decode", "encode"]

_DEPTH = 100
_PLAIN = (str, bool, type(None))
_NUMPY = {name: np.dtype(name) for name in DTYPES if name != "bfloat16"}


def _refuse(what, got, path, advice):
    raise TypeError(f"[save] {what}; got {got} at {path or 'the top'}; try {advice}")


def _parameter_class():
    from pydiff.nn import Parameter  # loaded where a parameter is met

    return Parameter


class _Encoder:
    def __init__(self):
        self.tensors = {}  # name -> Tensor or ndarray
        self.names = {}  # id -> name
        self.open = set()  # containers that are being walked

    def name(self, value, path):
        """The name of a tensor: one for all places where the same object stands."""
        known = self.names.get(id(value))
        if known is None:
            known, n = path or "value", 1
            while known in self.tensors or known == "__metadata__":
                n += 1
                known = f"{path or 'value'}#{n}"
            self.names[id(value)] = known
            self.tensors[known] = value
        return known

    def encode(self, value, path=""):
        kind = type(value)
        if kind in _PLAIN or kind is int:
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Tensor):
            return self.tensor(value, path)
        if isinstance(value, np.ndarray):
            return {"array": self.name(self.array(value, path), path)}
        if isinstance(value, np.generic):
            if value.dtype.name not in _NUMPY:
                _refuse("this NumPy type has no counterpart", value.dtype, path, "a Python number")
            return {"scalar": [value.dtype.name, self.encode(value.item(), path)]}
        leaf = self.leaf(value)
        if leaf is not None:
            return leaf
        if id(value) in self.open:
            _refuse("a container holds itself", kind.__name__, path, "a copy without the cycle")
        if len(self.open) >= _DEPTH:
            _refuse(f"the nesting is too deep: more than {_DEPTH} levels", kind.__name__, path[:60], "a flatter object")
        self.open.add(id(value))
        try:
            return self.container(value, path)
        finally:
            self.open.discard(id(value))

    def tensor(self, value, path):
        if value.is_abstract:
            _refuse("the tensor stands for a value that is not there yet (inside vmap or jit)", value, path, "saving outside")
        if not value.is_leaf:
            _refuse(
                "only leaves are saved with what they require", f"the result of {value.grad_fn.name()}", path, "tensor.detach()"
            )
        name = self.name(value, path)
        if type(value) is not Tensor and isinstance(value, _parameter_class()):
            return {"parameter": [name, value.requires_grad]}
        return {"leaf": name} if value.requires_grad else {"tensor": name}

    def array(self, value, path):
        if value.dtype.name not in _NUMPY and value.dtype.name != "bfloat16":
            _refuse("arrays of this type have no counterpart", value.dtype, path, "an array of numbers")
        return value

    def leaf(self, value):
        if isinstance(value, dtype):
            return {"dtype": value.name}
        if isinstance(value, device):
            return {"device": str(value)}
        if type(value) is bytes:
            return {"bytes": base64.b64encode(value).decode("ascii")}
        if type(value) is complex:
            return {"complex": [self.encode(value.real), self.encode(value.imag)]}
        return None

    def container(self, value, path):
        kind = type(value)
        if kind is list:
            return self.items(value, path)
        if kind in (dict, OrderedDict, Counter):
            word = {dict: "dict", OrderedDict: "odict", Counter: "counter"}[kind]
            if all(type(key) is str for key in value):
                return {word: {key: self.encode(item, _join(path, key)) for key, item in value.items()}}
            return {word: [[self.encode(key, path), self.encode(item, _join(path, key))] for key, item in value.items()]}
        if kind is tuple:
            return {"tuple": self.items(value, path)}
        if kind in (set, frozenset):
            return {kind.__name__: self.items(sorted(value, key=repr), path)}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {"namedtuple": [kind.__name__, list(kind._fields), self.items(value, path)]}
        advice = "its state_dict()" if hasattr(value, "state_dict") else "numbers, text, tensors and containers of them"
        _refuse("objects of this type are not saved", kind.__name__, path, advice)

    def items(self, values, path):
        return [self.encode(item, _join(path, k)) for k, item in enumerate(values)]


def _join(path, key):
    text = key if isinstance(key, str) else repr(key)
    return f"{path}.{text}" if path else text


def encode(value):
    """(tree, tensors): the object as JSON, and a dict from names to the tensors and arrays that it refers to.

    Raises TypeError, with the place, for what cannot be saved.
    """
    encoder = _Encoder()
    return encoder.encode(value), encoder.tensors


# ---- back


def decode(tree, tensor, array, where):
    """The object of a tree; `tensor(name)` and `array(name)` give what names stand for.

    Raises ValueError for a tree that `encode` does not make.
    """
    return _Decoder(tensor, array, where).decode(tree, 0)


class _Decoder:
    def __init__(self, tensor, array, where):
        self.tensor, self.array, self.where = tensor, array, where
        self.parameters = {}

    def decode(self, node, depth):
        if depth > 2 * _DEPTH:
            self.wrong("a flatter tree", depth)
        if isinstance(node, list):
            return [self.decode(item, depth + 1) for item in node]
        if not isinstance(node, dict):
            return node
        if len(node) != 1:
            self.wrong("an object with one key", node)
        ((word, value),) = node.items()
        read = _READ.get(word)
        if read is None:
            self.wrong("a kind that is known", word)
        try:
            return read(self, value, depth + 1)
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, OverflowError) as error:
            if is_told(error):
                raise
            self.wrong(f"a sound {word}", f"{short(value)} ({short(error)})")

    def wrong(self, wanted, got):
        bad(self.where, "the description of the object is not sound", short(got), f"a file written by pydiff.save: {wanted}")

    def items(self, value, depth):
        if not isinstance(value, list):
            self.wrong("a list", value)
        return [self.decode(item, depth) for item in value]

    def pairs(self, kind, value, depth):
        if isinstance(value, dict):
            return kind({key: self.decode(item, depth) for key, item in value.items()})
        found = kind()
        for pair in value:
            key, item = pair
            found[self.decode(key, depth)] = self.decode(item, depth)
        return found

    def floating(self, value, depth):
        if value not in ("nan", "inf", "-inf"):
            self.wrong("nan, inf or -inf", value)
        return float(value)

    def named(self, value, depth):
        name, fields, items = value
        if len(fields) != len(items):
            self.wrong("as many fields as values", value)
        return namedtuple(name, fields)(*self.items(items, depth))

    def leaf(self, value, depth):
        found = self.tensor(value)
        return found if found.requires_grad else found.requires_grad_()

    def parameter(self, value, depth):
        name, requires_grad = value
        if name not in self.parameters:
            self.parameters[name] = _parameter_class()(self.tensor(name), bool(requires_grad))
        return self.parameters[name]


_READ = {
    "dict": lambda self, value, depth: self.pairs(dict, value, depth),
    "odict": lambda self, value, depth: self.pairs(OrderedDict, value, depth),
    "counter": lambda self, value, depth: self.pairs(Counter, value, depth),
    "tuple": lambda self, value, depth: tuple(self.items(value, depth)),
    "set": lambda self, value, depth: set(self.items(value, depth)),
    "frozenset": lambda self, value, depth: frozenset(self.items(value, depth)),
    "namedtuple": _Decoder.named,
    "tensor": lambda self, value, depth: self.tensor(value),
    "leaf": _Decoder.leaf,
    "parameter": _Decoder.parameter,
    "array": lambda self, value, depth: self.array(value),
    "float": _Decoder.floating,
    "complex": lambda self, value, depth: complex(*self.items(value, depth)),
    "scalar": lambda self, value, depth: _NUMPY[value[0]].type(self.decode(value[1], depth)),
    "bytes": lambda self, value, depth: base64.b64decode(value, validate=True),
    "dtype": lambda self, value, depth: DTYPES[value],
    "device": lambda self, value, depth: device(value),
}
