"""Every public name of PyTorch's dense tensors, and of NumPy's, looked up in pydiff: the page docs/TORCH_NAMES.md.

    python tests/torch_names.py            counts, and what differs in its arguments
    python tests/torch_names.py --write    writes the page
    python tests/torch_names.py NAME …     only these, with what PyTorch takes and what pydiff does

A name is the same where pydiff has it and takes every argument that PyTorch's schemas and signatures name, by position
and by keyword. What the values are is tested elsewhere (docs/TORCH.md); differences known there are told here too.
"""

import argparse
import collections
import functools
import inspect
import re
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import name_reasons  # noqa: E402
import numpy as np  # noqa: E402

import pydiff as pd  # noqa: E402
from pydiff._public import PublicFunction  # noqa: E402

try:
    import torch
except ImportError:  # the page can be read without it
    torch = None

SAME, DIFFERS, ABSENT = "same", "differs", "no"
Row = collections.namedtuple("Row", "name state why")

PAGE = Path(__file__).resolve().parents[1] / "docs" / "TORCH_NAMES.md"
#: Sections of the page: PyTorch's, and where its names are looked up in pydiff.
SPACES = {
    "torch": pd, "torch.Tensor": pd.Tensor, "torch.nn.functional": pd.nn.functional, "torch.linalg": pd.linalg,
    "torch.special": pd.special,
}  # fmt: skip
NUMPY = {"numpy ufuncs": pd, "numpy functions": pd}
#: Sections whose names are classes as well as functions, and where each is looked up; classes by their constructors.
CLASSES = (
    "torch.nn torch.nn.Module torch.nn.init torch.nn.utils torch.nn.utils.rnn torch.nn.utils.parametrize "
    "torch.nn.utils.parametrizations torch.optim torch.optim.lr_scheduler torch.optim.swa_utils torch.amp torch.utils.data torch.func"
).split()
SPACES |= {space: functools.reduce(getattr, space.split(".")[1:], pd) for space in CLASSES}
#: Arguments that no function here takes; the head of the page says why.
EVERYWHERE = {"out", "layout", "pin_memory", "names"}


# ---- PyTorch's names


def of_torch(space):
    """The object that a section's name means in PyTorch."""
    return functools.reduce(getattr, space.split(".")[1:], torch)


def public(space):
    """The names of a section: of `torch` functions, dtypes and constants; classes, modules and types are no operations."""
    owner = of_torch(space)
    for name in sorted(set(dir(owner))):
        value = getattr(owner, name, None)
        if name.startswith("_") or inspect.ismodule(value) or name in name_reasons.NO_NAMES:
            continue
        if space in CLASSES:
            if not callable(value) or not belongs(space, value):
                continue
        elif space != "torch.Tensor":
            if inspect.isclass(value) and not (space == "torch" and name in name_reasons.CLASSES):
                continue
            if type(value).__module__ == "typing" or isinstance(value, (str, dict)):
                continue
        yield name, value


def belongs(space, value):
    """Whether it was written for that section, and not imported there for its own use."""
    home = getattr(value, "__module__", None) or ""
    return space == "torch.nn.Module" or home.startswith(("torch.nn", "torch.optim", "torch.amp", "torch.utils.data", "torch._functorch", "torch.func"))


# ---- what arguments a function of PyTorch takes

Arguments = collections.namedtuple("Arguments", "positional keyword")


def schemas(name):
    """PyTorch's own declarations of an operation, those that write into `out` or name axes left out."""
    found = []
    for schema in torch._C._jit_get_schemas_for_operator(f"aten::{name}"):
        arguments = schema.arguments
        if any(a.is_out or "Dimname" in str(a.type) for a in arguments):
            continue
        if not any("Tensor" in str(a.type) for a in [*arguments, *schema.returns]):
            continue  # of numbers and lists, in TorchScript
        words = [("input" if a.name == "self" else a.name, a.kwarg_only) for a in arguments]
        found.append(Arguments([n for n, k in words if not k], [n for n, k in words if k]))
    return found


def signature(function):
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = ["input" if p.name == "self" else p.name for p in parameters if p.kind in kinds]
    return [Arguments(names, [p.name for p in parameters if p.kind is p.KEYWORD_ONLY])]


def documented(name, function):
    """The arguments in the first line of a docstring, for what has neither schema nor signature."""
    line = re.match(rf"\s*{name}\(([^)]*)\)", function.__doc__ or "")
    if not line:
        return []
    words, keyword = Arguments([], []), False
    for part in line[1].replace("[", "").replace("]", "").split(","):
        word = re.match(r"\s*(\*?)(\w*)", part)
        if word[1] and not word[2]:
            keyword = True
        elif word[2] and not word[1]:
            (words.keyword if keyword else words.positional).append("input" if word[2] == "self" else word[2])
    return [words]


def taken_by_torch(space, name, function):
    if inspect.isfunction(function) or inspect.isclass(function):
        return signature(function)
    if name in name_reasons.DOCUMENTED:
        return documented(name, function)
    prefix = {"torch.linalg": "linalg_", "torch.special": "special_"}.get(space, "")
    own = getattr(function, "__name__", name)
    found = schemas(prefix + name) or schemas(own) or documented(name, function)
    if space == "torch.Tensor":
        return [Arguments(a.positional if a.positional[:1] == ["input"] else ["input", *a.positional], a.keyword) for a in found]
    return found


# ---- what pydiff takes


def takes(function, word, is_method):
    """Whether a function of pydiff knows a keyword: by its signature, or by what it says when it is given one."""
    try:
        parameters = inspect.signature(function).parameters
        if word in parameters or (word == "input" and next(iter(parameters), "") == "self"):
            return True
        unwrapped = inspect.unwrap(function)
        if inspect.isfunction(unwrapped) and not isinstance(function, PublicFunction):  # which reads other names
            return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(unwrapped).parameters.values())
    except ValueError:
        pass
    first = (pd.ones(2, 2),) if is_method else ()
    try:
        function(*first, **{word: None})
    except Exception as error:
        return not re.search("unknown argument|unexpected keyword|takes no", str(error))
    return True


def position(function, word):
    try:
        return list(inspect.signature(function).parameters).index(word)
    except ValueError:
        return None


def differences(space, name, theirs, ours):
    """What PyTorch's function takes and pydiff's does not, in words."""
    is_method, missing, turned = space in ("torch.Tensor", "torch.nn.Module"), [], []
    for arguments in taken_by_torch(space, name, theirs):
        for k, word in enumerate([*arguments.positional, *arguments.keyword]):
            if word in EVERYWHERE or (is_method and k == 0) or word in name_reasons.INTERNAL_WORDS:
                continue
            if f"{name}.{word}" in name_reasons.ARTEFACTS:
                continue
            if not takes(ours, word, is_method):
                missing.append(word)
            elif k < len(arguments.positional):
                place = position(ours, word)
                if place is not None and place != k and f"{name}.{word}" not in name_reasons.MAY_MOVE:
                    turned.append(word)
    parts = []
    if missing:
        parts.append("does not take " + ", ".join(f"`{w}`" for w in dict.fromkeys(missing)))
    if turned:
        parts.append("another place for " + ", ".join(f"`{w}`" for w in dict.fromkeys(turned)))
    return "; ".join(parts)


# ---- rows


def known_difference(space, name):
    """What docs/TORCH.md says of the values."""
    import torch_samples

    entry = {"torch.nn.functional": "nn.functional.", "torch.linalg": "linalg.", "torch.special": "special."}.get(space, "") + name
    why = torch_samples.MEANT.get(entry)
    return None if why in (torch_samples.OTHER_CALL, torch_samples.TIES) else why


def reason(space, name):
    """Why a name is not here, or None where nobody has said."""
    for where, pattern, why in name_reasons.ABSENT:
        if space in where.split(", ") and re.fullmatch(pattern, name):
            return why
    return None


def row(space, name, theirs):
    home = SPACES[space]
    if not hasattr(home, name):
        return Row(name, ABSENT, reason(space, name) or "?")
    said = name_reasons.DIFFERS.get(f"{space}.{name}") or known_difference(space, name)
    ours = getattr(home, name)
    compared = callable(ours) and callable(theirs) and (space in CLASSES or not inspect.isclass(ours))
    found = differences(space, name, theirs, ours) if compared else ""
    why = "; ".join(x for x in (said, "" if said and f"{space}.{name}" in name_reasons.COVERS else found) if x)
    return Row(name, DIFFERS if why else SAME, why)


def numpy_rows(section):
    for name in sorted(dir(np)):
        value = getattr(np, name)
        if name.startswith("_"):
            continue
        if (section == "numpy ufuncs") != isinstance(value, np.ufunc):
            continue
        if section != "numpy ufuncs" and (inspect.isclass(value) or inspect.ismodule(value) or not callable(value)):
            continue
        if hasattr(pd, name):
            why = name_reasons.NUMPY_DIFFERS.get(name, "")
            yield Row(name, DIFFERS if why else SAME, why)
        else:
            yield Row(name, ABSENT, reason(section, name) or "?")


def sections():
    """(section, its rows), in the page's order."""
    for space in SPACES:
        yield space, [row(space, name, value) for name, value in public(space)]
    for section in NUMPY:
        yield section, list(numpy_rows(section))


# ---- the page


def counts(rows):
    of = collections.Counter(r.state for r in rows)
    return {"total": len(rows), **{state: of[state] for state in (SAME, DIFFERS, ABSENT)}}


def page(found):
    found = list(found)
    head = name_reasons.HEAD.format(torch=torch.__version__.partition("+")[0], numpy=np.__version__)
    head += "| section | names | same | differs | not here |\n| --- | --- | --- | --- | --- |\n"
    for space, rows in found:
        head += "| [{0}](#{1}) | {total} | {same} | {differs} | {no} |\n".format(space, anchor(space), **counts(rows))
    parts = [head]
    for space, rows in found:
        parts.append(f"\n## {space}\n\n| name | here | how it differs, or why it is not here |\n| --- | --- | --- |\n")
        # Names that are not here for one reason stand together.
        absent = collections.defaultdict(list)
        for r in rows:
            if r.state == ABSENT:
                absent[r.why].append(r.name)
            else:
                parts.append(f"| `{r.name}` | {r.state} | {r.why} |\n")
        for why, names in absent.items():
            parts.append(f"| {' '.join(f'`{n}`' for n in names)} | {ABSENT} | {why} |\n")
    return "".join(parts)


def anchor(space):
    return space.lower().replace(".", "").replace(" ", "-")


def listed(state=SAME):
    """(section, name) of the rows of the page with that state."""
    space = None
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            space = line[3:]
        cells = re.match(r"\| (`.*`) \| (\w+) \| (.*) \|$", line)
        if space and cells and cells[2] == state:
            for name in re.findall(r"`([^`]+)`", cells[1]):
                yield space, name


def home(space):
    return SPACES.get(space) or NUMPY[space]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="names to look at (default: all)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[1])}")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    found = list(sections())
    for space, rows in found:
        for r in rows:
            if r.name in options.names or (not options.names and (r.why == "?" or "does not take" in r.why or "place for" in r.why)):
                print(f"{space}.{r.name}: {r.state} {r.why}")
    for space, rows in found:
        print("{0}: {total} names: {same} same, {differs} differ, {no} not here".format(space, **counts(rows)))
    if options.write and not options.names:
        PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
