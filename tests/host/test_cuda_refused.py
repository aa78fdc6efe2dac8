"""Kernels that the compiler does not take: processes of their own on the stand-in, which refuses what it is told to."""

import os
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in compiles kernels with g++")

COMMON = """
import os, re, warnings
import numpy as np
import pydiff as pd
from pydiff import _C
pd.set_default_device("cuda-host")

def f(x):
    return (x * 2 + 1).tanh() - x.exp()

def refuse(what):
    os.environ["PYDIFF_CUDA_HOST_REFUSE"] = what

x = pd.tensor(np.linspace(-1, 1, 50, dtype="f"))
want = f(x.cpu()).numpy()
(fused,) = _C.cuda_texts([f(x)])
name = re.search(r"PD_KERNEL (pd_\\w+)", fused)[1]
kernels = lambda: _C.exec_stats()["kernels"]
"""


def run(program, **environment):
    environment = {**os.environ, "PYDIFF_CACHE_DIR": "", "PYDIFF_FUSE": "on", **environment}  # nothing is compiled already
    done = subprocess.run([sys.executable, "-c", COMMON + program], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def test_operations_run_one_by_one_with_one_warning():
    errors = run("""
refuse(name)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    before = kernels()
    np.testing.assert_array_equal(f(x).numpy(), want)
    assert kernels() - before == 5, kernels() - before
    np.testing.assert_array_equal(f(x).numpy(), want)  # the same plan
    _C.clear_plans()
    np.testing.assert_array_equal(f(x).numpy(), want)  # another one
assert [w.category for w in seen] == [RuntimeWarning]
text = str(seen[0].message)
assert re.match(rf"\\[cuda\\] kernel {name} does not compile for sm_\\d+a?; got .*HOST_REFUSE.*; try PYDIFF_DEBUG=4", text, re.S), text
assert text.endswith("; its operations run each in a kernel of its own")
""", PYDIFF_DEBUG="4")  # fmt: skip
    assert "PD_KERNEL pd_" in errors.split("does not compile:")[1]


def test_one_operation_that_does_not_compile_is_an_error():
    run("""
refuse("PD_KERNEL pd_")
for _ in range(2):
    try:
        f(x).numpy()
    except RuntimeError as error:
        assert re.match(r"\\[cuda\\] kernel pd_\\w+ does not compile for sm_\\d+a?; got .*; try PYDIFF_DEBUG=4", str(error), re.S), error
    else:
        raise AssertionError("it compiled")
refuse("")
np.testing.assert_array_equal(f(x).numpy(), want)  # what failed is forgotten
""")


def test_a_warning_that_is_an_error():
    run("""
warnings.simplefilter("error")
refuse(name)
y = f(x)
try:
    y.numpy()
except RuntimeWarning as error:
    assert name in str(error)
else:
    raise AssertionError("no warning")
np.testing.assert_array_equal(y.numpy(), want)
""")


def test_a_graph_whose_kernels_do_not_compile_is_not_made():
    """The plan runs on as it did."""
    run("""
def g():
    a = (x.sum() + x).softmax(0).argmax(0) + x
    return (a - a.sum(0)).cumsum(0).softmax(0).numpy()

def replays(runs):
    before = _C.exec_stats()["graph_replays"]
    for _ in range(runs):
        np.testing.assert_array_equal(g(), first)
    return _C.exec_stats()["graph_replays"] - before

first = g()
refuse("PdParams* __restrict__ where")
assert replays(30) == 0
refuse("")
_C.clear_plans()
assert replays(30) > 0
""")
