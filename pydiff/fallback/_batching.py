"""Fallback rows inside `vmap`: recorded without values, and computed when the batch is known.

There a row becomes a node of an operation that only its batch rule computes (graph/custom.h, `by_rule`). The node needs the
shapes of the results: the row is called once with stand-ins for the values, identity matrices among them. Derivatives are
the row's rules, recorded like everything else.
"""

import warnings

import numpy as np

from .._C import custom_apply, custom_by_rule, from_numpy, stack, zeros_like

LEADING, ELEMENTWISE, BY_VALUES = "leading", "elementwise", "by values"


def recorded(row, operands, options):
    """The row's results as values that are not known yet."""
    from ._rows import common_device

    if row.batch == BY_VALUES:
        o = next(o for o in operands if o.is_abstract)
        raise RuntimeError(
            f"[{row.name}] the shape of its result depends on values, and inside vmap there are none yet; got "
            f"{o.dtype.name} {o.shape}; try calling it outside, or a loop in place of vmap"
        )
    device = common_device(row, operands)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = row.forward(np, *map(_stand_in, operands), **options)
    results = results if isinstance(results, tuple) else (results,)
    outs = [(np.shape(r), from_numpy(np.zeros((), np.asarray(r).dtype)).dtype) for r in results]
    code = custom_by_rule(row.name, device, [(tuple(o.shape), o.dtype) for o in operands], outs)
    made = custom_apply(code, _Rules(row, options), operands)
    return made[0] if len(made) == 1 else tuple(made)


def _stand_in(tensor):
    """An array of the tensor's shape and dtype on which every row is defined: of matrices the identity, of pivots 1."""
    dtype = tensor.dtype.numpy
    shape = tuple(tensor.shape)
    if dtype.kind != "f":
        return np.ones(shape, dtype)
    if len(shape) < 2:
        return np.full(shape, 0.5, dtype)
    return np.ascontiguousarray(np.broadcast_to(np.eye(*shape[-2:], dtype=dtype), shape))


class _Rules:
    """What the core asks of a recorded row."""

    def __init__(self, row, options):
        self.row, self.options = row, options

    def vjp(self, operands, results, cotangents, need):
        given = [zeros_like(r) if c is None else c for r, c in zip(results, cotangents)]
        return list(self.row.pull(operands, results, given, self.options))

    def jvp(self, operands, results, tangents):
        return list(self.row.push(operands, results, tangents, self.options))

    def batch(self, size, batched, operands):
        from ._rows import call

        results = self._batch(lambda *o, **options: call(self.row, o, options), size, batched, operands)
        return list(results) if isinstance(results, tuple) else [results]

    def _batch(self, call, size, batched, operands):
        rule, options = self.row.batch, self.options
        if not any(batched) or (rule == LEADING and len(operands) == 1):
            return call(*operands, **options)
        if rule == ELEMENTWISE:
            rank = max(o.ndim - b for o, b in zip(operands, batched))
            return call(*(aligned(o, rank) if b else o for o, b in zip(operands, batched)), **options)
        whole = [o if b else o.expand((size, *o.shape)) for o, b in zip(operands, batched)]
        if callable(rule):
            results = rule(call, whole, **options)
            if results is not None:
                return results
        each = [call(*(o[k] for o in whole), **options) for k in range(size)]
        if not size:  # for the shapes
            each = [call(*(from_numpy(_stand_in(o[:0].sum(0).to(o.dtype))).to(o.device) for o in whole), **options)]
        if isinstance(each[0], tuple):
            return tuple(stack(part)[:size] for part in zip(*each))
        return stack(each)[:size]


def together(call, operands, **options):
    """A batch rule: operands of one rank, whose first axes a row broadcasts, are given as they are."""
    return call(*operands, **options)


def along(call, operands, *, dim, **options):
    """A batch rule of rows along an axis `dim` of one operand."""
    (x,) = operands
    if x.ndim == 1:  # of numbers
        return None
    return call(x, dim=dim + 1 if dim >= 0 else dim, **options)


def aligned(x, rank):
    """x with axes of size 1 behind the batch axis, so that it has `rank` others."""
    return x.reshape((x.shape[0], *[1] * (rank + 1 - x.ndim), *x.shape[1:]))
