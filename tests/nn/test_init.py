"""Initial values: what PyTorch's `nn.init` has, and the distributions of what is drawn."""

import inspect
import math

import numpy as np
import pytest

import pydiff as pd
from pydiff.nn import init


def test_every_name_is_here_with_the_same_arguments(torch):
    theirs = {
        name: function
        for name, function in vars(torch.nn.init).items()
        if inspect.isfunction(function) and name[0] != "_" and (name.endswith("_") or name == "calculate_gain")
    }
    assert sorted(theirs) == sorted(init.__all__)
    for name, function in theirs.items():
        wanted = [(p.name, p.default, p.kind) for p in inspect.signature(function).parameters.values()]
        assert [(p.name, p.default, p.kind) for p in inspect.signature(getattr(init, name)).parameters.values()] == wanted, name


DRAWS = {
    "uniform_": ((200,), {}),
    "normal_": ((200,), {}),
    "trunc_normal_": ((200,), {}),
    "xavier_uniform_": ((20, 10), {}),
    "xavier_normal_": ((20, 10), {}),
    "kaiming_uniform_": ((20, 10), {}),
    "kaiming_normal_": ((20, 10), {}),
    "orthogonal_": ((20, 10), {}),
    "sparse_": ((20, 10), {"sparsity": 0.3}),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_come_from_the_generator(name):
    shape, options = DRAWS[name]

    def draw(**more):
        return getattr(init, name)(pd.nn.Parameter(pd.empty(shape)), **options, **more)

    assert {name for name in init.__all__ if "generator" in inspect.signature(getattr(init, name)).parameters} == set(DRAWS)
    first, second = (draw(generator=pd.Generator().manual_seed(7)).tolist() for _ in range(2))
    other = draw(generator=pd.Generator().manual_seed(8))
    assert first == second != other.tolist()
    assert other.requires_grad and other.is_leaf
    pd.manual_seed(1)
    first = draw().tolist()
    assert first != draw().tolist()
    pd.manual_seed(1)
    assert first == draw().tolist()


def cut_moments(mean, std, a, b):
    """Mean and standard deviation of the normal distribution that is cut off outside [a, b]."""
    x = np.linspace(a, b, 200001)
    weight = np.exp(-0.5 * ((x - mean) / std) ** 2 + 0.5 * min(((end - mean) / std) ** 2 for end in (a, b)))
    centre = (x * weight).sum() / weight.sum()
    return centre, math.sqrt(((x - centre) ** 2 * weight).sum() / weight.sum())


@pytest.mark.parametrize("dtype", [pd.float32, pd.float64, pd.bfloat16])
@pytest.mark.parametrize(
    "mean, std, a, b",
    [(0.0, 1.0, -2.0, 2.0), (0.0, 0.02, -2.0, 2.0), (1.0, 2.0, -1.0, 4.0), (0.0, 1.0, 0.5, 1.0), (0.0, 1.0, -1.0, math.inf)],
)
def test_trunc_normal(mean, std, a, b, dtype):
    pd.manual_seed(2)
    tensor = init.trunc_normal_(pd.empty(200, 200, dtype=dtype), mean, std, a, b)
    values = tensor.double().numpy()
    assert values.min() >= a and values.max() <= b
    centre, spread = cut_moments(mean, std, max(a, mean - 9 * std), min(b, mean + 9 * std))
    assert abs(values.mean() - centre) < 5 * spread / 200
    assert values.std() == pytest.approx(spread, rel=0.02)


@pytest.mark.parametrize("a, b", [(6.0, 8.0), (-8.0, -6.0)])
def test_trunc_normal_of_a_far_tail(a, b):
    """Where the distribution function is 1 to seven digits and more, as on the other side."""
    pd.manual_seed(3)
    with pytest.warns(UserWarning, match=r"^\[trunc_normal_\] .*; got mean=0.0.*; try "):
        values = init.trunc_normal_(pd.empty(200, 200), a=a, b=b).double().numpy()
    centre, spread = cut_moments(0.0, 1.0, a, b)
    assert values.min() >= a and values.max() <= b and len(np.unique(values)) > 10000
    assert abs(values.mean() - centre) < 5 * spread / 200 and values.std() == pytest.approx(spread, rel=0.03)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (5, 2)])
def test_eye(torch, shape):
    assert init.eye_(pd.empty(shape)).tolist() == torch.nn.init.eye_(torch.empty(shape)).tolist()


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("shape", [(4, 3, 3), (6, 2, 4), (4, 4, 3, 2), (2, 8, 1, 1), (4, 2, 3, 3, 5)])
def test_dirac(torch, shape, groups):
    ours = init.dirac_(pd.nn.Parameter(pd.empty(shape, dtype=pd.float64)), groups)
    assert ours.tolist() == torch.nn.init.dirac_(torch.empty(shape), groups).tolist() and ours.dtype == pd.float64


def test_dirac_hands_the_input_on():
    weight, x = init.dirac_(pd.empty(3, 3, 3, 3)), pd.randn(2, 3, 5, 5)
    assert np.array_equal(pd.nn.functional.conv2d(x, weight, padding=1).numpy(), x.numpy())


@pytest.mark.parametrize("dtype", [pd.float32, pd.float64, pd.float16])
@pytest.mark.parametrize(
    "shape, gain", [((4, 7), 1), ((7, 4), 1), ((5, 5), 0.5), ((4, 3, 2, 2), 2.0), ((20, 3, 2), 1), ((0, 3), 1)]
)
def test_orthogonal(shape, gain, dtype):
    pd.manual_seed(4)
    tensor = init.orthogonal_(pd.empty(shape, dtype=dtype), gain)
    assert tensor.dtype == dtype and tuple(tensor.shape) == shape
    matrix = tensor.double().numpy().reshape(shape[0], math.prod(shape[1:]))
    product = matrix @ matrix.T if shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=16 * float(pd.finfo(dtype).eps) * gain**2)


def test_orthogonal_matrices_are_uniform():
    """Of both determinants, and no sign is preferred."""
    pd.manual_seed(5)
    drawn = [init.orthogonal_(pd.empty(3, 3)).numpy() for _ in range(200)]
    signs = [np.linalg.det(matrix) > 0 for matrix in drawn]
    assert 60 < sum(signs) < 140
    assert np.abs(np.mean(drawn, 0)).max() < 5 * math.sqrt(1 / 3 / 200)


@pytest.mark.parametrize("sparsity, zeros", [(0.0, 0), (0.11, 2), (0.5, 5), (1.0, 10)])
def test_sparse(sparsity, zeros):
    pd.manual_seed(6)
    values = init.sparse_(pd.empty(10, 400), sparsity, std=0.5).numpy()
    assert ((values == 0).sum(0) == zeros).all()
    if 0 < zeros < 10:
        assert values[values != 0].std() == pytest.approx(0.5, rel=0.1)
        assert abs((values == 0).mean(1) - zeros / 10).max() < 0.12  # no row is preferred


WRONG = [
    (lambda: init.eye_(pd.empty(3)), "eye_"),
    (lambda: init.dirac_(pd.empty(3, 3)), "dirac_"),
    (lambda: init.dirac_(pd.empty(3, 3, 3), groups=2), "dirac_"),
    (lambda: init.orthogonal_(pd.empty(3)), "orthogonal_"),
    (lambda: init.sparse_(pd.empty(3), 0.1), "sparse_"),
    (lambda: init.sparse_(pd.empty(3, 3), 1.5), "sparse_"),
    (lambda: init.trunc_normal_(pd.empty(3), a=1.0, b=1.0), "trunc_normal_"),
    (lambda: init.trunc_normal_(pd.empty(3), std=0.0), "trunc_normal_"),
]


@pytest.mark.parametrize("call, name", WRONG)
def test_what_is_wrong_is_named(call, name):
    with pytest.raises(ValueError, match=rf"^\[{name}\] [^;]+; got .+; try .+"):
        call()
