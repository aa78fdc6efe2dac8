"""CUDA graphs where something is scarce or fails: processes of their own on the stand-in.

What graphs compute is tested in tests/device/test_cuda_graphs.py.
"""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in compiles kernels with g++")

COMMON = """
import numpy as np
import pydiff as pd
from pydiff import _C, cuda, nn
from pydiff._core import evaluate
pd.set_default_device("cuda-host")

def steps(x):
    for _ in range(3):
        x = x - x.mean(0, keepdim=True) * 2
        x = x / (x.sum(1, keepdim=True) + 100)
    return x

def same(a, b):
    np.testing.assert_array_equal(a, b)

def stats():
    s = _C.exec_stats()
    return s["graphs"], s["graph_replays"]

rng = np.random.default_rng(0)
"""


def run(program, **environment):
    done = subprocess.run([sys.executable, "-c", COMMON + program], capture_output=True, text=True, timeout=300,
                          env={**os.environ, **environment})  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_memory_that_plans_keep_is_there_for_others():
    run("""
x = pd.tensor(rng.standard_normal((1000, 1500)).astype("f"))  # 6 MB
want = steps(x.cpu()).numpy()
for _ in range(6):
    same(steps(x).numpy(), want)
assert stats() == (1, 3), stats()
kept = cuda.memory_allocated() - x.nbytes
assert kept > x.nbytes  # temporaries
rest = 48 * 2**20 - cuda.memory_allocated()
big = pd.zeros((rest + kept // 2) // 4) + 1  # has room only where the plan's memory was
evaluate([big])
del big
for _ in range(6):
    same(steps(x).numpy(), want)
assert stats()[0] == 2 and stats()[1] >= 7, stats()
try:
    evaluate([pd.zeros(20 * 2**20) + 1])
except MemoryError:
    pass
else:
    raise AssertionError("memory without an end")
same(steps(x).numpy(), want)
""", PYDIFF_CUDA_HOST_MEMORY=str(48 << 20))  # fmt: skip


def test_no_room_for_what_a_plan_would_keep():
    """Its temporaries fit while it runs; then it runs as before."""
    run("""
x = pd.tensor(rng.standard_normal((1000, 1500)).astype("f"))
want = steps(x.cpu()).numpy()
cuda.reset_peak_memory_stats()
same(steps(x).numpy(), want)
held = pd.zeros((48 * 2**20 - cuda.max_memory_allocated()) // 512 * 128) + 1  # not even the parameters fit
evaluate([held])
for _ in range(8):
    same(steps(x).numpy(), want)
assert stats() == (0, 0), stats()
del held
for _ in range(80):
    same(steps(x).numpy(), want)
assert stats()[1] >= 1, stats()
""", PYDIFF_CUDA_HOST_MEMORY=str(48 << 20))  # fmt: skip


def test_a_graph_that_the_driver_refuses():
    errors = run("""
x = pd.tensor(rng.standard_normal((40, 30)).astype("f"))
want = steps(x.cpu()).numpy()
for _ in range(8):
    same(steps(x).numpy(), want)
assert stats() == (0, 0), stats()
assert cuda.memory_allocated() == (x.nbytes + 511) // 512 * 512
""", PYDIFF_CUDA_HOST_FAIL="cuGraphInstantiate", PYDIFF_DEBUG="1")  # fmt: skip
    assert errors.count("not captured") == 1 and "cuGraphInstantiate failed; got CUDA_ERROR_OUT_OF_MEMORY" in errors


def test_addresses_that_repeat_need_no_copies():
    """Freed memory is handed out again at once, as by the driver: the fifth run is a graph."""
    run("""
pd.manual_seed(1)
model = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.LayerNorm(24), nn.Linear(24, 8), nn.LayerNorm(8)).eval()
x = pd.tensor(rng.standard_normal((16, 8)).astype("f"))
results = []
with pd.no_grad():
    for _ in range(8):
        results.append(model(x).numpy().copy())
for r in results:
    same(r, results[0])
assert 1 <= stats()[0] <= 3 and stats()[1] >= 2, stats()
""", PYDIFF_CUDA_HOST_QUARANTINE="0")  # fmt: skip


def test_a_plan_that_graphs_do_not_serve_gives_up():
    """Addresses that are in the graph never repeat soon enough, and are of too much memory to be copied."""
    run("""
table = pd.tensor(rng.standard_normal((1 << 19, 10)).astype("f"))  # 20 MB
places = [pd.tensor(rng.integers(0, 1 << 19, 4)) for _ in range(40)]
want = [table.numpy()[p.numpy()] * 2 + 1 for p in places]
start = None
for k in range(90):
    rows = table[places[k % 40]]
    same((steps(rows) * 0 + rows * 2 + 1).numpy(), want[k % 40])
    if k == 1:
        start = cuda.memory_allocated()
    if k == 50:
        assert cuda.memory_allocated() > start
assert stats() == (0, 0), stats()
assert cuda.memory_allocated() == start
""")


def test_two_devices():
    run("""
data = rng.standard_normal((40, 30)).astype("f")
want = steps(pd.tensor(data, device="cpu")).numpy()
tensors = [pd.tensor(data, device=f"cuda:{k}") for k in range(2)]
for _ in range(6):
    for x in tensors:
        same(steps(x).numpy(), want)
assert stats() == (2, 6), stats()
cuda.empty_cache(1)
for x in tensors:
    same(steps(x).numpy(), want)
assert stats() == (2, 7), stats()
""", PYDIFF_CUDA_HOST_DEVICES="2")  # fmt: skip


def test_a_forked_child_drops_what_it_inherited():
    run("""
import os, warnings
x = pd.tensor(rng.standard_normal((40, 30)).astype("f"))
for _ in range(6):
    want = steps(x).numpy()
warnings.simplefilter("ignore")
child = os.fork()
if child == 0:
    status = 1
    try:
        _C.clear_plans()
        same(steps(pd.tensor(np.ones((3, 4), "f"), device="cpu")).shape, (3, 4))
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
same(steps(x).numpy(), want)
""")
