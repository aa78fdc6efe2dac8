"""Measurements that need a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(code, **environment):
    """Run `code` in a fresh interpreter; returns what it printed on its last line, read as JSON."""
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"a measurement failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])
