"""Wrong input to every public function and method of tensors: one clear error, at the user's line, and nothing lost.

`error_samples.py` has a right call of each; here rules make wrong ones of it: a shape, a dtype, an axis, a device,
something that is no tensor, a missing argument and an unknown one. A function without a row fails a test.
"""

import functools
import gc
import inspect
import re

import error_samples as samples
import pytest
from error_samples import ANY_DTYPE, ANY_SHAPE, FUNCTIONAL, FUNCTIONS, LINALG, METHODS, PAIR, SPECIAL, WINDOWS, Spec

import pydiff as pd
from pydiff import _core
from pydiff._public import PublicFunction
from pydiff.functions import ALIASES

_C = _core._C
FORM = re.compile(r"^\[([\w.]+)\] .+; got .+; try .+", re.S)
FIRST_NAMES = {other: name for name, others in ALIASES.items() for other in others}

# What users of PyTorch and NumPy expect.
KINDS = {
    "shape": (ValueError, RuntimeError, IndexError),
    "dtype": (TypeError, RuntimeError, IndexError),
    "axis": (IndexError,),
    "axis type": (TypeError,),
    "axis twice": (ValueError, RuntimeError, TypeError),
    "device": (ValueError, RuntimeError),
    "data": (TypeError,),
    "missing": (TypeError,),
    "unknown": (TypeError,),
}
AXES = {"axis", "dim", "dims", "dim0", "dim1", "dim2", "start_dim", "end_dim", "destination", "dimension"}
MOVES = {"movedim", "moveaxis"}  # whose `source` is an axis
SIZED = {"ravel_multi_index"}  # whose `dims` are sizes


# ---- what there is


def public(module):
    for name in module.__all__:
        value = getattr(module, name)
        if callable(value) and not inspect.isclass(value) and not inspect.ismodule(value) and not isinstance(value, pd.dtype):
            yield name, value


def methods():
    for name, value in vars(pd.Tensor).items():
        if callable(value) and not name.startswith("_"):
            yield name, value


@functools.cache
def calls():
    """(id, name that the user writes, function, row) of everything that is public."""
    found, missing = [], []

    def add(space, name, function, *tables):
        bases = (name, name.removesuffix("_with_indices"), name.removesuffix("_"))
        line = next((t[base] for base in bases for t in tables if base in t), None)
        if line is None:
            missing.append(f"{space}.{name}")
        else:
            found.append((f"{space}.{name}", name, function, line))

    for name, function in public(pd):
        if name not in samples.NOT_OPERATIONS:
            add("pydiff", name, function, FUNCTIONS, FUNCTIONAL, METHODS)
    for name, function in public(pd.nn.functional):
        add("F", name, function, FUNCTIONAL, FUNCTIONS)
    for name, function in public(pd.linalg):
        add("linalg", name, function, LINALG)
    for name, function in public(pd.special):
        add("special", name, function, SPECIAL)
    for name, function in public(pd.signal.windows):
        add("windows", name, function, WINDOWS)
    for name, function in methods():
        if name not in samples.NOT_METHODS:
            add("Tensor", name, function, METHODS, FUNCTIONS, FUNCTIONAL, SPECIAL)
    return found, missing


def test_every_public_function_has_a_row():
    assert not calls()[1]


def test_every_row_is_of_a_function():
    used = {id(line) for _, _, _, line in calls()[0]}
    tables = (FUNCTIONS, FUNCTIONAL, LINALG, SPECIAL, WINDOWS, METHODS)
    assert not [name for t in tables for name, line in t.items() if id(line) not in used]
    assert not [name for name in samples.NOT_OPERATIONS if not hasattr(pd, name)]
    assert not [name for name in samples.NOT_METHODS if not hasattr(pd.Tensor, name)]


# ---- wrong calls


def is_spec(value):
    return isinstance(value, Spec)


def made(value, device):
    if is_spec(value):
        return value.tensor(device)
    if isinstance(value, (list, tuple)) and any(map(is_spec, value)):
        return type(value)(made(v, device) for v in value)
    return value


def with_argument(args, place, value):
    return tuple(value if k == place else old for k, old in enumerate(args))


def tensors_of(args):
    """(place, spec) of operands, those in a list counted at its place."""
    return [(k, s) for k, v in enumerate(args) for s in (v if isinstance(v, (list, tuple)) else [v]) if is_spec(s)]


def replaced(args, place, old, new):
    """`args` with one operand, perhaps in a list, replaced: the last one that is `old`."""
    value = args[place]
    if isinstance(value, (list, tuple)):
        last = max(k for k, v in enumerate(value) if v is old)
        return with_argument(args, place, type(value)(new if k == last else v for k, v in enumerate(value)))
    return with_argument(args, place, new)


def signature_of(function):
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def axes_of(name, function, line):
    """Parameters that are axes."""
    signature = signature_of(function) or signature_of(getattr(pd, name, None))
    if signature is None:
        return None, []
    axes = AXES | {"source"} if name in MOVES else AXES - {"dims"} if name in SIZED else AXES
    named = [p.name for p in signature.parameters.values() if p.name in axes and p.kind is not p.VAR_POSITIONAL]
    return signature, named


def wrong_calls(name, function, line, device):
    """(what is wrong, positional arguments, keywords) of each wrong call that the rules make."""
    other = "cuda-host" if device == "cpu" else "cpu"
    args, kwargs, operands = line.args, line.kwargs, tensors_of(line.args)

    if line.shape is None:
        place, old = operands[-1]
        yield "shape", replaced(args, place, old, old.shaped(7, 5, 3)), kwargs
    elif line.shape != ANY_SHAPE:
        yield "shape", with_argument(args, *line.shape), kwargs

    if line.dtype is None:
        place, old = operands[0]
        yield "dtype", replaced(args, place, old, old.typed("complex64")), kwargs
    elif line.dtype != ANY_DTYPE:
        yield "dtype", with_argument(args, *line.dtype), kwargs

    signature, named = axes_of(name, function, line)
    for axis in named:
        for kind, value in (("axis", 99), ("axis", -99), ("axis type", "x"), ("axis type", 1.5), ("axis twice", (0, 0))):
            if line.axis and kind == line.axis[0]:
                continue
            if line.axis == (PAIR,) and kind == "axis":
                value = (value, 0)
            bound = signature.bind(*args, **kwargs)
            bound.arguments[axis] = value
            yield kind, bound.args, bound.kwargs

    if len(operands) > 1 and line.device is None:
        place, old = operands[-1]
        yield "device", replaced(args, place, old, ("elsewhere", old, other)), kwargs
    if signature_of(function) and "device" in signature_of(function).parameters:
        yield "device", args, {**kwargs, "device": "tpu"}

    if operands and not is_method(function):
        place = operands[0][0]
        listed = isinstance(args[place], (list, tuple))
        for value in (["a", "b"], [None, None]) if listed else ("text", None, ["a"], {}):
            yield "data", with_argument(args, place, value), kwargs
    if len(operands) > 1:
        place, old = operands[-1]
        for value in ("text", {}):
            yield "data", replaced(args, place, old, value), kwargs
    if args and not (is_method(function) and len(args) == 1) and requires_arguments(name, function):
        yield "missing", args[:1] if is_method(function) else (), {}
    yield "unknown", args, {**kwargs, "no_such_argument": 1}


def is_method(function):
    return getattr(function, "__qualname__", "").startswith("Tensor.") or type(function).__name__ == "method_descriptor"


def requires_arguments(name, function):
    signature = signature_of(function)
    if signature is None:
        return True
    count = 0
    for p in signature.parameters.values():
        count += p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    return count > is_method(function)


def on_devices(value, device):
    """Arguments made, those marked `elsewhere` on the other device."""
    if isinstance(value, tuple) and value and isinstance(value[0], str) and value[0] == "elsewhere":
        return value[1].tensor(device).to(value[2])
    if isinstance(value, (list, tuple)):
        return type(value)(on_devices(v, device) for v in value)
    return made(value, device)


def names_of(name, function):
    """What may stand in the brackets: the name that was called, or of the core's functions the first of its names."""
    if isinstance(function, PublicFunction):
        return {name}
    base = name.rstrip("_")
    return {name, FIRST_NAMES.get(base, base) + name[len(base):], function.__name__}


def evaluated(result):
    for value in result if isinstance(result, (tuple, list)) else (result,):
        if isinstance(value, pd.Tensor) and not value.requires_grad:
            _C.evaluate([value])


def complaint(name, function, what, args, kwargs):
    """What is not as it should be in how a wrong call fails, or None."""
    shown = f"{what}: {name}({', '.join(map(repr_of, args))}{', ' if kwargs else ''}{kwargs or ''})"
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        text, trace = str(error), error.__traceback__
        while trace.tb_next is not None:
            trace = trace.tb_next
        form = FORM.match(text)
        if what == "unknown" and takes_nothing(function, text):
            return None
        if not form:
            return f"{shown}: {type(error).__name__}: {text}: not of the form"
        if form[1] not in names_of(name, function):
            return f"{shown}: {type(error).__name__}: {text}: another name"
        if not isinstance(error, KINDS[what]):
            return f"{shown}: {type(error).__name__}: {text}: another class"
        if "/pydiff/" in text or "the arguments do not fit (" in text:
            return f"{shown}: {type(error).__name__}: {text}: not foreseen"
        if trace.tb_frame.f_code.co_filename != __file__:
            return f"{shown}: {type(error).__name__}: {text}: at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return None
    try:
        evaluated(result)
    except Exception as error:
        return f"{shown}: only at evaluation {type(error).__name__}: {error}"
    return f"{shown}: no error"


def repr_of(value):
    if isinstance(value, pd.Tensor):
        return f"{value.dtype.name}{tuple(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(repr_of, value))}]"
    return repr(value)


def takes_nothing(function, text):
    """Python itself refuses keywords of the core's methods without parameters, in words that name the method."""
    return type(function).__name__ == "method_descriptor" and re.fullmatch(r"Tensor\.\w+\(\) takes no keyword arguments", text)


def in_order(args, device):
    return [made(v, device) for v in args]


def values_of(args):
    flat = [t for v in args for t in (v if isinstance(v, (list, tuple)) else [v]) if isinstance(t, pd.Tensor)]
    return [t.detach().tolist() for t in flat]


def right_call(name, function, line, device):
    args = in_order(line.args, device)
    evaluated(function(*args, **line.kwargs))
    return args


def held(device):
    """Values that wait, and bytes of memory in use."""
    pending = _C.pending()
    return pending["nodes"], pending["bytes"], _C.memory_stats(device)["live"]


def within(now, before):
    return all(a <= b for a, b in zip(now, before))


@pytest.mark.parametrize("call", calls()[0], ids=[c[0] for c in calls()[0]])
def test_wrong_input(call, device):
    _, name, function, line = call
    right_call(name, function, line, device)
    args = in_order(line.args, device)
    before = values_of(args)
    _core.flush()
    kept = held(device)
    wrong = []
    for what, positional, named in wrong_calls(name, function, line, device):
        # Operands that are right are the same tensors each time: a wrong call must leave them as they are.
        used = [args[k] if k < len(args) and v is line.args[k] else on_devices(v, device) for k, v in enumerate(positional)]
        found = complaint(name, function, what, used, {k: on_devices(v, device) for k, v in named.items()})
        if found:
            wrong.append(found)
        del used
    assert not wrong, "\n" + "\n".join(wrong)
    assert values_of(args) == before
    if not within(held(device), kept):
        gc.collect()
        assert within(held(device), kept)
    right_call(name, function, line, device)
