"""What a problem is: the same mathematics in each framework, with what it is held to."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Problem:
    """One row of the comparison.

    Attributes:
        name: as on the command line.
        what: one line on what a step computes.
        makers: contestant -> function without arguments that imports its framework, makes inputs and weights (the same
            numbers for everyone) and returns `step`. A step does the whole work and returns numbers that tell whether
            it is right, computed when it returns.
        aim: how many times faster than the fastest other contestant pydiff is to be.
        share: of the floor's speed, at which pydiff is fast enough whatever the others are; None where that is not asked.
        flops, bytes: the least that a step must compute and move. The floor is the larger of their times, at the
            machine's rate of matrix products and of copying.
        alone: maker of pydiff's step that computes the function without its derivative, where that is of interest.
        small: whether PyTorch may be faster with one thread, and is tried so too.
        tolerance: the largest relative difference of the numbers of two contestants.
        real: the floating type, "float32" or "float64".
    """

    name: str
    what: str
    makers: dict[str, Callable] = field(default_factory=dict)
    aim: float = 2.0
    share: float | None = None
    flops: float = 0.0
    bytes: float = 0.0
    alone: Callable | None = None
    small: bool = False
    tolerance: float = 1e-5
    real: str = "float32"

    def floor(self, rates):
        """Seconds below which no step can be on a machine of these rates."""
        return max(self.flops / rates[f"{self.real} products"], self.bytes / rates["copy"])


def torch_style(build, compiles=True):
    """Makers of a step whose source is the same for every library with PyTorch's names.

    Arguments:
        build: called with the library and a compiler, which it may put around the model or the formula. Returns a function that
            does the work of a step and returns a tensor, or several.
        compiles: whether torch.compile can be expected to compile it.

    `pydiff.jit` is put around the whole step, as it stands.
    """

    def with_torch():
        import torch

        return _read(build(torch, as_is))

    def with_pydiff():
        import pydiff

        return _read(build(pydiff, as_is))

    def with_jit():
        import pydiff

        return _read(pydiff.jit(build(pydiff, as_is)))

    def compiled():
        import torch

        return _read(build(torch, torch.compile))

    makers = {"pydiff": with_pydiff, "pydiff.jit": with_jit, "PyTorch": with_torch, "torch.compile": compiled}
    return makers if compiles else {name: make for name, make in makers.items() if name != "torch.compile"}


def function_alone(build):
    """`Problem.alone`, of a `build` that takes `derivative=False`."""

    def with_jit():
        import pydiff

        return _read(pydiff.jit(build(pydiff, as_is, derivative=False)))

    return with_jit


def _read(step):
    def numbers():
        result = step()
        return [t.detach().numpy() for t in (result if isinstance(result, (list, tuple)) else [result])]

    return numbers


def as_is(function):
    """In the place of a compiler."""
    return function


def load(library, model, weights):
    """NumPy's weights, by name, into a model."""
    model.load_state_dict({name: library.tensor(value) for name, value in weights.items()}, strict=False)
    return model


def dense(rng, names_and_sizes):
    """Weights `(outputs, inputs)` and biases of linear layers, by name; uniform, as PyTorch begins them."""
    weights = {}
    for name, (outputs, inputs) in names_and_sizes.items():
        bound = inputs**-0.5
        weights[f"{name}.weight"] = rng.uniform(-bound, bound, (outputs, inputs)).astype("float32")
        weights[f"{name}.bias"] = rng.uniform(-bound, bound, outputs).astype("float32")
    return weights


def adam(jax, params, gradient, state, *, lr, decay=0.0, betas=(0.9, 0.999), eps=1e-8):
    """One step of Adam (AdamW where `decay` is given) over a tree, as PyTorch computes it."""
    tree, jnp = jax.tree_util.tree_map, jax.numpy
    m, v, t = state
    t = t + 1
    m = tree(lambda m, g: betas[0] * m + (1 - betas[0]) * g, m, gradient)
    v = tree(lambda v, g: betas[1] * v + (1 - betas[1]) * g * g, v, gradient)
    rate, root = lr / (1 - betas[0] ** t), jnp.sqrt(1 - betas[1] ** t)
    params = tree(lambda p, m, v: p * (1 - lr * decay) - rate * m / (jnp.sqrt(v) / root + eps), params, m, v)
    return params, (m, v, t)


def zeros_like(jax, params):
    """The state with which `adam` begins."""
    zeros = jax.tree_util.tree_map(jax.numpy.zeros_like, params)
    return zeros, zeros, jax.numpy.float32(0)
