"""Weight norm as a hook before the forward pass, with parameters `weight_g` and `weight_v`: PyTorch's older form."""

import pydiff

from ..parameter import Parameter
from .parametrizations import norm_except

__all__ = ["remove_weight_norm", "weight_norm"]


class _Normed:
    """The hook: computes the weight anew before each forward pass."""

    def __init__(self, name, dim):
        self.name = self.computes = name
        self.dim = -1 if dim is None else dim

    def compute(self, module):
        g, v = (getattr(module, f"{self.name}_{which}") for which in "gv")
        return v * (g / norm_except(v, self.dim))

    def restore(self, module):
        setattr(module, self.name, self.compute(module))

    def __call__(self, module, args):
        self.restore(module)


def check_once(op, module, kind, name):
    """Refuse a second norm of one kind on a tensor."""
    if any(isinstance(h.function, kind) and h.function.name == name for h in module._hooks.values()):
        raise RuntimeError(f"[{op}] a tensor is normed once; got {name!r} again; try remove_{op} first")


def plain_again(module, key, name, endings, weight):
    """Take the hook and what it computed from away; the tensor is an ordinary parameter with that value."""
    for gone in (name, *(f"{name}_{ending}" for ending in endings)):
        delattr(module, gone)
    module.register_parameter(name, Parameter(weight))
    del module._hooks[key]
    return module


def find(name, module, kind, tensor_name):
    for key, hook in module._hooks.items():
        if isinstance(hook.function, kind) and hook.function.name == tensor_name:
            return key, hook.function
    raise ValueError(
        f"[{name}] {type(module).__name__} has none on that tensor; got {tensor_name!r}; try the name it was put on"
    )


def weight_norm(module, name="weight", dim=0):
    """Give a module w = g v / ‖v‖ in the place of its weight, with parameters `weight_g` and `weight_v`.

    Arguments:
        module: what has the weight; it is returned.
        name: of the weight.
        dim: the axis along which lengths differ; None for one length.

    `pydiff.nn.utils.parametrizations.weight_norm` is the newer form. Salimans and Kingma, arXiv:1602.07868. Raises
    RuntimeError where the tensor is normed already.

    >>> import pydiff as pd
    >>> layer = pd.nn.utils.weight_norm(pd.nn.Linear(20, 40))
    >>> tuple(layer.weight_g.shape), list(layer.state_dict())
    ((40, 1), ['bias', 'weight_g', 'weight_v'])
    """
    check_once("weight_norm", module, _Normed, name)
    hook, weight = _Normed(name, dim), getattr(module, name)
    with pydiff.no_grad():
        length = norm_except(weight, hook.dim)
    delattr(module, name)
    module.register_parameter(f"{name}_g", Parameter(length))
    module.register_parameter(f"{name}_v", Parameter(weight.detach().clone()))
    setattr(module, name, hook.compute(module))
    module.register_forward_pre_hook(hook)
    return module


def remove_weight_norm(module, name="weight"):
    """Make the weight an ordinary parameter again, with its present value; returns the module.

    Raises ValueError where there is no weight norm on it.

    >>> import pydiff as pd
    >>> layer = pd.nn.utils.remove_weight_norm(pd.nn.utils.weight_norm(pd.nn.Linear(2, 2)))
    >>> list(layer.state_dict())
    ['bias', 'weight']
    """
    key, hook = find("remove_weight_norm", module, _Normed, name)
    return plain_again(module, key, name, "gv", hook.compute(module).detach().clone())
