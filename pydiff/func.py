"""Functions of functions under the names of `torch.func`, and modules as functions of their parameters."""

import pydiff

from .nn.utils import stateless
from .transforms import grad, hessian, jacfwd, jacrev, jvp, value_and_grad, vjp, vmap

__all__ = [
    "functional_call", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize", "stack_module_state",
    "vjp", "vmap",
]  # fmt: skip


def functional_call(module, parameter_and_buffer_dicts, args=None, kwargs=None, *, tie_weights=True, strict=False):
    """What the module gives with these tensors in the place of its parameters and buffers.

    Arguments:
        parameter_and_buffer_dicts: a dict from dotted name to tensor, or several whose names differ.
        args, kwargs, tie_weights, strict: as of `pydiff.nn.utils.stateless.functional_call`, which also says what is raised.

    >>> import pydiff as pd
    >>> layer, x = pd.nn.Linear(2, 1, bias=False), pd.tensor([2.0, 3.0])
    >>> loss = lambda weights: pd.func.functional_call(layer, weights, (x,)).sum()
    >>> pd.func.grad(loss)(dict(layer.named_parameters()))["weight"].tolist()
    [[2.0, 3.0]]
    """
    given = parameter_and_buffer_dicts
    if not hasattr(given, "items"):
        merged = {}
        for some in given:
            twice = [key for key in some if key in merged]
            if twice:
                raise ValueError(f"[functional_call] a name is given once; got {twice} twice; try dicts with different names")
            merged.update(some)
        given = merged
    return stateless.functional_call(module, given, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models):
    """(parameters, buffers) of several models of one kind, each stacked along a new first axis, for `vmap`.

    Arguments:
        models: modules of one class, all of them in training or all in evaluation.

    The parameters are leaves of their own. Raises RuntimeError for models that do not go together.

    >>> import pydiff as pd
    >>> models = [pd.nn.Linear(2, 1) for _ in range(3)]
    >>> parameters, buffers = pd.func.stack_module_state(models)
    >>> call = lambda p, x: pd.func.functional_call(models[0], p, (x,))
    >>> tuple(pd.vmap(call, (0, None))(parameters, pd.ones(4, 2)).shape)
    (3, 4, 1)
    """
    models = list(models)
    kinds = {type(m) for m in models}
    if len(kinds) != 1 or len({m.training for m in models}) != 1:
        got = ", ".join(sorted(k.__name__ for k in kinds)) or "none"
        raise RuntimeError(
            f"[stack_module_state] models are of one class and in one mode; got {got}, training "
            f"{[m.training for m in models]}; try eval() on all"
        )

    def stacked(found):
        made = {}
        for key in found[0]:
            tensors = [some[key] for some in found]
            value = pydiff.stack([t.detach() for t in tensors])
            made[key] = value.requires_grad_(True) if tensors[0].requires_grad else value
        return made

    return stacked([dict(m.named_parameters()) for m in models]), stacked([dict(m.named_buffers()) for m in models])


def grad_and_value(func, argnums=0, has_aux=False):
    """The function that gives (gradient, value) of a scalar function; `value_and_grad` the other way round.

    >>> import pydiff as pd
    >>> g, value = pd.func.grad_and_value(lambda x: (x * x).sum())(pd.tensor([1.0, 2.0]))
    >>> g.tolist(), value.item()
    ([2.0, 4.0], 5.0)
    """
    both = value_and_grad(func, argnums, has_aux)

    def wrapper(*args, **kwargs):
        value, grads = both(*args, **kwargs)
        return grads, value

    return wrapper


def linearize(func, *primals):
    """(the function's value, its derivative at `primals` as a function of tangents).

    >>> import pydiff as pd
    >>> y, push = pd.func.linearize(pd.sin, pd.tensor(0.0))
    >>> y.item(), push(pd.tensor(2.0)).item()
    (0.0, 2.0)
    """
    return func(*primals), lambda *tangents: jvp(func, primals, tangents)[1]
