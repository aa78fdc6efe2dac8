"""What `import pydiff` adds to a program that imports NumPy."""

import statistics

from .. import child
from ..peers import torch
from ..result import Result

CODE = """
import json, time
start = time.perf_counter()
import numpy
middle = time.perf_counter()
import {name}
end = time.perf_counter()
print(json.dumps([middle - start, end - middle]))
"""


def import_time():
    """`import pydiff` after `import numpy`, in fresh processes."""
    names = ["pydiff"] + (["torch"] if torch else [])
    seen = {name: [] for name in names}
    for turn in range(12):
        for name in names:
            pair = child.run(CODE.format(name=name), PYTHONDONTWRITEBYTECODE="")
            if turn:  # the first one may read the disk, and writes the byte code that an installation has
                seen[name].append(pair)
    times = {"import numpy": statistics.median(a for a, _ in seen["pydiff"])}
    for name in names:
        times[f"import {name}"] = statistics.median(b for _, b in seen[name])
    return Result(
        name="import_time",
        what="`import pydiff` where NumPy is imported already",
        figure=times["import pydiff"] * 1e3,
        unit="ms",
        limit=100,
        meaning="time over `import numpy`",
        times=times,
    )
