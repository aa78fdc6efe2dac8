"""A run that was cut off and resumed in another process is the run that was not."""

import doctest
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest

import pydiff as pd
from pydiff.train import Checkpoint

RUN = '''
import hashlib, json, random, sys
import numpy as np
import pydiff as pd

folder, first, last, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
pd.manual_seed(0 if first == 0 else 99)
random.seed(0 if first == 0 else 99)
np.random.seed(0 if first == 0 else 99)


class Scheduler:
    """Halves the rate every three steps."""

    def __init__(self, optimizer):
        self.optimizer, self.count = optimizer, 0

    def step(self):
        self.count += 1
        if self.count % 3 == 0:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.5

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Loader:
    """Batches in a shuffled order that it remembers."""

    def __init__(self):
        self.order, self.place, self.random = list(range(8)), 8, random.Random(4)

    def next(self):
        if self.place == 8:
            self.random.shuffle(self.order)
            self.place = 0
        self.place += 1
        return self.order[self.place - 1]

    def state_dict(self):
        return {"order": self.order, "place": self.place, "random": self.random.getstate()}

    def load_state_dict(self, state):
        self.order, self.place = state["order"], state["place"]
        self.random.setstate(state["random"])


class Centred(pd.nn.Module):
    """Takes a running mean away."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", pd.zeros(16))

    def forward(self, x):
        self.mean.mul_(0.9).add_(x.detach().mean(0) * 0.1)
        return x - self.mean


model = pd.nn.Sequential(pd.nn.Linear(4, 16), Centred(), pd.nn.ReLU(), pd.nn.Dropout(0.4), pd.nn.Linear(16, 1))
if kind == "adam":
    optimizer = pd.optim.Adam(model.parameters(), lr=0.05, amsgrad=True)
else:
    optimizer = pd.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler, loader, own, theirs = Scheduler(optimizer), Loader(), pd.Generator().manual_seed(5), np.random.default_rng(6)
data = pd.Generator().manual_seed(1)
x, y = pd.randn(8, 16, 4, generator=data), pd.randn(8, 16, 1, generator=data)
checkpoint = pd.train.Checkpoint(folder, model=model, optimizer=optimizer, scheduler=scheduler, loader=loader, own=own, theirs=theirs)
if first:
    assert checkpoint.restore()["step"] == first
losses = []
for step in range(first, last):
    k = loader.next()
    noise = random.random() + float(np.random.rand()) + theirs.random()
    loss = ((model(x[k] + pd.randn(16, 4, generator=own) * 0.1) - y[k]) ** 2).mean() * (1 + noise)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    losses.append(loss.item().hex())
checkpoint.save(last, {"loss": loss})
state = b"".join(t.numpy().tobytes() for t in model.state_dict().values())
slots = [t.numpy().tobytes() for s in optimizer.state_dict()["state"].values() for t in s.values() if isinstance(t, pd.Tensor)]
print(json.dumps([losses, hashlib.sha256(state + b"".join(slots)).hexdigest(), optimizer.param_groups[0]["lr"]]))
'''


def run(*arguments):
    done = subprocess.run([sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, kind):
    whole = run(tmp_path / "whole", 0, 11, kind)
    before = run(tmp_path / "parts", 0, 5, kind)
    after = run(tmp_path / "parts", 5, 11, kind)
    assert before[0] + after[0] == whole[0]
    assert after[1:] == whole[1:]


def parts():
    model = pd.nn.Linear(2, 1)
    return {"model": model, "optimizer": pd.optim.SGD(model.parameters(), lr=0.1)}


def test_the_last_and_the_best_are_kept(tmp_path):
    checkpoint = Checkpoint(tmp_path, keep=2, best="loss", **parts())
    assert checkpoint.restore() is None and checkpoint.best_step() is None and checkpoint.restore("best") is None
    for step, loss in enumerate([3.0, 1.0, float("nan"), 2.0, 1.5]):
        checkpoint.save(step * 10, {"loss": pd.tensor(loss)})
    assert checkpoint.steps() == [10, 30, 40] and checkpoint.best_step() == 10
    again = Checkpoint(tmp_path, keep=2, best="loss", **parts())
    assert again.best_step() == 10
    assert again.restore("best") == {"step": 10, "metrics": {"loss": 1.0}}
    assert again.restore(30)["step"] == again.restore(again.path(30))["step"] == 30
    again.save(50, {"loss": 0.5})
    assert again.steps() == [40, 50] and again.best_step() == 50
    with pytest.raises(KeyError, match=r"\[Checkpoint\] the metric that tells the best is missing; got \['accuracy'\]; try"):
        again.save(60, {"accuracy": 1.0})
    assert again.steps() == [40, 50]


def test_more_is_better_and_all_are_kept(tmp_path):
    checkpoint = Checkpoint(tmp_path, keep=None, best="accuracy", mode="max", **parts())
    for step, accuracy in enumerate([0.1, 0.9, 0.5]):
        checkpoint.save(step, {"accuracy": accuracy}, epoch=step, sampler=[1, 2])
    assert checkpoint.steps() == [0, 1, 2]
    assert checkpoint.restore("best") == {"step": 1, "metrics": {"accuracy": 0.9}, "epoch": 1, "sampler": [1, 2]}
    checkpoint.save(1, {"accuracy": 0.2})  # the same step again
    assert checkpoint.restore()["step"] == 1 and checkpoint.steps() == [0, 1, 2]


def test_going_on_from_an_earlier_step(tmp_path):
    checkpoint = Checkpoint(tmp_path, keep=2, best="loss", **parts())
    for step, loss in enumerate([3.0, 2.0, 1.0, 4.0, 5.0]):
        checkpoint.save(step, {"loss": loss})
    assert checkpoint.steps() == [2, 3, 4] and checkpoint.latest_step() == 4
    again = Checkpoint(tmp_path, keep=2, best="loss", **parts())
    assert again.restore(2)["step"] == 2
    again.save(3, {"loss": 0.5})
    assert again.steps() == [2, 3] and again.latest_step() == 3 == again.best_step()
    again.restore(2)
    again.save(1, {"loss": 0.7})
    assert again.steps() == [1] and again.restore()["step"] == 1
    (tmp_path / "latest").unlink()
    assert again.latest_step() == 1


def test_shards_are_removed_too(tmp_path):
    checkpoint = Checkpoint(tmp_path, keep=1, max_shard_size=20, **parts())
    for step in range(3):
        checkpoint.save(step)
        assert checkpoint.steps() == [step]
    assert all("step-00000002" in name or name == "latest" for name in os.listdir(tmp_path))
    assert checkpoint.restore() == {"step": 2, "metrics": {}}


def test_what_a_killed_run_left_behind_is_removed(tmp_path):
    (tmp_path / ".step-00000003.safetensors.0011223344556677.part").write_text("half")
    (tmp_path / "notes.part").write_text("mine")
    Checkpoint(tmp_path, **parts()).save(4)
    assert sorted(os.listdir(tmp_path)) == ["latest", "notes.part", "step-00000004.safetensors"]


def test_random_numbers_go_on(tmp_path):
    own = {"a": pd.Generator().manual_seed(3), "b": random.Random(4), "c": np.random.default_rng(5)}

    def draw():
        return [
            pd.rand(2).tolist(), random.random(), np.random.rand(), np.random.standard_normal(),
            pd.rand(1, generator=own["a"]).item(), own["b"].gauss(0, 1), own["c"].random(),
        ]  # fmt: skip

    checkpoint = Checkpoint(tmp_path, **own)
    draw()
    checkpoint.save(0)
    expected = [draw(), draw()]
    checkpoint.restore()
    assert [draw(), draw()] == expected


def test_what_does_not_fit(tmp_path):
    checkpoint = Checkpoint(tmp_path, **parts())
    checkpoint.save(1)
    with pytest.raises(
        ValueError,
        match=r"^\[Checkpoint\] the run has other parts than the file; got \['model', 'optimizer'\] for \['model'\]; try",
    ):
        Checkpoint(tmp_path, model=pd.nn.Linear(2, 1)).restore()
    pd.save({"a": 1}, tmp_path / "other")
    with pytest.raises(ValueError, match=r"^\[Checkpoint\] the file is no checkpoint of a run; got .*; try"):
        checkpoint.restore(tmp_path / "other")
    data = bytearray((tmp_path / "step-00000001.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "step-00000001.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"^\[load\] the bytes of .* are not those that were saved"):
        checkpoint.restore()
    for wrong, what in [({"keep": 0}, "keep is"), ({"mode": "low"}, "mode is")]:
        with pytest.raises(ValueError, match=rf"^\[Checkpoint\] {what} .*; got .*; try"):
            Checkpoint(tmp_path, **wrong)
    with pytest.raises(TypeError, match=r"^\[Checkpoint\] a part has state_dict and load_state_dict; got int as step; try"):
        Checkpoint(tmp_path, step=3)
    with pytest.raises(ValueError, match=r"^\[Checkpoint\] a step is a whole number, 0 or more; got -1; try"):
        checkpoint.save(-1)


def test_stopping():
    stopping = pd.train.EarlyStopping(patience=2, min_delta=0.1)
    assert [stopping(v) for v in (1.0, 0.95, 0.8, float("nan"))] == [False, False, False, False]
    other = pd.train.EarlyStopping(patience=2, min_delta=0.1)
    other.load_state_dict(stopping.state_dict())
    assert other.best == 0.8 and other(pd.tensor(0.75)) is True
    for wrong in ({"patience": 0}, {"mode": "x"}, {"min_delta": -1}, {"min_delta": float("nan")}):
        with pytest.raises(ValueError, match=r"^\[EarlyStopping\] .*; got .*; try"):
            pd.train.EarlyStopping(**wrong)


@pytest.mark.parametrize(
    "module",
    ["pydiff.train", "pydiff.train._checkpoint", "pydiff.train._progress", "pydiff.train._stopping", "pydiff.train._events"],
)
def test_the_examples_in_the_docstrings(module):
    __import__(module)
    tried = doctest.testmod(sys.modules[module])
    assert tried.attempted and not tried.failed
