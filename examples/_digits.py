"""What the examples share: scikit-learn's digits, a plain training loop, and the arguments of their command lines."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

import pydiff
from pydiff import nn

BATCH = 64


def load_data():
    """Images `(n, 64)` in [0, 1] and labels `(n,)`: four fifths to train with, one fifth to test with."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    return train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)


def leave(what):
    """Ends the program with a message of its own and no traceback. `what` may be an ImportError."""
    if isinstance(what, ImportError):
        what = f"{what.name} is not installed; try: pip install 'pydiff-tensor[examples]'"
    raise SystemExit(f"{Path(sys.argv[0]).name}: error: {what}") from None


def choose_device(name):
    """The device to train on; `auto` is the GPU where there is one."""
    if name == "cpu":
        return name
    device = "cuda" if name == "auto" else name
    try:
        pydiff.zeros(1, device=device)
    except (RuntimeError, ValueError) as error:
        if name == "auto":
            return "cpu"
        leave(f"no GPU to train on: {error}")
    return device


def accuracy(model, images, labels):
    """The share of the images that the model gives their label, as a tensor of one element."""
    with pydiff.no_grad():
        return (model(images).argmax(dim=1) == labels).float().mean()


def train_and_test(model, data, epochs, learning_rate):
    """Trains in place with Adam; prints a line an epoch, the time, and at the end the accuracy on the test images.

    `data` is what load_data gives, as tensors on the model's device.
    """
    images, test_images, labels, test_labels = data
    start = time.perf_counter()
    optimizer = pydiff.optim.Adam(model.parameters(), lr=learning_rate)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - epoch / epochs)
        order = pydiff.randperm(len(images), device=images.device)
        total = 0.0
        for i in range(0, len(images), BATCH):
            batch = order[i : i + BATCH]
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total = total + loss.detach() * len(batch)
        print(f"epoch {epoch + 1:3}/{epochs}   loss {total.item() / len(images):.4f}", flush=True)
    print(f"trained in {time.perf_counter() - start:.1f} s")
    print(f"test accuracy {accuracy(model, test_images, test_labels).item():.4f}")


def at_least(low):
    """An argument's type: a whole number, `low` or more."""

    def whole_number(text):
        if not text.lstrip("-").isdigit() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected a whole number, {low} or more; got {text!r}")
        return int(text)

    return whole_number


def parser_of(description, epochs):
    """A parser with the arguments that all examples take."""
    parser = argparse.ArgumentParser(description=description)
    add = parser.add_argument
    add("--device", choices=("cpu", "cuda", "cuda-host", "auto"), default="auto", help="where to train (default: auto)")
    add("--epochs", type=at_least(1), default=epochs, metavar="N", help=f"passes over the images (default: {epochs})")
    return parser
