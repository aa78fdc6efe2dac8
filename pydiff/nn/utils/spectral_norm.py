"""Spectral norm as a hook before the forward pass, with `weight_orig`, `weight_u`, `weight_v`: PyTorch's older form."""

import pydiff

from .. import functional as F
from . import _spectral
from .weight_norm import check_once, find, plain_again

__all__ = ["remove_spectral_norm", "spectral_norm"]


class _Normed:
    """The hook: in training it goes on with the power iteration, and it computes the weight anew."""

    def __init__(self, name, n_power_iterations, dim, eps):
        self.name = self.computes = name
        self.n_power_iterations = n_power_iterations
        self.dim = dim
        self.eps = eps

    def compute(self, module, iterate):
        weight = getattr(module, self.name + "_orig")
        u, v = (getattr(module, f"{self.name}_{which}") for which in "uv")
        matrix = _spectral.as_matrix(weight, self.dim)
        if iterate:
            with pydiff.no_grad():
                for _ in range(self.n_power_iterations):
                    v.copy_(F.normalize(matrix.detach().T @ u, dim=0, eps=self.eps))
                    u.copy_(F.normalize(matrix.detach() @ v, dim=0, eps=self.eps))
        return weight / _spectral.sigma(matrix, u, v)

    def restore(self, module):
        setattr(module, self.name, self.compute(module, False))

    def __call__(self, module, args):
        setattr(module, self.name, self.compute(module, module.training))


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide a module's weight by its largest singular value before each forward pass.

    Arguments:
        module: what has the weight; it is returned.
        name: of the weight, which is taken as a matrix `(size of dim, the rest)`.
        n_power_iterations: steps of the power iteration at each forward pass in training.
        eps: the least length that is divided by.
        dim: by default 1 for transposed convolutions, else 0.

    `pydiff.nn.utils.parametrizations.spectral_norm` is the newer form. Miyato et al., arXiv:1802.05957. Raises
    RuntimeError where the tensor is normed already, ValueError for a number of iterations that is not positive.

    >>> import pydiff as pd
    >>> list(pd.nn.utils.spectral_norm(pd.nn.Linear(4, 3)).state_dict())
    ['bias', 'weight_orig', 'weight_u', 'weight_v']
    """
    _spectral.check_times("spectral_norm", n_power_iterations)
    check_once("spectral_norm", module, _Normed, name)
    hook = _Normed(name, n_power_iterations, _spectral.default_axis(module) if dim is None else dim, eps)
    weight = getattr(module, name)
    u, v = _spectral.start(_spectral.as_matrix(weight.detach(), hook.dim), eps)
    delattr(module, name)
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(name + "_u", u)
    module.register_buffer(name + "_v", v)
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module, name="weight"):
    """Make the weight an ordinary parameter again, with its present value; returns the module.

    Raises ValueError where there is no spectral norm on it.

    >>> import pydiff as pd
    >>> layer = pd.nn.utils.remove_spectral_norm(pd.nn.utils.spectral_norm(pd.nn.Linear(2, 2)))
    >>> list(layer.state_dict())
    ['bias', 'weight']
    """
    key, hook = find("remove_spectral_norm", module, _Normed, name)
    with pydiff.no_grad():
        weight = hook.compute(module, False).detach().clone()
    return plain_again(module, key, name, ("orig", "u", "v"), weight)
