"""Activation functions beyond those in `functional.py`, each composed of tensor operations.

The side that a `where` does not take passes no gradient, so an overflow there harms nothing.
"""

import pydiff

from .._rounding import rounded_once


def into(input, result, inplace):
    """`result`, or `input` with its values taken over from it."""
    return input.copy_(result) if inplace else result


@rounded_once
def elu(input, alpha=1.0, inplace=False):
    """x where x > 0, else `alpha * (exp(x) - 1)` (Clevert et al., arXiv:1511.07289).

    >>> import pydiff as pd
    >>> pd.nn.functional.elu(pd.tensor([-float("inf"), 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    return into(input, pydiff.where(input > 0, input, alpha * input.expm1()), inplace)


@rounded_once
def celu(input, alpha=1.0, inplace=False):
    """x where x > 0, else `alpha * (exp(x / alpha) - 1)` (Barron, arXiv:1704.07483).

    Raises ValueError where `alpha` is 0.

    >>> import pydiff as pd
    >>> pd.nn.functional.celu(pd.tensor([-float("inf"), 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    if alpha == 0:
        raise ValueError("[celu] it divides by alpha; got 0; try 1.0")
    low = alpha * (input / alpha).expm1()
    return into(input, pydiff.where(input > 0, input, low), inplace)


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


@rounded_once
def selu(input, inplace=False):
    """`scale * elu(x, alpha)` with the two constants of Klambauer et al., arXiv:1706.02515.

    >>> import pydiff as pd
    >>> round(pd.nn.functional.selu(pd.tensor(1.0)).item(), 4)
    1.0507
    """
    return into(input, _SELU_SCALE * elu(input, _SELU_ALPHA), inplace)


@rounded_once
def glu(input, dim=-1):
    """`a * sigmoid(b)` of the halves a and b of an axis (Dauphin et al., arXiv:1612.08083).

    Raises ValueError where the axis has an odd size.

    >>> import pydiff as pd
    >>> pd.nn.functional.glu(pd.tensor([4.0, 0.0])).tolist()
    [2.0]
    """
    size = input.shape[dim]
    if size % 2:
        raise ValueError(f"[glu] the axis has two halves; got size {size}; try an even size")
    return input.narrow(dim, 0, size // 2) * input.narrow(dim, size // 2, size // 2).sigmoid()


def hardshrink(input, lambd=0.5):
    """x where |x| > lambd, else 0.

    >>> import pydiff as pd
    >>> pd.nn.functional.hardshrink(pd.tensor([0.4, -0.6])).abs().sum().item() > 0.5
    True
    """
    return pydiff.where((input >= -lambd) & (input <= lambd), 0, input)


@rounded_once
def softshrink(input, lambd=0.5):
    """x without `lambd` of its size, 0 where |x| <= lambd. Raises ValueError for lambd < 0.

    >>> import pydiff as pd
    >>> pd.nn.functional.softshrink(pd.tensor([0.4, -1.5])).tolist()
    [0.0, -1.0]
    """
    if lambd < 0:
        raise ValueError(f"[softshrink] lambd is not negative; got {lambd}; try 0.5")
    shrunk = pydiff.where(input > 0, input - lambd, input + lambd)
    return pydiff.where((input >= -lambd) & (input <= lambd), 0, shrunk)


@rounded_once
def hardsigmoid(input, inplace=False):
    """x/6 + 1/2 held in [0, 1] (Howard et al., arXiv:1905.02244).

    >>> import pydiff as pd
    >>> pd.nn.functional.hardsigmoid(pd.tensor([-4.0, 0.0, 4.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    result = pydiff.where(input <= -3, 0, pydiff.where(input >= 3, 1, input / 6 + 0.5))
    return into(input, result, inplace)


@rounded_once
def hardswish(input, inplace=False):
    """x * hardsigmoid(x) (Howard et al., arXiv:1905.02244).

    >>> import pydiff as pd
    >>> pd.nn.functional.hardswish(pd.tensor([-4.0, 4.0])).abs().tolist()
    [0.0, 4.0]
    """
    result = pydiff.where(input <= -3, 0, pydiff.where(input >= 3, input, input * (input + 3) / 6))
    return into(input, result, inplace)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False):
    """x held in [min_val, max_val]; where it is held, and at the ends, the derivative is 0.

    Raises ValueError where `min_val > max_val`.

    >>> import pydiff as pd
    >>> pd.nn.functional.hardtanh(pd.tensor([-2.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min_val > max_val:
        raise ValueError(f"[hardtanh] min_val is not above max_val; got {min_val} and {max_val}; try -1.0 and 1.0")
    if not input.dtype.is_floating_point:
        return into(input, input.clamp(int(min_val), int(max_val)), inplace)
    result = pydiff.where(input <= min_val, min_val, pydiff.where(input >= max_val, max_val, input))
    return into(input, result, inplace)


def relu6(input, inplace=False):
    """x held in [0, 6].

    >>> import pydiff as pd
    >>> pd.nn.functional.relu6(pd.tensor([-1.0, 7.0])).tolist()
    [0.0, 6.0]
    """
    return hardtanh(input, 0.0, 6.0, inplace)


@rounded_once
def logsigmoid(input):
    """log(sigmoid(x)), which does not overflow and does not lose digits.

    >>> import pydiff as pd
    >>> pd.nn.functional.logsigmoid(pd.tensor(-1000.0)).item()
    -1000.0
    """
    # Two forms of one smooth function, so that derivatives of any order are right at 0 too.
    return pydiff.where(input < 0, input - input.exp().log1p(), -(-input).exp().log1p())


@rounded_once
def mish(input, inplace=False):
    """x * tanh(softplus(x)) (Misra, arXiv:1908.08681).

    >>> import pydiff as pd
    >>> pd.nn.functional.mish(pd.tensor([0.0, 50.0])).tolist()
    [0.0, 50.0]
    """
    # Far on the left tanh(softplus(x)) is sigmoid(x), and a denormal number that x must not multiply.
    result = pydiff.where(input < -40, input.silu(), input * (-logsigmoid(-input)).tanh())
    return into(input, result, inplace)


def prelu(input, weight):
    """x where x > 0, else `weight * x`, with a slope for each channel (axis 1) or one for all.

    He et al., arXiv:1502.01852. Raises ValueError where there are neither 1 nor as many slopes
    as channels.

    >>> import pydiff as pd
    >>> pd.nn.functional.prelu(pd.tensor([[-4.0, 2.0]]), pd.tensor([0.5, 0.1])).tolist()
    [[-2.0, 2.0]]
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or weight.numel() not in (1, channels):
        raise ValueError(
            f"[prelu] a slope for each of {channels} channels, or one for all; got "
            f"{tuple(weight.shape)}; try a weight of shape ({channels},)"
        )
    if weight.ndim and weight.numel() != 1:
        weight = weight.reshape((-1,) + (1,) * (input.ndim - 2))
    elif weight.ndim:
        weight = weight.reshape(())
    return pydiff.where(input > 0, input, weight * input)


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """x where x > 0, else a times x; a is drawn from [lower, upper), or their mean without `training`.

    Xu et al., arXiv:1505.00853.

    >>> import pydiff as pd
    >>> pd.nn.functional.rrelu(pd.tensor([-4.0, 2.0]), 0.25, 0.75).tolist()
    [-2.0, 2.0]
    """
    slope = (lower + upper) / 2
    if training:
        slope = lower + (upper - lower) * pydiff.rand(input.shape, dtype=input.dtype, device=input.device)
    return into(input, pydiff.where(input > 0, input, input * slope), inplace)


def softmin(input, dim, dtype=None):
    """softmax(-x) along `dim`.

    >>> import pydiff as pd
    >>> pd.nn.functional.softmin(pd.zeros(4), dim=0).sum().item()
    1.0
    """
    return (-input).softmax(dim, dtype)


@rounded_once
def softsign(input):
    """x / (1 + |x|).

    >>> import pydiff as pd
    >>> pd.nn.functional.softsign(pd.tensor([-1.0, 3.0])).tolist()
    [-0.5, 0.75]
    """
    return input / (1 + input.abs())


@rounded_once
def tanhshrink(input):
    """x - tanh(x).

    >>> import pydiff as pd
    >>> pd.nn.functional.tanhshrink(pd.tensor(0.0)).item()
    0.0
    """
    return input - input.tanh()


def threshold(input, threshold, value, inplace=False):
    """x where x > threshold, else `value`.

    >>> import pydiff as pd
    >>> pd.nn.functional.threshold(pd.tensor([1.0, 3.0]), 2.0, -1.0).tolist()
    [-1.0, 3.0]
    """
    if not input.dtype.is_floating_point:
        value = int(value)
    return into(input, pydiff.where(input <= threshold, value, input), inplace)


def gumbel_softmax(logits, tau=1.0, hard=False, eps=1e-10, dim=-1):
    """A draw of the relaxed one-hot distribution: softmax((logits + Gumbel noise) / tau).

    Arguments:
        tau: temperature, positive.
        hard: whether the result is the nearest one-hot vector, with the gradient of the draw.
        eps: of no effect; PyTorch has it.

    Jang et al., arXiv:1611.01144; Maddison et al., arXiv:1611.00712.

    >>> import pydiff as pd
    >>> pd.nn.functional.gumbel_softmax(pd.zeros(2, 3), hard=True).sum(-1).tolist()
    [1.0, 1.0]
    """
    # 1 - u is in (0, 1], and -log of 1 is 0: its log is held above the smallest number's.
    uniform = pydiff.rand(logits.shape, dtype=logits.dtype, device=logits.device)
    noise = -(-(-uniform).log1p()).clamp(min=1e-37).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    size = logits.shape[dim]
    shape = [1] * logits.ndim
    shape[dim] = size
    place = pydiff.arange(size, device=logits.device).reshape(shape)
    chosen = (place == soft.argmax(dim, keepdim=True)).to(logits.dtype)
    return chosen - soft.detach() + soft


def normalize(input, p=2.0, dim=1, eps=1e-12, out=None):
    """x / max(‖x‖_p, eps), the norm along `dim`.

    >>> import pydiff as pd
    >>> pd.nn.functional.normalize(pd.tensor([[0.0, 4.0]])).tolist()
    [[0.0, 1.0]]
    """
    length = pydiff.norm(input, p, dim, keepdim=True)
    result = input / length.clamp(min=eps)
    return result if out is None else out.copy_(result)


def _in_place(function):
    def method(input, *args, **kwargs):
        return input.copy_(function(input, *args, **kwargs))

    method.__name__ = method.__qualname__ = function.__name__ + "_"
    method.__doc__ = f"`{function.__name__}` in place; returns the input."
    return method


celu_, elu_, hardtanh_ = _in_place(celu), _in_place(elu), _in_place(hardtanh)
rrelu_, selu_, threshold_ = _in_place(rrelu), _in_place(selu), _in_place(threshold)
