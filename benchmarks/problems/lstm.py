"""ADBench's LSTM: an elementwise recurrent network over a long text, its loss and the gradient."""

import numpy as np

from ._adbench import cut, numbers
from ._problem import Problem, function_alone, torch_style

LAYERS, LENGTH, BITS = 2, 1024, 14


def _data():
    flat = numbers("lstm/lstm_l2_c1024.txt", skip=3)
    shapes = (2 * LAYERS, 4 * BITS), (3, BITS), (2 * LAYERS, BITS), (LENGTH, BITS)
    if flat is None:
        rng = np.random.default_rng(0)
        flat = rng.random(sum(int(np.prod(shape)) for shape in shapes))
        flat[-LENGTH * BITS :] = flat[-LENGTH * BITS :] < 0.5
    return cut(flat, *shapes)


def _layer(sigmoid, tanh, concatenate, weight, bias, hidden, cell, x):
    gates = concatenate([x, hidden, x, hidden]) * weight + bias
    forget, enter, leave = sigmoid(gates[:BITS]), sigmoid(gates[BITS : 2 * BITS]), sigmoid(gates[2 * BITS : 3 * BITS])
    cell = cell * forget + enter * tanh(gates[3 * BITS :])
    return leave * tanh(cell), cell


def _build(library, compiler, derivative=True):
    main, extra, state, text = (library.tensor(a) for a in _data())
    main.requires_grad_(derivative), extra.requires_grad_(derivative)

    def step():
        main.grad = extra.grad = None
        weights, (scale_in, scale_out, shift) = list(main), extra
        now, letters = list(state), list(text)
        total = 0.0
        for letter, wanted in zip(letters, letters[1:]):
            x = letter * scale_in
            for i in range(0, 2 * LAYERS, 2):
                x, now[i + 1] = _layer(
                    library.sigmoid, library.tanh, library.cat, weights[i], weights[i + 1], now[i], now[i + 1], x
                )
                now[i] = x
            guess = x * scale_out + shift
            total = total + (wanted * (guess - library.log(2 + library.exp(guess).sum()))).sum()
        loss = -total / ((LENGTH - 1) * BITS)
        if not derivative:
            return loss
        loss.backward()
        return [loss, main.grad, extra.grad]

    return step


def _jax():
    import jax

    jax.config.update("jax_enable_x64", True)
    jnp = jax.numpy
    main, extra, state, text = (jnp.asarray(a) for a in _data())

    @jax.jit
    @jax.value_and_grad
    def objective(parameters):
        main, extra = parameters

        def advance(now, letters):
            letter, wanted = letters
            x, after = letter * extra[0], []
            for i in range(0, 2 * LAYERS, 2):
                x, cell = _layer(jax.nn.sigmoid, jnp.tanh, jnp.concatenate, main[i], main[i + 1], now[i], now[i + 1], x)
                after += [x, cell]
            guess = x * extra[1] + extra[2]
            return jnp.stack(after), (wanted * (guess - jnp.log(2 + jnp.exp(guess).sum()))).sum()

        _, terms = jax.lax.scan(advance, state, (text[:-1], text[1:]))
        return -terms.sum() / ((LENGTH - 1) * BITS)

    def step():
        value, gradient = objective((main, extra))
        return [np.asarray(value), *(np.asarray(g) for g in gradient)]

    return step


PROBLEM = Problem(
    name="lstm",
    what=f"ADBench's LSTM, {LAYERS} layers, {LENGTH} characters, value and gradient",
    makers={**torch_style(_build, compiles=False), "JAX jit": _jax},
    alone=function_alone(_build),
    flops=LENGTH * LAYERS * BITS * 3 * 150,
    small=True,
    tolerance=1e-8,
    real="float64",
)
