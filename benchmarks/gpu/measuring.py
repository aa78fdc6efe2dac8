"""Gives workloads to worker processes, with a time for each; goes on after one that hangs or dies."""

import json
import queue
import subprocess
import sys
import tempfile
import threading

from ..child import ROOT
from .budget import stop
from .worker import MARK

WORKER = [sys.executable, "-m", "benchmarks.gpu.worker"]
LEAST = 4.0  # seconds: with less left, a workload is not begun
START = 90.0  # seconds that importing the libraries may take


def measure(names, options, budget, each=60.0, command=WORKER, told=lambda entry: None):
    """Run the workloads; returns `(name -> entry, versions)`.

    `options`: of the worker. `each`: seconds that one may take. `told` is called with each entry at once.
    """
    entries, versions, todo = {}, {}, list(names)

    def done(entry):
        entries[entry["name"]] = entry
        if entry["name"] in todo:
            todo.remove(entry["name"])
        told(entry)

    def failed(name, state, note):
        done({"name": name, "state": state, "notes": [note]})

    while todo and budget.left() > LEAST:
        with tempfile.TemporaryFile("w+", errors="replace") as errors:
            process = subprocess.Popen(
                [*command, *options, *todo],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
            lines, running = _lines(process.stdout), None
            try:
                while todo:
                    line = lines.get(timeout=min(each if running else START, max(budget.left(), 0.1)))
                    if line is None:  # it ended
                        process.wait()
                        errors.seek(0)
                        said = errors.read().strip()[-800:]
                        why = f"the process ended with status {process.returncode}; it said: {said}"
                        if running in todo:
                            failed(running, "error", why)
                        elif running is None or process.returncode == 0:
                            for name in [*todo]:
                                failed(name, "error", why)
                        break  # what is left gets another process
                    if not line.startswith(MARK):
                        continue
                    message = json.loads(line[len(MARK) :])
                    versions |= message.get("versions", {})
                    if "entry" in message:
                        done(message["entry"])
                    elif message.get("start"):
                        running = message["start"]
                        if budget.left() < LEAST:
                            break
            except queue.Empty:
                late = budget.left() < LEAST
                name = running if running in todo else todo[0]
                failed(name, "skipped" if late else "error", "no time left" if late else f"not done after {each:.0f} s")
            finally:
                stop(process)
    for name in [*todo]:
        failed(name, "skipped", "no time left")
    return entries, versions


def _lines(stream):
    """A queue of the stream's lines, None at its end."""
    lines = queue.Queue()

    def read():
        with stream:
            for line in stream:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines
