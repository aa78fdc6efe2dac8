"""`pydiff.custom_op`: an operation of one's own, with a kernel for each device.

A call records one node of the graph. What a plan needs to run it is fixed then, once for each kind of operands: shapes
of the results, the compiled kernel, its launch. Rules for derivatives and batches are called when they are needed.
"""

import inspect
import math
import struct
from collections import OrderedDict

import numpy as np

from . import _C, _custom_text
from ._C import NotDifferentiableError, Tensor, make_param, stack, zeros, zeros_like
from ._dtypes import dtype as _dtype
from .ops import as_tensor

__all__ = ["custom_op"]

_MOST_CALLS = 256  # kinds of operands that an operation keeps a code for
_MOST_PARAMETERS = 512  # of 8 bytes, in the 4 KB that every GPU takes
_BATCHING = ("sequential", "expand_dims", "broadcast_all")
_ATTRIBUTES = (bool, int, float, str, type(None), np.generic, _dtype)


def _fail(op, what, got, hint, kind=ValueError):
    raise kind(f"[{op}] {what}; got {got}; try {hint}") from None


def _key(value):
    """What tells the value of an attribute from any other: 1, 1.0 and True differ, NaN is itself."""
    if isinstance(value, np.generic):
        return type(value), value.tobytes()
    if isinstance(value, float):
        return float, value.hex()
    if isinstance(value, tuple):
        return tuple, tuple(map(_key, value))
    return type(value), value


class _Rule:
    """A function of the user's, which is given those attributes that it names."""

    __slots__ = ("function", "accepted")

    def __init__(self, op, what, function, places):
        if not callable(function):
            _fail(op, f"{what} is no function", type(function).__name__, f"{what}=lambda …", TypeError)
        self.function = function
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # of C
            self.accepted = frozenset()
            return
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            self.accepted = None
            return
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.accepted = frozenset([*positional[places:], *keywords])

    def __call__(self, *operands, attributes):
        if self.accepted is not None:
            attributes = {k: v for k, v in attributes.items() if k in self.accepted}
        return self.function(*operands, **attributes)


def _noted(error, note):
    error.add_note(note)
    return error


def _with_zeros(given, like):
    """Cotangents or tangents, zeros where there is none; of integers there never is one."""
    return [zeros_like(x).detach() if g is None and x.dtype.is_floating_point else g for g, x in zip(given, like)]


class CustomOp:
    """What `pydiff.custom_op` returns: a function of tensors.

    >>> import numpy as np, pydiff as pd
    >>> flip = pd.custom_op("flip_rows", shape=lambda x: x, cpu=lambda x: x[::-1])
    >>> flip, flip.__name__, str(flip.__signature__)
    (custom_op('flip_rows', (x), cpu), 'flip_rows', '(x)')
    """

    def __init__(self, name, shape, cuda, cpu, c, function, grid, block, shared, args, init, vjp, jvp, vmap, c_flags):
        self.__name__ = self.__qualname__ = name
        self._read_signature(shape)
        places = 10**6 if self._variadic else len(self._names)
        self._shape = _Rule(name, "shape", shape, places)
        self._texts = {}
        for language, text in (("cuda", cuda), ("c", c)):
            if text is not None:
                given = isinstance(text, str)
                self._texts[language] = text if given else _Rule(name, language, text, places)
        if cpu is not None and c is not None:
            _fail(name, "two ways to compute it on the CPU", "cpu= and c=", "one of them")
        if not self._texts and cpu is None:
            _fail(name, "nothing computes it", "neither cuda= nor cpu= nor c=", "cpu=<function of NumPy arrays>")
        self._cpu = None if cpu is None else _Rule(name, "cpu", cpu, places)
        self._function, self._c_flags, self._init = function, tuple(c_flags), init
        launch = {"grid": grid, "block": block, "shared": shared, "args": args}
        self._launch = {k: _Rule(name, k, v, places) if callable(v) else v for k, v in launch.items()}
        self._vjp = None if vjp is None else _Rule(name, "vjp", vjp, 3)
        self._jvp = None if jvp is None else _Rule(name, "jvp", jvp, 3)
        if isinstance(vmap, str) and vmap not in _BATCHING:
            _fail(name, "an unknown way to batch", repr(vmap), " or ".join(map(repr, _BATCHING)))
        self._vmap = vmap if vmap is None or isinstance(vmap, str) else _Rule(name, "vmap", vmap, 2 + places)
        self._calls = OrderedDict()
        self.__doc__ = f"{name}{self.__signature__}: an operation made by pydiff.custom_op."

    def _read_signature(self, shape):
        """Operands and attributes, from the parameters of the shape rule."""
        name = self.__name__
        try:
            self.__signature__ = inspect.signature(shape)
        except (TypeError, ValueError):
            _fail(name, "shape is no function with a signature", repr(shape), "shape=lambda x: x", TypeError)
        self._names, self._variadic, self._defaults = [], None, {}
        for p in self.__signature__.parameters.values():
            if p.kind is p.VAR_KEYWORD:
                got = f"**{p.name} in the shape rule"
                _fail(name, "attributes need names", got, "lambda x, *, axis=0: …", TypeError)
            elif p.kind is p.VAR_POSITIONAL:
                self._variadic = p.name
            elif p.kind is p.KEYWORD_ONLY or p.default is not p.empty:
                self._defaults[p.name] = p.default
            else:
                self._names.append(p.name)
        if not self._names and not self._variadic:
            _fail(name, "no operand", f"shape{self.__signature__}", "shape=lambda x: x", TypeError)

    # ---- calls

    def __call__(self, *operands, **attributes):
        device = next((o.device for o in operands if isinstance(o, Tensor)), None)
        if len(operands) != len(self._names) and not (self._variadic and len(operands) > len(self._names)):
            self._refuse_operands(operands, attributes)
        operands = [o if isinstance(o, Tensor) else self._operand(k, o, device) for k, o in enumerate(operands)]
        for operand in operands:
            if operand.device != operands[0].device:
                got, first = operand.device, operands[0].device
                _fail(self.__name__, "operands on different devices", f"{first} and {got}", f".to({str(first)!r})")
        attributes = self._attributes(attributes)
        specs = tuple((o.shape, o.dtype) for o in operands)
        key = operands[0].device, specs, tuple((k, _key(v)) for k, v in attributes.items())
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _Call(self, operands[0].device, specs, attributes)
            if len(self._calls) > _MOST_CALLS:
                self._calls.popitem(last=False)
        else:
            self._calls.move_to_end(key)
        results = _C.custom_apply(call.code, call, operands)
        return results[0] if call.single else tuple(results)

    def _refuse_operands(self, operands, attributes):
        names = [*self._names, *([f"*{self._variadic}"] if self._variadic else [])]
        wanted = [n for n in self._names[len(operands) :] if n in attributes]
        hint = f"{self.__name__}({', '.join(names)})" + (", operands by their place" if wanted else "")
        many = f"{len(self._names)} operand" + ("s" if len(self._names) != 1 else "")
        at_least = "at least 1 operand" if self._variadic and not self._names else many
        _fail(self.__name__, f"expected {at_least}: {', '.join(names)}", len(operands), hint, TypeError)

    def _operand(self, k, value, device):
        if isinstance(value, (np.ndarray, np.generic, float, int)):
            return as_tensor(value, device=device)
        name = self._names[k] if k < len(self._names) else f"{self._variadic}[{k - len(self._names)}]"
        _fail(self.__name__, f"operand {name!r} is no tensor", type(value).__name__, "pydiff.tensor(…)", TypeError)

    def _attributes(self, given):
        if not given and not self._defaults:
            return given
        known = ", ".join(self._defaults) or "none"
        for name, value in given.items():
            if name not in self._defaults:
                _fail(self.__name__, "no such attribute", f"{name}={value!r}", f"one of: {known}", TypeError)
        all_of_them = {**self._defaults, **given}
        for name, value in all_of_them.items():
            if value is inspect.Parameter.empty:
                _fail(self.__name__, f"attribute {name!r} is missing", "no value", f"{name}=…", TypeError)
            if isinstance(value, list):
                value = all_of_them[name] = tuple(value)
            for part in value if isinstance(value, tuple) else (value,):
                if not isinstance(part, _ATTRIBUTES):
                    hint = "a number, a text or a tuple of them; a tensor is an operand"
                    _fail(self.__name__, f"attribute {name!r} is not static", type(part).__name__, hint, TypeError)
        return all_of_them

    def __repr__(self):
        how = [*self._texts, *(["cpu"] if self._cpu else [])]
        return f"custom_op({self.__name__!r}, {self.__signature__}, {', '.join(how)})"

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        what = "a custom op is not pickled: its rules are functions"
        _fail(self.__name__, what, "pickle", "making it where it is used", TypeError)


class _Call:
    """An operation for operands of one kind: what its nodes hold. The core calls `vjp`, `jvp`, `batch` and `run`."""

    __slots__ = ("op", "attributes", "specs", "outs", "single", "code", "__weakref__")

    def __init__(self, op, device, specs, attributes):
        self.op, self.specs, self.attributes = op, specs, attributes
        where = f"[{op.__name__}] for operands " + ", ".join(f"{d.name} {s}" for s, d in specs)
        stand_ins = [make_param(s, d, device) for s, d in specs]
        self._read_results(self._rule("shape", op._shape, stand_ins, where))
        language = "cuda" if device.type == "cuda" else "c"
        text = op._texts.get(language)
        if text is None and (device.type == "cuda" or op._cpu is None):
            has = " and ".join([*op._texts, *(["cpu"] if op._cpu else [])])
            twin = "CPU twin", "cpu=<function of NumPy arrays> or c="
            kind, hint = ("CUDA kernel", "cuda=") if language == "cuda" else twin
            _fail(
                op.__name__, f"it has no {kind}", f"operands on {device} for an operation with {has}",
                f"{hint}… in custom_op, or the operands on another device", RuntimeError,
            )  # fmt: skip
        scalars, codes, fill = (), (), ()
        if text is not None:
            scalars, codes = self._scalars(self._rule("args", op._launch["args"], stand_ins, where))
            fill = self._fill(op._init)
            text = self._rule(language, text, stand_ins, where)
            if not isinstance(text, str):
                _fail(op.__name__, f"{language} gives no text", type(text).__name__, "a str", TypeError)
        size = None
        if language == "cuda":
            many = len(specs) + len(self.outs) + len(scalars)
            if many > _MOST_PARAMETERS:
                hint = "operands joined by stack or cat"
                _fail(op.__name__, f"more parameters than the {_MOST_PARAMETERS} of a kernel", many, hint)
            size = self._launch_size(stand_ins, where)
        address = 0
        if text is not None and language == "c":
            source = self._source(_custom_text.c_source, text, codes, "C")
            address = _custom_text.compile_c(source, op.__name__, op._function or op.__name__, op._c_flags)
        self.code = _C.custom_code(op.__name__, device, specs, self.outs, scalars, fill, address)
        if size is not None:
            source = self._source(_custom_text.cuda_source, text, codes, "CUDA")
            function = _custom_text.find_function(text, op.__name__, op._function, "CUDA")
            _C.custom_kernel(self.code, source, function, *size)

    def _rule(self, what, rule, operands, where):
        if not isinstance(rule, _Rule):
            return rule
        try:
            return rule(*operands, attributes=self.attributes)
        except Exception as error:
            raise _noted(error, f"{where}: raised by its {what} rule")

    # ---- what is fixed when it is recorded

    def _read_results(self, result):
        name = self.op.__name__

        def spec(value):
            if isinstance(value, Tensor):
                return value.shape, value.dtype
            if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], _dtype):
                shape = (value[0],) if isinstance(value[0], int) else tuple(value[0])
                if all(isinstance(n, (int, np.integer)) and n >= 0 for n in shape):
                    return tuple(map(int, shape)), value[1]
            hint = "(x.shape, x.dtype), or a list of such pairs for several results"
            _fail(name, "the shape rule gives no shape and dtype", repr(value), hint, TypeError)

        self.single = isinstance(result, Tensor) or (
            isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], _dtype)
        )
        if not self.single and (not isinstance(result, (tuple, list)) or not result):
            spec(result)
        self.outs = tuple(spec(r) for r in ([result] if self.single else result))

    def _pointers(self):
        """Names and dtypes of operands and results, as the kernel gets them."""
        op, count = self.op, len(self.specs)
        names = [*op._names, *(f"{op._variadic}{k}" for k in range(count - len(op._names)))]
        outs = ["out"] if self.single else [f"out{k}" for k in range(len(self.outs))]
        return [(n, d) for n, (_, d) in zip([*names, *outs], [*self.specs, *self.outs])]

    def _source(self, write, text, codes, what):
        function = _custom_text.find_function(text, self.op.__name__, self.op._function, what)
        return write(text, self.op.__name__, function, self._pointers(), codes)

    def _scalars(self, values):
        """(bytes, what the kernel's parameter must be) of the numbers after the pointers."""
        name, cells, codes = self.op.__name__, [], []
        for value in () if values is None else values if isinstance(values, (tuple, list)) else (values,):
            if isinstance(value, (bool, np.bool_, int, np.integer)):
                value = int(value)
                if not -(2**63) <= value < 2**64:
                    _fail(name, "a number of args beyond 64 bits", value, "a float")
                cells.append(struct.pack("<q" if value < 2**63 else "<Q", value))
                codes.append(8)
            elif isinstance(value, np.float32):
                cells.append(struct.pack("<f", value))
                codes.append(104)
            elif isinstance(value, float):
                cells.append(struct.pack("<d", value))
                codes.append(108)
            else:
                hint = "int, float or numpy.float32"
                _fail(name, "args gives something else than numbers", type(value).__name__, hint, TypeError)
        return cells, codes

    def _fill(self, init):
        if init is None:
            return []
        values = init if isinstance(init, (tuple, list)) else [init] * len(self.outs)
        if len(values) != len(self.outs):
            got = f"{len(values)} for {len(self.outs)} results"
            _fail(self.op.__name__, "init has another length", got, "one number")
        if any(d.itemsize > 8 for _, d in self.outs):
            _fail(self.op.__name__, "init of a dtype beyond 8 bytes", "complex128", "a kernel that writes all elements")
        return [np.asarray(v).astype(d.numpy).tobytes() for v, (_, d) in zip(values, self.outs)]

    def _launch_size(self, stand_ins, where):
        name, launch = self.op.__name__, self.op._launch
        limits = {"grid": (2**31 - 1, 65535, 65535), "block": (1024, 1024, 64)}

        def sizes(what, value):
            given = tuple(value) if isinstance(value, (tuple, list)) else (value,)
            good = 1 <= len(given) <= 3 and all(isinstance(n, (int, np.integer)) for n in given)
            full = (*given, 1, 1)[:3]
            least = 0 if what == "grid" else 1
            if not good or any(not least <= n <= most for n, most in zip(full, limits[what])):
                _fail(name, f"no {what} that a GPU can launch", repr(value), f"1 to 3 sizes up to {limits[what]}")
            return tuple(map(int, full))

        block = sizes("block", self._rule("block", launch["block"], stand_ins, where))
        if math.prod(block) > 1024:
            _fail(name, "more threads in a block than 1024", block, "a smaller block")
        grid = self._rule("grid", launch["grid"], stand_ins, where)
        elements = [math.prod(s) for s, _ in self.outs]
        grid = sizes("grid", -(-elements[0] // math.prod(block)) if grid is None else grid)
        if 0 in grid and any(elements):
            _fail(name, "a grid of no block for results that are not empty", grid, "1 at least")
        shared = self._rule("shared", launch["shared"], stand_ins, where)
        if not isinstance(shared, (int, np.integer)) or shared < 0:
            _fail(name, "shared is no number of bytes", repr(shared), "shared=4 * block")
        return grid, block, int(shared)

    # ---- what the core calls

    def run(self, arrays):
        """The results, computed by the function of NumPy arrays."""
        name = self.op.__name__
        results = self.op._cpu(*arrays, attributes=self.attributes)
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        if len(results) != len(self.outs):
            _fail(name, "the cpu function returns another number of results", len(results), f"{len(self.outs)} arrays")
        for k, (shape, dtype) in enumerate(self.outs):
            value, which = results[k], f"result {k} " if len(results) > 1 else "result "
            if isinstance(value, Tensor):
                _fail(name, f"{which}of the cpu function is no array", "Tensor", "NumPy alone", TypeError)
            plain = isinstance(value, (bool, int, float, complex))
            array = np.asarray(value, dtype=dtype.numpy if plain else None)
            if array.shape != shape or array.dtype != dtype.numpy:
                _fail(
                    name, f"{which}of the cpu function differs from what its shape rule says",
                    f"{array.dtype} {array.shape} for {dtype.name} {shape}",
                    "x.astype(…) and reshape, or another shape rule",
                )  # fmt: skip
            results[k] = np.array(array, order="C", copy=None)
        return results

    def vjp(self, inputs, outputs, cotangents, need):
        """The gradient of each operand, or None."""
        op = self.op
        if op._vjp is None:
            hint = "custom_op(…, vjp=…), or detach() on its operands"
            _fail(op.__name__, "not differentiable", "a backward pass", hint, NotDifferentiableError)
        cotangents = _with_zeros(cotangents, outputs)
        grads = op._vjp(tuple(inputs), tuple(outputs), tuple(cotangents), attributes=self.attributes)
        grads = self._several("vjp", grads, len(inputs), "gradient", "operand")
        for k, (g, x, wanted) in enumerate(zip(grads, inputs, need)):
            if g is None or not wanted:
                grads[k] = None
                continue
            grads[k] = self._like("vjp", g, f"gradient {k}", x)
        return grads

    def jvp(self, inputs, outputs, tangents):
        """The tangent of each result, or None."""
        op = self.op
        if op._jvp is None:
            hint = "custom_op(…, jvp=…), or reverse mode (grad, vjp)"
            _fail(op.__name__, "has no forward-mode derivative", "a tangent", hint, NotDifferentiableError)
        tangents = _with_zeros(tangents, inputs)
        moved = op._jvp(tuple(inputs), tuple(outputs), tuple(tangents), attributes=self.attributes)
        moved = self._several("jvp", moved, len(outputs), "tangent", "result")
        return [None if t is None else self._like("jvp", t, f"tangent {k}", outputs[k]) for k, t in enumerate(moved)]

    def batch(self, size, batched, inputs):
        """The results over operands of which some have a batch axis in front; all results have it."""
        op, rule = self.op, self.op._vmap
        if rule is None:
            ways = ", ".join(f"vmap={w!r}" for w in _BATCHING)
            hint = f"custom_op(…, {ways} or a function), or a loop in place of vmap"
            _fail(op.__name__, "has no batch rule", "vmap over it", hint, NotDifferentiableError)
        if rule == "sequential":
            return self._one_by_one(size, batched, inputs)
        if isinstance(rule, str):
            inputs = [x if b else x.reshape(1, *x.shape) for x, b in zip(inputs, batched)]
            if rule == "broadcast_all":
                inputs = [x if b else x.expand(size, *x.shape[1:]) for x, b in zip(inputs, batched)]
            results = op(*inputs, **self.attributes)
        else:
            results = rule(size, tuple(batched), *inputs, attributes=self.attributes)
        results = self._several("vmap", results, len(self.outs), "result", "result")
        for k, (r, (shape, dtype)) in enumerate(zip(results, self.outs)):
            got = f"{r.dtype.name} {r.shape}" if isinstance(r, Tensor) else type(r).__name__
            if not isinstance(r, Tensor) or (r.shape, r.dtype) != ((size, *shape), dtype):
                hint = f"{dtype.name} {(size, *shape)}, the batch axis in front"
                _fail(op.__name__, f"result {k} of its batch rule has another shape or dtype", got, hint)
        return results

    def _one_by_one(self, size, batched, inputs):
        if not size:
            return [zeros((0, *s), dtype=d, device=inputs[0].device) for s, d in self.outs]
        rows = [self.op(*[x[i] if b else x for x, b in zip(inputs, batched)], **self.attributes) for i in range(size)]
        rows = [(r,) for r in rows] if self.single else rows
        return [stack(list(column)) for column in zip(*rows)]

    def _several(self, rule, values, count, what, of):
        values = list(values) if isinstance(values, (tuple, list)) else [values]
        if len(values) != count:
            got = f"{len(values)} for {count}"
            _fail(self.op.__name__, f"{rule} gives one {what} for each {of}", got, "None for those without")
        return values

    def _like(self, rule, value, what, x):
        name = self.op.__name__
        if not isinstance(value, Tensor):
            value = as_tensor(value, device=x.device)
        if value.shape != x.shape:
            got = f"{value.shape} for {x.shape}"
            _fail(name, f"{what} of its {rule} has another shape", got, "a tensor of that shape")
        if value.device != x.device:
            got = f"{value.device} for {x.device}"
            _fail(name, f"{what} of its {rule} is on another device", got, f".to({str(x.device)!r})")
        return value if value.dtype == x.dtype else value.to(x.dtype)


def custom_op(
    name, *, shape, cuda=None, cpu=None, c=None, function=None, grid=None, block=256, shared=0, args=None, init=None,
    vjp=None, jvp=None, vmap=None, c_flags=(),
):  # fmt: skip
    """An operation of one's own: a CUDA C++ kernel, a CPU twin, a shape rule and rules for derivatives.

    A call is recorded like any operation and computed when its value is needed, in one plan with what is around it.
    Its operands are computed into memory of their own, contiguous; what is before and after it fuses as ever.

    Arguments:
        name: of the operation, as errors say it; and of the kernel, unless `function` says otherwise.
        shape: the shape rule, `shape(*operands, **attributes)`, which gives the result's `(shape, dtype)`, or a list
            of such pairs for several results; a tensor stands for its own shape and dtype (`shape=lambda x: x`). Its
            signature is the operation's: parameters are operands (`*xs`: any number), those with a default or behind
            `*` are attributes.
        cuda: CUDA C++ text with `extern "C" __global__ void name(…)`. Its parameters are pointers to the operands,
            then to the results, then the numbers of `args`. They are checked when the text is compiled.
        cpu: the twin, a function of NumPy arrays `(*operands, **attributes)` that returns an array or several. The
            arrays cannot be written to. It is called with the GIL, perhaps by another thread than the one that
            recorded.
        c: or the twin as C text with a function of the same parameters as the kernel; compiled by the system's C
            compiler (`CC`, or cc, gcc, clang) with `c_flags` besides -O3, and run without the GIL.
        function: of the texts, where it is not called `name`.
        grid, block: blocks, and threads of a block: an int or up to three. By default the grid is as large as one
            thread for each element of the first result needs.
        shared: bytes of dynamic shared memory.
        args: the numbers behind the pointers. An int fits every integer type, a float is a `double`,
            `numpy.float32(v)` a `float`.
        init: what the results' elements are before the kernel or the C function runs: a number, or one for each
            result. By default whatever the memory has.
        vjp: `vjp(operands, results, cotangents, **attributes)`, all tuples: the gradient of each operand, or None.
            Made of pydiff's operations, or of another custom operation; it is taped where higher derivatives are
            asked for.
        jvp: `jvp(operands, results, tangents, **attributes)`: the tangent of each result, or None. For forward mode.
        vmap: what `vmap` does: "sequential" calls it once an example; "expand_dims" and "broadcast_all" call it once
            with a batch axis in front of each operand, of size 1 or repeated where an operand has none; or a function
            `vmap(size, batched, *operands, **attributes)` that gives the results with the batch axis in front.

    `grid`, `block`, `shared`, `args`, `cuda` and `c` may be functions of `(*operands, **attributes)` too, which stand
    for shapes and dtypes and have no elements. Attributes are numbers, texts, dtypes or tuples of them, given by
    name; every rule gets those that it names. Rules are called once for each kind of operands and must depend on
    nothing else.

    Both texts know the type of each operand and result: `x_t` of an operand `x`, `out_t` of the result, `out0_t`,
    `out1_t` of several; a text is compiled once for each dtype.

    Returns:
        a function of tensors (arrays and numbers become tensors), which gives a tensor, or a tuple where the shape
            rule gives a list.

    Raises:
        TypeError, ValueError: wrong operands, attributes, or results of a rule; at the line of the call. What the
            function of NumPy arrays returns or raises is seen when the result is computed; a note names that line.
        RuntimeError: the operands' device has no kernel or twin, or its text does not compile.

    >>> import numpy as np, pydiff as pd
    >>> cube = pd.custom_op(
    ...     "cube",
    ...     shape=lambda x: x,
    ...     cuda='''extern "C" __global__ void cube(const x_t* x, out_t* y, long long n) {
    ...         long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
    ...         if (i < n) y[i] = x[i] * x[i] * x[i];
    ...     }''',
    ...     args=lambda x: x.numel(),
    ...     cpu=lambda x: x**3,
    ...     vjp=lambda operands, results, cotangents: 3 * operands[0] ** 2 * cotangents[0],
    ... )
    >>> x = pd.tensor([1.0, 2.0], requires_grad=True)
    >>> (cube(x) + 1).sum().backward()
    >>> x.grad.tolist()
    [3.0, 12.0]
    """
    if not isinstance(name, str) or not name or any(ch in name for ch in '"\\\n'):
        _fail("custom_op", "the name is no text", repr(name), "custom_op('my_op', …)", TypeError)
    for what, text in (("cuda", cuda), ("c", c)):
        if text is not None and not callable(text) and (not isinstance(text, str) or not text.strip()):
            _fail(name, f"{what} is no text", repr(text), f"{what}='…', or a function that gives it", TypeError)
    return CustomOp(name, shape, cuda, cpu, c, function, grid, block, shared, args, init, vjp, jvp, vmap, c_flags)
