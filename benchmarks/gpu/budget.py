"""Time that is left, and children that do not outlive it."""

import os
import signal
import subprocess
import tempfile
import time

from ..child import ROOT


class Budget:
    """Seconds that may be spent, counted from now."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def part(self, share, most=float("inf")):
        """A budget of its own: at most that share of what is left, and at most so many seconds."""
        return Budget(min(self.left() * share, most))


def stop(process):
    """End a child and what it started (each child leads a group of its own)."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(command, seconds, env=None):
    """Run a command within a time: `(status or None if it was stopped, its output, both streams as one text)`."""
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
        try:
            status = process.wait(timeout=max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            stop(process)
        out.seek(0)
        return status, out.read()
