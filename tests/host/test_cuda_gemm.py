"""The products on tensor cores and of small matrices (kernels/cuda/) against float64, on the stand-in.

The checks run in a process of their own (kernel_checks.py) for each order in which the stand-in runs threads, and once more
with memory that ends at a page that nobody may touch.
"""

import ctypes
import hashlib
import itertools
import os
import re
import sys

import ml_dtypes
import numpy as np
import objects
import pytest
from kernel_checks import CSRC, DEVICE, DTYPES, HERE, Checks, results_of, run_apart

KERNELS = [CSRC / f"kernels/cuda/{name}.cpp" for name in ("launch", "tiled_gemm", "small_gemm")]
RUNS = {
    "forward": {"PYDIFF_CUDA_HOST_ORDER": "forward"},
    "reverse": {"PYDIFF_CUDA_HOST_ORDER": "reverse"},
    "shuffle": {"PYDIFF_CUDA_HOST_ORDER": "shuffle:3"},
    "pages": {"PYDIFF_CUDA_HOST_GUARD": "pages"},
}
TABLE = (CSRC / "kernels/cuda/gemm_tiles.def").read_text()
TILES = {
    m[1]: tuple(map(int, m[2].split(", ")))
    for m in re.finditer(r"^PD_GEMM_TILE\((\w+), ([\d, ]+)\)", TABLE, re.M)
}
GROUPS = {  # tiles for wgmma: their rows, columns, depth, warps down and across, stages
    m[1]: (*map(int, m[2].split(", ")), 4 * int(m[3]), 1, int(m[4]))
    for m in re.finditer(r"^PD_GEMM_WARPGROUP_TILE\((\w+), (\d+, \d+, \d+), (\d+), (\d+)\)", TABLE, re.M)
}
TILES.update(GROUPS)
FLOATS = {"float32": np.float32, "float64": np.float64}
HALVES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
FILLED = -77.0  # where no result belongs
check = CHECKS = Checks()


class Operand(ctypes.Structure):
    _fields_ = [
        *[(name, ctypes.c_void_p if name == "at" else ctypes.c_int64) for name in "at bytes type batch row col".split()],
        ("number", ctypes.c_float),
    ]


class Matrices:
    """`batch` matrices of `rows` by `cols` in memory with `pad` elements behind each row and `gap` behind each matrix."""

    def __init__(self, rng, shape, dtype, pad=0, gap=0, values=None, transposed=False, shared=False):
        batch, rows, cols = shape
        stored = (cols, rows) if transposed else (rows, cols)
        self.row = stored[1] + pad
        self.stride = 0 if shared else stored[0] * self.row + gap
        length = (batch - 1) * self.stride + (stored[0] - 1) * self.row + stored[1]
        self.memory = np.full(max(length, 0) if stored[0] and stored[1] and batch else 0, FILLED, dtype)
        steps = np.array([self.stride, *((1, self.row) if transposed else (self.row, 1))]) * self.memory.itemsize
        self.view = np.lib.stride_tricks.as_strided(self.memory, shape, steps) if self.memory.size else np.zeros(shape, dtype)
        self.transposed = transposed
        if values is not None and self.memory.size:
            self.view[...] = values(rng, shape)

    def operand(self):
        return Operand(self.memory.ctypes.data, self.memory.nbytes, DTYPES[self.memory.dtype.name], self.stride, self.row, 1, 0)


def normal(rng, shape):
    return rng.standard_normal(shape)


def integers(rng, shape):
    """Products of these and their sums are exact in float32."""
    return rng.integers(-8, 9, shape)


class Rig:
    def __init__(self, lib, seed):
        self.lib, self.rng, self.digest = lib, np.random.default_rng(seed), hashlib.sha256()

    def run(self, a, b, c, tile="", offset=0, tail=-1, operands=()):
        batch, m, k = a.view.shape
        n = b.view.shape[2]
        dims = [m, n, k, a.row, b.row, c.row, batch, a.stride, b.stride, c.stride]
        text = ctypes.create_string_buffer(2048)
        arrays = (a.memory, b.memory, c.memory)
        before = a.memory.tobytes(), b.memory.tobytes()
        done = self.lib.gemm_run(
            tile.encode(), DTYPES[a.memory.dtype.name], DTYPES[c.memory.dtype.name], int(a.transposed), int(b.transposed),
            (ctypes.c_int64 * 10)(*dims), (ctypes.c_void_p * 3)(*(x.ctypes.data for x in arrays)),
            (ctypes.c_int64 * 3)(*(x.nbytes for x in arrays)), offset, tail, len(operands),
            (Operand * max(len(operands), 1))(*operands), text, len(text),
        )  # fmt: skip
        assert done >= 0, text.value.decode()
        assert before == (a.memory.tobytes(), b.memory.tobytes()), "wrote into an operand"
        self.digest.update(c.memory.tobytes())
        return bool(done)

    def compare(self, shape, dtype, out, ta, tb, tile="", pad=0, gap=0, offset=0, values=normal, shared=False):
        """Within the bound that tiled_gemm.h states, and exact where the numbers allow it; nothing else is written."""
        batch, m, n, k = shape
        half = {**HALVES, **FLOATS}[dtype]
        a = Matrices(self.rng, (batch, m, k), half, pad, gap, values, ta)
        b = Matrices(self.rng, (batch, k, n), half, pad, gap, values, tb, shared)
        c = Matrices(self.rng, (batch, m, n), half if out == "same" else np.float32, pad, gap, lambda _, s: np.full(s, 5.0))
        where = f"{shape} {dtype} to {out} ta {ta} tb {tb} {tile} pad {pad} gap {gap} offset {offset}"
        assert self.run(a, b, c, tile, offset), where
        x, y = a.view.astype(np.float64), b.view.astype(np.float64)
        self.near(c, x @ y, np.abs(x) @ np.abs(y), k, values is integers, where)

    def near(self, c, want, size, k, exact, where):
        if not c.memory.size:
            return
        got = c.view.astype(np.float64)
        if exact:
            np.testing.assert_array_equal(got, want.astype(np.promote_types(np.float32, FLOATS.get(c.memory.dtype.name, np.float32))).astype(c.memory.dtype).astype(np.float64), where)
        else:
            eps = float(ml_dtypes.finfo(c.memory.dtype).eps) if c.memory.dtype != np.float32 else 2.0**-23
            sums = 2.0**-52 if c.memory.dtype == np.float64 else 2.0**-23
            tiny = 1e-30 if c.memory.dtype in FLOATS.values() else float(ml_dtypes.finfo(c.memory.dtype).smallest_subnormal)
            bound = k * sums * size + eps * np.abs(want) + tiny
            assert (np.abs(got - want) <= bound).all(), f"{where}: {np.max(np.abs(got - want) / bound)} of the bound"
        inside = np.zeros(c.memory.size, bool)
        strides = [s // c.memory.itemsize for s in c.view.strides]
        np.lib.stride_tricks.as_strided(inside, c.view.shape, strides)[...] = True
        assert (c.memory[~inside].astype(np.float64) == FILLED).all(), f"{where}: wrote outside of the result"


@check(*[(tile, ta, tb) for place, tile in enumerate(TILES) for ta in (0, 1) for tb in (0, 1)
         if tile in GROUPS or tb == (ta + place) % 2])  # fmt: skip
def every_tile(rig, tile, ta, tb):
    """More than one tile each way, a ragged edge, and more steps along k than the ring has places."""
    bm, bn, bk, _, _, stages = TILES[tile]
    big = bm * bn > 128 * 64
    m, n, k = (bm // 2 + 9, bn // 2 + 17, bk * stages + 40) if big else (bm + 9, bn + 17, bk * (stages + 1) + 24)
    rig.compare((1, m, n, k), "bfloat16", "float32", ta, tb, tile, pad=(-k if not ta else -m) % 8, values=integers)
    rig.compare((1, m - 3, n + 1, bk + 8), "float16", "same", ta, tb, tile, pad=-(bk + 8 if not ta else m - 3) % 8)


@check(*[(dtype, ta, tb) for dtype in HALVES for ta in (0, 1) for tb in (0, 1)])
def any_shape_and_place(rig, dtype, ta, tb):
    rng = rig.rng
    for _ in range(16):
        batch = int(rng.choice([1, 1, 2, 3]))
        m, n = (int(v) for v in rng.integers(1, 90, 2))
        k = int(rng.choice([1, 2, 7, 8, 15, 16, 17, 31, 64, 100, 193]))
        rig.compare(
            (batch, m, n, k), dtype, rng.choice(["same", "float32"]), ta, tb,
            rng.choice(["t64x64x32s3", "t64x64x64s4", "w64x64x64s4", "w128x64x64s4"]),
            pad=int(rng.choice([0, 1, 2, 3, 4, 8, 16])), gap=int(rng.choice([0, 0, 1, 2, 8])),
            offset=int(rng.choice([0, 0, 2, 4, 8, 16])), values=[normal, integers][int(rng.integers(2))],
            shared=bool(rng.integers(2)),
        )  # fmt: skip


@check()
def aligned_rows(rig):
    """Sixteen bytes at a time everywhere, without and with an edge."""
    for shape in [(1, 64, 64, 64), (2, 128, 72, 96), (1, 70, 136, 40), (3, 8, 8, 8)]:
        for ta, tb in [(0, 0), (0, 1), (1, 0), (1, 1)]:
            pad = 8 if not ta or shape[1] % 8 == 0 else -shape[1] % 8
            for out, tile in itertools.product(("same", "float32"), ("t64x64x32s3", "w64x64x64s4")):
                rig.compare(shape, "bfloat16", out, ta, tb, tile, pad=pad, values=integers)


@check()
def nothing_to_add(rig):
    rig.compare((1, 5, 7, 0), "bfloat16", "same", 0, 0)
    rig.compare((2, 5, 7, 0), "float16", "float32", 1, 1)
    for shape in [(1, 0, 7, 5), (1, 5, 0, 7), (0, 5, 7, 3)]:
        rig.compare(shape, "bfloat16", "same", 0, 0)


@check()
def special_values(rig):
    """Infinities and NaN where float64 has them; -0 and denormals of the 16-bit types; no overflow to a wrong infinity."""
    for dtype, half in HALVES.items():
        tiny = float(ml_dtypes.finfo(half).smallest_subnormal)
        a = Matrices(rig.rng, (1, 6, 8), half, values=lambda _, s: np.zeros(s))
        b = Matrices(rig.rng, (1, 8, 6), half, values=lambda _, s: np.eye(8, 6)[None])
        numbers = [np.inf, -np.inf, np.nan, tiny, -3 * tiny, float(ml_dtypes.finfo(half).max)]
        a.view[0, range(6), range(6)] = numbers
        for out in (half, np.float32):
            c = Matrices(rig.rng, (1, 6, 6), out)
            assert rig.run(a, b, c)
            with np.errstate(invalid="ignore"):
                want = (a.view.astype(np.float64) @ b.view.astype(np.float64)).astype(np.float32)
            got = c.view.astype(np.float32)
            np.testing.assert_array_equal(np.isnan(got), np.isnan(want), dtype)
            assert (got == want)[~np.isnan(want)].all(), dtype
    # Rounding to 16 bits is to the nearest, ties to even, also to infinity and to denormals.
    for half in HALVES.values():
        info = ml_dtypes.finfo(half)
        ulp = float(info.eps)
        x = np.array([1, 1 + ulp / 2, 1 + 1.5 * ulp, float(info.max) * (1 + ulp / 8), float(info.max) * (1 + ulp / 2)])
        x = np.array([*x, *np.array([0.5, 1.5, 0.4, 2.5, 1023.7]) * float(info.smallest_subnormal)]).astype(np.float32)
        c = Matrices(rig.rng, (1, 1, len(x)), half)
        one = Operand(None, 0, 0, 0, 0, 0, 1.0)
        row = Operand(x.ctypes.data, x.nbytes, DTYPES["float32"], 0, 0, 1, 0)
        a, b = (Matrices(rig.rng, s, half, values=lambda _, s: np.zeros(s)) for s in [(1, 1, 1), (1, 1, len(x))])
        assert rig.run(a, b, c, tail=0, operands=[one, row])
        with np.errstate(over="ignore"):
            assert c.view[0, 0].tobytes() == x.astype(half).tobytes(), (c.view, x.astype(half))


@check("bfloat16", "float16")
def tails(rig, dtype):
    """max(alpha * sum + beta * c + bias, 0) + residual, as the expression in float32, rounded once."""
    rng, half = rig.rng, HALVES[dtype]
    for case in range(16):
        batch, m, n, k = int(rng.choice([1, 2])), *(int(v) for v in rng.integers(1, 100, 2)), int(rng.choice([8, 40, 64]))
        n = n + -n % 8 if case % 2 else n
        pad = int(rng.choice([0, 8])) if case % 2 else int(rng.integers(4))
        out = half if case % 3 else np.float32
        a, b = Matrices(rng, (batch, m, k), half, values=integers), Matrices(rng, (batch, k, n), half, values=integers)
        c = Matrices(rng, (batch, m, n), out, pad, values=integers)
        bias = integers(rng, n).astype(np.float32)
        other = Matrices(rng, (batch, m, n), [half, np.float32][case // 2 % 2], pad, values=integers)
        alpha, beta = 0.5, float(rng.choice([0.0, 2.0]))
        x, y, before = (t.view.astype(np.float64) for t in (a, b, c))
        along_rows = bool(rng.integers(2))  # a bias a column, or a factor a row
        if not along_rows:
            bias = integers(rng, m).astype(np.float32)
        added = bias[None, None, :] if along_rows else bias[None, :, None]
        want = np.maximum(alpha * (x @ y) + beta * before + added, 0) + other.view.astype(np.float64)
        operands = [
            Operand(None, 0, 0, 0, 0, 0, alpha),
            c.operand(),
            Operand(None, 0, 0, 0, 0, 0, beta),
            Operand(bias.ctypes.data, bias.nbytes, DTYPES["float32"], 0, int(not along_rows), int(along_rows), 0),
            other.operand(),
        ]
        assert rig.run(a, b, c, ["t64x64x32s3", "w64x64x64s4"][case // 4 % 2], tail=1, operands=operands)
        rig.near(c, want, None, k, True, f"tail {dtype} {(batch, m, n, k)} pad {pad} {np.dtype(out)}")


@check()
def tails_of_all_tiles(rig):
    for tile, (bm, bn, *_) in TILES.items():
        m, n, k = bm // 2 + 5, bn // 2 + 3, 24
        a, b = (Matrices(rig.rng, s, ml_dtypes.bfloat16, values=integers) for s in [(1, m, k), (1, k, n)])
        c = Matrices(rig.rng, (1, m, n), np.float32)
        bias = integers(rig.rng, n).astype(np.float32)
        operands = [Operand(None, 0, 0, 0, 0, 0, 2.0), Operand(bias.ctypes.data, bias.nbytes, DTYPES["float32"], 0, 0, 1, 0)]
        assert rig.run(a, b, c, tile, tail=0, operands=operands)
        rig.near(c, 2 * (a.view.astype(float) @ b.view.astype(float)) + bias, None, k, True, tile)


@check()
def tiles_do_not_change_bits(rig):
    """Terms are added in the order of k, whatever the tile."""
    a, b = (Matrices(rig.rng, s, ml_dtypes.bfloat16, 8, values=normal) for s in [(1, 40, 200), (1, 200, 56)])
    bits = set()
    for tile in TILES:
        c = Matrices(rig.rng, (1, 40, 56), np.float32)
        assert rig.run(a, b, c, tile)
        bits.add(c.memory.tobytes())
    assert len(bits) == 1


@check()
def the_table_serves_every_shape(rig):
    for m, n, batch in [(1, 1, 1), (1, 300, 1), (300, 1, 1), (70, 40, 2), (130, 260, 1), (20, 20, 150)]:
        rig.compare((batch, m, n, 16), "bfloat16", "same", 0, 0, values=integers)


@check(*[(dtype, ta, tb) for dtype in (*FLOATS, *HALVES) for ta in (0, 1) for tb in (0, 1)])
def small_matrices(rig, dtype, ta, tb):
    rng = rig.rng
    for most in (1, 4, 9, 16, 33) if dtype in ("float32", "bfloat16") else (5, 8, 17, 32, 64):
        for _ in range(2):
            m, n = (most, int(rng.integers(1, most + 1)))[:: int(rng.choice([-1, 1]))]
            batch, k = int(rng.choice([1, 3, 16, 35])), int(rng.choice([1, 3, most, 40]))
            rig.compare(
                (batch, m, n, k), dtype, "same", ta, tb, "small", pad=int(rng.integers(3)), gap=int(rng.integers(3)),
                values=[normal, integers][int(rng.integers(2))], shared=bool(rng.integers(2)),
            )  # fmt: skip
    rig.compare((2000, 3, 3, 3), dtype, "same", ta, tb, "small")
    rig.compare((4, 5, 7, 0), dtype, "same", ta, tb, "small")


@check(*FLOATS)
def small_sums_are_in_order(rig, dtype):
    """Bits do not depend on sizes, layout or batch; float32's are those of the fused additions, one after another."""
    rng, kind = rig.rng, FLOATS[dtype]
    x, y = rng.standard_normal((2, 1, 30, 30)).astype(kind)
    bits = set()
    for m, ta, tb in [(3, 0, 0), (7, 1, 0), (20, 0, 1), (30, 1, 1)]:
        a = Matrices(rng, (5, m, 30), kind, values=lambda _, s: x[:, : s[1]], transposed=ta)
        b = Matrices(rng, (5, 30, m), kind, values=lambda _, s: y[:, :, : s[2]], transposed=tb)
        c = Matrices(rng, (5, m, m), kind)
        assert rig.run(a, b, c, "small")
        bits |= {c.view[i, :3, :3].tobytes() for i in range(5)}
    assert len(bits) == 1
    if dtype == "float32":
        total = np.zeros((3, 3), np.float32)
        for k in range(30):  # exact in float64's product; the sum is rounded once more, seldom to another float32
            total = (x[0, :3, k, None].astype(np.float64) * y[0, None, k, :3] + total).astype(np.float32)
        np.testing.assert_array_equal(np.frombuffer(bits.pop(), np.float32).reshape(3, 3), total)


@check()
def what_small_refuses(rig):
    for dtype, m, n in [(np.int32, 2, 2), (np.float32, 65, 2), (np.float32, 2, 65)]:
        a, b, c = (Matrices(rig.rng, s, dtype, values=lambda _, s: np.zeros(s)) for s in [(1, m, 2), (1, 2, n), (1, m, n)])
        assert not rig.run(a, b, c, "small")


@check()
def what_it_refuses(rig):
    zero = lambda shape, dtype: Matrices(rig.rng, shape, dtype, values=lambda _, s: np.zeros(s))  # noqa: E731
    c = zero((1, 2, 2), np.float32)
    assert not rig.run(zero((1, 2, 2), np.float32), zero((1, 2, 2), np.float32), c)
    assert not rig.run(zero((1, 2, 2), np.float16), zero((1, 2, 2), np.float16), zero((1, 2, 2), np.float64))
    half = zero((1, 2, 2), np.float16)
    for tile, text in [("t1x1", "no such tile")]:
        with pytest.raises(AssertionError, match=text):
            rig.run(half, half, c, tile)
    many = [Operand(None, 0, 0, 0, 0, 0, 1.0)] * 7
    with pytest.raises(AssertionError, match="too many operands"):
        rig.run(half, half, c, tail=0, operands=many)


CAPABILITY = os.environ.get("PYDIFF_CUDA_HOST_CAPABILITY", "9.0")


@check()
def tiles_of_the_capability(rig):
    """Tiles for wgmma are for compute capability 9.0 alone; elsewhere the table takes others."""
    text = ctypes.create_string_buffer(4096)
    rig.lib.gemm_tiles(text, len(text))
    mine = set(text.value.decode().split())
    assert mine == (set(TILES) if CAPABILITY == "9.0" else set(TILES) - set(GROUPS))
    for tile in GROUPS:
        a, b, c = (Matrices(rig.rng, (1, 9, 9), t, values=integers) for t in (np.float16, np.float16, np.float32))
        assert rig.run(a, b, c, tile) == (CAPABILITY == "9.0")


# ---- the process that runs the checks


def main(path, *only):
    CHECKS.run(ctypes.CDLL(path), Rig, only)


# ---- the tests


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return objects.library(tmp_path_factory.mktemp("cuda_gemm"), "gemm", [HERE / "cuda_gemm_driver.cpp", *DEVICE, *KERNELS])


@pytest.fixture(scope="module")
def results(library, tmp_path_factory):
    return results_of(__file__, library, tmp_path_factory.mktemp("images"), RUNS)


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("kind", RUNS)
def test_products(results, kind, name):
    found, end = results(kind)
    assert name in found, f"not reached; {end}"
    assert not found[name][0], found[name][0]


@pytest.mark.parametrize("capability", ["7.5", "8.0", "8.6", "10.0", "12.0"])
def test_other_capabilities(library, capability):
    names = ["tiles_of_the_capability"] + ["the_table_serves_every_shape"] * (capability != "7.5")
    found, end = run_apart(__file__, library, names, PYDIFF_CUDA_HOST_CAPABILITY=capability)
    assert set(found) == set(names), end
    assert not any(problem for problem, _ in found.values()), found


def test_no_run_changes_the_bits(results):
    runs = [results(kind)[0] for kind in RUNS]
    for name in CHECKS:
        assert len({run[name][1] for run in runs}) == 1, name


if __name__ == "__main__":
    main(*sys.argv[1:])
