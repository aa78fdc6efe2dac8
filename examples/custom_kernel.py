"""Trains a small recurrent network whose step over time is a kernel of one's own, forward and backward.

    python examples/custom_kernel.py

The kernel is the gated recurrence `y[t] = a[t] * y[t-1] + x[t]`: every unit keeps a share `a[t]` of what it knows and
adds something new. Written with tensors it is a loop over time; as a kernel it is one launch. `pydiff.custom_op` makes an
operation of two texts, CUDA C++ for a GPU and C for the CPU. The derivative is a second kernel, the recurrence from the
other end. Each is the other's transpose, so both have derivatives of any order. To see that what is learned is the right
thing, both are first compared with differences, and with the loop.

The data are scikit-learn's digits, read row by row; the test accuracy is printed at the end (0.95 and more).
"""

from _digits import choose_device, leave, load_data, parser_of, train_and_test

import pydiff
from pydiff import nn

LEARNING_RATE = 1e-2
HIDDEN = 64

# One thread, or one turn of the loop, for each row of the batch and each unit; `steps` are those over time.
BODY = """
  {
    long long at = r / units * steps * units + r %% units;
    %(type)s state = 0;
    for (long long t = %(first)s; %(inside)s; %(next)s) {
      long long i = at + t * units;
      state = %(gate)s * state + x[i];
      y[i] = state;
    }
  }
}
"""
PARAMETERS = "(const a_t* a, const x_t* x, out_t* y, long long rows, long long units, long long steps) {"
CUDA = (
    'extern "C" __global__ void %s'
    + PARAMETERS
    + """
  long long r = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (r < rows * units)"""
)
C = (
    "void %s"
    + PARAMETERS
    + """
  for (long long r = 0; r < rows * units; r++)"""
)
FORWARD = BODY % {"type": "out_t", "first": "0", "inside": "t < steps", "next": "t++", "gate": "a[i]"}
BACKWARD = BODY % {
    "type": "out_t", "first": "steps - 1", "inside": "t >= 0", "next": "t--",
    "gate": "(t + 1 < steps ? a[i + units] : 0)",
}  # fmt: skip


def later(x):
    """x[t-1] at every t, and zero at the start; x is `(…, steps, units)`."""
    return pydiff.cat([pydiff.zeros_like(x[..., :1, :]), x[..., :-1, :]], dim=-2)


def earlier(x):
    """x[t+1] at every t, and zero at the end."""
    return pydiff.cat([x[..., 1:, :], pydiff.zeros_like(x[..., :1, :])], dim=-2)


def recurrence_vjp(operands, results, cotangents):
    (a, _), (y,), (g,) = operands, results, cotangents
    gx = recurrence_back(a, g)
    return gx * later(y), gx


def recurrence_back_vjp(operands, results, cotangents):
    (a, _), (y,), (g,) = operands, results, cotangents
    gx = recurrence(a, g)
    return later(gx) * y, gx


def make_op(name, body, vjp, jvp):
    """Gates a and inputs x, both `(…, steps, units)`, to states of that shape."""
    return pydiff.custom_op(
        name,
        shape=lambda a, x: x,
        cuda=CUDA % name + body,
        c=C % name + body,
        grid=lambda a, x: -(-x.numel() // (x.shape[-2] * 128)),
        block=128,
        args=lambda a, x: (x.numel() // (x.shape[-2] * x.shape[-1]), x.shape[-1], x.shape[-2]),
        vjp=vjp,
        jvp=jvp,
        vmap="broadcast_all",
    )


recurrence = make_op("recurrence", FORWARD, recurrence_vjp, lambda i, o, t: recurrence(i[0], t[1] + t[0] * later(o[0])))
recurrence_back = make_op(
    "recurrence_back", BACKWARD, recurrence_back_vjp, lambda i, o, t: recurrence_back(i[0], t[1] + earlier(t[0] * o[0]))
)


def loop(a, x):
    """The same recurrence, step by step."""
    states = [x[..., 0, :]]
    for t in range(1, x.shape[-2]):
        states.append(a[..., t, :] * states[-1] + x[..., t, :])
    return pydiff.stack(states, dim=-2)


class Recurrent(nn.Module):
    """Sequences `(batch, steps, in_features)` to states `(batch, steps, units)`, by one of the two operations."""

    def __init__(self, in_features, units, operation):
        super().__init__()
        self.operation = operation
        self.gate = nn.Linear(in_features, units)
        self.new = nn.Linear(in_features, units)

    def forward(self, x):
        return self.operation(pydiff.sigmoid(self.gate(x)), self.new(x))


class Reader(nn.Module):
    """Images `(batch, 64)`, read row by row from the top and from the bottom, to a score for each digit."""

    def __init__(self):
        super().__init__()
        self.down = Recurrent(8, HIDDEN, recurrence)
        self.up = Recurrent(8, HIDDEN, recurrence_back)
        self.score = nn.Linear(8 * HIDDEN, 10)

    def forward(self, images):
        rows = images.reshape(-1, 8, 8)
        states = pydiff.tanh(self.down(rows) + self.up(rows))
        return self.score(states.reshape(len(images), -1))


def check(device):
    """Raises where a kernel is wrong: against the loop, and its derivatives against differences."""
    a, x = (pydiff.randn(3, 5, 4, device=device) for _ in range(2))
    pydiff.testing.assert_close(recurrence(a, x), loop(a, x))
    pydiff.testing.check_grads(recurrence, order=2)(a, x)
    pydiff.testing.check_grads(recurrence_back, order=2)(a, x)


def main(argv=None):
    options = parser_of("Train a recurrent network through a kernel of one's own.", epochs=20).parse_args(argv)
    try:
        data = load_data()
    except ImportError as error:
        leave(error)
    device = choose_device(options.device)
    pydiff.manual_seed(0)

    print(f"{recurrence!r} on {device}")
    try:
        check(device)
    except RuntimeError as error:  # a compiler that is not there
        leave(error)
    print("it is what the loop computes; its first and second derivatives agree with differences")

    data = [pydiff.tensor(a, device=device) for a in data]
    train_and_test(Reader().to(device), data, options.epochs, LEARNING_RATE)


if __name__ == "__main__":
    main()
