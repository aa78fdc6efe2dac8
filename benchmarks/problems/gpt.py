"""A training step of a small transformer that predicts the next token."""

import math

import numpy as np

from ._problem import Problem, adam, dense, load, torch_style, zeros_like

LAYERS, WIDTH, HEADS, TOKENS, BATCH, WORDS = 4, 128, 4, 64, 8, 96
RATE, DECAY = 3e-4, 0.01


def _data():
    rng = np.random.default_rng(0)
    text = rng.integers(0, WORDS, (BATCH, TOKENS + 1))
    weights = {"words.weight": 0.02 * rng.standard_normal((WORDS, WIDTH), dtype=np.float32)}
    weights["places.weight"] = 0.02 * rng.standard_normal((TOKENS, WIDTH), dtype=np.float32)
    sizes = {"qkv": (3 * WIDTH, WIDTH), "out": (WIDTH, WIDTH), "up": (4 * WIDTH, WIDTH), "down": (WIDTH, 4 * WIDTH)}
    layers = {f"blocks.{i}.{name}": size for i in range(LAYERS) for name, size in sizes.items()}
    return text[:, :-1].copy(), text[:, 1:].copy(), weights | dense(rng, {**layers, "head": (WORDS, WIDTH)})


def _build(library, compiler):
    nn, functional = library.nn, library.nn.functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x):
            batch, tokens, width = x.shape
            parts = self.qkv(self.norm1(x)).view(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2], is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(TOKENS, WIDTH)
            self.blocks = nn.ModuleList([Block() for _ in range(LAYERS)])
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)

        def forward(self, text):
            x = self.words(text) + self.places(library.arange(text.shape[1]))
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    x, y, weights = _data()
    x, y = library.tensor(x), library.tensor(y)
    model = compiler(load(library, GPT(), weights))
    optimizer = library.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)

    def step():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x).view(-1, WORDS), y.view(-1))
        loss.backward()
        optimizer.step()
        return loss

    return step


def _jax():
    import jax

    jnp = jax.numpy
    x, y, weights = _data()
    x, y = jnp.asarray(x), jnp.asarray(y)
    params = {name: jnp.asarray(value) for name, value in weights.items()}
    for name in [f"blocks.{i}.norm{k}" for i in range(LAYERS) for k in (1, 2)] + ["norm"]:
        params[f"{name}.weight"], params[f"{name}.bias"] = jnp.ones(WIDTH), jnp.zeros(WIDTH)

    def loss(params):
        def linear(name, h):
            return h @ params[f"{name}.weight"].T + params[f"{name}.bias"]

        def norm(name, h):
            centred = h - h.mean(-1, keepdims=True)
            scale = jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
            return centred * scale * params[f"{name}.weight"] + params[f"{name}.bias"]

        h = params["words.weight"][x] + params["places.weight"]
        past = jnp.tril(jnp.ones((TOKENS, TOKENS), bool))
        for i in range(LAYERS):
            parts = linear(f"blocks.{i}.qkv", norm(f"blocks.{i}.norm1", h))
            q, k, v = parts.reshape(BATCH, TOKENS, 3, HEADS, WIDTH // HEADS).transpose(2, 0, 3, 1, 4)
            scores = jnp.where(past, q @ k.swapaxes(-1, -2) / math.sqrt(WIDTH // HEADS), -jnp.inf)
            mixed = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(BATCH, TOKENS, WIDTH)
            h = h + linear(f"blocks.{i}.out", mixed)
            up = linear(f"blocks.{i}.up", norm(f"blocks.{i}.norm2", h))
            h = h + linear(f"blocks.{i}.down", jax.nn.gelu(up))
        scores = jax.nn.log_softmax(linear("head", norm("norm", h)))
        return -jnp.mean(jnp.take_along_axis(scores, y[..., None], -1))

    @jax.jit
    def update(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        return value, *adam(jax, params, gradient, state, lr=RATE, decay=DECAY)

    now = [params, zeros_like(jax, params)]

    def step():
        value, *now[:] = update(*now)
        return float(jax.block_until_ready((value, now))[0])

    return step


def _flops():
    """Of the products, forward and both gradients."""
    dense_size = LAYERS * 12 * WIDTH * WIDTH + WORDS * WIDTH
    attention = LAYERS * 2 * TOKENS * WIDTH
    return 6 * BATCH * TOKENS * (dense_size + attention)


PROBLEM = Problem(
    name="gpt",
    what=f"training step of a GPT: {LAYERS} layers, width {WIDTH}, {BATCH}x{TOKENS} tokens, AdamW",
    makers={**torch_style(_build), "JAX jit": _jax},
    aim=1.1,
    share=0.8,
    flops=_flops(),
    tolerance=1e-4,
)
