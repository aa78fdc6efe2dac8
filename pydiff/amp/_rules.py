"""What autocast does with the arguments of public functions: PyTorch's lists (its page "Autocast Op Reference").

Products of tensors (`a @ b`, `matmul`), and on CUDA exponentials, powers, sums and softmax, are in C++ where they are recorded
(`csrc/python/autocast.h`); so whatever is composed of products needs no rule but where PyTorch computes it otherwise. Sums
and exponentials that a function without a rule is composed of stay in its arguments' dtype.
A rule is looked up by the name of the function that was called, and only while the switch is on.
"""

from pydiff import Tensor
from pydiff._core import _C
from pydiff._dtypes import DTYPES

_F32 = DTYPES["float32"]
_HALVES = (DTYPES["float16"], DTYPES["bfloat16"])


def _to_low(tensor, low):
    dtype = tensor.dtype
    return tensor.to(low) if dtype == _F32 or (dtype in _HALVES and dtype != low) else tensor


def _to_wide(tensor, low):
    return tensor.to(_F32) if tensor.dtype in _HALVES else tensor


def _as_it_is(tensor, low):
    return tensor


# Rules that look at the arguments: what is done follows from them.


def _pad(args, kwargs):
    """In float32 where PyTorch has kernels of their own: not with a constant."""
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
    return _to_wide if mode in ("reflect", "replicate") else _as_it_is


def _inner(args, kwargs):
    """Of two vectors a dot product."""
    return _as_it_is if max(value.ndim for value in (*args, *kwargs.values())) < 2 else _to_low


# Computed in 16 bits.
_LOW = (
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d conv_tbc addmm addbmm baddbmm vecdot "
    "scaled_dot_product_attention multi_head_attention_forward tensordot"
).split()
_LOW_ON_CUDA = "mv addmv addr prelu".split()
# Computed in float32.
_WIDE = (
    "binary_cross_entropy binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy ctc_loss hinge_embedding_loss "
    "huber_loss kl_div l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss "
    "smooth_l1_loss soft_margin_loss triplet_margin_loss cdist prod "
    # Matrices: 16 bits are too few for any of these.
    "cholesky cholesky_ex cholesky_inverse cholesky_solve cond det eigh eigvalsh householder_product inv inv_ex "
    "inverse ldl_factor ldl_solve logdet lstsq lu lu_factor lu_solve matrix_exp matrix_rank orgqr ormqr pinv pinverse qr slogdet "
    "solve solve_ex solve_triangular svd svdvals tensorinv tensorsolve triangular_solve"
).split()
_WIDE_ON_CPU = (
    "trace quantile nanquantile grid_sample avg_pool3d max_pool3d max_pool3d_with_indices adaptive_avg_pool3d "
    "adaptive_max_pool3d adaptive_max_pool3d_with_indices max_unpool2d max_unpool3d"
).split()
_WIDE_ON_CUDA = (
    "cosine_similarity cumprod dist erfinv group_norm layer_norm log_softmax norm normalize pdist renorm softmax softmin "
    "softplus vector_norm matrix_norm"
).split()
# Composed of products here, but not in PyTorch's lists: computed in the dtype of the arguments.
_KEPT = "bilinear dot vdot".split()
_KEPT_ON_CPU = "mv addmv addr".split()


def _table():
    rules = {}

    def put(names, what, devices=("cpu", "cuda")):
        for name in names:
            rules.setdefault(name, {}).update(dict.fromkeys(devices, what))

    put(_LOW, _to_low)
    put(_LOW_ON_CUDA, _to_low, ["cuda"])
    put(_WIDE, _to_wide)
    put(_WIDE_ON_CPU, _to_wide, ["cpu"])
    put(_WIDE_ON_CUDA, _to_wide, ["cuda"])
    put(_KEPT, _as_it_is)
    put(_KEPT_ON_CPU, _as_it_is, ["cpu"])
    put(["pad"], _pad, ["cpu"])
    put(["inner"], _inner)
    return rules


def _first(values):
    """The first tensor among arguments, lists of them included."""
    for value in values:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, (tuple, list)):
            found = _first(value)
            if found is not None:
                return found
    return None


def _each(convert, value, low):
    if isinstance(value, Tensor):
        return convert(value, low)
    if type(value) in (tuple, list):
        return type(value)(_each(convert, item, low) for item in value)
    return value


def _call(rule, function, args, kwargs):
    """`function(*args, **kwargs)` by its rule, what it calls being let alone; NotImplemented where the rule is another device's."""
    tensor = _first((*args, *kwargs.values()))
    kind = "cpu" if tensor is None else tensor.device.type
    convert = rule.get(kind)
    enabled, low = _C.autocast_get(kind)
    if convert is None or not enabled:
        return NotImplemented
    if convert in (_pad, _inner):
        convert = convert(args, kwargs)
    args = [_each(convert, value, low) for value in args]
    kwargs = {key: _each(convert, value, low) for key, value in kwargs.items()}
    _C.autocast_pause(True)
    try:
        return function(*args, **kwargs)
    finally:
        _C.autocast_pause(False)


def install():
    """Gives the core the rules; done once, when `pydiff.amp` is loaded."""
    _C.autocast_rules(_table(), _call)
