"""Every layer on PyTorch's own samples: `torch.testing._internal.common_modules.module_db`.

A sample says how a module is built and called. Both are built alike; the state of PyTorch's is loaded into ours; results,
buffers afterwards, and gradients of inputs and parameters have to agree, in training and in evaluation, in float32 and
float64. Tolerances are in epsilons of the dtype, of the size of what is compared. Every change tries some samples of each
module, spread over its list; `--nightly` all of them.
"""

import inspect
import warnings
from collections import Counter

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn

#: What module_db does not have; test_layer_classes.py does.
UNLISTED = set(
    "AdaptiveLogSoftmaxWithLoss AlphaDropout ChannelShuffle CosineSimilarity Dropout Dropout1d Dropout2d "
    "Dropout3d EmbeddingBag FeatureAlphaDropout Flatten Fold Hardsigmoid Identity LazyBatchNorm1d LazyBatchNorm2d "
    "LazyBatchNorm3d LazyInstanceNorm1d LazyInstanceNorm2d LazyInstanceNorm3d LazyLinear MaxUnpool1d MaxUnpool2d MaxUnpool3d "
    "Module ModuleDict ModuleList NLLLoss2d PairwiseDistance ParameterDict ParameterList PixelShuffle PixelUnshuffle RReLU "
    "RNNBase RNNCellBase Sequential TransformerDecoder TripletMarginLoss TripletMarginWithDistanceLoss Unflatten Unfold Upsample UpsamplingBilinear2d "
    "UpsamplingNearest2d".split()
)
#: Those whose samples hold PyTorch's layers and functions; test_transformer_samples.py translates them.
TRANSLATED = {"TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"}
NAMES = [
    name
    for name in sorted(set(nn.__all__) - UNLISTED - TRANSLATED)
    if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
]
EPSILONS = 64  # of results; gradients 4 times as many
#: More, where what is compared is a small difference of large numbers.
WIDER = {
    "CTCLoss": 1024,  # exp of logarithms that are hundreds large
    "GroupNorm": 256,  # gradients of the variance of four elements
}
SAMPLES = 3  # of a module, a mode and a dtype, without --nightly
walked = Counter()


def chosen(samples, nightly):
    if nightly or len(samples) <= SAMPLES:
        return samples
    return [samples[k * (len(samples) - 1) // (SAMPLES - 1)] for k in range(SAMPLES)]


def twins(torch, value):
    """(ours, theirs) of an argument: tensors are copied, leaves with gradients where the sample's have them."""
    if isinstance(value, torch.Tensor):
        theirs = value.detach().clone().requires_grad_(value.requires_grad)
        ours = pd.tensor(theirs.detach().numpy(), requires_grad=value.requires_grad)
        return ours, theirs
    if isinstance(value, torch.dtype):
        return getattr(pd, str(value).removeprefix("torch.")), value
    if type(value) in (list, tuple):
        pairs = [twins(torch, item) for item in value]
        return type(value)(a for a, _ in pairs), type(value)(b for _, b in pairs)
    if isinstance(value, dict):
        pairs = {key: twins(torch, item) for key, item in value.items()}
        return {key: a for key, (a, _) in pairs.items()}, {key: b for key, (_, b) in pairs.items()}
    return value, value


def tensors(torch, value):
    """The tensors of nested arguments or results, in order."""
    if isinstance(value, (pd.Tensor, torch.Tensor)):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [leaf for item in items for leaf in tensors(torch, item)]


def array(value):
    return value.detach().numpy()


def agree(ours, theirs, epsilons, what):
    """Equal within `epsilons` of the largest finite number; integers exactly."""
    a, b = array(ours), array(theirs)
    assert a.shape == b.shape and a.dtype == b.dtype, f"{what}: {a.dtype}{a.shape} for {b.dtype}{b.shape}"
    if b.dtype.kind != "f":
        np.testing.assert_array_equal(a, b, err_msg=what)
        return
    finite = np.isfinite(b)
    np.testing.assert_array_equal(a[~finite], b[~finite], err_msg=what)
    size = max(1.0, np.abs(b[finite]).max(initial=0.0))
    np.testing.assert_allclose(a[finite], b[finite], rtol=0, atol=epsilons * np.finfo(b.dtype).eps * size, err_msg=what)


def of_logits(module):
    """The module behind a log_softmax of its first argument."""
    forward = module.forward
    module.forward = lambda first, *rest: forward(first.log_softmax(-1), *rest)
    return module


def walk(torch, ours_class, theirs_class, sample, dtype, training, epsilons):
    """Build, load, call and differentiate both."""
    build = sample.constructor_input
    (args, targs), (options, toptions) = twins(torch, build.args), twins(torch, build.kwargs)
    theirs = theirs_class(*targs, **toptions).to(dtype).train(training)
    options.pop("device", None)  # ours live where the run's --device says
    ours = ours_class(*args, **options).to(getattr(pd, str(dtype).removeprefix("torch."))).train(training)
    call = sample.forward_input
    (args, targs), (options, toptions) = twins(torch, call.args), twins(torch, call.kwargs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    if "Lazy" in theirs_class.__name__:
        theirs(*targs, **toptions)  # learns its sizes, so that there is a state to load
        theirs.zero_grad()
    ours.load_state_dict({key: pd.tensor(value.numpy()) for key, value in theirs.state_dict().items()})
    if theirs_class.__name__ == "CTCLoss":  # PyTorch's gradient of it alone is already that of log_softmax's input
        ours, theirs = of_logits(ours), of_logits(theirs)
    result, wanted = ours(*args, **options), theirs(*targs, **toptions)
    results, wanteds = tensors(torch, result), tensors(torch, wanted)
    assert len(results) == len(wanteds)
    for k, (got, want) in enumerate(zip(results, wanteds)):
        agree(got, want, epsilons, f"result {k}")
    for (key, got), want in zip(ours.named_buffers(), theirs.buffers()):
        agree(got, want, epsilons, f"buffer {key}")
    differentiable = [(got, want) for got, want in zip(results, wanteds) if want.requires_grad]
    if not differentiable:
        return
    rng = np.random.default_rng(0)
    total, ttotal = 0, 0
    for got, want in differentiable:
        weights = rng.uniform(0.5, 1.5, tuple(want.shape)).astype(array(want).dtype)
        total = total + (got * pd.tensor(weights)).sum()
        ttotal = ttotal + (want * torch.tensor(weights)).sum()
    if not torch.isfinite(ttotal):
        return
    total.backward()
    ttotal.backward()
    leaves = [("input", a, b) for a, b in zip(tensors(torch, [args, options]), tensors(torch, [targs, toptions]))]
    leaves += [(key, got, want) for (key, got), want in zip(ours.named_parameters(), theirs.parameters())]
    for key, got, want in leaves:
        if want.grad is not None:
            agree(got.grad, want.grad, 4 * epsilons, f"gradient of {key}")
        elif got.grad is not None:
            assert not array(got.grad).any(), f"gradient of {key}, where PyTorch has none"


@pytest.mark.parametrize("name", NAMES)
def test_module_db(torch, module_db, nightly, name):
    info = module_db[name]
    for dtype in (torch.float32, torch.float64):
        if dtype not in info.dtypes:
            continue
        for training in (True, False):
            torch.manual_seed(0)
            inputs = info.module_inputs_func(info, device="cpu", dtype=dtype, requires_grad=True, training=training)
            for sample in chosen(inputs, nightly):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        walk(torch, getattr(nn, name), info.module_cls, sample, dtype, training, WIDER.get(name, EPSILONS))
                    except Exception as error:
                        build = sample.constructor_input
                        error.add_note(
                            f"{dtype}, training={training}, '{sample.desc}': {name}(*{build.args}, **{build.kwargs})"
                        )
                        raise
                walked[name] += 1


def test_what_was_walked(module_db, capsys):
    if set(walked) != set(NAMES):
        pytest.skip("only some of the modules were walked")
    with capsys.disabled():
        print(f"\nmodule_db: {walked.total()} samples of {len(walked)} modules agree with PyTorch")
    assert len(walked) >= 90 and walked.total() >= 10 * len(walked)


def test_the_names_that_module_db_lacks(module_db):
    """So that none is left out once PyTorch lists it."""
    assert not UNLISTED & set(module_db)
