"""The one importer of the extension `_C`, and what it is given at import.

Everything that is not a public function but that the rest of pydiff's Python needs of the core is
reached through here: `evaluate`, `rebind`, `foreach`, the graphs.
"""

import atexit
import os
import sys
from collections import namedtuple

from . import _C, _llvm
from ._C import attention, convolution, convolution_serves, evaluate, flush, host_numbers, rebind, tracing
from ._dtypes import DTYPES, device

__all__ = [
    "_C",
    "attention",
    "convolution",
    "convolution_serves",
    "evaluate",
    "flush",
    "foreach",
    "host_numbers",
    "rebind",
    "trace",
    "tracing",
]

_C.set_dtypes(DTYPES)
_C.set_device_class(device)

_C.set_pairs(
    namedtuple("max", ["values", "indices"], module="pydiff"),
    namedtuple("min", ["values", "indices"], module="pydiff"),
)


def _find_openblas():
    """The library of `scipy-openblas32`, found without importing anything."""
    for folder in sys.path:
        lib = os.path.join(folder or ".", "scipy_openblas32", "lib")
        try:
            names = os.listdir(lib)
        except OSError:
            continue
        for name in sorted(names):
            if "openblas" in name and name.endswith((".so", ".dylib", ".dll")):
                return os.path.join(lib, name)
    return None


def _open_blas():
    path = os.environ.get("PYDIFF_BLAS") or _find_openblas()
    if path:
        _C.blas_open(path)


_open_blas()


# ---- functions of placeholders, recorded once

_bodies = {}
_MAX_BODIES = 256


def trace(function, specs):
    """`function` recorded over placeholders of `specs`, each (shape, dtype, device)."""
    was = _C.set_grad_enabled(False)
    try:
        params = [_C.make_param(*spec) for spec in specs]
        results = function(*params)
        if not isinstance(results, (tuple, list)):
            results = (results,)
        return _C.close_graph(list(results), params)
    finally:
        _C.set_grad_enabled(was)


def foreach(name, update, lists, scalars=(), into=None):
    """One elementwise update of many tensors, as one node of the graph.

    Arguments:
        name: of the update, for messages and as part of what identifies it.
        update: called once, `update(*operands, *scalars)` over 0-d placeholders; returns the new
            values. Numbers that it computes with are part of the kernel, those in `scalars` are not.
        lists: one list an operand, each with one tensor a segment. Tensors of one segment have
            one shape.
        scalars: numbers or 0-d tensors that all segments share, in the first operand's dtype, of 16-bit floats in float32.

        into: tensors that take the results as by `rebind`, the first result of all segments first; or None.

    Returns a tuple with a list of tensors for each result of `update`, None with `into`.
    """
    if not lists[0]:
        return tuple([] for _ in lists) if into is None else None
    firsts = [items[0] for items in lists]
    key = (name, update, len(scalars), *[first.dtype for first in firsts], firsts[0].device)
    body = _bodies.get(key)
    if body is None:
        if len(_bodies) >= _MAX_BODIES:
            _bodies.clear()
        specs = [((), first.dtype, first.device) for first in firsts]
        shared = DTYPES["float32"] if firsts[0].dtype.name in ("float16", "bfloat16") else firsts[0].dtype
        specs += [((), shared, firsts[0].device)] * len(scalars)
        body = _bodies[key] = trace(update, specs)
    return _C.foreach(body, lists, scalars) if into is None else _C.foreach_into(body, lists, scalars, into)


# ---- the service that compiles, and the end: no thread and no callback outlives Python


def _tell_late_errors():
    """An index error of a device that nothing waited for is told at last."""
    while True:
        try:
            return _C.check_errors(True)
        except IndexError as error:
            print(f"pydiff: an error that was not raised before the end: IndexError: {error}", file=sys.stderr)
        except RuntimeError:  # a forked process, or a device that is lost
            return


atexit.register(_tell_late_errors)
atexit.register(_C.shutdown_pool)  # runs after the service has stopped
_llvm.install(_C)
