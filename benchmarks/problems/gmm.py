"""ADBench's Gaussian mixture: the log likelihood of points, with a Wishart prior, and its gradient."""

import math

import numpy as np

from ._adbench import cut, numbers
from ._problem import Problem, function_alone, torch_style

D, K, N = 10, 25, 1000


def _data():
    flat = numbers("gmm/1k/gmm_d10_K25.txt", skip=3)
    if flat is None:
        rng = np.random.default_rng(0)
        flat = np.concatenate([rng.standard_normal(K + K * D + K * D * (D + 1) // 2 + N * D), [1.0, 0.0]])
    alphas, means, icf, x, wishart = cut(flat, (K,), (K, D), (K, D * (D + 1) // 2), (N, D), (2,))
    # Where the entries below the diagonal, stored column by column, lie in the square; -1: nowhere.
    place, at = np.full((D, D), -1), 0
    for column in range(D):
        for row in range(column + 1, D):
            place[row, column], at = at, at + 1
    return alphas, means, icf, x, float(wishart[0]), int(wishart[1]), place


def _constant(gamma, m):
    """What depends on neither the parameters nor the points."""
    n = D + m + 1
    multigamma = D * (D - 1) / 4 * math.log(math.pi) + sum(math.lgamma((n - i) / 2) for i in range(D))
    return -N * D * 0.5 * math.log(2 * math.pi) - K * (n * D * (math.log(gamma) - 0.5 * math.log(2)) - multigamma)


def _build(library, compiler, derivative=True):
    *arrays, gamma, m, place = _data()
    alphas, means, icf, x = (library.tensor(a) for a in arrays)
    parameters = [p.requires_grad_() for p in (alphas, means, icf)]
    below = library.tensor(np.maximum(place, 0).ravel())
    there = library.tensor((place >= 0).astype(np.float64))
    constant = _constant(gamma, m)

    @compiler
    def objective(alphas, means, icf):
        logs, lower = icf[:, :D], icf[:, D:]
        diagonal, total = library.exp(logs), logs.sum(1)
        factors = lower.index_select(1, below).reshape(K, D, D) * there + library.diag_embed(diagonal)
        turned = library.einsum("kij,nkj->nki", factors, x[:, None, :] - means)
        inner = alphas + total - 0.5 * (turned * turned).sum(2)
        likelihood = library.logsumexp(inner, 1).sum() - N * library.logsumexp(alphas, 0)
        prior = 0.5 * gamma**2 * ((diagonal * diagonal).sum() + (lower * lower).sum()) - m * total.sum()
        return likelihood + prior + constant

    def step():
        if not derivative:
            return objective(*(p.detach() for p in parameters))
        for p in parameters:
            p.grad = None
        value = objective(*parameters)
        value.backward()
        return [value, *(p.grad for p in parameters)]

    return step


def _jax():
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    *arrays, gamma, m, place = _data()
    alphas, means, icf, x = (jnp.asarray(a) for a in arrays)
    below, there, constant = jnp.asarray(np.maximum(place, 0)), jnp.asarray(place >= 0), _constant(gamma, m)

    @jax.jit
    @jax.value_and_grad
    def objective(parameters):
        alphas, means, icf = parameters
        logs, lower = icf[:, :D], icf[:, D:]
        diagonal, total = jnp.exp(logs), logs.sum(1)
        factors = lower[:, below] * there + jnp.eye(D) * diagonal[:, :, None]
        turned = jnp.einsum("kij,nkj->nki", factors, x[:, None, :] - means)
        inner = alphas + total - 0.5 * (turned * turned).sum(2)
        likelihood = jax.nn.logsumexp(inner, 1).sum() - N * jax.nn.logsumexp(alphas)
        prior = 0.5 * gamma**2 * ((diagonal * diagonal).sum() + (lower * lower).sum()) - m * total.sum()
        return likelihood + prior + constant

    def step():
        value, gradient = objective((alphas, means, icf))
        return [np.asarray(value), *(np.asarray(g) for g in gradient)]

    return step


PROBLEM = Problem(
    name="gmm",
    what=f"ADBench's Gaussian mixture, d={D} k={K} n={N}, value and gradient",
    makers={**torch_style(_build), "JAX jit": _jax},
    alone=function_alone(_build),
    flops=6 * N * K * D * D,
    small=True,
    tolerance=1e-8,
    real="float64",
)
