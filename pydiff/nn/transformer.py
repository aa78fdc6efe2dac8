"""The transformer: layers of encoder and decoder, their stacks, and both together."""

import copy
import math

import pydiff

from . import functional as F
from . import init
from .attention import MultiheadAttention
from .containers import ModuleList
from .dropout import Dropout
from .linear import Linear
from .module import Module
from .normalization import LayerNorm

__all__ = ["Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder", "TransformerEncoderLayer"]


def _function(owner, activation):
    known = {"relu": F.relu, "gelu": F.gelu}
    if isinstance(activation, str):
        if activation not in known:
            raise ValueError(f"[{owner}] unknown activation; got {activation!r}; try 'relu', 'gelu' or a function")
        return known[activation]
    return activation


def _copies(layer, count):
    return ModuleList(copy.deepcopy(layer) for _ in range(count))


class _Layer(Module):
    """What layers of encoder and decoder share: self-attention, the feed-forward part, norms and dropouts."""

    def __init__(
        self, d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device,
        dtype, sources,
    ):  # fmt: skip
        super().__init__()
        made = {"device": device, "dtype": dtype}
        for name in ("self_attn", "multihead_attn")[: sources + 1]:
            setattr(self, name, MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **made))
        self.linear1 = Linear(d_model, dim_feedforward, bias, **made)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **made)
        self.norm_first = norm_first
        for k in range(1, sources + 3):
            setattr(self, f"norm{k}", LayerNorm(d_model, layer_norm_eps, bias=bias, **made))
        for k in range(1, sources + 3):
            setattr(self, f"dropout{k}", Dropout(dropout))
        self.activation = _function(type(self).__name__, activation)

    def _looked(self, attention, drop, x, memory, mask, padding, is_causal):
        x, _ = attention(x, memory, memory, key_padding_mask=padding, need_weights=False, attn_mask=mask, is_causal=is_causal)
        return drop(x)

    def _fed(self, drop, x):
        return drop(self.linear2(self.dropout(self.activation(self.linear1(x)))))

    def _around(self, norm, x, part):
        """x with what `part` makes of it, normed before or after."""
        return x + part(norm(x)) if self.norm_first else norm(x + part(x))


class TransformerEncoderLayer(_Layer):
    """Self-attention and a feed-forward part, each with a residual connection and a layer norm.

    Arguments:
        d_model: the width.
        nhead: heads of the attention.
        dim_feedforward: the width inside the feed-forward part.
        dropout: the probability of all dropouts.
        activation: 'relu', 'gelu', or a function of a tensor.
        layer_norm_eps: of the norms.
        batch_first: whether input and output are `(batch, length, width)`; else `(length, batch, width)`.
        norm_first: whether norms stand before each part, else after the sum.
        bias: whether linear layers and norms have biases.
        device, dtype: of the parameters.

    Called as `layer(src, src_mask=None, src_key_padding_mask=None, is_causal=False)`, masks as of `MultiheadAttention`.
    Vaswani et al., arXiv:1706.03762. There is one path for training and evaluation: what PyTorch's fast path of
    evaluation gives in padded places (zeros) is computed here.

    >>> import pydiff as pd
    >>> layer = pd.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    >>> tuple(layer(pd.randn(3, 5, 8)).shape)
    (3, 5, 8)
    """

    def __init__(
        self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5, batch_first=False,
        norm_first=False, bias=True, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device,
            dtype, 0,
        )  # fmt: skip

    def forward(self, src, src_mask=None, src_key_padding_mask=None, is_causal=False):
        x = self._around(
            self.norm1, src,
            lambda x: self._looked(self.self_attn, self.dropout1, x, x, src_mask, src_key_padding_mask, is_causal),
        )  # fmt: skip
        return self._around(self.norm2, x, lambda x: self._fed(self.dropout2, x))


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to the encoder's result, and a feed-forward part, as of `TransformerEncoderLayer`.

    Called as `layer(tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None,
    memory_key_padding_mask=None, tgt_is_causal=False, memory_is_causal=False)`.

    >>> import pydiff as pd
    >>> layer = pd.nn.TransformerDecoderLayer(8, 2, 16)
    >>> tuple(layer(pd.randn(4, 3, 8), pd.randn(5, 3, 8)).shape)
    (4, 3, 8)
    """

    def __init__(
        self, d_model, nhead, dim_feedforward=2048, dropout=0.1, activation=F.relu, layer_norm_eps=1e-5, batch_first=False,
        norm_first=False, bias=True, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device,
            dtype, 1,
        )  # fmt: skip

    def forward(
        self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
        tgt_is_causal=False, memory_is_causal=False,
    ):  # fmt: skip
        x = self._around(
            self.norm1, tgt,
            lambda x: self._looked(self.self_attn, self.dropout1, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal),
        )  # fmt: skip
        x = self._around(
            self.norm2, x,
            lambda x: self._looked(
                self.multihead_attn, self.dropout2, x, memory, memory_mask, memory_key_padding_mask, memory_is_causal
            ),
        )  # fmt: skip
        return self._around(self.norm3, x, lambda x: self._fed(self.dropout3, x))


class TransformerEncoder(Module):
    """Copies of an encoder layer, one after the other.

    Arguments:
        encoder_layer: a `TransformerEncoderLayer`; copies start with the same weights.
        num_layers: how many.
        norm: a module for the result, or None.
        enable_nested_tensor, mask_check: of no effect; there are no nested tensors.

    Called as `encoder(src, mask=None, src_key_padding_mask=None, is_causal=None)`.

    >>> import pydiff as pd
    >>> encoder = pd.nn.TransformerEncoder(pd.nn.TransformerEncoderLayer(8, 2, 16), 2)
    >>> tuple(encoder(pd.randn(5, 3, 8)).shape)
    (5, 3, 8)
    """

    def __init__(self, encoder_layer, num_layers, norm=None, enable_nested_tensor=True, mask_check=True):
        super().__init__()
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor = enable_nested_tensor
        self.mask_check = mask_check

    def forward(self, src, mask=None, src_key_padding_mask=None, is_causal=None):
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask, is_causal=bool(is_causal))
        return src if self.norm is None else self.norm(src)


class TransformerDecoder(Module):
    """Copies of a decoder layer, one after the other.

    Arguments:
        decoder_layer: a `TransformerDecoderLayer`; copies start with the same weights.
        num_layers: how many.
        norm: a module for the result, or None.

    Called as the layer is.

    >>> import pydiff as pd
    >>> decoder = pd.nn.TransformerDecoder(pd.nn.TransformerDecoderLayer(8, 2, 16), 2)
    >>> tuple(decoder(pd.randn(4, 3, 8), pd.randn(5, 3, 8)).shape)
    (4, 3, 8)
    """

    def __init__(self, decoder_layer, num_layers, norm=None):
        super().__init__()
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self, tgt, memory, tgt_mask=None, memory_mask=None, tgt_key_padding_mask=None, memory_key_padding_mask=None,
        tgt_is_causal=None, memory_is_causal=False,
    ):  # fmt: skip
        for layer in self.layers:
            tgt = layer(
                tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )  # fmt: skip
        return tgt if self.norm is None else self.norm(tgt)


class Transformer(Module):
    """An encoder and a decoder that attends to its result, each with a layer norm at its end.

    Arguments:
        d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype:
            as of `TransformerEncoderLayer`.
        num_encoder_layers, num_decoder_layers: how many layers.
        custom_encoder, custom_decoder: modules in the place of either.

    Called as `model(src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
    tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None,
    memory_is_causal=False)`. Weights start as `xavier_uniform_`. Raises ValueError where batch or width do not match.

    >>> import pydiff as pd
    >>> model = pd.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    >>> mask = model.generate_square_subsequent_mask(4)
    >>> tuple(model(pd.randn(3, 5, 8), pd.randn(3, 4, 8), tgt_mask=mask).shape)
    (3, 4, 8)
    """

    def __init__(
        self, d_model=512, nhead=8, num_encoder_layers=6, num_decoder_layers=6, dim_feedforward=2048, dropout=0.1,
        activation=F.relu, custom_encoder=None, custom_decoder=None, layer_norm_eps=1e-5, batch_first=False,
        norm_first=False, bias=True, device=None, dtype=None,
    ):  # fmt: skip
        super().__init__()
        given = (
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias, device, dtype
        )  # fmt: skip

        def stack(custom, kind, layer, count):
            if custom is not None:
                return custom
            return kind(layer(*given), count, LayerNorm(d_model, layer_norm_eps, bias=bias, device=device, dtype=dtype))

        self.encoder = stack(custom_encoder, TransformerEncoder, TransformerEncoderLayer, num_encoder_layers)
        self.decoder = stack(custom_decoder, TransformerDecoder, TransformerDecoderLayer, num_decoder_layers)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self, src, tgt, src_mask=None, tgt_mask=None, memory_mask=None, src_key_padding_mask=None,
        tgt_key_padding_mask=None, memory_key_padding_mask=None, src_is_causal=None, tgt_is_causal=None,
        memory_is_causal=False,
    ):  # fmt: skip
        axis = 0 if self.batch_first else 1
        wrong = src.ndim != tgt.ndim or src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model
        if wrong or src.ndim == 3 and src.shape[axis] != tgt.shape[axis]:
            raise ValueError(
                f"[Transformer] src and tgt have one batch and the width {self.d_model}; got {tuple(src.shape)} and "
                f"{tuple(tgt.shape)}; try d_model={tgt.shape[-1]}, or batch_first={not self.batch_first}"
            )
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            tgt, memory, tgt_mask=tgt_mask, memory_mask=memory_mask, tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask, tgt_is_causal=tgt_is_causal, memory_is_causal=memory_is_causal,
        )  # fmt: skip

    @staticmethod
    def generate_square_subsequent_mask(sz, device=None, dtype=None):
        """The causal mask `(sz, sz)`: -inf above the diagonal, else 0.

        >>> import pydiff as pd
        >>> pd.nn.Transformer.generate_square_subsequent_mask(2).tolist()
        [[0.0, -inf], [0.0, 0.0]]
        """
        return pydiff.full((sz, sz), -math.inf, device=device, dtype=dtype).triu(1)
