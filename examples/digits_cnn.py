"""A convolutional network on scikit-learn's digits: 1797 scans of handwritten digits, 8 × 8 grey values each.

    python examples/digits_cnn.py --plot cnn.png

Images come from a DataLoader and are shifted and turned a little, so that the network sees none twice; batch norm, dropout
and a one-cycle schedule. Prints a line an epoch, then the accuracy on images that training never saw (0.985 and more).
"""

import time

import numpy as np
from _digits import at_least, choose_device, leave, load_data, parser_of
from train_digits import draw, output_file

import pydiff
from pydiff import nn
from pydiff.data import DataLoader, TensorDataset
from pydiff.data import transforms as T
from pydiff.nn import functional as F

LEARNING_RATE, BATCH = 1e-2, 64


def block(inputs, outputs):
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def make_model():
    """Images `(n, 1, 8, 8)` in, one score a digit out."""
    return nn.Sequential(
        *block(1, 32), *block(32, 32), nn.MaxPool2d(2), *block(32, 64), *block(64, 64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 2 * 2, 10),
    )  # fmt: skip


def predict(model, images):
    """Probabilities `(n, 10)`."""
    model.eval()
    with pydiff.no_grad():
        result = model(images).softmax(dim=1)
    model.train()
    return result


def main(argv=None):
    parser = parser_of("Train a convolutional network on scikit-learn's digits.", epochs=30)
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of weights, order and noise (default: 0)")
    parser.add_argument("--plot", type=output_file, metavar="FILE", help="draw curves, confusion matrix and errors")
    options = parser.parse_args(argv)
    try:
        images, test_images, labels, test_labels = load_data()
    except ImportError as error:
        leave(error)
    device = choose_device(options.device)
    pydiff.manual_seed(options.seed)

    x, test_x = (pydiff.tensor(a.reshape(-1, 1, 8, 8), device=device) for a in (images, test_images))
    y, test_y = (pydiff.tensor(a, device=device) for a in (labels, test_labels))
    loader = DataLoader(TensorDataset(x, y), batch_size=BATCH, shuffle=True, drop_last=True)
    move = T.RandomAffine(degrees=10, translate=(0.08, 0.08), scale=(0.9, 1.1))
    model = make_model().to(device)
    optimizer = pydiff.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = pydiff.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=options.epochs * len(loader))
    print(f"{len(x)} images to train with, {len(test_x)} to test with, device {device}")

    history, begin = [], time.perf_counter()
    for epoch in range(options.epochs):
        start, total = time.perf_counter(), 0.0
        for inputs, targets in loader:
            loss = F.cross_entropy(model(move(inputs)), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total = total + loss.detach()
        known, unseen = ((predict(model, a).argmax(1) == b).float().mean().item() for a, b in ((x, y), (test_x, test_y)))
        history.append((total.item() / len(loader), known, unseen))
        print(
            f"epoch {epoch + 1:3}/{options.epochs}   loss {history[-1][0]:.4f}   accuracy {known:.4f}   "
            f"test accuracy {unseen:.4f}   {time.perf_counter() - start:.2f} s",
            flush=True,
        )
    print(f"trained in {time.perf_counter() - begin:.1f} s")
    if options.plot:
        draw(options.plot, history, test_images, test_labels, predict(model, test_x).numpy().astype(np.float64))
        print(f"picture saved to {options.plot}")
    print(f"test accuracy {history[-1][2]:.4f}")


if __name__ == "__main__":
    main()
