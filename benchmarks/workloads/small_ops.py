"""Many operations on few elements: the cost of the framework itself, forward and backward."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import fastest, torch, torch_by_threads
from ..result import Result


def small_ops():
    """100 times y = tanh(y * w + w) on 64 floats and its gradient, steady state."""
    peers = {"pydiff": _step(pydiff)}
    if torch:
        peers |= torch_by_threads("PyTorch eager", _step(torch))
    times = {label: t.median for label, t in interleaved(peers, at_least=0.05).items()}
    other = fastest(times, "PyTorch eager")
    return Result(
        name="small_ops",
        what="100 × y = tanh(y·w + w) on 64 floats, forward and backward, steady state",
        figure=other / times["pydiff"],
        unit="x",
        limit=4,
        at_least=True,
        meaning="faster PyTorch eager / pydiff",
        times=times,
    )


def _step(library):
    rng = np.random.default_rng(0)
    x = library.tensor(rng.standard_normal(64, dtype=np.float32))
    w = library.tensor(rng.standard_normal(64, dtype=np.float32), requires_grad=True)

    def step():
        w.grad = None
        y = x
        for _ in range(100):
            y = library.tanh(y * w + w)
        y.sum().backward()
        return w.grad.numpy()

    return step
