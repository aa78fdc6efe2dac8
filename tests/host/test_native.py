"""The native CPU kernels against NumPy: random shapes, axes and dtypes, faults, donated memory, and threads."""

import ctypes
import math
from pathlib import Path

import numpy as np
import objects
import pytest

HERE = Path(__file__).parent
CSRC = HERE.parent.parent / "csrc"
SOURCES = [
    HERE / "native_driver.cpp",
    CSRC / "kernels/native.cpp",
    CSRC / "kernels/windows.cpp",
    CSRC / "kernels/cpu/index.cpp",
    CSRC / "kernels/cpu/arg_reduce.cpp",
    CSRC / "kernels/cpu/scan.cpp",
    CSRC / "kernels/cpu/join.cpp",
    CSRC / "kernels/cpu/topk.cpp",
    CSRC / "kernels/cpu/convolution.cpp",
    CSRC / "kernels/cpu/attention.cpp",
    CSRC / "kernels/cpu/attention_backward.cpp",
    CSRC / "kernels/cpu/attention_rows.cpp",
    CSRC / "kernels/cpu/tiles.cpp",
    CSRC / "kernels/cpu/tile_kernels.cpp",
    CSRC / "kernels/cpu/pair_kernels.cpp",
    CSRC / "kernels/cpu/sampling.cpp",
    CSRC / "device/cpu/pool.cpp",
    CSRC / "device/cpu/allocator.cpp",
]

DTYPES = {
    name: code
    for code, name in enumerate(
        "bool uint8 int8 int16 int32 int64 uint16 uint32 uint64 float16 bfloat16 float32 float64 complex64 complex128".split()
    )
}
MOVED = ["bool", "int8", "float16", "int32", "int64", "float32", "float64", "complex64", "complex128"]
SUMMED = ["bool", "uint8", "int16", "int32", "int64", "float32", "float64", "complex64", "complex128"]
ORDERED = ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
GUARD = 64


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    library = ctypes.CDLL(objects.library(tmp_path_factory.mktemp("native"), "native", SOURCES))
    library.native_threads(1)
    yield library
    library.native_threads(1)


class Fault(Exception):
    pass


def run(lib, op, operands, shape, dtype, attrs, donate=False):
    """The result of a kernel, after a check that it kept to its memory and left its operands alone."""
    operands = [np.ascontiguousarray(x).reshape(np.shape(x)) for x in operands]
    before = [x.copy() for x in operands]
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    room = np.full(size + 2 * GUARD, 0xA5, np.uint8)
    out = room[GUARD : GUARD + size].view(dtype).reshape(shape)
    memory = [x.ctypes.data for x in operands] + [room.ctypes.data + GUARD]
    if donate:
        out[...] = operands[0]
        memory[0] = memory[-1]
    tensors = [*operands, out]
    sizes = [n for x in tensors for n in x.shape]
    attrs = [int(v) for v in attrs]
    text = ctypes.create_string_buffer(256)
    status = lib.native_run(
        op.encode(),
        len(operands),
        (ctypes.c_int * len(tensors))(*[DTYPES[x.dtype.name] for x in tensors]),
        (ctypes.c_int * len(tensors))(*[x.ndim for x in tensors]),
        (ctypes.c_int64 * max(len(sizes), 1))(*sizes),
        (ctypes.c_void_p * len(memory))(*memory),
        (ctypes.c_int64 * len(attrs))(*attrs),
        len(attrs),
        text,
        len(text),
    )
    assert status != 2, f"no kernel for {op}"
    assert (room[:GUARD] == 0xA5).all() and (room[GUARD + size :] == 0xA5).all(), "wrote outside its result"
    for x, y in zip(operands, before):
        assert x.tobytes() == y.tobytes(), "wrote into an operand"
    if status:
        raise Fault(text.value.decode())
    return out.copy()


def same(a, b):
    assert a.shape == b.shape and a.dtype == b.dtype
    assert a.tobytes() == b.tobytes()


def draw(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype == bool:
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    x = rng.standard_normal(shape)
    if dtype.kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return np.asarray(x).astype(dtype)


def draw_shape(rng, low=0, high=4, least=0, most=6):
    return tuple(int(n) for n in rng.integers(least, most, rng.integers(low, high + 1)))


def draw_index(rng, shape, size):
    return rng.integers(-size, size, shape) if size else np.zeros(shape, np.int64)


def in_order(x, places, values, accumulate):
    """x with the values put at the places one after the other: the definition of both kinds of write."""
    x = x.copy()
    places = [np.ravel(p) for p in places]
    rows = values.reshape(len(places[0]), -1) if values.size else np.empty((0, 1), values.dtype)
    rest = values.size // max(len(places[0]), 1)
    flat = x.reshape(math.prod(x.shape[: len(places)]), -1) if x.size else None
    if not rest:
        return x
    where = np.ravel_multi_index([p % n for p, n in zip(places, x.shape)], x.shape[: len(places)])
    with np.errstate(over="ignore"):
        for k, r in enumerate(where):
            flat[r] = flat[r] + rows[k] if accumulate else rows[k]
    return x


# ---- arg reductions


@pytest.mark.parametrize("op", ["argmax", "argmin"])
@pytest.mark.parametrize("dtype", ORDERED)
def test_arg_reduce(lib, op, dtype):
    rng = np.random.default_rng(1)
    shapes = [(3, 10), (1000,), (2, 513), (2, 5000), (4, 300, 3), (7, 2, 270), (1,), (64,), (65,), (0, 4), (5, 1, 0)]
    shapes += [draw_shape(rng, 1, 4, 1) for _ in range(25)]
    for shape in shapes:
        # few distinct values, so that there are ties
        x = rng.integers(0, rng.choice([2, 5, 100]), shape).astype(dtype)
        if np.dtype(dtype).kind != "u" and dtype != "bool":
            x -= np.asarray(3, x.dtype)
        if np.dtype(dtype).kind == "f":
            x[rng.random(shape) < rng.choice([0.0, 0.01, 0.5])] = np.nan
            x[x == 2] = rng.choice([np.inf, -np.inf])
            x[(x == 0) & (rng.random(shape) < 0.5)] = -0.0
        for axis in range(len(shape)):
            if shape[axis] == 0:
                continue
            want = getattr(np, op)(x, axis)
            same(run(lib, op, [x], np.shape(want), np.int64, [axis]), np.asarray(want))


def test_arg_reduce_of_all_nan_and_of_a_number(lib):
    for dtype in ("float32", "float64"):
        x = np.full((3, 700), np.nan, dtype)
        for axis in (0, 1):
            assert not run(lib, "argmax", [x], (x.shape[1 - axis],), np.int64, [axis]).any()
    assert run(lib, "argmin", [np.float32(4)], (), np.int64, [0]) == 0


def test_arg_reduce_of_an_empty_axis(lib):
    with pytest.raises(Fault, match=r"^\[argmax\] no element to choose; got an axis of size 0; try an axis that"):
        run(lib, "argmax", [np.empty((2, 0), np.float32)], (2,), np.int64, [1])


# ---- joining


@pytest.mark.parametrize("dtype", MOVED)
def test_concatenate(lib, dtype):
    rng = np.random.default_rng(2)
    for _ in range(40):
        shape = list(draw_shape(rng, 1))
        axis = int(rng.integers(len(shape)))
        parts = []
        for _ in range(rng.integers(1, 5)):
            shape[axis] = int(rng.integers(0, 5))
            parts.append(draw(rng, shape, dtype))
        want = np.concatenate(parts, axis)
        same(run(lib, "concatenate", parts, want.shape, dtype, [axis]), want)


def test_concatenate_of_long_rows(lib):
    rng = np.random.default_rng(3)
    for shapes, axis in [([(3, 20000), (3, 7), (3, 30001)], 1), ([(70000,), (1,), (150000,)], 0), ([(9000, 4)] * 3, 1)]:
        parts = [draw(rng, s, "float32") for s in shapes]
        want = np.concatenate(parts, axis)
        for threads in (1, 3):
            lib.native_threads(threads)
            same(run(lib, "concatenate", parts, want.shape, "float32", [axis]), want)


@pytest.mark.parametrize("dtype", MOVED)
@pytest.mark.parametrize("donate", [False, True])
def test_slice_update(lib, dtype, donate):
    assert lib.native_donates(b"slice_update")
    rng = np.random.default_rng(4)
    shapes = [(), (300, 400), (70, 50, 30)] + [draw_shape(rng) for _ in range(40)]
    for shape in shapes:
        start = [int(rng.integers(0, n + 1)) for n in shape]
        stop = [int(rng.integers(s, n + 1)) for s, n in zip(start, shape)]
        if rng.random() < 0.2:
            start, stop = [0] * len(shape), list(shape)
        step = [int(k) for k in rng.choice([1, 1, 2, 3], len(shape))]
        x = draw(rng, shape, dtype)
        at = tuple(slice(*s) for s in zip(start, stop, step))
        values = draw(rng, x[at].shape, dtype)
        want = x.copy()
        want[at] = values
        same(run(lib, "slice_update", [x, values], shape, dtype, start + stop + step, donate), want)


# ---- indices


@pytest.mark.parametrize("dtype", MOVED)
def test_index(lib, dtype):
    rng = np.random.default_rng(5)
    for _ in range(60):
        shape = draw_shape(rng, 1, 4, 1)
        n = int(rng.integers(1, len(shape) + 1))
        index_shape = draw_shape(rng, 0, 3)
        places = [draw_index(rng, index_shape, shape[t]) for t in range(n)]
        x = draw(rng, shape, dtype)
        want = np.asarray(x[tuple(places)])
        same(run(lib, "index", [x, *places], want.shape, dtype, [n]), want)


@pytest.mark.parametrize("dtype", sorted(set(MOVED + SUMMED)))
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("donate", [False, True])
def test_index_put(lib, dtype, accumulate, donate):
    if accumulate and dtype not in SUMMED:
        dtype = "float32"
    assert lib.native_donates(b"index_put")
    rng = np.random.default_rng(6)
    for _ in range(30):
        shape = draw_shape(rng, 1, 4, 1)
        n = int(rng.integers(1, len(shape) + 1))
        index_shape = draw_shape(rng, 0, 2)
        places = [draw_index(rng, index_shape, shape[t]) for t in range(n)]
        x = draw(rng, shape, dtype)
        values = draw(rng, index_shape + shape[n:], dtype)
        want = in_order(x, places, values, accumulate)
        same(run(lib, "index_put", [x, values, *places], shape, dtype, [n, accumulate], donate), want)


def grid(shape, axis, idx):
    """Places of the elements of idx, its values on the axis."""
    places = list(np.indices(idx.shape))
    places[axis] = idx
    return places


def draw_gather(rng):
    shape = draw_shape(rng, 1, 4, 1)
    axis = int(rng.integers(len(shape)))
    full = rng.random() < 0.5
    index_shape = [n if full else int(rng.integers(0, n + 1)) for n in shape]
    index_shape[axis] = int(rng.integers(0, 6))
    return shape, axis, draw_index(rng, index_shape, shape[axis])


@pytest.mark.parametrize("dtype", MOVED)
def test_gather(lib, dtype):
    rng = np.random.default_rng(7)
    for _ in range(60):
        shape, axis, idx = draw_gather(rng)
        x = draw(rng, shape, dtype)
        want = x[tuple(grid(shape, axis, idx))]
        same(run(lib, "gather", [x, idx], idx.shape, dtype, [axis]), want)
    x = draw(rng, (), dtype)
    same(run(lib, "gather", [x, np.int64(-1)], (), dtype, [0]), x)


@pytest.mark.parametrize("dtype", sorted(set(MOVED + SUMMED)))
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("donate", [False, True])
def test_scatter(lib, dtype, accumulate, donate):
    if accumulate and dtype not in SUMMED:
        dtype = "float32"
    assert lib.native_donates(b"scatter")
    rng = np.random.default_rng(8)
    for _ in range(40):
        shape, axis, idx = draw_gather(rng)
        more = rng.integers(0, 2, idx.ndim) * rng.integers(0, 2)
        src = draw(rng, tuple(int(n) for n in idx.shape + more), dtype)
        x = draw(rng, shape, dtype)
        used = src[tuple(slice(n) for n in idx.shape)]
        want = in_order(x, grid(shape, axis, idx), used, accumulate) if idx.size else x
        same(run(lib, "scatter", [x, idx, src], shape, dtype, [axis, accumulate], donate), want)
    x = draw(rng, (), dtype)
    same(run(lib, "scatter", [x, np.int64(0), x], (), dtype, [0, False], donate), x)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_index_out_of_range_is_told_and_not_followed(lib, threads):
    lib.native_threads(threads)
    text = r"^\[{}\] index out of range; got {} for an axis of size 5; try an index from -5 to 4$"
    x = np.ones((5, 400), np.float32)
    for bad in (5, 7, -6, 2**62, -(2**63), 2**63 - 1):
        idx = np.zeros(1000, np.int64)
        idx[[300, 999]] = bad, 77
        values = np.ones((1000, 400), np.float32)
        with pytest.raises(Fault, match=text.format("index", bad)):
            run(lib, "index", [x, idx], (1000, 400), np.float32, [1])
        for accumulate in (False, True):
            with pytest.raises(Fault, match=text.format("index_put", bad)):
                run(lib, "index_put", [x, values, idx], x.shape, np.float32, [1, accumulate])
        wide = np.repeat(idx[:, None], 400, 1)
        with pytest.raises(Fault, match=text.format("gather", bad)):
            run(lib, "gather", [x, wide], wide.shape, np.float32, [0])
        for accumulate in (False, True):
            with pytest.raises(Fault, match=text.format("scatter_add" if accumulate else "scatter", bad)):
                run(lib, "scatter", [x, wide, values], x.shape, np.float32, [0, accumulate])
    with pytest.raises(Fault, match=r"^\[index\] index out of range; got 400 for an axis of size 400; try"):
        run(lib, "index", [x, np.array([0, 1]), np.array([-400, 400])], (2,), np.float32, [2])
    with pytest.raises(Fault, match=r"^\[index\] .* got 0 for an axis of size 0; try an axis that is not empty"):
        run(lib, "index", [np.empty((0, 3)), np.zeros(2, np.int64)], (2, 3), np.float64, [1])


def test_accumulation_that_no_kernel_has(lib):
    x = np.ones(3, np.float16)
    with pytest.raises(Fault, match=r"^\[index_put\] no accumulation in this dtype; got float16; try a cast"):
        run(lib, "index_put", [x, x, np.arange(3)], (3,), np.float16, [1, True])


# ---- running sums


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint32", "int64", "float32", "complex64"])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(lib, dtype, reverse):
    rng = np.random.default_rng(9)
    wide = {"float32": "float64", "complex64": "complex128"}.get(dtype, dtype)
    for shape in [(7, 40, 3), (3, 5, 300), (9, 1000), (0, 3), (4, 0)] + [draw_shape(rng, 1) for _ in range(25)]:
        x = draw(rng, shape, dtype)
        if np.dtype(dtype).kind in "fc" and x.size:
            x.flat[0] = -0.0
        for axis in range(len(shape)):
            y = np.flip(x, axis) if reverse else x
            want = np.cumsum(y.astype(wide), axis, dtype=wide).astype(dtype)
            want = np.ascontiguousarray(np.flip(want, axis) if reverse else want)
            same(run(lib, "cumsum", [x], shape, dtype, [axis, reverse]), want)


@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum_of_float64_is_as_good_as_rounding(lib, reverse):
    rng = np.random.default_rng(10)
    n, u = 3000, 2.0**-53
    x = rng.standard_normal(n) * 10.0 ** rng.integers(-8, 9, n)
    got = run(lib, "cumsum", [x], (n,), np.float64, [0, reverse])
    got = got[::-1] if reverse else got
    x = x[::-1] if reverse else x
    for j in range(0, n, 50):
        exact = math.fsum(x[: j + 1])
        assert abs(got[j] - exact) <= 2 * u * abs(exact) + 2 * (n * u) ** 2 * np.abs(x[: j + 1]).sum()
    # the same columns one beside the other
    columns = np.ascontiguousarray(np.repeat(x[:, None], 3, 1))
    same(run(lib, "cumsum", [columns], (n, 3), np.float64, [0, False])[:, 1].copy(), got.copy())


def test_cumsum_of_special_values(lib):
    for dtype in ("float32", "float64"):
        x = np.array([[-0.0, 1, np.inf, 1, 1], [-0.0, -0.0, 0, np.nan, 1], [1, np.inf, 2, -np.inf, 3]], dtype)
        with np.errstate(invalid="ignore"):
            want = np.cumsum(x, 1)
        got = run(lib, "cumsum", [x], x.shape, dtype, [1, False])
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(np.signbit(got)[:2, :3], np.signbit(want)[:2, :3])


# ---- threads: large enough to be cut


def large_cases():
    rng = np.random.default_rng(11)

    def f(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    def i(size, *shape):
        return rng.integers(-size, size, shape)

    table, tokens = f(500, 96), i(500, 3000)
    yield "index", [table, tokens], (3000, 96), [1]
    yield "index", [f(90000), i(90000, 100000)], (100000,), [1]
    yield "index", [f(30, 40, 50), i(30, 2000), i(40, 2000)], (2000, 50), [2]
    for accumulate in (0, 1):
        yield "index_put", [f(500, 256), f(3000, 256), tokens], (500, 256), [1, accumulate]
        yield "index_put", [f(500, 20), f(9000, 20), i(500, 9000)], (500, 20), [1, accumulate]
        yield "index_put", [f(2, 20), f(9000, 20), i(2, 9000)], (2, 20), [1, accumulate]
        yield "index_put", [f(50, 3), f(40000, 3), i(50, 40000)], (50, 3), [1, accumulate]
        yield "index_put", [f(5000), f(90000), i(5000, 90000)], (5000,), [1, accumulate]
        yield "scatter", [f(5000), i(5000, 90000), f(90000)], (5000,), [0, accumulate]
        yield "scatter", [f(300, 40), i(40, 300, 400), f(300, 500)], (300, 40), [1, accumulate]
        yield "scatter", [f(7, 300), i(7, 400, 300), f(400, 300)], (7, 300), [0, accumulate]
        yield "scatter", [f(5, 7, 90), i(7, 5, 300, 80), f(5, 300, 90)], (5, 7, 90), [1, accumulate]
    yield "gather", [f(70000, 10), i(10, 70000, 1)], (70000, 1), [1]
    yield "gather", [f(30, 90, 50), i(90, 25, 100, 50)], (25, 100, 50), [1]
    yield "cumsum", [f(300, 400)], (300, 400), [1, 0]
    yield "cumsum", [f(300, 400)], (300, 400), [0, 1]
    yield "cumsum", [f(300, 400).astype(np.float64)], (300, 400), [1, 1]
    yield "argmax", [f(20000, 10)], (20000,), [1]
    yield "argmax", [f(100, 900)], (900,), [0]
    yield "argmin", [np.round(f(400000), 1)], (), [0]
    yield "argmax", [np.where(f(2, 300000) > 4.3, np.float32(np.nan), f(2, 300000))], (2,), [1]
    yield "slice_update", [f(400, 500), f(300, 250)], (400, 500), [50, 0, 350, 500, 1, 2]
    yield "slice_update", [f(400, 500), f(300, 500)], (400, 500), [50, 0, 350, 500, 1, 1]


def oracle(op, operands, attrs):
    x, *rest = operands
    if op == "index":
        return x[tuple(rest)]
    if op == "index_put":
        return in_order(x, rest[1:], rest[0], attrs[1])
    if op == "gather":
        return x[tuple(grid(x.shape, attrs[0], rest[0]))]
    if op == "scatter":
        idx, src = rest
        x = x.copy()
        places, values = grid(x.shape, attrs[0], idx), src[tuple(slice(n) for n in idx.shape)]
        if attrs[1]:
            np.add.at(x, tuple(places), values)
            return x
        return in_order(x, places, values, False)
    if op == "cumsum":
        y = np.flip(x, attrs[0]) if attrs[1] else x
        y = np.cumsum(y.astype(np.float64), attrs[0])
        return (np.flip(y, attrs[0]) if attrs[1] else y).astype(x.dtype)
    if op == "slice_update":
        x = x.copy()
        n = x.ndim
        x[tuple(slice(*s) for s in zip(attrs[:n], attrs[n : 2 * n], attrs[2 * n :]))] = rest[0]
        return x
    return np.asarray(getattr(np, op)(x, attrs[0]))


def test_threads_do_not_change_the_bits(lib):
    for op, operands, shape, attrs in large_cases():
        dtype = np.int64 if op.startswith("arg") else operands[0].dtype
        results = []
        for threads in (1, 3):
            lib.native_threads(threads)
            results.append(run(lib, op, operands, shape, dtype, attrs))
        same(*results)
        want = np.ascontiguousarray(oracle(op, operands, attrs)).reshape(shape)
        if dtype == np.float64:
            np.testing.assert_allclose(results[0], want, rtol=1e-10, atol=1e-12)
        else:
            same(results[0], want)
