"""Timing several functions against each other on a machine that may be busy.

Peers take turns within each round, so a slow moment of the machine hits all of them; what is reported
is the median over the rounds.
"""

import gc
import statistics
import time
from dataclasses import dataclass, field


@dataclass
class Timing:
    """Seconds a call of one peer: one entry a round."""

    rounds: list = field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.rounds)

    @property
    def best(self):
        return min(self.rounds)


def interleaved(peers, rounds=15, warmup=3, at_least=0.02):
    """Time the functions of `peers` (label -> function) by turns.

    Arguments:
        peers: a function with an attribute `before` has that called, untimed, ahead of its turns.
        rounds: how often each is timed.
        warmup: calls of each before the first round, untimed. pydiff compiles in the background
            meanwhile, so a function is also called until `at_least` seconds have passed.
        at_least: seconds that one timing lasts; short functions are called several times.

    Returns label -> `Timing`.
    """
    calls = {}
    for label, function in peers.items():
        _before(function)
        for _ in range(warmup):
            function()
        calls[label] = _calls_to_fill(function, at_least)
    timings = {label: Timing() for label in peers}
    order = list(peers)
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for label in order:
                function, n = peers[label], calls[label]
                _before(function)
                # What the turn before left behind is not this peer's: another library's threads that spin for
                # a while yet, the scheduler's placement of them, its array that is freed first.
                time.sleep(0.02)
                function()
                start = time.perf_counter()
                for _ in range(n):
                    function()
                timings[label].rounds.append((time.perf_counter() - start) / n)
            order.append(order.pop(0))  # nobody is always the one after the slowest
    finally:
        if was_on:
            gc.enable()
    return timings


def _before(function):
    prepare = getattr(function, "before", None)
    if prepare:
        prepare()


def _calls_to_fill(function, seconds):
    n = 1
    while True:
        start = time.perf_counter()
        for _ in range(n):
            function()
        took = time.perf_counter() - start
        if took >= seconds or n >= 1 << 20:
            return n
        n = max(n * 2, int(n * seconds / took * 1.1) if took > 0 else n * 2)
