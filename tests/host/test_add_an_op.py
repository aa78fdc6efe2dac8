"""What a new elementwise op costs: one line of a table.

In a scratch copy of the sources one row is added and the extension built, from the kept objects where nothing
changed. The op is then a function, a method, documented, fused, batched, differentiable, and tested.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = "csrc/ops/rows/functions.def"
ROW = (
    "ROW1(soft_clip, kFloats, Same, x / (X(1) + abs(x)), (D(square(reciprocal(1.0 + abs(x))))), 6, "
    '"x / (1 + np.abs(x))", "0.1,9", "A made-up function: x over 1 + |x|.")\n'
)

LOOK = """
import numpy as np
import pydiff as pd
from pydiff.testing import check_grads

(row,) = [r for r in pd._C.op_table() if r["name"] == "soft_clip"]
assert row["needs_in"][0] and not row["needs_out"] and row["diff"] == ["yes"]
x = pd.linspace(-4, 4, 1001)
n = x.numpy().astype(np.float64)
twin = n / (1 + np.abs(n))
for y in (pd.soft_clip(x), x.soft_clip(), x.clone().soft_clip_()):
    assert np.abs(y.numpy() - twin).max() < 4e-7 * 4
assert "made-up" in pd.soft_clip.__doc__ and "made-up" in pd.Tensor.soft_clip.__doc__
check_grads(pd.soft_clip, order=2)(pd.tensor([-1.0, 0.5, 2.5], dtype=pd.float64))
chain = (pd.soft_clip(x * 2) + 1).tanh().sum()
text = pd._C.explain([chain])
assert pd.soft_clip(pd.ones(2, dtype=pd.int64)).dtype == pd.float32
before = pd._C.exec_stats()
chain.item()
after = pd._C.exec_stats()
assert after["kernels"] - before["kernels"] == 1 and after["natives"] == before["natives"], (before, after)
print(text)
"""


def kept_objects(scratch):
    """A copy of the object cache that the scratch build takes for its own."""
    old, new = ROOT / "build" / "objects", scratch / "build" / "objects"
    if not old.is_dir():
        return new
    shutil.copytree(old, new)  # with the times of the files
    for note in new.rglob("*.cmd"):
        times = note.stat()
        note.write_text(note.read_text().replace(str(old), str(new)))
        os.utime(note, ns=(times.st_atime_ns, times.st_mtime_ns))
    return new


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_new_op_is_one_line(tmp_path):
    if not shutil.which(os.environ.get("CXX", "g++")):
        pytest.skip("no C++ compiler")
    for folder in ("csrc", "pydiff", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for file in ("setup.py", "pyproject.toml"):
        shutil.copy2(ROOT / file, tmp_path / file)
    objects = kept_objects(tmp_path)
    before = (tmp_path / TABLE).read_text()
    (tmp_path / TABLE).write_text(before + ROW)
    assert ROW.count("\n") == 1

    env = dict(os.environ, PYTHONPATH=str(tmp_path), PYDIFF_BUILD_DIR=str(objects))
    env.pop("PYDIFF_SANITIZE", None)

    def run(*command):
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    run("setup.py", "-q", "build_ext", "--inplace")
    explained = run("-W", "error", "-c", LOOK)
    kernel = [line for line in explained.splitlines() if "soft_clip" in line]
    assert kernel, explained
    for other in ("mul", "tanh"):
        assert other in explained
    # and it has its tests
    report = run("-m", "pytest", "-q", "tests/device/test_op_table.py", "-k", "soft_clip")
    assert int(report.rsplit(" passed", 1)[0].split()[-1]) >= 6, report
