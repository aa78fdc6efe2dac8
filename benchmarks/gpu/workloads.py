"""The workloads of gpu_check. Sizes are for a GPU of tens of gigabytes; `small` ones try the code only."""

import functools
import math

import numpy as np

from . import attention, training
from .convolutions import CONVOLUTIONS
from .workload import Absent, Aim, NoPeer, Program, Workload, ring

OF_COPY = (Aim("ceiling", 0.9),)
SMALL_OPERATIONS = (Aim("PyTorch eager", 3.0), Aim("torch.compile", 1.0))


@functools.lru_cache(maxsize=4)  # each library asks for the same
def normal(*shape, seed=0):
    array = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    array.flags.writeable = False
    return array


def times4(count):
    """Bytes of so many floats; `count` is a function of `small`."""
    return lambda small: 4 * count(small)


# ---- ceilings


def copy_floats(small):
    return 1 << (14 if small else 28)  # 1 GiB


def copy(library, small):
    """PyTorch and CuPy copy; pydiff negates, which moves as much."""
    x = library.tensor(normal(copy_floats(small)))
    if library.label == "pydiff":
        return ring_of(library, lambda: (-x,))
    y = library.module.empty_like(x)
    move = (lambda: library.module.copyto(y, x)) if library.label == "CuPy" else (lambda: y.copy_(x))
    return Program(move, lambda: [library.numpy(-y)])


def ring_of(library, function):
    last = [()]

    def step():
        last[0] = function()
        library.done(last[0])

    return Program(step, lambda: [library.numpy(t) for t in last[0]])


def launch(library, small):
    x = library.tensor(normal(64))
    return ring_of(library, lambda: (x + 1.0,))


def order(small, n=8192):
    return 64 if small else n


def product(prepare, size=8192):
    """Square matrix product. The first rows are what is checked."""

    def make(library, small):
        n = order(small, size)
        a, b = (prepare(library, library.tensor(normal(n, n, seed=seed))) for seed in (1, 2))
        last = [None]

        def step():
            last[0] = a @ b
            library.done((last[0],))

        if library.label == "pydiff":
            try:
                step()
            except TypeError as problem:
                raise Absent(str(problem)) from None
        return Program(step, lambda: [library.numpy(last[0][:32])])

    return make


def product_rows(rounded, size=8192):
    def rows(small):
        n = order(small, size)
        return [rounded(normal(n, n, seed=1)[:32]).astype(np.float64) @ rounded(normal(n, n, seed=2))]

    return rows


def to_bfloat16(x):
    """Round to nearest even, to the numbers that bfloat16 has."""
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)


def with_tf32(library, t):
    if library.label == "CuPy":
        raise NoPeer  # only a variable of the environment switches it
    if library.label == "pydiff":
        library.module.cuda.allow_tf32(True)
    else:
        library.module.set_float32_matmul_precision("high")
    return t


def with_bfloat16(library, t):
    if library.label == "CuPy":
        raise NoPeer
    return library.bfloat16(t)


def with_own_kernel(library, t):
    """bfloat16, and pydiff multiplies by its own kernel; PyTorch's cuBLAS is what that is a share of."""
    if library.label == "pydiff":
        library.module._C.cuda_gemm_choice("own")
    return with_bfloat16(library, t)


def gemm(name, what, prepare, rounded=lambda x: x, tolerance=1e-5, size=8192, aim=0.95):
    return Workload(
        name,
        f"{what}, {size}³",
        product(prepare, size),
        reference=product_rows(rounded, size),
        tolerance=tolerance,
        flops=lambda small: 2 * order(small, size) ** 3,
        bytes=None,
        ceiling="gemm",
        aims=(Aim("PyTorch eager", aim),),
    )


def attend(causal, backward):
    tokens, width = attention.shape(False)[2:]
    return Workload(
        f"attention_{'causal_' if causal else ''}{'backward' if backward else 'forward'}",
        f"bfloat16 attention{', causal' if causal else ''}{', forward and backward' if backward else ', forward'}, "
        f"{math.prod(attention.shape(False)[:2])} heads of {tokens} tokens × {width}",
        attention.attention(normal, causal, backward),
        reference=attention.reference(normal, to_bfloat16, causal, backward),
        tolerance=2e-2,
        flops=attention.flops(causal, backward),
        ceiling="gemm",
        aims=(Aim("PyTorch eager", 0.5),),
    )


SIDE = 16  # of the small matrices


def small_count(small):
    return 200 if small else 1 << 17


def small_products(library, small):
    arrays = [normal(small_count(small), SIDE, SIDE, seed=seed) for seed in (1, 2)]
    return ring(library, lambda a, b: (a @ b,), arrays)


# ---- elementwise, rows, reductions


def elements(small):
    return 4096 if small else 1 << 26


GELU_CUPY = "y = 0.5f * x * (1 + tanhf(0.79788f * (x + 0.044715f * (x * x * x))))"


def gelu(library, small):
    x = normal(elements(small))
    if library.label == "CuPy":
        kernel = library.module.ElementwiseKernel("float32 x", "float32 y", GELU_CUPY)
        return ring(library, lambda x: (kernel(x),), [x])
    tanh = library.module.tanh
    return ring(library, lambda x: (0.5 * x * (1 + tanh(0.79788 * (x + 0.044715 * (x * x * x)))),), [x])


def gelu_built_in(library, small):
    return ring(library, lambda x: (library.functional.gelu(x, approximate="tanh"),), [normal(elements(small))])


def rows_shape(big):
    return lambda small: (16, 64) if small else ((16384, 4096) if big else (4096, 2048))


def softmax(shape):
    def make(library, small):
        if library.label != "CuPy":
            return ring(library, lambda x: (library.functional.softmax(x, dim=1),), [normal(*shape(small))])
        cp = library.module

        def rows(x):
            e = cp.exp(x - x.max(1, keepdims=True))
            return (e / e.sum(1, keepdims=True),)

        return ring(library, rows, [normal(*shape(small))])

    return make


def layer_norm(shape):
    def make(library, small):
        rows, columns = shape(small)
        arrays = [normal(rows, columns), normal(columns, seed=1), normal(columns, seed=2)]
        if library.label == "CuPy":

            def norm(x, w, b):
                centred = x - x.mean(1, keepdims=True)
                return (centred / library.module.sqrt((centred * centred).mean(1, keepdims=True) + 1e-5) * w + b,)

            return ring(library, norm, arrays)
        return ring(library, lambda x, w, b: (library.functional.layer_norm(x, (columns,), w, b),), arrays)

    return make


def cross_entropy(library, small):
    if library.label == "CuPy":
        raise NoPeer
    rows, classes = rows_shape(True)(small)
    labels = np.random.default_rng(3).integers(0, classes, rows)
    loss_of = library.compiled(library.functional.cross_entropy)

    def both(logits, labels):
        logits.grad = None
        loss = loss_of(logits, labels)
        loss.backward()
        return loss.detach(), logits.grad

    # The derivative is taken outside of what is compiled; torch.compile makes both kernels.
    compiles, library.compiled = library.compiled, lambda function: function
    try:
        return ring(library, both, [normal(rows, classes), labels], grad=True)
    finally:
        library.compiled = compiles


def total(library, small):
    return ring(library, lambda x: (x.sum(),), [np.abs(normal(elements(small)))])


def column_sum(library, small):
    return ring(library, lambda x: (x.sum(0),), [np.abs(normal(*rows_shape(True)(small)))])


def rows_moved(big, tensors=2):
    return times4(lambda small: tensors * math.prod(rows_shape(big)(small)))


def size_of(big, by="×"):
    return by.join(map(str, rows_shape(big)(False)))


WORKLOADS = [
    Workload(
        "copy",
        "copying 1 GiB",
        copy,
        bytes=times4(lambda small: 2 * copy_floats(small)),
        tolerance=0,
        ceiling="copy",
    ),
    Workload("launch", "x + 1 on 64 floats, computed at once", launch),
    gemm("matmul_bf16", "bfloat16 product", with_bfloat16, to_bfloat16, 1e-2),
    *(
        gemm(f"matmul_bf16_own_{n}", "bfloat16 product by the own kernel", with_own_kernel, to_bfloat16, 1e-2, n, 0.6)
        for n in (8192, 4096, 2048, 1024)
    ),
    *(attend(causal, backward) for causal in (False, True) for backward in (False, True)),
    Workload(
        "gelu",
        "0.5·x·(1 + tanh(0.79788·(x + 0.044715·x³))), 64 Mi floats",
        gelu,
        ceiling="copy",
        aims=OF_COPY,
        bytes=times4(lambda small: 2 * elements(small)),
        variants={"PyTorch's own gelu": gelu_built_in},
        compiles=True,
    ),
    *(
        Workload(
            f"softmax_{size_of(big, 'x')}",
            f"softmax of rows, {size_of(big)}",
            softmax(rows_shape(big)),
            ceiling="copy",
            bytes=rows_moved(big),
            aims=OF_COPY,
            compiles=True,
        )
        for big in (False, True)
    ),
    *(
        Workload(
            f"layer_norm_{size_of(big, 'x')}",
            f"layer norm of rows with weight and bias, {size_of(big)}",
            layer_norm(rows_shape(big)),
            ceiling="copy",
            bytes=rows_moved(big),
            aims=OF_COPY,
            compiles=True,
        )
        for big in (False, True)
    ),
    Workload(
        "cross_entropy",
        f"cross entropy and its gradient, {size_of(True)}; logits read once, gradient written once",
        cross_entropy,
        ceiling="copy",
        bytes=rows_moved(True),
        aims=OF_COPY,
        compiles=True,
    ),
    Workload("sum", "sum of 64 Mi floats", total, ceiling="copy", bytes=times4(elements), compiles=True),
    Workload(
        "column_sum",
        f"sums of columns, {size_of(True)}",
        column_sum,
        ceiling="copy",
        bytes=rows_moved(True, 1),
        compiles=True,
    ),
    Workload(
        "adam",
        f"Adam's update of {len(training.gpt_shapes(False))} tensors, {training.gpt_size(False) / 1e6:.1f} M floats",
        training.adam,
        ceiling="copy",
        bytes=times4(lambda small: 7 * training.gpt_size(small)),
        aims=OF_COPY,
        steps=3,
        variants={"PyTorch fused Adam": training.adam_fused},
    ),
    Workload(
        "matmul_small",
        f"{small_count(False)} float32 products of {SIDE}×{SIDE} matrices",
        small_products,
        ceiling="copy",
        bytes=times4(lambda small: 3 * SIDE * SIDE * small_count(small)),
        aims=(Aim("PyTorch eager", 1.0),),
    ),
    *CONVOLUTIONS,
    gemm("matmul_float32", "float32 product, no TF32", lambda library, t: t),
    gemm("matmul_tf32", "float32 product, TF32 allowed", with_tf32, tolerance=3e-3),
    Workload(
        "small_ops",
        "100 × y = tanh(y·w + w) on 64 floats, forward and backward",
        training.small_ops,
        compiles=True,
        variants={"PyTorch CUDA graph": training.small_ops_graph},
        aims=SMALL_OPERATIONS,
        tolerance=1e-4,
    ),
    Workload(
        "mlp_small",
        "Adam step of a 16-32-32-1 network, batch 32",
        training.mlp(False),
        compiles=True,
        steps=3,
        variants={"PyTorch CUDA graph": training.mlp_graph(False)},
        tolerance=1e-3,
        aims=(*SMALL_OPERATIONS, Aim("PyTorch CUDA graph", 1 / 1.3)),
    ),
    Workload(
        "mlp_digits",
        "Adam step of a 784-512-512-10 network, batch 128",
        training.mlp(True),
        compiles=True,
        steps=3,
        variants={"PyTorch CUDA graph": training.mlp_graph(True)},
        tolerance=1e-3,
        flops=lambda small: 6 * 128 * (784 * 512 + 512 * 512 + 512 * 10),
    ),
]
BY_NAME = {w.name: w for w in WORKLOADS}
