"""The door of the functions that are composed in Python: errors that rise out of one are told in its name.

A composed function calls others, and what is wrong with its arguments is often found by one of these: `vstack` of a
string by `tensor`, `dot` of two matrices by `sum`. `publish` puts a callable before each function that hands calls on as
they are (`csrc/python/public_function.cpp`: no frame, some 20 ns) and asks `explain` when an error comes out. The names
between modules of pydiff stay the functions themselves.

An error that a user's own code raised on the way (a function given to `vmap`, a hook) is not touched.
"""

import importlib
import inspect
import operator
import os
import re
from types import FunctionType

from . import _C
from ._C import PublicFunction, Tensor, public_function

_FORM = re.compile(r"^\[[\w. ]+\] (.*)", re.S)
_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
# What works for pydiff: frames of these, and of Python's own library, are not the user's.
_LIBRARIES = {"numpy", "scipy", "cupy", "cupyx", "cupy_backends", "ml_dtypes"}
_STANDARD = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_PACKAGES = tuple(_STANDARD + name for name in ("site-packages", "dist-packages"))
# Errors of Python that say that a value was no good; what the user reads them as.
_KINDS = (
    (AttributeError, TypeError),
    (IndexError, IndexError),  # NumPy has one of its own for axes
    (MemoryError, MemoryError),
    (StopIteration, ValueError),
    (KeyError, ValueError),
    (ZeroDivisionError, ValueError),
    (OverflowError, ValueError),
    (AssertionError, ValueError),
    (UnboundLocalError, RuntimeError),
)
_UNFORESEEN = "the arguments do not fit ("
_MACHINERY = ("[cuda]", "[evaluate]", "[plan]", "[interpreter]")
_FINE = object()
_CALL = re.compile(r"^[\w.<>]*\(\) (?=got|missing|takes)")  # how Python begins to tell that a call does not fit
# Parameters that are axes, and that are tensors. The first parameter of an operation is one unless it is an axis.
_AXES = {"axis", "dim", "dims", "dim0", "dim1", "dim2", "start_dim", "end_dim", "dimension", "destination"}
_TENSORS = set(
    "a b y x1 x2 input1 input2 other end mat mat1 mat2 vec vec1 vec2 batch1 batch2 tensor1 tensor2 mask index indices src "
    "boundaries test_elements grid weight linear_weight target var positive negative query key A B L LU LU_data LU_pivots "
    "pivots tau matrices tensors operands offsets targets sorted_sequence".split()
)
# What calls back: the errors that come out are those of what the user gave, or of the operations that it went through.
_OPEN = set("backward custom_op elementwise grad hessian hvp jacfwd jacrev jvp register_hook value_and_grad vjp vmap".split())
_made = {}


def listed(names):
    """A decorator that adds a function's name to `names`, the `__all__` of its module."""

    def public(function):
        names.append(function.__name__)
        return function

    return public


def named(function, name, doc):
    """The function, made by another, with a name and a docstring of its own."""
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def publish(namespace, names=None):
    """Put a door before the functions of a module (its `globals()`), or of a class, that users call.

    Arguments:
        namespace: a dict, or a class.
        names: which; all that have no underscore in front.
    """
    if isinstance(namespace, type):
        owner, module, prefix = vars(namespace), namespace.__module__, namespace.__name__ + "."
    else:
        owner, module, prefix = namespace, namespace["__name__"], ""
    for name in list(owner) if names is None else names:
        if name in _OPEN:
            continue
        function = owner.get(name)
        if isinstance(function, PublicFunction) and function.__name__ != name:
            function = function.__wrapped__  # a second name
        if name.startswith("_") or not isinstance(function, FunctionType):
            continue
        if prefix:
            setattr(namespace, name, _door(function, name, module, prefix))
        else:
            namespace[name] = _door(function, name, module, prefix)


def _find(place, path):
    """The function at `path` of a module, for pickles."""
    return operator.attrgetter(path)(importlib.import_module(place))


def _door(function, name, place, prefix):
    made = _made.get((function, prefix, name))
    if made is None:
        facts = {
            **function.__dict__, "__name__": name, "__qualname__": prefix + name, "__module__": function.__module__,
            "__doc__": function.__doc__, "__wrapped__": function, "_found": (_find, (place, prefix + name)),
        }  # fmt: skip
        made = _made[function, prefix, name] = public_function(function, facts)
    return made


# ---- errors


def explain(public, error, args, kwargs):
    """The error to raise in place of `error`, which rose out of a call of `public`."""
    if isinstance(error, (RecursionError, _C.NotDifferentiableError, Warning)) or not _is_ours(error.__traceback__):
        return error
    name, text = public.__name__, str(error)
    form = _FORM.match(text)
    if form:
        # What a run found names its op already; what memory or a device lacks is nobody's.
        if "; recorded at " in text or isinstance(error, MemoryError) or text.startswith(_MACHINERY):
            return _at_the_users_line(error)
        rest = form[1]
        if "; got " not in rest:
            rest += f"; got {_shown(public, args, kwargs)}"
        if "; try " not in rest:
            rest += f"; try {_call(public)}"
        error.args = (f"[{name}] {rest}",)
        return _at_the_users_line(error)
    kind, what, got, advice = _diagnosis(public, error, text, args, kwargs)
    told = f"[{name}] {what}; got {got or _shown(public, args, kwargs)}; try {advice or _call(public)}"
    try:
        new = kind(told)
    except Exception:  # a class of its own that wants more than a text
        new = ValueError(told)
    if error.__traceback__ is not None and _UNFORESEEN in told:  # this keeps what led to it
        new.__cause__ = error
    return new


def _is_ours(trace):
    """Whether no frame between the door and the error is the user's."""
    while trace is not None:
        frame = trace.tb_frame
        file = frame.f_code.co_filename
        if not file.startswith(_FOLDER) and (frame.f_globals.get("__name__") or "").partition(".")[0] not in _LIBRARIES:
            if file.startswith(_PACKAGES) or not file.startswith((_STANDARD, "<frozen")):
                return False
        trace = trace.tb_next
    return True


def _at_the_users_line(error):
    """Without the frames inside pydiff, unless PYDIFF_DEBUG asks for them."""
    if os.environ.get("PYDIFF_DEBUG", "0") in ("", "0"):
        error.__traceback__ = None
    return error


def _diagnosis(public, error, text, args, kwargs):
    """(class, what is wrong, what was given or None, advice or None), looked for after Python's own error came out.

    So a call that is right pays for no check.
    """
    first = text.partition("\n")[0].strip()
    if isinstance(error, TypeError) and (error.__traceback__ is None or _CALL.match(first)):  # an argument missing or unknown
        return TypeError, _CALL.sub("", first), None, None
    given = _given(public, args, kwargs)
    return (
        _wrong_axis(error, given) or _no_tensor(given) or _wrong_dtype(error, given) or _wrong_type(error, first, given)
        or (next((new for old, new in _KINDS if isinstance(error, old)), type(error)),
            f"{_UNFORESEEN}{first or type(error).__name__})", None, None)
    )  # fmt: skip


def _wrong_axis(error, given):
    ndim = next((value.ndim for _, value in given if isinstance(value, Tensor)), None)
    for param, value in given:
        if param not in _AXES or value is None:
            continue
        several = isinstance(value, (tuple, list))
        axes = value if several else (value,)
        if not all(hasattr(k, "__index__") for k in axes):
            return TypeError, f"`{param}` is an integer{' or a tuple of them' if param == 'dims' else ''}", repr(value), "0"
        if isinstance(error, IndexError) and ndim is not None:
            for k in axes:
                if not -max(ndim, 1) <= k < max(ndim, 1):
                    return (
                        IndexError,
                        "axis out of range",
                        f"{k} for {ndim} dimensions",
                        f"an axis from {-ndim} to {max(ndim, 1) - 1}",
                    )
        if len(set(axes)) < len(axes) and isinstance(error, (ValueError, IndexError)):
            return ValueError, "an axis is given twice", repr(value), "each axis once"
        if several and isinstance(error, TypeError):
            return TypeError, f"`{param}` is one axis", repr(value), str(axes[0] if axes else 0)
    return None


def _no_tensor(given):
    for place, (param, value) in enumerate(given):
        if place and param not in _TENSORS or param in _AXES:
            continue
        inner = value if isinstance(value, (tuple, list)) else (value,)
        bad = next((v for v in inner if isinstance(v, (str, dict)) or v is None and (not place or value is not None)), _FINE)
        if bad is not _FINE:
            return TypeError, f"`{param}` is not a tensor", _text(value), "tensor(numbers)"
    return None


def _wrong_dtype(error, given):
    for _, value in given:
        for t in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(t, Tensor) and t.dtype.category == "complex" and not isinstance(error, IndexError):
                return TypeError, "no kernel for this type", t.dtype.name, "the real and the imaginary part apart"
    return None


def _wrong_type(error, first, given):
    """From the names of types that Python's error quotes."""
    suspects = [
        (param, type(value).__name__) for param, value in given
        if not isinstance(value, Tensor) and f"'{type(value).__name__}'" in first
    ]  # fmt: skip
    strange = [s for s in suspects if s[1] in ("str", "NoneType", "dict", "list")]
    suspects = strange if len(strange) == 1 else suspects
    if re.match("could not convert string|invalid literal for", first):
        what = "text is not a number"
    elif "could not be broadcast together" in first:
        return ValueError, "shapes do not broadcast", None, "sizes that are equal or 1, counted from the right"
    elif isinstance(error, AttributeError) and " object has no attribute " in first:
        what = f"`{suspects[0][0]}` is not a tensor" if len(suspects) == 1 else "an argument is not a tensor"
    elif isinstance(error, TypeError) and len(suspects) == 1:
        what = f"`{suspects[0][0]}` cannot be {_article(suspects[0][1])}"
    else:
        return None
    return TypeError, what, None, None


def _article(kind):
    return kind if kind == "NoneType" else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _signature(public):
    try:
        return inspect.signature(public)
    except (TypeError, ValueError):
        return None


def _call(public):
    signature = _signature(public)
    if signature is None:
        return f"help({public.__name__})"
    shown = ", ".join(str(p.replace(annotation=p.empty)) for p in signature.parameters.values())
    return f"{public.__name__}({shown})"


def _given(public, args, kwargs):
    """(parameter, value) of a call."""
    signature = _signature(public)
    try:
        return list(signature.bind_partial(*args, **kwargs).arguments.items())
    except (AttributeError, TypeError):
        return [*((f"argument {k}", v) for k, v in enumerate(args)), *kwargs.items()]


def _shown(public, args, kwargs):
    return ", ".join(f"{param} {_text(value)}" for param, value in _given(public, args, kwargs)) or "no arguments"


def _text(value):
    if isinstance(value, Tensor):
        return f"{value.dtype.name} {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        inner = ", ".join(_text(v) for v in value[:4]) + (", …" if len(value) > 4 else "")
        return f"[{inner}]"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


_C.set_explain(explain)

__all__ = ["PublicFunction", "listed", "publish"]
