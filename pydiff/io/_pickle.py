"""A reader of pickles that knows tensors and plain containers, and runs nothing.

It follows the opcodes of protocols 2 to 5 (Lib/pickletools.py tells what each does) that PyTorch and Python's own pickler
write for such objects. A global is not looked up: it is a name in a table that the caller gives, and any other name is an
error. Python's C unpickler would not do: a few bytes make it reserve gigabytes (a memo index, the length of a bytearray).
"""

import struct
from collections import Counter, OrderedDict

from ._errors import bad, is_told, short

__all__ = ["Callable", "Unpickler"]

_KEYS = (str, int, float, bool, type(None), bytes)


class Callable:
    """What a global stands for: it may be called by REDUCE, with `function(reader, *args)`."""

    __slots__ = ("function", "name")

    def __init__(self, name, function):
        self.name, self.function = name, function


class _Stop(Exception):
    pass


class Unpickler:
    """`Unpickler(data, globals, persistent, where).load()`.

    Arguments:
        data: the pickle's bytes.
        globals: "module.name" -> what stands for it: a `Callable` or a plain value.
        persistent: called with the persistent ids, PyTorch's storages.
        where: the file, for errors.
    """

    def __init__(self, data, globals, persistent, where):
        self.data, self.globals, self.persistent, self.where = bytes(data), globals, persistent, where
        self.at, self.stack, self.marks, self.memo = 0, [], [], {}
        self.made = 0

    def refuse(self, what, got, advice="a checkpoint of tensors, numbers, text and plain containers"):
        """Raise the error for what is not read."""
        bad(self.where, what, got, advice)

    def spend(self, n):
        """Count elements that are made of others that may be used again: in all no more than the pickle has bytes."""
        self.made += n
        if self.made > len(self.data) + 64:
            self.refuse(
                "the pickle makes more than it holds", f"{self.made} elements of {len(self.data)} bytes", "a sound file"
            )

    def load(self):
        """The object. Raises ValueError for whatever is not one of tensors and plain containers."""
        try:
            while True:
                code = self.data[self.at]
                self.at += 1
                step = _STEPS.get(code)
                if step is None:
                    self.refuse("the pickle does what is not admitted", f"opcode {code:#04x} at byte {self.at - 1}")
                step(self)
        except _Stop as stop:
            return stop.args[0]
        except RecursionError:
            self.refuse("the pickle is nested too deep", f"byte {self.at}")
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, struct.error) as error:
            if is_told(error):
                raise
            self.refuse("the pickle is not sound", f"{short(error)} at byte {self.at}", "the whole file: it may be cut off")

    # ---- bytes

    def take(self, n):
        end = self.at + n
        if end > len(self.data):
            raise IndexError(f"{n} bytes are asked for, and {len(self.data) - self.at} are left")
        part = self.data[self.at : end]
        self.at = end
        return part

    def number(self, n):
        return int.from_bytes(self.take(n), "little")

    def line(self):
        end = self.data.index(b"\n", self.at) if b"\n" in self.data[self.at : self.at + 1000] else -1
        if end < 0:
            raise IndexError("a line has no end")
        part = self.data[self.at : end]
        self.at = end + 1
        return part.decode("utf-8")

    def marked(self):
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    # ---- objects

    def key(self, key):
        flat = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, _KEYS) for part in flat):
            self.refuse("keys are text or numbers", short(type(key).__name__))
        return key

    def put(self, target, items):
        if type(target) not in (dict, OrderedDict, Counter):
            self.refuse("only dicts take items", type(target).__name__)
        if len(items) % 2:
            raise IndexError("a key has no value")
        for key, value in zip(items[::2], items[1::2]):
            target[self.key(key)] = value

    def extend(self, target, items):
        if type(target) is not list:
            self.refuse("only lists are appended to", type(target).__name__)
        target.extend(items)

    def add(self, target, items):
        if type(target) is not set:
            self.refuse("only sets are added to", type(target).__name__)
        target.update(self.key(item) for item in items)

    def find(self, module, name):
        full = f"{module}.{name}"
        if full not in self.globals:
            self.refuse(
                "the file would have Python import and perhaps run something; only tensors and plain containers are read",
                short(full), "torch.save(model.state_dict(), path) by whoever made it",
            )  # fmt: skip
        self.stack.append(self.globals[full])

    def reduce(self):
        args = self.stack.pop()
        target = self.stack.pop()
        if not isinstance(target, Callable) or type(args) is not tuple:
            self.refuse("only what makes tensors and containers is called", short(type(target).__name__))
        self.stack.append(target.function(self, *args))

    def build(self):
        """The state of an object: that of an OrderedDict (`_metadata` of modules) is left out."""
        self.stack.pop()
        if type(self.stack[-1]) not in (OrderedDict, Counter):
            self.refuse("only plain containers have a state", type(self.stack[-1]).__name__)


def _step(code):
    def keep(function):
        _STEPS[code[0]] = function
        return function

    return keep


_STEPS = {}


def _constant(code, value):
    _STEPS[code[0]] = lambda r: r.stack.append(value)


def _made(code, make):
    _STEPS[code[0]] = lambda r: r.stack.append(make(r))


_constant(b"N", None)
_constant(b"\x88", True)
_constant(b"\x89", False)
_constant(b")", ())
for _code, _make in {
    b"K": lambda r: r.number(1),
    b"M": lambda r: r.number(2),
    b"J": lambda r: int.from_bytes(r.take(4), "little", signed=True),
    b"\x8a": lambda r: int.from_bytes(r.take(r.number(1)), "little", signed=True),
    b"\x8b": lambda r: int.from_bytes(r.take(r.number(4)), "little", signed=True),
    b"G": lambda r: struct.unpack(">d", r.take(8))[0],
    b"X": lambda r: r.take(r.number(4)).decode("utf-8", "surrogatepass"),
    b"\x8c": lambda r: r.take(r.number(1)).decode("utf-8", "surrogatepass"),
    b"\x8d": lambda r: r.take(r.number(8)).decode("utf-8", "surrogatepass"),
    b"U": lambda r: r.take(r.number(1)).decode("latin-1"),
    b"T": lambda r: r.take(r.number(4)).decode("latin-1"),
    b"B": lambda r: r.take(r.number(4)),
    b"C": lambda r: r.take(r.number(1)),
    b"\x8e": lambda r: r.take(r.number(8)),
    b"]": lambda r: [],
    b"}": lambda r: {},
    b"\x8f": lambda r: set(),
    b"t": lambda r: tuple(r.marked()),
    b"l": lambda r: r.marked(),
    b"\x85": lambda r: (r.stack.pop(),),
    b"h": lambda r: r.memo[r.number(1)],
    b"j": lambda r: r.memo[r.number(4)],
    b"Q": lambda r: r.persistent(r, r.stack.pop()),
}.items():
    _made(_code, _make)


@_step(b"\x80")
def _protocol(r):
    version = r.number(1)
    if not 2 <= version <= 5:
        r.refuse("pickles of protocols 2 to 5 are read", version, "torch.save(…), which writes protocol 2")


@_step(b"\x95")
def _frame(r):
    if r.number(8) > len(r.data) - r.at:
        raise IndexError("a frame is longer than the pickle")


@_step(b".")
def _stop(r):
    raise _Stop(r.stack.pop())


@_step(b"(")
def _mark(r):
    r.marks.append(len(r.stack))


@_step(b"0")
def _pop(r):
    if r.marks and r.marks[-1] == len(r.stack):
        r.marks.pop()
    else:
        r.stack.pop()


@_step(b"1")
def _pop_mark(r):
    r.marked()


@_step(b"\x86")
def _pair(r):
    r.stack[-2:] = [(r.stack[-2], r.stack[-1])]


@_step(b"\x87")
def _triple(r):
    r.stack[-3:] = [(r.stack[-3], r.stack[-2], r.stack[-1])]


@_step(b"q")
def _put_short(r):
    r.memo[r.number(1)] = r.stack[-1]


@_step(b"r")
def _put_long(r):
    r.memo[r.number(4)] = r.stack[-1]


@_step(b"\x94")
def _memoize(r):
    r.memo[len(r.memo)] = r.stack[-1]


@_step(b"a")
def _append(r):
    item = r.stack.pop()
    r.extend(r.stack[-1], [item])


@_step(b"e")
def _appends(r):
    items = r.marked()
    r.extend(r.stack[-1], items)


@_step(b"s")
def _set_item(r):
    items = r.stack[-2:]
    del r.stack[-2:]
    r.put(r.stack[-1], items)


@_step(b"u")
def _set_items(r):
    items = r.marked()
    r.put(r.stack[-1], items)


@_step(b"\x90")
def _add_items(r):
    items = r.marked()
    r.add(r.stack[-1], items)


@_step(b"\x91")
def _frozen(r):
    r.stack.append(frozenset(r.key(item) for item in r.marked()))


@_step(b"c")
def _global(r):
    r.find(r.line(), r.line())


@_step(b"\x93")
def _stack_global(r):
    name = r.stack.pop()
    module = r.stack.pop()
    if type(name) is not str or type(module) is not str:
        r.refuse("a name is text", short(type(name).__name__))
    r.find(module, name)


_STEPS[b"R"[0]] = Unpickler.reduce
_STEPS[b"b"[0]] = Unpickler.build
