"""The tests on the device, and compute-sanitizer: children within a time."""

import concurrent.futures
import os
import re
import shutil
import sys
from pathlib import Path

from ..child import ROOT
from .budget import run

OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.M)
# pytest-timeout's option is in pyproject.toml; a machine that lacks the plugin would make an error of that.
PYTEST = [sys.executable, "-m", "pytest", "-v", "--tb=short", "-p", "no:cacheprovider"]
PYTEST += ["-W", "ignore::pytest.PytestConfigWarning"]
SANITIZER_PLACES = ("/usr/local/cuda/bin", "/opt/cuda/bin")


def tests(device, budget):
    """First the tests marked smoke, then file by file those of the device, of the networks and the rest."""
    counts, failing, stopped, unseen = {}, [], [], []

    def take(title, arguments, seconds):
        status, text = run([*PYTEST, "--device", device, *arguments], seconds)
        for name, outcome in OUTCOME.findall(text):
            counts[outcome.lower()] = counts.get(outcome.lower(), 0) + 1
            if outcome in ("FAILED", "ERROR"):
                failing.append(f"{name}: {_reason(text, name)}")
        if status is None:
            stopped.append(title)
        elif status not in (0, 1, 5):  # 1: tests failed; 5: none was there
            begun = re.findall(r"^(\S+::[^\s\[]+(?:\[.*?\])?)", text, re.M)
            where = f", after {begun[-1]} was begun" if begun else ""
            last = " / ".join(text.strip().splitlines()[-12:])[-800:]
            failing.append(f"{title}: pytest ended with status {status}{where}: {last}")

    take("smoke", ["-m", "smoke"], budget.part(0.5, 120).left())
    files = [
        str(path.relative_to(ROOT))
        for folder in ("device", "nn", ".", "host")
        for path in sorted((ROOT / "tests" / folder).glob("test_*.py"))
    ]
    files = [name for name in files if Path(name).name != "test_gpu_check.py"]
    jobs = max(1, min(4, len(os.sched_getaffinity(0)) // 2))

    def one(name):
        if budget.left() < 5:
            unseen.append(name)
        else:
            take(name, [name, "-m", "not smoke"], budget.left())

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, files))
    return {"counts": counts, "failing": failing, "stopped for time": stopped, "not begun for time": unseen}


def _reason(text, name):
    """The line that pytest's summary has about a test."""
    found = re.search(rf"^(?:FAILED|ERROR) {re.escape(name)} - (.*)$", text, re.M)
    return found[1][:300] if found else "(see the test)"


def sanitizer(device, budget):
    """memcheck and racecheck on `benchmarks.gpu.smoke`: tool -> what came of it."""
    place = os.pathsep.join([os.environ.get("PATH", ""), *SANITIZER_PLACES])
    tool = shutil.which("compute-sanitizer", path=place)
    if device == "cuda-host":
        return {"note": "no GPU, no sanitizer"}
    if not tool:
        return {"note": "compute-sanitizer is not installed"}
    results = {}
    for check in ("memcheck", "racecheck"):
        if budget.left() < 10:
            results[check] = {"state": "skipped", "said": "no time left"}
            continue
        command = [tool, "--tool", check, "--error-exitcode", "9", sys.executable, "-m", "benchmarks.gpu.smoke", device]
        status, text = run(command, budget.part(0.6).left())
        # 9 is its word for errors found; any other failure may be the tool's own, which the text tells.
        state = {0: "ok", None: "stopped for time", 9: "errors"}.get(status, "did not run")
        results[check] = {"state": state, "status": status, "said": text.strip()[-1500:]}
    return results
