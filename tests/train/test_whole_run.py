"""A run with everything that has a state, stopped in mid-epoch and taken up by another process: the same bits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import pydiff as pd

PROGRAM = """
import hashlib, random, sys
import numpy as np
import pydiff as pd
from pydiff import nn
from pydiff.data import DataLoader, Dataset

folder, stop, workers, dtype = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


class Noisy(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, k):
        x = np.sin(np.arange(6, dtype="float32") * k) + 0.1 * np.float32(random.random()) + 0.1 * np.float32(np.random.rand())
        return x + 0.1 * pd.randn(6).numpy(), k % 3


def main():
    pd.manual_seed(5), random.seed(5), np.random.seed(5)
    model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
    optimizer = pd.optim.AdamW(model.parameters(), lr=0.01, amsgrad=True)
    schedule = pd.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=30)
    scaler = pd.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=5)
    averaged = pd.optim.swa_utils.AveragedModel(model, use_buffers=True)
    loader = DataLoader(Noisy(), batch_size=4, shuffle=True, num_workers=workers, generator=pd.Generator().manual_seed(1))
    run = pd.train.Checkpoint(
        folder, model=model, optimizer=optimizer, schedule=schedule, scaler=scaler, averaged=averaged, loader=loader
    )
    found = run.restore()
    step = found["step"] if found else 0
    while step < 30:
        for x, y in loader:
            with pd.autocast("cpu", dtype=getattr(pd, dtype)):
                loss = nn.functional.cross_entropy(model(x + 0.01 * pd.randn(x.shape)), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            schedule.step()
            averaged.update_parameters(model)
            step += 1
            if step == stop:
                run.save(step)
                return
    state = [*model.state_dict().values(), *averaged.state_dict().values()]
    bits = hashlib.sha256(b"".join(value.numpy().tobytes() for value in state)).hexdigest()
    print(bits, scaler.get_scale(), schedule.get_last_lr()[0], pd.rand(1).item(), random.random(), np.random.rand())


if __name__ == "__main__":
    main()
"""


def run(folder, script, *arguments):
    env = {**os.environ, "PYTHONPATH": str(Path(pd.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, str(script), str(folder), *map(str, arguments)], env=env, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("workers, dtype", [(0, "bfloat16"), (2, "float16")])
def test_everything_goes_on_to_the_bit(tmp_path, workers, dtype):
    script = tmp_path / "run.py"
    script.write_text(PROGRAM)
    whole = run(tmp_path / "whole", script, -1, workers, dtype)
    for stop in (7, 23):  # in the first epoch of ten batches, and, of the resumed run, in the third
        assert run(tmp_path / "parts", script, stop, workers, dtype) == ""
    assert run(tmp_path / "parts", script, -1, workers, dtype) == whole != ""
