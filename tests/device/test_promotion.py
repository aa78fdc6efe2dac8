"""Type promotion against PyTorch: every pair of dtypes, tensors with and without axes, Python numbers."""

import itertools

import numpy as np
import pytest
from oracle import array

import pydiff as pd

NAMES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "float16", "bfloat16",
    "float32", "float64", "complex64", "complex128",
]  # fmt: skip
COMPUTE = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64"]


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def name_of(dtype):
    return str(dtype).rpartition(".")[2]


@pytest.mark.parametrize("a", NAMES)
@pytest.mark.smoke
def test_promote_types(a, torch):
    for b in NAMES:
        try:
            expected = name_of(torch.promote_types(getattr(torch, a), getattr(torch, b)))
        except RuntimeError:
            continue  # PyTorch has no answer for wide unsigned integers with signed ones
        assert name_of(pd.promote_types(getattr(pd, a), getattr(pd, b))) == expected, (a, b)


def test_promotion_is_commutative_and_idempotent():
    for a, b in itertools.product(NAMES, NAMES):
        x, y = getattr(pd, a), getattr(pd, b)
        assert pd.promote_types(x, y) == pd.promote_types(y, x), (a, b)
        assert pd.promote_types(x, pd.promote_types(x, y)) == pd.promote_types(x, y), (a, b)


def operands(module):
    """Tensors with axes, 0-d tensors and Python numbers of each type, each with its name."""
    for name in COMPUTE:
        yield f"{name} (2,)", module.ones(2, dtype=getattr(module, name))
        yield f"{name} ()", module.ones((), dtype=getattr(module, name))
    yield "True", True
    yield "1", 1
    yield "1.0", 1.0


TENSORS = 2 * len(COMPUTE)
PAIRS = [(a, b) for a in range(TENSORS + 3) for b in range(TENSORS + 3) if min(a, b) < TENSORS]


def test_result_type_of_every_pair_of_operands(torch):
    ours, theirs = list(operands(pd)), list(operands(torch))
    for a, b in PAIRS:
        expected = name_of(torch.result_type(theirs[a][1], theirs[b][1]))
        what = f"{ours[a][0]} with {ours[b][0]}"
        assert name_of(pd.result_type(ours[a][1], ours[b][1])) == expected, what
        assert name_of((ours[a][1] * ours[b][1]).dtype) == expected, what
        assert name_of(pd.where(pd.tensor([True, False]), ours[a][1], ours[b][1]).dtype) == expected, what


OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "<": lambda a, b: a < b,
    "==": lambda a, b: a == b,
}


@pytest.mark.parametrize("sign", OPERATORS)
def test_operators_give_pytorchs_types_and_values(sign, torch):
    f = OPERATORS[sign]
    for (what, a), (_, x) in zip(operands(pd), operands(torch)):
        for (other, b), (_, y) in zip(operands(pd), operands(torch)):
            if not (hasattr(a, "dtype") or hasattr(b, "dtype")):
                continue
            try:
                expected = f(x, y)
            except (RuntimeError, TypeError):
                # PyTorch has no difference with a bool; here one with another type is promoted
                if "bool" not in what and "True" not in what or "bool" not in other and "True" not in other:
                    continue
                with pytest.raises((RuntimeError, TypeError)):
                    f(a, b).numpy()
                continue
            if sign in ("//", "%") and not expected.dtype.is_floating_point and "bool" in str((x, y)):
                continue
            got = f(a, b)
            assert name_of(got.dtype) == name_of(expected.dtype), f"{what} {sign} {other}"
            np.testing.assert_array_equal(array(got.double()), expected.double().numpy(), err_msg=f"{what} {sign} {other}")


@pytest.mark.parametrize("name", ["exp", "sin", "sqrt", "sigmoid", "tanh", "log"])
def test_float_functions_of_integers_use_the_default_dtype(name):
    for t in ("bool", "int32", "int64"):
        assert getattr(pd, name)(pd.ones(2, dtype=getattr(pd, t))).dtype == pd.float32
    before = pd.get_default_dtype()
    pd.set_default_dtype(pd.float64)
    try:
        assert getattr(pd, name)(pd.ones(2, dtype=pd.int64)).dtype == pd.float64
        assert (pd.ones(2, dtype=pd.int64) / 2).dtype == pd.float64
        assert (pd.ones(2, dtype=pd.int64) * 2.0).dtype == pd.float64
        assert pd.tensor(1.0).dtype == pd.float64
    finally:
        pd.set_default_dtype(before)


@pytest.mark.smoke
def test_python_numbers_do_not_widen():
    assert (pd.ones(2) * 2.5).dtype == pd.float32
    assert (pd.ones(2, dtype=pd.float64) * 2.5).dtype == pd.float64
    assert (pd.ones(2, dtype=pd.int32) * 2).dtype == pd.int32
    assert (pd.ones(2, dtype=pd.int32) + True).dtype == pd.int32
    assert (2.5 * pd.ones((), dtype=pd.int64)).dtype == pd.float32


def test_powers_of_integers():
    x = pd.tensor([-3, 2, 5], dtype=pd.int32)
    assert (x**2).dtype == pd.int32 and (x**2).tolist() == [9, 4, 25]
    assert (x**0).tolist() == [1, 1, 1] and (x**3).tolist() == [-27, 8, 125]
    assert (x**0.5).dtype == pd.float32
    with pytest.raises(ValueError, match="pow"):
        x**-1


def test_comparison_with_a_fraction_does_not_round_it():
    assert (pd.tensor([2, 3]) > 2.5).tolist() == [False, True]
    assert (pd.tensor([1, 2]) == 1.5).tolist() == [False, False]
