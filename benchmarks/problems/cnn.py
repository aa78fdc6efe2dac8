"""A training step of a small convolutional network with batch norm."""

import numpy as np

from ._problem import Problem, dense, load, torch_style

CHANNELS, SIZE, BATCH, CLASSES = (3, 32, 64, 128), 32, 32, 10
LR, MOMENTUM = 0.005, 0.9


def _data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, CHANNELS[0], SIZE, SIZE), dtype=np.float32)
    y = rng.integers(0, CLASSES, BATCH)
    weights = {}
    for i, (inputs, outputs) in enumerate(zip(CHANNELS, CHANNELS[1:])):
        bound = (9 * inputs) ** -0.5
        weights[f"{4 * i}.weight"] = rng.uniform(-bound, bound, (outputs, inputs, 3, 3)).astype(np.float32)
    last = SIZE // 2 ** (len(CHANNELS) - 1)
    return x, y, weights | dense(rng, {f"{4 * (len(CHANNELS) - 1) + 1}": (CLASSES, CHANNELS[-1] * last * last)})


def _build(library, compiler):
    nn = library.nn
    x, y, weights = _data()
    x, y = library.tensor(x), library.tensor(y)
    layers = []
    for inputs, outputs in zip(CHANNELS, CHANNELS[1:]):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    last = SIZE // 2 ** (len(CHANNELS) - 1)
    layers += [nn.Flatten(), nn.Linear(CHANNELS[-1] * last * last, CLASSES)]
    model = compiler(load(library, nn.Sequential(*layers), weights))
    optimizer = library.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _jax():
    import jax

    jnp, lax = jax.numpy, jax.lax
    x, y, weights = _data()
    x, y = jnp.asarray(x), jnp.asarray(y)
    *convolutions, last, bias = (jnp.asarray(w) for w in weights.values())
    params = [[(w, jnp.ones(w.shape[0]), jnp.zeros(w.shape[0])) for w in convolutions], last, bias]
    running = [(jnp.zeros(w.shape[0]), jnp.ones(w.shape[0])) for w in convolutions]

    def loss(params, running):
        h, moved = x, []
        for (w, scale, shift), (mean, var) in zip(params[0], running):
            h = lax.conv_general_dilated(h, w, (1, 1), "SAME")
            m, v, n = h.mean((0, 2, 3)), h.var((0, 2, 3)), h.size / h.shape[1]
            moved.append((0.9 * mean + 0.1 * m, 0.9 * var + 0.1 * v * (n / (n - 1))))
            h = (h - m[:, None, None]) * (lax.rsqrt(v + 1e-5) * scale)[:, None, None] + shift[:, None, None]
            h = lax.reduce_window(jax.nn.relu(h), -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        h = h.reshape(BATCH, -1) @ params[1].T + params[2]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1)), moved

    @jax.jit
    def update(params, running, velocity):
        (value, running), gradient = jax.value_and_grad(loss, has_aux=True)(params, running)
        velocity = jax.tree_util.tree_map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        return value, jax.tree_util.tree_map(lambda p, v: p - LR * v, params, velocity), running, velocity

    now = [params, running, jax.tree_util.tree_map(jnp.zeros_like, params)]

    def step():
        value, *now[:] = update(*now)
        return float(jax.block_until_ready((value, now))[0])

    return step


def _flops():
    """Of forward and both gradients; the image gets none."""
    total, size = 0, SIZE
    for i, (inputs, outputs) in enumerate(zip(CHANNELS, CHANNELS[1:])):
        total += BATCH * size * size * 9 * inputs * outputs * 2 * (2 if i == 0 else 3)
        size //= 2
    return total + 6 * BATCH * CLASSES * CHANNELS[-1] * size * size


PROBLEM = Problem(
    name="cnn",
    what=f"training step of a CNN {'-'.join(map(str, CHANNELS))} on {SIZE}x{SIZE}, batch norm, SGD, batch {BATCH}",
    makers={**torch_style(_build), "JAX jit": _jax},
    aim=1.1,
    share=0.8,
    flops=_flops(),
    tolerance=2e-4,
)
