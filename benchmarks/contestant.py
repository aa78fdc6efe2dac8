"""One contestant at one problem, in a process of its own: ``python -m benchmarks.contestant PROBLEM CONTESTANT``.

The contestant "alone" computes pydiff's function without its derivative. Reads commands from standard input and answers each with one line of JSON: ``first`` runs the first step and tells what it
took and gave, ``run SECONDS`` repeats steps for at least that long, ``memory`` tells the peak.
"""

import gc
import json
import sys
import time

import numpy as np

from .problems import PROBLEMS


def _memory(field):
    """Bytes of "VmRSS", what is resident, or "VmHWM", the most that ever was."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field))


def _summary(result):
    """A few numbers that stand for a result: the numbers themselves, or sums of a large array with varied weights."""
    flat = np.concatenate([np.ravel(np.asarray(part, dtype=np.float64)) for part in _parts(result)])
    if flat.size <= 16:
        return flat.tolist()
    weights = np.cos(np.arange(flat.size) * 0.7)
    return [float(flat.sum()), float(np.abs(flat).sum()), float(flat @ weights), float(np.sqrt((flat * flat).sum()))]


def _parts(result):
    return result if isinstance(result, (list, tuple)) else [result]


def serve(step, commands, answer):
    """Answer commands until there are no more."""
    before = _memory("VmRSS")
    for line in commands:
        command, *rest = line.split()
        if command == "first":
            start = time.perf_counter()
            result = step()
            took = time.perf_counter() - start
            values = [_summary(result), *(_summary(step()) for _ in range(4))]
            answer({"first": took, "values": values})
        elif command == "run":
            limit, n = float(rest[0]), 0
            gc.collect()
            gc.disable()
            start = time.perf_counter()
            while True:
                step()
                n += 1
                took = time.perf_counter() - start
                if took >= limit:
                    break
            gc.enable()
            answer({"seconds": took / n, "steps": n})
        elif command == "memory":
            answer({"peak": _memory("VmHWM") - before})


def main():
    problem, contestant = sys.argv[1:]
    out = sys.stdout
    sys.stdout = sys.stderr  # what a framework prints is no answer

    def answer(message):
        print(json.dumps(message), file=out, flush=True)

    step = PROBLEMS[problem].alone() if contestant == "alone" else PROBLEMS[problem].makers[contestant]()
    answer({"ready": True})
    serve(step, sys.stdin, answer)


if __name__ == "__main__":
    main()
