"""Measures every tile of the tiled 16-bit product beside cuBLAS, and proposes rows of csrc/kernels/cuda/gemm_tiles.def.

    python -m benchmarks.gpu.tune_gemm                    about two minutes
    python -m benchmarks.gpu.tune_gemm --dtype float16 --seconds 2
    python -m benchmarks.gpu.tune_gemm --device cuda-host --small     tries the command, without a GPU

A line a shape: the best tile and the table's, each as a share of cuBLAS. Then the rows, to be put into the file in the
place of those for the same architecture.
"""

import argparse

import pydiff as pd
from pydiff import _C

# (rows, columns, depth): large and square, few tiles, long and thin, deep, shallow, not a multiple of any tile.
SHAPES = [
    (8192, 8192, 8192), (4096, 4096, 4096), (2048, 2048, 2048), (1024, 1024, 1024), (512, 512, 512),
    (16384, 4096, 1024), (4096, 16384, 4096), (8192, 128, 4096), (128, 8192, 4096), (64, 8192, 8192),
    (512, 512, 16384), (8192, 8192, 128), (3000, 5000, 1000), (1000, 1000, 1000),
]  # fmt: skip
SMALL = [(70, 40, 24), (130, 140, 16)]
LAYOUTS = {"nn": (False, False), "nt": (False, True), "tn": (True, False)}
CLOSE = 0.97  # of the best: as good


def size_of(tile):
    """(rows, columns) of a tile, from its name."""
    rows, columns = tile[1:].split("x")[:2]
    return int(rows), int(columns)


def tiles_of(tile, shape):
    return -(-shape[0] // size_of(tile)[0]) * -(-shape[1] // size_of(tile)[1])


def propose(best, arch, processors):
    """Rows of the table: large tiles first, each from as many tiles a multiprocessor as it is good with.

    `best`: shape -> {tile: milliseconds}. A tile that is nowhere the fastest gets no row.
    """
    fastest = {shape: min(times, key=times.get) for shape, times in best.items()}
    rows, served = [], set()
    for tile in sorted(set(fastest.values()), key=lambda t: -size_of(t)[0] * size_of(t)[1]):
        good = {s for s, times in best.items() if times[tile] <= times[fastest[s]] / CLOSE}
        percent = {s: 100 * tiles_of(tile, s) // processors for s in best}
        bad = [percent[s] for s in best if s not in good and s not in served]
        enough = [percent[s] for s in good if percent[s] > max(bad, default=-1)]
        if enough:
            least = min(enough)
            rows.append((least, tile))
            served |= {s for s in best if percent[s] >= least}
    last = min(set(fastest.values()), key=lambda t: size_of(t)[0] * size_of(t)[1])
    lines = [f"PD_GEMM_CHOICE({arch}, {arch}, 0, 0, {least}, {tile})" for least, tile in rows]
    return [*lines, f"PD_GEMM_CHOICE({arch}, {arch}, 0, 0, 0, {last})"]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16"])
    parser.add_argument("--seconds", type=float, default=3.0, help="for one shape and layout")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args(argv)
    device = pd.device(options.device)
    properties = pd.cuda.get_device_properties(device)
    arch = 10 * properties["major"] + properties["minor"]
    seconds = 0.0 if options.small else options.seconds
    best = {}
    for shape in SMALL if options.small else SHAPES:
        for layout, flags in LAYOUTS.items():
            times = _C.cuda_gemm_times(device.index or 0, options.dtype, *flags, *shape, seconds)
            cublas, table = times.pop("cublas"), times.pop("table")
            tile = min(times, key=times.get)
            flops = 2e-9 * shape[0] * shape[1] * shape[2] / cublas
            print(
                f"{'×'.join(map(str, shape)):>20} {layout}  cuBLAS {flops:7.1f} TFLOP/s  best {cublas / times[tile]:4.0%} {tile}"
                f"  table {cublas / table:4.0%}",
                flush=True,
            )
            if layout == "nn":
                best[shape] = times
    print("\n".join(["", *propose(best, arch, properties["multi_processor_count"])]))


if __name__ == "__main__":
    main()
