"""Trains a small network whose activation is one line of one's own, with a parameter that is learned too.

    python examples/custom_activation.py

The activation is `x * sigmoid(beta*x)`: with beta = 0 half of x, with a large beta nearly ReLU. Every hidden
unit learns its own beta. Nobody writes a derivative, or a kernel: `pydiff.elementwise` makes one fused operation
of the text. To see that what is learned is the right thing, the gradient is first compared with differences. The
data are scikit-learn's digits; the test accuracy is printed (0.95 and more), then the betas.
"""

from _digits import choose_device, leave, load_data, parser_of, train_and_test

import pydiff
from pydiff import nn

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


def main(argv=None):
    options = parser_of("Train a network with an activation made of one expression.", epochs=15).parse_args(argv)
    try:
        data = load_data()
    except ImportError as error:
        leave(error)
    device = choose_device(options.device)
    pydiff.manual_seed(0)

    print(f"{swish!r} on {device}")
    pydiff.testing.check_grads(swish, order=2)(pydiff.randn(5), pydiff.randn(5))
    print("its first and second derivatives agree with differences")

    model = make_model().to(device)
    train_and_test(model, [pydiff.tensor(a, device=device) for a in data], options.epochs, LEARNING_RATE)
    for name, value in model.named_parameters():
        if name.endswith("beta"):
            print(f"{name} from {value.min().item():.2f} to {value.max().item():.2f}")


if __name__ == "__main__":
    main()
