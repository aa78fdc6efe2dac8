"""The largest singular value by power iteration, for both forms of spectral norm."""

import pydiff

from .. import functional as F


def default_axis(module):
    """The axis of the weight's outputs: 1 for transposed convolutions, else 0."""
    return int(any(kind.__name__.startswith("ConvTranspose") for kind in type(module).__mro__))


def as_matrix(weight, dim):
    """The weight as `(size of dim, the rest)`."""
    if dim:
        weight = weight.movedim(dim, 0)
    return weight.reshape(weight.shape[0], -1)


def start(matrix, eps):
    """Random unit vectors (u, v)."""
    height, width = matrix.shape
    made = {"dtype": matrix.dtype, "device": matrix.device}
    return (F.normalize(pydiff.randn(n, **made), dim=0, eps=eps) for n in (height, width))


def iterate(matrix, u, v, times, eps):
    """u ← W v, v ← Wᵀ u, each to length 1, some times; nothing is taped."""
    with pydiff.no_grad():
        for _ in range(times):
            u.copy_(F.normalize(matrix.detach() @ v, dim=0, eps=eps))
            v.copy_(F.normalize(matrix.detach().T @ u, dim=0, eps=eps))


def sigma(matrix, u, v):
    """uᵀ W v, with u and v as they are now."""
    u, v = u.detach().clone(), v.detach().clone()
    return u @ (matrix @ v)


def check_times(name, times):
    """Refuse a number of iterations that is not positive."""
    if times <= 0:
        raise ValueError(f"[{name}] n_power_iterations is positive; got {times}; try 1")
