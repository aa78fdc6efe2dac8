"""Memory over a long training run."""

from .. import child
from ..result import Result, number

STEPS = 10_000

CODE = """
import json, os, sys, time
sys.modules["torch"] = sys.modules["jax"] = None  # not imported: their memory is not pydiff's
import pydiff
from benchmarks.problems import PROBLEMS

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

step = PROBLEMS["{problem}"].makers["{contestant}"]()
samples = []
for n in range(1, {steps} + 1):
    step()
    if n == {steps} // 20:  # the compiler, which works beside the first steps, is loaded and done before the level is taken
        for _ in range(600):
            time.sleep(0.1)
            if not pydiff._C.kernel_stats()["queued"]:
                break
    if n % ({steps} // 40) == 0:
        samples.append([n, resident()])
print(json.dumps(samples))
"""


def growth(problem, contestant="pydiff", steps=STEPS):
    """(bytes by which resident memory rises above its level after a tenth of the steps, that level, what it is at the end)."""
    samples = child.run(CODE.format(problem=problem, contestant=contestant, steps=steps))
    level = max(size for n, size in samples if n <= steps // 10)
    top = max(size for n, size in samples if n > steps // 10)
    return max(0, top - level), level, samples[-1][1]


def memory():
    """Resident memory over 10,000 training steps: how far it rises above its level after 1,000."""
    rise, level, last = growth("mlp_small")
    return Result(
        name="memory",
        what=f"resident memory of the training step of `mlp_small`, {STEPS:,} times",
        figure=rise / 1e6,
        unit="MB",
        limit=1,
        meaning=f"highest after step {STEPS // 10:,} less highest before it",
        notes=[f"resident after {STEPS // 10:,} steps {number(level / 1e6)} MB, at the end {number(last / 1e6)} MB"],
    )
