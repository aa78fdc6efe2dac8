"""Memory over a long training run."""

from .. import child
from ..result import Result, number

STEPS, EVERY, SETTLED = 10_000, 250, 1_000

CODE = f"""
import json, os, sys, time
sys.modules["torch"] = sys.modules["jax"] = None  # not imported: their memory is not pydiff's
import pydiff
from benchmarks.problems import PROBLEMS

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

step = PROBLEMS["mlp_small"].makers["pydiff"]()
samples = []
for n in range(1, {STEPS} + 1):
    step()
    if n == {SETTLED} // 2:  # the compiler, which works beside the first steps, is loaded and done before the level is taken
        for _ in range(600):
            time.sleep(0.1)
            if not pydiff._C.kernel_stats()["queued"]:
                break
    if n % {EVERY} == 0:
        samples.append([n, resident()])
print(json.dumps(samples))
"""


def memory():
    """Resident memory over 10,000 training steps: how far it rises above its level after 1,000."""
    samples = child.run(CODE)
    level = max(size for n, size in samples if n <= SETTLED)
    top = max(size for n, size in samples if n > SETTLED)
    last = samples[-1][1]
    return Result(
        name="memory",
        what=f"resident memory of the training step of `mlp_small`, {STEPS:,} times",
        figure=max(0.0, (top - level) / 1e6),
        unit="MB",
        limit=1,
        meaning=f"highest after step {SETTLED:,} less highest before it",
        notes=[f"resident after {SETTLED:,} steps {number(level / 1e6)} MB, at the end {number(last / 1e6)} MB"],
    )
