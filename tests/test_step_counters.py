"""What a step of the benchmarks' problems does, by counters that no clock decides: a lost fusion, a plan made again, a value
computed twice or a pass over memory too many fails here."""

import pytest

import pydiff as pd
from benchmarks.figures.memory import growth
from benchmarks.problems import PROBLEMS

# kernels and native operations of a step at most, written as an undecorated function and under pydiff.jit
MOST = {
    "chain": ((4, 0), (4, 0)),
    "mlp_small": ((8, 8), (7, 8)),
    "mlp": ((12, 10), (10, 10)),
    "gelu": ((1, 0), (1, 0)),
    "norm_softmax": ((1, 0), (1, 0)),
    "cnn": ((43, 19), (44, 19)),
    "gpt": ((83, 69), (81, 69)),
    "gmm": ((21, 5), (21, 5)),
    "bundle": ((6, 6), (6, 6)),
    "hand": ((45, 135), (41, 102)),
}
# Bytes read and written by all kernels of a step, in multiples of the least that the problem needs.
BYTES = {"gelu": 1.001, "norm_softmax": 1.001, "bundle": 8.0}


def counters():
    stats = pd._C.exec_stats()
    return {name: stats[name] for name in ("plans", "kernels", "natives")}


def warm(name, how):
    step = PROBLEMS[name].makers[how]()
    for _ in range(3):
        step()
    return step


@pytest.fixture(autouse=True)
def on_the_cpu(device):
    if device != "cpu":
        pytest.skip("counts of the CPU's plans")


@pytest.mark.parametrize("how", ["pydiff", "pydiff.jit"])
@pytest.mark.parametrize("name", MOST)
def test_kernels_of_a_step(name, how):
    step = warm(name, how)
    before = counters()
    step()
    done = {key: count - before[key] for key, count in counters().items()}
    kernels, natives = MOST[name][how == "pydiff.jit"]
    assert done["plans"] == 0
    assert 0 < done["kernels"] <= kernels and done["natives"] <= natives, done


@pytest.mark.parametrize("name", BYTES)
def test_bytes_of_a_step(name):
    step = warm(name, "pydiff")
    with pd.profiler.profile(lines=False) as p:
        step()
    moved = sum(e.bytes for e in p.events if e.kind in ("kernel", "product", "native"))
    assert PROBLEMS[name].bytes <= moved <= BYTES[name] * PROBLEMS[name].bytes


def test_batch_sizes_compile_nothing():
    """Kernels have no sizes: 50 batches, 50 plans, no kernel that the first did not need."""
    model = pd.nn.Sequential(pd.nn.Linear(8, 16), pd.nn.GELU(), pd.nn.LayerNorm(16), pd.nn.Linear(16, 3))

    def loss(batch):
        return pd.nn.functional.cross_entropy(model(pd.ones(batch, 8)), pd.zeros(batch, dtype=pd.int64)).item()

    loss(20)
    before = pd._C.kernel_stats()["kernels"]
    for batch in range(21, 71):
        loss(batch)
    assert pd._C.kernel_stats()["kernels"] == before


@pytest.mark.parametrize("how", ["pydiff", "pydiff.jit"])
@pytest.mark.parametrize("name, steps", [("mlp_small", 2_000)])
def test_a_long_run_holds_its_memory(name, steps, how):
    rise, _, _ = growth(name, how, steps)
    assert rise < 2e6


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["cnn", "gpt"])
def test_ten_thousand_steps_hold_their_memory(name):
    rise, level, _ = growth(name)
    assert rise < 0.02 * level
