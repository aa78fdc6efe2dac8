"""Random programs on a CUDA device and on the CPU: the same bits of results and of gradients.

Elementwise work, movement and reductions follow one definition everywhere, and of these the programs of tests/fuzz are
drawn here. Products and running sums have an order of their own on a CUDA device; what sorts or finds gives the same
values and is tested beside its kernels. On the stand-in, PYDIFF_CUDA_HOST_ORDER and PYDIFF_CUDA_HOST_GUARD make more of these.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
from oracle import array, rows, same_bits

import pydiff as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import fuzz_ops  # noqa: E402
from fuzz.program import Program  # noqa: E402

SAME = {row["name"] for row in rows()} | set(
    "number cast lerp addcmul clamp nan_to_num sum sum_all mean var_std amax_amin any_all count_nonzero logsumexp softmax diff "
    "minus_its_largest several normalised counted bound permute reshape flip roll rot90 tile expand squeeze unsqueeze movedim "
    "narrow split unbind diagonal tril_triu pad cat_stack masked_fill where_positive silu softplus elu hardswish normalisation".split()
)
TABLE = [e for e in fuzz_ops.TABLE if e.name in SAME]


@pytest.fixture(autouse=True)
def needs_cuda(device):
    if not device.startswith("cuda"):
        pytest.skip("of CUDA devices: --device cuda-host")


def outcomes_on(where, program):
    before = pd.get_default_device()
    pd.set_default_device(where)
    try:
        return fuzz_ops.outcomes(program)
    finally:
        pd.set_default_device(before)


def compare(seed, number, device):
    before = pd.get_default_device()
    pd.set_default_device("cpu")  # where programs are drawn, nothing is computed
    try:
        program = Program(np.random.default_rng([seed, number, 5]), TABLE, steps=1 + number % 6)
    finally:
        pd.set_default_device(before)
    with np.errstate(all="ignore"):
        here, there = outcomes_on("cpu", program), outcomes_on(device, program)
    assert here.keys() == there.keys() and here
    for name in here:
        try:
            same_bits(there[name], here[name], name)
        except AssertionError as error:
            raise AssertionError(f"program {number} (--seed {seed}):\n{program}\n{error}") from None


@pytest.mark.smoke
@pytest.mark.parametrize("part", range(4))
def test_random_programs(part, seed, device):
    for number in range(15 * part, 15 * part + 15):
        compare(seed, number, device)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_many_random_programs(part, seed, device):
    for number in range(1000 + 50 * part, 1050 + 50 * part):
        compare(seed, number, device)


def test_the_table_is_there():
    assert len(TABLE) >= 90 and np.isfinite(array(pd.ones(1))).all()
