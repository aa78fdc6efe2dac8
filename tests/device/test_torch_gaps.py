"""What PyTorch's table of names asked for: each little program runs in PyTorch too, and ends in the same values and strides."""

import numpy as np
import pytest

import pydiff as pd

torch = pytest.importorskip("torch")


def base(m, shape=(2, 3), dtype="float64"):
    return m.arange(float(np.prod(shape)), dtype=getattr(m, dtype)).reshape(shape)


def transposed(m):
    a = base(m)
    row = a[1]
    a.t_()
    a[0, 1] = -1.0
    return a, row


def axes_of_a_view(m):
    a = base(m, (4, 6))
    v = a[1:3]
    v.transpose_(0, 1).mul_(2)
    w = v.unsqueeze_(0)
    w[0, 0] = 7.0
    return a, v, w


def squeezed(m):
    a = base(m, (1, 3, 1))
    a.squeeze_(0)
    b = a.clone().squeeze_()
    return a, b, a.swapaxes_(0, 1), base(m, (2, 3, 4)).swapdims_(0, 2)


def of_a_result(m):
    x = base(m).requires_grad_()
    y = x * 2
    v = y[0]
    y.t_()
    y[1] *= 3
    (y * y).sum().backward()
    return y.detach(), v.detach(), x.grad


FUNCTIONS = "abs_ ceil_ clamp_min_ cos_ erf_ exp_ floor_ neg_ relu_ round_ sigmoid_ sqrt_ square_ tanh_ trunc_ zero_ detach_"


def functions_in_place(m):
    out = []
    for name in FUNCTIONS.split():
        a = base(m) * 0.3
        assert getattr(m, name)(a, *([1.0] if name == "clamp_min_" else [])) is a
        out.append(a)
    return out


def diagonals(m):
    return (
        base(m, (3, 3)).fill_diagonal_(9), base(m, (7, 3)).fill_diagonal_(9, wrap=True), base(m, (7, 3)).fill_diagonal_(9),
        base(m, (2, 5)).fill_diagonal_(-1), base(m, (2, 2, 2)).fill_diagonal_(5),
    )  # fmt: skip


def diagonals_are_views(m):
    a, b, c = base(m, (3, 4)), base(m, (2, 3, 4)), base(m, (4, 2)).t()
    a.diagonal(1).mul_(10)
    a.diagonal(0, 1, 0)[1:] = -1.0
    b.diagonal(-1, 1, 2).fill_(7)
    b.diagonal(0, 2, 0).add_(m.arange(6.0, dtype=m.float64).reshape(3, 2))
    c.diagonal().zero_()
    return a, b, c, a.diagonal(), a.diagonal(9), b.diagonal(1, 1, 2)


def gradient_past_a_diagonal(m):
    x = base(m, (3, 3)).requires_grad_()
    y = x * 2
    y.diagonal(1).fill_(0)
    (y * y).sum().backward()
    return (x.grad,)


def real_numbers(m):
    a = m.tensor([1.0, -2.0, float("nan"), 0.0, -0.0], dtype=m.float64)
    return m.angle(a), m.angle(a.float()), m.isreal(a), m.real(a), m.conj(a), m.resolve_neg(a), m.angle(m.tensor([-1, 1]))


def bits_of_another_type(m):
    a = base(m, (2, 4), "float32") - 3
    return a.view(m.int32), a.view(m.int16), a.view(m.uint8).view(m.float32), a.view(m.float64), a[0, 0].view(m.int32)


def products(m):
    a, b = base(m, (2, 3), "float16"), base(m, (3, 2), "float16")
    return m.mm(a.double(), b.double(), out_dtype=m.float64) if m is pd else m.mm(a.double(), b.double())


def put(m):
    index = m.tensor([[0, 2], [1, 0]])
    return m.scatter(base(m), 1, index, value=9.0), base(m).scatter_(1, index, 2.5), m.gather(base(m), 1, index, sparse_grad=False)


def made_like(m):
    a = base(m)
    return a.new_full((2,), 7.0), a.new_zeros(2, 3), a.new_ones(size=(2,)), a.new_tensor([1, 2]), m.asarray([1.0, 2.0], copy=True), a.type(m.int64)


def repeated(m):
    return base(m).repeat(repeats=(2, 1)), base(m).repeat(2, 1, 1)


PROGRAMS = [
    transposed, axes_of_a_view, squeezed, of_a_result, functions_in_place, diagonals, diagonals_are_views,
    gradient_past_a_diagonal, real_numbers, bits_of_another_type, products,
    put, made_like, repeated,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_program(program):
    got, want = program(pd), program(torch)
    got, want = (x if isinstance(x, (tuple, list)) else (x,) for x in (got, want))
    for k, (g, w) in enumerate(zip(got, want, strict=True)):
        assert str(g.dtype).partition(".")[2] == str(w.dtype).partition(".")[2], k
        assert tuple(g.shape) == tuple(w.shape), k
        steps = [(a, b) for n, a, b in zip(g.shape, g.stride(), w.stride()) if n != 1]  # where there is but one place any will do
        assert all(a == b for a, b in steps), k
        np.testing.assert_allclose(g.cpu().numpy(), w.numpy(), rtol=1e-12, err_msg=str(k))


def test_a_view_keeps_what_it_was_a_view_of():
    a = base(pd)
    v = a.T
    a.unsqueeze_(0)
    v[0, 0] = 5.0
    assert a.shape == (1, 2, 3) and a[0, 0, 0].item() == 5.0
    del a
    v += 1
    assert v[0, 0].item() == 6.0


def test_a_leaf_keeps_its_shape():
    x = base(pd).requires_grad_()
    for change in (lambda: x.t_(), lambda: x.unsqueeze_(0)):
        with pytest.raises(RuntimeError, match="leaf that requires grad"):
            change()
    with pd.no_grad(), pytest.raises(RuntimeError, match="leaf that requires grad"):
        x.squeeze_()
    assert x.shape == (2, 3) and x.is_leaf


def test_weighted_losses():
    x, y, w = base(pd), base(pd) * 0.5 + 1, pd.tensor([[1.0, 2.0, 0.0], [0.5, 1.0, 1.0]], dtype=pd.float64)
    for name in ("mse_loss", "l1_loss", "huber_loss"):
        ours, theirs = getattr(pd.nn.functional, name), getattr(torch.nn.functional, name)
        for reduction in ("none", "sum", "mean"):
            got = ours(x, y, weight=w, reduction=reduction)
            arguments = [torch.tensor(t.cpu().numpy()) for t in (x, y, w)]
            want = theirs(arguments[0], arguments[1], weight=arguments[2], reduction=reduction)
            np.testing.assert_allclose(got.cpu().numpy(), want.numpy(), rtol=1e-12)
    with pytest.raises(ValueError, match=r"\[mse_loss\] one weight"):
        pd.nn.functional.mse_loss(x, y, weight=w[0])


def test_wider_products():
    a, b = pd.ones(2, 4096, dtype=pd.float16), pd.ones(4096, 2, dtype=pd.float16) * 1.0009765625
    assert pd.mm(a, b, out_dtype=pd.float32).dtype == pd.float32
    assert pd.mm(a, b, out_dtype=pd.float32)[0, 0].item() == 4100.0
    assert pd.baddbmm(pd.zeros(1), a[None], b[None], out_dtype=pd.float32).dtype == pd.float32


def test_pools_with_indices_and_time_first():
    f, t = pd.nn.functional, torch.nn.functional
    x = base(pd, (1, 2, 4, 4))
    got = f.adaptive_max_pool2d_with_indices(x, 2)
    want = t.adaptive_max_pool2d_with_indices(torch.tensor(x.cpu().numpy()), 2)
    for g, w in zip(got, want):
        np.testing.assert_array_equal(g.cpu().numpy(), w.numpy())
    a, w, b = base(pd, (5, 2, 3)), base(pd, (2, 3, 4)), base(pd, (4,))
    want = torch.conv_tbc(*[torch.tensor(v.cpu().numpy()) for v in (a, w, b)], 1)
    np.testing.assert_allclose(pd.conv_tbc(a, w, b, 1).cpu().numpy(), want.numpy())


def test_data_from_outside():
    a = np.arange(4.0)
    shared = pd.asarray(a, device="cpu")
    a[0] = 9.0
    assert shared[0].item() == 9.0
    assert pd.asarray(a, copy=True)[0].item() == 9.0
    with pytest.raises(ValueError, match=r"\[asarray\]"):
        pd.asarray([1.0], copy=False)
    memory = bytearray(np.arange(3, dtype=np.int16).tobytes())
    assert pd.frombuffer(memory, dtype=pd.int16, count=2, offset=2).tolist() == [1, 2]
    shared = np.arange(3)
    own = [pd.from_dlpack(x, copy=True) for x in (shared, pd.to_dlpack(pd.from_dlpack(shared)))]
    shared[:] = 7
    assert [x.tolist() for x in own] == [[0, 1, 2]] * 2


def test_low_rank_factors():
    left, right = base(pd, (8, 2)) + pd.ones(8, 2, dtype=pd.float64), base(pd, (2, 6)) - 3
    A = left @ right
    U, S, V = pd.svd_lowrank(A, q=2)
    np.testing.assert_allclose((U * S @ V.mT).cpu().numpy(), A.cpu().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(S.cpu().numpy(), np.linalg.svd(A.cpu().numpy())[1][:2], rtol=1e-9)
    U, S, V = pd.pca_lowrank(A, q=2)
    middle = (A - A.mean(0)).cpu().numpy()
    np.testing.assert_allclose((U * S @ V.mT).cpu().numpy(), middle, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match=r"\[svd_lowrank\] q is"):
        pd.svd_lowrank(A, q=7)


def test_facts():
    x = pd.ones(2, 2)
    assert pd.is_floating_point(x) and not pd.is_complex(x) and pd.is_signed(x) and not x.is_conj() and not x.is_sparse
    assert x.is_same_size(pd.zeros(2, 2)) and not pd.is_same_size(x, pd.zeros(4)) and x.ndimension() == x.dense_dim() == 2
    assert pd.is_nonzero(pd.tensor(2)) and not pd.tensor([0.0]).is_nonzero() and x.to_dense() is x and x.type() == "pydiff.float32"
    with pytest.raises(RuntimeError, match=r"\[is_nonzero\] one element"):
        pd.is_nonzero(x)
    was = pd.deterministic()
    pd.use_deterministic_algorithms(False)
    assert not pd.are_deterministic_algorithms_enabled()
    pd.use_deterministic_algorithms(was)
    with pytest.raises(RuntimeError, match=r"\[view\] bits"):
        pd.ones(2, requires_grad=True).view(pd.int32)
    with pytest.raises(RuntimeError, match=r"\[view\] a 0-d"):
        pd.tensor(1.0).view(pd.int16)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int64", "uint8", "bool", "complex64"])
def test_tensors_of_pytorch_become_tensors(dtype):
    theirs = torch.tensor([[1.0, 0.0, 2.0], [3.0, 4.0, 5.0]]).to(getattr(torch, dtype)).T
    ours = pd.tensor(theirs)
    assert ours.dtype == dtype and ours.tolist() == theirs.tolist() and ours.device == pd.get_default_device()
    theirs[0, 0] = 0
    assert ours[0, 0].item() == 1  # a copy
    assert pd.tensor(theirs, dtype=pd.float64).dtype == pd.float64 if dtype != "complex64" else True


def test_tensors_of_pytorch_leave_their_tape():
    theirs = torch.tensor([1.0, 2.0], requires_grad=True)
    for x in (theirs, theirs * 2, theirs.bfloat16()):
        ours = pd.tensor(x)
        assert ours.tolist() == x.tolist() and not ours.requires_grad
    assert pd.tensor(theirs, requires_grad=True).requires_grad
    turned = torch.tensor([1 + 2j]).conj()
    assert pd.tensor(turned).tolist() == [1 - 2j] and pd.tensor(turned.imag).tolist() == [-2.0]
    with pytest.raises(TypeError, match=r"^\[tensor\] the other library .*; got .*; try "):
        pd.tensor(torch.eye(2).to_sparse())


def test_a_device_is_a_context():
    before = pd.get_default_device()
    with pd.device("cpu") as place:
        assert place == "cpu" and pd.zeros(1).device == "cpu" and pd.tensor([1]).device == "cpu"
        with pd.device("cpu"):
            pass
        assert pd.get_default_device() == "cpu"
    assert pd.get_default_device() == before
    with pytest.raises(KeyError), place:
        raise KeyError
    assert pd.get_default_device() == before
    with pytest.raises(RuntimeError), pd.device("cuda:7"):
        pass
    assert pd.get_default_device() == before
