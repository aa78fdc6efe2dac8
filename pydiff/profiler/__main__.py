"""The command: runs a script, or a module, under the profiler, and prints what it found.

python -m pydiff.profiler [--by kernel] [--trace FILE] script.py arguments …
"""

import argparse
import os
import runpy
import sys

from pydiff.profiler import profile
from pydiff.profiler._table import KEYS


def _parser():
    parser = argparse.ArgumentParser(prog="python -m pydiff.profiler", description="Profile a script that uses pydiff.")
    parser.add_argument("--by", choices=KEYS, default="kernel", help="what a row of the table is (default: kernel)")
    parser.add_argument("--limit", type=int, default=20, help="rows of the table (default: 20)")
    parser.add_argument("--memory", action="store_true", help="also who held the memory when most was in use")
    parser.add_argument("--trace", metavar="FILE", help="write a timeline for Perfetto and chrome://tracing")
    parser.add_argument("--graphs", action="store_true", help="let plans run as CUDA graphs, each of which is one event")
    parser.add_argument("-m", dest="module", action="store_true", help="what follows is a module's name, as of python -m")
    parser.add_argument("script", help="a file of Python, or with -m a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="for the script")
    return parser


def main(argv=None):
    """Run the command with these arguments, by default the program's. The script's own exit or error is the command's."""
    options = _parser().parse_args(argv)
    sys.argv = [options.script, *options.arguments]
    p = profile(graphs=options.graphs)
    try:
        with p:
            if options.module:
                sys.path.insert(0, "")
                runpy.run_module(options.script, run_name="__main__", alter_sys=True)
            else:
                sys.path.insert(0, os.path.dirname(os.path.abspath(options.script)))
                runpy.run_path(options.script, run_name="__main__")
    finally:
        sys.stdout.flush()
        print(p.table(options.by, options.limit))
        if options.memory:
            print("\n" + p.memory_table(limit=options.limit))
        if options.trace:
            p.save(options.trace)
            print(f"\n{options.trace}: open it at https://ui.perfetto.dev or chrome://tracing")


if __name__ == "__main__":
    main()
