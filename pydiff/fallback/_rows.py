"""The table of fallback rows, and how one is called."""

import functools
from time import perf_counter_ns

from .._C import (
    NotDifferentiableError,
    Tensor,
    attach_custom,
    is_grad_enabled,
    strip_level,
    tangent_levels,
    tangent_of,
    with_tangent,
    zeros_like,
)
from .. import _profiling
from .._rounding import in_float32, narrow
from ..autograd import set_grad_enabled
from ..ops import as_tensor
from ._arrays import arrays_for
from ._batching import recorded

_ROWS = {}


class Row:
    """One row: name, function of arrays, derivative rules, batch rule, doc line, example operands for tests."""

    __slots__ = ("name", "forward", "vjp", "jvp", "batch", "doc", "example", "core")

    def __init__(self, name, forward, vjp, jvp, batch, example, core):
        self.name, self.forward, self.vjp, self.jvp, self.batch, self.example = name, forward, vjp, jvp, batch, example
        self.core = core
        self.doc = (forward.__doc__ or "").partition("\n")[0]

    def pull(self, operands, results, cotangents, options):
        """The vjp rule's gradients."""
        if self.vjp is None:
            raise NotDifferentiableError(f"[{self.name}] not differentiable; got a backward pass; try detach() on its operands")
        return self.vjp(operands, results, cotangents, **options)

    def push(self, operands, results, tangents, options):
        """The jvp rule's tangents, a tuple; those missing among the operands' are zeros."""
        if self.jvp is None:
            raise NotDifferentiableError(
                f"[{self.name}] has no forward-mode derivative; got a tangent; try reverse mode (grad, vjp)"
            )
        tangents = [zeros_like(o) if t is None else t for o, t in zip(operands, tangents)]
        pushed = self.jvp(operands, results, tangents, **options)
        return pushed if isinstance(pushed, tuple) else (pushed,)


def rows():
    """All fallback rows, by name."""
    return dict(_ROWS)


def fallback(name, *, vjp=None, jvp=None, batch=None, example=None, core=False):
    """Make a function of arrays an operation on tensors.

    Arguments:
        name: of the operation.
        vjp: `vjp(operands, results, cotangents, **options)`, a gradient or None for each operand.
            Composed of public operations, it is differentiable itself.
        jvp: `jvp(operands, results, tangents, **options)`, a tangent for each result; missing
            tangents are zeros.
        batch: what `vmap` does with the row. None: a loop over the batch. `LEADING`: the row takes any axes in front and has
            one operand. `ELEMENTWISE`: operands broadcast. `BY_VALUES`: the results' shapes depend on values, so it is
            an error. Otherwise a function `batch(call, operands, **options)` of operands that all have the batch axis
            in front.
        example: operands on which the row's derivative can be tested.
        core: whether the function takes tensors and records operations of the core. Only its derivative is a
            row's then; it is lazy and works inside `vmap`.

    The decorated function takes `xp` and arrays and returns an array or a tuple of them. `xp` is NumPy, or CuPy where
    the operands lie on a GPU; the arrays share the operands' memory, so they must not be written to. Inside `vmap`,
    where there are no values yet, it is called once with others of the same shapes, for the shapes of its results; so
    these must not depend on values (or `batch=BY_VALUES`). Without rules the operation is not differentiable: asking is
    an error that names it.

    >>> import pydiff as pd
    >>> @pd.fallback.fallback("sum_of_digits")
    ... def sum_of_digits(xp, x):
    ...     return xp.array([sum(map(int, str(v))) for v in x])
    >>> sum_of_digits(pd.tensor([12, 345])).tolist()
    [3, 12]
    """

    def register(forward):
        row = Row(name, forward, vjp, jvp, batch, example, core)
        if not core:
            _ROWS[name] = row

        @functools.wraps(forward)
        def operation(*operands, **options):
            if core or not any(map(narrow, operands)):
                return call(row, operands, options)
            # Neither NumPy nor CuPy computes all of this in 16 bits.
            return in_float32(lambda wide: call(row, wide, options), operands)

        operation.row = row
        return operation

    return register


def call(row, operands, options):
    """The row's results: computed at once, or recorded where an operand has no value yet."""
    device = next((o.device for o in operands if isinstance(o, Tensor)), None)
    operands = [o if isinstance(o, Tensor) else as_tensor(o, device=device) for o in operands]
    if not row.core and any(o.is_abstract for o in operands):
        return recorded(row, operands, options)
    levels = sorted({level for o in operands for level in tangent_levels(o)})
    plain = [_stripped(o, levels) for o in operands]
    results = _compute(row, plain, options)
    smooth = any(r.dtype.is_floating_point for r in results)
    taped = smooth and is_grad_enabled() and any(o.requires_grad for o in operands)
    if levels and smooth:
        # The jvp rule may read the results: for reverse over forward mode they are taped already there.
        results = _push(row, operands, _attach(row, operands, results, options) if taped else results, options, levels)
    if taped:
        results = _attach(row, operands, results, options)
    return results[0] if len(results) == 1 else tuple(results)


def _compute(row, operands, options):
    device = common_device(row, operands)
    if row.core:
        with set_grad_enabled(False):
            return [row.forward(*operands, **options)]
    arrays = arrays_for(device, row.name)
    with arrays.running():
        given = [arrays.array(o) for o in operands]
        begin = perf_counter_ns() if _profiling.running() else None
        results = row.forward(arrays.xp, *given, **options)
        results = results if isinstance(results, tuple) else (results,)
        if begin is not None:
            _profiling.computed(row.name, begin, given, results, device)
        return [arrays.tensor(r) for r in results]


def common_device(row, operands):
    """The device that all operands lie on; None where there are none."""
    device = operands[0].device if operands else None
    for operand in operands:
        if operand.device != device:
            raise ValueError(
                f"[{row.name}] operands on different devices; got {device} and {operand.device}; try .to({str(device)!r})"
            )
    return device


def _attach(row, operands, results, options):
    def rule(cotangents, kept):
        return row.pull(operands, kept, cotangents, options)

    attached = attach_custom(operands, results, rule, row.name, [row.vjp is not None] * len(results))
    return [new if new.dtype.is_floating_point else old for new, old in zip(attached, results)]


def _push(row, operands, results, options, levels):
    """Tangents level by level, lowest first: the primals of a level carry those of the levels below."""
    for place, level in enumerate(levels):
        tangents = [tangent_of(o, level) for o in operands]
        if all(t is None for t in tangents):
            continue
        primals = [_stripped(o, levels[place:]) for o in operands]
        pushed = row.push(primals, results, tangents, options)
        results = [r if t is None else with_tangent(r, t, level) for r, t in zip(results, pushed)]
    return results


def _stripped(tensor, levels):
    for level in reversed(levels):
        tensor = strip_level(tensor, level)
    return tensor
