"""Products that sum over axes, lowered to permute, reshape and matmul."""

import functools

from ._C import matmul, result_type
from .ops import arange

__all__ = ["addmm", "baddbmm", "bmm", "dot", "einsum", "inner", "kron", "mm", "mv", "outer", "tensordot", "vdot"]


def _check(op, tensor, ndim):
    if tensor.ndim != ndim:
        what = {1: "a vector", 2: "a matrix", 3: "a batch of matrices"}[ndim]
        raise ValueError(f"[{op}] {what} is needed; got {tensor.shape}; try matmul, which broadcasts")


def mm(input, mat2):
    """Product of two matrices.

    >>> import pydiff as pd
    >>> tuple(pd.mm(pd.zeros(2, 3), pd.zeros(3, 4)).shape)
    (2, 4)
    """
    _check("mm", input, 2)
    _check("mm", mat2, 2)
    return matmul(input, mat2)


def bmm(input, mat2):
    """Products of two batches of matrices.

    >>> import pydiff as pd
    >>> tuple(pd.bmm(pd.zeros(5, 2, 3), pd.zeros(5, 3, 4)).shape)
    (5, 2, 4)
    """
    _check("bmm", input, 3)
    _check("bmm", mat2, 3)
    return matmul(input, mat2)


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


def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2).

    >>> import pydiff as pd
    >>> pd.addmm(pd.ones(1), pd.eye(1), pd.eye(1)).tolist()
    [[2.0]]
    """
    product = mm(mat1, mat2)
    return (input if beta == 1 else beta * input) + (product if alpha == 1 else alpha * product)


def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2).

    >>> import pydiff as pd
    >>> tuple(pd.baddbmm(pd.zeros(1), pd.zeros(5, 2, 3), pd.zeros(5, 3, 4)).shape)
    (5, 2, 4)
    """
    product = bmm(batch1, batch2)
    return (input if beta == 1 else beta * input) + (product if alpha == 1 else alpha * product)


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
        left, right = [d % a.ndim for d in left], [d % b.ndim for d in right]
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

    With three operands or more the order of the pairwise products is opt_einsum's. Raises
    ValueError where the equation and the shapes do not fit.

    >>> import pydiff as pd
    >>> pd.einsum("ij,jk->ik", pd.eye(2), pd.ones(2, 2)).tolist()
    [[1.0, 1.0], [1.0, 1.0]]
    """
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
        work.append(_pair(*a, *b, rest))
    tensor, labels = work[0]
    gone = [k for k, x in enumerate(labels) if x not in output]
    if gone:
        tensor = tensor.sum(gone)
        labels = [x for x in labels if x in output]
    return tensor.permute([labels.index(x) for x in output]) if labels != list(output) else tensor


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
        raise ValueError(f"[einsum] the result names each index once; got {right!r} in {equation!r}; try indices of the operands")
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


def _pair(a, labels_a, b, labels_b, keep):
    """Two operands into one: (tensor, labels). Indices outside `keep` are summed."""
    keep = set(keep)
    a, labels_a = _sum_alone(a, labels_a, keep | set(labels_b))
    b, labels_b = _sum_alone(b, labels_b, keep | set(labels_a))
    both = [x for x in labels_a if x in labels_b]
    batch = [x for x in both if x in keep]
    summed = [x for x in both if x not in keep]
    only_a = [x for x in labels_a if x not in labels_b]
    only_b = [x for x in labels_b if x not in labels_a]
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
