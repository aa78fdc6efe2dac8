"""A random program: its inputs, and steps that each apply one operation to earlier values."""

import collections

import numpy as np

import pydiff as pd

FLOATING = ("float32", "float64", "float16", "bfloat16")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
WHOLE = SIGNED + UNSIGNED
EVERY = FLOATING + WHOLE + ("bool",)

SIZES = [1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 16, 17, 33]
LONG = [127, 129, 1023, 1024, 1025, 2049, 4100, 20000]
MOST_ELEMENTS = 40_000

#: `f` takes the operands' tensors; `reference` their arrays and the arrays of the results, and returns a Reference for
#: each result (one alone without a list), or None where NumPy has no say.
Step = collections.namedtuple("Step", "op text operands f reference first count")


def name_of(dtype):
    return dtype.name if hasattr(dtype, "name") else str(dtype)


class CannotDraw(Exception):
    """No value fits the operation, and none was found that would."""


class Program:
    """Drawn from a generator and a table of operations: the same number, the same program.

    While it is drawn each step is recorded by pydiff, which gives the shapes and dtypes of its results without running it.
    """

    def __init__(self, rng, table, *, smooth=False, steps=None):
        self.rng, self.smooth = rng, smooth
        self.arrays, self.layouts = {}, {}  # of inputs, by the number of the value
        self.tensors, self.steps = [], []
        self.largest = MOST_ELEMENTS if not smooth else 60
        self.home = str(rng.choice(["float32", "float64", "float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8"]))
        self.chatty = 0.25 if rng.random() < 0.3 else 0.0  # how often an input holds special values
        self.fresh()
        steps = steps or int(rng.integers(2, 13))
        entries = [e for e in table if e.smooth or not smooth]
        weights = np.array([e.weight for e in entries], float)
        refused = 0
        while len(self.steps) < steps and refused < 100:
            entry = entries[rng.choice(len(entries), p=weights / weights.sum())]
            refused += not self.grow(entry)

    # ---- values

    def shape(self, k):
        return tuple(self.tensors[k].shape)

    def dtype(self, k):
        return name_of(self.tensors[k].dtype)

    def draw_shape(self, rank=None):
        rank = int(self.rng.choice([0, 1, 1, 2, 2, 2, 3, 3, 4])) if rank is None else rank
        if self.smooth:
            shape = [int(n) for n in self.rng.choice([1, 2, 3, 4], rank)]
        else:
            shape = [int(n) for n in self.rng.choice(SIZES, rank)]
            if rank and self.rng.random() < 0.06:
                shape[int(self.rng.integers(rank))] = 0
            if rank and self.rng.random() < 0.08:
                shape = [min(n, 3) for n in shape]
                shape[int(self.rng.integers(rank))] = int(self.rng.choice(LONG))
        while np.prod(shape) > self.largest:
            shape[int(np.argmax(shape))] = 2
        return tuple(shape)

    def draw_dtype(self, dtypes=EVERY):
        if self.smooth:
            return "float64"
        if self.home in dtypes and self.rng.random() < 0.6:  # so that steps follow on each other
            return self.home
        weights = np.array([6.0 if d in ("float32", "float64") else 2.0 if d in ("int64", "int32", "bool") else 1.0 for d in dtypes])
        return str(self.rng.choice(dtypes, p=weights / weights.sum()))

    def draw_array(self, shape, dtype, low=None, high=None):
        rng = self.rng
        if dtype == "bool":
            return rng.random(shape) < 0.5
        if dtype in WHOLE:
            info = np.iinfo(dtype)
            if low is None and rng.random() < 0.5:
                low, high = -9, 9
            low, high = info.min if low is None else max(low, info.min), info.max if high is None else min(high, info.max)
            return rng.integers(low, high, shape, dtype=dtype, endpoint=True)
        kind = rng.random()
        if low is not None:
            x = rng.uniform(low, high, shape)
        elif kind < 0.6 or self.smooth:
            x = rng.uniform(-3, 3, shape)
        elif kind < 0.8:  # whole numbers and halves: ties, equal elements, zeros
            x = rng.integers(-6, 7, shape) / 2
        else:
            x = rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 7, shape)
        x = np.asarray(x)
        if low is None and self.chatty and not self.smooth:
            special = np.array([0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, 1e-320, -1e-40, 3e38, -1e308, 65504.0, 6e-8])
            with np.errstate(all="ignore"):
                x = np.where(rng.random(shape) < self.chatty, rng.choice(special, shape), x)
        with np.errstate(all="ignore"):
            return np.asarray(x).astype(pd._C.numpy_dtype(dtype) if dtype == "bfloat16" else dtype)

    def fresh(self, shape=None, dtypes=EVERY, low=None, high=None, array=None):
        """A new input; its number."""
        if array is None:
            shape = self.draw_shape() if shape is None else tuple(int(n) for n in shape)
            array = self.draw_array(shape, self.draw_dtype(dtypes), low, high)
        layout = "" if self.smooth else str(self.rng.choice(["", "", "", "transposed", "strided", "flipped", "expanded"]))
        if array.size == 0 or array.ndim == 0 or (layout == "expanded" and not (array == array[:1]).all()):
            layout = ""
        k = len(self.tensors)
        self.arrays[k], self.layouts[k] = array, layout
        self.tensors.append(placed(array, layout))
        return k

    def pick(self, dtypes=EVERY, test=None, rank=None, fresh=0.1):
        """The number of a value of one of the dtypes whose shape passes, preferably a recent one; else a new input."""
        dtypes = tuple(dtypes)

        def fits(k):
            shape = self.shape(k)
            return self.dtype(k) in dtypes and (rank is None or len(shape) in rank) and (test is None or test(shape))

        if self.rng.random() >= fresh:
            for _ in range(6):
                k = len(self.tensors) - 1 - min(int(self.rng.exponential(2.0)), len(self.tensors) - 1)
                if fits(k):
                    return k
            found = [k for k in range(len(self.tensors)) if fits(k)]
            if found:
                return found[-1]
        for _ in range(20):
            shape = self.draw_shape(None if rank is None else int(self.rng.choice(list(rank))))
            if test is None or test(shape):
                return self.fresh(shape, dtypes)
        raise CannotDraw

    def partner(self, *numbers, dtypes=EVERY):
        """The number of a value that broadcasts with all of these values."""
        shape = np.broadcast_shapes(*map(self.shape, numbers))

        def fits(s):
            try:
                return np.prod(np.broadcast_shapes(s, shape)) <= self.largest
            except ValueError:
                return False

        if self.rng.random() < 0.5:
            return self.pick(dtypes, fits)
        cut = int(self.rng.integers(0, len(shape) + 1)) if self.rng.random() < 0.4 else 0
        return self.fresh([1 if self.rng.random() < 0.3 else n for n in shape[cut:]], dtypes)

    # ---- choices

    def chance(self, p):
        return bool(self.rng.random() < p)

    def one(self, *choices):
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self, low, high):
        """From low up to but not including high."""
        return int(self.rng.integers(low, high))

    def number(self, low=-2.0, high=2.0):
        return float(np.round(self.rng.uniform(low, high), 3))

    def axis(self, k):
        """An axis of value k, from the front or from the back."""
        rank = len(self.shape(k))
        return self.whole(-rank, rank)

    def axes(self, k, least=1):
        rank = len(self.shape(k))
        chosen = self.rng.choice(rank, self.whole(least, rank + 1), replace=False).tolist()
        return tuple(int(a) - rank * self.chance(0.3) for a in chosen)

    # ---- steps

    def grow(self, entry):
        """Adds a step of the entry's; False where it could not be drawn here."""
        before = len(self.tensors)
        try:
            drawn = entry.draw(self)
        except CannotDraw:
            drawn = None
        if drawn is None:
            self.forget(before)
            return False
        text, operands, f, reference = drawn
        try:
            results = f(*[self.tensors[k] for k in operands])
        except Exception as error:
            raise AssertionError(f"{self}\n{text}: {type(error).__name__}: {error}") from error
        results = list(results) if isinstance(results, (tuple, list)) else [results]
        if sum(r.numel() for r in results) > (self.largest if not self.smooth else 400) or len(results) > 40:
            self.forget(before)
            return False
        self.steps.append(Step(entry.name, text, tuple(operands), f, reference, len(self.tensors), len(results)))
        self.tensors += results
        return True

    def forget(self, before):
        """Drops inputs that were made for a step that did not come."""
        if before:
            del self.tensors[before:]
            self.arrays = {k: a for k, a in self.arrays.items() if k < before}

    def ends(self):
        """The numbers of the values that nothing uses, and of one in the middle."""
        used = {k for s in self.steps for k in s.operands}
        made = [k for s in self.steps for k in range(s.first, s.first + s.count)]
        out = [k for k in made if k not in used][-6:]
        return out + [made[len(made) // 2]] if made else out

    def ancestors(self, k):
        """The program that leads to value k, as lines."""
        wanted, lines = {k}, []
        for s in reversed(self.steps):
            if wanted & set(range(s.first, s.first + s.count)):
                wanted |= set(s.operands)
                names = ", ".join(f"v{i}" for i in range(s.first, s.first + s.count))
                lines.append(f"{names} = {s.text}")
        for i in sorted(wanted & self.arrays.keys(), reverse=True):
            a = self.arrays[i]
            values = f" = {a.tolist()}" if a.size <= 8 else ""
            lines.append(f"v{i}: {a.dtype}{a.shape} {self.layouts[i]}{values}")
        return "\n".join(reversed(lines))

    def __str__(self):
        inputs = [f"v{k}: {a.dtype}{a.shape} {self.layouts[k]}" for k, a in self.arrays.items()]
        steps = [f"v{s.first}{'..' * (s.count > 1)} = {s.text}" for s in self.steps]
        return "\n".join(inputs + steps)

    def run(self, leaves, look=None):
        """All values, from tensors of the inputs by number; `look(step, operands, results)` is called after each step."""
        values = [None] * (len(self.tensors))
        for k, t in leaves.items():
            values[k] = t
        for s in self.steps:
            results = s.f(*[values[k] for k in s.operands])
            results = list(results) if isinstance(results, (tuple, list)) else [results]
            values[s.first : s.first + s.count] = results
            if look is not None:
                look(s, [values[k] for k in s.operands], results)
        return values

    def leaves(self, requires_grad=False):
        """Tensors of the inputs, each in its layout."""
        out = {k: placed(a, self.layouts[k]) for k, a in self.arrays.items()}
        if requires_grad:
            for t in out.values():
                if t.dtype.is_floating_point:
                    t.requires_grad_()
        return out


def placed(array, layout):
    """A tensor of the array's values whose elements lie as the layout says."""
    if layout == "transposed":
        order = tuple(reversed(range(array.ndim)))
        return pd.tensor(np.ascontiguousarray(array.transpose(order))).permute(order).detach()
    if layout == "strided":  # every third element of something larger
        big = np.zeros((*array.shape[:-1], array.shape[-1] * 3), array.dtype)
        big[..., 1::3] = array
        return pd.tensor(big)[..., 1::3].detach()
    if layout == "flipped":
        return pd.tensor(np.ascontiguousarray(np.flip(array))).flip(tuple(range(array.ndim))).detach()
    if layout == "expanded":
        return pd.tensor(np.ascontiguousarray(array[:1])).expand(array.shape).detach()
    return pd.tensor(np.ascontiguousarray(array).reshape(array.shape))
