"""Time on a device: batches of calls between two moments at which the device has nothing to do.

A batch lasts at least 50 ms, so that waiting for its end is no part of the figure. Peers take turns, as in
`benchmarks.measure`, and the median over the rounds counts.
"""

import time

from ..measure import interleaved


def measure(peers, at_least=0.05, rounds=7):
    """`peers`: label -> (step, wait). Returns label -> dict: seconds a call (median, best, worst), calls a batch."""
    calls, batches = {}, {}
    for label, (step, wait) in peers.items():
        for _ in range(3):
            step()
        calls[label] = _calls_to_fill(step, wait, at_least)
        batches[label] = _batch(step, wait, calls[label])
    timings = interleaved(batches, rounds=rounds, warmup=1, at_least=0)
    return {
        label: {
            "median": t.median / calls[label],
            "best": t.best / calls[label],
            "worst": max(t.rounds) / calls[label],
            "calls": calls[label],
            "rounds": rounds,
        }
        for label, t in timings.items()
    }


def _batch(step, wait, n):
    def batch():
        for _ in range(n):
            step()
        wait()

    return batch


def _calls_to_fill(step, wait, seconds):
    n = 1
    while True:
        batch = _batch(step, wait, n)
        wait()
        start = time.perf_counter()
        batch()
        took = time.perf_counter() - start
        if took >= seconds or n >= 1 << 20:
            return n
        n = max(2 * n, min(16 * n, int(1.2 * n * seconds / max(took, 1e-9))))
