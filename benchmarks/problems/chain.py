"""Many operations on few elements: nothing but the cost of the framework."""

import numpy as np

from ._problem import Problem, torch_style

LENGTH, SIZE = 100, 64


def _data():
    rng = np.random.default_rng(0)
    return rng.standard_normal(SIZE, dtype=np.float32), rng.standard_normal(SIZE, dtype=np.float32)


def _build(library, compiler):
    x, w = (library.tensor(a) for a in _data())
    w.requires_grad_()

    @compiler
    def loss(x, w):
        y = x
        for _ in range(LENGTH):
            y = library.tanh(y * w + w)
        return y.sum()

    def step():
        w.grad = None
        loss(x, w).backward()
        return w.grad

    return step


def _jax():
    import jax

    x, w = (jax.numpy.asarray(a) for a in _data())

    @jax.jit
    @jax.grad
    def gradient(w, x):
        y = x
        for _ in range(LENGTH):
            y = jax.numpy.tanh(y * w + w)
        return y.sum()

    return lambda: np.asarray(gradient(w, x))


PROBLEM = Problem(
    name="chain",
    what=f"{LENGTH} times y = tanh(y w + w) on {SIZE} floats, value and gradient",
    makers={**torch_style(_build), "JAX jit": _jax},
    flops=LENGTH * SIZE * 2 * 40,
    small=True,
    tolerance=1e-4,
)
