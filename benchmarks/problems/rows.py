"""Bound by memory: one elementwise function, and a chain of reductions along rows."""

import numpy as np

from ._problem import Problem, torch_style

N = 10_000_000
ROWS, WIDTH = 4096, 2048


def _gelu_data():
    return np.random.default_rng(0).standard_normal(N, dtype=np.float32)


def gelu(tanh, x):
    return 0.5 * x * (1 + tanh(0.79788 * (x + 0.044715 * x**3)))


def _gelu(library, compiler):
    x = library.tensor(_gelu_data())
    formula = compiler(lambda x: gelu(library.tanh, x))
    return lambda: formula(x)


def _gelu_jax():
    import jax

    x = jax.numpy.asarray(_gelu_data())
    formula = jax.jit(lambda x: gelu(jax.numpy.tanh, x))
    return lambda: np.asarray(formula(x))


def _rows_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    return x, *rng.standard_normal((2, WIDTH), dtype=np.float32)


def _rows(library, compiler):
    x, w, b = (library.tensor(a) for a in _rows_data())
    functional = library.nn.functional
    formula = compiler(lambda x, w, b: functional.softmax(functional.layer_norm(x, (WIDTH,), w, b), -1))
    return lambda: formula(x, w, b)


def _rows_jax():
    import jax

    jnp = jax.numpy
    x, w, b = (jnp.asarray(a) for a in _rows_data())

    @jax.jit
    def formula(x, w, b):
        centred = x - x.mean(-1, keepdims=True)
        normed = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return jax.nn.softmax(normed * w + b, -1)

    return lambda: np.asarray(formula(x, w, b))


GELU = Problem(
    name="gelu",
    what=f"tanh-GELU of {N / 1e6:.0f} M floats",
    makers={**torch_style(_gelu), "JAX jit": _gelu_jax},
    bytes=2 * 4 * N,
    tolerance=1e-5,
)
NORM = Problem(
    name="norm_softmax",
    what=f"layer norm, affine, softmax of {ROWS} x {WIDTH} floats",
    makers={**torch_style(_rows), "JAX jit": _rows_jax},
    bytes=2 * 4 * ROWS * WIDTH,
    tolerance=1e-4,
)
