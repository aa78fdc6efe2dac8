"""The instructions of a warpgroup (kernels/cuda/warpgroup_text.h) in a small kernel of their own: right on the stand-in, and
every planted mistake wrong there, by its result or by a stop. NVRTC's compiler finds no reason to serialize the product.

A kernel that is stopped ends its process, so each runs in one of its own.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from pydiff import _C

# One block of 128 threads: d = a b for a of 64 by 128 and b of 128 by 128, in two tiles along k that use one place in turn.
# a has k inward, b has n (two panels), or with ACROSS the other way round: then a is k by m and b is n by k in memory.
KERNEL = """
extern "C" __global__ void product(const unsigned short* a, const unsigned short* b, float* d) {
  PD_DYNAMIC_SHARED(shared);
  char* const begin = shared + (-shared_address(shared) & 1023);
  char* const right = begin + 8192;
  AsyncCopies copies;
  WarpgroupProducts products;
  float sum[16][4] = {};
  auto chunk_of = [](char* to, bool inward_k, int rows, int row, int chunk) {  // of a tile with 64 k
    return to + (inward_k ? row * 128 : chunk / 8 * 8192 + row * 128) + ((chunk ^ row) & 7) * 16;
  };
  auto copy_a = [&](int tile) {
    for (int e = threadIdx.x; e < 512; e += 128)
      copies.copy<16>(chunk_of(begin, !ACROSS, 64, e / 8, e % 8),
                      a + (ACROSS ? (tile * 64 + e / 8) * 64 : e / 8 * 128 + tile * 64) + e % 8 * 8, 16);
  };
  auto copy_b = [&](int tile) {
    for (int e = threadIdx.x; e < 1024; e += 128) {
      if (ACROSS) copies.copy<16>(chunk_of(right, true, 128, e / 8, e % 8), b + e / 8 * 128 + tile * 64 + e % 8 * 8, 16);
      else copies.copy<16>(chunk_of(right, false, 64, e / 16, e % 16), b + (tile * 64 + e / 16) * 128 + e % 16 * 8, 16);
    }
  };
  const u64 first_a = matrix_descriptor(begin, 8192, 1024), first_b = matrix_descriptor(right, 8192, 1024);
  for (int tile = 0; tile < 2; ++tile) {
    copy_a(tile), copy_b(tile);
    copies.commit();
    copies.wait<0>();
    fence_proxy_async();
    __syncthreads();  // copies
    products.fence();
    for (int step = 0; step < 4; ++step)
      products.multiply<BRAIN, ACROSS, !ACROSS>(sum, moved(first_a, step * STEP_A), moved(first_b, step * STEP_B));
    products.commit();
    products.wait<0>();
    __syncthreads();
  }
  products.wait<0>();
  settle(sum);
  const int row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4;
  for (int j = 0; j < 16; ++j)
    for (int q = 0; q < 4; ++q) d[(row + q / 2 * 8) * 128 + j * 8 + threadIdx.x % 4 * 2 + q % 2] = sum[j][q];
}
"""
HEAD = "constexpr bool ACROSS = {across}, BRAIN = {brain};\nconstexpr int STEP_A = ACROSS ? 2048 : 32, STEP_B = ACROSS ? 32 : 2048;\n"
WAIT = "    products.wait<0>();\n    __syncthreads();\n"

# What is changed in the kernel, and whether it then stops (an instruction used wrongly; memory outside) or is wrong.
MISTAKES = {
    "no wgmma.fence": ([("products.fence();", "")], "stops"),
    "one wgmma.fence for both groups": ([("products.fence();", "if (!tile) products.fence();")], "stops"),
    "no fence.proxy.async": ([("fence_proxy_async();", "")], "stops"),
    "fence.proxy.async before the copies have arrived": (
        [("copies.wait<0>();\n    fence_proxy_async();", "fence_proxy_async();\n    copies.wait<0>();")], "stops"),
    "no barrier behind the copies": ([("__syncthreads();  // copies", "")], "is wrong"),
    "copies not waited for": ([("copies.wait<0>();", "copies.wait<1>();")], "stops"),
    "products never waited for": ([(WAIT, "    __syncthreads();\n"), ("  products.wait<0>();\n  settle", "  settle")], "is wrong"),
    "memory written while products read it": ([(WAIT, "    __syncthreads();\n")], "is wrong"),
    "waits for too few groups": ([(WAIT, WAIT.replace("wait<0>", "wait<1>"))], "is wrong"),
    "a block that begins askew": ([("& 1023", "& 127")], "stops"),
    "another swizzle": ([("(right, 8192, 1024)", "(right, 8192, 1024) ^ 3ull << 62")], "stops"),
    "no swizzle": ([("(begin, 8192, 1024)", "(begin, 8192, 1024) & ~(1ull << 62)")], "stops"),
    "chunks that do not change places": ([("((chunk ^ row) & 7)", "(chunk & 7)")], "is wrong"),
    "a wrong stride": ([("matrix_descriptor(begin, 8192, 1024)", "matrix_descriptor(begin, 8192, 512)")], "is wrong"),
    "a wrong stride along k": ([("matrix_descriptor(right, 8192, 1024)", "matrix_descriptor(right, 8192, 2048)")], "stops"),
    "a wrong leading offset": ([("matrix_descriptor(right, 8192, 1024)", "matrix_descriptor(right, 4096, 1024)")], "is wrong"),
    "strides exchanged": ([("matrix_descriptor(right, 8192, 1024)", "matrix_descriptor(right, 1024, 8192)")], "is wrong"),
    "steps of half the length": ([("step * STEP_A", "step * STEP_A / 2")], "is wrong"),
    "a matrix taken for its transpose": ([("<BRAIN, ACROSS, !ACROSS>", "<BRAIN, ACROSS, ACROSS>")], "stops"),
    "the other type": ([("multiply<BRAIN,", "multiply<!BRAIN,")], "is wrong"),
    "a descriptor of the warp's own": ([("matrix_descriptor(begin,", "matrix_descriptor(begin + threadIdx.x / 32 * 2048,")], "stops"),
}  # fmt: skip


def source(changes=(), across=False, brain=True):
    whole = next(text for name, text, _ in _C.cuda_native_texts() if " w64x64x64s4 nn" in name)
    helpers = whole[: whole.index("struct TailOperand")]
    text = KERNEL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    head = HEAD.format(across=str(across).lower(), brain=str(brain).lower())
    return re.sub(r"constexpr \w+ [A-Z]\w* = \w+;\n|typedef u16 Out;\n", "", helpers[: helpers.index("PD_DEVICE")]) + (
        helpers[helpers.index("PD_DEVICE") :] + head + text
    )


RUN = """
import json, sys
import ml_dtypes
import numpy as np
import pydiff as pd
text, across, brain = json.load(sys.stdin)
product = pd.custom_op("product", shape=lambda a, b: ((64, 128), pd.float32), cuda=text, grid=1, block=128, shared=25600)
rng = np.random.default_rng(0)
x, y = rng.integers(-8, 9, (64, 128)), rng.integers(-8, 9, (128, 128))
dtype = ml_dtypes.bfloat16 if brain else np.float16
bits = [np.ascontiguousarray(v.T if across else v).astype(dtype).view(np.uint16) for v in (x, y)]
a, b = (pd.tensor(v, device="cuda-host") for v in bits)
print("right" if (product(a, b).numpy() == x @ y).all() else "wrong")
"""


def outcome(changes=(), across=False, brain=True, **env):
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=json.dumps([source(changes, across, brain), across, brain]),
        capture_output=True, text=True, env={**os.environ, **env}, timeout=120,
    )  # fmt: skip
    if done.returncode:
        assert "cuda-host: kernel 'product'" in done.stderr, done.stderr
        return "stops"
    return "is " + done.stdout.strip()


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffle:5"])
@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("brain", [True, False])
def test_the_kernel_is_right(across, brain, order):
    assert outcome((), across, brain, PYDIFF_CUDA_HOST_ORDER=order) == "is right"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found(name):
    changes, expected = MISTAKES[name]
    assert outcome(changes) == expected


# ---- by NVRTC


def resources(text):
    try:
        return _C.cuda_compile(text, "sm_90a", resources=True)
    except RuntimeError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize("across", [False, True])
def test_it_compiles_for_a_gpu(across):
    image, log = resources(source((), across))
    assert image and "wgmma" not in log, log


def test_serialized_products_would_be_seen():
    """Sums that are read while products are under way: ptxas waits behind each product, and says so."""
    changes = [(WAIT, "    sum[3][1] *= 2.0f;\n" + WAIT)]
    image, log = resources(source(changes))
    assert image and "wgmma" in log, log
