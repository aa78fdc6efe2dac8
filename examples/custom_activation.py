"""Trains a small network whose activation is one line of one's own, with a parameter that is learned too.

    python examples/custom_activation.py

The activation is `x * sigmoid(beta*x)`: with beta = 0 half of x, with a large beta nearly ReLU. Every hidden
unit learns its own beta. Nobody writes a derivative, or a kernel: `pydiff.elementwise` makes one fused operation
of the text. To see that what is learned is the right thing, the gradient is first compared with differences. The
data are scikit-learn's digits; the test accuracy is printed at the end (0.95 and more).
"""

import sys
import time

from _digits import choose_device, load_data, parser_of

import pydiff
from pydiff import nn

BATCH = 64
LEARNING_RATE = 3e-3
HIDDEN = 96

swish = pydiff.elementwise("x * sigmoid(beta*x)", names="x, beta", name="swish")


class Swish(nn.Module):
    """The activation, with one beta a unit."""

    def __init__(self, units):
        super().__init__()
        self.beta = nn.Parameter(pydiff.ones(units))

    def forward(self, x):
        return swish(x, self.beta)


def make_model():
    """The network: 64 grey values in, one score a digit out."""
    hidden = nn.Linear(64, HIDDEN), Swish(HIDDEN), nn.Linear(HIDDEN, HIDDEN), Swish(HIDDEN)
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, 10))


def train(model, images, labels, epochs):
    """Train in place; prints a line an epoch."""
    optimizer = pydiff.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - epoch / epochs)
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


def main(argv=None):
    options = parser_of("Train a network with an activation made of one expression.", epochs=15).parse_args(argv)
    try:
        images, test_images, labels, test_labels = load_data()
    except ImportError as error:
        hint = "pip install 'pydiff-tensor[examples]'"
        sys.exit(f"custom_activation.py: error: {error.name} is not installed; try: {hint}")
    device = choose_device(options.device)
    pydiff.manual_seed(0)

    print(f"{swish!r} on {device}")
    pydiff.testing.check_grads(swish, order=2)(pydiff.randn(5), pydiff.randn(5))
    print("its first and second derivatives agree with differences")

    x, y, test_x, test_y = (pydiff.tensor(a, device=device) for a in (images, labels, test_images, test_labels))
    model = make_model().to(device)
    start = time.perf_counter()
    train(model, x, y, options.epochs)
    print(f"trained in {time.perf_counter() - start:.1f} s")
    for name, value in model.named_parameters():
        if name.endswith("beta"):
            print(f"{name} from {value.min().item():.2f} to {value.max().item():.2f}")
    with pydiff.no_grad():
        accuracy = (model(test_x).argmax(dim=1) == test_y).float().mean()
    print(f"test accuracy {accuracy.item():.4f}")


if __name__ == "__main__":
    main()
