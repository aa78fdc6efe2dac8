"""The examples, run as their users run them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "examples" / "train_digits.py"
ACTIVATION = ROOT / "examples" / "custom_activation.py"
KERNEL = ROOT / "examples" / "custom_kernel.py"
CNN = ROOT / "examples" / "digits_cnn.py"
GPT = ROOT / "examples" / "char_gpt.py"


def run(*arguments, folder, script=SCRIPT, timeout=240):
    stand_in = ("PYDIFF_CUDA_DRIVER", "PYDIFF_NVRTC", "PYDIFF_CUBLAS")  # that an earlier test may have put here
    inherited = {name: value for name, value in os.environ.items() if name not in stand_in}
    env = {**inherited, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", str(ROOT)), str(ROOT)])}
    return subprocess.run(
        [sys.executable, str(script), *map(str, arguments)], cwd=folder, env=env, capture_output=True, text=True,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("digits")
    start = time.perf_counter()
    done = run("--device", "cpu", "--plot", "digits.png", "--save", "weights.npz", folder=folder)
    assert done.returncode == 0, done.stderr
    return folder, done, time.perf_counter() - start


def test_accuracy_and_progress(trained):
    _, done, _ = trained
    epochs = re.findall(r"^epoch +(\d+)/60 +loss (\S+) +accuracy (\S+) +test accuracy (\S+)", done.stdout, re.M)
    assert [int(number) for number, *_ in epochs] == list(range(1, 61))
    assert float(epochs[-1][1]) < float(epochs[0][1]) / 5
    assert float(re.search(r"^test accuracy (\S+)$", done.stdout, re.M)[1]) >= 0.97
    assert done.stderr == ""


def test_training_takes_seconds(trained):
    _, done, _ = trained
    took = float(re.search(r"trained in (\S+) s", done.stdout)[1])
    assert took < 10


def test_picture(trained):
    folder, _, _ = trained
    picture = (folder / "digits.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and len(picture) > 20_000


def test_weights_are_plain_arrays(trained):
    folder, _, _ = trained
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        assert {name: file[name].shape for name in file.files} == {
            "0.weight": (256, 64), "0.bias": (256,), "2.weight": (128, 256), "2.bias": (128,),
            "4.weight": (10, 128), "4.bias": (10,),
        }


def test_same_seed_same_weights(tmp_path):
    pytest.importorskip("sklearn")
    for name in ("a.npz", "b.npz"):
        done = run("--device", "cpu", "--epochs", 2, "--seed", 7, "--save", name, folder=tmp_path)
        assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--epochs", "0"], "expected a whole number, 1 or more; got '0'"),
        (["--epochs", "ten"], "expected a whole number, 1 or more; got 'ten'"),
        (["--seed", "-1"], "expected a whole number, 0 or more; got '-1'"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
        (["--plot", "nowhere/d.png"], "its folder does not exist; got 'nowhere/d.png'; try: mkdir -p nowhere"),
        (["--save", "."], "this is a folder; got '.'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments(arguments, complaint, tmp_path):
    done = run(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert complaint in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_cuda_where_there_is_none(tmp_path):
    pytest.importorskip("sklearn")
    import pydiff

    try:
        pydiff.zeros(1, device="cuda").numpy()
    except (RuntimeError, ValueError):
        pass
    else:
        pytest.skip("there is a GPU")
    done = run("--device", "cuda", folder=tmp_path)
    assert done.returncode == 1
    assert "no GPU to train on" in done.stderr and "Traceback" not in done.stderr


# ---- digits_cnn.py


@pytest.mark.timeout(600)
def test_convolutions_reach_their_accuracy(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    done = run("--device", "cpu", "--plot", "cnn.png", folder=tmp_path, script=CNN, timeout=500)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert float(re.search(r"^test accuracy (\S+)$", done.stdout, re.M)[1]) >= 0.985
    assert (tmp_path / "cnn.png").stat().st_size > 20_000


# ---- char_gpt.py


def losses(done):
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return re.findall(r"^validation loss (\S+)$", done.stdout, re.M)


@pytest.mark.timeout(600)
def test_the_gpt_learns_and_goes_on_where_it_stopped(tmp_path):
    small = "--device", "cpu", "--steps", 30, "--sample", 20
    whole = run(*small, "--save", "whole.safetensors", folder=tmp_path, script=GPT)
    first = run(*small, "--save", "parts.safetensors", "--stop-after", 11, folder=tmp_path, script=GPT)
    second = run(*small, "--save", "parts.safetensors", folder=tmp_path, script=GPT)
    assert "going on after step 11" in second.stdout
    assert 2 < float(losses(second)[0]) < float(losses(first)[0]) < 4.6
    assert losses(whole) == losses(second)
    assert whole.stdout.partition("----")[2] == second.stdout.partition("----")[2] != ""
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "parts.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_gpt_writes(tmp_path):
    done = run("--device", "cpu", folder=tmp_path, script=GPT, timeout=1800)
    assert float(losses(done)[0]) < 1.8
    assert 'The "while" statement' in done.stdout


# ---- custom_activation.py and custom_kernel.py

CUSTOM = pytest.mark.parametrize("script", [ACTIVATION, KERNEL], ids=lambda path: path.stem)


@CUSTOM
def test_custom_ops_are_learned_through(script, tmp_path):
    pytest.importorskip("sklearn")
    done = run("--device", "cpu", folder=tmp_path, script=script)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "its first and second derivatives agree with differences" in done.stdout
    epochs = re.findall(r"^epoch +(\d+)/(\d+) +loss (\S+)$", done.stdout, re.M)
    assert len(epochs) == int(epochs[-1][0]) == int(epochs[-1][1]) >= 15
    assert float(epochs[-1][2]) < float(epochs[0][2]) / 10
    assert float(re.search(r"^test accuracy (\S+)$", done.stdout, re.M)[1]) >= 0.95
    if script == ACTIVATION:
        ranges = re.findall(r"^\d\.beta from (\S+) to (\S+)$", done.stdout, re.M)
        assert len(ranges) == 2 and all(float(low) < 1 < float(high) for low, high in ranges)
    else:
        assert "it is what the loop computes" in done.stdout


@CUSTOM
def test_custom_ops_train_through_the_cuda_back_end(script, tmp_path):
    """On the stand-in, which needs no GPU: the same losses as on the CPU."""
    pytest.importorskip("sklearn")
    devices = "cpu", "cuda-host"
    runs = [run("--device", d, "--epochs", 2, folder=tmp_path, script=script) for d in devices]
    for done in runs:
        assert done.returncode == 0 and done.stderr == "", done.stderr
    first, second = ([float(v) for v in re.findall(r"loss (\S+)$", done.stdout, re.M)] for done in runs)
    np.testing.assert_allclose(first, second, rtol=0.01)
    assert second[1] < second[0] / 2


def test_custom_kernel_without_a_compiler(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("CC", "no-such-compiler")
    done = run("--device", "cpu", folder=tmp_path, script=KERNEL)
    assert done.returncode == 1 and "no-such-compiler" in done.stderr and "Traceback" not in done.stderr


@CUSTOM
@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--epochs", "0"], "expected a whole number, 1 or more; got '0'"),
        (["--device", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_custom_ops_bad_arguments(script, arguments, complaint, tmp_path):
    done = run(*arguments, folder=tmp_path, script=script)
    assert done.returncode == 2
    assert complaint in done.stderr and "Traceback" not in done.stderr
