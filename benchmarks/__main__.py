"""``python -m benchmarks [names] [--adbench DIR] [--json FILE] [--plot FILE] [--compare FILE] [--write]``"""

import argparse
import json
import os
import sys
from pathlib import Path

import pydiff

from . import contest, rates, report
from .figures import FIGURES
from .machine import describe
from .problems import PROBLEMS
from .result import as_markdown, as_text

README = Path(__file__).with_name("README.md")


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures pydiff beside PyTorch, torch.compile, JAX and NumPy, where they are installed.",
        epilog="problems, the same in each framework:\n"
        + "\n".join(f"  {name:15} {p.what}" for name, p in PROBLEMS.items())
        + "\n\nfigures, each with a limit of its own:\n"
        + "\n".join(f"  {name:15} {function.__doc__}" for name, function in FIGURES.items()),
    )
    parser.add_argument("names", nargs="*", metavar="name", help="problems and figures to run (default: all)")
    parser.add_argument("--only", metavar="A,B", help="contestants to run: " + ", ".join(contest.NEEDS))
    parser.add_argument("--adbench", metavar="DIR", help="ADBench's input files (default: numbers of the same sizes)")
    parser.add_argument("--rounds", type=int, default=contest.ROUNDS, help="timings of each contestant (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all that was measured to FILE")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the problems' times")
    parser.add_argument("--compare", metavar="FILE", type=Path, help="an older --json: exit status 1 if pydiff became slower")
    parser.add_argument("--write", action="store_true", help="put the tables into benchmarks/README.md")
    options = parser.parse_args(argv)
    known = [*PROBLEMS, *FIGURES]
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"nothing of this name; got {', '.join(unknown)}; try {', '.join(known)}")
    only = options.only and options.only.split(",")
    if only and not set(only) <= set(contest.NEEDS):
        parser.error(f"no contestant of this name; got {options.only}; try {', '.join(contest.NEEDS)}")
    if options.adbench:
        os.environ["ADBENCH"] = str(Path(options.adbench).resolve())

    machine = describe()
    print(machine, end="\n\n")
    names = options.names or known
    comparisons = _compare([n for n in names if n in PROBLEMS], only, options.rounds)
    results = []
    for name in (n for n in names if n in FIGURES):
        results.append(FIGURES[name]())
        print(as_text(results[-1]), flush=True)
    if options.write:
        tables = {"problems": report.as_markdown(comparisons), "figures": as_markdown(results)}
        _write(machine, {name: table for name, table in tables.items() if (comparisons if name == "problems" else results)})
    if options.json:
        record = {
            "machine": machine,
            "problems": [c.as_dict() for c in comparisons],
            "figures": [r.as_dict() for r in results],
        }
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.plot and comparisons:
        report.draw(comparisons, machine, options.plot)
    if options.compare:
        lines, worse = report.compare_with(json.loads(options.compare.read_text())["problems"], comparisons)
        print("", *lines, sep="\n")
        return int(worse > 0)
    return 0


def _compare(names, only, rounds):
    comparisons = []
    measured = rates.measure() if names else None
    for name in names:
        comparisons.append(contest.compare(PROBLEMS[name], measured, pydiff.get_num_threads(), only, rounds))
        print(report.as_text(comparisons[-1]), flush=True)
    return comparisons


def _write(machine, tables):
    text = README.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = f"{text.partition(begin)[0]}{begin}\n\n{machine}\n\n{table}\n\n{end}{text.partition(end)[2]}"
    README.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
