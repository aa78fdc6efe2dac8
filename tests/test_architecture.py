"""The rules of docs/LAYOUT.md, read off the sources: rooms, names, sizes, documentation."""

import ast
import functools
import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC, PACKAGE = ROOT / "csrc", ROOT / "pydiff"

# Each room includes only itself and those before it.
ROOMS = ["base", "device", "graph", "ops", "autodiff", "rewrite", "fuse", "kernels", "exec", "python"]

pytestmark = pytest.mark.smoke


def sources(folder, *endings):
    return sorted(p for e in endings for p in folder.rglob("*" + e) if "build" not in p.parts and "__pycache__" not in p.parts)


CPP = sources(CSRC, ".h", ".cpp", ".inc", ".def")


def text_of(path):
    return path.read_text(encoding="utf-8")


@functools.lru_cache(None)
def code_of(path):
    """A C++ file without its comments, and without strings but those of #include."""
    body = re.sub(r"//[^\n]*|/\*.*?\*/", " ", text_of(path), flags=re.S)
    string = r'"(?:\\.|[^"\\\n])*"'
    return "\n".join(l if l.lstrip().startswith("#include") else re.sub(string, '""', l) for l in body.splitlines())


def name(path):
    return str(path.relative_to(ROOT))


# ---- rooms


def test_every_file_is_in_a_room():
    assert {p.relative_to(CSRC).parts[0] for p in CPP} <= set(ROOMS)
    assert len(CPP) > 100


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_includes_only_rooms_before_it(room):
    wrong = []
    for path in CPP:
        here = path.relative_to(CSRC).parts[0]
        if here != room:
            continue
        for target in re.findall(r'#include\s+"([^"]+)"', code_of(path)):
            there = target.split("/")[0]
            if "/" not in target:
                there = here if (path.parent / target).exists() else target
            if there not in ROOMS[: ROOMS.index(here) + 1]:
                wrong.append(f"{name(path)} includes {target}")
    assert not wrong, "\n".join(wrong)


def test_includes_are_found():
    for path in CPP:
        for target in re.findall(r'#include\s+"([^"]+)"', code_of(path)):
            assert (CSRC / target).exists() or (path.parent / target).exists(), f"{name(path)} includes {target}"


def test_no_toolkit_is_needed_to_build():
    for path in CPP:
        for target in re.findall(r"#include\s+<([^>]+)>", code_of(path)):
            assert not re.match(r"cuda|nvrtc|cublas|cudnn|thrust|cub/", target), f"{name(path)} includes {target}"


def test_only_the_python_room_knows_python():
    for path in CPP:
        if path.relative_to(CSRC).parts[0] != "python":
            assert not re.search(r"\bPy_|\bPyObject\b|pybind11", code_of(path)), name(path)


# ---- no op is named where rows and traits are read

# autodiff/ adds cotangents up, multiplies, and sums what broadcasting repeated.
CALCULUS = {"add", "mul", "sum", "reduce_sum"}
# What else is named, each with the reason.
NAMED = {
    ("autodiff", "expand"): "gives a result that does not depend on the batch its batch axis",
    ("fuse", "cast"): "a loop program converts at loads and stores: one instruction of its own",
    ("exec", "cast"): "numbers are converted to the type that their kernel reads",
}


def all_ops():
    rows = set()
    for path in sources(CSRC / "ops" / "rows", ".def"):
        rows |= set(re.findall(r"^(?:ROW\d|DRAW)\((\w+)", text_of(path), re.M))
    families = set(re.findall(r"X\((\w+), \w+\)", text_of(CSRC / "ops" / "op_ids.h")))
    assert len(rows) > 60 and len(families) > 20
    return rows | families


def named_ops(room):
    """Ops that a room names: as op::name, in find_op("name"), or, in autodiff/, as a function of values."""
    ops, found = all_ops(), {}
    for path in CPP:
        if path.relative_to(CSRC).parts[0] != room:
            continue
        names = re.findall(r"\bop::(\w+)", code_of(path)) + re.findall(r'find_op\("(\w+)"\)', text_of(path))
        if room == "autodiff":  # no method of that name, nor std::name
            names += re.findall(r"(?<![\w.:>~])(?<!\* )(\w+)\(", code_of(path))
        for op in ops.intersection(names):
            found.setdefault(op, set()).add(name(path))
    return found


@pytest.mark.parametrize("room", ["autodiff", "fuse", "exec", "device", "graph"])
def test_no_op_is_named(room):
    allowed = {op for r, op in NAMED if r == room} | (CALCULUS if room == "autodiff" else set())
    wrong = {op: sorted(files) for op, files in named_ops(room).items() if op not in allowed}
    assert not wrong, wrong


def test_every_exception_is_still_needed():
    unused = [(room, op) for room, op in NAMED if op not in named_ops(room)]
    assert not unused, unused


# ---- files


def test_no_file_is_over_800_lines():
    folders = [CSRC, PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "examples", ROOT / "docs"]
    wrong = []
    for folder in folders:
        for path in sources(folder, ".h", ".cpp", ".inc", ".def", ".cu", ".cuh", ".py"):  # stubs are generated, and long
            lines = text_of(path).count("\n")
            if lines > 800:
                wrong.append(f"{name(path)}: {lines}")
    assert not wrong, wrong


def test_every_source_says_what_it_is():
    """The first line of a Python file is a docstring; of a header, a comment."""
    for path in sources(PACKAGE, ".py"):
        assert ast.get_docstring(ast.parse(text_of(path))), name(path)
    for path in CPP:
        if path.suffix in (".h", ".def", ".inc"):
            assert text_of(path).startswith("//"), name(path)


def test_nothing_is_left_to_do():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplemented:)\b")
    for path in CPP + sources(PACKAGE, ".py"):
        assert not marks.search(text_of(path)), name(path)


# ---- Python rooms


def imports(path):
    """(module, level) of each import of a Python file, wherever it stands."""
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, 0
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node.level
            for alias in node.names:
                yield (node.module + "." if node.module else "") + alias.name, node.level


def test_only_the_fallback_imports_cupy():
    for path in sources(PACKAGE, ".py"):
        if "fallback" in path.parts:
            continue
        assert not any(m.split(".")[0] in ("cupy", "cupyx") for m, _ in imports(path)), name(path)


def test_torch_is_no_dependency():
    for path in sources(PACKAGE, ".py"):
        if path.relative_to(PACKAGE).parts[0] == "io":
            continue  # reads PyTorch's checkpoints, where PyTorch is installed
        assert not any(m.split(".")[0] == "torch" for m, _ in imports(path)), name(path)


def test_only_the_face_imports_the_extension():
    """Of pydiff/, the modules themselves and fallback/, which attaches rules to the tape; nn, optim, numpy and
    the rest are written as a user's code would be, or through _core."""
    wrong = set()
    for path in sources(PACKAGE, ".py"):
        folders = path.relative_to(PACKAGE).parts[:-1]
        if not folders or folders[0] == "fallback":
            continue
        for module, level in imports(path):
            if (level and module.split(".")[0] == "_C") or module.startswith("pydiff._C"):
                wrong.add(name(path))
    assert not wrong, sorted(wrong)


# ---- documentation

pd = pytest.importorskip("pydiff")


def test_every_op_is_documented():
    for row in pd._C.op_table():
        assert row["doc"].endswith("."), row["name"]


def public_names(module):
    listed = getattr(module, "__all__", None)
    for key in listed if listed is not None else [k for k in vars(module) if not k.startswith("_")]:
        yield key, getattr(module, key)


def modules():
    for path in sources(PACKAGE, ".py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if any(p.startswith("_") and p != "__init__" for p in parts):
            continue
        parts = [p for p in parts if p != "__init__"]
        yield ".".join(["pydiff", *parts])


OPTIONAL = {"cupy", "ml_dtypes", "torch", "safetensors", "matplotlib", "sklearn"}


def load(module):
    try:
        return importlib.import_module(module)
    except ImportError as e:
        if e.name in OPTIONAL:
            pytest.skip(f"{e.name} is not installed")
        raise


@pytest.mark.parametrize("module", list(modules()))
def test_every_public_name_has_a_docstring(module):
    missing = []
    loaded = load(module)
    for key, value in public_names(loaded):
        if inspect.ismodule(value) or not callable(value):
            continue
        if not (getattr(value, "__module__", "") or "pydiff").startswith(("pydiff", "builtins")):
            continue
        if not (getattr(value, "__doc__", None) or "").strip():
            missing.append(f"{module}.{key}")
        if inspect.isclass(value) and value.__module__ == module:
            for method in vars(value):  # inspect.getdoc: an overriding method has the docstring of what it overrides
                f = getattr(value, method)
                if not method.startswith("_") and callable(f) and not inspect.getdoc(f):
                    missing.append(f"{module}.{key}.{method}")
    assert not missing, missing


def test_every_tensor_method_has_a_docstring():
    missing = [k for k, v in vars(pd.Tensor).items() if not k.startswith("_") and not (v.__doc__ or "").strip()]
    assert not missing, missing


def flags():
    found = {}
    for path in CPP + sources(PACKAGE, ".py") + [ROOT / "setup.py"]:
        for flag in re.findall(r"[\"'](PYDIFF_[A-Z_]+)[\"']", text_of(path)):
            found.setdefault(flag, name(path))
    return found


def test_every_flag_is_documented():
    documented = text_of(ROOT / "docs" / "FLAGS.md")
    missing = {f: p for f, p in flags().items() if f not in documented}
    assert not missing, missing


def test_every_documented_flag_is_read():
    documented = set(re.findall(r"\bPYDIFF_[A-Z_]+\b", text_of(ROOT / "docs" / "FLAGS.md")))
    assert documented <= set(flags()), documented - set(flags())
