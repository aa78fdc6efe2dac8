"""What the examples share: scikit-learn's digits, and the arguments of their command lines."""

import argparse
import sys
from pathlib import Path

import numpy as np

import pydiff


def load_data():
    """Images `(n, 64)` in [0, 1] and labels `(n,)`: four fifths to train with, one fifth to test with."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    labels = digits.target.astype(np.int64)
    return train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)


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
        raise SystemExit(f"{Path(sys.argv[0]).name}: error: no GPU to train on: {error}") from None
    return device


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
