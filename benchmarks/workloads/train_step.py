"""A whole training step of a network so small that only overhead counts."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import fastest, jax, torch, torch_by_threads
from ..result import Result

BATCH = 32


def train_step():
    """One Adam step of a 16-32-32-1 network, batch 32: zero_grad, forward, loss, backward, step."""
    peers = {"pydiff": torch_style_step(pydiff)}
    if torch:
        peers |= torch_by_threads("PyTorch eager", torch_style_step(torch))
        peers |= torch_by_threads("PyTorch with fused Adam", torch_style_step(torch, fused=True))
    if jax:
        peers["JAX jit"] = _jax_step()
    times = {label: t.median for label, t in interleaved(peers, at_least=0.05).items()}
    other = fastest(times, "PyTorch eager")
    notes = [
        f"{label} / pydiff: {fastest(times, label) / times['pydiff']:.2f} x"
        for label in ("PyTorch with fused Adam", "JAX jit")
        if fastest(times, label) > 0
    ]
    return Result(
        name="train_step",
        what="training step of a 16-32-32-1 network with Adam, batch 32",
        figure=other / times["pydiff"],
        unit="x",
        limit=4,
        at_least=True,
        meaning="faster PyTorch eager / pydiff",
        times=times,
        notes=notes,
    )


def data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, 16), dtype=np.float32)
    return x, np.sin(x.sum(1, keepdims=True)).astype(np.float32)


def torch_style_step(library, **adam):
    """A step function; the same source for every library with PyTorch's names."""
    nn = library.nn
    x, y = (library.tensor(a) for a in data())
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = library.optim.Adam(model.parameters(), lr=1e-3, **adam)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()

    return step


def _jax_step():
    jnp = jax.numpy
    x, y = (jnp.asarray(a) for a in data())
    rng = np.random.default_rng(1)
    sizes = (16, 32, 32, 1)
    params = [
        (jnp.asarray(rng.standard_normal((i, o), dtype=np.float32) / i**0.5), jnp.zeros(o, np.float32))
        for i, o in zip(sizes, sizes[1:])
    ]

    def loss(params):
        h = x
        for w, b in params[:-1]:
            h = jax.nn.relu(h @ w + b)
        w, b = params[-1]
        return jnp.mean((h @ w + b - y) ** 2)

    @jax.jit
    def update(params, m, v, t):
        tree = jax.tree_util.tree_map
        g = jax.grad(loss)(params)
        t = t + 1
        m = tree(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = tree(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        root = jnp.sqrt(1 - 0.999**t)
        params = tree(lambda p, m, v: p - 1e-3 / (1 - 0.9**t) * m / (jnp.sqrt(v) / root + 1e-8), params, m, v)
        return params, m, v, t

    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    state = [(params, zeros, zeros, jnp.float32(0))]

    def step():
        state[0] = jax.block_until_ready(update(*state[0]))

    return step
