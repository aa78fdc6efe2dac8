"""The switch of mixed precision."""

import functools
import warnings

import pydiff
from pydiff._core import _C

__all__ = ["autocast", "custom_bwd", "custom_fwd", "get_autocast_dtype", "is_autocast_available", "is_autocast_enabled"]

_KINDS = {"cpu": "cpu", "cuda": "cuda", "cuda-host": "cuda"}


def _kind(op, device_type):
    if isinstance(device_type, str) and device_type in _KINDS:
        return _KINDS[device_type]
    raise RuntimeError(f"[{op}] device_type is 'cpu' or 'cuda'; got {device_type!r}; try device_type='cpu'")


class autocast:
    """While it is on, products compute in 16 bits and what needs digits in float32; a context manager or a decorator.

    Arguments:
        device_type: "cpu" or "cuda": operations on tensors of that kind of device are affected.
        dtype: bfloat16 or float16; by default bfloat16 on the CPU and float16 on CUDA.
        enabled: False switches off inside another one.
        cache_enabled: accepted for PyTorch's sake; a cast is part of the graph, and nothing is cached.

    Which operation does what is PyTorch's list for the device ("Autocast Op Reference"): products, `linear`, convolutions and
    attention take 16-bit floats; on both devices losses, and on CUDA also exponentials, logarithms, powers, sums, norms and
    softmax take float32; others take what they are given. float64 is let alone. Gradients have the dtype of their tensor;
    `backward` belongs outside. The switch is the thread's own. Other than in PyTorch, recurrent layers add their biases in
    float32, and `binary_cross_entropy` is no error on CUDA but in float32. Raises RuntimeError for an unknown device type;
    with another dtype it warns, and is off.

    >>> import pydiff as pd
    >>> x = pd.ones(2, 2)
    >>> with pd.autocast("cpu"):
    ...     y = x @ x
    ...     loss = pd.nn.functional.mse_loss(y, x)
    >>> y.dtype, loss.dtype, (x @ x).dtype
    (pydiff.bfloat16, pydiff.float32, pydiff.float32)
    """

    def __init__(self, device_type, dtype=None, enabled=True, cache_enabled=None):
        self.device = device_type
        self._kind = _kind("autocast", device_type)
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._enabled = bool(enabled)
        self._cache_enabled = cache_enabled
        self._before = []
        if self.fast_dtype not in (pydiff.float16, pydiff.bfloat16):
            if self._enabled:
                warnings.warn(
                    f"[autocast] it computes in 16-bit floats, so it is off; got {self.fast_dtype}; try dtype=pydiff.bfloat16",
                    UserWarning,
                    stacklevel=2,
                )
            self._enabled = False

    def __enter__(self):
        before = _C.autocast_get(self._kind)
        self._before.append(before)
        _C.autocast_set(self._kind, self._enabled, self.fast_dtype if self._enabled else before[1])
        return self

    def __exit__(self, *_):
        _C.autocast_set(self._kind, *self._before.pop())
        return False

    def __call__(self, function):
        @functools.wraps(function)
        def inside(*args, **kwargs):
            with autocast(self.device, self.fast_dtype, self._enabled):
                return function(*args, **kwargs)

        return inside


def is_autocast_enabled(device_type=None):
    """Whether autocast is on in this thread, for a kind of device; without one, for CUDA as in PyTorch.

    >>> import pydiff as pd
    >>> with pd.autocast("cpu"):
    ...     print(pd.amp.is_autocast_enabled("cpu"), pd.amp.is_autocast_enabled())
    True False
    """
    return _C.autocast_get(_kind("is_autocast_enabled", "cuda" if device_type is None else device_type))[0]


def get_autocast_dtype(device_type):
    """The 16-bit dtype of autocast in this thread: of the innermost `autocast`, else the device's usual one.

    >>> import pydiff as pd
    >>> pd.amp.get_autocast_dtype("cpu"), pd.amp.get_autocast_dtype("cuda")
    (pydiff.bfloat16, pydiff.float16)
    """
    return _C.autocast_get(_kind("get_autocast_dtype", device_type))[1]


def is_autocast_available(device_type):
    """Whether autocast knows a kind of device.

    >>> import pydiff as pd
    >>> pd.amp.is_autocast_available("cpu"), pd.amp.is_autocast_available("tpu")
    (True, False)
    """
    return device_type in _KINDS


def custom_fwd(fwd=None, *, device_type, cast_inputs=None):
    """A decorator of the `forward` of an `autograd.Function`: with `cast_inputs` it runs off autocast, on inputs of that dtype.

    Arguments:
        fwd: the function `(ctx, *args)`.
        device_type: "cpu" or "cuda".
        cast_inputs: the dtype that floating-point tensors of that device are cast to while autocast is on; None: autocast
            stays as it is.

    >>> import pydiff as pd
    >>> @pd.amp.custom_fwd(device_type="cpu", cast_inputs=pd.float32)
    ... def forward(ctx, x):
    ...     return x.dtype
    >>> with pd.autocast("cpu"):
    ...     forward(type("ctx", (), {})(), pd.ones(1).bfloat16())
    pydiff.float32
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    kind = _kind("custom_fwd", device_type)

    def converted(value):
        eligible = isinstance(value, pydiff.Tensor) and value.dtype.is_floating_point and value.device.type == kind
        return value.to(cast_inputs) if eligible and value.dtype != pydiff.float64 else value

    @functools.wraps(fwd)
    def forward(ctx, *args, **kwargs):
        ctx._dtype = get_autocast_dtype(device_type)
        ctx._fwd_used_autocast = on = is_autocast_enabled(device_type)
        if cast_inputs is None or not on:
            return fwd(ctx, *args, **kwargs)
        ctx._fwd_used_autocast = False
        with autocast(device_type, enabled=False):
            return fwd(ctx, *map(converted, args), **{key: converted(value) for key, value in kwargs.items()})

    return forward


def custom_bwd(bwd=None, *, device_type):
    """A decorator of the `backward` of an `autograd.Function`: it runs under the autocast that `forward` ran under.

    Arguments:
        bwd: the function `(ctx, *cotangents)`.
        device_type: "cpu" or "cuda", as for `custom_fwd`.

    >>> import pydiff as pd
    >>> @pd.amp.custom_bwd(device_type="cpu")
    ... def backward(ctx, g):
    ...     return pd.amp.is_autocast_enabled("cpu")
    >>> backward(type("ctx", (), {"_fwd_used_autocast": True, "_dtype": pd.bfloat16})(), pd.ones(1))
    True
    """
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    _kind("custom_bwd", device_type)

    @functools.wraps(bwd)
    def backward(ctx, *args, **kwargs):
        with autocast(device_type, ctx._dtype, ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return backward
