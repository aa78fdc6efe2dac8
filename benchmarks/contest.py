"""Runs a problem with all its contestants: each in a process of its own, taking turns, held to one answer."""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"pydiff": "pydiff", "pydiff.jit": "pydiff", "PyTorch": "torch", "torch.compile": "torch", "JAX jit": "jax"}
ROUNDS, TURN, WARM = 9, 0.25, 1.0


@dataclass
class Entry:
    """One contestant's figures at one problem, in seconds and bytes."""

    first: float = 0.0
    rounds: list = field(default_factory=list)
    peak: int = 0
    error: str = ""

    @property
    def median(self):
        return statistics.median(self.rounds)


@dataclass
class Comparison:
    """One problem's entries by contestant, its floor in seconds, and what was left out and why."""

    name: str
    what: str
    aim: float
    floor: float
    entries: dict
    share: float | None = None
    notes: list = field(default_factory=list)
    alone: float = float("nan")  # seconds of pydiff's function without its derivative

    @property
    def ours(self):
        return _fastest(self.entries, lambda name: name.startswith("pydiff"))

    @property
    def best_peer(self):
        return _fastest(self.entries, lambda name: not name.startswith("pydiff"))

    def as_dict(self):
        return asdict(self)


def _fastest(entries, chosen):
    times = {name: e.median for name, e in entries.items() if chosen(name) and e.rounds}
    return min(times.items(), key=lambda item: item[1], default=(None, float("nan")))


class _Process:
    """A contestant's process and the lines that go to it and come back."""

    def __init__(self, problem, contestant, threads):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYDIFF_NUM_THREADS": str(threads)}
        if threads == 1:
            env["XLA_FLAGS"] = f"{env.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
        command = [sys.executable, "-m", "benchmarks.contestant", problem, contestant]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, **pipes)
        self._answer()

    def ask(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        raise RuntimeError(self._process.stderr.read().strip().splitlines()[-1:] or "ended without a word")

    def close(self):
        self._process.kill()
        self._process.communicate()


def _label(contestant, threads, all_threads):
    return contestant if threads == all_threads else f"{contestant}, 1 thread"


def compare(problem, rates, threads, only=None, rounds=ROUNDS, turn=TURN):
    """Run one problem; returns a `Comparison`. Raises AssertionError where contestants disagree."""
    entries, processes, notes, answers = {}, {}, [], {}
    try:
        for contestant in problem.makers:
            if only and contestant not in only:
                continue
            if find_spec(NEEDS[contestant]) is None:
                notes.append(f"{contestant} is not installed: skipped")
                continue
            for count in sorted({threads, 1} if problem.small and contestant.startswith("PyTorch") else {threads}):
                label = _label(contestant, count, threads)
                entries[label] = Entry()
                try:
                    processes[label] = _Process(problem.name, contestant, count)
                    begun = processes[label].ask("first")
                    entries[label].first, answers[label] = begun["first"], begun["values"]
                    processes[label].ask(f"run {WARM}")
                except RuntimeError as error:
                    entries[label].error = str(error)
                    notes.append(f"{label} failed: {error}")
                    processes.pop(label).close() if label in processes else None
        check(problem, answers)
        order = list(processes)
        for _ in range(rounds):
            for label in order:
                processes[label].ask("run 0")  # wakes its threads
                entries[label].rounds.append(processes[label].ask(f"run {turn}")["seconds"])
            order.append(order.pop(0))
        for label, process in processes.items():
            entries[label].peak = process.ask("memory")["peak"]
        alone = _alone(problem, threads, rounds, turn) if problem.alone and "pydiff.jit" in processes else float("nan")
    finally:
        for process in processes.values():
            process.close()
    return Comparison(problem.name, problem.what, problem.aim, problem.floor(rates), entries, problem.share, notes, alone)


def _alone(problem, threads, rounds, turn):
    process = _Process(problem.name, "alone", threads)
    try:
        process.ask(f"run {WARM}")
        return statistics.median(process.ask(f"run {turn}")["seconds"] for _ in range(rounds))
    finally:
        process.close()


def check(problem, answers):
    """AssertionError unless all gave the same numbers, to the problem's tolerance."""
    reference = next(iter(answers), None)
    for label, values in answers.items():
        for step, (got, wanted) in enumerate(zip(values, answers[reference])):
            scale = max(map(abs, wanted))
            worst = max(abs(g - w) for g, w in zip(got, wanted)) / (scale or 1.0)
            if not worst <= problem.tolerance or len(got) != len(wanted):
                raise AssertionError(f"{problem.name}: {label} and {reference} disagree in step {step + 1}: {got} and {wanted}")
