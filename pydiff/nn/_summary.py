"""A table of what a model is made of: shapes, parameters, work and memory, layer by layer."""

import math
import re

import pydiff
from pydiff import Tensor, _core

from ..tree import tree_leaves
from .module import Module
from .utils.stateless import put

_DOT = re.compile(r"^%\d+ = dot \w+ \((.*?)\) %(\d+)", re.M)
_CONVOLUTION = re.compile(r"^%\d+ = convolution \w+ \((.*?)\) %\d+ %(\d+)", re.M)
_ATTENTION = re.compile(r"^%\d+ = attention(_backward)? \w+ \(.*?\) %(\d+) %(\d+) %(\d+)", re.M)
_SHAPE = re.compile(r"^%(\d+) = \w+ \w+ \((.*?)\)", re.M)


class LayerSummary:
    """One module of a model, without those below it.

    Attributes:
        path: its dotted name; "" for the model.
        kind: the name of its class.
        depth: how many modules are around it.
        input_shapes, output_shapes: lists of shapes at its first call; empty where it was not called.
        calls: how often it was called.
        parameters: elements of its own parameters that no module before it has; `trainable` of them require a gradient.
        shared: elements of its parameters that a module before it has.
        buffers: elements of its own buffers.
        parameter_bytes, buffer_bytes: memory of them.
        flops: of its own products, over all calls.
        activation_bytes: memory of what it returned and no module before it.
    """

    def __init__(self, path, module):
        self.path = path
        self.kind = type(module).__name__
        self.depth = path.count(".") + 1 if path else 0
        self.input_shapes, self.output_shapes = [], []
        self.calls = self.parameters = self.trainable = self.shared = self.buffers = 0
        self.parameter_bytes = self.buffer_bytes = self.flops = self.activation_bytes = 0

    def __repr__(self):
        return f"<{self.kind} {self.path or 'model'}: {self.parameters} parameters, {self.flops} FLOPs>"


_SUMS = ("parameters", "trainable", "shared", "buffers", "parameter_bytes", "buffer_bytes", "flops", "activation_bytes")


class Summary:
    """What `summary` returns; it prints as a table.

    Attributes:
        layers: a `LayerSummary` for each module, the model first; `[path]` finds one.
        parameters, trainable, frozen: elements of all parameters, of those that require a gradient, of the others.
        buffers: elements of all buffers.
        flops: of all products and convolutions, 2 for each multiply-add.
        parameter_bytes, buffer_bytes, activation_bytes, input_bytes: memory.
        output: what the model returned.
    """

    def __init__(self, layers, inputs, output):
        self.layers = layers
        self.output = output
        self.input_bytes = sum(t.nbytes for t in inputs)
        for name in _SUMS:
            setattr(self, name, sum(getattr(layer, name) for layer in layers))
        self.frozen = self.parameters - self.trainable

    def __getitem__(self, path):
        for layer in self.layers:
            if layer.path == path:
                return layer
        raise KeyError(path)

    def __len__(self):
        return len(self.layers)

    def __iter__(self):
        return iter(self.layers)

    def table(self, depth=None):
        """The table as text; modules deeper than `depth` are added to those that they are in.

        What is neither called nor has tensors, such as a `ModuleList`, has no line.

        >>> import pydiff as pd
        >>> print(pd.nn.summary(pd.nn.Linear(2, 3), pd.zeros(4, 2)).table(depth=0).splitlines()[2])
        (model)  Linear  (4, 2)  (4, 3)           9     48         48 B
        """
        rows = [["layer", "class", "input", "output", "parameters", "FLOPs", "activations"]]
        for layer in _folded(self.layers, depth):
            if not (layer.calls or layer.parameters or layer.shared or layer.buffers):
                continue
            calls = f" x{layer.calls}" if layer.calls > 1 else ""
            rows.append([
                layer.path or "(model)", layer.kind + calls, _shapes(layer.input_shapes), _shapes(layer.output_shapes),
                _parameters(layer), _number(layer.flops), _bytes(layer.activation_bytes) if layer.activation_bytes else "-",
            ])  # fmt: skip
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        lines = ["  ".join(c.ljust(w) if k < 4 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths))) for row in rows]
        lines.insert(1, "-" * len(lines[0]))
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self):
        text = self.table()
        return "\n".join([
            text, "-" * len(text.partition("\n")[0]),
            f"parameters   {self.parameters:,} ({self.trainable:,} trained, {self.frozen:,} frozen), "
            f"{_bytes(self.parameter_bytes)}; buffers {self.buffers:,}, {_bytes(self.buffer_bytes)}",
            f"FLOPs        {self.flops:,} (products and convolutions, 2 for each multiply-add)",
            f"activations  {_bytes(self.activation_bytes)}; input {_bytes(self.input_bytes)}",
        ])  # fmt: skip

    __repr__ = __str__


def _folded(layers, depth):
    if depth is None:
        return layers
    shown = {}
    for layer in layers:
        path = ".".join(layer.path.split(".")[:depth]) if layer.depth > depth else layer.path
        if path == layer.path:
            shown[path] = whole = LayerSummary.__new__(LayerSummary)
            whole.__dict__.update(layer.__dict__)
        else:
            for name in _SUMS:
                setattr(shown[path], name, getattr(shown[path], name) + getattr(layer, name))
    return shown.values()


def _shapes(shapes):
    return ", ".join(map(str, shapes)) or "-"


def _number(count):
    return f"{count:,}" if count else "-"


def _parameters(layer):
    notes = []
    if layer.parameters and not layer.trainable:
        notes.append("frozen")
    elif layer.trainable < layer.parameters:
        notes.append(f"{layer.parameters - layer.trainable:,} frozen")
    if layer.shared:
        notes.append(f"{layer.shared:,} shared")
    note = f"({', '.join(notes)}) " if notes else ""
    return note + _number(layer.parameters)


def _bytes(count):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:,} B" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024


def summary(model, input):
    """A table of the model's modules: shapes, parameters, FLOPs and memory, seen in one forward pass.

    Arguments:
        model: a module.
        input: a tensor; a tuple or list of arguments; a dict of keyword arguments; or the shape of one float tensor,
            a tuple of integers; or several shapes.

    Returns a `Summary`, which prints as a table and has all numbers as attributes, the model's result too. FLOPs are those
    of matrix products, and so of convolutions, attention and recurrent layers, wherever they stand in the code: 2 for
    each multiply-add. A shared parameter counts where it is met first. Activations are what modules return, each tensor
    once: the least that is kept for a backward pass, not what is needed in between. The pass runs in evaluation mode and
    without a tape; modes, buffers, gradients and the random state are as before. Lazy modules get their sizes. Raises
    TypeError for what is no module or no input.

    >>> import pydiff as pd
    >>> model = pd.nn.Sequential(pd.nn.Linear(4, 8), pd.nn.ReLU(), pd.nn.Linear(8, 2))
    >>> found = pd.nn.summary(model, (16, 4))
    >>> found.parameters, found.flops, found["0"].output_shapes, found.activation_bytes
    (58, 1536, [(16, 8)], 1152)
    """
    if not isinstance(model, Module):
        raise TypeError(f"[summary] a module is wanted; got {type(model).__name__}; try summary(model, x)")
    random = pydiff.get_rng_state()
    modes = [(module, module.training) for module in model.modules()]
    swapped = _swap_buffers(model)
    limits = _core._C.set_pending_limits(1 << 30, 1 << 60)
    watch = _Watch(model)
    try:
        args, kwargs = _arguments(model, input)
        with pydiff.no_grad():
            inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            _core.evaluate([*inputs, *(t for t in (*model.parameters(), *model.buffers()) if _has_value(t))])
            watch.seen.update((id(t), t) for t in inputs)
            model.eval()
            output = model(*args, **kwargs)
    finally:
        watch.close()
        for slot, buffer in swapped:
            put(slot, buffer)
        for module, mode in modes:
            module.training = mode
        _core._C.set_pending_limits(*limits)
        pydiff.set_rng_state(random)
    watch.count_tensors(model)
    return Summary(list(watch.layers.values()), inputs, output)


def _arguments(model, input):
    """(args, kwargs) of the call."""
    if isinstance(input, Tensor):
        return (input,), {}
    if isinstance(input, dict):
        return (), input
    if hasattr(input, "_fields"):  # a PackedSequence, or another named tuple of the user's
        return (input,), {}
    if isinstance(input, (tuple, list)):
        shapes = [input] if _is_shape(input) else input
        if shapes and all(map(_is_shape, shapes)):
            like = next((p for p in model.parameters() if _has_value(p)), None)
            made = {} if like is None else {"dtype": like.dtype, "device": like.device}
            return tuple(pydiff.randn(*shape, **made) for shape in shapes), {}
        return tuple(input), {}
    raise TypeError(f"[summary] an input is wanted; got {type(input).__name__}; try summary(model, x), or a shape")


def _is_shape(x):
    return isinstance(x, (tuple, list)) and len(x) > 0 and all(isinstance(n, int) and not isinstance(n, bool) for n in x)


def _has_value(tensor):
    return not hasattr(tensor, "materialize")  # of a lazy module that has not seen an input


def _swap_buffers(model):
    """Put copies into the place of the buffers, so that these stay what they are; returns what to put back."""
    swapped, copies = [], {}
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and _has_value(buffer):
                slot = module, module._buffers, name
                swapped.append((slot, buffer))
                if id(buffer) not in copies:
                    copies[id(buffer)] = buffer.detach().clone()
                put(slot, copies[id(buffer)])
    return swapped


class _Watch:
    """Hooks around every module that count what was recorded between them.

    Values are computed whenever a module begins or ends; what is pending there was recorded by the module that was
    running, and the graph of it has its products.
    """

    def __init__(self, model):
        self.layers = {id(m): LayerSummary(path, m) for path, m in model.named_modules()}
        self.seen = {}  # tensors that something returned; kept, so that no other gets their id
        self.running = []
        self.handles = []
        for module in model.modules():
            self.handles.append(module.register_forward_pre_hook(self.before, with_kwargs=True))
            self.handles.append(module.register_forward_hook(self.after))

    def close(self):
        for handle in self.handles:
            handle.remove()

    def compute(self, values):
        """Count the products that the tensors wait for, and compute them; returns the tensors."""
        tensors = [t for t in tree_leaves(values) if isinstance(t, Tensor)]
        concrete = [t for t in tensors if not t.is_abstract]
        if concrete:
            if self.running:
                self.running[-1].flops += _products(_core._C.print_graph(concrete))
            _core.evaluate(concrete)
        return tensors

    def before(self, module, args, kwargs):
        tensors = self.compute((args, kwargs))
        layer = self.layers[id(module)]
        if not layer.calls:
            layer.input_shapes = [tuple(t.shape) for t in tensors]
        layer.calls += 1
        self.running.append(layer)

    def after(self, module, args, result):
        tensors = self.compute(result)
        layer = self.running.pop()
        if layer.calls == 1:
            layer.output_shapes = [tuple(t.shape) for t in tensors]
        for tensor in tensors:
            if id(tensor) not in self.seen:
                self.seen[id(tensor)] = tensor
                layer.activation_bytes += tensor.nbytes

    def count_tensors(self, model):
        """The numbers of parameters and buffers, after the pass, in which lazy modules got theirs."""
        met = set()
        for _, module in model.named_modules():
            layer = self.layers[id(module)]
            layer.kind = type(module).__name__
            for parameter in module._parameters.values():
                if parameter is None or not _has_value(parameter):
                    continue
                if id(parameter) in met:
                    layer.shared += parameter.numel()
                    continue
                met.add(id(parameter))
                layer.parameters += parameter.numel()
                layer.trainable += parameter.numel() if parameter.requires_grad else 0
                layer.parameter_bytes += parameter.nbytes
            for buffer in module._buffers.values():
                if buffer is not None and _has_value(buffer) and id(buffer) not in met:
                    met.add(id(buffer))
                    layer.buffers += buffer.numel()
                    layer.buffer_bytes += buffer.nbytes


def _products(text):
    """The FLOPs of the products in a printed graph.

    `%3 = dot float32 (m, n) %1 %2`, k the last axis of %1; `%3 = convolution float32 (batch, outputs, …) %1 %2`, a sum over
    all axes of %2 but the first; `%4 = attention float32 (…, targets, v) %1 %2 %3`, of query, key and value, two products for all
    pairs of targets and sources, five in the backward pass (what a mask hides counts, as in PyTorch).
    """
    shapes = {number: _sizes(shape) for number, shape in _SHAPE.findall(text)}
    products = sum(2 * math.prod(_sizes(shape)) * shapes[first][-1] for shape, first in _DOT.findall(text))
    convolutions = (math.prod(_sizes(shape)) * math.prod(shapes[weight][1:]) for shape, weight in _CONVOLUTION.findall(text))
    attentions = (
        math.prod(shapes[q][:-1]) * shapes[k][-2] * ((3 if back else 1) * shapes[k][-1] + (2 if back else 1) * shapes[v][-1])
        for back, q, k, v in _ATTENTION.findall(text)
    )
    return products + 2 * (sum(convolutions) + sum(attentions))


def _sizes(text):
    return [int(size) for size in text.split(",") if size.strip()]
