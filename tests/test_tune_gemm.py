"""The command that fills the tuning table of the tiled product, tried on the stand-in; its rows on made-up times."""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.gpu import tune_gemm  # noqa: E402

TABLE = (ROOT / "csrc/kernels/cuda/gemm_tiles.def").read_text()


def test_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu.tune_gemm", "--device", "cuda-host", "--small"],
        cwd=ROOT, capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum("cuBLAS" in line for line in lines) == len(tune_gemm.SMALL) * len(tune_gemm.LAYOUTS)
    rows = [re.fullmatch(r"PD_GEMM_CHOICE\((\d+), \1, 0, 0, \d+, (\w+)\)", line) for line in lines if "CHOICE" in line]
    assert rows and all(rows) and all(re.search(rf"^PD_GEMM_(WARPGROUP_)?TILE\({row[2]},", TABLE, re.M) for row in rows)


def test_every_tile_is_timed():
    """Those for wgmma too: the stand-in has compute capability 9.0."""
    code = """
import json, pydiff as pd
pd.cuda.get_device_properties(pd.device("cuda-host"))
print(json.dumps(list(pd._C.cuda_gemm_times(0, "bfloat16", False, False, 70, 40, 24, 0.0))))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    names = re.findall(r"^PD_GEMM_(?:WARPGROUP_)?TILE\((\w+),", TABLE, re.M)
    assert sorted(json.loads(done.stdout)) == sorted([*names, "cublas", "table"])
    assert sum(name.startswith("w") for name in names) >= 3


def test_rows_follow_the_times():
    big, small = "t128x128x64s3", "t64x64x64s4"
    times = {(4096, 4096, 64): {big: 1.0, small: 2.0}, (512, 512, 64): {big: 2.0, small: 1.0}}
    rows = tune_gemm.propose(times, 90, 100)
    assert rows == [f"PD_GEMM_CHOICE(90, 90, 0, 0, 1024, {big})", "PD_GEMM_CHOICE(90, 90, 0, 0, 64, t64x64x64s4)",
                    f"PD_GEMM_CHOICE(90, 90, 0, 0, 0, {small})"]  # fmt: skip


def test_the_table_is_whole():
    """Each range of capabilities ends with a row for everything, whose tile every card of it holds (99 KB)."""
    tiles = {m[1]: list(map(int, m[2].split(", "))) for m in re.finditer(r"^PD_GEMM_TILE\((\w+), ([\d, ]+)\)", TABLE, re.M)}
    groups = {}
    for name, *numbers in re.findall(r"^PD_GEMM_WARPGROUP_TILE\((\w+), (\d+), (\d+), (\d+), (\d+), (\d+)\)", TABLE, re.M):
        bm, bn, bk, of, stages = map(int, numbers)
        groups[name] = [bm, bn, bk, 4 * of, 1, stages]
        assert bm % (64 * of) == 0 and bn in (64, 128, 256) and bk == 64 and stages >= 3
        assert 2 * stages * bk * (bm + bn) + 1008 <= 227 * 1024, "shared memory of a block of sm_90"
    tiles.update(groups)
    rows = re.findall(r"^PD_GEMM_CHOICE\((\d+), (\d+), (\d+), (\d+), (\d+), (\w+)\)", TABLE, re.M)
    for arch in (80, 86, 89, 90, 100, 103, 120):
        mine = [row for row in rows if int(row[0]) <= arch <= int(row[1])]
        assert arch == 90 or not {row[5] for row in mine} & set(groups), "wgmma is of sm_90a alone"
        assert mine and mine[-1][2:5] == ("0", "0", "0"), arch
        bm, bn, bk, *_, stages = tiles[mine[-1][5]]
        assert 2 * stages * bk * (bm + bn) <= 99 * 1024
    for name, (bm, bn, bk, down, across, stages) in tiles.items():
        assert name == f"{'w' if name in groups else 't'}{bm}x{bn}x{bk}s{stages}"
        assert bm % (16 * down) == bn % (16 * across) == bk % 16 == 0 and stages >= 2
        assert bm * bn // (32 * down * across) <= 128, "float32 sums of a thread"
