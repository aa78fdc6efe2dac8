"""Training steps of a multilayer perceptron with Adam: one so small that only overhead counts, one of products."""

import numpy as np

from ._problem import Problem, adam, dense, load, torch_style, zeros_like


def _data(sizes, batch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, sizes[0]), dtype=np.float32)
    if sizes[-1] == 1:
        y = np.sin(x.sum(1, keepdims=True)).astype(np.float32)
    else:
        y = rng.integers(0, sizes[-1], batch)
    layers = {str(2 * i): (outputs, inputs) for i, (inputs, outputs) in enumerate(zip(sizes, sizes[1:]))}
    return x, y, dense(rng, layers)


def _torch_style(sizes, batch):
    def build(library, compiler):
        nn = library.nn
        x, y, weights = _data(sizes, batch)
        x, y = library.tensor(x), library.tensor(y)
        layers = []
        for inputs, outputs in zip(sizes, sizes[1:]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        model = compiler(load(library, nn.Sequential(*layers[:-1]), weights))
        criterion = nn.functional.mse_loss if sizes[-1] == 1 else nn.functional.cross_entropy
        optimizer = library.optim.Adam(model.parameters(), lr=1e-3)

        def step():
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    return build


def _jax(sizes, batch):
    def build():
        import jax

        jnp = jax.numpy
        x, y, weights = _data(sizes, batch)
        x, y = jnp.asarray(x), jnp.asarray(y)
        names = [str(2 * i) for i in range(len(sizes) - 1)]
        params = [(jnp.asarray(weights[f"{n}.weight"]), jnp.asarray(weights[f"{n}.bias"])) for n in names]

        def loss(params):
            h = x
            for w, b in params[:-1]:
                h = jax.nn.relu(h @ w.T + b)
            w, b = params[-1]
            h = h @ w.T + b
            if sizes[-1] == 1:
                return jnp.mean((h - y) ** 2)
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1))

        @jax.jit
        def update(params, state):
            value, gradient = jax.value_and_grad(loss)(params)
            return value, *adam(jax, params, gradient, state, lr=1e-3)

        now = [params, zeros_like(jax, params)]

        def step():
            value, *now[:] = update(*now)
            return float(jax.block_until_ready((value, now))[0])

        return step

    return build


def _problem(name, sizes, batch, small, aim=2.0, share=None):
    count = sum(i * o + o for i, o in zip(sizes, sizes[1:]))
    # Forward and two products backward, but no gradient of the input; Adam reads 4 arrays and writes 3.
    flops = sum(6 * i * o for i, o in zip(sizes, sizes[1:])) - 2 * sizes[0] * sizes[1]
    return Problem(
        name=name,
        what=f"training step of an MLP {'-'.join(map(str, sizes))} with Adam, batch {batch}",
        makers={**torch_style(_torch_style(sizes, batch)), "JAX jit": _jax(sizes, batch)},
        aim=aim,
        share=share,
        flops=batch * flops,
        bytes=7 * 4 * count,
        small=small,
        tolerance=1e-4,
    )


SMALL = _problem("mlp_small", (16, 32, 32, 1), 32, small=True)
LARGE = _problem("mlp", (784, 512, 512, 10), 128, small=False, aim=1.1, share=0.8)
