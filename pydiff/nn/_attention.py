"""Tables of vectors, products of vectors with each other, distances, and attention."""

import math

import pydiff
from pydiff import _core


def embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """Rows of `weight`, chosen by integers: `(*)` and `(rows, width)` give `(*, width)`.

    Arguments:
        padding_idx: a row whose places pass no gradient.
        max_norm: rows that are used and longer than that are shortened to it, in place.
        norm_type: p of that norm.
        scale_grad_by_freq: whether a row's gradient is divided by how often it is used.
        sparse: of no effect: gradients are dense.

    Raises TypeError for an `input` that does not hold integers, ValueError for a padding_idx that is no row.
    An index out of range is an error when it is computed.

    >>> import pydiff as pd
    >>> pd.nn.functional.embedding(pd.tensor([1, 0]), pd.tensor([[1.0], [2.0]])).tolist()
    [[2.0], [1.0]]
    """
    name = "embedding"
    if weight.ndim != 2:
        raise ValueError(f"[embedding] the weight is (rows, width); got {tuple(weight.shape)}; try unsqueeze(1)")
    rows = weight.shape[0]
    padding_idx = _row(name, padding_idx, rows)
    _check_integers(name, input)
    if max_norm is not None:
        _shorten(weight, input, max_norm, norm_type)
    flat = input.reshape(-1)
    found = weight.index_select(0, flat)
    if scale_grad_by_freq:
        once = pydiff.ones(flat.shape, dtype=weight.dtype, device=weight.device)
        often = once.new_zeros(rows).scatter_add(0, flat, once).gather(0, flat)
        found = found.detach() + (found - found.detach()) / often.unsqueeze(-1)
    if padding_idx is not None:
        found = pydiff.where((flat == padding_idx).unsqueeze(-1), found.detach(), found)
    return found.reshape(*input.shape, weight.shape[1])


def _check_integers(name, input):
    if input.dtype.name not in _INTEGERS:
        raise TypeError(f"[{name}] rows are chosen by integers; got {input.dtype}; try input.to(pydiff.int64)")


_INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}


def _row(name, padding_idx, rows):
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ValueError(f"[{name}] padding_idx is a row; got {padding_idx} for {rows} rows; try 0")
    return padding_idx % rows


def _shorten(weight, input, max_norm, norm_type):
    with pydiff.no_grad():
        used = pydiff.zeros((weight.shape[0],), dtype=pydiff.int64, device=weight.device)
        used = used.scatter_add(0, input.reshape(-1), pydiff.ones_like(input.reshape(-1)).to(pydiff.int64)) > 0
        length = pydiff.norm(weight, norm_type, 1)
        factor = pydiff.where(used & (length > max_norm), max_norm / (length + 1e-7), 1.0)
        weight.copy_(weight * factor.unsqueeze(-1))


def embedding_bag(
    input, weight, offsets=None, max_norm=None, norm_type=2, scale_grad_by_freq=False, mode="mean", sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=None,
):  # fmt: skip
    """Sums, means or largest elements of bags of rows of `weight`, `(bags, width)`.

    Arguments:
        input: `(bags, n)` integers; or `(n,)`, with
        offsets: `(bags,)`, where each bag begins; computed at once.
        mode: 'sum', 'mean' or 'max'. An empty bag gives zeros.
        per_sample_weights: a factor for each element of `input`; only with 'sum'.
        include_last_offset: whether `offsets` has the end as one number more.
        padding_idx: a row that counts for nothing.

    The others as in `embedding`. Raises ValueError for arguments that do not go together.

    >>> import pydiff as pd
    >>> rows = pd.tensor([[1.0], [2.0], [4.0]])
    >>> pd.nn.functional.embedding_bag(pd.tensor([0, 1, 2]), rows, pd.tensor([0, 1]), mode="sum").tolist()
    [[1.0], [6.0]]
    """
    name = "embedding_bag"
    if mode not in ("sum", "mean", "max"):
        raise ValueError(f"[{name}] unknown mode; got {mode!r}; try 'sum', 'mean' or 'max'")
    if input.ndim not in (1, 2) or (input.ndim == 1) == (offsets is None):
        raise ValueError(
            f"[{name}] the input is (bags, n), or (n,) with offsets; got {tuple(input.shape)}, offsets "
            f"{'none' if offsets is None else tuple(offsets.shape)}; try offsets=pydiff.tensor([0])"
        )
    if per_sample_weights is not None and (mode != "sum" or per_sample_weights.shape != input.shape):
        raise ValueError(
            f"[{name}] per_sample_weights, one for each index, go with mode='sum'; got "
            f"{tuple(per_sample_weights.shape)} for {tuple(input.shape)}, mode {mode!r}; try mode='sum'"
        )
    if weight.ndim != 2:
        raise ValueError(f"[{name}] the weight is (rows, width); got {tuple(weight.shape)}; try unsqueeze(1)")
    padding_idx = _row(name, padding_idx, weight.shape[0])
    if input.ndim == 1:
        index, there = _bags(input, offsets, include_last_offset)
    else:
        index, there = pydiff.arange(input.numel(), device=input.device).reshape(input.shape), None
    flat = input.reshape(-1)
    chosen = flat[index]
    rows = embedding(chosen if there is None else pydiff.where(there, chosen, 0), weight, None, max_norm, norm_type)
    if scale_grad_by_freq:
        once = pydiff.ones(flat.shape, dtype=weight.dtype, device=weight.device)
        often = once.new_zeros(weight.shape[0]).scatter_add(0, flat, once).gather(0, flat)[index]
        rows = rows.detach() + (rows - rows.detach()) / often.unsqueeze(-1)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.reshape(-1)[index].unsqueeze(-1)
    if padding_idx is not None:
        counts = chosen != padding_idx
        there = counts if there is None else there & counts
    if not rows.shape[1]:
        return pydiff.zeros((rows.shape[0], weight.shape[1]), dtype=weight.dtype, device=weight.device)
    if there is None:
        return {"sum": rows.sum, "mean": rows.mean, "max": rows.amax}[mode](1)
    keep = there.unsqueeze(-1)
    if mode == "max":
        return pydiff.where(keep.any(1), pydiff.where(keep, rows, -math.inf).amax(1), 0)
    total = pydiff.where(keep, rows, 0).sum(1)
    return total if mode == "sum" else total / there.sum(1, keepdim=True).clamp(min=1)


def _bags(input, offsets, include_last_offset):
    """(positions in the input, `(bags, longest)`; which of them there are)."""
    starts = offsets.tolist()
    size = input.shape[0]
    ends = starts[1:] if include_last_offset else [*starts[1:], size]
    starts = starts[: len(ends)]
    longest = max((e - s for s, e in zip(starts, ends)), default=0)
    index = [[min(s + k, max(size - 1, 0)) for k in range(longest)] for s in starts]
    there = [[s + k < e for k in range(longest)] for s, e in zip(starts, ends)]
    shape = (len(starts), longest)
    return (
        pydiff.tensor(index, dtype=pydiff.int64, device=input.device).reshape(shape),
        pydiff.tensor(there, dtype=pydiff.bool, device=input.device).reshape(shape),
    )


def bilinear(input1, input2, weight, bias=None):
    """x1ᵀ W x2 for each of the outputs: `(*, m)`, `(*, n)` and `(outputs, m, n)` give `(*, outputs)`.

    Raises ValueError where the sizes do not match.

    >>> import pydiff as pd
    >>> pd.nn.functional.bilinear(pd.tensor([2.0]), pd.tensor([3.0]), pd.ones(1, 1, 1)).tolist()
    [6.0]
    """
    if weight.ndim != 3 or (input1.shape[-1], input2.shape[-1]) != tuple(weight.shape[1:]):
        raise ValueError(
            f"[bilinear] the weight is (outputs, m, n) for inputs (*, m) and (*, n); got {tuple(weight.shape)}, "
            f"{tuple(input1.shape)} and {tuple(input2.shape)}; try a weight of shape "
            f"(outputs, {input1.shape[-1]}, {input2.shape[-1]})"
        )
    outputs, m, n = weight.shape
    half = (input1 @ weight.permute(1, 0, 2).reshape(m, outputs * n)).reshape(*input1.shape[:-1], outputs, n)
    result = (half * input2.unsqueeze(-2)).sum(-1)
    return result if bias is None else result + bias


def cosine_similarity(x1, x2, dim=1, eps=1e-8):
    """x1 · x2 / (max(‖x1‖, eps) max(‖x2‖, eps)) along `dim`.

    >>> import pydiff as pd
    >>> pd.nn.functional.cosine_similarity(pd.tensor([3.0, 0.0]), pd.tensor([2.0, 0.0]), dim=0).item()
    1.0
    """
    shape = pydiff.broadcast_shapes(x1.shape, x2.shape)
    x1, x2 = x1.expand(shape), x2.expand(shape)
    first, second = (pydiff.norm(x, 2, dim, keepdim=True).clamp(min=eps) for x in (x1, x2))
    return ((x1 / first) * (x2 / second)).sum(dim)


def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """‖x1 - x2 + eps‖_p along the last axis.

    >>> import pydiff as pd
    >>> pd.nn.functional.pairwise_distance(pd.tensor([3.0]), pd.tensor([1.0]), eps=0.0).item()
    2.0
    """
    return pydiff.norm(x1 - x2 + eps, p, -1, keepdim)


def scaled_dot_product_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """softmax(Q Kᵀ scale + mask) V.

    Arguments:
        query: `(*, targets, width)`; key: `(*, sources, width)`; value: `(*, sources, v)`.
        attn_mask: broadcast to `(*, targets, sources)`: booleans that say what counts, or numbers to add.
        dropout_p: the share of the weights that is dropped.
        is_causal: whether target i sees sources 0 … i only; not with a mask.
        scale: by default 1 / sqrt(width).
        enable_gqa: whether each head of key and value (axis -3) serves several of the query.

    Returns `(*, targets, v)`. A target that sees nothing gives zeros. Vaswani et al., arXiv:1706.03762. Without dropout
    neither this nor its gradient holds a matrix of weights, and views are not copied (docs/LAYOUT.md, Attention).
    Raises ValueError for a mask together with `is_causal`, TypeError for one of integers.

    >>> import pydiff as pd
    >>> attention = pd.nn.functional.scaled_dot_product_attention
    >>> attention(pd.zeros(1, 4), pd.ones(2, 4), pd.tensor([[1.0], [3.0]])).tolist()
    [[2.0]]
    """
    if is_causal and attn_mask is not None:
        raise ValueError(
            f"[scaled_dot_product_attention] is_causal is a mask; got one of shape {tuple(attn_mask.shape)} too; "
            "try is_causal=False"
        )
    if attn_mask is not None and attn_mask.dtype.category not in ("bool", "floating"):
        raise TypeError(
            f"[scaled_dot_product_attention] attn_mask has booleans, or numbers to add; got {attn_mask.dtype}; "
            "try a bool mask, true for what counts"
        )
    times = query.shape[-3] // key.shape[-3] if enable_gqa else 1
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    if dropout_p == 0 and has_kernel(query) and isinstance(factor, (int, float)):
        result = _core.attention(query, key, value, attn_mask, bool(is_causal), factor, times)
        if result is not None:
            return result
    return _composed(query, key, value, attn_mask, dropout_p, is_causal, factor, times)


def has_kernel(query):
    """Whether the core has a kernel of attention for the tensor's device."""
    return query.device.type in ("cpu", "cuda")


def _composed(query, key, value, attn_mask, dropout_p, is_causal, factor, times):
    """The definition, with a matrix of all weights."""
    if times != 1:
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    targets, sources = query.shape[-2], key.shape[-2]
    scores = (query * factor) @ key.mT
    if is_causal:
        rows = pydiff.arange(targets, device=query.device).unsqueeze(-1)
        attn_mask = pydiff.arange(sources, device=query.device) <= rows
    if attn_mask is not None:
        if attn_mask.dtype.category == "bool":
            scores = pydiff.where(attn_mask, scores, -math.inf)
        else:
            scores = scores + attn_mask
        blind = scores.amax(-1, keepdim=True) == -math.inf
        weights = pydiff.where(blind, 0, pydiff.where(blind, 0, scores).softmax(-1))
    else:
        weights = scores.softmax(-1)
    if dropout_p > 0:
        from ._dropouts import dropout

        weights = dropout(weights, dropout_p)
    return weights @ value
