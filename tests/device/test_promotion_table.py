"""The whole table of promotion: every pair of dtypes, of tensors with axes, 0-d tensors and Python numbers.

The table stands here as data, so that it holds where PyTorch is not installed; where it is, it is checked against
PyTorch. A star marks what PyTorch refuses and pydiff defines (docs/DTYPES.md, which has the first table too).
"""

import itertools
import pathlib

import numpy as np
import pytest
from oracle import array

import pydiff as pd

# Of equal rank: both tensors with axes, or both 0-d tensors.
EQUAL_RANK = """
       bool    u8    i8   i16   i32   i64   u16   u32   u64   f16  bf16   f32   f64
bool   bool    u8    i8   i16   i32   i64  u16*  u32*  u64*   f16  bf16   f32   f64
u8       u8    u8   i16   i16   i32   i64  u16*  u32*  u64*   f16  bf16   f32   f64
i8       i8   i16    i8   i16   i32   i64  i32*  i64*  f64*   f16  bf16   f32   f64
i16     i16   i16   i16   i16   i32   i64  i32*  i64*  f64*   f16  bf16   f32   f64
i32     i32   i32   i32   i32   i32   i64  i32*  i64*  f64*   f16  bf16   f32   f64
i64     i64   i64   i64   i64   i64   i64  i64*  i64*  f64*   f16  bf16   f32   f64
u16    u16*  u16*  i32*  i32*  i32*  i64*   u16  u32*  u64*   f16  bf16   f32   f64
u32    u32*  u32*  i64*  i64*  i64*  i64*  u32*   u32  u64*   f16  bf16   f32   f64
u64    u64*  u64*  f64*  f64*  f64*  f64*  u64*  u64*   u64   f16  bf16   f32   f64
f16     f16   f16   f16   f16   f16   f16   f16   f16   f16   f16   f32   f32   f64
bf16   bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16   f32  bf16   f32   f64
f32     f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f64
f64     f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64
"""

# A tensor with axes (row) and a 0-d tensor (column).
TENSOR_AND_0D = """
       bool    u8    i8   i16   i32   i64   u16   u32   u64   f16  bf16   f32   f64
bool   bool    u8    i8   i16   i32   i64  u16*  u32*  u64*   f16  bf16   f32   f64
u8       u8    u8    u8    u8    u8    u8    u8    u8    u8   f16  bf16   f32   f64
i8       i8    i8    i8    i8    i8    i8    i8    i8    i8   f16  bf16   f32   f64
i16     i16   i16   i16   i16   i16   i16   i16   i16   i16   f16  bf16   f32   f64
i32     i32   i32   i32   i32   i32   i32   i32   i32   i32   f16  bf16   f32   f64
i64     i64   i64   i64   i64   i64   i64   i64   i64   i64   f16  bf16   f32   f64
u16     u16   u16   u16   u16   u16   u16   u16   u16   u16   f16  bf16   f32   f64
u32     u32   u32   u32   u32   u32   u32   u32   u32   u32   f16  bf16   f32   f64
u64     u64   u64   u64   u64   u64   u64   u64   u64   u64   f16  bf16   f32   f64
f16     f16   f16   f16   f16   f16   f16   f16   f16   f16   f16   f16   f16   f16
bf16   bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16  bf16
f32     f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32   f32
f64     f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64   f64
"""

# A tensor, with axes or 0-d (row), and a Python number (column).
TENSOR_AND_NUMBER = """
       True     1   1.0
bool   bool   i64   f32
u8       u8    u8   f32
i8       i8    i8   f32
i16     i16   i16   f32
i32     i32   i32   f32
i64     i64   i64   f32
u16     u16   u16   f32
u32     u32   u32   f32
u64     u64   u64   f32
f16     f16   f16   f16
bf16   bf16  bf16  bf16
f32     f32   f32   f32
f64     f64   f64   f64
"""

LONG = {
    "bool": "bool", "u8": "uint8", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u16": "uint16", "u32": "uint32",
    "u64": "uint64", "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
}  # fmt: skip
NAMES = list(LONG.values())
NUMBERS = {"True": True, "1": 1, "1.0": 1.0}
CATEGORIES = ["bool", "integer", "floating"]
DOCS = pathlib.Path(__file__).resolve().parents[2] / "docs" / "DTYPES.md"


def parsed(text):
    """{(row, column): (dtype, whether PyTorch has it)}"""
    head, *lines = [line.split() for line in text.strip("\n").splitlines()]
    out = {}
    for row, *cells in lines:
        assert len(cells) == len(head)
        for column, cell in zip(head, cells):
            out[LONG[row], LONG.get(column, column)] = (LONG[cell.rstrip("*")], not cell.endswith("*"))
    return out


def table():
    """{((rank, name), (rank, name)): (dtype, whether PyTorch has it)} of ranks "axes", "0-d" and "number"."""
    out = {}
    for (a, b), result in parsed(EQUAL_RANK).items():
        for rank in ("axes", "0-d"):
            out[(rank, a), (rank, b)] = result
    for (a, b), result in parsed(TENSOR_AND_0D).items():
        out[("axes", a), ("0-d", b)] = out[("0-d", b), ("axes", a)] = result
    for (a, b), result in parsed(TENSOR_AND_NUMBER).items():
        for rank in ("axes", "0-d"):
            out[(rank, a), ("number", b)] = out[("number", b), (rank, a)] = result
    return out


TABLE = table()
RANKS = ["axes", "0-d", "number"]
BOTH = [(a, b) for a in RANKS for b in RANKS if (a, b) != ("number", "number")]


def operand(module, rank, name):
    if rank == "number":
        return NUMBERS[name]
    return module.ones((2,) if rank == "axes" else (), dtype=getattr(module, name))


def pairs(ranks):
    """(what, one operand, the other, the dtype of the table, whether PyTorch has it) of two ranks."""
    for (a, b), (dtype, known) in TABLE.items():
        if (a[0], b[0]) == ranks:
            yield f"{a[1]} ({a[0]}) with {b[1]} ({b[0]})", a, b, dtype, known


def name_of(dtype):
    return str(dtype).rpartition(".")[2]


def category(dtype):
    return CATEGORIES.index(getattr(pd, dtype).category)


def test_the_table_is_whole():
    n = len(NAMES)
    assert len(TABLE) == 2 * n * n + 2 * n * n + 2 * 2 * n * 3
    assert all(TABLE[a, b] == TABLE[b, a] for a, b in TABLE)
    assert f"```\n{EQUAL_RANK.strip(chr(10))}\n```" in DOCS.read_text(encoding="utf-8")


@pytest.mark.parametrize("ranks", BOTH, ids="-".join)
def test_pytorch_has_the_same_table(ranks):
    torch = pytest.importorskip("torch")
    for what, a, b, dtype, known in pairs(ranks):
        x, y = operand(torch, *a), operand(torch, *b)
        if known:
            assert name_of(torch.result_type(x, y)) == dtype, what
        else:
            with pytest.raises(RuntimeError, match="not supported"):
                torch.result_type(x, y)


@pytest.mark.parametrize("ranks", BOTH, ids="-".join)
@pytest.mark.smoke
def test_result_type(ranks):
    for what, a, b, dtype, _ in pairs(ranks):
        assert name_of(pd.result_type(operand(pd, *a), operand(pd, *b))) == dtype, what


def test_promote_types():
    for a, b in itertools.product(NAMES, NAMES):
        assert name_of(pd.promote_types(getattr(pd, a), getattr(pd, b))) == TABLE[("axes", a), ("axes", b)][0], (a, b)


def test_where_pytorch_has_no_answer_it_is_numpys():
    for (a, b), (dtype, known) in parsed(EQUAL_RANK).items():
        if not known:
            assert np.promote_types(a, b) == np.dtype(dtype), (a, b)


ARITHMETIC = {
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "maximum": lambda a, b: pd.maximum(a, b),
    "where": lambda a, b: pd.where(pd.tensor([True, False]), a, b),
    "-": lambda a, b: a - b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "**": lambda a, b: a**b,
    "&": lambda a, b: a & b,
    "<<": lambda a, b: a << b,
}
NOT_OF_BOOL, NOT_OF_FLOATS = {"-", "//", "%", "<<"}, {"&", "<<"}


@pytest.mark.parametrize("ranks", BOTH, ids="-".join)
@pytest.mark.parametrize("sign", ARITHMETIC)
def test_arithmetic(sign, ranks):
    for what, a, b, dtype, _ in pairs(ranks):
        x, y = operand(pd, *a), operand(pd, *b)
        if (dtype == "bool" and sign in NOT_OF_BOOL) or (category(dtype) == 2 and sign in NOT_OF_FLOATS):
            with pytest.raises(TypeError, match="not defined for this type"):
                ARITHMETIC[sign](x, y)
            continue
        expected = "int64" if sign == "**" and dtype == "bool" else dtype
        assert name_of(ARITHMETIC[sign](x, y).dtype) == expected, (what, sign)


@pytest.mark.parametrize("default", ["float32", "float64"])
@pytest.mark.parametrize("ranks", BOTH, ids="-".join)
def test_true_division_and_functions_of_floats(ranks, default):
    before = pd.get_default_dtype()
    pd.set_default_dtype(getattr(pd, default))
    try:
        for what, a, b, dtype, _ in pairs(ranks):
            if "1.0" in (a[1], b[1]) and min(category(v[1]) for v in (a, b) if v[0] != "number") < 2:
                dtype = default  # a Python float beside integers
            expected = dtype if category(dtype) == 2 else default
            x, y = operand(pd, *a), operand(pd, *b)
            assert name_of((x / y).dtype) == name_of(pd.atan2(x, y).dtype) == expected, what
    finally:
        pd.set_default_dtype(before)


@pytest.mark.parametrize("ranks", BOTH, ids="-".join)
def test_comparisons_are_bool_of_promoted_operands(ranks):
    for what, a, b, _, _ in pairs(ranks):
        x, y = operand(pd, *a), operand(pd, *b)
        for f in (lambda: x < y, lambda: x >= y, lambda: x == y, lambda: x != y):
            assert f().dtype == pd.bool, what
    assert (pd.tensor([-1], dtype=pd.int64) < pd.tensor([2**63], dtype=pd.uint64)).item()
    assert (pd.tensor([-1], dtype=pd.int8) < pd.tensor([255], dtype=pd.uint8)).item()


def test_cat_and_stack():
    for a, b in itertools.product(NAMES, NAMES):
        x, y = operand(pd, "axes", a), operand(pd, "axes", b)
        expected = TABLE[("axes", a), ("axes", b)][0]
        assert name_of(pd.cat([x, y]).dtype) == name_of(pd.stack([x, y]).dtype) == expected, (a, b)
        zero = [operand(pd, "0-d", v) for v in (a, b)]
        assert name_of(pd.stack(zero).dtype) == expected, (a, b)


IN_PLACE = {
    "+=": (lambda t, o: t.__iadd__(o), lambda t, o: t + o),
    "*=": (lambda t, o: t.__imul__(o), lambda t, o: t * o),
    "/=": (lambda t, o: t.__itruediv__(o), lambda t, o: t / o),
    "add_": (lambda t, o: t.add_(o), lambda t, o: t + o),
}


@pytest.mark.parametrize("ranks", [r for r in BOTH if r[0] != "number" and r != ("0-d", "axes")], ids="-".join)
@pytest.mark.parametrize("sign", IN_PLACE)
def test_in_place_keeps_the_type_or_is_refused(sign, ranks):
    write, plain = IN_PLACE[sign]
    for what, a, b, _, _ in pairs(ranks):
        t, o = operand(pd, *a), operand(pd, *b)
        result = plain(t, o).dtype.name
        if category(result) > category(a[1]):
            with pytest.raises(RuntimeError, match=f"dtype cannot be kept in the tensor; got {result} for {a[1]}"):
                write(t, o)
            assert name_of(t.dtype) == a[1] and bool((t == 1).all())
        else:
            assert name_of(write(t, o).dtype) == a[1], what


@pytest.mark.parametrize("ranks", [r for r in BOTH if r[0] != "number" and r != ("0-d", "axes")], ids="-".join)
def test_pytorch_refuses_the_same_in_place(ranks):
    torch = pytest.importorskip("torch")
    for what, a, b, _, known in pairs(ranks):
        if not known or {a[1], b[1]} & {"uint16", "uint32", "uint64"}:
            continue  # no arithmetic there
        outcome = []
        for module in (pd, torch):
            t = operand(module, *a)
            try:
                t += operand(module, *b)
                outcome.append(array(t.double()).tolist())
            except RuntimeError:
                outcome.append("refused")
        assert outcome[0] == outcome[1], what


def test_values_of_mixed_unsigned_types():
    u = pd.tensor([2**64 - 1, 5], dtype=pd.uint64)
    assert (u + pd.tensor([1, 1], dtype=pd.uint8)).tolist() == [0, 6]
    assert (u - pd.tensor([1, 7])).tolist() == [2.0**64, -2.0]
    assert (pd.tensor([2**32 - 1], dtype=pd.uint32) + pd.tensor([-1], dtype=pd.int8)).tolist() == [2**32 - 2]
    assert (pd.tensor([65535], dtype=pd.uint16) * pd.tensor([-1], dtype=pd.int16)).tolist() == [-65535]
