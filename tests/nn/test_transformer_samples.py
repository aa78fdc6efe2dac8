"""PyTorch's own samples of its transformer layers, whose arguments are layers and functions of PyTorch: translated first.

Results and the gradients of parameters have to agree in float64; every twentieth sample is tried in the ordinary run, all of
them with --nightly. Dropout is switched off, and so is PyTorch's fast path of evaluation, which fills padded places with zeros.
"""

import numpy as np
import pytest

import pydiff as pd
from pydiff import nn
from pydiff.nn import functional as F

NAMES = ("TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer")


@pytest.fixture(autouse=True)
def one_path(torch):
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def converted(torch, value):
    """What stands for `value` in pydiff."""
    if isinstance(value, torch.Tensor):
        return pd.tensor(value.detach().numpy(), requires_grad=value.requires_grad)
    if isinstance(value, torch.dtype):
        return getattr(pd, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return None
    if isinstance(value, torch.nn.Module):
        return counterpart(torch, value)
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return nn.utils.rnn.PackedSequence(*(converted(torch, part) for part in value))
    if isinstance(value, (tuple, list)):
        return type(value)(converted(torch, item) for item in value)
    if isinstance(value, dict):
        return {key: converted(torch, item) for key, item in value.items()}
    same = {torch.nn.functional.relu: F.relu, torch.nn.functional.gelu: F.gelu}
    return same.get(value, value) if callable(value) else value


def counterpart(torch, module):
    """A layer, or the norm, that is an argument of a stack's constructor."""
    if isinstance(module, torch.nn.LayerNorm):
        made = nn.LayerNorm(module.normalized_shape, module.eps, bias=module.bias is not None)
    else:
        attention = module.self_attn
        made = getattr(nn, type(module).__name__)(
            attention.embed_dim, attention.num_heads, module.linear1.out_features, module.dropout.p,
            converted(torch, module.activation), module.norm1.eps, attention.batch_first, module.norm_first,
            module.linear1.bias is not None,
        )  # fmt: skip
    return made.double()


def flat(result):
    if isinstance(result, (tuple, list)):
        return [t for part in result for t in flat(part)]
    return [] if result is None else [result]


def without_dropout(module, kind):
    for child in module.modules():
        if isinstance(child, kind):
            child.p = 0.0
        elif isinstance(getattr(child, "dropout", None), float):
            child.dropout = 0.0


def check(torch, sample, kind, training):
    build, call = sample.constructor_input, sample.forward_input
    torch.manual_seed(0)
    oracle = kind(*build.args, **build.kwargs).double().train(training)
    module = getattr(nn, kind.__name__)(*converted(torch, build.args), **converted(torch, build.kwargs))
    module = module.double().train(training)
    without_dropout(oracle, torch.nn.Dropout)
    without_dropout(module, nn.Dropout)
    module.load_state_dict({key: value.numpy() for key, value in oracle.state_dict().items()})
    expected = flat(oracle(*call.args, **call.kwargs))
    found = flat(module(*converted(torch, call.args), **converted(torch, call.kwargs)))
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-10)
    sum((a * a).sum() for a in found if a.requires_grad).backward()
    sum((b * b).sum() for b in expected if b.requires_grad).backward()
    for p, q in zip(module.parameters(), oracle.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if q.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-7, atol=1e-8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_samples(torch, module_db, nightly, name):
    entry = module_db[name]
    tried = 0
    for training in (True, False):
        made = entry.module_inputs_func(entry, device="cpu", dtype=torch.float64, requires_grad=True, training=training)
        for sample in list(made)[:: 1 if nightly else 20]:
            check(torch, sample, entry.module_cls, training)
            tried += 1
    assert tried >= 2
