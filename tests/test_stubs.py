"""The stubs say what the package offers, and type checkers accept them and programs that use them."""

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pd = pytest.importorskip("pydiff")

ROOT = Path(__file__).resolve().parents[1]

PROGRAM = '''
from typing import Any

import numpy as np

import pydiff as pd
from pydiff import Tensor, nn, optim


class Model(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.scale = nn.Parameter(pd.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.first(x)
        return (hidden * self.scale).relu().sum(dim=-1, keepdim=True)


def loss(w: Tensor, x: Tensor) -> Tensor:
    return ((x @ w).tanh() ** 2).mean()


@pd.no_grad()
def measure(x: Tensor) -> float:
    return float(x.max())


x = pd.randn(8, 4, dtype=pd.float32, requires_grad=True)
y: Tensor = (1 - x * 2.0 / 3 + np.ones(4)).exp().clamp(min=0, max=1)
y += 1
y.mul_(2).clamp_(max=3.0)
values, indices = y.max(dim=1)
mask: Tensor = (y > 0) & ~(y == 1)
rows, columns = y.shape
picked: Tensor = pd.where(mask, y, 0.0)[:, None, ..., 0]
narrow: Tensor = y.reshape(rows, -1).permute(1, 0).to(pd.float64, copy=True).float()
kind: pd.dtype = narrow.dtype
place: pd.device = pd.device("cpu")
wide: int = kind.itemsize + y.numel() + y.size(0)
array: np.ndarray[Any, np.dtype[Any]] = y.detach().cpu().numpy()
parts: tuple[Tensor, ...] = pd.split(pd.cat([y, y], dim=0), 4)
joined: Tensor = pd.stack(list(parts)).sort(dim=-1).values
first: Tensor = next(iter(pd.zeros((2, 3))))
twice = pd.custom_op("twice", shape=lambda x: x, cpu=lambda x: x * 2, c_flags=["-g"], vjp=lambda i, o, g: 2 * g[0])

model = Model(3)
optimizer = optim.Adam(model.parameters(), lr=1e-3)
result = nn.functional.mse_loss(model(x), pd.zeros(8, 1))
result.backward()
optimizer.step()
optimizer.zero_grad()
gradient: Tensor | None = x.grad

with pd.no_grad():
    answer: float = measure(y) + y.sum().item()
slope: Tensor = pd.grad(loss)(pd.ones(4), x)
each: Tensor = pd.vmap(pd.grad(loss, argnums=0), in_dims=(None, 0))(pd.ones(4), x)
value, pull = pd.vjp(loss, pd.ones(4), x)
pd.manual_seed(0)
'''

WRONG = """
import pydiff as pd

x = pd.ones(2)
x.no_such_method()
pd.no_such_function(x)
y: int = x.exp()
x.sum(dim="rows")
pd.float32 + 1
"""


def generator(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pydiff._stubs", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def names_in(body):
    """Names that a stub binds: definitions, annotated values, `x as x`."""
    found = set()
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname == alias.name}
    return found


def test_stubs_are_up_to_date():
    done = generator("--check")
    assert done.returncode == 0, "run python -m pydiff._stubs\n" + done.stdout[:4000] + done.stderr


def test_a_check_tells_what_differs(tmp_path, monkeypatch, capsys):
    from pydiff import _stubs

    monkeypatch.setattr(_stubs, "stubs", lambda: {tmp_path / "__init__.pyi": "x: int\n"})
    assert _stubs.main(["--check"]) == 1
    assert "+x: int" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
    assert _stubs.main([]) == 0 and _stubs.main(["--check"]) == 0


def test_every_public_name_of_the_package_is_in_the_stub():
    tree = ast.parse((ROOT / "pydiff" / "__init__.pyi").read_text(encoding="utf-8"))
    assert not set(pd.__all__) - names_in(tree.body)


def test_every_public_name_of_a_tensor_is_in_the_stub():
    tree = ast.parse((ROOT / "pydiff" / "_C.pyi").read_text(encoding="utf-8"))
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Tensor")
    public = {name for name in dir(pd.Tensor) if not name.startswith("_")}
    operators = {f"__{name}__" for name in "add radd iadd matmul pow rpow eq lt getitem setitem len iter bool".split()}
    assert not (public | operators) - names_in(cls.body)


def test_the_tables_name_what_exists():
    from pydiff import _stubs

    methods = {*dir(pd.Tensor), *dir(pd.Generator)}
    functions = {name.partition(".")[0] for name in _stubs.PARAMETERS_OF} | {*_stubs.RETURNS, *_stubs.WRITTEN}
    assert not functions - methods - set(dir(pd))
    assert not set(_stubs.WRITTEN_FUNCTIONS) - set(dir(pd))
    assert not set(_stubs.WRITTEN_METHODS) - methods


def mypy(tmp_path, *arguments):
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), "--ignore-missing-imports"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    return subprocess.run(
        [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )


def test_type_checking(tmp_path):
    """One test, so that the second call reads what the first one has learned of NumPy."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    # The layers and optimisers are plain Python without annotations: calling them is no error here.
    strict = ["--strict", "--allow-untyped-calls", "--allow-subclassing-any", "--follow-imports=silent"]
    stubs = [str(ROOT / "pydiff" / name) for name in ("__init__.pyi", "_C.pyi")]
    done = mypy(tmp_path, *strict, *stubs, str(program))
    assert done.returncode == 0, done.stdout + done.stderr

    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG, encoding="utf-8")
    done = mypy(tmp_path, "--follow-imports=silent", str(wrong))
    lines = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert lines == {5, 6, 7, 8, 9}, done.stdout + done.stderr


def test_the_program_runs():
    """What type checkers accept is what the package does."""
    exec(compile(PROGRAM, "program", "exec"), {"__name__": "program"})
