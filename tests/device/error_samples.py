"""A call that is right for every public function and method of tensors, and what makes it wrong.

A row is a right call: `row(F(3, 4), 0, I(2, 4))`. Wrong calls follow from it by rules (see `wrong_calls` in
test_error_inputs.py); where the rule does not fit a function, its row says what does:

    shape=(k, spec)     argument k in another shape; ANY_SHAPE where none is wrong
    dtype=(k, spec)     argument k in another dtype; ANY_DTYPE where none is wrong
    axis=(KIND, NAMED)  why that kind of wrong axis is right; (PAIR,) where an axis is never alone
    device=NAMED        why operands on two devices are right, too
"""

import numpy as np

import pydiff as pd

# Why a kind of wrong call does not exist for a function.
ANY_SHAPE = "every shape is right"
ANY_DTYPE = "every dtype is right: it moves or looks at elements, and computes nothing of them"
ANY_DEVICE = "operands may lie anywhere: they are looked at one by one"
PAIR = "two axes are named together"


class Spec:
    """A tensor to be made: each test makes its own."""

    def __init__(self, shape, dtype, make):
        self.shape, self.dtype, self.make = shape, dtype, make

    def tensor(self, device="cpu"):
        array = np.asarray(self.make(self.shape))
        return pd.tensor(array, dtype=self.dtype, device=device)

    def shaped(self, *shape):
        return Spec(shape, self.dtype, F().make if self.dtype == "float32" else self.make)

    def typed(self, dtype):
        return Spec(self.shape, dtype, lambda shape: np.ones(shape))


def F(*shape):
    """Floats in (0, 1)."""
    return Spec(shape, "float32", lambda s: (np.arange(np.prod(s, dtype=int)).reshape(s) % 7 + 1) / 8)


def I(*shape, high=2):  # noqa: E743
    """Integers from 0 to high - 1."""
    return Spec(shape, "int64", lambda s: np.arange(np.prod(s, dtype=int)).reshape(s) % high)


def N(*values):
    """Given integers."""
    return Spec((len(values),), "int64", lambda s: np.resize(values, s))


def B(*shape):
    """True and False."""
    return Spec(shape, "bool", lambda s: np.arange(np.prod(s, dtype=int)).reshape(s) % 2 == 0)


def SPD(n, *batch):
    """Symmetric positive definite."""
    return Spec((*batch, n, n), "float32", lambda s: np.zeros(s) + 0.25 + 2 * np.eye(s[-1]))


class Row:
    """A right call, and what the rules for wrong ones do not know."""

    def __init__(self, args, kwargs, shape, dtype, axis, device):
        self.args, self.kwargs = args, kwargs
        self.shape, self.dtype, self.axis, self.device = shape, dtype, axis, device


def row(*args, shape=None, dtype=None, axis=None, device=None, **kwargs):
    return Row(args, kwargs, shape, dtype, axis, device)


def table(rows):
    """Rows by name, of a dict by names with spaces between."""
    found = {}
    for names, line in rows.items():
        for name in names.split():
            assert name not in found, name
            found[name] = line
    return found


_one = row(F(3, 4), shape=ANY_SHAPE)
_two = row(F(3, 4), F(3, 4))
_whole = row(I(3, 4), I(3, 4), dtype=(1, F(3, 4)))
_reduction = row(F(3, 4), shape=ANY_SHAPE)
_scan = row(F(3, 4), 0, shape=ANY_SHAPE)
_moved = row(F(3, 4), shape=ANY_SHAPE, dtype=ANY_DTYPE)
_square = row(SPD(3), shape=(0, F(3, 4)))

FUNCTIONS = table({
    # ---- elementwise
    "abs absolute acos arccos acosh arccosh asin arcsin asinh arcsinh atan arctan atanh arctanh ceil cos cosh deg2rad digamma "
    "erf erfc erfinv exp exp2 expm1 fix floor frac frexp gelu i0 isfinite isinf isnan isneginf isposinf lgamma log log10 "
    "log1p log2 logit nan_to_num neg negative rad2deg reciprocal relu round rsqrt selu sgn sigmoid sign signbit sin sinc "
    "sinh sqrt square tan tanh trunc logical_not degrees radians rint around cbrt fabs modf spacing angle real conj conj_physical "
    "conjugate resolve_conj resolve_neg isreal": _one,
    "positive": row(F(3, 4), shape=ANY_SHAPE, dtype=(0, B(3))),
    "bitwise_not invert bitwise_invert bitwise_count": row(I(3, 4), shape=ANY_SHAPE, dtype=(0, F(3, 4))),
    "add sub subtract mul multiply div divide true_divide maximum minimum pow power remainder floor_divide atan2 arctan2 eq ne "
    "lt le gt ge greater greater_equal less less_equal not_equal copysign fmax fmin fmod float_power hypot "
    "igamma igammac logaddexp logaddexp2 logical_and logical_or logical_xor nextafter rsub xlogy isclose allclose dist mod divmod": _two,
    "heaviside": _two,
    "equal array_equal array_equiv": row(F(3, 4), F(3, 4), shape=ANY_SHAPE),
    "ldexp": row(F(3, 4), I(3, 4)),
    "bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift left_shift right_shift gcd lcm": _whole,
    "clamp clip": row(F(3, 4), 0.2, 0.7, shape=(1, F(7, 5))),
    "clamp_min clamp_max": row(F(3, 4), 0.2, shape=(1, F(7, 5))),
    "lerp": row(F(3, 4), F(3, 4), 0.5, shape=(1, F(7, 5))),
    "addcmul addcdiv": row(F(3, 4), F(3, 4), F(3, 4)),
    "polygamma": row(1, F(3, 4), shape=ANY_SHAPE),
    "mvlgamma": row(F(3, 4), 1, shape=ANY_SHAPE),
    "where": row(B(3, 4), F(3, 4), F(3, 4), dtype=(1, F(3, 4).typed("complex64"))),
    "hardshrink celu": _one,
    "threshold": row(F(3, 4), 0.1, 20.0, shape=ANY_SHAPE),
    "prelu": row(F(3, 4), F(4)),
    "rrelu": _one,
    # ---- reductions and scans
    "sum mean amax amin prod std var std_mean var_mean nansum nanmean aminmax argmax argmin max min norm "
    "median nanmedian mode count_nonzero all any ptp average nanmax nanmin nanprod nanargmax nanargmin nanvar nanstd": _reduction,
    "logsumexp": row(F(3, 4), 1, shape=ANY_SHAPE),
    "cumsum cumprod cummax cummin logcumsumexp softmax log_softmax cumulative_sum cumulative_prod nancumsum nancumprod": _scan,
    "diff": row(F(3, 4), shape=(0, F())),
    "quantile nanquantile": row(F(3, 4), 0.5, shape=(1, F(2, 2)), dtype=(0, I(3, 4))),
    "percentile nanpercentile": row(F(3, 4), 50.0, shape=(1, F(2, 2))),
    "kthvalue topk": row(F(3, 4), 2, shape=ANY_SHAPE),
    "sort argsort msort": _one,
    "unique unique_consecutive": _one,
    "union1d intersect1d setdiff1d setxor1d": row(F(3, 4), F(3), shape=ANY_SHAPE),
    "interp": row(F(3), F(2), F(2)),
    "convolve correlate": row(F(5), F(3), shape=(1, F(2, 2))),
    "polyval": row(F(3), F(3, 4), shape=(0, F(7, 5))),
    "ediff1d": _one,
    "unwrap": row(F(3, 4), shape=(0, F())),
    "trapezoid trapz cumulative_trapezoid": row(F(3, 4), F(3, 4)),
    "gradient": row(F(3, 4), shape=(0, F(1))),
    "bincount": row(I(5), shape=(0, I(2, 2)), dtype=(0, F(5))),
    "histc": row(F(5), 4, shape=ANY_SHAPE),
    "histogram": row(F(5), 4, shape=(1, F(2, 2))),
    "histogramdd": row(F(5, 2), [2, 2], shape=(0, F(5))),
    "cov corrcoef": row(F(3, 4), shape=(0, F(2, 3, 4))),
    "renorm": row(F(3, 4), 2.0, 0, 1.0, shape=(0, F(3))),
    "cdist": row(F(3, 4), F(2, 4)),
    "pdist": row(F(3, 4), shape=(0, F(3))),
    "pairwise_distance cosine_similarity": row(F(3, 4), F(3, 4)),
    # ---- movement
    "clone copy ravel atleast_1d atleast_2d atleast_3d numel argwhere nonzero flatnonzero t": _moved,
    "reshape": row(F(3, 4), (4, 3), shape=(1, (5, 3)), dtype=ANY_DTYPE),
    "broadcast_to": row(F(3, 4), (2, 3, 4), shape=(1, (2, 4, 4)), dtype=ANY_DTYPE),
    "permute permute_dims": row(F(3, 4), (1, 0), shape=(1, (0, 1, 2)), dtype=ANY_DTYPE),
    "transpose swapaxes swapdims": row(F(3, 4), 0, 1, shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "movedim moveaxis": row(F(3, 4), 0, 1, shape=(1, (0, 1)), dtype=ANY_DTYPE),
    "squeeze flatten": _moved,
    "unsqueeze": row(F(3, 4), 0, shape=ANY_SHAPE, dtype=ANY_DTYPE, axis=("axis twice", "one new axis after the other")),
    "unbind unstack": row(F(3, 4), 0, shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "unflatten": row(F(3, 4), 1, (2, 2), shape=(2, (3, 2)), dtype=ANY_DTYPE),
    "flip": row(F(3, 4), 0, shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "fliplr": row(F(3, 4), shape=(0, F(3)), dtype=ANY_DTYPE),
    "flipud": row(F(3, 4), shape=(0, F()), dtype=ANY_DTYPE),
    "roll": row(F(3, 4), 1, 0, shape=(1, (1, 2, 3)), dtype=ANY_DTYPE, axis=("axis twice", "turns twice, as in PyTorch")),
    "rot90": row(F(3, 4), 1, shape=(0, F(3)), dtype=ANY_DTYPE, axis=(PAIR,)),
    "expand_dims rollaxis": row(F(2, 3, 4), 2, shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "adjoint matrix_transpose": row(F(3, 4), shape=(0, F(3)), dtype=ANY_DTYPE),
    "repeat tile": row(F(3, 4), (2, 1), shape=(1, (2, -1)), dtype=ANY_DTYPE),
    "repeat_interleave": row(F(3, 4), 2, 1, shape=(1, N(1, 2, 3)), dtype=ANY_DTYPE),
    "cat concat concatenate": row([F(3, 4), F(3, 4)], 0, dtype=ANY_DTYPE),
    "stack": row([F(3, 4), F(3, 4)], 0, dtype=ANY_DTYPE),
    "hstack vstack row_stack dstack column_stack": row([F(3, 4), F(3, 4)], dtype=ANY_DTYPE),
    "append": row(F(3, 4), F(2, 4), 0, dtype=ANY_DTYPE),
    "delete": row(F(3, 4), 1, 0, shape=(1, 9), dtype=ANY_DTYPE),
    "compress": row(B(3), F(3, 4), 0, shape=(0, B(9)), dtype=ANY_DTYPE),
    "extract": row(B(3, 4), F(3, 4), shape=(0, B(7, 5)), dtype=ANY_DTYPE),
    "split chunk": row(F(3, 4), 2, 0, shape=(1, -1), dtype=ANY_DTYPE),
    "tensor_split array_split": row(F(3, 4), 2, 0, shape=(1, 0), dtype=ANY_DTYPE),
    "split_with_sizes": row(F(3, 4), [1, 2], 0, shape=(1, [1, 1]), dtype=ANY_DTYPE),
    "hsplit vsplit": row(F(4, 4), 2, shape=(1, 3), dtype=ANY_DTYPE),
    "dsplit": row(F(2, 2, 4), 2, shape=(0, F(3, 4)), dtype=ANY_DTYPE),
    "narrow": row(F(3, 4), 0, 0, 2, shape=(3, 9), dtype=ANY_DTYPE),
    "select": row(F(3, 4), 0, 1, shape=(2, 9), dtype=ANY_DTYPE),
    "select_scatter": row(F(3, 4), F(4), 0, 1, dtype=ANY_DTYPE),
    "slice_scatter": row(F(3, 4), F(1, 4), 0, 0, 1, dtype=ANY_DTYPE),
    "diagonal_scatter": row(F(3, 3), F(3), dtype=ANY_DTYPE),
    "as_strided": row(F(3, 4), (2, 2), (4, 1), shape=(1, (9, 9)), dtype=ANY_DTYPE),
    "as_strided_scatter": row(F(3, 4), F(2, 2), (2, 2), (4, 1), dtype=ANY_DTYPE),
    "sum_to_size": row(F(3, 4), (1, 4), shape=(1, (2, 4))),
    "pad constant_pad_nd": row(F(3, 4), (1, 1), shape=(1, (1, 1, 1)), dtype=ANY_DTYPE),
    "meshgrid": row(F(3), F(4), shape=(1, F(2, 2)), dtype=ANY_DTYPE, device=ANY_DEVICE),
    "cartesian_prod": row(F(3), F(4), shape=(1, F(2, 2)), dtype=ANY_DTYPE),
    "combinations": row(F(3), shape=(0, F(2, 2)), dtype=ANY_DTYPE),
    "block_diag": row(F(2, 2), F(2, 2), shape=(1, F(2, 2, 2)), dtype=ANY_DTYPE),
    "broadcast_tensors broadcast_arrays": row(F(3, 4), F(4), dtype=ANY_DTYPE, device=ANY_DEVICE),
    "broadcast_shapes": row((3, 4), (4,), shape=(1, (5,)), dtype=ANY_DTYPE),
    "diag": row(F(3), shape=(0, F(2, 2, 2)), dtype=ANY_DTYPE),
    "diag_embed diagflat": row(F(3), shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "diagonal": row(F(3, 3), shape=(0, F(3)), dtype=ANY_DTYPE),
    "trace": row(F(3, 3), shape=(0, F(3))),
    "tril triu": row(F(3, 3), shape=(0, F(3)), dtype=ANY_DTYPE),
    "channel_shuffle": row(F(1, 4, 2, 2), 2, shape=(1, 3), dtype=ANY_DTYPE),
    "pixel_shuffle": row(F(1, 4, 2, 2), 2, shape=(1, 3), dtype=ANY_DTYPE),
    "pixel_unshuffle": row(F(1, 1, 4, 4), 2, shape=(1, 3), dtype=ANY_DTYPE),
    # ---- indices
    "gather": row(F(3, 4), 0, I(2, 4), shape=(2, I(2)), dtype=(2, F(2, 4))),
    "index_select": row(F(3, 4), 0, I(2), shape=(2, I(2, 2)), dtype=(2, F(2))),
    "take": row(F(3, 4), I(2), shape=ANY_SHAPE, dtype=(1, F(2))),
    "take_along_dim take_along_axis": row(F(3, 4), I(2, 4), 0, shape=(1, I(2)), dtype=(1, F(2, 4))),
    "scatter scatter_add": row(F(3, 4), 0, I(2, 4), F(2, 4), shape=(3, F(1, 1)), dtype=(2, F(2, 4))),
    "scatter_reduce": row(F(3, 4), 0, I(2, 4), F(2, 4), "sum", shape=(3, F(1, 1)), dtype=(2, F(2, 4))),
    "index_add index_copy": row(F(3, 4), 0, I(2), F(2, 4), dtype=(2, F(2))),
    "index_reduce": row(F(3, 4), 0, I(2), F(2, 4), "prod", dtype=(2, F(2)), shape=(3, F(5, 4))),
    "index_fill": row(F(3, 4), 0, I(2), 1.0, shape=(3, F(2)), dtype=(2, F(2))),
    "index_put": row(F(3, 4), [I(2)], F(2, 4), shape=(2, F(7, 5)), dtype=(1, [F(2)])),
    "masked_fill": row(F(3, 4), B(3, 4), 1.0, shape=(1, B(7, 5)), dtype=(1, F(3, 4))),
    "masked_select": row(F(3, 4), B(3, 4), dtype=(1, F(3, 4))),
    "masked_scatter": row(F(3, 4), B(3, 4), F(12), shape=(1, B(7, 5)), dtype=(1, F(3, 4))),
    "put": row(F(3, 4), I(2), F(2), dtype=(1, F(2))),
    "fill": row(F(3, 4), 1.0, shape=(1, F(3)), dtype=ANY_DTYPE),
    "nonzero_static": row(F(3, 4), size=2, shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "one_hot": row(I(3), 2, shape=ANY_SHAPE, dtype=(0, F(3))),
    "isin": row(F(3, 4), F(2), shape=ANY_SHAPE),
    "searchsorted": row(F(3), F(2), shape=(0, F(2, 2))),
    "digitize": row(F(3), F(2), shape=(1, F(2, 2))),
    "bucketize": row(F(3), F(2), shape=(1, F(2, 2))),
    "unravel_index": row(I(3), (2, 2), shape=(1, (-2, 2)), dtype=(0, F(3))),
    "ravel_multi_index": row([I(3), I(3)], (2, 2), shape=(1, (2, 2, 2)), dtype=(0, [I(3), F(3)])),
    "ix_": row(I(2), I(3), shape=(1, I(2, 2)), dtype=ANY_DTYPE, device=ANY_DEVICE),
    # ---- products
    "matmul": row(F(3, 4), F(4, 2)),
    "mm": row(F(3, 4), F(4, 2)),
    "bmm": row(F(2, 3, 4), F(2, 4, 2)),
    "mv matvec": row(F(3, 4), F(4)),
    "vecmat": row(F(3), F(3, 4)),
    "vecdot": _two,
    "dot vdot inner": row(F(4), F(4), shape=(1, F(3))),
    "outer ger": row(F(3), F(4), shape=(1, F(2, 2))),
    "kron": row(F(2, 2), F(2, 2), shape=ANY_SHAPE),
    "tensordot": row(F(3, 4), F(4, 2), 1, axis=("axis", "`dims` is a number of axes")),
    "einsum": row("ij,jk->ik", F(3, 4), F(4, 2)),
    "chain_matmul": row(F(3, 4), F(4, 2)),
    "addmm": row(F(3, 2), F(3, 4), F(4, 2)),
    "addmv": row(F(3), F(3, 4), F(4)),
    "addr": row(F(3, 4), F(3), F(4)),
    "addbmm": row(F(3, 2), F(2, 3, 4), F(2, 4, 2)),
    "baddbmm": row(F(2, 3, 2), F(2, 3, 4), F(2, 4, 2)),
    "cross": row(F(2, 3), F(2, 3), shape=(1, F(2, 4))),
    "bilinear": row(F(3, 4), F(3, 5), F(2, 4, 5)),
    # ---- linear algebra under its older names
    "cholesky det inverse logdet slogdet matrix_exp": _square,
    "orgqr": row(F(3, 2), F(2), shape=(1, F(4))),
    "pca_lowrank svd_lowrank": row(F(5, 4), 2, shape=(0, F(3))),
    "lu geqrf qr svd pinverse": row(SPD(3), shape=(0, F(3))),
    "matrix_power": row(SPD(3), 2, shape=(0, F(3, 4))),
    "cholesky_inverse": row(SPD(3), shape=(0, F(3, 4))),
    "cholesky_solve": row(F(3, 2), SPD(3)),
    "lu_solve": row(F(3, 2), SPD(3), N(1, 2, 3), shape=(1, F(3))),
    "lu_unpack": row(SPD(3), N(1, 2, 3), shape=(0, F(3))),
    "ormqr": row(SPD(3), F(3), F(3, 2)),
    "triangular_solve": row(F(3, 2), SPD(3)),
    "vander": row(F(3), shape=(0, F(2, 2))),
    # ---- layers
    "conv_tbc": row(F(6, 1, 2), F(2, 2, 3), F(3), shape=(1, F(2, 5, 3))),
    "conv1d": row(F(1, 2, 6), F(3, 2, 2), shape=(1, F(3, 5, 2))),
    "conv2d": row(F(1, 2, 6, 6), F(3, 2, 2, 2), shape=(1, F(3, 5, 2, 2))),
    "conv3d": row(F(1, 2, 4, 4, 4), F(3, 2, 2, 2, 2), shape=(1, F(3, 5, 2, 2, 2))),
    "conv_transpose1d": row(F(1, 2, 6), F(2, 3, 2), shape=(1, F(5, 3, 2))),
    "conv_transpose2d": row(F(1, 2, 6, 6), F(2, 3, 2, 2), shape=(1, F(5, 3, 2, 2))),
    "conv_transpose3d": row(F(1, 2, 4, 4, 4), F(2, 3, 2, 2, 2), shape=(1, F(5, 3, 2, 2, 2))),
    "avg_pool1d max_pool1d": row(F(1, 2, 6), 2, shape=(0, F(6))),
    "max_pool2d": row(F(1, 2, 6, 6), 2, shape=(0, F(6))),
    "max_pool3d": row(F(1, 2, 4, 4, 4), 2, shape=(0, F(6))),
    "adaptive_avg_pool1d adaptive_max_pool1d": row(F(1, 2, 6), 2, shape=(0, F(6))),
    "dropout": _one,
    "alpha_dropout": row(F(3, 4), training=True, shape=ANY_SHAPE),
    "feature_alpha_dropout": row(F(2, 3, 4), shape=(0, F(3)), training=True),
    "grid_sampler_2d": row(F(1, 1, 4, 4), F(1, 2, 2, 2), 0, 0, False),
    "grid_sampler_3d": row(F(1, 1, 3, 3, 3), F(1, 2, 2, 2, 3), 0, 0, False),
    "group_norm": row(F(2, 4, 3), 2, shape=(1, 3)),
    "layer_norm rms_norm": row(F(3, 4), (4,), shape=(1, (5,))),
    # ---- making
    "zeros ones empty rand randn": row((2, 3), shape=(0, (2, -3)), dtype=ANY_DTYPE),
    "full": row((2, 3), 1.0, shape=(0, (2, -3)), dtype=ANY_DTYPE),
    "zeros_like ones_like empty_like": _moved,
    "full_like": row(F(3, 4), 1.0, shape=(1, F(3)), dtype=ANY_DTYPE),
    "tensor as_tensor asarray array": row([[1.0, 2.0], [3.0, 4.0]], shape=(0, [[1.0], [2.0, 3.0]]), dtype=(0, [object()])),
    "scalar_tensor": row(1.0, shape=ANY_SHAPE, dtype=(0, F(3))),
    "arange": row(1, 5, shape=(1, F(3)), dtype=(1, "text")),
    "indices": row((2, 3), shape=(0, (2, -3)), dtype=(0, ("a", "b"))),
    "geomspace": row(1, 100, 5, shape=(2, -1), dtype=(0, "text")),
    "linspace logspace": row(0, 1, 5, shape=(2, -1), dtype=(0, "text")),
    "eye identity tri diag_indices": row(3, shape=(0, -3), dtype=(0, 2.5)),
    "tril_indices triu_indices": row(3, 3, shape=(0, -3), dtype=(0, 2.5)),
    "rand_like randn_like": row(F(3, 4), shape=ANY_SHAPE, dtype=(0, I(3, 4))),
    "randint_like": row(F(3, 4), 5, shape=(1, F(3)), dtype=(1, "text")),
    "randint": row(0, 5, (2, 3), shape=(2, (2, -3)), dtype=(1, "text")),
    "randperm": row(5, shape=(0, -1), dtype=(0, 2.5)),
    "uniform": row(0.0, 1.0, (2, 3), shape=(2, (2, -3)), dtype=(0, "text")),
    "normal": row(0.0, 1.0, (2, 3), shape=(2, (2, -3)), dtype=(0, "text")),
    "poisson": _one,
    "bernoulli": row(F(3, 4), shape=ANY_SHAPE, dtype=(0, I(3, 4))),
    "binomial": row(F(3, 4), F(3, 4)),
    "multinomial": row(F(3, 4), 2, shape=(0, F(2, 3, 4)), dtype=(0, I(3, 4))),
    "bartlett_window blackman_window hamming_window hann_window kaiser_window": row(5, shape=(0, -1), dtype=(0, 2.5)),
    # ---- questions
    "is_complex is_conj is_floating_point is_neg is_signed get_device to_dlpack": _moved,
    "is_nonzero": row(F(1), shape=(0, F(3)), dtype=ANY_DTYPE),
    "is_same_size": row(F(3, 4), F(3, 4), shape=ANY_SHAPE, dtype=ANY_DTYPE, device=ANY_DEVICE),
})  # fmt: skip

#: Public functions that take no tensor (but perhaps a buffer to share), or take a function: nothing of this page is theirs.
NOT_OPERATIONS = set(
    "custom_op deterministic elementwise get_autocast_dtype is_autocast_enabled get_default_device get_default_dtype get_num_threads get_rng_state grad hessian hvp "
    "initial_seed is_grad_enabled is_tensor jacfwd jacrev jvp manual_seed promote_types result_type seed set_default_device "
    "set_default_dtype set_num_threads set_printoptions set_rng_state synchronize value_and_grad vjp vmap jit from_dlpack from_numpy "
    "are_deterministic_algorithms_enabled use_deterministic_algorithms can_cast frombuffer load save".split()
)

_loss = row(F(3, 4), F(3, 4), shape=(1, F(7, 5)))
_pooled1 = row(F(1, 2, 6), 2, shape=(0, F(6)))
_pooled2 = row(F(1, 2, 6, 6), 2, shape=(0, F(6)))
_pooled3 = row(F(1, 2, 4, 4, 4), 2, shape=(0, F(6)))

FUNCTIONAL = table({
    "celu celu_ elu elu_ gelu hardshrink hardsigmoid hardswish hardtanh hardtanh_ leaky_relu leaky_relu_ logsigmoid mish relu "
    "relu6 relu_ rrelu rrelu_ selu selu_ sigmoid silu softplus softshrink softsign tanh tanhshrink normalize "
    "gumbel_softmax": _one,
    "threshold threshold_": row(F(3, 4), 0.1, 20.0, shape=ANY_SHAPE),
    "softmax softmin log_softmax": _scan,
    "glu": row(F(3, 4), shape=(0, F(3, 5))),
    "dropout": _one,
    "alpha_dropout": row(F(3, 4), training=True, shape=ANY_SHAPE),
    "dropout1d": row(F(2, 3, 4), shape=(0, F(3))),
    "dropout2d": row(F(2, 3, 4, 4), shape=(0, F(3))),
    "dropout3d": row(F(2, 3, 4, 4, 4), shape=(0, F(3))),
    "flatten": _moved,
    "one_hot": row(I(3), 2, shape=ANY_SHAPE, dtype=(0, F(3))),
    "pad": row(F(3, 4), (1, 1), shape=(1, (1, 1, 1)), dtype=ANY_DTYPE),
    # ---- layers
    "linear": row(F(3, 4), F(2, 4), F(2), shape=(1, F(2, 5))),
    "linear_cross_entropy": row(F(3, 4), F(5, 4), I(3), shape=(1, F(5, 3)), dtype=(2, F(3))),
    "batch_norm": row(F(2, 4, 3), F(4), F(4), shape=(1, F(5))),
    "instance_norm": row(F(2, 4, 3), shape=(0, F(4))),
    "group_norm": row(F(2, 4, 3), 2, shape=(1, 3)),
    "layer_norm rms_norm": row(F(3, 4), (4,), shape=(1, (5,))),
    "local_response_norm": row(F(2, 4, 3), 2, shape=(0, F(4))),
    "prelu": row(F(3, 4), F(4), shape=(1, F(3))),
    "embedding": row(I(3), F(5, 2), shape=(1, F(5)), dtype=(0, F(3))),
    "embedding_bag": row(I(3, 2), F(5, 2), shape=(1, F(5)), dtype=(0, F(3, 2))),
    "fold": row(F(1, 4, 4), (3, 3), 2, shape=(0, F(1, 3, 4))),
    "unfold": row(F(1, 1, 4, 4), 2, shape=(0, F(4))),
    "affine_grid": row(F(1, 2, 3), (1, 1, 2, 2), shape=(0, F(1, 3, 3))),
    "grid_sample": row(F(1, 1, 4, 4), F(1, 2, 2, 2)),
    "interpolate upsample": row(F(1, 1, 4, 4), (2, 2), shape=(0, F(4)), dtype=ANY_DTYPE),
    "upsample_bilinear": row(F(1, 1, 4, 4), (2, 2), shape=(0, F(4))),
    "upsample_nearest": row(F(1, 1, 4, 4), (2, 2), shape=(0, F(4)), dtype=ANY_DTYPE),
    "scaled_dot_product_attention": row(F(2, 3, 4), F(2, 3, 4), F(2, 3, 4), shape=(1, F(2, 3, 5))),
    "multi_head_attention_forward": row(
        F(3, 1, 4), F(3, 1, 4), F(3, 1, 4), 4, 2, F(12, 4), F(12), None, None, False, 0.0, F(4, 4), F(4), shape=(0, F(3, 1, 5))
    ),
    # ---- pooling
    "adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d max_pool2d max_pool2d_with_indices": _pooled2,
    "adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d max_pool3d max_pool3d_with_indices": _pooled3,
    "max_pool1d_with_indices": _pooled1,
    "fractional_max_pool2d": row(F(1, 2, 6, 6), 2, (3, 3), shape=(0, F(6))),
    "fractional_max_pool3d": row(F(1, 2, 6, 6, 6), 2, (3, 3, 3), shape=(0, F(6))),
    "lp_pool1d": row(F(1, 2, 6), 2.0, 2, shape=(0, F(6))),
    "lp_pool2d": row(F(1, 2, 6, 6), 2.0, 2, shape=(0, F(6))),
    "lp_pool3d": row(F(1, 2, 4, 4, 4), 2.0, 2, shape=(0, F(6))),
    "max_unpool1d": row(F(1, 1, 2), I(1, 1, 2), 2, shape=(1, I(1, 1, 3)), dtype=(1, F(1, 1, 2))),
    "max_unpool2d": row(F(1, 1, 2, 2), I(1, 1, 2, 2, high=4), 2, shape=(1, I(1, 1, 3, 2)), dtype=(1, F(1, 1, 2, 2))),
    "max_unpool3d": row(F(1, 1, 2, 2, 2), I(1, 1, 2, 2, 2, high=8), 2, shape=(1, I(1, 1, 2, 2, 3)),
                        dtype=(1, F(1, 1, 2, 2, 2))),
    # ---- losses
    "binary_cross_entropy binary_cross_entropy_with_logits hinge_embedding_loss huber_loss kl_div l1_loss mse_loss "
    "poisson_nll_loss smooth_l1_loss soft_margin_loss multilabel_soft_margin_loss": _loss,
    "gaussian_nll_loss": row(F(3, 4), F(3, 4), F(3, 4), shape=(2, F(7, 5))),
    "cosine_embedding_loss": row(F(3, 4), F(3, 4), F(3), shape=(1, F(3, 5))),
    "margin_ranking_loss": row(F(3), F(3), F(3), shape=(1, F(5))),
    "triplet_margin_loss triplet_margin_with_distance_loss": row(F(3, 4), F(3, 4), F(3, 4), shape=(1, F(3, 5))),
    "cross_entropy nll_loss": row(F(3, 4), I(3), shape=(1, I(5)), dtype=(1, F(3))),
    "multi_margin_loss": row(F(3, 4), I(3), shape=(1, I(5)), dtype=(1, F(3))),
    "multilabel_margin_loss": row(F(3, 4), I(3, 4), shape=(1, I(3, 5)), dtype=(1, F(3, 4))),
    "ctc_loss": row(F(5, 2, 4), I(2, 2, high=3), N(5, 5), N(2, 2), shape=(1, I(3, 2)), dtype=(1, F(2, 2)),
                    device="lengths are read at once, wherever they lie"),
})  # fmt: skip

LINALG = table({
    "ldl_factor ldl_factor_ex": _square,
    "ldl_solve": row(SPD(3), N(1, 2, 3), F(3, 2), shape=(2, F(4, 2))),
    "cholesky cholesky_ex det inv inv_ex slogdet matrix_exp eigh eigvalsh": _square,
    "lu lu_factor lu_factor_ex qr svd svdvals pinv matrix_rank cond": row(SPD(3), shape=(0, F(3))),
    "matrix_power": row(SPD(3), 2, shape=(0, F(3, 4))),
    "cross": row(F(2, 3), F(2, 3), shape=(1, F(2, 4))),
    "diagonal": row(F(3, 3), shape=(0, F(3)), dtype=ANY_DTYPE),
    "householder_product": row(F(3, 2), F(2), shape=(1, F(4))),
    "lstsq": row(F(4, 3), F(4, 2)),
    "lu_solve": row(SPD(3), N(1, 2, 3), F(3, 2), shape=(2, F(4, 2))),
    "matmul": row(F(3, 4), F(4, 2)),
    "matrix_norm": row(F(3, 4), shape=(0, F(3)), axis=(PAIR,)),
    "multi_dot": row([F(3, 4), F(4, 2)]),
    "norm vector_norm": _reduction,
    "solve solve_ex": row(SPD(3), F(3, 2), shape=(1, F(4, 2))),
    "solve_triangular": row(SPD(3), F(3, 2), upper=True, shape=(1, F(4, 2))),
    "tensorinv": row(SPD(4), ind=1, shape=(0, F(3, 4))),
    "tensorsolve": row(SPD(3), F(3), shape=(1, F(4)), axis=(PAIR,)),
    "vander": row(F(3), shape=ANY_SHAPE),
    "vecdot": row(F(3, 4), F(3, 4)),
})  # fmt: skip

SPECIAL = table({
    "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 digamma entr erf erfc erfcx erfinv exp2 expit expm1 gammaln i0 i0e i1 i1e "
    "lgamma log1p log_ndtr logit modified_bessel_i0 modified_bessel_i1 modified_bessel_k0 modified_bessel_k1 ndtr ndtri psi "
    "round scaled_modified_bessel_k0 scaled_modified_bessel_k1 sinc spherical_bessel_j0": _one,
    "chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w hermite_polynomial_h "
    "hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p shifted_chebyshev_polynomial_t "
    "shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w": row(F(3, 4), I(3, 4)),
    "gammainc gammaincc igamma igammac xlog1py xlogy zeta": _two,
    "log_softmax softmax": _scan,
    "logsumexp": row(F(3, 4), 1, shape=ANY_SHAPE),
    "multigammaln mvlgamma": row(F(3, 4), 1, shape=ANY_SHAPE),
    "polygamma": row(1, F(3, 4), shape=ANY_SHAPE),
})  # fmt: skip

WINDOWS = table({
    "bartlett blackman cosine exponential gaussian general_hamming hamming hann kaiser nuttall": row(
        5, shape=(0, -1), dtype=(0, 2.5)
    ),
    "general_cosine": row(5, a=[0.5, 0.5], shape=(0, -1), dtype=(0, 2.5)),
})

_to_type = row(F(3, 4), shape=ANY_SHAPE, dtype=ANY_DTYPE)
_draw = row(F(3, 4), shape=ANY_SHAPE, dtype=(0, B(3, 4)))

#: Of `Tensor` alone; every other method has the row of the function of its name.
METHODS = table({
    "byte char short int long half float double bfloat16 bool contiguous cpu detach dim element_size get_device is_contiguous "
    "is_floating_point nelement numpy size stride tolist zero_ to detach_ requires_grad_ "
    "ndimension type to_dense dense_dim sparse_dim": _to_type,
    "astype": row(F(3, 4), "float64", shape=ANY_SHAPE, dtype=(1, "float31")),
    "type_as": row(F(3, 4), F(2), shape=ANY_SHAPE, dtype=ANY_DTYPE, device=ANY_DEVICE),
    "copy_": row(F(3, 4), F(4), dtype=ANY_DTYPE, device=ANY_DEVICE),
    "fill_": row(F(3, 4), 1.0, shape=(1, F(3)), dtype=ANY_DTYPE),
    "expand": row(F(3, 4), (2, 3, 4), shape=(1, (2, 4, 4)), dtype=ANY_DTYPE),
    "expand_as": row(F(1, 4), F(3, 4), dtype=ANY_DTYPE, device=ANY_DEVICE),
    "view": row(F(3, 4), (4, 3), shape=(1, (5, 3)), dtype=ANY_DTYPE),
    "view_as reshape_as": row(F(3, 4), F(4, 3), dtype=ANY_DTYPE, device=ANY_DEVICE),
    "unfold": row(F(6), 0, 2, 2, shape=(2, 9), dtype=ANY_DTYPE),
    "where": row(F(3, 4), B(3, 4), F(3, 4), dtype=(0, F(3, 4).typed("complex64"))),
    "scatter_add": row(F(3, 4), 0, I(2, 4), F(2, 4), shape=(3, F(1, 1)), dtype=(2, F(2, 4))),
    "new_empty new_ones new_zeros": row(F(3), (2, 3), shape=(1, (2, -3)), dtype=ANY_DTYPE),
    "new": row(F(3), 2, 3, shape=(1, -3), dtype=ANY_DTYPE),
    "fill_diagonal_": row(F(3, 3), 1.0, shape=(0, F(3)), dtype=ANY_DTYPE),
    "new_full": row(F(3), (2, 3), 1.0, shape=(1, (2, -3)), dtype=ANY_DTYPE),
    "new_tensor": row(F(3), [[1.0, 2.0]], shape=(1, [[1.0], [2.0, 3.0]]), dtype=ANY_DTYPE),
    "cauchy_ exponential_ log_normal_ normal_ uniform_": _draw,
    "random_ bernoulli_": row(F(3, 4), shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "geometric_": row(F(3, 4), 0.5, shape=ANY_SHAPE, dtype=ANY_DTYPE),
    "polygamma": row(F(3, 4), 1, shape=ANY_SHAPE),
    "polygamma_": row(F(3, 4), 1, shape=ANY_SHAPE),
    "item": row(F(), shape=(0, F(3)), dtype=ANY_DTYPE),
})  # fmt: skip

#: Methods that are no operations on elements, or take a function.
NOT_METHODS = {"apply_", "map_", "retain_grad", "backward", "register_hook", "cuda", "half_gt", "strong_mul", "half_gt_", "strong_mul_"}
