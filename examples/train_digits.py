"""Trains a small network on scikit-learn's digits: 1797 scans of handwritten digits, 8 × 8 grey values each.

    python examples/train_digits.py --plot digits.png

Prints a line an epoch, then the accuracy on images that training never saw (0.97 and more), and saves the
trained weights as an ordinary .npz file. To use them again:

    model = make_model()
    model.load_state_dict(dict(numpy.load("digits.npz")))
"""

import argparse
import time
from pathlib import Path

import numpy as np
from _digits import BATCH, accuracy, at_least, choose_device, leave, load_data, parser_of

import pydiff
from pydiff import nn

LEARNING_RATE = 3e-3
NOISE = 0.25  # of the grey values, which lie in [0, 1]; a network that sees no image twice learns no image by heart


def make_model():
    """The network: 64 grey values in, one score a digit out."""
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))


def train(model, images, labels, test_images, test_labels, epochs):
    """Train in place; returns one `(loss, accuracy, test accuracy)` an epoch."""
    optimizer = pydiff.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    history = []
    for epoch in range(epochs):
        start = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - epoch / epochs)
        order = pydiff.randperm(len(images), device=images.device)
        for i in range(0, len(images), BATCH):
            batch = order[i : i + BATCH]
            inputs = images[batch]
            inputs = inputs + NOISE * pydiff.randn_like(inputs)
            loss = nn.functional.cross_entropy(model(inputs), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with pydiff.no_grad():
            loss = nn.functional.cross_entropy(model(images), labels).item()
        known = accuracy(model, images, labels).item()
        unseen = accuracy(model, test_images, test_labels).item()
        history.append((loss, known, unseen))
        print(
            f"epoch {epoch + 1:3}/{epochs}   loss {loss:.4f}   accuracy {known:.4f}   "
            f"test accuracy {unseen:.4f}   {time.perf_counter() - start:.2f} s",
            flush=True,
        )
    return history


def draw(path, history, images, labels, probabilities):
    """A picture of how training went and of what the network gets wrong."""
    import matplotlib

    matplotlib.use("Agg")  # draws into files, without a screen
    from matplotlib import pyplot as plt

    loss, accuracy, test_accuracy = zip(*history)
    epochs = range(1, len(history) + 1)
    guesses = probabilities.argmax(1)
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1, 1.2))

    axes = figure.add_subplot(grid[0, 0])
    axes.semilogy(epochs, loss, color="tab:blue")
    axes.set(xlabel="epoch", title="Loss and accuracy")
    axes.set_ylabel("training loss", color="tab:blue")
    right = axes.twinx()
    right.plot(epochs, accuracy, color="tab:orange", label="training images")
    right.plot(epochs, test_accuracy, color="tab:green", label="test images")
    right.set_ylabel("accuracy")
    right.set_ylim(min(0.9, min(test_accuracy)), 1.002)
    right.legend(loc="center right")

    axes = figure.add_subplot(grid[:, 1])
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, guesses), 1)
    axes.imshow(confusion, cmap="Blues")
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            dark = count > confusion.max() / 2
            axes.text(column, row, count, ha="center", va="center", color="white" if dark else "black")
    axes.set(
        xlabel="the network's answer",
        ylabel="the digit",
        xticks=range(10),
        yticks=range(10),
        title=f"Test images: {np.trace(confusion)} of {len(labels)} right",
    )

    # The errors that the network was surest of are those that one would want to look at.
    wrong = np.flatnonzero(guesses != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, guesses[wrong]], kind="stable")][:8]
    panel = grid[1, 0].subgridspec(2, 4)
    for place in range(8):
        axes = figure.add_subplot(panel[place // 4, place % 4])
        axes.axis("off")
        if place < len(wrong):
            k = wrong[place]
            axes.imshow(images[k].reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            sure = probabilities[k, guesses[k]]
            axes.set_title(f"is {labels[k]}, said {guesses[k]}\n({sure:.0%} sure)", fontsize=8)
        elif place == 0:
            axes.text(0.5, 0.5, "nothing wrong", ha="center")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def output_file(text):
    """An argument that names a file in a folder that exists."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"this is a folder; got {text!r}; try the name of a file in it")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"its folder does not exist; got {text!r}; try: mkdir -p {path.parent}")
    return path


def parse_arguments(argv):
    parser = parser_of("Train a network on scikit-learn's digits.", epochs=60)
    add = parser.add_argument
    add("--seed", type=at_least(0), default=0, metavar="N", help="of weights, order and noise (default: 0)")
    add("--plot", type=output_file, metavar="FILE", help="draw curves, confusion matrix and errors")
    add("--save", type=output_file, default="digits.npz", metavar="FILE", help="trained weights (default: digits.npz)")
    return parser.parse_args(argv)


def main(argv=None):
    options = parse_arguments(argv)
    try:
        images, test_images, labels, test_labels = load_data()
        if options.plot:
            import matplotlib  # noqa: F401  before the training, not after it
    except ImportError as error:
        leave(error)
    device = choose_device(options.device)
    pydiff.manual_seed(options.seed)

    x, y, test_x, test_y = (pydiff.tensor(a, device=device) for a in (images, labels, test_images, test_labels))
    model = make_model().to(device)
    print(f"{len(images)} images to train with, {len(test_images)} to test with, device {device}")
    start = time.perf_counter()
    history = train(model, x, y, test_x, test_y, options.epochs)
    print(f"trained in {time.perf_counter() - start:.1f} s")

    with open(options.save, "wb") as file:
        np.savez(file, **{name: value.numpy() for name, value in model.state_dict().items()})

    # What anyone else does with the file: the same network, the weights read, and asked.
    restored = make_model()
    with np.load(options.save) as file:
        restored.load_state_dict(dict(file))
    restored.to(device)
    print(f"weights saved to {options.save}")
    if options.plot:
        with pydiff.no_grad():
            probabilities = restored(test_x).softmax(dim=1).numpy()
        draw(options.plot, history, test_images, test_labels, probabilities)
        print(f"picture saved to {options.plot}")
    print(f"test accuracy {accuracy(restored, test_x, test_y).item():.4f}")


if __name__ == "__main__":
    main()
