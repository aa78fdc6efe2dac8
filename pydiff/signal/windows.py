"""Windows: weights of M samples, largest in the middle.

`sym=True` gives a symmetric window, for the design of filters; `sym=False` a periodic one, for spectra: the first M
samples of the symmetric window of M + 1. They are computed in float64 and rounded once. Formulas: Harris, "On the use of
windows for harmonic analysis with the discrete Fourier transform" (1978); of Nuttall's window his paper of 1981.
"""

import functools
import math

import numpy as np

from .._public import publish
from ..functions import full, tensor
from ..ops import arange

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine", "general_hamming", "hamming", "hann",
    "kaiser", "nuttall",
]  # fmt: skip


def _window(shape):
    """A window of `shape(places, count, **own)`: places 0 … M - 1, count how many the symmetric window has."""

    @functools.wraps(shape)
    def window(M, *, sym=True, dtype=None, layout=None, device=None, requires_grad=False, **own):
        if not isinstance(M, int):
            raise TypeError(f"[{shape.__name__}] M is a whole number; got {M!r}; try 16")
        if M < 0:
            raise ValueError(f"[{shape.__name__}] M is a whole number, 0 or more; got {M!r}; try 16")
        dtype = dtype or full((), 0.0).dtype
        if not tensor(0, dtype=dtype).dtype.is_floating_point:
            raise TypeError(f"[{shape.__name__}] a window is of floating-point numbers; got {dtype!r}; try float32")
        result = shape(arange(M, dtype="float64", device=device), M if sym or M == 1 else M + 1, sym=sym, **own)
        result = result.to(dtype)
        return result.requires_grad_() if requires_grad else result

    del window.__wrapped__  # its parameters are not the user's
    window.__doc__ = shape.__doc__ + "\n" + _ARGUMENTS.format(name=shape.__name__, more=_MORE.get(shape.__name__, ""))
    return window


_MORE = {"general_cosine": ", a=[0.5, 0.5]"}
_ARGUMENTS = """
    Arguments:
        M: how many samples.
        sym: symmetric (or periodic).
        dtype, device: of the result; by default the defaults. `layout` is taken for PyTorch's sake.

    >>> import pydiff as pd
    >>> tuple(pd.signal.windows.{name}(4{more}).shape)
    (4,)
    """


def _cosines(k, count, a):
    step = 2 * math.pi / max(count - 1, 1)
    if count == 1:
        return k * 0 + 1
    total = k * 0 + float(a[0])
    for i, weight in enumerate(a[1:], 1):
        total = total + (-1) ** i * float(weight) * (k * (i * step)).cos()
    return total


@_window
def general_cosine(k, count, sym, a):
    """The sum of (-1)^i a_i cos(2 pi i n / (M - 1)) over the weights `a`."""
    if not isinstance(a, (tuple, list)) or not a:
        raise ValueError(f"[general_cosine] the weights are a list; got {a!r}; try [0.5, 0.5]")
    return _cosines(k, count, a)


@_window
def general_hamming(k, count, sym, alpha=0.54):
    """alpha - (1 - alpha) cos(2 pi n / (M - 1))."""
    return _cosines(k, count, [alpha, 1 - alpha])


@_window
def hamming(k, count, sym):
    """0.54 - 0.46 cos(2 pi n / (M - 1))."""
    return _cosines(k, count, [0.54, 0.46])


@_window
def hann(k, count, sym):
    """sin(pi n / (M - 1))²."""
    return _cosines(k, count, [0.5, 0.5])


@_window
def blackman(k, count, sym):
    """0.42 - 0.5 cos(2 pi n / (M - 1)) + 0.08 cos(4 pi n / (M - 1))."""
    return _cosines(k, count, [0.42, 0.5, 0.08])


@_window
def nuttall(k, count, sym):
    """Nuttall's four-term cosine window of least side lobes, whose weights are 0.3635819, 0.4891775, 0.1365995, 0.0106411."""
    return _cosines(k, count, [0.3635819, 0.4891775, 0.1365995, 0.0106411])


@_window
def bartlett(k, count, sym):
    """A triangle, 0 at both ends."""
    return 1 - (k * (2 / (count - 1)) - 1).abs() if count > 1 else k * 0 + 1


@_window
def cosine(k, count, sym):
    """sin(pi (n + 1/2) / M)."""
    return ((k + 0.5) * (math.pi / max(count, 1))).sin()


@_window
def gaussian(k, count, sym, std=1.0):
    """exp(-(n - middle)² / (2 std²))."""
    if std <= 0:
        raise ValueError(f"[gaussian] the deviation is positive; got {std}; try 1")
    return (-(((k - (count - 1) / 2) / (std * math.sqrt(2))) ** 2)).exp()


@_window
def exponential(k, count, sym, center=None, tau=1.0):
    """exp(-|n - center| / tau), `center` by default the middle."""
    if tau <= 0:
        raise ValueError(f"[exponential] tau is positive; got {tau}; try 1")
    if sym and center is not None:
        raise ValueError(f"[exponential] a symmetric window is centred; got center={center}; try sym=False")
    return (-(k - ((count - 1) / 2 if center is None else center)).abs() / tau).exp()


@_window
def kaiser(k, count, sym, beta=12.0):
    """I0(beta sqrt(1 - (2 n / (M - 1) - 1)²)) / I0(beta)."""
    if beta < 0:
        raise ValueError(f"[kaiser] beta is 0 or more; got {beta}; try 12")
    if count < 2:
        return k * 0 + 1
    x = np.arange(k.shape[0]) * (2 / (count - 1)) - 1
    # A window is a constant, so the Bessel function may be NumPy's.
    return tensor(np.i0(beta * np.sqrt(np.maximum(1 - x * x, 0))) / np.i0(beta), dtype="float64", device=k.device)


# ---- PyTorch's older names, at the top of pydiff: periodic unless said otherwise


def _older(name, **weights):
    new = globals()[name]

    def window(window_length, periodic=True, *args, dtype=None, layout=None, device=None, requires_grad=False, **own):
        for key, value in zip(weights, args):
            own[key] = value
        if own.keys() - weights.keys():
            raise TypeError(f"[{name}_window] unknown argument; got {', '.join(own)}; try {', '.join(weights) or 'periodic'}")
        if name == "hamming":
            alpha, beta = own.get("alpha", 0.54), own.get("beta", 0.46)
            return general_cosine(
                window_length, a=[alpha, beta], sym=not periodic, dtype=dtype, device=device, requires_grad=requires_grad
            )
        return new(window_length, sym=not periodic, dtype=dtype, device=device, requires_grad=requires_grad, **own)

    window.__name__ = window.__qualname__ = f"{name}_window"
    window.__doc__ = f"`signal.windows.{name}`, periodic unless `periodic=False`.\n\n"
    window.__doc__ += f"    >>> import pydiff as pd\n    >>> tuple(pd.{name}_window(4).shape)\n    (4,)\n    "
    return window


bartlett_window, blackman_window, hann_window = _older("bartlett"), _older("blackman"), _older("hann")
hamming_window, kaiser_window = _older("hamming", alpha=0.54, beta=0.46), _older("kaiser", beta=12.0)

publish(globals(), __all__)
