"""Functions of functions: `grad vjp jvp vmap jacrev jacfwd hessian`, in any nesting.

They take functions of pytrees of tensors. Reverse mode runs on fresh leaves, with the pass itself
taped; forward mode on levels of tangents; `vmap` records the function over placeholders of the
unbatched shapes and walks what was recorded once more with the batch axis.
"""

import functools

from ._C import (
    Tensor,
    cat,
    close_fresh,
    evaluate,
    make_fresh,
    make_param,
    ones_like,
    open_scope,
    pullback,
    settled,
    strip_level,
    tangent_of,
    with_tangent,
)
from ._C import batch as record_batch
from ._generator import default_generator
from .autograd import enable_grad, forward_level
from .ops import as_tensor, eye, zeros_like
from .random import inside_vmap
from .tree import broadcast_prefix, check_same, tree_flatten, tree_unflatten

__all__ = ["grad", "hessian", "hvp", "jacfwd", "jacrev", "jvp", "value_and_grad", "vjp", "vmap"]


def _tensor(value):
    return value if isinstance(value, Tensor) else as_tensor(value)


def _differentiable(tensor):
    return tensor.dtype.is_floating_point


def _picked(args, argnums, op):
    single = isinstance(argnums, int)
    numbers = (argnums,) if single else tuple(argnums)
    for number in numbers:
        if not -len(args) <= number < len(args):
            raise ValueError(
                f"[{op}] no such argument; got argnums={argnums} for {len(args)} arguments; try 0 to {len(args) - 1}"
            )
    return single, tuple(n % len(args) for n in numbers)


def _partial(function, args, kwargs, numbers):
    """The function of the chosen arguments alone."""

    def chosen(*values):
        full = list(args)
        for number, value in zip(numbers, values):
            full[number] = value
        return function(*full, **kwargs)

    return chosen


# ---- reverse mode


def vjp(function, *primals, has_aux=False):
    """The value of a function, and the map from cotangents of its results to those of its arguments.

    Arguments:
        function: of pytrees of tensors.
        primals: where it is evaluated.
        has_aux: the function returns (result, something else).

    Returns (result, pullback), or (result, pullback, aux). `pullback(cotangents)` gives a tuple
    with one entry for each primal, and may be called any number of times.

    >>> import pydiff as pd
    >>> y, pull = pd.vjp(lambda x: x * x, pd.tensor([1., 2.]))
    >>> pull(pd.tensor([1., 10.]))[0].tolist()
    [2.0, 40.0]
    """
    leaves, structure = tree_flatten(primals)
    leaves = [_tensor(leaf) for leaf in leaves]
    fresh = [make_fresh(leaf) if _differentiable(leaf) else leaf for leaf in leaves]
    wanted = [leaf for leaf in fresh if _differentiable(leaf)]
    try:
        with enable_grad():
            result = function(*tree_unflatten(structure, fresh))
        aux = None
        if has_aux:
            if not isinstance(result, tuple) or len(result) != 2:
                raise ValueError(
                    f"[vjp] has_aux=True needs a function that returns (result, aux); got "
                    f"{type(result).__name__}; try has_aux=False"
                )
            result, aux = result
        outputs, out_structure = tree_flatten(result)
        outputs = [_tensor(output) for output in outputs]
        shown = settled(outputs, wanted)
        if has_aux:
            extra, aux_structure = tree_flatten(aux)
            tensors = [i for i, e in enumerate(extra) if isinstance(e, Tensor)]
            for i, e in zip(tensors, settled([extra[i] for i in tensors], wanted)):
                extra[i] = e
            aux = tree_unflatten(aux_structure, extra)
    finally:
        close_fresh(wanted)

    def pull(cotangents):
        given, given_structure = tree_flatten(cotangents)
        if len(given) != len(outputs):
            check_same(out_structure, given_structure, "vjp")
        given = [_tensor(g) for g in given]
        for g, output in zip(given, outputs):
            if g.shape != output.shape:
                raise ValueError(
                    f"[vjp] a cotangent has the shape of its result; got {g.shape} for {output.shape}; "
                    "try a tensor of that shape"
                )
        found = iter(settled_or_none(pullback(outputs, given, wanted), wanted))
        grads = []
        for leaf in fresh:
            gradient = next(found) if _differentiable(leaf) else None
            grads.append(zeros_like(leaf).detach() if gradient is None else gradient)
        return tree_unflatten(structure, grads)

    value = tree_unflatten(out_structure, shown)
    return (value, pull, aux) if has_aux else (value, pull)


def settled_or_none(tensors, leaves):
    """`settled` for a list in which some are None."""
    present = iter(settled([t for t in tensors if t is not None], leaves))
    return [None if t is None else next(present) for t in tensors]


def value_and_grad(function, argnums=0, has_aux=False):
    """The function that gives (value, gradient) of a scalar function.

    Arguments:
        argnums: the argument, or a tuple of arguments, to differentiate by.
        has_aux: the function returns (scalar, something else); the value is then that pair.

    >>> import pydiff as pd
    >>> value, g = pd.value_and_grad(lambda x: (x * x).sum())(pd.tensor([1., 2.]))
    >>> value.item(), g.tolist()
    (5.0, [2.0, 4.0])
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        single, numbers = _picked(args, argnums, "grad")
        chosen = _partial(function, args, kwargs, numbers)
        out = vjp(chosen, *[args[n] for n in numbers], has_aux=has_aux)
        value, pull = out[0], out[1]
        if not isinstance(value, Tensor) or value.numel() != 1:
            got = value.shape if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"[grad] the function does not return a scalar; got {got}; try .sum(), or jacrev")
        if not _differentiable(value):
            raise ValueError(f"[grad] only floating-point results have a gradient; got {value.dtype}; try .float()")
        grads = pull(ones_like(value))
        grads = grads[0] if single else grads
        return ((value, out[2]), grads) if has_aux else (value, grads)

    return wrapper


def grad(function, argnums=0, has_aux=False):
    """The function that gives the gradient of a scalar function; (gradient, aux) with `has_aux`.

    >>> import pydiff as pd
    >>> pd.grad(pd.grad(lambda x: x ** 3))(pd.tensor(2.)).item()
    12.0
    """
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        value, grads = both(*args, **kwargs)
        return (grads, value[1]) if has_aux else grads

    return wrapper


# ---- forward mode


def jvp(function, primals, tangents, has_aux=False):
    """The value of a function, and its derivative along `tangents`.

    Arguments:
        primals, tangents: tuples of the function's arguments and their tangents.
        has_aux: the function returns (result, something else).

    Returns (result, tangent), or (result, tangent, aux).

    >>> import pydiff as pd
    >>> y, t = pd.jvp(pd.sin, (pd.tensor(0.),), (pd.tensor(2.),))
    >>> y.item(), t.item()
    (0.0, 2.0)
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(
            f"[jvp] primals and tangents are tuples of arguments; got {type(primals).__name__} and "
            f"{type(tangents).__name__}; try jvp(f, (x,), (t,))"
        )
    leaves, structure = tree_flatten(tuple(primals))
    moves, move_structure = tree_flatten(tuple(tangents))
    check_same(structure, move_structure, "jvp")
    leaves = [_tensor(leaf) for leaf in leaves]
    moves = [_tensor(move) for move in moves]
    for leaf, move in zip(leaves, moves):
        if leaf.shape != move.shape:
            raise ValueError(
                f"[jvp] a tangent has the shape of its primal; got {move.shape} for {leaf.shape}; try a tensor of that shape"
            )
    with forward_level() as level:
        carried = [
            with_tangent(leaf, move.to(leaf.dtype), level) if _differentiable(leaf) else leaf
            for leaf, move in zip(leaves, moves)
        ]
        result = function(*tree_unflatten(structure, carried))
        aux = None
        if has_aux:
            result, aux = result
            extra, aux_structure = tree_flatten(aux)
            extra = [strip_level(e, level) if isinstance(e, Tensor) else e for e in extra]
            aux = tree_unflatten(aux_structure, extra)
        outputs, out_structure = tree_flatten(result)
        outputs = [_tensor(output) for output in outputs]
        pushed = [tangent_of(output, level) for output in outputs]
        pushed = [zeros_like(o).detach() if t is None else t for o, t in zip(outputs, pushed)]
        values = [strip_level(output, level) for output in outputs]
    value, tangent = tree_unflatten(out_structure, values), tree_unflatten(out_structure, pushed)
    return (value, tangent, aux) if has_aux else (value, tangent)


# ---- batching


class _Batch:
    """One running call of `vmap`: its placeholders, and the arguments for which they stand."""

    def __init__(self, size, randomness):
        self.size, self.randomness = size, randomness
        self.scope = open_scope()
        self.params, self.arguments = [], []

    def stand_in(self, front):
        """A placeholder for the examples of `front`, whose first axis is the batch's."""
        param = make_param(front.shape[1:], front.dtype, front.device, self.scope)
        self.params.append(Tensor(param))  # another handle: the function may change its argument in place
        self.arguments.append(front)
        return param


def vmap(function, in_dims=0, out_dims=0, randomness="same", *, chunk_size=None):
    """The function over arguments with one axis more, as one computation.

    Arguments:
        in_dims: the batch axis of each argument, None for those without; an integer for all.
        out_dims: where the batch axis goes in the results.
        randomness: of what is drawn inside, "same" for the whole batch, "different" for each example, or "error". PyTorch's
            default is "error". Gamma, beta, Dirichlet, Poisson and binomial numbers are "same" only.
        chunk_size: how many examples are computed at a time, by default all; one chunk after the other needs less memory.

    Inside, a tensor stands for many: a decision in Python (`if x > 0`) is an error that says so. So is writing such a tensor
    into one from outside: RuntimeError at that line, and nothing is changed.

    >>> import pydiff as pd
    >>> pd.vmap(lambda a, b: (a * b).sum())(pd.ones(3, 2), pd.ones(3, 2)).tolist()
    [2.0, 2.0, 2.0]
    """
    if randomness not in ("same", "different", "error"):
        raise ValueError(f"[vmap] unknown randomness; got {randomness!r}; try 'same', 'different' or 'error'")
    if chunk_size is not None and not (isinstance(chunk_size, int) and chunk_size > 0):
        raise ValueError(f"[vmap] chunk_size is a positive integer or None; got {chunk_size!r}; try None")

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        leaves, structure = tree_flatten(args)
        dims = in_dims if isinstance(in_dims, int) or in_dims is None else tuple(in_dims)
        axes = broadcast_prefix(dims, args, "vmap")
        tensors = [_tensor(leaf) for leaf in leaves]
        size = _batch_size(tensors, axes)
        tensors = [tensor if axis is None else _front(tensor, axis) for tensor, axis in zip(tensors, axes)]

        def mapped(first, last):
            batch = _Batch(last - first, randomness)
            inner = []
            for tensor, axis in zip(tensors, axes):
                if axis is None:
                    inner.append(tensor)
                else:
                    inner.append(batch.stand_in(tensor if last - first == size else tensor[first:last]))
            with inside_vmap(batch):
                result = function(*tree_unflatten(structure, inner), **kwargs)
            return _batched(batch, result, out_dims)

        if chunk_size is None or chunk_size >= size:
            final, places, out_structure = mapped(0, size)
            return tree_unflatten(out_structure, final)
        return _in_chunks(mapped, size, chunk_size, randomness)

    return wrapper


def _batched(batch, result, out_dims):
    """(results with the batch axis at its place, the places, their structure)."""
    outputs, out_structure = tree_flatten(result)
    outputs = [_tensor(output) for output in outputs]
    done, batched = record_batch(outputs, batch.params, batch.arguments, [True] * len(batch.params), batch.size)
    done = settled(done, ())  # what was recorded anew may lead to leaves of a transform that has ended
    places = broadcast_prefix(out_dims, result, "vmap")
    final = []
    for output, has_axis, place in zip(done, batched, places):
        if place is None:
            if has_axis:
                raise ValueError("[vmap] a result differs over the batch; got out_dims=None for it; try out_dims=0")
            final.append(output)
            continue
        if not has_axis:
            output = output.expand(batch.size, *output.shape)
        final.append(_back(output, place))
    return final, places, out_structure


def _in_chunks(mapped, size, chunk_size, randomness):
    """The results of the chunks, joined; each is computed before the next is recorded."""
    state = default_generator.get_state()
    parts = []
    for first in range(0, size, chunk_size):
        if randomness == "same":
            default_generator.set_state(state)
        final, places, out_structure = mapped(first, min(first + chunk_size, size))
        evaluate(final)
        parts.append(final)
    joined = [
        pieces[0] if place is None else cat(pieces, dim=place % pieces[0].ndim) for pieces, place in zip(zip(*parts), places)
    ]
    return tree_unflatten(out_structure, joined)


def _batch_size(tensors, axes):
    sizes = set()
    for tensor, axis in zip(tensors, axes):
        if axis is None:
            continue
        if not -tensor.ndim <= axis < tensor.ndim:
            raise ValueError(
                f"[vmap] an argument lacks the batch axis; got in_dims={axis} for shape {tensor.shape}; "
                "try None, or another axis"
            )
        sizes.add(tensor.shape[axis])
    if len(sizes) != 1:
        got = f"sizes {sorted(sizes)}" if sizes else "no argument with one"
        raise ValueError(f"[vmap] the batch axes are of one size; got {got}; try in_dims that say which axes")
    return sizes.pop()


def _front(tensor, axis):
    axis %= tensor.ndim
    if axis == 0:
        return tensor
    return tensor.permute(axis, *[k for k in range(tensor.ndim) if k != axis])


def _back(tensor, axis):
    axis %= tensor.ndim
    if axis == 0:
        return tensor
    order = list(range(1, tensor.ndim))
    order.insert(axis, 0)
    return tensor.permute(*order)


# ---- Jacobians


def _basis(tensor):
    """(numel, *shape): the identity, one direction a row."""
    return eye(tensor.numel(), dtype=tensor.dtype, device=tensor.device).reshape(-1, *tensor.shape)


def jacrev(function, argnums=0):
    """The function that gives the Jacobian, row by row, by reverse mode: for few results.

    The Jacobian of a result of shape R by an argument of shape A has shape R + A; pytrees of results
    hold pytrees of arguments.

    >>> import pydiff as pd
    >>> pd.jacrev(lambda x: x * x)(pd.tensor([1., 2.])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        single, numbers = _picked(args, argnums, "jacrev")
        chosen = _partial(function, args, kwargs, numbers)
        value, pull = vjp(chosen, *[args[n] for n in numbers])
        outputs, out_structure = tree_flatten(value)
        blocks = []
        for k, output in enumerate(outputs):
            if not output.numel():
                blocks.append(pull(tree_unflatten(out_structure, [zeros_like(o) for o in outputs])))
                continue

            def row(direction, k=k):
                cotangents = [direction if i == k else zeros_like(o) for i, o in enumerate(outputs)]
                return pull(tree_unflatten(out_structure, cotangents))

            rows, structure = tree_flatten(vmap(row)(_basis(output)))
            rows = [r.reshape((*output.shape, *r.shape[1:])) for r in rows]
            block = tree_unflatten(structure, rows)
            blocks.append(block[0] if single else block)
        return tree_unflatten(out_structure, blocks)

    return wrapper


def jacfwd(function, argnums=0):
    """The function that gives the Jacobian, column by column, by forward mode: for few arguments.

    Shapes as in `jacrev`.

    >>> import pydiff as pd
    >>> pd.jacfwd(lambda x: x * x)(pd.tensor([1., 2.])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        single, numbers = _picked(args, argnums, "jacfwd")
        chosen = _partial(function, args, kwargs, numbers)
        primals = tuple(args[n] for n in numbers)
        leaves, structure = tree_flatten(primals)
        leaves = [_tensor(leaf) for leaf in leaves]
        primals = tree_unflatten(structure, leaves)
        columns, out_structure = [], None
        for k, leaf in enumerate(leaves):

            def column(direction, k=k):
                moves = [direction if i == k else zeros_like(other) for i, other in enumerate(leaves)]
                return jvp(chosen, primals, tree_unflatten(structure, moves))[1]

            parts, out_structure = tree_flatten(vmap(column, out_dims=-1)(_basis(leaf)))
            columns.append([p.reshape((*p.shape[:-1], *leaf.shape)) for p in parts])
        blocks = []
        for k in range(len(columns[0])):
            block = tree_unflatten(structure, [parts[k] for parts in columns])
            blocks.append(block[0] if single else block)
        return tree_unflatten(out_structure, blocks)

    return wrapper


def hessian(function, argnums=0):
    """The function that gives the matrix of second derivatives of a scalar function.

    >>> import pydiff as pd
    >>> pd.hessian(lambda x: (x ** 3).sum())(pd.tensor([1., 2.])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacfwd(jacrev(function, argnums), argnums)


def hvp(function, primals, tangents):
    """(value, Hessian times tangents) of a scalar function: forward mode over reverse mode.

    >>> import pydiff as pd
    >>> x = pd.tensor([1., 2.])
    >>> pd.hvp(lambda x: (x ** 3).sum(), (x,), (pd.ones(2),))[1][0].tolist()
    [6.0, 12.0]
    """
    numbers = tuple(range(len(primals)))

    def gradient(*args):
        value, grads = value_and_grad(function, numbers)(*args)
        return grads, value

    _, product, value = jvp(gradient, primals, tangents, has_aux=True)
    return value, product
