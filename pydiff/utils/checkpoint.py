"""Recomputation: a part of a model keeps its inputs and computes what is between them and its results anew in backward
(Chen, Xu, Zhang & Guestrin 2016, "Training Deep Nets with Sublinear Memory Cost")."""

import contextlib
import functools
import types

from pydiff import Tensor, _core, autograd, enable_grad, get_rng_state, is_grad_enabled, set_rng_state, zeros_like
from pydiff.nn import Module
from pydiff.tree import tree_flatten, tree_unflatten

__all__ = ["checkpoint", "checkpoint_sequential"]


def checkpoint(
    function,
    *args,
    use_reentrant=False,
    context_fn=None,
    determinism_check="default",
    debug=False,
    early_stop=True,
    preserve_rng_state=True,
    **kwargs,
):
    """`function(*args, **kwargs)`, of which only the arguments and results are kept for backward.

    Arguments:
        function: a module or a function. Beside its arguments it may use parameters that it reaches through modules, its
            closure, its object, the globals that it names, and lists and dicts of these.
        args, kwargs: its arguments, tensors anywhere in nested lists, tuples and dicts.
        use_reentrant: taken for PyTorch's sake: there is one way here, with the properties of PyTorch's `False`.
        context_fn: gives two context managers: what the first call, and what those in backward, are made within.
        determinism_check: "default": results of another number, shape or dtype in backward are an error; "none".
        debug, early_stop: taken for PyTorch's sake, and of no effect.
        preserve_rng_state: draw the same random numbers (dropout masks) again, from the default generator.

    In backward the function is called a second time. Gradients are those of the call without `checkpoint`, to the bit where
    no parameter is used both inside and outside; `autograd.grad` and derivatives of any order work. The results are
    computed at once, and so are the gradients of this part when backward passes it: otherwise the lazy graph would hold
    both computations. Raises ValueError where the function uses a tensor that requires a gradient and is not found as above.

    >>> import pydiff as pd
    >>> from pydiff.utils.checkpoint import checkpoint
    >>> layer = pd.nn.Sequential(pd.nn.Linear(4, 4), pd.nn.Tanh(), pd.nn.Dropout(0.5))
    >>> x = pd.ones(2, 4, requires_grad=True)
    >>> checkpoint(layer, x).sum().backward()
    >>> tuple(x.grad.shape), layer[0].weight.grad is not None
    ((2, 4), True)
    """
    if not callable(function):
        raise TypeError(f"[checkpoint] the function is called; got {type(function).__name__}; try checkpoint(module, x)")
    if determinism_check not in ("default", "none"):
        raise ValueError(f"[checkpoint] determinism_check is 'default' or 'none'; got {determinism_check!r}; try 'default'")
    first, again = (contextlib.nullcontext(),) * 2 if context_fn is None else context_fn()
    if not is_grad_enabled():
        return function(*args, **kwargs)
    part = _Part(function, args, kwargs, preserve_rng_state)
    part.context = again
    with first:
        if not any(tensor.requires_grad for tensor in part.tensors):
            return function(*args, **kwargs)
        found = part.call([tensor.detach() for tensor in part.tensors])
    outputs, shape = tree_flatten(found)
    places = [k for k, value in enumerate(outputs) if isinstance(value, Tensor)]
    for k in places:
        if outputs[k].requires_grad:
            made = outputs[k].grad_fn
            raise ValueError(
                f"[checkpoint] the function uses a tensor that requires a gradient and is neither an argument nor found; "
                f"got a result of {made.name() if made else 'a leaf'}; try passing it as an argument"
            )
    part.specs = [_spec(outputs[k]) for k in places]
    part.compared = determinism_check == "default"
    _evaluate([outputs[k] for k in places])
    results = _Recomputed.apply(part.run, tuple(outputs[k] for k in places), *part.tensors)
    for k, result in zip(places, results):
        outputs[k] = result
    return tree_unflatten(shape, outputs)


def checkpoint_sequential(functions, segments, input, use_reentrant=False, **kwargs):
    """A chain of modules in `segments` parts, of which each but the last is a `checkpoint`.

    Arguments:
        functions: a `Sequential`, or a list of modules or functions of one argument.
        segments: number of parts, from 1 to the number of functions.
        input: the first one's argument.
        use_reentrant, preserve_rng_state: as of `checkpoint`.

    >>> import pydiff as pd
    >>> from pydiff.utils.checkpoint import checkpoint_sequential
    >>> model = pd.nn.Sequential(pd.nn.Linear(3, 3), pd.nn.Tanh(), pd.nn.Linear(3, 1))
    >>> tuple(checkpoint_sequential(model, 2, pd.ones(5, 3, requires_grad=True)).shape)
    (5, 1)
    """
    if isinstance(functions, Module):
        functions = list(functions.children())
    functions = list(functions)
    if not isinstance(segments, int) or not 1 <= segments <= max(len(functions), 1):
        raise ValueError(
            f"[checkpoint_sequential] segments are from 1 to the number of functions; got {segments} for {len(functions)}; "
            "try a smaller number"
        )

    def chain(start, stop):
        def run(x):
            for function in functions[start:stop]:
                x = function(x)
            return x

        return run

    size = len(functions) // segments
    for k in range(segments - 1):
        input = checkpoint(chain(k * size, (k + 1) * size), input, use_reentrant=use_reentrant, **kwargs)
    return chain((segments - 1) * size, len(functions))(input)


class _Part:
    """A call that can be made again, on other tensors in the place of its arguments and of what else it uses."""

    def __init__(self, function, args, kwargs, preserve):
        self.function = function
        self.flat, self.structure = tree_flatten((args, kwargs))
        self.places = [k for k, value in enumerate(self.flat) if isinstance(value, Tensor)]
        arguments = [self.flat[k] for k in self.places]
        self.slots = _reached(function)
        self.leaves = list({id(leaf): leaf for leaf, _ in self.slots}.values())
        self.tensors = arguments + self.leaves
        self.state = get_rng_state() if preserve else None

    def call(self, tensors):
        """What the function returns for these."""
        flat = list(self.flat)
        for k, tensor in zip(self.places, tensors):
            flat[k] = tensor
        args, kwargs = tree_unflatten(self.structure, flat)
        instead = {id(leaf): new for leaf, new in zip(self.leaves, tensors[len(self.places) :])}
        try:
            for leaf, put in self.slots:
                put(instead[id(leaf)])
            return self.function(*args, **kwargs)
        finally:
            for leaf, put in self.slots:
                put(leaf)

    def run(self, tensors, taped):
        """The tensors among what the function returns, with the random numbers of the first call."""
        with _random_from(self.state), self.context:
            found = [value for value in tree_flatten(self.call(tensors))[0] if isinstance(value, Tensor)]
        specs = [_spec(value) for value in found]
        if specs != self.specs and (self.compared or len(specs) != len(self.specs)):
            raise RuntimeError(
                f"[checkpoint] the function gives other results when it is called again; got {', '.join(specs)} for "
                f"{', '.join(self.specs)}; try a function that depends on its arguments alone"
            )
        return found


def _spec(tensor):
    return f"{tensor.dtype.name} {tuple(tensor.shape)}"


@contextlib.contextmanager
def _random_from(state):
    if state is None:
        yield
        return
    now = get_rng_state()
    set_rng_state(state)
    try:
        yield
    finally:
        set_rng_state(now)


def _evaluate(tensors):
    _core.evaluate([tensor for tensor in tensors if tensor is not None and not tensor.is_abstract])


class _Recomputed(autograd.Function):
    """`function(tensors, taped)`, a list of tensors, whose derivative is such a function again: of any order.

    It only ever sees tensors without a history, so its tape and the one outside have no node in common: a walk inside
    a walk over the same nodes is not to be had.
    """

    @staticmethod
    def forward(ctx, function, outputs, *tensors):
        ctx.function, ctx.tensors = function, tensors
        if outputs is None:
            with enable_grad():
                outputs = tuple(value.detach() for value in function(_apart(tensors), False))
        fixed = [value for value in outputs if not value.dtype.is_floating_point]
        ctx.mark_non_differentiable(*fixed)
        return outputs

    @staticmethod
    def backward(ctx, *cotangents):
        count = len(ctx.tensors)
        differentiable = [tensor.requires_grad for tensor in ctx.tensors]

        def pull(values, taped):
            """The gradients of those tensors that have one, of tensors and cotangents."""
            with enable_grad():
                inputs = [value if wanted else value.detach() for value, wanted in zip(values, differentiable)]
                outputs = ctx.function(inputs, True)
                pairs = [(value, g) for value, g in zip(outputs, values[count:]) if value.requires_grad]
                wanted = [value for value, on in zip(inputs, differentiable) if on]
                if not pairs:
                    return [zeros_like(value) for value in wanted]
                outputs, given = [value for value, _ in pairs], [g for _, g in pairs]
                grads = autograd.grad(outputs, wanted, given, create_graph=taped, allow_unused=True)
            return [zeros_like(value) if g is None else g for value, g in zip(wanted, grads)]

        if is_grad_enabled():
            found = _Recomputed.apply(pull, None, *ctx.tensors, *cotangents)
        else:
            _evaluate(cotangents)
            found = pull([*_apart(ctx.tensors), *cotangents], False)
            _evaluate(found)
        grads = iter(found)
        return None, None, *(next(grads) if wanted else None for wanted in differentiable)


def _apart(tensors):
    """The values, with an edge of their own where they have one."""
    return [tensor.detach().requires_grad_() if tensor.requires_grad else tensor for tensor in tensors]


# ---- what a function uses beside its arguments


def _reached(function):
    """Pairs (leaf that requires a gradient, function that puts another tensor in its place) that can be found."""
    found, seen, todo = [], set(), [(function, None)]
    while todo:
        value, put = todo.pop()
        if isinstance(value, Tensor):
            if value.requires_grad and value.is_leaf and put is not None:
                found.append((value, put))
            continue
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Module):
            for module in value.modules():
                todo += [(p, functools.partial(_put, module, name)) for name, p in module._parameters.items()]
        elif isinstance(value, (list, dict)):
            todo += _items(value)
        elif isinstance(value, tuple):
            todo += [(item, None) for item in value]
        elif isinstance(value, functools.partial):
            todo += [(value.func, None), (value.args, None), *_items(value.keywords)]
        elif isinstance(value, types.MethodType):
            todo += [(value.__func__, None), (value.__self__, None)]
            if not isinstance(value.__self__, (Module, type)):
                todo += _items(getattr(value.__self__, "__dict__", {}))
        elif isinstance(value, types.FunctionType):
            for cell in value.__closure__ or ():
                with contextlib.suppress(ValueError):  # not filled yet
                    todo.append((cell.cell_contents, functools.partial(setattr, cell, "cell_contents")))
            if (value.__module__ or "").partition(".")[0] != "pydiff":
                known = value.__globals__
                todo += [
                    (known[name], functools.partial(known.__setitem__, name))
                    for name in value.__code__.co_names
                    if name in known
                ]
    return found


def _items(container):
    pairs = container.items() if isinstance(container, dict) else enumerate(container)
    return [(value, functools.partial(container.__setitem__, key)) for key, value in pairs]


def _put(module, name, parameter):
    module._parameters[name] = parameter
    object.__setattr__(module, name, parameter)
