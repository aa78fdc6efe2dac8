"""The command for machines with a GPU, tried without one: on the stand-in, with tiny sizes."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu import measuring  # noqa: E402
from benchmarks.gpu.budget import Budget  # noqa: E402

# In the place of the worker: `dies` ends the process, `hangs` does not end.
WORKER = """
    import json, os, sys, time
    for name in sys.argv[1:]:
        print("@@ " + json.dumps({"start": name}), flush=True)
        if name == "dies":
            print("last words", file=sys.stderr, flush=True)
            os._exit(7)
        if name == "hangs":
            time.sleep(60)
        print("something else")
        print("@@ " + json.dumps({"entry": {"name": name, "state": "ok", "notes": []}}), flush=True)
"""


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check", "--device", "cuda-host", "--small", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )


def test_a_workload_that_dies_or_hangs_costs_no_other(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(textwrap.dedent(WORKER))
    told = []
    names = ["one", "dies", "two", "hangs", "three"]
    entries, _ = measuring.measure(
        names, [], Budget(60), each=1.5, command=[sys.executable, str(script)], told=lambda e: told.append(e["name"])
    )
    assert told == names
    states = {name: entries[name]["state"] for name in names}
    assert states == {"one": "ok", "dies": "error", "two": "ok", "hangs": "error", "three": "ok"}
    assert "status 7" in entries["dies"]["notes"][0] and "last words" in entries["dies"]["notes"][0]
    assert "not done after" in entries["hangs"]["notes"][0]


def test_what_does_not_fit_is_skipped_and_says_so():
    entries, _ = measuring.measure(["one", "two"], [], Budget(1), command=["false"])
    assert [e["state"] for e in entries.values()] == ["skipped", "skipped"]


def test_a_worker_that_never_starts_is_an_error_of_all():
    script = [sys.executable, "-c", "raise SystemExit('no luck')"]
    entries, _ = measuring.measure(["one", "two"], [], Budget(30), command=script)
    assert [e["state"] for e in entries.values()] == ["error", "error"]
    assert "no luck" in entries["one"]["notes"][0]


@pytest.mark.slow
def test_the_whole_command(tmp_path):
    before = sorted((ROOT / "benchmarks").rglob("*.json"))
    out = tmp_path / "result.json"
    done = command("--skip-tests", "--minutes", "4", "--out", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(out.read_text())
    assert result["figures mean something"] is False and "mean nothing" in done.stdout
    assert sorted((ROOT / "benchmarks").rglob("*.json")) == before
    entries = result["workloads"]
    assert {"copy", "launch", "gelu", "cross_entropy", "adam", "small_ops", "mlp_small", "digits"} <= set(entries)
    for name, entry in entries.items():
        assert entry["state"] in ("ok", "absent"), entry
        if name != "digits" and entry["state"] == "ok":
            allowed = 5e-3 if "bf16" in name else 1e-3  # bfloat16 rounds to 8 bits
            assert entry["error"]["pydiff"] < allowed and entry["times"]["pydiff"]["median"] > 0
        assert f"`{name}`" in done.stdout
    assert all(entries[name]["same bits as the CPU"] for name in ("gelu", "sum", "cross_entropy", "adam"))
    top = max(entries["copy"]["bytes/s"].values())
    assert entries["gelu"]["share"] == pytest.approx(entries["gelu"]["bytes/s"]["pydiff"] / top)
    assert [aim["met"] for aim in entries["gelu"]["aims"]] == [entries["gelu"]["share"] >= 0.9]


@pytest.mark.slow
def test_a_wrong_result_is_not_timed():
    from benchmarks.gpu.workload import Program, Workload, run

    def make(library, small):
        return Program(lambda: None, lambda: [np.ones(3, np.float32) * (1 if library.device.type == "cpu" else 1.01)])

    with pytest.raises(ArithmeticError, match="wrong by"):
        run(Workload("wrong", "", make), "cuda-host", small=True)
