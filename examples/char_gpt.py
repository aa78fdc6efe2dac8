"""Trains a small GPT, character by character, on the language reference that comes with Python, and lets it write.

    python examples/char_gpt.py --save gpt.safetensors
    python examples/char_gpt.py --save gpt.safetensors --steps 2000     goes on where the first one stopped

`pydoc_data.topics`, what `help("assert")` prints, is half a million characters of English and grammar. The last tenth of it
is held back; the loss on it is reported, in nats a character (a model that knows nothing has log(103) = 4.6, one that knows
how often each character comes 3.3). Ctrl-C saves too. A run that was stopped and resumed ends with the same bits as one that
was not.
"""

import argparse
import math
import pydoc_data.topics
import time
from pathlib import Path

import numpy as np
from _digits import at_least, choose_device, leave

import pydiff
from pydiff import nn
from pydiff.nn import functional as F

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 4, 128, 4, 128, 16
LEARNING_RATE, WARM_UP = 2e-3, 50


class Block(nn.Module):
    """Attention to what came before, then two linear layers, each added to the stream."""

    def __init__(self, dropout):
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attend, self.join = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(dropout))

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = self.attend(self.before(x)).reshape(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.join(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.think(self.between(x))


class GPT(nn.Module):
    """Scores of the next character `(batch, length, characters)` from characters `(batch, length)`."""

    def __init__(self, characters, dropout=0.1):
        super().__init__()
        self.characters, self.places = nn.Embedding(characters, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block(dropout) for _ in range(LAYERS)))
        self.last = nn.LayerNorm(WIDTH)
        for embedding in (self.characters, self.places):
            nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, tokens):
        x = self.characters(tokens) + self.places.weight[: tokens.shape[1]]
        return self.last(self.blocks(x)) @ self.characters.weight.T


class Text:
    """The text as numbers, one a character; and back."""

    def __init__(self):
        topics = pydoc_data.topics.topics
        text = "\n\n".join(topics[name] for name in sorted(topics))
        self.alphabet = sorted(set(text))
        number = {character: k for k, character in enumerate(self.alphabet)}
        self.numbers = np.array([number[c] for c in text])
        cut = len(text) * 9 // 10
        self.train, self.held_back = self.numbers[:cut], self.numbers[cut:]

    def batch(self, seed, step):
        """BATCH pieces of CONTEXT + 1 characters, by the step alone: a resumed run sees what it would have seen."""
        starts = np.random.default_rng([seed, step]).integers(0, self.train.size - CONTEXT, BATCH)
        return self.train[starts[:, None] + np.arange(CONTEXT + 1)]

    def read(self, numbers):
        return "".join(self.alphabet[k] for k in numbers)

    def write(self, text):
        """Its numbers; characters that the text has not are left out."""
        return [self.alphabet.index(c) for c in text if c in self.alphabet]


def loss_of(model, pieces):
    scores = model(pieces[:, :-1])
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), pieces[:, 1:].reshape(-1))


def validate(model, text, device):
    """The mean loss over all that was held back."""
    model.eval()
    whole = text.held_back[: text.held_back.size // (CONTEXT + 1) * (CONTEXT + 1)].reshape(-1, CONTEXT + 1)
    total = 0.0
    with pydiff.no_grad():
        for k in range(0, len(whole), 4 * BATCH):
            part = whole[k : k + 4 * BATCH]
            total += loss_of(model, pydiff.tensor(part, device=device)).item() * len(part)
    model.train()
    return total / len(whole)


def sample(model, text, start, count, device, temperature=0.8):
    """`start` and `count` characters more, each drawn from the model's probabilities."""
    model.eval()
    numbers = text.write(start)
    with pydiff.no_grad():
        for _ in range(count):
            scores = model(pydiff.tensor([numbers[-CONTEXT:]], device=device))[0, -1]
            numbers.append(pydiff.multinomial((scores / temperature).softmax(0), 1).item())
    model.train()
    return text.read(numbers)


def learning_rate(step, steps):
    """Up in WARM_UP steps, then down along a cosine to a tenth."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.55 + 0.45 * math.cos(math.pi * min(1, (step - WARM_UP) / max(1, steps - WARM_UP)))


def main(argv=None):
    parser = argparse.ArgumentParser(description="Train a small GPT on Python's language reference.")
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda", "auto"), default="auto", help="where to train (default: auto)")
    add("--steps", type=at_least(1), default=1000, metavar="N", help="in all, those of earlier runs included (default: 1000)")
    add("--stop-after", type=at_least(1), metavar="N", help="stop early, as Ctrl-C does")
    add("--save", type=Path, metavar="FILE", help="keep model and optimiser here, and go on from them where they are there")
    add("--seed", type=at_least(0), default=0, metavar="N", help="of weights, batches and dropout (default: 0)")
    add("--start", default='The "while" statement', metavar="TEXT", help="what the sample begins with")
    add("--sample", type=at_least(0), default=400, metavar="N", help="characters to write at the end (default: 400)")
    options = parser.parse_args(argv)
    device = choose_device(options.device)
    pydiff.manual_seed(options.seed)

    text = Text()
    if not text.write(options.start):
        leave(f"expected a beginning of characters that the text has; got {options.start!r}")
    model = GPT(len(text.alphabet)).to(device)
    optimizer = pydiff.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.1)
    done = 0
    if options.save and options.save.exists():
        state = pydiff.load(options.save)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        pydiff.set_rng_state(state["random"])
        done = state["step"]
        print(f"going on after step {done} of {options.save}")
    print(f"{text.train.size:,} characters to train with, {sum(p.numel() for p in model.parameters()):,} parameters, {device}")

    start, first, total, counted = time.perf_counter(), done, 0.0, 0
    try:
        while done < options.steps and done - first != options.stop_after:
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * learning_rate(done, options.steps)
            loss = loss_of(model, pydiff.tensor(text.batch(options.seed, done), device=device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            total, counted = total + loss.detach(), counted + 1
            if done % 100 == 0 or done == options.steps:
                speed = (done - first) * BATCH * CONTEXT / (time.perf_counter() - start)
                print(f"step {done:5}   loss {total.item() / counted:.4f}   {speed:,.0f} characters a second", flush=True)
                total, counted = 0.0, 0
    except KeyboardInterrupt:
        print(f"stopped after step {done}")
    if options.save:
        random = pydiff.get_rng_state()
        pydiff.save(
            {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "random": random, "step": done}, options.save
        )
        print(f"saved to {options.save}")
    print(f"validation loss {validate(model, text, device):.4f}")
    if options.sample:
        print("----\n" + sample(model, text, options.start, options.sample, device))


if __name__ == "__main__":
    main()
