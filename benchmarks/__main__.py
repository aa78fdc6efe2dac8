"""``python -m benchmarks [names] [--json FILE] [--plot FILE] [--markdown] [--write]``"""

import argparse
import json
import sys
from pathlib import Path

from .machine import describe
from .result import as_markdown, as_text, draw
from .workloads import WORKLOADS

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def main(argv=None):
    listing = "\n".join(f"  {name:12} {function.__doc__}" for name, function in WORKLOADS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measures pydiff beside NumPy and, where installed, PyTorch and JAX.",
        epilog=f"workloads:\n{listing}",
    )
    parser.add_argument("names", nargs="*", metavar="name", help="workloads to run (default: all)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to FILE")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the figures against what was asked for")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in WORKLOADS]
    if unknown:
        parser.error(f"no workload of this name; got {', '.join(unknown)}; try {', '.join(WORKLOADS)}")

    machine = describe()
    print(machine, end="\n\n", file=sys.stderr if options.markdown else sys.stdout)
    results = []
    for name in options.names or WORKLOADS:
        results.append(WORKLOADS[name]())
        print(as_text(results[-1]), flush=True, file=sys.stderr if options.markdown else sys.stdout)
    table = as_markdown(results, machine)
    if options.markdown:
        print(table)
    if options.write:
        text = README.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        README.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")
    if options.json:
        record = {"machine": machine, "results": [r.as_dict() for r in results]}
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.plot:
        draw(results, machine, options.plot)


if __name__ == "__main__":
    main()
