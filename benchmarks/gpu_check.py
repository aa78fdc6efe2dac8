"""One command for a machine with a GPU: what is there, whether it is right, how fast it is.

    python -m benchmarks.gpu_check                  about eight minutes
    python -m benchmarks.gpu_check --skip-tests     figures only
    python -m benchmarks.gpu_check --device cuda-host --small --skip-tests     the command itself, without a GPU

It prints the doctor's report, runs the tests on the device and compute-sanitizer where that is installed, and measures.
PyTorch (eager, its CUDA graphs, torch.compile) and CuPy take part where they are installed. Every workload is checked
against the CPU before it is timed. Figures go to benchmarks/results/<device>-<date>.json. The card's settings are
left as they are. The exit status is 0 where nothing was wrong; a missed aim is no error.
"""

import argparse
import datetime
import json
import platform
import re
import shutil
import sys
from pathlib import Path

from . import child
from .gpu.budget import Budget, run

RESULTS = Path(__file__).with_name("results")
BUILD = """pydiff's core does not load: {error}
Build it, without a network:
    pip install --no-build-isolation --no-deps .
or, to run from this folder:
    python setup.py build_ext --inplace"""
FACTS = """
import json, pydiff
device = pydiff.device({device!r})
print(json.dumps({{"report": pydiff.cuda.report(), "properties": pydiff.cuda.get_device_properties(device)}}))
"""
DOCTOR = "import sys, pydiff; {prepare}; from pydiff import doctor; sys.exit(doctor.main([]))"
# What each part may take of the time that is left when it begins.
TESTS, SANITIZER, COMPILE_EACH = 0.4, 0.15, 150.0


def main(argv=None):
    options = parse(argv)
    budget = Budget(60 * options.minutes)
    try:
        import pydiff  # noqa: F401
    except ImportError as error:
        print(BUILD.format(error=error))
        return 2
    prepare = "pydiff.cuda.use_host()" if options.device == "cuda-host" else "pass"
    print(run([sys.executable, "-c", DOCTOR.format(prepare=prepare)], 120)[1])
    try:
        facts = child.run(FACTS.format(device=options.device))
    except RuntimeError as error:
        print(str(error).strip().splitlines()[-1])
        print("There is no device to measure. Without a GPU: --device cuda-host --small")
        return 2

    result = {
        "device": facts["properties"]["name"],
        "date": datetime.date.today().isoformat(),
        "properties": facts["properties"],
        "cuda": facts["report"],
        "card": card(options.device),
        "system": f"{platform.platform()}, {processor()}",
        "Python": platform.python_version(),
        "minutes": options.minutes,
        "small": options.small,
        "figures mean something": not options.small and options.device != "cuda-host",
        "tests": None,
        "sanitizer": None,
        "versions": {},
        "ceilings": {},
        "workloads": {},
    }
    path = options.out or (result_path(result) if result["figures mean something"] else None)

    def save():
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n")

    if not options.skip_tests:
        from .gpu import suite

        result["tests"] = suite.tests(options.device, budget.part(TESTS))
        print_tests(result["tests"])
        save()
        result["sanitizer"] = suite.sanitizer(options.device, budget.part(SANITIZER, 90))
        for check, what in result["sanitizer"].items():
            print(f"sanitizer, {check}: {what if isinstance(what, str) else what['state']}")
        save()
    measure(options, budget, result, save)
    save()

    if not result["figures mean something"]:
        print("\nThe figures below mean nothing: they try the command, not a device.")
    from .gpu import report

    print("\n" + "\n".join(report.table(result["workloads"], result["ceilings"])))
    if path:
        print(f"\nwritten to {path}")
    return 1 if problems(result) else 0


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=8.0, help="time for everything; what no longer fits is skipped (default: 8)")
    add("--device", choices=("cuda", "cuda-host"), default="cuda", help="cuda-host: the stand-in, to try the command")
    add("--skip-tests", action="store_true", help="neither tests nor compute-sanitizer")
    add("--small", action="store_true", help="tiny sizes: the code is tried, the figures mean nothing")
    add("--out", type=Path, metavar="FILE", help="the result file (default: benchmarks/results/<device>-<date>.json)")
    return parser.parse_args(argv)


def measure(options, budget, result, save):
    """All workloads, then torch.compile where time is left."""
    from .gpu import measuring, report
    from .gpu.workloads import BY_NAME

    worker = ["--device", options.device, *["--small"] * options.small]
    entries = result["workloads"]

    def told(entry):
        entries[entry["name"]] = entry
        result["ceilings"] = report.ceilings(entries)
        for known in entries.values():
            report.complete(known, result["ceilings"])
        print("\n".join(report.lines(entry)), flush=True)
        save()

    print()
    result["versions"] = measuring.measure([*BY_NAME, "digits"], worker, budget, told=told)[1]
    if options.small or "torch" not in result["versions"]:
        return

    def told_compiled(entry):
        """torch.compile's figures, and pydiff's of the same minutes, beside what is there."""
        known = entries[entry["name"]]
        if "torch.compile" in entry.get("times", {}):
            known.setdefault("times", {})["torch.compile"] = entry["times"]["torch.compile"]
            known["pydiff beside torch.compile"] = entry["times"].get("pydiff")
        else:
            known["notes"].append(f"torch.compile: {entry['state']}: {'; '.join(entry['notes'])}")
        report.complete(known, result["ceilings"])
        print("\n".join(report.lines(entry)), flush=True)
        save()

    # First those where torch.compile is what is asked for.
    compiled = sorted(
        (name for name, w in BY_NAME.items() if w.compiles and "pydiff" in entries.get(name, {}).get("times", {})),
        key=lambda name: not any(aim.against == "torch.compile" for aim in BY_NAME[name].aims),
    )
    print("\nbeside torch.compile")
    measuring.measure(compiled, [*worker, "--compile"], budget, each=COMPILE_EACH, told=told_compiled)


def print_tests(tests):
    counts = ", ".join(f"{n} {outcome}" for outcome, n in sorted(tests["counts"].items())) or "none ran"
    print(f"tests: {counts}")
    for name in tests["failing"]:
        print(f"    {name}")
    for key in ("stopped for time", "not begun for time"):
        if tests[key]:
            print(f"    {key}: {', '.join(tests[key])}")


def problems(result):
    """What was wrong, as opposed to slow or not there yet."""
    found = [*(result["tests"] or {}).get("failing", [])]
    checks = (result["sanitizer"] or {}).items()
    found += [check for check, what in checks if isinstance(what, dict) and what["state"] == "errors"]
    return found + [name for name, entry in result["workloads"].items() if entry["state"] in ("error", "wrong")]


def result_path(result):
    slug = re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    return RESULTS / f"{slug}-{result['date']}.json"


def processor():
    from .machine import processor as name

    return name()


def card(device):
    """The card's state as its tool tells it, read only; None where there is no tool."""
    tool = shutil.which("nvidia-smi")
    if device == "cuda-host" or not tool:
        return None
    asked = "name,driver_version,memory.used,temperature.gpu,power.draw,clocks.sm,clocks.mem,clocks.max.sm"
    status, text = run([tool, f"--query-gpu={asked}", "--format=csv"], 20)
    return text.strip().splitlines() if status == 0 else None


if __name__ == "__main__":
    sys.exit(main())
