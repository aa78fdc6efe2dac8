"""Reverse mode on tensors: `backward`, `grad`, the modes, and functions with rules of their own."""

import functools

from . import _C
from ._C import (
    Tensor,
    attach_custom,
    is_grad_enabled,
    pop_level,
    push_level,
    strip_level,
    tangent_levels,
    tangent_of,
    with_tangent,
)
from ._C import backward as _backward
from ._C import grad as _grad
from ._C import set_grad_enabled as _set_mode

__all__ = [
    "Function",
    "backward",
    "enable_grad",
    "grad",
    "inference_mode",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
]


class _Mode:
    """A context manager, and a decorator, that sets whether operations are taped."""

    __slots__ = ("_on", "_was")
    _set = staticmethod(_set_mode)  # returns the former state

    def __enter__(self):
        self._was = self._set(self._on)

    def __exit__(self, *_):
        self._set(self._was)

    def __call__(self, function):
        on, set_to = self._on, self._set

        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            was = set_to(on)
            try:
                return function(*args, **kwargs)
            finally:
                set_to(was)

        return wrapper


class _Setting(_Mode):
    """One that sets at once."""

    __slots__ = ()

    def __init__(self, mode):
        self._on = bool(mode)
        self._was = self._set(self._on)

    def __enter__(self):
        self._set(self._on)

    def __call__(self, function):
        self._set(self._was)
        return super().__call__(function)


class no_grad(_Mode):
    """Operations inside are not taped. A context manager and a decorator.

    >>> import pydiff as pd
    >>> x = pd.ones(2, requires_grad=True)
    >>> with pd.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    __slots__ = ()

    def __new__(cls, function=None):
        self = super().__new__(cls)
        self._on = False
        return self if function is None else self(function)

    def __init__(self, function=None):
        pass


class enable_grad(_Mode):
    """Operations inside are taped, even within `no_grad`. A context manager and a decorator.

    >>> import pydiff as pd
    >>> with pd.no_grad(), pd.enable_grad():
    ...     pd.is_grad_enabled()
    True
    """

    __slots__ = ()

    def __new__(cls, function=None):
        self = super().__new__(cls)
        self._on = True
        return self if function is None else self(function)

    def __init__(self, function=None):
        pass


class set_grad_enabled(_Setting):
    """Sets whether operations are taped, at once; as a context manager, until its end.

    >>> import pydiff as pd
    >>> with pd.set_grad_enabled(False):
    ...     pd.is_grad_enabled()
    False
    """

    __slots__ = ()


inference_mode = no_grad


def _sequence(value):
    return (value,) if isinstance(value, Tensor) else tuple(value)


def _cotangents(outputs, given):
    if given is None:
        return [None] * len(outputs)
    return [given] if isinstance(given, Tensor) else list(given)


def backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, inputs=None):
    """Add the gradients of `tensors` to the `.grad` of the leaves they depend on.

    Arguments:
        tensors: a tensor or several.
        grad_tensors: the cotangent of each, of its shape; may be missing for scalars.
        retain_graph: keep what backward reads, for another pass. Default: `create_graph`.
        create_graph: tape the pass itself, for higher derivatives.
        inputs: only these, leaves or not.

    Raises RuntimeError where a tensor has no path to a leaf, where a cotangent is missing, and for
    a second pass through a graph that was not retained.

    >>> import pydiff as pd
    >>> x = pd.tensor([1., 2.], requires_grad=True)
    >>> pd.autograd.backward((x * x).sum())
    >>> x.grad.tolist()
    [2.0, 4.0]
    """
    outputs = _sequence(tensors)
    retain = create_graph if retain_graph is None else retain_graph
    if inputs is not None:
        inputs = _sequence(inputs)
    _backward(outputs, _cotangents(outputs, grad_tensors), bool(retain), bool(create_graph), inputs)


def grad(
    outputs,
    inputs,
    grad_outputs=None,
    retain_graph=None,
    create_graph=False,
    only_inputs=True,
    allow_unused=None,
    materialize_grads=False,
):
    """The gradients of `outputs` with respect to `inputs`, as a tuple; touches no `.grad`.

    Arguments:
        outputs, inputs: a tensor or several; inputs need not be leaves.
        grad_outputs: the cotangent of each output; may be missing for scalars.
        retain_graph: keep what the pass reads, for another. Default: `create_graph`.
        create_graph: tape the pass itself, for higher derivatives.
        only_inputs: True, as it is always in PyTorch; `backward` adds to the leaves.
        allow_unused: give None for an input that no output depends on, in place of an error.
        materialize_grads: give zeros for such an input.

    >>> import pydiff as pd
    >>> x = pd.tensor(3., requires_grad=True)
    >>> (g,) = pd.autograd.grad(x ** 3, x, create_graph=True)
    >>> pd.autograd.grad(g, x)[0].item()
    18.0
    """
    if not only_inputs:
        raise ValueError("[grad] no .grad of a leaf is touched; got only_inputs=False; try backward()")
    outputs, inputs = _sequence(outputs), _sequence(inputs)
    retain = create_graph if retain_graph is None else retain_graph
    found = _grad(outputs, _cotangents(outputs, grad_outputs), inputs, bool(retain), bool(create_graph))
    for position, gradient in enumerate(found):
        if gradient is not None:
            continue
        if materialize_grads:
            found[position] = inputs[position].detach() * 0
        elif not allow_unused:
            raise RuntimeError(
                f"[grad] no output depends on an input; got input {position} of shape "
                f"{inputs[position].shape}; try allow_unused=True"
            )
    return tuple(found)


# ---- functions with rules of their own


class FunctionCtx:
    """What `forward` leaves for `backward`."""

    def __init__(self):
        self.needs_input_grad = ()
        self._saved = ()
        self._not_differentiable = ()
        self._outputs = ()
        self._from_outputs = {}
        self._lifted = {}  # arguments with the tangents that forward was not given, by what it was given

    def save_for_backward(self, *tensors):
        """Keep tensors (or None): inputs, results or values in between."""
        self._saved = tensors

    save_for_forward = save_for_backward

    @property
    def saved_tensors(self):
        """What was saved, as it was."""
        return tuple(
            self._outputs[self._from_outputs[i]] if i in self._from_outputs else self._lifted.get(id(tensor), tensor)
            for i, tensor in enumerate(self._saved)
        )

    def mark_non_differentiable(self, *tensors):
        """These results carry no gradient."""
        self._not_differentiable = tensors

    def mark_dirty(self, *tensors):
        """Refused: a function has no effect on its inputs."""
        raise RuntimeError("[Function] inputs are not changed in place; got mark_dirty; try returning the new value")

    def set_materialize_grads(self, value):
        """Accepted for PyTorch's sake: missing cotangents are always zeros."""

    def _note_outputs(self, outputs):
        # A result that is saved by value: through its tensor the node would hold itself.
        places = {id(tensor): k for k, tensor in enumerate(outputs)}
        saved = list(self._saved)
        for i, tensor in enumerate(saved):
            if tensor is not None and id(tensor) in places:
                self._from_outputs[i] = places[id(tensor)]
                saved[i] = None
        self._saved = tuple(saved)
        return [k in self._from_outputs.values() for k in range(len(outputs))]


class Function:
    """An operation with derivative rules written by hand.

    A subclass defines static methods `forward(ctx, *args)` and `backward(ctx, *cotangents)`, which
    returns one gradient (or None) for each argument of forward. Optionally `setup_context(ctx,
    inputs, output)`, with a `forward(*args)` that then gets no ctx, and `jvp(ctx, *tangents)` for
    forward mode (of saved inputs and results); without it the operations inside forward are
    differentiated. `vmap` sees the operations inside forward too. Called as `Name.apply(*args)`.
    `backward` is taped where higher derivatives are asked for.

    >>> import pydiff as pd
    >>> class Cube(pd.autograd.Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         ctx.save_for_backward(x)
    ...         return x * x * x
    ...     @staticmethod
    ...     def backward(ctx, g):
    ...         (x,) = ctx.saved_tensors
    ...         return 3 * x * x * g
    >>> x = pd.tensor(2., requires_grad=True)
    >>> Cube.apply(x).backward()
    >>> x.grad.item()
    12.0
    """

    @staticmethod
    def forward(ctx, *args):
        """The operation; every subclass defines it."""
        raise NotImplementedError("[Function] forward is not defined; try def forward(ctx, x): ...")

    @staticmethod
    def backward(ctx, *cotangents):
        """The gradients of forward's arguments."""
        raise NotImplementedError("[Function] backward is not defined; try def backward(ctx, g): ...")

    setup_context = None
    jvp = None

    @classmethod
    def apply(cls, *args):
        """Run forward, and tape the function as one operation."""
        tensors = [a for a in args if isinstance(a, Tensor)]
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        levels = sorted({level for t in tensors for level in tangent_levels(t)}) if cls.jvp else []
        primals = args
        if levels:
            primals = tuple(_without(a, levels) if isinstance(a, Tensor) else a for a in args)
        # Where the operations inside carry the tangents, these have to be taped with them.
        inside = any(tangent_levels(t) for t in tensors) and not levels and is_grad_enabled()
        with set_grad_enabled(inside):
            if cls.setup_context is None:
                result = cls.forward(ctx, *primals)
            else:
                result = cls.forward(*primals)
                cls.setup_context(ctx, primals, result)
        single = not isinstance(result, (tuple, list))
        outputs = [result] if single else list(result)
        for output in outputs:
            if not isinstance(output, Tensor):
                raise TypeError(f"[{cls.__name__}] forward returns tensors; got {type(output).__name__}; try tensor(value)")
        frozen = [any(o is t for t in ctx._not_differentiable) for o in outputs]
        keep = ctx._note_outputs(outputs)
        if any(ctx.needs_input_grad) and is_grad_enabled():
            attached = attach_custom(tensors, outputs, cls._rule(ctx, args), cls.__name__, keep)
            outputs = [raw if fixed else new for raw, new, fixed in zip(outputs, attached, frozen)]
        if levels:
            outputs = cls._push(ctx, args, primals, outputs, levels)
            _C.keep_tangents(outputs)
        return outputs[0] if single else tuple(outputs)

    @classmethod
    def _rule(cls, ctx, args):
        is_tensor = [isinstance(a, Tensor) for a in args]

        def rule(cotangents, results):
            ctx._outputs = results
            try:
                grads = cls.backward(ctx, *cotangents)
            finally:
                ctx._outputs = ()
            if not isinstance(grads, (tuple, list)):
                grads = (grads,)
            if len(grads) != len(is_tensor):
                raise RuntimeError(
                    f"[{cls.__name__}] backward returns one gradient for each argument of forward; got "
                    f"{len(grads)} for {len(is_tensor)}; try None for those without one"
                )
            return [g for g, wanted in zip(grads, is_tensor) if wanted]

        return rule

    @classmethod
    def _push(cls, ctx, args, primals, outputs, levels):
        """Tangents of the outputs by the user's jvp, level by level, lowest first.

        What the rule reads at a level carries the tangents of the levels below it.
        """
        pairs = [(p, a) for p, a in zip(primals, args) if isinstance(a, Tensor)]
        for place, level in enumerate(levels):
            tangents = [tangent_of(a, level) if isinstance(a, Tensor) else None for a in args]
            if all(t is None for t in tangents):
                continue
            ctx._outputs = outputs
            ctx._lifted = {id(p): _without(a, levels[place:]) for p, a in pairs}
            pushed = cls.jvp(ctx, *tangents)
            if not isinstance(pushed, (tuple, list)):
                pushed = (pushed,)
            outputs = [o if t is None else with_tangent(o, t, level) for o, t in zip(outputs, pushed)]
        ctx._outputs = ()
        ctx._lifted = {id(p): a for p, a in pairs}
        return outputs


def _without(tensor, levels):
    for level in reversed(levels):
        tensor = strip_level(tensor, level)
    return tensor


class forward_level:
    """A level of forward mode: tangents given inside it are forgotten at its end."""

    __slots__ = ("level",)

    def __enter__(self):
        self.level = push_level()
        return self.level

    def __exit__(self, *_):
        pop_level(self.level)
