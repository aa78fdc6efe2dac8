"""What a workload of gpu_check is, and how one is checked and timed."""

from dataclasses import dataclass, field

import numpy as np

from . import libraries
from .timing import measure

RING = 512 << 20  # bytes of input to go round, so that no call finds its data in the card's cache


class Absent(Exception):
    """pydiff does not have this yet."""


class NoPeer(Exception):
    """This library takes no part in the workload."""


@dataclass
class Program:
    """One library's version: `step()` does the work once, `outputs()` gives what it left, as NumPy arrays."""

    step: object
    outputs: object


@dataclass
class Workload:
    """One line of the table.

    Attributes:
        name, what: as the table shows them.
        make: `(library, small)` to Program. Raises Absent, or NoPeer for a library that is none.
        bytes, flops: of one step, at least: every input read once, every result written once. Functions of `small`.
        variants: further programs of PyTorch, label -> make.
        steps: how many steps are checked, 1 where nothing is remembered.
        tolerance: of ‖got − expected‖ / ‖expected‖, of each output.
        reference: `(small)` to the outputs to expect; else pydiff's on the CPU.
        aims: what is asked for; see `Aim`.
        compiles: torch.compile is worth its time here.
        ceiling: "copy", "gemm" or "": what the work is a share of.
    """

    name: str
    what: str
    make: object
    bytes: object = None
    flops: object = None
    variants: dict = field(default_factory=dict)
    steps: int = 1
    tolerance: float = 1e-5
    reference: object = None
    aims: tuple = ()
    compiles: bool = False
    ceiling: str = ""


@dataclass(frozen=True)
class Aim:
    """`against` "ceiling": the share of the ceiling is at least `limit`. Else `against` is a label, and its time over
    pydiff's is at least `limit`."""

    against: str
    limit: float


def ring(library, function, arrays, grad=False):
    """A Program of a function without memory, on several copies of its inputs by turns."""
    function = library.compiled(function)
    size = sum(a.nbytes for a in arrays)
    copies = min(16, max(1, -(-RING // size))) if size >= 1 << 20 else 1
    inputs = [[library.tensor(a, grad and a.dtype.kind == "f") for a in arrays] for _ in range(copies)]
    results, at = [()] * copies, [0]

    def step():
        i = at[0] = (at[0] + 1) % copies
        results[i] = function(*inputs[i])
        library.done(results[i])

    return Program(step, lambda: [library.numpy(t) for t in results[at[0]]])


def run(workload, device, small=False, compiles=False):
    """Check and time; returns the entry of the result file."""
    found = libraries.find(device, compiles)
    entry = {"name": workload.name, "what": workload.what, "ceiling": workload.ceiling, "notes": []}
    for key in ("bytes", "flops"):
        count = getattr(workload, key)
        entry[key] = count(small) if count else None
    makes = {label: (library, workload.make) for label, library in found.items()}
    if "PyTorch eager" in found:
        makes |= {label: (found["PyTorch eager"], make) for label, make in workload.variants.items()}

    if workload.reference:
        expected = workload.reference(small)
    else:
        oracle = workload.make(libraries.Pydiff("cpu"), small)
        for _ in range(workload.steps):
            oracle.step()
        expected = oracle.outputs()
        del oracle

    peers, entry["error"], entry["state"] = {}, {}, "ok"
    for label, (library, make) in makes.items():
        try:
            program = make(library, small)
            for _ in range(workload.steps):
                program.step()
            got = program.outputs()
            error = max(map(_distance, got, expected))
            entry["error"][label] = error
            if not error <= workload.tolerance:
                raise ArithmeticError(f"wrong by {error:.2e} of the norm, {workload.tolerance:.0e} is allowed")
            if label == "pydiff" and not workload.reference:
                entry["same bits as the CPU"] = all(map(np.array_equal, got, expected))
            peers[label] = program.step, library.wait
        except NoPeer:
            pass
        except Absent as problem:
            entry["state"] = "absent"
            entry["notes"].append(str(problem))
        except Exception as problem:
            if label == "pydiff":
                raise
            entry["notes"].append(f"{label}: {type(problem).__name__}: {str(problem).strip().splitlines()[:1]}")
    entry["times"] = measure(peers, *((0.002, 2) if small else ()))
    return entry


def _distance(got, expected):
    """‖got − expected‖ / ‖expected‖; infinite for another shape or where something is not finite."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return float("inf")
    return float(np.linalg.norm((got - expected).ravel()) / max(np.linalg.norm(expected.ravel()), 1e-30))
