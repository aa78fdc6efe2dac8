"""The first call of a function whose kernels exist nowhere: nothing may wait for a compiler."""

import statistics
import tempfile

from .. import child
from ..result import Result, number

SIZES = (1_000, 100_000, 1_000_000, 10_000_000)

# Each function is new to the process and to the disk cache; one other function has run before, so that
# what belongs to the first use of the library itself (threads, BLAS) is not part of it.
CODE = """
import json, time
import numpy as np
import pydiff

def chain(m, x):
    return 0.5 * x * (1 + m.tanh(0.79788 * (x + 0.044715 * (x * x * x))))

def rows(m, x):
    x = x.reshape(-1, 100)
    e = m.exp(x - m.max(x, axis=1, keepdims=True)) if m is np else m.exp(x - m.amax(x, axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)

function = {function}
x = np.random.default_rng(0).standard_normal({size}, dtype=np.float32)
ours = pydiff.tensor(x)
(pydiff.ones(8) + 1).numpy()
start = time.perf_counter()
result = function(pydiff, ours).numpy()
first = time.perf_counter() - start
times = []
for _ in range(5):
    start = time.perf_counter()
    expected = function(np, x)
    times.append(time.perf_counter() - start)
assert np.allclose(result, expected, rtol=1e-4, atol=1e-6)
print(json.dumps([first, sorted(times)[2], times[0]]))
"""


def first_call():
    """First call of a new function in a fresh process with an empty cache, against NumPy op by op."""
    times, ratios, cold = {}, {}, {}
    for function in ("chain", "rows"):
        for size in SIZES:
            runs = []
            for _ in range(5):
                with tempfile.TemporaryDirectory() as folder:
                    code = CODE.format(function=function, size=size)
                    runs.append(child.run(code, PYDIFF_CACHE_DIR=folder, PYDIFF_JIT="background"))
            first, other, other_first = (statistics.median(column) for column in zip(*runs))
            ratios[f"{function} of {size:,}"] = first / other
            cold[f"{function} of {size:,}"] = first / other_first
            times[f"pydiff, {function} of {size:,}"] = first
            times[f"NumPy, {function} of {size:,}"] = other
    return Result(
        name="first_call",
        what="first call of a new function, empty cache; the worst of two functions and four sizes",
        figure=max(ratios.values()), unit="x", limit=2, meaning="pydiff's first call / NumPy op by op, warm", times=times,
        notes=[
            "; ".join(f"{case}: {number(r)} x" for case, r in ratios.items()),
            "against NumPy's own first evaluation in the process: "
            + "; ".join(f"{case}: {number(r)} x" for case, r in cold.items()),
        ],
    )
