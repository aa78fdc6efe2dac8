"""Convolutions of gpu_check: layers of ResNet-18, beside PyTorch's conv2d."""

import numpy as np

from .workload import Aim, NoPeer, Program, Workload

BATCH = 64
# channels, results, places a side, kernel, stride
LAYERS = [
    (64, 64, 56, 3, 1),
    (128, 128, 28, 3, 1),
    (256, 256, 14, 3, 1),
    (64, 128, 56, 3, 2),
    (64, 128, 56, 1, 2),
    (64, 256, 56, 1, 1),
]


def sizes(layer, small):
    """(batch, channels, results, places a side, kernel, stride)."""
    channels, results, side, kernel, stride = layer
    return (2, channels // 8, results // 8, side // 7, kernel, stride) if small else (BATCH, *layer)


def flops(layer, products):
    def count(small):
        batch, channels, results, side, kernel, stride = sizes(layer, small)
        return 2 * products * batch * results * channels * (kernel * (-(-side // stride))) ** 2

    return count


def operands(layer, small):
    """x, w and a cotangent, of the size of networks' numbers."""
    batch, channels, results, side, kernel, stride = sizes(layer, small)
    out = -(-side // stride)
    rng = np.random.default_rng(0)
    shapes = (batch, channels, side, side), (results, channels, kernel, kernel), (batch, results, out, out)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def program(layer, dtype, gradients):
    def make(library, small):
        if library.label == "CuPy":
            raise NoPeer
        if library.label != "pydiff":
            library.module.backends.cudnn.allow_tf32 = False  # float32 is float32 on both sides
        tensors = [library.tensor(array) for array in operands(layer, small)]
        x, w, g = [library.bfloat16(t) for t in tensors] if dtype == "bfloat16" else tensors
        library.done((x, w, g))
        _, _, _, _, kernel, stride = sizes(layer, small)
        conv2d, last = library.compiled(library.functional.conv2d), [()]
        if gradients:
            x.requires_grad_()
            w.requires_grad_()
            y = conv2d(x, w, None, stride, kernel // 2)
            library.done((y,))

        def step():
            if gradients:
                last[0] = tuple(library.module.autograd.grad(y, (x, w), g, retain_graph=True))
            else:
                last[0] = (conv2d(x, w, None, stride, kernel // 2),)
            library.done(last[0])

        return Program(step, lambda: [library.numpy(t) for t in last[0]])

    return make


def workload(layer, dtype, gradients):
    channels, results, side, kernel, stride = layer
    name = f"{channels}x{side}x{side} to {results}, {kernel}x{kernel}" + (f", stride {stride}" if stride > 1 else "")
    short = "bf16" if dtype == "bfloat16" else dtype
    return Workload(
        f"conv_{short}_{channels}_{results}_{side}_{kernel}x{kernel}_s{stride}" + "_gradients" * gradients,
        f"{dtype} convolution, {BATCH} images of {name}" + (": both gradients" if gradients else ""),
        program(layer, dtype, gradients),
        flops=flops(layer, 1 + gradients),
        tolerance=1e-2 if dtype == "bfloat16" else 1e-5,
        ceiling="gemm",
        aims=(Aim("PyTorch eager", 0.6),),
    )


CONVOLUTIONS = [
    workload(layer, dtype, gradients)
    for dtype in ("bfloat16", "float32")
    for layer in (LAYERS if dtype == "bfloat16" else [LAYERS[0], LAYERS[2], LAYERS[3], LAYERS[5]])
    for gradients in (False, True)
]
