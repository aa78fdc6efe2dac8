"""The first call of a function whose kernels exist nowhere: nothing may wait for a compiler."""

import statistics
import tempfile

from .. import child
from ..result import Result, number

SIZES = (1_000, 100_000, 1_000_000, 10_000_000)

# Both libraries meet the function for the first time, in a process in which each has computed twenty others: as in
# a program that is at work, where the first use of a library (its code read from disk, threads, BLAS) is long past.
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

def other(m, y, k):
    for i in range(k + 2):
        y = m.sin(y) * 2 + y if i % 2 else y / (1 + y.sum(axis=1, keepdims=True))
    return y

def measure(m, x, look):
    small = look(m.ones((8, 8)))
    for k in range({others}):
        look(other(m, small, k))
    start = time.perf_counter()
    result = look(function(m, x))
    first = time.perf_counter() - start
    times = []
    for _ in range(5):
        start = time.perf_counter()
        look(function(m, x))
        times.append(time.perf_counter() - start)
    return result, first, sorted(times)[2]

def look(t):
    t.numpy()
    return t

function = {function}
x = np.random.default_rng(0).standard_normal({size}, dtype=np.float32)
result, first, _ = measure(pydiff, pydiff.tensor(x), look)
expected, other_first, other_again = measure(np, x, lambda array: array)
assert np.allclose(result.numpy(), expected, rtol=1e-4, atol=1e-6)
print(json.dumps([first, other_first, other_again]))
"""


def _measure(function, size, others):
    """Medians over fresh processes: pydiff's first call, NumPy's first call, NumPy's later calls."""
    code = CODE.format(function=function, size=size, others=others)
    runs = []
    for _ in range(7):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(child.run(code, PYDIFF_CACHE_DIR=folder, PYDIFF_JIT="background"))
    return tuple(statistics.median(column) for column in zip(*runs))


def first_call():
    """First call of a new function with an empty cache, against NumPy op by op."""
    times, ratios, later, fresh = {}, {}, {}, {}
    for function in ("chain", "rows"):
        for size in SIZES:
            case = f"{function} of {size:,}"
            first, other_first, other_again = _measure(function, size, others=20)
            ratios[case], later[case] = first / other_first, first / other_again
            times[f"pydiff, {case}"], times[f"NumPy, {case}"] = first, other_first
            first, other_first, _ = _measure(function, size, others=0)
            fresh[case] = first / other_first
    return Result(
        name="first_call",
        what="first call of a new function in a process at work, empty cache; the worst of two functions and four sizes",
        figure=max(ratios.values()),
        unit="x",
        limit=2,
        meaning="pydiff's first call / NumPy's first call, op by op",
        times=times,
        notes=[
            _listed(ratios),
            "against NumPy's later calls: " + _listed(later),
            "both in a process that has done nothing before: " + _listed(fresh),
        ],
    )


def _listed(ratios):
    return "; ".join(f"{case}: {number(ratio)} x" for case, ratio in ratios.items())
