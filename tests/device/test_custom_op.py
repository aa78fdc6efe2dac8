"""`pydiff.custom_op`: operations of users, with a CUDA kernel and a CPU twin that is a NumPy function or C."""

import copy
import doctest
import gc
import os
import re
import subprocess
import threading
import weakref

import numpy as np
import pytest

import pydiff as pd
from pydiff import _C

pytestmark = pytest.mark.smoke

INDEX = "long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;"


def elementwise(name, expression, twin, **options):
    """y = expression of x[i], for any dtype; `twin` is a NumPy function, or None for the same expression in C."""
    cuda = f'extern "C" __global__ void {name}(const x_t* x, out_t* y, long long n) {{ {INDEX} if (i < n) y[i] = {expression}; }}'
    c = f"void {name}(const x_t* x, out_t* y, long long n) {{ for (long long i = 0; i < n; i++) y[i] = {expression}; }}"
    twins = {"c": c} if twin is None else {"cpu": twin}
    return pd.custom_op(name, shape=lambda x: x, cuda=cuda, args=lambda x: x.numel(), **twins, **options)


cube = elementwise(
    "cube", "x[i] * x[i] * x[i]", lambda x: x * x * x,
    vjp=lambda inputs, outputs, cotangents: 3 * inputs[0] ** 2 * cotangents[0],
    jvp=lambda inputs, outputs, tangents: 3 * inputs[0] ** 2 * tangents[0],
    vmap="broadcast_all",
)  # fmt: skip
cube_c = elementwise("cube_c", "x[i] * x[i] * x[i]", None, vjp=lambda i, o, g: 3 * i[0] ** 2 * g[0])

# y[r, j] = x[r, 0] + … + x[r, j]; a kernel of its own for the gradient, which is the sum from the other side.
SCAN = """
%s my_scan(const x_t* x, out_t* y, long long rows, long long n, int reverse) {
  %s {
    x_t sum = 0;
    for (long long k = 0; k < n; k++) {
      long long j = r * n + (reverse ? n - 1 - k : k);
      y[j] = sum += x[j];
    }
  }
}
"""
scan = pd.custom_op(
    "my_scan",
    shape=lambda x, *, reverse=False: (x.shape, x.dtype),
    cuda=SCAN % ('extern "C" __global__ void', "long long r = blockIdx.x * (long long)blockDim.x + threadIdx.x; if (r < rows)"),
    c=SCAN % ("void", "for (long long r = 0; r < rows; r++)"),
    grid=lambda x: -(-x.shape[0] // 32),
    block=32,
    args=lambda x, reverse: (x.shape[0], x.shape[1], reverse),
    vjp=lambda inputs, outputs, cotangents, reverse: scan(cotangents[0], reverse=not reverse),
    jvp=lambda inputs, outputs, tangents, reverse: scan(tangents[0], reverse=reverse),
    vmap="sequential",
)

# Two operands, two results of other shapes and dtypes, an attribute that reaches all.
mix = pd.custom_op(
    "mix",
    shape=lambda a, b, *, scale=2.0: [(a.shape, a.dtype), ((a.shape[0],), pd.int64)],
    cuda="""extern "C" __global__ void mix(const float* a, const b_t* b, float* sums, long long* counts, int n, double scale) {
        long long r = blockIdx.x;
        counts[r] = 0;
        for (int j = 0; j < n; j++) {
            sums[r * n + j] = a[r * n + j] + (float)scale * (float)b[j];
            counts[r] += a[r * n + j] > 0;
        }
    }""",
    cpu=lambda a, b, scale: (a + np.float32(scale) * b.astype(np.float32), (a > 0).sum(axis=1)),
    grid=lambda a, b: a.shape[0],
    block=1,
    args=lambda a, b, scale: (a.shape[1], float(scale)),
    vjp=lambda inputs, outputs, cotangents, scale: (cotangents[0], (scale * cotangents[0]).sum(dim=0)),
    vmap="sequential",
)


def data(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(dtype)


# ---- what it computes


@pytest.mark.parametrize("op", [cube, cube_c], ids=["numpy", "c"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_one_text_for_all_dtypes(op, dtype, rng):
    x = (3 * rng.standard_normal((4, 5))).astype(dtype)
    y = op(pd.tensor(x))
    assert y.dtype.numpy == dtype and y.shape == (4, 5)
    np.testing.assert_array_equal(y.numpy(), x * x * x)


# Words that a text of a 16-bit float may use as of any other: what is read is a float, what is written is rounded.
SMALL = """{ %s {
  x_t sum = 0, scale = 0.1f, parts[2] = {x[i], 1};
  sum += x[i] * scale;
  sum -= 1;
  sum *= parts[0];
  sum /= 3.0f;
  y[i] = sum > 0 ? (float)sum + 1e-3f : x[i] - 2 * parts[1];
} }"""
small_floats = pd.custom_op(
    "small_floats",
    shape=lambda x: x,
    cuda='extern "C" __global__ void small_floats(const x_t* x, out_t* y, long long n) ' + SMALL % (INDEX + " if (i < n)"),
    c="void small_floats(const x_t* x, out_t* y, long long n) " + SMALL % "for (long long i = 0; i < n; i++)",
    args=lambda x: x.numel(),
)


def bfloat16_in_c():
    """Whether the C compiler has `__bf16` with arithmetic."""
    command = [*os.environ.get("CC", "cc").split(), "-dM", "-E", "-xc", "/dev/null"]
    return "__BFLT16_MAX__" in subprocess.run(command, capture_output=True, text=True).stdout


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_floats(dtype, device, rng):
    if dtype == "bfloat16" and device == "cpu" and not bfloat16_in_c():
        with pytest.raises(RuntimeError, match="bfloat16 in C needs"):
            small_floats(pd.ones(3, dtype=dtype)).numpy()
        return
    x = np.concatenate([3 * rng.standard_normal(500), [0, -0.0, np.inf, -np.inf, np.nan, 6e-8, 65504, 70000, 3e38]])
    x = pd.tensor(x.astype(np.float32)).to(dtype).numpy()

    def f(v):
        return np.asarray(v).astype(np.float32)

    def r(v):
        return f(v).astype(x.dtype)

    with np.errstate(all="ignore"):
        total = r(f(0) + f(x) * f(r(0.1)))
        total = r(f(total) - f(1))
        total = r(f(total) * f(x))
        total = r(f(total) / f(3))
        want = np.where(f(total) > 0, r(f(total) + f(1e-3)), r(f(x) - f(2)))
    y = small_floats(pd.tensor(x, device=device))
    assert y.dtype == dtype
    np.testing.assert_array_equal(f(y.numpy()), f(want))


@pytest.mark.parametrize("dtype", "bool uint8 int8 int16 uint16 uint32 uint64 float16 complex64 complex128".split())
@pytest.mark.parametrize("by_host", [False, True])
def test_dtypes_that_pydiff_only_stores(dtype, by_host, rng):
    x = rng.integers(0, 2, 40).astype(dtype)
    y = (same_by_host if by_host else same)(pd.tensor(x))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y.numpy(), x)


def test_several_operands_and_results(rng):
    a, b = data(rng, 3, 4), np.arange(4)
    sums, counts = mix(pd.tensor(a), pd.tensor(b), scale=0.5)
    assert counts.dtype == pd.int64 and counts.shape == (3,)
    np.testing.assert_array_equal(sums.numpy(), a + np.float32(0.5) * b.astype(np.float32))
    np.testing.assert_array_equal(counts.numpy(), (a > 0).sum(axis=1))


def test_arrays_and_numbers_become_tensors(rng):
    x = data(rng, 3)
    np.testing.assert_array_equal(cube(x).numpy(), x * x * x)
    assert cube(pd.zeros(())).shape == () and cube(2.0).item() == 8


def test_operands_of_any_strides(rng):
    x = data(rng, 4, 6)
    t = pd.tensor(x)
    for view, array in [
        (t.T, x.T), (t[::2, 1:], x[::2, 1:]), (t.flip(1), x[:, ::-1]), (t[:1].expand(3, 6), np.repeat(x[:1], 3, 0)),
        (t.reshape(2, 12).T, x.reshape(2, 12).T),
    ]:  # fmt: skip
        np.testing.assert_array_equal(cube_c(view).numpy(), array * array * array)
        np.testing.assert_allclose(scan(view).numpy(), np.cumsum(array, axis=1), rtol=1e-5, atol=1e-6)


def test_results_without_elements():
    y = scan(pd.zeros(0, 4))
    assert y.shape == (0, 4) and y.numpy().shape == (0, 4)
    assert cube(pd.zeros(3, 0)).sum().item() == 0


def test_init_is_there_before_the_kernel_runs(rng):
    text = 'extern "C" __global__ void count_up(const long long* x, float* y, int n) {%s if (i < n) atomicAdd(&y[x[i]], 1.0f); }'
    c = "void count_up(const long long* x, float* y, int n) { for (int i = 0; i < n; i++) y[x[i]] += 1; }"
    count_up = pd.custom_op(
        "count_up", shape=lambda x, *, bins: ((bins,), pd.float32), cuda=text % INDEX, c=c, init=100,
        grid=lambda x: -(-x.numel() // 256), args=lambda x: x.numel(),
    )  # fmt: skip
    x = rng.integers(0, 7, 300)
    for _ in range(2):  # the second time through the plan that was made
        np.testing.assert_array_equal(count_up(pd.tensor(x), bins=9).numpy(), 100 + np.bincount(x, minlength=9))


def test_shared_memory_and_barriers(rng, device):
    text = """extern "C" __global__ void block_sum(const x_t* x, out_t* y, int n) {
        extern __shared__ x_t part[];
        x_t sum = 0;
        for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[blockIdx.x * n + i];
        part[threadIdx.x] = sum;
        for (int half = blockDim.x / 2; half; half /= 2) {
            __syncthreads();
            if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        }
        if (threadIdx.x == 0) y[blockIdx.x] = part[0];
    }"""
    block_sum = pd.custom_op(
        "block_sum", shape=lambda x: (x.shape[:1], x.dtype), cuda=text, cpu=lambda x: x.sum(axis=1),
        grid=lambda x: x.shape[0], block=64, shared=lambda x: 64 * x.dtype.itemsize, args=lambda x: x.shape[1],
    )  # fmt: skip
    x = data(rng, 5, 200, dtype=np.float64)
    np.testing.assert_allclose(block_sum(pd.tensor(x)).numpy(), x.sum(axis=1), rtol=1e-12)


def test_any_number_of_operands(rng):
    def body(*xs):
        adds = " + ".join(f"x{k}[i]" for k in range(len(xs)))
        params = ", ".join(f"const xs{k}_t* x{k}" for k in range(len(xs)))
        return f'extern "C" __global__ void add_all({params}, out_t* y) {{ {INDEX} if (i < {xs[0].numel()}) y[i] = {adds}; }}'

    add_all = pd.custom_op("add_all", shape=lambda *xs: xs[0], cuda=body, cpu=lambda *xs: np.sum(xs, axis=0))
    arrays = [data(rng, 6) for _ in range(5)]
    for n in (1, 2, 5):
        got = add_all(*map(pd.tensor, arrays[:n])).numpy()
        np.testing.assert_allclose(got, np.sum(arrays[:n], axis=0), rtol=1e-6, atol=1e-6)


def test_texts_and_numbers_as_attributes(rng):
    """A text chooses the kernel, a float is one of its parameters, each value has a code of its own."""

    def body(x, *, kind):
        function = {"sin": "sinf", "cos": "cosf"}[kind]
        return f'extern "C" __global__ void wave(const float* x, float* y, long long n, float w) {{{INDEX} if (i < n) y[i] = {function}(w * x[i]); }}'

    wave = pd.custom_op(
        "wave", shape=lambda x, *, kind, w=1.0: x, cuda=body, args=lambda x, w: (x.numel(), np.float32(w)),
        cpu=lambda x, kind, w: getattr(np, kind)(np.float32(w) * x),
    )  # fmt: skip
    x = data(rng, 50)
    for kind in ("sin", "cos"):
        for w in (1, 2.5, np.float32(0.25)):
            want = getattr(np, kind)(np.float32(w) * x)
            np.testing.assert_allclose(wave(pd.tensor(x), kind=kind, w=w).numpy(), want, rtol=1e-5, atol=1e-6)


# ---- lazy, fused, planned


def test_nothing_runs_when_it_is_recorded(rng):
    x = pd.tensor(data(rng, 8)) * 2
    before = dict(_C.exec_stats())
    y = cube(x) + 1
    assert _C.state_of(x) == "pending" and _C.state_of(y) == "pending" and dict(_C.exec_stats()) == before
    y.numpy()
    after = dict(_C.exec_stats())
    assert after["plans"] + after["replays"] == before["plans"] + before["replays"] + 1
    assert after["natives"] == before["natives"] + 1


@pytest.mark.skipif(os.environ.get("PYDIFF_FUSE") in ("off", "0"), reason="nothing fuses")
def test_what_is_around_it_fuses(rng):
    x = pd.tensor(data(rng, 100))
    y = (cube((x * 2 + 1).sin()) * 3 - 1).exp().sum()
    kernels = [line for line in _C.explain([y]).splitlines() if re.match(r"kernel .*:(?! output)", line)]
    assert len(kernels) == 3 and kernels[1].endswith(": cube") and all(" fused " in k for k in kernels[::2]), kernels


def test_the_second_time_its_plan_is_replayed(rng):
    def run(op, **attributes):
        before = dict(_C.exec_stats())
        op(pd.tensor(data(rng, 3, 4)) + 1, **attributes).numpy()
        after = _C.exec_stats()
        return after["plans"] - before["plans"]

    assert [run(scan), run(scan)] == [1, 0] or run(scan) == 0
    assert run(scan, reverse=True) == 1 and run(scan, reverse=True) == run(scan) == 0


def test_two_operations_never_share_a_plan(rng):
    """Nor do two of one name, nor one that took the place of another that is gone."""
    x = pd.tensor(data(rng, 6))
    ops = [elementwise("f", f"x[i] * {k}", lambda x, k=k: x * k) for k in range(4)]
    assert [(op(x + 0) / x)[0].item() for op in ops] == [0, 1, 2, 3]
    del ops
    for k in range(4, 12):
        gc.collect()
        op = elementwise("f", f"x[i] * {k}", lambda x, k=k: x * k)
        assert (op(x + 0) / x)[0].item() == k


def test_all_results_are_computed_together(rng):
    """Looking at one of them does not make it run again for the other."""
    calls = []

    def twin(x):
        calls.append(1)
        return x + 1, x + 2

    both = pd.custom_op(
        "both", shape=lambda x: [x, x], cpu=twin,
        cuda=f'extern "C" __global__ void both(const float* x, float* a, float* b) {{{INDEX} if (i < 5) a[i] = x[i] + 1, b[i] = x[i] + 2; }}',
    )  # fmt: skip
    x = data(rng, 5)
    before = _C.exec_stats()["natives"]
    a, b = both(pd.tensor(x))
    c = b * 2
    np.testing.assert_array_equal(a.numpy(), x + 1)
    np.testing.assert_array_equal(c.numpy(), (x + 2) * 2)
    np.testing.assert_array_equal(b.numpy(), x + 2)
    assert _C.exec_stats()["natives"] == before + 1 and len(calls) in (0, 1)
    a, _ = both(pd.tensor(x))  # one that nobody wants
    np.testing.assert_array_equal(a.numpy(), x + 1)


def test_in_a_graph_of_placeholders(rng):
    """What a traced function is: a body with two custom operations of one name in it, applied, and applied again."""
    other = elementwise("cube", "x[i] + 5", lambda x: x + 5)
    params = [_C.make_param((3, 4), pd.float32, pd.get_default_device())]
    body = _C.close_graph([scan(cube(params[0])) * 2, other(params[0])], params)
    for _ in range(2):
        x = data(rng, 3, 4)
        first, second = _C.call(body, [pd.tensor(x)])
        np.testing.assert_allclose(first.numpy(), 2 * np.cumsum(x**3, axis=1), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(second.numpy(), x + 5)
    t = pd.tensor(x, requires_grad=True)
    _C.call(body, [t])[0].sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), 6 * x**2 * np.arange(4, 0, -1), rtol=1e-5)


def test_derivatives_and_batches_of_a_graph_of_placeholders(rng):
    params = [_C.make_param((3, 4), pd.float64, pd.get_default_device())]
    body = _C.close_graph([scan(cube(params[0])) * 2], params)
    f = lambda x: _C.call(body, [x])[0]
    x = pd.tensor(data(rng, 2, 3, 4, dtype=np.float64))
    pd.testing.check_grads(f, order=2, modes=("rev",))(x[0])
    gradient = pd.grad(lambda x: (f(x) ** 2).sum())
    np.testing.assert_allclose(pd.vmap(gradient)(x).numpy(), np.stack([gradient(v).numpy() for v in x]), rtol=1e-12)


same = elementwise("same", "x[i]", None, vjp=lambda i, o, g: same(g[0]))
same_by_host = elementwise("same", "x[i]", lambda x: x, vjp=lambda i, o, g: same_by_host(g[0]))


def program(x, rng, copy):
    """Operations of all kinds on a matrix; `copy` stands at random places. The choices are rng's."""
    values = [x, copy(x)]
    for _ in range(rng.integers(4, 12)):
        a, b = (values[k] for k in rng.integers(len(values), size=2))
        kind = rng.integers(8)
        if kind == 0:
            y = a + b if a.shape == b.shape else a.sin()
        elif kind == 1:
            y = a * b if a.shape == b.shape else b.tanh()
        elif kind == 2:
            y = a.T
        elif kind == 3:
            y = (a - a.mean(dim=int(rng.integers(2)), keepdim=True)).abs()
        elif kind == 4:
            y = a.sum(dim=-1, keepdim=True).expand(*a.shape) * 0.125
        elif kind == 5:
            y = a.flip(0)[:, :: int(rng.integers(1, 3))]
        elif kind == 6:
            y = pd.cat([a, a[:1]]) @ a.T.contiguous() * 0.1
        else:
            y = pd.softmax(a, dim=-1) + 1
        values.append(copy(y))
    return sum(v.mean() for v in values), values


@pytest.mark.parametrize("op", [same, same_by_host], ids=["compiled", "function"])
@pytest.mark.parametrize("number", range(12))
def test_in_random_programs(op, number, seed):
    """A copy anywhere changes no bit of any value, whatever is looked at first, and no gradient but by rounding."""
    results = []
    for copy_op in (op, lambda x: x):
        rng = np.random.default_rng([seed, number])
        chance = np.random.default_rng([seed, number, 1])
        x = pd.tensor(rng.standard_normal((4, 6)).astype(np.float32), requires_grad=True)
        total, values = program(x, rng, lambda v: copy_op(v) if chance.random() < 0.5 else v)
        early = values[int(rng.integers(len(values)))].detach().numpy()
        total.backward()
        results.append((early, [v.detach().numpy() for v in values], total.item(), x.grad.numpy()))
    (early, values, total, grad), (early_0, values_0, total_0, grad_0) = results
    np.testing.assert_array_equal(early, early_0)
    for got, want in zip(values, values_0):
        np.testing.assert_array_equal(got, want)
    assert total == total_0
    np.testing.assert_allclose(grad, grad_0, rtol=1e-4, atol=1e-5)


# ---- derivatives and batches


def test_backward(rng):
    a, b = (pd.tensor(data(rng, *s), requires_grad=True) for s in ((3, 4), (4,)))
    sums, counts = mix(a, b, scale=0.5)
    assert sums.requires_grad and not counts.requires_grad and sums.grad_fn.name() == "MixBackward"
    (sums * sums).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), 2 * sums.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(b.grad.numpy(), sums.detach().numpy().sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize("op, modes", [(cube, ("rev", "fwd")), (cube_c, ("rev",))], ids=["numpy", "c"])
def test_derivatives_of_any_order(op, modes, rng):
    pd.testing.check_grads(lambda x: (op(x) * x).sin(), order=2, modes=modes)(pd.tensor(data(rng, 5)))


def test_derivatives_by_a_kernel_of_its_own(rng):
    f = lambda x: scan(x.sin(), reverse=True) * scan(x)
    pd.testing.check_grads(f, order=2)(pd.tensor(data(rng, 3, 4)))


def test_third_derivative():
    f = pd.grad(pd.grad(pd.grad(lambda x: cube(x).sum())))
    assert f(pd.tensor(2.0)).item() == 6
    assert pd.hessian(lambda x: cube(x).sum())(pd.tensor([1.0, 2.0])).tolist() == [[6.0, 0.0], [0.0, 12.0]]
    assert pd.jacrev(cube)(pd.tensor([1.0, 2.0])).tolist() == [[3.0, 0.0], [0.0, 12.0]]


@pytest.mark.parametrize("op", [cube, scan], ids=["broadcast_all", "sequential"])
def test_vmap(op, rng):
    x = data(rng, 3, 2, 4)
    t = pd.tensor(x)
    loop = lambda f: np.stack([f(t[k]).numpy() for k in range(3)])
    np.testing.assert_array_equal(pd.vmap(op)(t).numpy(), loop(op))
    gradient = pd.grad(lambda x: (op(x) ** 2).sum())
    np.testing.assert_allclose(pd.vmap(gradient)(t).numpy(), loop(gradient), rtol=1e-6)
    outer = pd.grad(lambda x: (pd.vmap(op)(x) ** 2).sum())(t)
    np.testing.assert_allclose(outer.numpy(), loop(gradient), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(pd.vmap(lambda a: op(a) + op(t[0]))(t).numpy(), loop(lambda a: op(a) + op(t[0])))


def test_vmap_of_several_results(rng):
    a, b = data(rng, 2, 3, 4), np.arange(4)
    sums, counts = pd.vmap(lambda a, b: mix(a, b, scale=3), in_dims=(0, None))(pd.tensor(a), pd.tensor(b))
    np.testing.assert_array_equal(sums.numpy(), a + 3 * b.astype(np.float32))
    np.testing.assert_array_equal(counts.numpy(), (a > 0).sum(axis=2))
    sums, counts = pd.vmap(mix, in_dims=(0, None))(pd.zeros(0, 3, 4), pd.tensor(b))
    assert sums.shape == (0, 3, 4) and counts.shape == (0, 3) and counts.dtype == pd.int64


def test_vmap_by_a_function_and_by_axes_of_size_one(rng):
    def rule(size, batched, x, y):
        assert size == 3 and batched == (True, False)
        return add(x, y.expand(size, *y.shape))

    text = f'extern "C" __global__ void add(const float* x, const float* y, float* out, long long n) {{{INDEX} if (i < n) out[i] = x[i] + y[i]; }}'
    add = pd.custom_op("add", shape=lambda x, y: x, cuda=text, args=lambda x, y: x.numel(), cpu=np.add, vmap=rule)
    x, y = data(rng, 3, 4), data(rng, 4)
    np.testing.assert_array_equal(pd.vmap(add, in_dims=(0, None))(pd.tensor(x), pd.tensor(y)).numpy(), x + y)

    shapes = []

    def shape(x, y):
        shapes.append((x.shape, y.shape))
        return x

    text = text.replace("add", "add1").replace("y[i]", "y[i % 4]")
    add1 = pd.custom_op("add1", shape=shape, cuda=text, args=lambda x, y: x.numel(), cpu=np.add, vmap="expand_dims")
    np.testing.assert_array_equal(pd.vmap(add1, in_dims=(0, None))(pd.tensor(x), pd.tensor(y)).numpy(), x + y)
    assert shapes == [((4,), (4,)), ((3, 4), (1, 4))]


def test_a_gradient_that_is_none_and_one_of_another_dtype(rng):
    text = f'extern "C" __global__ void pick(const float* x, const double* y, float* out, long long n) {{{INDEX} if (i < n) out[i] = x[i]; }}'
    pick = pd.custom_op(
        "pick", shape=lambda x, y: x, cuda=text, args=lambda x, y: x.numel(), cpu=lambda x, y: x,
        vjp=lambda i, o, g: (None, g[0]),
    )  # fmt: skip
    x = pd.tensor(data(rng, 3), requires_grad=True)
    y = pd.tensor(data(rng, 3, dtype=np.float64), requires_grad=True)
    pick(x, y).sum().backward()
    assert x.grad is None and y.grad.dtype == pd.float64 and y.grad.tolist() == [1, 1, 1]


def test_it_learns(rng):
    """Through an optimiser, in a module, against the same with pydiff's own operations."""

    def train(f):
        pd.manual_seed(0)
        model = pd.nn.Linear(4, 3)
        optimizer = pd.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            loss = (f(model(x)) - 1).square().mean()
            loss.backward()
            optimizer.step()
        return [*(p.detach().numpy() for p in model.parameters()), loss.item()]

    x = pd.tensor(data(rng, 6, 4))
    for got, want in zip(train(cube), train(lambda x: x * x * x)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


# ---- threads and lifetimes


def test_it_lives_as_long_as_something_is_pending(rng):
    x = data(rng, 4)
    op = elementwise("f", "x[i] + 1", lambda x: x + 1, vjp=lambda i, o, g: 2 * g[0])
    gone = weakref.ref(op)
    t = pd.tensor(x, requires_grad=True)
    y = op(t * 1)
    del op
    gc.collect()
    assert gone() is not None
    np.testing.assert_array_equal(y.detach().numpy(), x + 1)
    y.sum().backward()
    assert t.grad.tolist() == [2] * 4
    del y
    gc.collect()
    assert gone() is None


def test_operations_that_are_dropped_leave_nothing(rng):
    x = pd.tensor(data(rng, 4))
    gone = []
    for k in range(20):
        ops = {}  # a closure that leads back to the operation
        ops["f"] = elementwise("f", "x[i]", lambda x: x + 0, vjp=lambda i, o, g, ops=ops: ops["f"](g[0]))
        ops["f"](x + k).sum().item()
        gone.append(weakref.ref(ops["f"]))
    del ops
    gc.collect()
    assert not any(ref() for ref in gone)


def test_many_kinds_of_operands_do_not_pile_up():
    op = elementwise("f", "x[i]", lambda x: x)
    for n in range(1, 300):
        op(pd.zeros(n))
    assert len(op._calls) == 256


def test_from_several_threads(rng):
    x, wrong = data(rng, 50, 40), []

    def work():
        for _ in range(10):
            t = pd.tensor(x)
            if not np.allclose((scan(cube(t) + 1)).numpy(), np.cumsum(x**3 + 1, axis=1), rtol=1e-3, atol=1e-3):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_it_is_copied_with_a_module():
    class Layer(pd.nn.Module):
        def __init__(self):
            super().__init__()
            self.op = cube

    assert copy.deepcopy(Layer()).op is cube


def test_the_examples_of_the_documentation():
    from pydiff import _custom

    tried = doctest.testmod(_custom)
    assert tried.attempted >= 6 and not tried.failed


def test_how_it_prints():
    assert repr(scan) == "custom_op('my_scan', (x, *, reverse=False), cuda, c)"
    x = _C.make_param((3, 4), pd.float32, pd.get_default_device())
    text = _C.print_graph([scan(x)])
    assert re.search(r"= my_scan#\d+ float32 \(3, 4\) %0", text), text
    assert scan.__name__ == "my_scan" and "x, *, reverse=False" in scan.__doc__
