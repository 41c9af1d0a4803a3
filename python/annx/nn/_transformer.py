"""Transformer encoders and decoders."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from annx import _core, _creation
from annx._core import Tensor
from annx.nn import init
from annx.nn._attention import MultiheadAttention
from annx.nn._containers import ModuleList
from annx.nn._dropout import Dropout
from annx.nn._functional_activation import gelu, relu
from annx.nn._linear import Linear
from annx.nn._module import Module
from annx.nn._norm import LayerNorm

if TYPE_CHECKING:
    from collections.abc import Callable

    Activation = str | Callable[[Tensor], Tensor]


def _activation(layer: str, activation: Activation) -> Callable[[Tensor], Tensor]:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise ValueError(f"[{layer}] expected activation relu or gelu but got {activation!r}")
    return relu if activation == "relu" else gelu


def _clones(module: Module, count: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(count)])


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network, each added to its input and normalised.

    Args:
        d_model: size of an element of the sequence.
        nhead: number of heads of the attention.
        dim_feedforward: width of the feed-forward network.
        dropout: probability of dropping weights and elements in training.
        activation: between the two maps of the network: "relu", "gelu" or a function.
        layer_norm_eps: ``eps`` of the normalisations.
        batch_first: whether the batch is the first dimension rather than the second.
        norm_first: whether to normalise what goes into attention and network rather than the sums.
        bias: whether linear maps and normalisations have biases.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: input and result ``(T, N, d_model)``, ``(N, T, d_model)`` with ``batch_first``, or
    ``(T, d_model)``.

    Source: Vaswani et al., 2017; guide, "Transformers" (``transformer_encoder``).
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place
        )
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = _activation("TransformerEncoderLayer", activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Passes a sequence through; masks as in :class:`MultiheadAttention`."""
        masks = (src_mask, src_key_padding_mask, is_causal)
        if self.norm_first:
            x: Tensor = src + self._attend(self.norm1(src), *masks)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(src + self._attend(src, *masks))
        out: Tensor = self.norm2(x + self._feed_forward(x))
        return out

    def _attend(
        self, x: Tensor, mask: Tensor | None, padding: Tensor | None, is_causal: bool
    ) -> Tensor:
        out: Tensor = self.self_attn(
            x,
            x,
            x,
            attn_mask=mask,
            key_padding_mask=padding,
            need_weights=False,
            is_causal=is_causal,
        )[0]
        out = self.dropout1(out)
        return out

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        out = self.dropout2(out)
        return out


class TransformerDecoderLayer(Module):
    """Self-attention, attention to the encoder's result and a feed-forward network, each added to
    its input and normalised.

    Args:
        d_model: size of an element of the sequences.
        nhead: number of heads of each attention.
        dim_feedforward: width of the feed-forward network.
        dropout: probability of dropping weights and elements in training.
        activation: between the two maps of the network: "relu", "gelu" or a function.
        layer_norm_eps: ``eps`` of the normalisations.
        batch_first: whether the batch is the first dimension rather than the second.
        norm_first: whether to normalise what goes into each part rather than the sums.
        bias: whether linear maps and normalisations have biases.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: ``tgt`` and result ``(T, N, d_model)``, ``memory`` ``(S, N, d_model)``, batches first
    with ``batch_first``.

    Source: Vaswani et al., 2017; guide, "Transformers".
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        for name in ("self_attn", "multihead_attn"):
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = _activation("TransformerDecoderLayer", activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Passes a sequence through; masks as in :class:`MultiheadAttention`."""
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        x = tgt
        if self.norm_first:
            y = self.norm1(x)
            x = x + self.dropout1(self._attend("self_attn", y, y, *own))
            x = x + self.dropout2(self._attend("multihead_attn", self.norm2(x), memory, *other))
            last: Tensor = x + self._feed_forward(self.norm3(x))
            return last
        x = self.norm1(x + self.dropout1(self._attend("self_attn", x, x, *own)))
        x = self.norm2(x + self.dropout2(self._attend("multihead_attn", x, memory, *other)))
        out: Tensor = self.norm3(x + self._feed_forward(x))
        return out

    def _attend(
        self,
        name: str,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        is_causal: bool,
    ) -> Tensor:
        out: Tensor = getattr(self, name)(
            x,
            memory,
            memory,
            attn_mask=mask,
            key_padding_mask=padding,
            need_weights=False,
            is_causal=is_causal,
        )[0]
        return out

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.dropout(self.activation(self.linear1(x))))
        out = self.dropout3(out)
        return out


class TransformerEncoder(Module):
    """``num_layers`` copies of an encoder layer, one after the other.

    Args:
        encoder_layer: the layer; the copies start with its values.
        num_layers: how many.
        norm: applied to the last result.
        enable_nested_tensor: taken for PyTorch's sake; there are no nested tensors.
        mask_check: taken for PyTorch's sake.

    Source: Vaswani et al., 2017; guide, "Transformers" (``build_transformer_model``).
    """

    norm: Module | None

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Passes a sequence through. ``is_causal`` says that ``mask`` is the causal one; no mask is
        read to find out."""
        x = src
        for layer in self.layers:
            x = layer(
                x,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
            )
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """``num_layers`` copies of a decoder layer, one after the other.

    Args:
        decoder_layer: the layer; the copies start with its values.
        num_layers: how many.
        norm: applied to the last result.

    Source: Vaswani et al., 2017; guide, "Transformers".
    """

    norm: Module | None

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Passes a sequence through all layers; see :class:`TransformerDecoderLayer`."""
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder of the source and a decoder of the target that attends to its result.

    Args:
        d_model: size of an element of the sequences.
        nhead: number of heads.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dim_feedforward: width of the feed-forward networks.
        dropout: probability of dropping weights and elements in training.
        activation: "relu", "gelu" or a function.
        custom_encoder: used instead of a new encoder.
        custom_decoder: used instead of a new decoder.
        layer_norm_eps: ``eps`` of the normalisations.
        batch_first: whether the batch is the first dimension rather than the second.
        norm_first: whether to normalise what goes into each part rather than the sums.
        bias: whether linear maps and normalisations have biases.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: ``src`` ``(S, N, d_model)``, ``tgt`` and result ``(T, N, d_model)``, batches first with
    ``batch_first``, or without a batch.

    Raises:
        ValueError: in forward: sizes or batches do not fit.

    Source: Vaswani et al., 2017; guide, "Transformers".
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place = {"device": device, "dtype": dtype}
        layer: tuple[Any, ...] = (d_model, nhead, dim_feedforward, dropout, activation)
        layer += (layer_norm_eps, batch_first, norm_first, bias)
        if custom_encoder is None:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            made = TransformerEncoderLayer(*layer, **place)
            custom_encoder = TransformerEncoder(made, num_encoder_layers, norm)
        if custom_decoder is None:
            norm = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
            made_too = TransformerDecoderLayer(*layer, **place)
            custom_decoder = TransformerDecoder(made_too, num_decoder_layers, norm)
        self.encoder = custom_encoder
        self.decoder = custom_decoder
        self._reset_parameters()
        self.d_model = d_model
        self.nhead = nhead
        self.batch_first = batch_first

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Encodes ``src`` and decodes ``tgt``; masks as in :class:`MultiheadAttention`."""
        batch = 0 if self.batch_first else 1
        alike = src.ndim == tgt.ndim and src.ndim in (2, 3)
        if not alike or (src.ndim == 3 and src.shape[batch] != tgt.shape[batch]):
            raise ValueError(
                "[Transformer] expected src and tgt of one batch, 2 or 3 dimensions each, "
                f"but got shapes {tuple(src.shape)} and {tuple(tgt.shape)}"
            )
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ValueError(
                f"[Transformer] expected last dimensions of size {self.d_model} "
                f"but got shapes {tuple(src.shape)} and {tuple(tgt.shape)}"
            )
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        out: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )
        return out

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """Returns the causal mask ``(sz, sz)`` to add: -inf above the diagonal, else 0."""
        hidden = _creation.full((sz, sz), float("-inf"), dtype=dtype or _core.float32)
        return _core.ops.triu(hidden, 1)

    def _reset_parameters(self) -> None:
        for parameter in self.parameters():
            if parameter.ndim > 1:
                init.xavier_uniform_(parameter)
