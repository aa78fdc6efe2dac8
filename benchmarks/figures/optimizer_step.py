"""An optimiser's step over many small tensors: the cost of updating one by one, or all at once."""

import numpy as np

import pydiff

from ..measure import interleaved
from ..peers import fastest, torch, torch_by_threads
from ..result import Result

PARAMETERS, SIZE = 1000, 64


def optimizer_step():
    """Adam's step over 1,000 parameters of 64 floats, gradients given."""
    peers = {"pydiff": _step(pydiff)}
    if torch:
        peers |= torch_by_threads("PyTorch eager", _step(torch))
        peers |= torch_by_threads("PyTorch with foreach", _step(torch, foreach=True))
        peers |= torch_by_threads("PyTorch with fused Adam", _step(torch, fused=True))
    times = {label: t.median for label, t in interleaved(peers, at_least=0.05).items()}
    notes = [
        f"{label} / pydiff: {fastest(times, label) / times['pydiff']:.2f} x"
        for label in ("PyTorch with foreach", "PyTorch with fused Adam")
        if fastest(times, label) > 0
    ]
    return Result(
        name="optimizer_step",
        what=f"Adam's step over {PARAMETERS:,} parameters of {SIZE} floats, gradients given",
        figure=fastest(times, "PyTorch eager") / times["pydiff"],
        unit="x",
        limit=5,
        at_least=True,
        meaning="faster PyTorch eager / pydiff",
        times=times,
        notes=notes,
    )


def _step(library, **options):
    rng = np.random.default_rng(0)
    parameters = [library.nn.Parameter(library.tensor(v)) for v in rng.standard_normal((PARAMETERS, SIZE), dtype=np.float32)]
    for parameter, grad in zip(parameters, rng.standard_normal((PARAMETERS, SIZE), dtype=np.float32)):
        parameter.grad = library.tensor(grad)
    return library.optim.Adam(parameters, lr=1e-3, **options).step
