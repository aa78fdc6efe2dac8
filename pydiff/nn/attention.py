"""Attention of several heads as a module."""

import pydiff

from . import functional as F
from . import init
from .linear import Linear
from .module import Module
from .parameter import Parameter

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """softmax(Q Kᵀ / sqrt(width)) V in `num_heads` parts of the width, between linear projections.

    Arguments:
        embed_dim: width of query and result.
        num_heads: a divisor of it.
        dropout: the share of the attention's weights that is dropped in training.
        bias: whether the projections have biases.
        add_bias_kv: whether there is one learned source more, `bias_k` and `bias_v`.
        add_zero_attn: whether there is one source of zeros more.
        kdim, vdim: widths of key and value, by default embed_dim; the projections then have weights of their own.
        batch_first: whether query, key, value and result are `(batch, length, width)`; else `(length, batch, width)`.
        device, dtype: of the parameters.

    Called as `layer(query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None,
    average_attn_weights=True, is_causal=False)`, with or without a batch:
        key_padding_mask: `(batch, sources)`: true, or -inf, where a source does not count.
        need_weights: whether the weights are returned too, `(batch, targets, sources)`, or
            `(batch, heads, targets, sources)` with `average_attn_weights=False`.
        attn_mask: `(targets, sources)` or `(batch * heads, targets, sources)`: true, or -inf, where not to look.
        is_causal: says of attn_mask that it is causal; an error without one.

    Returns (result, weights or None). A target that sees nothing gives zeros, where PyTorch gives NaN. Vaswani et al.,
    arXiv:1706.03762. Raises ValueError for sizes that do not fit.

    >>> import pydiff as pd
    >>> layer, x = pd.nn.MultiheadAttention(8, 2, batch_first=True), pd.randn(3, 5, 8)
    >>> y, weights = layer(x, x, x)
    >>> tuple(y.shape), tuple(weights.shape)
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self, embed_dim, num_heads, dropout=0.0, bias=True, add_bias_kv=False, add_zero_attn=False, kdim=None, vdim=None,
        batch_first=False, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads:
            raise ValueError(
                f"[MultiheadAttention] embed_dim is a multiple of num_heads; got {embed_dim} and {num_heads}; try "
                "MultiheadAttention(64, 8)"
            )
        F.check_probability("MultiheadAttention", dropout)
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        apart = self.kdim != embed_dim or self.vdim != embed_dim
        self._qkv_same_embed_dim = not apart
        shapes = {
            "q_proj_weight": apart and (embed_dim, embed_dim),
            "k_proj_weight": apart and (embed_dim, self.kdim),
            "v_proj_weight": apart and (embed_dim, self.vdim),
            "in_proj_weight": not apart and (3 * embed_dim, embed_dim),
            "in_proj_bias": bias and (3 * embed_dim,),
            "bias_k": add_bias_kv and (1, 1, embed_dim),
            "bias_v": add_bias_kv and (1, 1, embed_dim),
        }
        for name, shape in shapes.items():
            self.register_parameter(name, Parameter(pydiff.empty(shape, device=device, dtype=dtype)) if shape else None)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device=device, dtype=dtype)
        self._reset_parameters()

    def _reset_parameters(self):
        for name in ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_weight"):
            if getattr(self, name) is not None:
                init.xavier_uniform_(getattr(self, name))
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
            init.xavier_normal_(self.bias_v)

    def forward(
        self, query, key, value, key_padding_mask=None, need_weights=True, attn_mask=None, average_attn_weights=True,
        is_causal=False,
    ):  # fmt: skip
        turn = self.batch_first and query.ndim == 3 == key.ndim == value.ndim
        if turn:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        out, weights = F.multi_head_attention_forward(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, self.bias_k,
            self.bias_v, self.add_zero_attn, self.dropout, self.out_proj.weight, self.out_proj.bias, self.training,
            key_padding_mask, need_weights, attn_mask, self.in_proj_weight is None, self.q_proj_weight, self.k_proj_weight,
            self.v_proj_weight, average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        return out.transpose(0, 1) if turn else out, weights
