"""Workloads that remember something, or derive: optimiser updates, training steps, training to an accuracy."""

import contextlib
import importlib
import math
import sys
import time

import numpy as np

from ..child import ROOT
from .workload import NoPeer, Program

# ---- Adam over the parameters of a language model


def gpt_shapes(small):
    """50 tensors: four blocks of 12, the embeddings of tokens and of positions."""
    d, tokens, positions = (8, 16, 8) if small else (768, 28000, 1024)
    block = [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    return [(tokens, d), (positions, d), *(4 * block)]


def gpt_size(small):
    return sum(map(math.prod, gpt_shapes(small)))


def adam(library, small, **options):
    if library.label == "CuPy" or library.compiles:
        raise NoPeer
    rng = np.random.default_rng(0)
    parameters = []
    for shape in gpt_shapes(small):
        p = library.tensor(rng.standard_normal(shape, dtype=np.float32), grad=True)
        p.grad = library.tensor(rng.standard_normal(shape, dtype=np.float32))
        parameters.append(p)
    optimizer = library.module.optim.Adam(parameters, lr=1e-3, **options)
    return Program(optimizer.step, lambda: [library.numpy(p) for p in parameters])


def adam_fused(library, small):
    return adam(library, small, fused=True)


# ---- many operations on few elements


def _small_ops(library, done):
    x = library.tensor(np.random.default_rng(0).standard_normal(64, dtype=np.float32))
    w = library.tensor(0.5 * np.random.default_rng(1).standard_normal(64, dtype=np.float32), grad=True)
    tanh = library.module.tanh

    def chain(x, w):
        for _ in range(100):
            x = tanh(x * w + w)
        return x.sum()

    chain = library.compiled(chain)

    def step():
        w.grad = None
        chain(x, w).backward()
        done((w.grad,))

    return Program(step, lambda: [library.numpy(w.grad)])


def small_ops(library, small):
    if library.label == "CuPy":
        raise NoPeer
    return _small_ops(library, library.done)


def small_ops_graph(library, small):
    program = _small_ops(library, library.done)
    return Program(_captured(library, program.step), program.outputs)


def _captured(library, step, restore=lambda: None):
    """A step of PyTorch captured by hand into a CUDA graph; returns its replay. `restore` undoes the warm-up."""
    if library.device == "cpu":
        raise NoPeer
    torch = library.module
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    restore()
    return graph.replay


# ---- training steps


def _network(library, large, **options):
    """The parts of a training step: model, optimiser, step. Weights and data are the same in every library."""
    nn, rng = library.module.nn, np.random.default_rng(0)
    sizes, batch = ((784, 512, 512, 10), 128) if large else ((16, 32, 32, 1), 32)
    layers = []
    for inner, outer in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    model = library.place(nn.Sequential(*layers[:-1]))
    state = {
        name: library.tensor(rng.uniform(-1, 1, tuple(p.shape)).astype(np.float32) / tuple(p.shape)[-1] ** 0.5)
        for name, p in model.named_parameters()
    }
    model.load_state_dict(state)
    x = library.tensor(rng.standard_normal((batch, sizes[0]), dtype=np.float32))
    if large:
        y, loss_of = library.tensor(rng.integers(0, 10, batch)), library.functional.cross_entropy
    else:
        y, loss_of = library.tensor(rng.standard_normal((batch, 1), dtype=np.float32)), library.functional.mse_loss
    forward = library.compiled(lambda x, y: loss_of(model(x), y))
    optimizer = library.module.optim.Adam(model.parameters(), lr=1e-3, **options)

    def step():
        optimizer.zero_grad()
        forward(x, y).backward()
        optimizer.step()

    return model, optimizer, Program(step, lambda: [library.numpy(p) for p in model.parameters()])


def mlp(large):
    def make(library, small):
        if library.label == "CuPy":
            raise NoPeer
        fused = {"fused": True} if library.compiles else {}
        return _network(library, large, **fused)[2]

    return make


def mlp_graph(large):
    def make(library, small):
        if library.device == "cpu":
            raise NoPeer
        model, optimizer, program = _network(library, large, capturable=True)
        before = {name: p.detach().clone() for name, p in model.state_dict().items()}

        def restore():
            model.load_state_dict(before)
            for state in optimizer.state.values():
                for value in state.values():
                    value.zero_()

        return Program(_captured(library, program.step, restore), program.outputs)

    return make


# ---- training to an accuracy


def digits(device, small=False):
    """examples/train_digits.py on the device and on the CPU; returns the entry of the result file."""
    import pydiff

    sys.path.insert(0, str(ROOT / "examples"))
    try:
        example = importlib.import_module("train_digits")
    finally:
        sys.path.remove(str(ROOT / "examples"))
    epochs = 2 if small else 60
    images, test_images, labels, test_labels = example.load_data()
    accuracy, took = {}, {}
    for place in ("cpu", device):
        pydiff.manual_seed(0)
        data = [pydiff.tensor(a, device=place) for a in (images, labels, test_images, test_labels)]
        model = example.make_model().to(place)
        start = time.perf_counter()
        with contextlib.redirect_stdout(sys.stderr):
            history = example.train(model, *data, epochs)
        took[place] = time.perf_counter() - start
        accuracy[place] = history[-1][2]
    return {
        "name": "digits",
        "what": f"examples/train_digits.py, {epochs} epochs, accuracy on images never seen",
        "state": "ok",
        "accuracy": accuracy,
        "seconds trained": took,
        "notes": [],
    }
