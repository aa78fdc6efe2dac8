"""pydiff: lazy, fused tensors with gradients of any order.

Tensors are written as in PyTorch and NumPy. Operations are recorded and run when a value is needed,
as fused kernels whose bits do not depend on how they were fused. See `docs/` for the guide.

>>> import pydiff as pd
>>> x = pd.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> ((x * 2).sin() ** 2).sum().backward()
>>> tuple(x.grad.shape)
(3,)
"""

import importlib
from math import e, inf, nan, pi

try:
    from . import _core  # noqa: F401  the extension gets what it needs before anything else
except ImportError as error:
    raise ImportError(
        f"[pydiff] the core does not load; got {error}; try pip install --force-reinstall pydiff-tensor, or "
        "pip install -e . in a checkout"
    ) from error
from . import (
    _C, autograd, bits, contraction, decompositions, facts, fallback, functions, in_place, indexing, movement, numpy_names,
    ops, pointwise, random, reductions, scans, signal, special, statistics, transforms, tree,
)  # fmt: skip
from ._C import (
    NotDifferentiableError,
    Tensor,
    get_default_device,
    get_default_dtype,
    promote_types,
    result_type,
    set_default_device,
    set_default_dtype,
)
from ._dtypes import DTYPES, device, dtype
from ._public import publish as _publish
from .autograd import enable_grad, inference_mode, is_grad_enabled, no_grad, set_grad_enabled
from .contraction import *
from .decompositions import *
from .facts import *
from .functions import *
from .fallback import argsort, kthvalue, median, msort, searchsorted, sort, topk, unique, unique_consecutive
from .indexing import *
from .in_place import *
from .memory import memory_limit
from .memory_formats import channels_last, channels_last_3d, contiguous_format, memory_format, preserve_format
from .movement import *
from .numpy_names import *
from .ops import *
from .pointwise import *
from .reductions import *
from .rewrites import stable_forms
from .scans import *
from .statistics import *
from .bits import *
from .special import digamma, erfinv, i0, igamma, igammac, lgamma, mvlgamma, polygamma, sinc
from .random import (
    Generator, bernoulli, binomial, default_generator, get_rng_state, initial_seed, manual_seed, multinomial, normal, poisson,
    rand, rand_like, randint, randint_like, randn, randn_like, randperm, seed, set_rng_state, uniform,
)  # fmt: skip
from .signal.windows import bartlett_window, blackman_window, hamming_window, hann_window, kaiser_window
from .tensor import set_printoptions
from .transforms import grad, hessian, hvp, jacfwd, jacrev, jvp, value_and_grad, vjp, vmap

__version__ = "0.1.0"

globals().update(DTYPES)
half, float, double, short, int, long, cfloat, cdouble = (
    DTYPES["float16"], DTYPES["float32"], DTYPES["float64"], DTYPES["int16"], DTYPES["int32"], DTYPES["int64"],
    DTYPES["complex64"], DTYPES["complex128"],
)  # fmt: skip

_publish(Tensor)
_publish(globals())

#: Loaded when first asked for.
_LAZY = ("amp", "cuda", "data", "func", "io", "linalg", "nn", "optim", "profiler", "testing", "train", "utils")

#: Functions of `nn.functional` that PyTorch has at the top too, loaded with it.
_FUNCTIONAL = (
    "adaptive_avg_pool1d adaptive_max_pool1d alpha_dropout avg_pool1d bilinear celu celu_ channel_shuffle conv1d "
    "conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d cosine_similarity dropout feature_alpha_dropout "
    "grid_sampler_2d grid_sampler_3d group_norm hardshrink layer_norm max_pool1d max_pool1d_with_indices max_pool2d max_pool3d "
    "pairwise_distance pixel_shuffle pixel_unshuffle prelu rms_norm rrelu rrelu_ selu selu_ threshold threshold_"
).split()

_ELSEWHERE = {
    **dict.fromkeys(("autocast", "get_autocast_dtype", "is_autocast_enabled"), "amp"),
    "custom_op": "_custom",
    "jit": "_jit",
    "elementwise": "_expression",
    "load": "io",
    "save": "io",
    **dict.fromkeys(_FUNCTIONAL, "nn.functional"),
}

newaxis = None


def get_num_threads():
    """Threads that share the work of one kernel.

    >>> import pydiff as pd
    >>> pd.get_num_threads() >= 1
    True
    """
    return _C.num_threads()


def set_num_threads(n):
    """Set how many threads share the work of one kernel; the results stay the same bits."""
    _C.set_num_threads(n)


def synchronize(device=None):
    """Compute what is pending and wait until all devices have done their work, or one.

    Nothing else needs it: values wait by themselves. It is for measuring time.

    >>> import pydiff as pd
    >>> pd.synchronize()
    """
    if device is None:
        _C.synchronize_all()
    else:
        _C.synchronize(device)


def deterministic(on=None):
    """Whether no result may depend on the order in which a device's threads come. True at the start.

    False lets floating-point numbers that meet in one element (`scatter_add`, the gradient of indexing) be added by atomics
    on a GPU: faster, and no two runs need agree. On the CPU it changes nothing. Sets it where `on` is given; returns what
    held before.

    >>> import pydiff as pd
    >>> pd.deterministic()
    True
    """
    return _C.deterministic(on)


def use_deterministic_algorithms(mode, *, warn_only=False):
    """PyTorch's name of `deterministic(mode)`; `warn_only` is of no effect, since no operation fails for it.

    >>> import pydiff as pd
    >>> pd.use_deterministic_algorithms(True)
    """
    _C.deterministic(not not mode)  # `bool` is a dtype here


def are_deterministic_algorithms_enabled():
    """PyTorch's name of `deterministic()`.

    >>> import pydiff as pd
    >>> pd.are_deterministic_algorithms_enabled()
    True
    """
    return _C.deterministic(None)


def __getattr__(name):
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _ELSEWHERE:
        globals()[name] = found = getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE[name]}"), name)
        return found
    raise AttributeError(f"module 'pydiff' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LAZY, *_ELSEWHERE})


__all__ = [
    "amp", "autocast", "get_autocast_dtype", "is_autocast_enabled",
    "DTYPES", "Generator", "NotDifferentiableError", "Tensor", "are_deterministic_algorithms_enabled", "autograd",
    "deterministic", "device", "dtype", "enable_grad", "fallback", "get_default_device",
    "get_default_dtype", "get_num_threads", "get_rng_state", "grad", "hessian", "hvp", "inference_mode", "initial_seed",
    "is_grad_enabled", "jacfwd", "jacrev", "jvp", "manual_seed", "no_grad", "promote_types", "random", "result_type",
    "set_default_device", "set_default_dtype", "set_grad_enabled", "set_num_threads", "set_printoptions", "set_rng_state",
    "memory_limit", "stable_forms",
    "synchronize", "tree", "use_deterministic_algorithms", "value_and_grad", "vjp", "vmap", "argsort", "kthvalue", "median", "msort",
    "searchsorted", "sort", "topk", "unique", "unique_consecutive", "bernoulli", "binomial", "default_generator",
    "multinomial", "normal", "poisson", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm",
    "seed", "uniform", "bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window", "signal",
    "e", "inf", "nan", "newaxis", "pi", "digamma", "erfinv", "i0", "igamma",
    "igammac", "lgamma", "mvlgamma", "polygamma", "sinc", "special", *DTYPES, *bits.__all__, *contraction.__all__,
    *decompositions.__all__, *facts.__all__, *functions.__all__, *in_place.__all__, *indexing.__all__,
    *memory_formats.__all__, *movement.__all__, *numpy_names.__all__, *ops.__all__, *pointwise.__all__, *reductions.__all__,
    *scans.__all__, *statistics.__all__, *_LAZY, *_ELSEWHERE,
]  # fmt: skip
