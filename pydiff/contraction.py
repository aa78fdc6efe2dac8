"""Products that sum over axes, lowered to permute, reshape and matmul."""

import functools
import string

from ._C import matmul, result_type
from .ops import _axis, arange, broadcast_shapes, roll

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "chain_matmul", "cross", "dot", "einsum", "ger", "inner", "kron",
    "mm", "mv", "outer", "tensordot", "vdot",
]  # fmt: skip


def _check(op, tensor, ndim):
    if tensor.ndim != ndim:
        what = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}[ndim]
        raise ValueError(f"[{op}] {what} is needed; got {tensor.shape}; try matmul, which broadcasts")


def _in_dtype(product, a, b, out_dtype):
    """The product of operands that are first cast to `out_dtype`, where one is given."""
    return product(a, b) if out_dtype is None else product(a.to(out_dtype), b.to(out_dtype))


def mm(input, mat2, out_dtype=None):
    """Product of two matrices; in `out_dtype` where one is given.

    >>> import pydiff as pd
    >>> tuple(pd.mm(pd.zeros(2, 3), pd.zeros(3, 4)).shape)
    (2, 4)
    """
    _check("mm", input, 2)
    _check("mm", mat2, 2)
    return _in_dtype(matmul, input, mat2, out_dtype)


def bmm(input, mat2, out_dtype=None):
    """Products of two batches of matrices; in `out_dtype` where one is given.

    >>> import pydiff as pd
    >>> tuple(pd.bmm(pd.zeros(5, 2, 3), pd.zeros(5, 3, 4)).shape)
    (5, 2, 4)
    """
    _check("bmm", input, 3)
    _check("bmm", mat2, 3)
    return _in_dtype(matmul, input, mat2, out_dtype)


def mv(input, vec):
    """Product of a matrix and a vector.

    >>> import pydiff as pd
    >>> pd.mv(pd.eye(2), pd.tensor([1., 2.])).tolist()
    [1.0, 2.0]
    """
    _check("mv", input, 2)
    _check("mv", vec, 1)
    return matmul(input, vec)


def dot(input, other):
    """Sum of the products of two vectors' elements.

    >>> import pydiff as pd
    >>> pd.dot(pd.tensor([1., 2.]), pd.tensor([3., 4.])).item()
    11.0
    """
    _check("dot", input, 1)
    _check("dot", other, 1)
    return matmul(input, other)


vdot = dot


def inner(input, other):
    """Sums of products over the last axis of both.

    >>> import pydiff as pd
    >>> tuple(pd.inner(pd.zeros(2, 3), pd.zeros(4, 3)).shape)
    (2, 4)
    """
    if not input.ndim or not other.ndim:
        return input * other
    return tensordot(input, other, ([-1], [-1]))


def outer(input, vec2):
    """Products of all pairs of two vectors' elements.

    >>> import pydiff as pd
    >>> pd.outer(pd.tensor([1, 2]), pd.tensor([3, 4])).tolist()
    [[3, 4], [6, 8]]
    """
    _check("outer", input, 1)
    _check("outer", vec2, 1)
    return input.unsqueeze(1) * vec2


ger = outer


def addmm(input, mat1, mat2, out_dtype=None, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2); in `out_dtype` where one is given.

    >>> import pydiff as pd
    >>> pd.addmm(pd.ones(1), pd.eye(1), pd.eye(1)).tolist()
    [[2.0]]
    """
    return _plus(input, mm(mat1, mat2, out_dtype), beta, alpha)


def baddbmm(input, batch1, batch2, out_dtype=None, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2); in `out_dtype` where one is given.

    >>> import pydiff as pd
    >>> tuple(pd.baddbmm(pd.zeros(1), pd.zeros(5, 2, 3), pd.zeros(5, 3, 4)).shape)
    (5, 2, 4)
    """
    return _plus(input, bmm(batch1, batch2, out_dtype), beta, alpha)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * the sum of a batch of products.

    >>> import pydiff as pd
    >>> pd.addbmm(pd.zeros(1), pd.ones(2, 1, 3), pd.ones(2, 3, 1)).tolist()
    [[6.0]]
    """
    return _plus(input, bmm(batch1, batch2).sum(0), beta, alpha)


def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * (mat @ vec).

    >>> import pydiff as pd
    >>> pd.addmv(pd.ones(2), pd.eye(2), pd.tensor([1., 2.])).tolist()
    [2.0, 3.0]
    """
    return _plus(input, mv(mat, vec), beta, alpha)


def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * outer(vec1, vec2).

    >>> import pydiff as pd
    >>> pd.addr(pd.ones(1), pd.tensor([2.]), pd.tensor([3., 4.])).tolist()
    [[7.0, 9.0]]
    """
    return _plus(input, outer(vec1, vec2), beta, alpha)


def _plus(input, product, beta, alpha):
    """beta * input + alpha * product; with beta = 0 nothing of `input` matters, a NaN neither."""
    product = _scaled(product, alpha)
    if beta == 0:
        return product.to(result_type(input, product)).expand(broadcast_shapes(input.shape, product.shape))
    return _scaled(input, beta) + product


def _scaled(tensor, factor):
    """Scaled in its own dtype: of bools and integers by what is whole of the factor, as PyTorch does it."""
    if factor == 1:
        return tensor
    category = tensor.dtype.category
    return tensor & bool(factor) if category == "bool" else tensor * (int(factor) if category == "integer" else factor)


def chain_matmul(*matrices):
    """Product of matrices in the cheapest order; see `linalg.multi_dot`.

    >>> import pydiff as pd
    >>> pd.chain_matmul(pd.eye(2), pd.ones(2, 1), pd.ones(1, 1)).tolist()
    [[1.0], [1.0]]
    """
    from .linalg import multi_dot

    for m in matrices:
        _check("chain_matmul", m, 2)
    return matrices[0] if len(matrices) == 1 else multi_dot(matrices)


def cross(input, other, dim=None):
    """The vector product along an axis of size 3, by default the first such; the other axes broadcast.

    >>> import pydiff as pd
    >>> pd.cross(pd.tensor([1, 0, 0]), pd.tensor([0, 1, 0])).tolist()
    [0, 0, 1]
    """
    shape = broadcast_shapes(input.shape, other.shape)
    if dim is None:
        dim = next((k for k, n in enumerate(shape) if n == 3), None)
        if dim is None:
            raise ValueError(f"[cross] an axis of size 3 is needed; got {input.shape} and {other.shape}; try vectors of 3")
    dim = _axis("cross", dim, len(shape))
    if not shape or input.ndim != other.ndim or input.shape[dim] != 3 or other.shape[dim] != 3:
        raise ValueError(
            f"[cross] both have 3 elements along the axis; got {input.shape} and {other.shape}, axis {dim}; try another axis"
        )
    # (a × b)_k = a_(k+1) b_(k+2) - a_(k+2) b_(k+1)
    a1, a2 = (roll(input, -k, dim) for k in (1, 2))
    b1, b2 = (roll(other, -k, dim) for k in (1, 2))
    return a1 * b2 - a2 * b1


def kron(input, other):
    """The Kronecker product.

    >>> import pydiff as pd
    >>> pd.kron(pd.tensor([1, 2]), pd.tensor([1, 1])).tolist()
    [1, 1, 2, 2]
    """
    n = max(input.ndim, other.ndim)
    a = (1,) * (n - input.ndim) + tuple(input.shape)
    b = (1,) * (n - other.ndim) + tuple(other.shape)
    left = [s for k in range(n) for s in (a[k], 1)]
    right = [s for k in range(n) for s in (1, b[k])]
    return (input.reshape(left) * other.reshape(right)).reshape([x * y for x, y in zip(a, b)])


def tensordot(a, b, dims=2):
    """Sums of products over axes of both.

    Arguments:
        dims: how many of the last axes of `a` meet the first of `b`, or the two lists of axes.

    >>> import pydiff as pd
    >>> tuple(pd.tensordot(pd.zeros(2, 3, 4), pd.zeros(4, 3, 5), ([1, 2], [1, 0])).shape)
    (2, 5)
    """
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ValueError(f"[tensordot] more axes than there are; got {dims} for {a.shape} and {b.shape}; try less")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in dims)
        left, right = [_axis("tensordot", d, a.ndim) for d in left], [_axis("tensordot", d, b.ndim) for d in right]
        for i, j in zip(left, right):  # an axis of size 1 repeats: its partner is summed
            if a.shape[i] != b.shape[j] and 1 in (a.shape[i], b.shape[j]):
                a, b = (a.sum(i, keepdim=True), b) if b.shape[j] == 1 else (a, b.sum(j, keepdim=True))
    if [a.shape[k] for k in left] != [b.shape[k] for k in right]:
        raise ValueError(
            f"[tensordot] the summed axes differ in size; got {a.shape} over {left} and {b.shape} over {right}; "
            "try axes of equal sizes"
        )
    names = {}
    labels_a = list(range(a.ndim))
    labels_b = [a.ndim + k for k in range(b.ndim)]
    for i, j in zip(left, right):
        labels_b[j] = labels_a[i]
        names[labels_a[i]] = True
    keep = [x for x in labels_a if x not in names] + [x for x in labels_b if x not in names]
    return _pair(a, labels_a, b, labels_b, keep)[0]


# ---- einsum


def einsum(equation, *operands):
    """Sums of products in Einstein's notation: axes that are not named after `->` are summed.

    In place of letters numbers from 0 to 51 may name axes, in a list (with `...`) after each operand and one for the
    result: `einsum(a, [0, 1], b, [1, 2], [0, 2])`. With three operands or more the order of the pairwise products is
    opt_einsum's. Raises ValueError where the equation and the shapes do not fit.

    >>> import pydiff as pd
    >>> pd.einsum("ij,jk->ik", pd.eye(2), pd.ones(2, 2)).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
    if not isinstance(equation, str):
        equation, operands = _spelled((equation, *operands))
    if len(operands) == 1 and isinstance(operands[0], (tuple, list)):
        operands = tuple(operands[0])
    inputs, output = _parse(equation.replace(" ", ""), tuple(t.ndim for t in operands))
    sizes = {}
    for labels, t in zip(inputs, operands):
        for label, size in zip(labels, t.shape):
            if sizes.setdefault(label, size) != size:
                if 1 not in (size, sizes[label]):
                    raise ValueError(
                        f"[einsum] an index has two sizes; got {sizes[label]} and {size} in {equation!r} of "
                        f"{', '.join(str(t.shape) for t in operands)}; try equal sizes"
                    )
                sizes[label] = max(size, sizes[label])
    dtype = result_type(*operands)
    work = []
    for labels, t in zip(inputs, operands):
        t = t.to(dtype).expand([sizes[x] for x in labels]) if labels else t.to(dtype)
        work.append(_own_diagonals(t, list(labels)))
    for i, j in _path(inputs, output, tuple(t.shape for t in operands)):
        b, a = work.pop(max(i, j)), work.pop(min(i, j))
        rest = set(output).union(*[labels for _, labels in work]) if work else set(output)
        work.append(_pair(*a, *b, rest, output))
    tensor, labels = work[0]
    gone = [k for k, x in enumerate(labels) if x not in output]
    if gone:
        tensor = tensor.sum(gone)
        labels = [x for x in labels if x in output]
    return tensor.permute([labels.index(x) for x in output]) if labels != list(output) else tensor


def _spelled(arguments):
    """The form `tensor, numbers, tensor, numbers, …, [numbers]` as an equation and its operands."""

    def letters(numbers):
        for n in numbers:
            if n is not Ellipsis and not (isinstance(n, int) and 0 <= n < 52):
                raise ValueError(f"[einsum] axes have numbers from 0 to 51; got {n!r}; try smaller numbers")
        return "".join("..." if n is Ellipsis else string.ascii_letters[n] for n in numbers)

    operands, terms = arguments[0 : len(arguments) - 1 : 2], arguments[1::2]
    if not all(isinstance(t, (tuple, list)) for t in terms) or not terms:
        raise TypeError("[einsum] an equation comes first, or each operand before its axes; got another order; try 'ij,jk->ik'")
    equation = ",".join(map(letters, terms))
    return equation + ("->" + letters(arguments[-1]) if len(arguments) % 2 else ""), operands


@functools.lru_cache(maxsize=512)
def _parse(equation, ranks):
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise ValueError(
            f"[einsum] one term for each operand is needed; got {len(terms)} for {len(ranks)} in {equation!r}; "
            "try terms separated by commas"
        )
    inputs, widest = [], 0
    for term, rank in zip(terms, ranks):
        named = len(term.replace("...", ""))
        if rank < named or ("..." not in term and rank != named):
            raise ValueError(
                f"[einsum] a term names another number of axes; got {term!r} for {rank} axes; try one letter an axis"
            )
        if "..." in term:
            widest = max(widest, rank - named)
    dots = [f"#{k}" for k in range(widest)]

    def spell(term, count):
        head, found, tail = term.partition("...")
        for letter in head + tail:
            if not letter.isalpha():
                raise ValueError(f"[einsum] indices are letters; got {letter!r} in {equation!r}; try 'ij,jk->ik'")
        return [*head, *(dots[widest - count :] if found else []), *tail]

    for term, rank in zip(terms, ranks):
        inputs.append(tuple(spell(term, rank - len(term.replace("...", "")))))
    if arrow:
        output = spell(right, widest)
    else:
        letters = left.replace("...", "").replace(",", "")
        output = dots + sorted(c for c in set(letters) if letters.count(c) == 1)
    known = {x for term in inputs for x in term}
    if len(set(output)) != len(output) or not set(output) <= known:
        raise ValueError(
            f"[einsum] the result names each index once; got {right!r} in {equation!r}; try indices of the operands"
        )
    return tuple(inputs), tuple(output)


@functools.lru_cache(maxsize=512)
def _path(inputs, output, shapes):
    count = len(inputs)
    if count < 3:
        return [(0, 1)] * (count - 1)
    import opt_einsum

    letters = {}
    for term in inputs:
        for label in term:
            letters.setdefault(label, opt_einsum.get_symbol(len(letters)))
    equation = ",".join("".join(letters[x] for x in term) for term in inputs)
    equation += "->" + "".join(letters[x] for x in output)
    path, _ = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize="auto")
    steps = []
    for step in path:  # steps of more than two are taken pair by pair
        step = sorted(step)
        if len(step) == 1:
            continue
        steps.append((step[0], step[1]))
        remaining = count - 1
        for taken, k in enumerate(step[2:]):
            steps.append((k - 2 - taken, remaining - 1))
            remaining -= 1
        count = remaining
    return steps


def _own_diagonals(tensor, labels):
    """An index that a term names twice runs along the diagonal."""
    for label in list(dict.fromkeys(labels)):
        while labels.count(label) > 1:
            i = labels.index(label)
            j = labels.index(label, i + 1)
            rest = [k for k in range(len(labels)) if k not in (i, j)]
            along = arange(tensor.shape[i], device=tensor.device)
            tensor = tensor.permute([i, j, *rest])[along, along]
            labels = [label] + [labels[k] for k in rest]
    return tensor, labels


def _pair(a, labels_a, b, labels_b, keep, output=()):
    """Two operands into one: (tensor, labels), near the order of `output`. Indices outside `keep` are summed."""
    keep = set(keep)
    a, labels_a = _sum_alone(a, labels_a, keep | set(labels_b))
    b, labels_b = _sum_alone(b, labels_b, keep | set(labels_a))
    both = [x for x in labels_a if x in labels_b]
    batch = [x for x in both if x in keep]
    summed = [x for x in both if x not in keep]
    last = next((x for x in reversed(output) if x in keep and x not in both), None)
    if last in labels_a:  # what is innermost in the end is innermost in the product
        a, labels_a, b, labels_b = b, labels_b, a, labels_a
    place = {x: k for k, x in enumerate(output)}
    batch.sort(key=lambda x: place.get(x, -1))
    only_a = sorted((x for x in labels_a if x not in labels_b), key=lambda x: place.get(x, -1))
    only_b = sorted((x for x in labels_b if x not in labels_a), key=lambda x: place.get(x, -1))
    size = {x: n for x, n in [*zip(labels_a, a.shape), *zip(labels_b, b.shape)]}
    out = batch + only_a + only_b
    if not summed:
        left = _ordered(a, labels_a, batch + only_a).reshape([size[x] for x in batch + only_a] + [1] * len(only_b))
        right = _ordered(b, labels_b, batch + only_b).reshape(
            [size[x] for x in batch] + [1] * len(only_a) + [size[x] for x in only_b]
        )
        return left * right, out
    shape = [size[x] for x in batch]
    left = _ordered(a, labels_a, batch + only_a + summed)
    left = left.reshape(shape + [_product(size, only_a), _product(size, summed)])
    right = _ordered(b, labels_b, batch + summed + only_b)
    right = right.reshape(shape + [_product(size, summed), _product(size, only_b)])
    return matmul(left, right).reshape([size[x] for x in out]), out


def _sum_alone(tensor, labels, used):
    gone = [k for k, x in enumerate(labels) if x not in used]
    return (tensor.sum(gone), [x for x in labels if x in used]) if gone else (tensor, list(labels))


def _ordered(tensor, labels, order):
    return tensor if labels == order else tensor.permute([labels.index(x) for x in order])


def _product(size, labels):
    result = 1
    for x in labels:
        result *= size[x]
    return result
