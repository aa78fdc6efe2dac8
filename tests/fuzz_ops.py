"""Random programs over the operations, held to what does not need to be known of them.

    python tests/fuzz_ops.py                    2,000 programs, as in CI
    python tests/fuzz_ops.py --cases 100000     the nightly number
    python tests/fuzz_ops.py --case 1234        that program alone, printed
    python tests/fuzz_ops.py --seed 7           others

A program has 2 to 12 steps, one in eight a single one, on tensors of any dtype, of no element to some ten thousand, lying
contiguous, transposed, in large strides, backwards or expanded; one in three has infinities, NaN, zeros of both signs and
denormals in it. Of each:

- every step alone, interpreted, against NumPy with more digits, within the ulps that the step may be off;
- the whole, fused, interpreted, in one thread or four, and compiled by LLVM (one program in `COMPILED_EVERY`), against the
  steps alone: equal bits, of results and of gradients;
- one in `SMOOTH_EVERY` is smooth, in float64: reverse against forward mode, both against differences, and second
  derivatives in two orders of the modes against each other and against differences; every other one of these under vmap
  against a loop.

Programs run in processes of their own, a few hundred in each, so that a crash, or a program that does not end, is counted like
an error and names its program.
"""

import argparse
import collections
import faulthandler
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "device")]

import pydiff as pd  # noqa: E402
from fuzz import contraction, movement, reductions  # noqa: E402, F401  each adds its operations
from fuzz.elementwise import TABLE  # noqa: E402
from fuzz.program import Program  # noqa: E402
from oracle import array, same_bits  # noqa: E402

SMOOTH_EVERY = 4
SINGLE_EVERY = 8
COMPILED_EVERY = 20
BATCH = 250  # programs of a process
HANGS_AFTER = 300  # seconds; the slowest take one
NOT_MAPPED = ("solve", "masked_select", "logcumsumexp")  # errors inside vmap, and say so


class Fault(AssertionError):
    """What two ways of running a program disagree on."""


def draw(seed, number):
    rng = np.random.default_rng([seed, number])
    smooth = number % SMOOTH_EVERY == SMOOTH_EVERY - 1
    single = number % SINGLE_EVERY == 0
    return Program(rng, TABLE, smooth=smooth, steps=1 if single else int(rng.integers(2, 5)) if smooth else None)


# ---- values


def fused(on):
    os.environ["PYDIFF_FUSE"] = "on" if on else "off"
    pd._C.clear_plans()  # of the same graphs, made the other way


def check_steps(p):
    """Every step by itself against NumPy; the values, and the gradients of a sum of the last ones."""

    def look(step, operands, results):
        got = [array(r) for r in results]
        if step.reference is None:
            return
        expected = step.reference([array(o) for o in operands], got)
        if expected is None:
            return
        expected = expected if isinstance(expected, list) else [expected]
        if len(expected) != len(got):
            raise Fault(f"{len(got)} results, NumPy has {len(expected)}:\n{p.ancestors(step.first)}")
        for k, (g, e) in enumerate(zip(got, expected)):
            wrong = e.check(g)
            if wrong:
                raise Fault(f"v{step.first + k} = {step.op}: {wrong}\n{p.ancestors(step.first)}")

    return outcomes(p, look)


def outcomes(p, look=None):
    """The results that count, by name: the last values, and the gradients of the inputs through them."""
    leaves = p.leaves(requires_grad=True)
    values = p.run(leaves, look)
    ends = p.ends()
    out = {f"v{k}": values[k] for k in ends}
    parts = [(values[k] * values[k]).sum().double() for k in ends if values[k].requires_grad]
    if parts:
        loss = sum(parts)
        wanted = {k: t for k, t in leaves.items() if t.requires_grad}
        grads = pd.autograd.grad(loss, list(wanted.values()), allow_unused=True)
        out |= {f"gradient of v{k}": g for k, g in zip(wanted, grads) if g is not None}
    return {name: array(t) for name, t in out.items()}


def equal(p, got, expected, how):
    if got.keys() != expected.keys():
        raise Fault(f"{how}: {sorted(got)} for {sorted(expected)}\n{p}")
    for name in got:
        try:
            same_bits(got[name], expected[name], f"{how}: {name}")
        except AssertionError as error:
            raise Fault(f"{error}\n{p.ancestors(int(name.split('v')[-1])) if name.startswith('v') else p}") from None


def check_values(p, number):
    fused(False)
    alone = check_steps(p)
    fused(True)
    pd.set_num_threads(1 + 3 * (number % 2))
    equal(p, outcomes(p), alone, "fused")
    if number % COMPILED_EVERY in (0, 1):
        pd._C.set_jit_mode("blocking")
        pd._C.clear_plans()
        try:
            equal(p, outcomes(p), alone, "compiled")
        finally:
            pd._C.set_jit_mode("off")
    pd.set_num_threads(2)


# ---- derivatives


def moving(p):
    """The function of the program's float inputs to one number, and where to take its derivative."""
    leaves = p.leaves()
    numbers = [k for k, t in leaves.items() if t.dtype.is_floating_point]
    ends = p.ends()
    rng = np.random.default_rng(1)
    weights = {}

    def f(*inputs):
        values = p.run({**leaves, **dict(zip(numbers, inputs))})
        total = 0.0
        for k in ends:
            if values[k].dtype.is_floating_point and values[k].numel():
                w = weights.setdefault(k, pd.tensor(rng.uniform(0.5, 1.5, tuple(values[k].shape))))
                total = total + (values[k] * w).sum() + (values[k] * values[k]).mean() * 0.1
        return total

    x = tuple(leaves[k] for k in numbers)
    v = tuple(pd.tensor(rng.standard_normal(tuple(t.shape))) for t in x)
    return f, x, v


def dot(a, b):
    return sum(float(np.sum(array(x) * array(y))) for x, y in zip(a, b))


def differences(f, x, v, h=2e-4):
    """The derivative of f along v by differences of fourth order, and how far it may be off; None where it does not settle."""
    at = lambda s: np.asarray(f(*[a + s * d for a, d in zip(x, v)]), np.float64)  # noqa: E731
    first, second, third = ((at(s) - at(-s)) / (2 * s) for s in (h, 2 * h, 4 * h))
    best, rough = (4 * first - second) / 3, (4 * second - third) / 3
    size = np.maximum(np.abs(at(0)), 1)
    off = 8 * np.abs(best - rough) + 1e-10 * size / h * 1e-3 + 1e-9 * np.abs(best)
    return (best, off) if np.all(np.isfinite(best)) and np.all(np.abs(best - rough) <= 1e-3 * (np.abs(best) + size)) else None


def check_derivatives(p, counts):
    f, x, v = moving(p)
    if not x or all(t.numel() == 0 for t in x):
        return
    y = f(*x)
    if not isinstance(y, pd.Tensor) or not np.isfinite(array(y)).all() or abs(float(array(y))) > 1e12:
        return
    where = tuple(range(len(x)))

    def near(a, b, off, what):
        if not abs(a - b) <= off:
            raise Fault(f"{what}: {a!r} for {b!r}, {off:.1e} allowed\n{p}")

    gradient = pd.grad(f, argnums=where)
    g = gradient(*x)
    slope = float(array(pd.jvp(f, x, v)[1]))
    size = sum(float(np.sum(np.abs(array(a) * array(b)))) for a, b in zip(g, v)) + abs(float(array(y)))
    rounding = 2.0**26 * np.finfo(float).eps * max(size, 1)  # graphs may cancel terms far larger than their result
    near(slope, dot(g, v), rounding, "forward and reverse mode")
    settled = differences(lambda *t: float(array(f(*t))), x, v)
    if settled:
        counts["differences"] += 1
        near(slope, float(settled[0]), float(settled[1]) + rounding, "forward mode and differences")
    over = pd.hvp(f, x, v)[1]
    twice = pd.grad(lambda *t: sum((a * b).sum() for a, b in zip(gradient(*t), v)), argnums=where)(*x)
    along = [dot([a], [b]) for a, b in zip(over, v)]
    other = [dot([a], [b]) for a, b in zip(twice, v)]
    size = sum(float(np.sum(np.abs(array(a) * array(b)))) for a, b in zip(twice, v)) + size
    if np.isfinite(size) and size < 1e12:
        rounding = 2.0**28 * np.finfo(float).eps * max(size, 1)
        for k, (a, b) in enumerate(zip(along, other)):
            near(a, b, rounding, f"second derivative by input {k}, forward over reverse and reverse twice")
        settled = differences(lambda *t: dot(gradient(*t), v), x, v)
        if settled:
            counts["second differences"] += 1
            near(sum(along), float(settled[0]), float(settled[1]) + rounding, "second derivative and differences")


def check_vmap(p):
    """The program and its gradient over a batch against a loop. Bits may differ: a product of a batch is another kernel."""
    f, x, _ = moving(p)
    if not x or any(s.op in NOT_MAPPED for s in p.steps):
        return
    where = tuple(range(len(x)))
    rng = np.random.default_rng(2)
    batch = [pd.tensor(array(t) + rng.uniform(-0.1, 0.1, (2, *t.shape))) for t in x]
    gradient = pd.grad(f, argnums=where)
    together = pd.vmap(gradient)(*batch)
    for i in range(2):
        one = gradient(*[b[i] for b in batch])
        for k, (a, b) in enumerate(zip(together, one)):
            a, b = array(a[i]), array(b)
            scale = max(np.abs(b).max(initial=0), 1)
            if np.isfinite(scale) and scale < 1e12 and not np.abs(a - b).max(initial=0) <= 2.0**28 * np.finfo(float).eps * scale:
                raise Fault(f"gradient by input {k} under vmap: {a.tolist()} for {b.tolist()}\n{p}")


# ---- many


def check(seed, number, counts=None):
    """Draws and checks one program; raises Fault, or what pydiff raised."""
    counts = collections.Counter() if counts is None else counts
    with np.errstate(all="ignore"):
        p = draw(seed, number)
        counts["steps"] += len(p.steps)
        counts.update(f"op {s.op}" for s in p.steps)
        check_values(p, number)
        if p.smooth:
            counts["smooth"] += 1
            check_derivatives(p, counts)
            if number % (2 * SMOOTH_EVERY) == SMOOTH_EVERY - 1:
                check_vmap(p)
    return p


def work(seed, first, last, status):
    """Checks the programs of one process; each number goes to the status file before its program runs."""
    counts = collections.Counter()
    for number in range(first, last):
        with open(status, "w") as f:
            f.write(str(number))
        if os.environ.get("PYDIFF_FUZZ_CRASH") == str(number):  # what test_fuzz_ops.py asks for
            os.abort()
        faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
        try:
            check(seed, number, counts)
        except Exception as error:
            detail = str(error) if isinstance(error, AssertionError) else "".join(traceback.format_exception(error)[-12:])
            print(f"FAULT {number}\n{detail}\nEND", flush=True)
            counts["faults"] += 1
        counts["cases"] += 1
    faulthandler.cancel_dump_traceback_later()
    print("COUNTS " + " ".join(f"{k.replace(' ', '~')}={v}" for k, v in counts.items()), flush=True)


def run(cases, seed, jobs, quiet=False):
    """Checks `cases` programs in `jobs` processes at once; (counts, faults)."""
    import tempfile

    counts, faults, running = collections.Counter(), [], []
    todo = collections.deque((a, min(a + BATCH, cases)) for a in range(0, cases, BATCH))
    start = time.monotonic()
    env = dict(os.environ, PYDIFF_JIT="off", PYTHONPATH=os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    with tempfile.TemporaryDirectory() as folder:
        while todo or running:
            while todo and len(running) < jobs:
                first, last = todo.popleft()
                status, out = Path(folder, f"{first}.at"), Path(folder, f"{first}.out").open("w+")
                command = [sys.executable, str(HERE / "fuzz_ops.py"), "--seed", str(seed), "--work", str(first), str(last), str(status)]
                running.append((subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env), first, last, status, out))
            done = next((r for r in running if r[0].poll() is not None), None)
            if done is None:
                time.sleep(0.05)
                continue
            running.remove(done)
            process, first, last, status, out = done
            code = process.returncode
            out.seek(0)
            text = out.read()
            out.close()
            for fault in text.split("FAULT ")[1:]:
                faults.append(fault.partition("\nEND")[0])
                if not quiet:
                    print(f"program {faults[-1]}\n", flush=True)
            if code:
                at = int(status.read_text() or first)
                faults.append(f"{at}\ncrashed with {code}: {text[-2000:]}")
                print(f"program {faults[-1]}\n", flush=True)
                counts["crashes"] += 1
                counts["cases"] += at + 1 - first
                if at + 1 < last:
                    todo.appendleft((at + 1, last))
            for line in text.splitlines():
                if line.startswith("COUNTS "):
                    counts.update({k.replace("~", " "): int(v) for k, v in (part.split("=") for part in line.split()[1:])})
            if not quiet and first % (20 * BATCH) == 0:
                print(f"{counts['cases']} programs, {len(faults)} faults, {time.monotonic() - start:.0f} s", flush=True)
    return counts, faults


def summary(counts, faults, seed):
    drawn = {k[3:]: n for k, n in counts.items() if k.startswith("op ")}
    least = sorted(drawn.items(), key=lambda item: item[1])[:5]
    return (
        f"{counts['cases']} programs, seed {seed}: {counts['crashes']} crashes, {len(faults) - counts['crashes']} disagreements; "
        f"{counts['steps']} steps of {len(drawn)} operations (of {len(TABLE)}), least often {', '.join(f'{n} {k}' for k, n in least)}; "
        f"{counts['smooth']} programs differentiated twice, {counts['differences']} and {counts['second differences']} held to differences"
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices")
    parser.add_argument("--case", type=int, help="one program, printed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work or options.case is not None:
        pd._C.set_jit_mode("off")
    if options.work:
        return work(options.seed, int(options.work[0]), int(options.work[1]), options.work[2])
    if options.case is not None:
        print(draw(options.seed, options.case))
        check(options.seed, options.case)
        return print("agrees")
    counts, faults = run(options.cases, options.seed, options.jobs)
    print(summary(counts, faults, options.seed))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
