"""The streams of random numbers that a program draws from: Python's, NumPy's, pydiff's, and PyTorch's where it is loaded.

A state is a dict of bytes, which can be compared; `pack` makes text of it, for JSON.
"""

import base64
import ctypes
import random
import struct
import sys

import numpy as np

import pydiff

_WORDS = struct.Struct("!625I")


def seed_all(seed, entropy):
    """Start all streams: of `seed`; NumPy's of `entropy`, whole numbers that make it another stream."""
    random.seed(seed)
    pydiff.manual_seed(seed)
    np.random.seed(np.random.SeedSequence(entropy).generate_state(4))
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)


class Watch:
    """Tells after each batch whether a stream was drawn from since: a worker's streams are mostly idle, and states are large.

    NumPy's state as a whole takes 60 us to get, so its memory is looked at first: as it was when the streams were started,
    nothing was drawn. Of Python's, the position and two words of 32 bits are compared.
    """

    def __init__(self):
        self._begun = None if np.random.get_state()[3] else self._numpy()  # a second normal number may wait from before
        self._last = None

    def changed(self):
        """The state of all streams if it is not that of the last call; else None."""
        numpy_now = self._numpy()
        _, words, gauss = random.getstate()
        torch = sys.modules.get("torch")
        now = (
            words[-1], words[:2], gauss, numpy_now, pydiff.random.default_generator.__getstate__(),
            torch and torch.get_rng_state().numpy().tobytes(),
        )  # fmt: skip
        # A normal number of NumPy's may have come with the one before it, and changes nothing that is seen here.
        if now == self._last and numpy_now == self._begun:
            return None
        self._last = now
        return capture()

    def _numpy(self):
        generator = np.random.get_bit_generator()
        if type(generator).__name__ != "MT19937":
            return object()
        return ctypes.string_at(generator.ctypes.state_address, 4 * 625)


def capture():
    """The state of all streams."""
    version, words, gauss = random.getstate()
    _, key, position, has_gauss, cached = np.random.get_state()
    state = {
        "python": _WORDS.pack(*words) + repr((version, gauss)).encode(),
        "numpy": key.astype("<u4").tobytes() + repr((int(position), int(has_gauss), float(cached))).encode(),
        "pydiff": generator_state(pydiff.random.default_generator),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        state["torch"] = torch.get_rng_state().numpy().tobytes()
    return state


def restore(state):
    """Go on where `capture` was called; a stream that the state lacks stays as it is."""
    words, rest = _split(state["python"])
    version, gauss = _numbers(rest)
    random.setstate((version, _WORDS.unpack(words), gauss))
    key, rest = _split(state["numpy"], 624)
    position, has_gauss, cached = _numbers(rest)
    np.random.set_state(("MT19937", np.frombuffer(key, "<u4"), position, has_gauss, cached))
    pydiff.set_rng_state(_bytes(state["pydiff"]))
    torch = sys.modules.get("torch")
    if torch is not None and "torch" in state:
        torch.set_rng_state(torch.frombuffer(bytearray(state["torch"]), dtype=torch.uint8))


def _split(data, words=625):
    return data[: 4 * words], data[4 * words :]


def _numbers(text):
    """(3, None) of b"(3, None)"."""
    parts = text.decode().strip("()").split(", ")
    return [None if part == "None" else float(part) if "." in part or "e" in part else int(part) for part in parts]


def _bytes(data):
    return pydiff.tensor(list(data), dtype=pydiff.uint8, device="cpu")


def generator_state(generator):
    """The state of a generator, pydiff's or PyTorch's, as bytes."""
    return bytes(generator.get_state().tolist())


def set_generator_state(generator, data):
    """Go on where `generator_state` was called."""
    if isinstance(generator, pydiff.Generator):
        generator.set_state(_bytes(data))
    else:
        torch = sys.modules["torch"]
        generator.set_state(torch.frombuffer(bytearray(data), dtype=torch.uint8))


def pack(state):
    """A state, or bytes, as text."""
    if isinstance(state, dict):
        return {key: pack(value) for key, value in state.items()}
    return base64.b64encode(state).decode()


def unpack(state):
    """What `pack` was given."""
    if isinstance(state, dict):
        return {key: unpack(value) for key, value in state.items()}
    return base64.b64decode(state)
