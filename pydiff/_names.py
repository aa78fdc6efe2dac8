"""Other names of arguments, NumPy's and PyTorch's own, for functions composed in Python.

The core's functions read the same list (`csrc/python/args.cpp`) themselves.
"""

import functools
import inspect

from . import _C

#: (name, parameter): the core's, and what PyTorch calls the operands of some composed functions. The first that fits is meant.
_SPELLINGS = [
    *_C.spellings(), ("x", "input"), ("input", "b"), ("input", "A"), ("input", "x"), ("input", "B"), ("input", "L"), ("other", "y"),
    ("other", "B"), ("b", "B"), ("input2", "L"), ("input2", "tau"), ("input3", "other"), ("input", "values"), ("tensor", "other"),
    ("sections", "indices_or_sections"), ("indices", "indices_or_sections"), ("tensor_indices_or_sections", "indices_or_sections"),
    ("element", "elements"), ("test_element", "test_elements"), ("train", "training"), ("new_state", "state"), ("source", "src"),
    ("axis2", "dim2"), ("input", "tensor"), ("callable", "function"), ("obj", "data"),
]  # fmt: skip


def _parameters(function):
    """Names in order, or None for a function that hands its arguments on as they are."""
    code = function.__code__
    if code.co_flags & inspect.CO_VARKEYWORDS:
        return None
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def spelled(function):
    """The function, which takes its arguments under their other names, too; itself where there are none."""
    parameters = _parameters(function)
    if not parameters:
        return function
    others = {}
    for other, parameter in _SPELLINGS:
        if parameter in parameters and other not in parameters:
            others.setdefault(other, []).append((parameters.index(parameter), parameter))
    if not others:
        return function

    @functools.wraps(function)
    def taking_others(*args, **kwargs):
        for name in [k for k in kwargs if k in others]:
            for place, parameter in others[name]:
                if place >= len(args) and parameter not in kwargs:
                    kwargs[parameter] = kwargs.pop(name)
                    break
        return function(*args, **kwargs)

    taking_others._spellings = others
    return taking_others


def spell(namespace, names=None):
    """Make functions of a module, by default its public ones, and the methods that are the same, take other names."""
    for name in names or namespace["__all__"]:
        function = namespace[name]
        if inspect.isfunction(function):
            namespace[name] = spelled(function)
            if vars(_C.Tensor).get(name) is function:
                setattr(_C.Tensor, name, namespace[name])
