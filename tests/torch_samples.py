"""pydiff beside PyTorch, on PyTorch's own samples: `python tests/torch_samples.py [NAME …] [--write]`.

PyTorch lists its operations in `torch.testing._internal.common_methods_invocations.op_db`, with samples of their
arguments for tests. Here every sample of an entry whose name pydiff has too is given to both: values, shapes and dtypes
have to agree, and so have the gradients of a float64 sample. An entry agrees where all its samples do. `--write` puts
what came out into docs/TORCH.md, which test_torch_samples.py holds pydiff to.
"""

import argparse
import collections
import re
import warnings
from pathlib import Path

import numpy as np
import torch
import torch_lists

import pydiff as pd

#: What of an entry's samples are tried: forward with each of these that it takes, gradients with float64.
DTYPES = (torch.float64, torch.float32, torch.int64, torch.bool)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of results; gradients 1e-7
MOST_SAMPLES = 200  # of one dtype: some entries have thousands

RANDOM = set(
    "bernoulli cauchy empty empty_like empty_permuted empty_strided exponential geometric log_normal multinomial new_empty "
    "new_empty_strided nn.functional.alpha_dropout nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d "
    "nn.functional.feature_alpha_dropout nn.functional.rrelu normal rand_like randint randint_like randn randn_like uniform".split()
)

AGREES, DIFFERS, ABSENT = "agrees", "differs", "absent"

Outcome = collections.namedtuple("Outcome", "entry state why samples")


def entries():
    """PyTorch's list."""
    return torch_lists.listed("common_methods_invocations", "op_db")


def title(entry):
    """The entry's name: several entries of one function differ in their variants."""
    return f"{entry.name} ({entry.variant_test_name})" if entry.variant_test_name else entry.name


def in_place(name):
    return lambda x, *args, **options: getattr(x, name)(*args, **options)


#: Functions whose samples come in another order than the function's own arguments, or for a call around it; by an entry's
#: name or title.
REORDERED = {
    **{name: in_place(name + "_") for name in ("cauchy", "exponential", "geometric", "log_normal", "uniform")},
    "normal (in_place)": in_place("normal_"),
    "svd_lowrank": lambda a, b, **options: pd.svd_lowrank(a @ b.mT, **options),
    "pca_lowrank": lambda a, b, **options: pd.pca_lowrank(a @ b.mT, **options),
    "einsum": lambda operands, equation: pd.einsum(equation, *operands),
    "nn.functional.embedding": lambda weight, index, **options: pd.nn.functional.embedding(index, weight, **options),
    "nn.functional.embedding_bag": lambda weight, index, **options: pd.nn.functional.embedding_bag(index, weight, **options),
    "where": lambda input, condition, other: pd.where(condition, input, other),
}


def counterpart(name):
    """pydiff's function or method of that name; None where it has none."""
    if name in REORDERED:
        return REORDERED[name]
    found = pd
    for part in name.split("."):
        found = getattr(found, part, None)
    if "." in name or callable(found) and not isinstance(found, pd.dtype):
        return found
    method = getattr(pd.Tensor, name, None)
    return method if method is None or callable(method) else lambda x: getattr(x, name)


def converted(x):
    """Arguments of PyTorch's as pydiff's."""
    if isinstance(x, torch.Tensor):
        return pd.tensor(x.detach().numpy(), dtype=converted(x.dtype))
    if isinstance(x, torch.dtype):
        return getattr(pd, str(x).removeprefix("torch."))
    if isinstance(x, torch.memory_format):
        return getattr(pd, str(x).removeprefix("torch."))
    if isinstance(x, torch.device):
        return pd.get_default_device()
    if isinstance(x, dict):
        return {k: converted(v) for k, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)(converted(v) for v in x) if type(x) in (list, tuple) else tuple(converted(v) for v in x)
    return x


def leaves(x):
    """The tensors and numbers of nested results, in order."""
    if isinstance(x, (list, tuple)):
        return [leaf for item in x for leaf in leaves(item)]
    return [x]


def array(x):
    if isinstance(x, torch.Tensor):
        x = x.detach().to_dense()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy(force=True)
    if isinstance(x, pd.Tensor):
        x = x.detach().cpu()
        return (x.float() if x.dtype == pd.bfloat16 else x).numpy()
    return np.asarray(x)


def name_of(dtype):
    return dtype.name if isinstance(dtype, pd.dtype) else str(dtype).removeprefix("torch.")


def compare(got, want, what, values=True, tolerance=None):
    """Raises AssertionError, in few words, where they differ; of what is random or not set only shapes and dtypes count."""
    got, want = leaves(got), leaves(want)
    assert len(got) == len(want), f"{what}: {len(got)} results for {len(want)}"
    for g, w in zip(got, want):
        if isinstance(w, torch.Tensor) and isinstance(g, pd.Tensor):
            assert tuple(g.shape) == tuple(w.shape), f"{what}: shape {tuple(g.shape)} for {tuple(w.shape)}"
            assert name_of(g.dtype) == name_of(w.dtype), f"{what}: {g.dtype} for {name_of(w.dtype)}"
        elif isinstance(w, torch.Tensor) or isinstance(g, pd.Tensor):
            raise AssertionError(f"{what}: {type(g).__name__} for {type(w).__name__}")
        elif isinstance(w, (str, type(None), torch.dtype)):
            assert str(g) == name_of(w), f"{what}: {g} for {w}"
            continue
        if not values:
            continue
        a, b = array(g), array(w)
        if b.dtype.kind not in "fc":
            assert np.array_equal(a, b), f"{what}: other values"
            continue
        allowed = tolerance or TOLERANCE[torch.float64 if b.dtype == np.float64 else torch.float32]
        size = np.abs(b[np.isfinite(b)]).max(initial=0)
        least = 1e-12 if b.dtype == np.float64 else 1e-6  # what is left where terms cancel
        near = np.isclose(a, b, rtol=allowed, atol=max(allowed * min(1, size), least), equal_nan=True)
        assert near.all(), f"{what}: other values"


def differentiable(x):
    return isinstance(x, torch.Tensor) and x.dtype == torch.float64


def tried(entry, sample, dtype, function):
    """Gives one sample to both; raises what differs. False where PyTorch itself refuses the sample."""
    arguments = (sample.input, *sample.args)
    places = [k for k, x in enumerate(arguments) if differentiable(x)]
    with_gradient = dtype == torch.float64 and entry.supports_autograd and places
    theirs = [x.detach().clone().requires_grad_(bool(with_gradient)) if k in places else x for k, x in enumerate(arguments)]
    try:
        want = entry.op(*theirs, **sample.kwargs)
    except Exception:
        return False
    ours = [converted(x).requires_grad_(bool(with_gradient)) if k in places else converted(x) for k, x in enumerate(arguments)]
    got = function(*ours, **converted(sample.kwargs))
    compare(got, want, "forward", entry.name not in RANDOM)
    if entry.name in RANDOM or not with_gradient:
        return True
    outputs = [(g, w) for g, w in zip(leaves(got), leaves(want)) if isinstance(w, torch.Tensor) and w.requires_grad]
    if not outputs:
        return True
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, tuple(w.shape)) for _, w in outputs]
    inputs = [theirs[k] for k in places]
    total = sum((w * torch.tensor(c)).sum() for (_, w), c in zip(outputs, weights))
    try:
        expected = torch.autograd.grad(total, inputs, allow_unused=True)
    except RuntimeError:
        return True
    for g, _ in outputs:
        assert g.requires_grad, "gradient: none"
    sum((g * pd.tensor(c)).sum() for (g, _), c in zip(outputs, weights)).backward()
    for k, e in zip(places, expected):
        g = ours[k].grad
        if e is None or (g is None and not e.any()):
            assert g is None or not array(g).any(), "gradient: one for an operand that has none"
            continue
        assert g is not None, "gradient: none for an operand that has one"
        compare(g, e, "gradient", tolerance=1e-7)
    return True


def outcome(entry):
    """What all samples of an entry give."""
    function = REORDERED.get(title(entry)) or counterpart(entry.name)
    if function is None:
        return Outcome(entry, ABSENT, "", 0)
    count = 0
    for dtype in DTYPES:
        if dtype not in entry.dtypes:
            continue
        torch.manual_seed(0)
        try:
            samples = entry.sample_inputs("cpu", dtype)
            for _, sample in zip(range(MOST_SAMPLES), samples):
                try:
                    count += tried(entry, sample, dtype, function)
                except Exception as error:
                    first = (str(error).splitlines() or [""])[0]
                    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
                    return Outcome(entry, DIFFERS, f"{name_of(dtype)}: {kind}{first}"[:160], count)
        except Exception as error:  # PyTorch's own samples
            return Outcome(entry, DIFFERS, f"no samples: {error}"[:160], count)
    return Outcome(entry, AGREES if count else DIFFERS, "" if count else "no samples", count)


# ---- the table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "TORCH.md"
HEAD = """# PyTorch's operations in pydiff

Written by `python tests/torch_samples.py --write`, with PyTorch {version}: the samples that PyTorch keeps of an operation's
arguments, up to {most} for each of {dtypes}, given to both. Where they agree, values, shapes, dtypes and for float64
gradients do: float64 to 1e-9, gradients to 1e-7, float32 to 1e-4, the rest exactly; of random numbers shapes and dtypes.

Of {total} entries {agrees} agree, {differs} differ, {absent} are not here.

| entry | here | how it differs, or why it is not here |
| --- | --- | --- |
"""

#: Why an entry is not here, by its name; the first that fits.
REASONS = [
    (
        r"fft\.|stft|istft|.*complex|conj.*|real|imag|angle|polar|view_as_.*|resolve_.*|cdouble|cfloat|chalf|.*eig(vals)?$|"
        r"isreal|mH", "complex numbers come later",
    ),
    (r"sparse\.|to_sparse", "sparse tensors come later"),
    (r"jiterator_.*", "`pydiff.elementwise` and `pydiff.custom_op` do this"),
    (r"(.*\.)?_.*|.*_backward|torch\.ops\..*|native_.*|hash_tensor|slice$", "internal to PyTorch"),
    (
        r".*_copy|unsafe_.*|empty_permuted|(new_)?empty_strided|as_strided.*|resize.*",
        "says how memory is laid out or shared; here no value depends on it",
    ),
    (r"masked\.", "a prototype of PyTorch's"),
]  # fmt: skip


TIES = "indices of equal elements, whose order PyTorch leaves open; here the first comes first"
SIGNS = "signs, or turns in a space of equal values, which the decomposition leaves open"
BASIS = "a basis drawn by chance: a matrix of that rank agrees but for signs, others nearly"
STAYS = "of elements put in one place only the one that stays has a gradient; PyTorch gives it to all"
TRIANGLE = "only the triangle that is read has a gradient"
RANDOM_WHY = "random: with dropout, or regions drawn by chance"
SCIPY = "SciPy's values; PyTorch's differ from them by up to 1e-7"
OTHER_CALL = "the samples are for a call of PyTorch's own making around the function"
#: Differences that are meant.
MEANT = {
    "addr": "with alpha and beta 0 PyTorch's gradient is NaN, here 0",
    "argsort": TIES, "kthvalue": TIES, "mode": TIES, "sort": TIES, "topk": TIES,
    "cov": "PyTorch takes float32 weights of float64 data in float32, here they are converted first",
    "as_strided (partial_views)": "no storage lies behind a view",
    "as_strided_scatter": "places that are named twice: the one that stays has the gradient",
    "cholesky_inverse": TRIANGLE, "cholesky_solve": TRIANGLE,
    "fill": "the result does not depend on the input, so it is not on the tape",
    "zero_": "a leaf that requires a gradient is not changed in place",
    "linalg.lstsq (grad_oriented)": OTHER_CALL, "linalg.pinv (singular)": OTHER_CALL,
    "linalg.pinv (hermitian)": "the sample is not symmetric; on symmetric input the gradients agree",
    "nn.functional.ctc_loss": "PyTorch's gradient is that of log_softmax's input; behind log_softmax both agree",
    "nn.functional.fractional_max_pool2d": RANDOM_WHY, "nn.functional.fractional_max_pool3d": RANDOM_WHY,
    "nn.functional.max_unpool1d": STAYS, "nn.functional.max_unpool2d": STAYS, "nn.functional.max_unpool3d": STAYS,
    "nn.functional.multi_head_attention_forward": RANDOM_WHY, "nn.functional.scaled_dot_product_attention": RANDOM_WHY,
    "special.airy_ai": SCIPY, "special.bessel_j0": SCIPY, "special.bessel_j1": SCIPY, "special.bessel_y0": SCIPY,
    "special.bessel_y1": SCIPY,
    "special.entr": "where x <= 0 the gradient is 0; PyTorch's is infinite at 0 and NaN below",
    "linalg.eigh": SIGNS, "linalg.svd": SIGNS, "svd": SIGNS, "svd_lowrank": BASIS, "pca_lowrank": BASIS,
    "matrix_exp": "float32 elements that are small beside the matrix's norm",
    "nn.functional.triplet_margin_with_distance_loss": "the samples call functions of PyTorch",
    "nn.functional.batch_norm (without_cudnn)": "no samples on a CPU",
    "nn.functional.silu (complex)": "complex numbers come later",
}  # fmt: skip


def reason(entry):
    return next((why for pattern, why in REASONS if re.match(pattern, entry.name)), "not yet")


def page(outcomes):
    counts = collections.Counter(o.state for o in outcomes)
    dtypes = ", ".join(name_of(d) for d in DTYPES)
    version = torch.__version__.partition("+")[0]
    head = HEAD.format(version=version, most=MOST_SAMPLES, dtypes=dtypes, total=len(outcomes), **{s: counts[s] for s in (AGREES, DIFFERS, ABSENT)})
    rows = []
    for o in sorted(outcomes, key=lambda o: title(o.entry)):
        meant = MEANT.get(title(o.entry)) or MEANT.get(o.entry.name)
        why = "" if o.state == AGREES else reason(o.entry) if o.state == ABSENT else meant or o.why.replace("|", "\\|")
        rows.append(f"| `{title(o.entry)}` | {o.state if o.state != ABSENT else 'no'} | {why} |\n")
    return head + "".join(rows)


def agreeing():
    """Titles of the entries that the page says agree."""
    return re.findall(rf"^\| `(.*)` \| {AGREES} \|", PAGE.read_text(encoding="utf-8"), re.M)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="entries to try (default: all)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(PAGE.parents[1])}")
    options = parser.parse_args(argv)
    warnings.simplefilter("ignore")
    outcomes = []
    for entry in entries():
        if options.names and entry.name not in options.names:
            continue
        outcomes.append(outcome(entry))
        if outcomes[-1].state == DIFFERS or options.names:
            print(f"{title(entry)}: {outcomes[-1].state} {outcomes[-1].why}", flush=True)
    states = collections.Counter(o.state for o in outcomes)
    print(f"{len(outcomes)} entries: " + ", ".join(f"{states[s]} {s}" for s in (AGREES, DIFFERS, ABSENT)))
    if options.write and not options.names:
        PAGE.write_text(page(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
