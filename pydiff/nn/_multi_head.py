"""Attention of several heads with its projections."""

import math

import pydiff

from ._attention import scaled_dot_product_attention
from ._dropouts import dropout


def multi_head_attention_forward(
    query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, bias_k, bias_v, add_zero_attn,
    dropout_p, out_proj_weight, out_proj_bias, training=True, key_padding_mask=None, need_weights=True, attn_mask=None,
    use_separate_proj_weight=False, q_proj_weight=None, k_proj_weight=None, v_proj_weight=None, static_k=None,
    static_v=None, average_attn_weights=True, is_causal=False,
):  # fmt: skip
    """Project query, key and value, attend in `num_heads` parts of the width, project the result.

    Arguments:
        query: `(targets, batch, width)`; key, value: `(sources, batch, *)`; all of them, or none, with a batch.
        embed_dim_to_check: the width.
        in_proj_weight: `(3 width, width)`, or None with `use_separate_proj_weight` and the three weights.
        in_proj_bias: `(3 width,)` or None.
        bias_k, bias_v: `(1, 1, width)`, one source more, or None.
        add_zero_attn: whether there is one more source of zeros.
        dropout_p: of the attention's weights, with `training`.
        out_proj_weight, out_proj_bias: `(width, width)` and `(width,)`.
        key_padding_mask: `(batch, sources)`: true, or -inf, where a source does not count.
        need_weights: whether the weights come too, averaged over the heads with `average_attn_weights`.
        attn_mask: `(targets, sources)` or `(batch * heads, targets, sources)`: true, or -inf, where not to look.
        static_k, static_v: `(batch * heads, sources, width / heads)` in the place of projections.
        is_causal: says of the mask that it is causal; of no effect with one, an error without.

    Returns (`(targets, batch, width)`, `(batch, [heads,] targets, sources)` or None). A target that sees nothing
    gives zeros. Vaswani et al., arXiv:1706.03762. Raises ValueError for shapes and arguments that do not fit,
    TypeError for a mask of integers.

    >>> import pydiff as pd
    >>> x, eye, none = pd.ones(2, 4), pd.eye(4), pd.zeros(4)
    >>> out, weights = pd.nn.functional.multi_head_attention_forward(
    ...     x, x, x, 4, 2, pd.cat([eye, eye, eye]), None, None, None, False, 0.0, eye, none)
    >>> out.tolist()[0], weights.tolist()[0]
    ([1.0, 1.0, 1.0, 1.0], [0.5, 0.5])
    """
    name = "multi_head_attention_forward"
    batched = query.ndim == 3
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise ValueError(
            f"[{name}] query, key and value are (length, batch, width) or (length, width); got {tuple(query.shape)}, "
            f"{tuple(key.shape)} and {tuple(value.shape)}; try three axes each"
        )
    if is_causal and attn_mask is None:
        raise ValueError(f"[{name}] is_causal only says what attn_mask is; got none; try the mask")
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
    targets, batch, width = query.shape
    if width != embed_dim_to_check or num_heads < 1 or width % num_heads:
        raise ValueError(
            f"[{name}] the width is embed_dim, a multiple of num_heads; got width {width}, embed_dim "
            f"{embed_dim_to_check}, num_heads {num_heads}; try embed_dim_to_check={width}, num_heads=1"
        )
    if use_separate_proj_weight:
        weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    else:
        weights = (None,) * 3 if in_proj_weight is None else in_proj_weight.chunk(3)
    if any(w is None for w in weights):
        raise ValueError(f"[{name}] weights of the projections are missing; got None; try in_proj_weight")
    biases = (None,) * 3 if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (_projected(x, w, b) for x, w, b in zip((query, key, value), weights, biases))
    if bias_k is not None:
        k = pydiff.cat([k, bias_k.expand(1, batch, width)])
    if bias_v is not None:
        v = pydiff.cat([v, bias_v.expand(1, batch, width)])

    def heads(x):
        return x.reshape(x.shape[0], batch, num_heads, width // num_heads).permute(1, 2, 0, 3)

    q = heads(q)
    k = heads(k) if static_k is None else static_k.reshape(batch, num_heads, -1, width // num_heads)
    v = heads(v) if static_v is None else static_v.reshape(batch, num_heads, -1, width // num_heads)
    if add_zero_attn:
        k, v = (pydiff.pad(x, (0, 0, 0, 1)) for x in (k, v))
    own = key.shape[0] if static_k is None else static_k.shape[1]  # those that were added are not in the masks
    _check_mask(name, "attn_mask", attn_mask, (targets, own), (batch * num_heads, targets, own))
    _check_mask(name, "key_padding_mask", key_padding_mask, (batch, own))
    sources = k.shape[2]
    mask = _mask(attn_mask, key_padding_mask, sources, batch, num_heads, q.dtype)
    p = dropout_p if training else 0.0
    if need_weights:
        scores = (q * math.sqrt(num_heads / width)) @ k.mT
        if mask is not None:
            scores = scores + mask
            blind = scores.amax(-1, keepdim=True) == -math.inf
            shares = pydiff.where(blind, 0, pydiff.where(blind, 0, scores).softmax(-1))
        else:
            shares = scores.softmax(-1)
        shares = dropout(shares, p)
        out = shares @ v
        shares = shares.mean(1) if average_attn_weights else shares
        shares = shares if batched else shares.squeeze(0)
    else:
        out, shares = scaled_dot_product_attention(q, k, v, mask, p), None
    out = _projected(out.permute(2, 0, 1, 3).reshape(targets, batch, width), out_proj_weight, out_proj_bias)
    return (out if batched else out.squeeze(1)), shares


def _projected(x, weight, bias):
    x = x @ weight.T
    return x if bias is None else x + bias


def _check_mask(name, what, mask, *shapes):
    if mask is None:
        return
    if mask.dtype.category not in ("bool", "floating"):
        raise TypeError(
            f"[{name}] {what} has booleans, or numbers to add; got {mask.dtype}; try a bool mask, true where not to look"
        )
    if tuple(mask.shape) not in shapes:
        raise ValueError(f"[{name}] {what} does not fit; got {tuple(mask.shape)}; try {' or '.join(map(str, shapes))}")


def _mask(attn_mask, key_padding_mask, sources, batch, heads, dtype):
    """Both masks as numbers to add, broadcast to (batch, heads, targets, sources); sources that were added count."""
    total = None
    if attn_mask is not None:
        total = _numbers(attn_mask, sources, dtype)
        if total.ndim == 3:
            total = total.reshape(batch, heads, *total.shape[1:])
    if key_padding_mask is not None:
        padding = _numbers(key_padding_mask, sources, dtype).reshape(batch, 1, 1, sources)
        total = padding if total is None else total + padding
    return total


def _numbers(mask, sources, dtype):
    if mask.dtype.category == "bool":
        mask = pydiff.where(mask, -math.inf, 0.0).to(dtype)
    return pydiff.pad(mask, (0, sources - mask.shape[-1])) if mask.shape[-1] < sources else mask
