"""The native CUDA kernels beside their CPU twins, bit for bit; their texts through NVRTC.

They run on the stand-in for the driver, in a process of their own (kernel_checks.py) for each order in which the stand-in
runs threads and blocks; each check is a test for each order.
"""

import ctypes
import hashlib
import math
import sys

import ml_dtypes
import numpy as np
import objects
import pytest
from kernel_checks import CSRC, DEVICE, DTYPES, HERE, Checks, results_of

SOURCES = [
    HERE / "cuda_native_driver.cpp",
    *DEVICE,
    CSRC / "kernels/native.cpp",
    CSRC / "kernels/windows.cpp",
    *(CSRC / f"kernels/cpu/{name}.cpp" for name in "index arg_reduce scan join topk sampling convolution tiles tile_kernels pair_kernels".split()),
    *(CSRC / f"kernels/cpu/{name}.cpp" for name in "attention attention_backward attention_rows".split()),
    *(
        CSRC / f"kernels/cuda/{name}.cpp"
        for name in "native_cuda launch arg_reduce scan join index sort matmul topk tiled_gemm small_gemm sampling "
        "attention convolution".split()
    ),
]
RUNS = {order: {"PYDIFF_CUDA_HOST_ORDER": order} for order in ("forward", "reverse", "shuffle")}

MOVED = ["bool", "float16", "int32", "float64", "complex128"]  # every size
SUMMED = ["bool", "uint8", "int16", "int32", "int64", "float32", "float64", "complex64", "complex128"]
ORDERED = ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]

check = CHECKS = Checks()


class Rig:
    """Runs an op on both devices and compares."""

    def __init__(self, lib, seed):
        self.lib = lib
        self.rng = np.random.default_rng(seed)
        self.digest = hashlib.sha256()

    def run(self, device, op, operands, shape, dtype, attrs, donate=False, offset=0):
        """The result and the error's text."""
        out = np.full(shape, 1, dtype)
        operands = [np.ascontiguousarray(x).reshape(np.shape(x)) for x in operands]
        before = [x.tobytes() for x in operands]
        if donate and not device:
            out[...] = operands[0]
        tensors = [*operands, out]
        memory = [x.ctypes.data for x in tensors]
        if donate and not device:
            memory[0] = memory[-1]
        sizes = [n for x in tensors for n in x.shape]
        attrs = [int(v) for v in attrs]
        text = ctypes.create_string_buffer(4096)
        blocks = self.lib.native_live_blocks() if device else 0
        status = self.lib.native_run(
            device,
            offset,
            int(donate),
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
        assert status < 2, f"{op}: {text.value.decode()}" if status == 3 else f"no kernel for {op}"
        if device:
            assert self.lib.native_live_blocks() == blocks, "device memory was kept"
        for x, y in zip(operands, before):
            assert x.tobytes() == y, "wrote into an operand"
        return out, text.value.decode()

    def compare(self, op, operands, shape, dtype, attrs, near=None, offset=None):
        """CUDA is the CPU bit for bit (any NaN is any NaN), or within `near` of it; so is the error's text."""
        size = np.dtype(dtype).itemsize
        donate = op in ("index_put", "scatter", "slice_update") and self.rng.random() < 0.5
        if offset is None:
            offset = int(self.rng.choice([0, 0, 8, 16, 24, min(size, 8) * int(self.rng.integers(4))]))
        if op in INDEXED:
            offset = offset // 8 * 8
        want, want_error = self.run(0, op, operands, shape, dtype, attrs)
        got, error = self.run(1, op, operands, shape, dtype, attrs, donate, offset)
        where = f"{op} {[np.shape(x) for x in operands]} {np.dtype(dtype)} {list(map(int, attrs))} offset {offset}"
        assert error == want_error, (where, error, want_error)
        if error:
            return error
        if near is not None:
            both = np.isfinite(want)
            np.testing.assert_array_equal(got[~both], want[~both], err_msg=where)
            assert (np.abs(got - want)[both] <= near[both]).all(), where
        elif got.tobytes() != want.tobytes():
            if got.dtype.kind in "fc":
                g, w = (x.ravel().view(x.real.dtype) for x in (got, want))
                nan = np.isnan(w)
                assert (np.isnan(g) == nan).all(), where
                assert g[~nan].tobytes() == w[~nan].tobytes(), where
            else:
                np.testing.assert_array_equal(got, want, err_msg=where)
                raise AssertionError(where)
        self.digest.update(got.tobytes())
        return ""


INDEXED = ("index", "index_put", "gather", "scatter")  # their int64 operands lie 8 bytes apart


def draw(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype == bool:
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind in "iu":
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    x = rng.standard_normal(shape)
    x = np.where(rng.random(shape) < 0.02, rng.choice([np.nan, np.inf, -np.inf, -0.0], shape), x)
    if dtype.kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return np.asarray(x).astype(dtype)


def draw_shape(rng, low=0, high=4, least=0, most=6):
    return tuple(int(n) for n in rng.integers(least, most, rng.integers(low, high + 1)))


def draw_index(rng, shape, size):
    return rng.integers(-size, size, shape) if size else np.zeros(shape, np.int64)


# ---- arg reductions


@check(*[(op, t) for t in ORDERED for op in ("argmax", "argmin")])
def arg_reduce(rig, op, dtype):
    rng = rig.rng
    shapes = [(3, 10), (600, 16), (4000,), (5, 130), (1, 20480), (2, 18001), (2, 700, 3), (20, 2, 70), (1,)]
    shapes += [(0, 4), (5, 1, 0), (130, 1030)] + [draw_shape(rng, 1, 4, 1) for _ in range(6)]
    for shape in shapes:
        x = rng.integers(0, rng.choice([2, 5, 100]), shape).astype(dtype)  # few distinct values: there are ties
        if np.dtype(dtype).kind not in "ub":
            x -= np.asarray(3, x.dtype)
        if np.dtype(dtype).kind == "f":
            x[rng.random(shape) < rng.choice([0.0, 0.001, 0.5, 1.0])] = np.nan
            x[x == 2] = rng.choice([np.inf, -np.inf])
            x[(x == 0) & (rng.random(shape) < 0.5)] = -0.0
        for axis in range(len(shape)):
            rig.compare(op, [x], shape[:axis] + shape[axis + 1 :], np.int64, [axis])


@check()
def arg_reduce_that_cannot(rig):
    text = rig.compare("argmax", [np.empty((2, 0), np.float32)], (2,), np.int64, [1])
    assert text.startswith("[argmax] no element to choose")
    assert "no order for this dtype" in rig.compare("argmin", [np.ones(3, np.float16)], (), np.int64, [0])
    assert rig.compare("argmin", [np.float32(4)], (), np.int64, [0]) == ""
    assert rig.compare("argmin", [np.empty((0, 0), np.float32)], (0,), np.int64, [1]) == ""


# ---- the k best


def ranks(x, axis, largest):
    """All places in the order that topk gives them."""
    order = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    return x.shape[axis] - 1 - order if largest else np.argsort(x, axis, kind="stable")


@check(*[(t, largest) for t in ("int32", "int64", "uint64", "float32", "float64") for largest in (0, 1)])
def topk(rig, dtype, largest):
    rng = rig.rng
    shapes = [(3, 10), (40, 31), (9, 32), (9, 33), (2, 1024), (3, 700), (2, 70, 3), (5, 2, 40), (1,), (0, 4), (4, 300, 2)]
    shapes += [draw_shape(rng, 1, 4, 1) for _ in range(6)]
    for shape in shapes:
        x = rng.integers(0, rng.choice([2, 5, 1000]), shape).astype(dtype)
        x -= np.asarray(3, x.dtype)
        if np.dtype(dtype).kind == "f":
            x[rng.random(shape) < rng.choice([0.0, 0.01, 0.5, 1.0])] = np.nan
            x[x == 1] = rng.choice([np.inf, -np.inf])
            x[(x == 0) & (rng.random(shape) < 0.5)] = -0.0
        else:
            x[rng.random(shape) < 0.1] = rng.choice([np.iinfo(dtype).min, np.iinfo(dtype).max])
        for axis in range(len(shape)):
            n = shape[axis]
            for k in {0, min(1, n), min(5, n), min(33, n), min(64, n)}:
                out = (*shape[:axis], k, *shape[axis + 1 :])
                rig.compare("topk", [x], out, np.int64, [axis, k, largest])
                got, _ = rig.run(0, "topk", [x], out, np.int64, [axis, k, largest])
                np.testing.assert_array_equal(got, np.take(ranks(x, axis, largest), range(k), axis))


@check()
def topk_of_more_on_the_cpu(rig):
    x = rig.rng.integers(0, 50, (3, 500)).astype(np.float32)
    for k in (65, 200, 500):
        got, _ = rig.run(0, "topk", [x], (3, k), np.int64, [1, k, 1])
        np.testing.assert_array_equal(got, ranks(x, 1, 1)[:, :k])


@check()
def topk_that_cannot(rig):
    assert "no order for this dtype" in rig.compare("topk", [np.ones(3, np.float16)], (2,), np.int64, [0, 2, 1])


# ---- joining


@check(*MOVED)
def concatenate(rig, dtype):
    rng = rig.rng
    for _ in range(25):
        shape = list(draw_shape(rng, 1))
        axis = int(rng.integers(len(shape)))
        parts = []
        for _ in range(rng.integers(1, 5)):
            shape[axis] = int(rng.integers(0, 9))
            parts.append(draw(rng, shape, dtype))
        want = np.concatenate(parts, axis)
        rig.compare("concatenate", parts, want.shape, dtype, [axis])


@check()
def concatenate_of_many_and_of_long(rig):
    rng = rig.rng
    many = [draw(rng, (5, int(n)), "float32") for n in rng.integers(0, 5, 70)]
    cases = [(many, 1), ([draw(rng, (3, n), "float32") for n in (5000, 7, 6001)], 1)]
    cases += [([draw(rng, (n,), "int8") for n in (20000, 1, 30000)], 0), ([draw(rng, (300, 16), "float32")] * 3, 1)]
    for parts, axis in cases:
        for offset in (0, 4):
            shape = np.concatenate(parts, axis).shape
            rig.compare("concatenate", parts, shape, parts[0].dtype, [axis], offset=offset)


@check(*MOVED)
def slice_update(rig, dtype):
    rng = rig.rng
    shapes = [(), (64, 96), (20, 16, 30), (2, 3, 2, 3, 2, 3, 2)] + [draw_shape(rng) for _ in range(25)]
    for shape in shapes:
        start = [int(rng.integers(0, n + 1)) for n in shape]
        stop = [int(rng.integers(s, n + 1)) for s, n in zip(start, shape)]
        if rng.random() < 0.2:
            start, stop = [0] * len(shape), list(shape)
        step = [int(k) for k in rng.choice([1, 1, 1, 2, 3], len(shape))]
        x = draw(rng, shape, dtype)
        values = draw(rng, x[tuple(slice(*s) for s in zip(start, stop, step))].shape, dtype)
        rig.compare("slice_update", [x, values], shape, dtype, start + stop + step)


@check()
def slice_update_of_whole_rows(rig):
    x = draw(rig.rng, (40, 64), "float32")
    for start, stop, step in [((8, 0), (40, 64), (1, 1)), ((0, 32), (40, 64), (2, 1)), ((0, 4), (40, 63), (1, 1))]:
        values = draw(rig.rng, x[tuple(slice(*s) for s in zip(start, stop, step))].shape, "float32")
        for offset in (0, 4):
            rig.compare("slice_update", [x, values], x.shape, x.dtype, start + stop + step, offset=offset)


# ---- indices


@check(*MOVED)
def index(rig, dtype):
    rng = rig.rng
    for _ in range(30):
        shape = draw_shape(rng, 1, 4, 1)
        n = int(rng.integers(1, min(len(shape), 3) + 1))
        index_shape = draw_shape(rng, 0, 3)
        places = [draw_index(rng, index_shape, shape[t]) for t in range(n)]
        x = draw(rng, shape, dtype)
        rig.compare("index", [x, *places], index_shape + shape[n:], dtype, [n])


@check(*[(t, accumulate) for t in sorted({*MOVED, *SUMMED}) for accumulate in (False, True)])
def index_put(rig, dtype, accumulate):
    rng = rig.rng
    for _ in range(25):
        shape = draw_shape(rng, 1, 4, 1)
        n = int(rng.integers(1, min(len(shape), 3) + 1))
        index_shape = draw_shape(rng, 0, 2, 0, 12)
        places = [draw_index(rng, index_shape, shape[t]) for t in range(n)]
        x = draw(rng, shape, dtype)
        values = draw(rng, index_shape + shape[n:], dtype)
        rig.compare("index_put", [x, values, *places], shape, dtype, [n, accumulate])


@check(*[(t, accumulate) for t in ("float32", "float64", "int32", "bool") for accumulate in (False, True)])
def index_put_of_many(rig, dtype, accumulate):
    """Sorts of one, two and three passes, chunks of several warps; targets that are met by thousands of entries."""
    rng = rig.rng
    cases = [(3, 4, 3000), (300, 2, 5000), (70000, 1, 6000), (70000, 1, 0), (1, 1, 1500), (50, 33, 900)]
    cases += [(900, 1, 70000)]
    for rows, inner, count in cases:
        x, values = draw(rng, (rows, inner), dtype), draw(rng, (count, inner), dtype)
        where = np.minimum(rng.geometric(4 / rows if rows > 4 else 0.5, count), rows) - 1
        rig.compare("index_put", [x, values, where], x.shape, dtype, [1, accumulate])


def draw_gather(rng):
    shape = draw_shape(rng, 1, 4, 1)
    axis = int(rng.integers(len(shape)))
    full = rng.random() < 0.5
    index_shape = [n if full else int(rng.integers(0, n + 1)) for n in shape]
    index_shape[axis] = int(rng.choice([0, 1, 5, 18, 30]))
    return shape, axis, draw_index(rng, index_shape, shape[axis])


@check(*MOVED)
def gather(rig, dtype):
    rng = rig.rng
    for _ in range(40):
        shape, axis, idx = draw_gather(rng)
        rig.compare("gather", [draw(rng, shape, dtype), idx], idx.shape, dtype, [axis])
    rig.compare("gather", [draw(rng, (), dtype), np.int64(-1)], (), dtype, [0])


@check(*[(t, accumulate) for t in sorted({*MOVED, *SUMMED}) for accumulate in (False, True)])
def scatter(rig, dtype, accumulate):
    rng = rig.rng
    for _ in range(30):
        shape, axis, idx = draw_gather(rng)
        more = rng.integers(0, 2, idx.ndim) * rng.integers(0, 2)
        src = draw(rng, tuple(int(n) for n in idx.shape + more), dtype)
        rig.compare("scatter", [draw(rng, shape, dtype), idx, src], shape, dtype, [axis, accumulate])
    x = draw(rng, (), dtype)
    rig.compare("scatter", [x, np.int64(0), x], (), dtype, [0, accumulate])


@check(False, True)
def scatter_of_many(rig, accumulate):
    rng = rig.rng
    for shape, axis, length in [((16500, 3), 1, 20), ((20, 900), 0, 40), ((5, 7, 9), 1, 300), ((2000,), 0, 5000)]:
        idx_shape = tuple(length if d == axis else n for d, n in enumerate(shape))
        idx = draw_index(rng, idx_shape, shape[axis])
        x, src = draw(rng, shape, "float32"), draw(rng, idx_shape, "float32")
        rig.compare("scatter", [x, idx, src], shape, "float32", [axis, accumulate])


@check()
def faults(rig):
    """The fault that is told is the first in the order of the indices, however threads run."""
    x = np.ones((5, 8), np.float32)
    for bad in (5, 7, -6, 2**62, -(2**63), 2**63 - 1):
        idx = np.zeros(1000, np.int64)
        idx[[300, 301, 999]] = bad, 66, 77
        values = np.ones((1000, 8), np.float32)
        wide = np.repeat(idx[:, None], 8, 1)
        wide[299, 7] = 78
        texts = [rig.compare("index", [x, idx], (1000, 8), np.float32, [1])]
        texts += [rig.compare("gather", [x, wide], wide.shape, np.float32, [0])]
        for accumulate in (False, True):
            texts += [rig.compare("index_put", [x, values, idx], x.shape, np.float32, [1, accumulate])]
            texts += [rig.compare("scatter", [x, wide, values], x.shape, np.float32, [0, accumulate])]
        ints = [np.asarray(v, np.int32) for v in (x, values)]
        texts += [rig.compare("index_put", [*ints, idx], x.shape, np.int32, [1, True])]
        for text in texts:
            assert f"index out of range; got {78 if 'gather' in text or 'scatter' in text else bad} for" in text
    # all wrong, two indices, lines, an empty axis, rows of nothing
    assert "got 9 for" in rig.compare("index", [x, np.full(4000, 9)], (4000, 8), np.float32, [1])
    assert "got 8 for" in rig.compare("index", [x, np.array([0, 1]), np.array([-8, 8])], (2,), np.float32, [2])
    short = np.array([[0, 9], [8, 0]])
    for accumulate in (False, True):
        src = np.ones((2, 2), np.float32)
        assert "got 9 for" in rig.compare("scatter", [x, short, src], x.shape, np.float32, [0, accumulate])
        none = [np.ones((3, 0), np.float32), np.ones((2, 0), np.float32), np.array([0, 3])]
        assert "got 3 for" in rig.compare("index_put", none, (3, 0), np.float32, [1, accumulate])
    empty = np.empty((0, 3))
    assert "axis of size 0" in rig.compare("index", [empty, np.zeros(2, np.int64)], (2, 3), np.float64, [1])
    assert "got 3 for" in rig.compare("index", [np.ones((3, 0)), np.array([0, 3])], (2, 0), np.float64, [1])


@check()
def accumulation_that_no_kernel_has(rig):
    x = np.ones(3, np.float16)
    for idx, text in [([0, 1, 2], "no accumulation in this dtype; got float16"), ([0, 7, 2], "got 7 for an axis of")]:
        assert text in rig.compare("index_put", [x, x, np.array(idx)], (3,), np.float16, [1, True])
    assert "no accumulation" in rig.compare("scatter", [x, np.arange(3), x], (3,), np.float16, [0, True])


@check("float32", "float64", "complex64", "int64")
def additions_in_any_order(rig, dtype):
    """Without determinism: atomics, whose result lies within the rounding of any order; integers stay exact."""
    rng = rig.rng
    x, values, idx = rng.integers(-9, 9, (4, 3)), rng.standard_normal((500, 3)), draw_index(rng, 500, 4)
    x, values = x.astype(dtype), (100 * values).astype(dtype)
    near = None if dtype == "int64" else np.full((4, 3), 600 * np.finfo(dtype).eps * 1e5)
    rig.lib.native_deterministic(0)
    rig.compare("index_put", [x, values, idx], (4, 3), dtype, [1, True], near)
    rig.compare("scatter", [x[:, 0], idx, values[:, 0]], (4,), dtype, [0, True], None if near is None else near[:, 0])
    rig.lib.native_deterministic(1)
    rig.digest = hashlib.sha256()  # these bits may depend on the order


# ---- running sums


def sum_bound(x, axis, reverse):
    """How far two sums may be apart that are as good as scan_text.h says."""
    x = np.flip(x, axis) if reverse else x
    wide = x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        exact, size = np.abs(np.cumsum(wide, axis)), np.cumsum(np.abs(wide), axis)
    n, eps, u = x.shape[axis], np.finfo(x.dtype).eps, 2.0**-53
    many = (n * u) ** 2 if eps < 1e-10 else n * u
    bound = eps * exact + 4 * many * size
    return np.flip(bound, axis) if reverse else bound


SUM_SHAPES = [(7, 40, 3), (3, 5, 70), (9, 1000), (4, 600), (2, 18432), (1, 20001), (3, 300, 2), (1, 4100, 1)]
SUM_SHAPES += [(70, 600), (0, 3), (4, 0), (1,)]


@check(*[(t, reverse) for t in SUMMED[1:] for reverse in (0, 1)])
def cumsum(rig, dtype, reverse):
    rng = rig.rng
    for shape in SUM_SHAPES + [draw_shape(rng, 1) for _ in range(8)]:
        x = draw(rng, shape, dtype)
        real = np.dtype(dtype).kind not in "iu"
        if real:
            x = np.where(np.isfinite(x), x, 1).astype(dtype)
            x *= (10.0 ** rng.integers(-4, 5, shape)).astype(x.real.dtype)
        for axis in range(len(shape)):
            rows, columns = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
            columns *= 2 if np.dtype(dtype).kind == "c" else 1
            in_order = columns > 1 and (shape[axis] < 128 or rows * columns >= 16384)
            near = sum_bound(x, axis, reverse) if real and not in_order and x.size else None
            rig.compare("cumsum", [x], shape, dtype, [axis, reverse], near)


@check("uint8", "float32", "float64")
def cumsum_of_many_rows_is_the_cpus(rig, dtype):
    for shape, axis in [((16500, 3), 1), ((16384, 35), 1), ((140, 16400), 0)]:
        x = draw(rig.rng, shape, dtype)
        for reverse in (0, 1):
            rig.compare("cumsum", [x], shape, dtype, [axis, reverse])


@check("float32", "float64")
def cumsum_of_special_values(rig, dtype):
    x = np.array([[-0.0, 1, np.inf, 1, 1], [-0.0, -0.0, 0, np.nan, 1], [1, np.inf, 2, -np.inf, 3]], dtype)
    for width in (5, 4):
        rig.compare("cumsum", [x[:, :width]], (3, width), dtype, [1, 0])
    zeros = np.full((2, 20000), -0.0, dtype)
    rig.compare("cumsum", [zeros], zeros.shape, dtype, [1, 0])
    zeros[1, 12000] = np.nan
    zeros[0, 15000] = -np.inf
    rig.compare("cumsum", [zeros], zeros.shape, dtype, [1, 0])
    rig.compare("cumsum", [np.ascontiguousarray(zeros.T)], zeros.T.shape, dtype, [0, 1])


@check()
def cumsum_that_no_kernel_has(rig):
    for dtype in ("bool", "float16"):
        assert "no running sum for this dtype" in rig.compare("cumsum", [np.ones(3, dtype)], (3,), dtype, [0, 0])


# ---- samplers


def words(low, high, flags, text):
    bits = np.array([low, high]).view(np.int64).tolist()
    return [*bits, flags, *np.frombuffer(text.encode().ljust(-(-len(text) // 8) * 8, b"\0"), np.int64).tolist()]


@check()
def samplers(rig):
    n = 700
    number = lambda: np.array(int(rig.rng.integers(1 << 62)))  # noqa: E731
    shapes = np.geomspace(1e-3, 1e6, n)
    for once in (n, 100):
        for op, parameters in (
            ("sample_log_gamma", [shapes]),
            ("sample_poisson", [shapes]),
            ("sample_binomial", [np.floor(shapes), rig.rng.random(n)]),
        ):
            rig.compare(op, [*parameters, number(), number()], (n,), np.float64, [once])
        rig.compare("sample_integer", [(2 ** rig.rng.uniform(0, 62, n)).astype(np.int64), number(), number()], (n,), np.int64, [once])
    y = np.log(rig.rng.gamma(shapes) + 1e-300)
    rig.compare("log_gamma_slope", [shapes, y], (n,), np.float64, [])
    # what no sampler takes ends too
    bad = np.array([np.nan, -1.0, np.inf, -np.inf])
    for op in ("sample_log_gamma", "sample_poisson"):
        rig.compare(op, [bad, number(), number()], (4,), np.float64, [4])
    rig.compare("sample_binomial", [bad, bad, number(), number()], (4,), np.float64, [4])
    rig.compare("log_gamma_slope", [bad, bad], (4,), np.float64, [])


@check()
def ranges(rig):
    for dtype in (np.float32, np.float64):
        x = rig.rng.random(3000).astype(dtype)
        assert rig.compare("check_range", [x], x.shape, dtype, words(0.0, 1.0, 0, "[f] x; got {}; try y")) == ""
        x[[700, 2000]] = -1, np.nan
        assert rig.compare("check_range", [x], x.shape, dtype, words(0.0, 1.0, 0, "[f] x; got {}; try y")) == "[f] x; got -1; try y"
        for flags, value in ((1, 0.0), (2, 1.0), (3, 1.0)):
            assert "got" in rig.compare("check_range", [np.full(2, value, dtype)], (2,), dtype, words(0.0, 1.0, flags, "got {}"))
            other = np.full(2, 1.0 - value, dtype)
            if flags < 3:
                assert rig.compare("check_range", [other], (2,), dtype, words(0.0, 1.0, flags, "got {}")) == ""


# ---- 64-bit indices, on tensors that do not need them


@check()
def wide_indices(rig):
    rig.lib.native_most_in_32_bits(-1)
    arg_reduce(rig, "argmax", "float32")
    topk(rig, "float32", 1)
    concatenate(rig, "int32")
    slice_update(rig, "int32")
    index(rig, "int32")
    gather(rig, "int32")
    for accumulate in (False, True):
        index_put(rig, "float32", accumulate)
        index_put_of_many(rig, "float32", accumulate)
        scatter(rig, "float32", accumulate)
        scatter_of_many(rig, accumulate)
    cumsum(rig, "float32", 1)
    faults(rig)
    rig.lib.native_most_in_32_bits(2**30)


# ---- convolutions

IN_ACROSS, TURNED, W_ACROSS, OUT_ACROSS, MIRRORED = 1, 2, 4, 8, 16
OF_WEIGHT = IN_ACROSS | W_ACROSS | OUT_ACROSS
KERNELS = ("tensor cores", "tiles", "few", "long", "sums")
NARROW = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def convolve(rig, dtype, batch, groups, channels, size, kernel, flags=0, around=None, stride=None, spread=None, dilation=None, last=False):
    """A convolution of (inputs, outputs) channels a group beside the CPU's in float64; which kernels made it.

    `last`: the operands lie with their second axis innermost.
    """
    axes = len(size)
    one = [1] * axes
    around, stride, spread, dilation = around or [(0, 0)] * axes, stride or one, spread or one, dilation or one
    ins, outs = channels
    x = (ins, groups * batch) if flags & IN_ACROSS else (batch, groups * ins)
    w = (groups * ins, outs) if flags & TURNED else (ins, groups * outs) if flags & W_ACROSS else (groups * outs, ins)
    padded = [(n - 1) * s + 1 + sum(a) for n, s, a in zip(size, spread, around)]
    out = [(p - d * (k - 1) - 1) // s + 1 for p, k, s, d in zip(padded, kernel, stride, dilation)]
    y = (groups * outs, batch) if flags & OUT_ACROSS else (batch, groups * outs)
    before, after = zip(*around)
    attrs = [groups, flags, *stride, *before, *after, *spread, *dilation]
    kind = np.dtype(NARROW.get(dtype, dtype))
    x, w = (rig.rng.standard_normal(shape).astype(kind) for shape in ((*x, *size), (*w, *kernel)))
    shape = (*y, *out)
    wide = [v.astype(np.float64) for v in (x, w)]
    want, _ = rig.run(0, "convolution", wide, shape, np.float64, attrs)
    bound, _ = rig.run(0, "convolution", [np.abs(v) for v in wide], shape, np.float64, attrs)
    counts = [(ctypes.c_int64 * 5)() for _ in range(2)]
    rig.lib.native_convolutions(counts[0])
    offset = int(rig.rng.choice([0, 0, 0, 8, kind.itemsize]))
    if last:
        x, w = (np.ascontiguousarray(np.moveaxis(v, 1, -1)).reshape(v.shape) for v in (x, w))
    rig.lib.native_places_first(int(last))
    got, error = rig.run(1, "convolution", [x, w], shape, kind, attrs, offset=offset)
    rig.lib.native_places_first(0)
    rig.lib.native_convolutions(counts[1])
    assert not error
    terms = ins * math.prod(kernel) + 2
    near = terms * (2.0**-53 if dtype == "float64" else 2.0**-23) * bound
    near += float(ml_dtypes.finfo(kind).eps) * np.abs(want) + float(ml_dtypes.finfo(kind).smallest_subnormal)
    where = f"{dtype} {x.shape} {w.shape} {shape} {attrs} offset {offset} last {last}"
    assert (np.abs(got.astype(np.float64) - want) <= near).all(), where
    rig.digest.update(got.tobytes())
    return {name for name, a, b in zip(KERNELS, *counts) if a != b}


@check("float32", "float64", "float16", "bfloat16")
def convolution(rig, dtype):
    """The layers of networks and their gradients, and the kernel that each is for."""
    tiles = "tensor cores" if dtype in NARROW else "tiles"
    some = dtype in ("float32", "bfloat16")
    for channels in [(16, 8), (8, 40)] if some else [(16, 40)]:
        assert convolve(rig, dtype, 2, 1, channels, (8, 8), (3, 3), 0, [(1, 1)] * 2) == {tiles}
    assert convolve(rig, dtype, 2, 1, (16, 8), (8, 8), (3, 3), TURNED | MIRRORED, [(1, 1)] * 2) == {tiles}
    assert convolve(rig, dtype, 2, 1, (8, 16), (4, 4), (3, 3), TURNED | MIRRORED, [(1, 2)] * 2, spread=[2, 2]) == {tiles}
    assert convolve(rig, dtype, 16, 1, (8, 16), (8, 8), (8, 8), OF_WEIGHT, [(1, 1)] * 2) == {tiles, "sums"}
    if some:
        for flags in (0, TURNED | MIRRORED):
            assert convolve(rig, dtype, 2, 1, (16, 72), (8, 8), (1, 1), flags) == {tiles}
        assert convolve(rig, dtype, 8, 1, (24, 8), (4, 4), (4, 4), OF_WEIGHT) == {tiles}
    for flags, channels in ((0, (16, 8)), (TURNED | MIRRORED, (8, 16))) if dtype == "bfloat16" else []:
        assert convolve(rig, dtype, 2, 1, channels, (8, 7), (3, 3), flags, [(1, 1)] * 2, last=True) == {tiles}
    assert convolve(rig, dtype, 3, 6, (1, 1), (9, 9), (3, 3), 0, [(1, 1)] * 2) == {"few"}
    assert convolve(rig, dtype, 1, 5, (30, 1), (11, 11), (9, 9), OF_WEIGHT) == {"long", "sums"}
    assert not convolve(rig, dtype, 2, 1, (0, 2), (5, 5), (3, 3)) - {"few"}  # nothing to add up


@check(("float32", 8), ("bfloat16", 8), ("float64", 3), ("float16", 3))
def convolution_of_any_kind(rig, dtype, count):
    rng = rig.rng

    def few(low, high, n):
        return [int(v) for v in rng.integers(low, high, n)]

    for _ in range(count):
        axes = int(rng.choice([1, 2, 2, 3]))
        spread, dilation, stride = (few(1, 4, axes) if rng.random() < 0.4 else [1] * axes for _ in range(3))
        kernel = few(1, 4, axes)
        around = [(int(a), int(b)) for a, b in rng.integers(-1, 4, (axes, 2))]
        size = [
            max(int(v), (d * (k - 1) - sum(a)) // s + 2)
            for v, d, k, a, s in zip(few(1, 9, axes), dilation, kernel, around, spread)
        ]
        flags = sum(int(rng.choice([0, *some])) for some in ((IN_ACROSS,), (TURNED, W_ACROSS), (OUT_ACROSS,), (MIRRORED,)))
        groups, batch = int(rng.choice([1, 1, 2, 3])), int(rng.integers(1, 4))
        channels = (int(rng.choice([1, 3, 8, 16])), int(rng.choice([1, 3, 8, 33])))
        rig.lib.native_most_in_32_bits(int(rng.choice([1 << 30, 50])))
        last = bool(rng.random() < 0.3)
        assert convolve(rig, dtype, batch, groups, channels, size, kernel, flags, around, stride, spread, dilation, last)
    rig.lib.native_most_in_32_bits(1 << 30)


# ---- the process that runs the checks


def load(path):
    lib = ctypes.CDLL(path)
    lib.native_live_blocks.restype = ctypes.c_int64
    lib.native_most_in_32_bits.argtypes = [ctypes.c_int64]
    return lib


def main(path, *only):
    CHECKS.run(load(path), Rig, only)


# ---- the tests


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return objects.library(tmp_path_factory.mktemp("cuda_native"), "native", SOURCES)


@pytest.fixture(scope="module")
def results(library, tmp_path_factory):
    return results_of(__file__, library, tmp_path_factory.mktemp("images"), RUNS)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("order", RUNS)
def test_cuda_is_the_cpu(results, order, name):
    found, end = results(order)
    assert name in found, f"not reached; {end}"
    assert not found[name][0], found[name][0]


def test_the_order_of_threads_does_not_change_the_bits(results):
    runs = [results(order)[0] for order in RUNS]
    for name in CHECKS:
        assert len({run[name][1] for run in runs}) == 1, name


@pytest.mark.parametrize("arch", ["sm_90a", "sm_80", "sm_100", "sm_120"])
def test_texts_compile(library, arch, monkeypatch, nightly, seed):
    """A third of them for one architecture, nightly all, a sample for others, through the real NVRTC."""
    monkeypatch.setenv("PYDIFF_CACHE_DIR", "")
    lib = load(library)
    count = lib.native_text_count()
    assert count > 150
    name, log = ctypes.create_string_buffer(256), ctypes.create_string_buffer(1 << 16)
    step = 9 if arch != "sm_90a" else 1 if nightly else 3
    for k in range(seed % step, count, step):
        status = lib.native_text_compile(k, arch.encode(), name, log, len(name))
        if status and b"NVRTC, which compiles kernels, was not found" in log.value:
            pytest.skip(log.value.decode())
        assert status == 0 and not log.value.strip(), f"{name.value.decode()}: {log.value.decode()}"


if __name__ == "__main__":
    main(*sys.argv[1:])
