"""What the machine can do: the rates that floors are reckoned with."""

import time

import numpy as np


def measure():
    """{"copy": bytes a second, read and written; "float32 products", "float64 products": FLOP a second}."""
    x = np.ones(32 << 20, dtype=np.uint8)
    y = np.empty_like(x)
    rates = {"copy": 2 * x.nbytes / _best(lambda: np.copyto(y, x))}
    for real in ("float32", "float64"):
        a = np.ones((1024, 1024), dtype=real)
        rates[f"{real} products"] = 2 * 1024**3 / _best(lambda: a @ a)
    return rates


def _best(function, repeats=15):
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)
