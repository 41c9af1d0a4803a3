"""Multi-head attention and positions."""

from __future__ import annotations

from math import sqrt
from typing import Any

from annx import _core, _creation
from annx._core import Tensor
from annx.nn import init
from annx.nn._functional_attention import sinusoidal_positions
from annx.nn._linear import Linear
from annx.nn._module import Module
from annx.nn.parameter import Parameter

_ops = _core.ops
_NAME = "MultiheadAttention"


def _empty(shape: tuple[int, ...], device: Any, dtype: Any) -> Parameter:
    return Parameter(_creation.empty(shape, device=device, dtype=dtype))


def _check_mask(name: str, mask: Tensor) -> None:
    if mask.dtype != _core.bool_ and not mask.dtype.is_floating_point:
        raise TypeError(f"[{_NAME}] expected a bool or floating {name} but got {mask.dtype}")


def _as_added(mask: Tensor, dtype: Any) -> Tensor:
    """A mask whose True means "hidden" as numbers to add to the scores."""
    if mask.dtype != _core.bool_:
        return mask.to(dtype)
    return _ops.where(mask, float("-inf"), _creation.zeros((), dtype=dtype))


class MultiheadAttention(Module):
    """Several heads of scaled dot-product attention, each over its own projection of the inputs.

    Args:
        embed_dim: size of queries and results.
        num_heads: how many heads share ``embed_dim``.
        dropout: probability of dropping a weight in training.
        bias: whether the projections have biases.
        add_bias_kv: whether a learned key and value are appended.
        add_zero_attn: whether a key and value of zeros are appended.
        kdim: size of keys, ``embed_dim`` if left out.
        vdim: size of values, ``embed_dim`` if left out.
        batch_first: whether the batch is the first dimension rather than the second.
        device: where the parameters live.
        dtype: their floating-point type, float32 if left out.

    Shapes: query ``(L, N, embed_dim)``, key ``(S, N, kdim)``, value ``(S, N, vdim)``, result as the
    query; with ``batch_first`` ``(N, L, embed_dim)`` and so on; without a batch ``(L, embed_dim)``
    and so on. Parameters: ``in_proj_weight (3 embed_dim, embed_dim)``, or ``q_proj_weight``,
    ``k_proj_weight`` and ``v_proj_weight`` where sizes differ; ``in_proj_bias (3 embed_dim,)``;
    ``bias_k`` and ``bias_v (1, 1, embed_dim)``; ``out_proj``.

    Raises:
        ValueError: ``num_heads`` does not divide ``embed_dim``; in forward: shapes do not fit.

    Source: Vaswani et al., 2017; guide, "Transformers".
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if embed_dim <= 0 or num_heads <= 0 or embed_dim % num_heads != 0:
            raise ValueError(
                f"[{_NAME}] expected a positive embed_dim that num_heads divides "
                f"but got embed_dim={embed_dim}, num_heads={num_heads}"
            )
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"[{_NAME}] expected dropout in [0, 1] but got {dropout}")
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        packed = self.kdim == embed_dim and self.vdim == embed_dim
        weight = _empty((3 * embed_dim, embed_dim), device, dtype) if packed else None
        self.register_parameter("in_proj_weight", weight)
        for name, size in (("q", embed_dim), ("k", self.kdim), ("v", self.vdim)):
            weight = None if packed else _empty((embed_dim, size), device, dtype)
            self.register_parameter(f"{name}_proj_weight", weight)
        self.register_parameter(
            "in_proj_bias", _empty((3 * embed_dim,), device, dtype) if bias else None
        )
        for name in ("bias_k", "bias_v"):
            row = _empty((1, 1, embed_dim), device, dtype) if add_bias_kv else None
            self.register_parameter(name, row)
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                init.xavier_uniform_(weight)
        if self.in_proj_bias is not None:
            init.zeros_(self.in_proj_bias)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)
        for row in (self.bias_k, self.bias_v):
            if row is not None:
                init.xavier_normal_(row)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends from ``query`` to ``key`` and mixes ``value``.

        Args:
            query: see the class for shapes.
            key: see the class.
            value: see the class.
            key_padding_mask: ``(N, S)`` or ``(S,)``: True hides a key; numbers are added.
            need_weights: also return the weights. Without them they are never formed, which is
                faster and takes less memory.
            attn_mask: ``(L, S)`` or ``(N * num_heads, L, S)``: True hides a key from a query;
                numbers are added.
            average_attn_weights: average the returned weights over the heads.
            is_causal: says that ``attn_mask`` is the causal one, which saves reading it.

        Returns:
            The result, and the weights ``(N, L, S)``, or ``(N, num_heads, L, S)`` if they are not
            averaged, or None. Where every key is hidden the result is 0 without and NaN with
            ``need_weights``, as in PyTorch.

        Raises:
            ValueError: shapes do not fit, or ``is_causal`` comes without ``attn_mask``.
            TypeError: a mask is of integers.
        """
        if is_causal and attn_mask is None:
            raise ValueError(f"[{_NAME}] expected attn_mask together with is_causal but got None")
        same = query is key and key is value
        batched = self._check_inputs(query, key, value)
        if not batched:
            query = query.unsqueeze(0)
            key, value = (query, query) if same else (key.unsqueeze(0), value.unsqueeze(0))
            if key_padding_mask is not None:
                key_padding_mask = key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            shared = key is value
            query = query.transpose(0, 1)
            key = query if same else key.transpose(0, 1)
            value = query if same else key if shared else value.transpose(0, 1)
        length, keys = query.shape[1], key.shape[1]
        use_flag = is_causal and key_padding_mask is None and not need_weights
        appended = int(self.bias_k is not None) + int(self.add_zero_attn)
        use_flag = use_flag and appended == 0
        hidden = None
        if not use_flag:
            hidden = self._merged_mask(query, length, keys, key_padding_mask, attn_mask)
        p = self.dropout if self.training else 0.0
        weights = None
        if same and self.in_proj_weight is not None and appended == 0 and not need_weights:
            projected = _ops.linear(query, self.in_proj_weight, self.in_proj_bias)
            seen = self._seen(hidden)
            out = _ops.packed_attention(projected, self.num_heads, seen, p, use_flag)
        else:
            q, k, v = (self._split(t) for t in self._project(query, key, value))
            if appended:
                k, v, hidden = self._append(k, v, hidden)
            if need_weights:
                heads, weights = self._explicit(q, k, v, hidden, p)
                weights = weights.mean(1) if average_attn_weights else weights
            else:
                seen = self._seen(hidden)
                heads = _ops.scaled_dot_product_attention(q, k, v, seen, p, use_flag)
            out = heads.transpose(1, 2).reshape((query.shape[0], length, self.embed_dim))
        out = self.out_proj(out)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return out if self.batch_first else out.transpose(0, 1), weights

    def _check_inputs(self, query: Tensor, key: Tensor, value: Tensor) -> bool:
        for name, t, size in (
            ("query", query, self.embed_dim),
            ("key", key, self.kdim),
            ("value", value, self.vdim),
        ):
            if t.ndim not in (2, 3) or t.ndim != query.ndim or t.shape[-1] != size:
                raise ValueError(
                    f"[{_NAME}] expected {name} of 2 or 3 dimensions, as many as query, the last "
                    f"of size {size}, but got shape {tuple(t.shape)}"
                )
        batch = 0 if self.batch_first else 1
        if key.shape[:-1] != value.shape[:-1] or (
            query.ndim == 3 and query.shape[batch] != key.shape[batch]
        ):
            raise ValueError(
                f"[{_NAME}] expected inputs of one batch, key and value alike, but got shapes "
                f"{tuple(query.shape)}, {tuple(key.shape)} and {tuple(value.shape)}"
            )
        return bool(query.ndim == 3)

    def _merged_mask(
        self,
        query: Tensor,
        length: int,
        keys: int,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
    ) -> Tensor | None:
        """Both masks as one that broadcasts to (N, H, L, S): True hides, or numbers to add."""
        batch = query.shape[0]
        if key_padding_mask is not None:
            _check_mask("key_padding_mask", key_padding_mask)
            if tuple(key_padding_mask.shape) != (batch, keys):
                raise ValueError(
                    f"[{_NAME}] expected key_padding_mask of shape ({batch}, {keys}) "
                    f"but got {tuple(key_padding_mask.shape)}"
                )
            key_padding_mask = key_padding_mask.reshape((batch, 1, 1, keys))
        if attn_mask is not None:
            _check_mask("attn_mask", attn_mask)
            full = (batch * self.num_heads, length, keys)
            if tuple(attn_mask.shape) not in (full, full[1:]):
                raise ValueError(
                    f"[{_NAME}] expected attn_mask of shape {full[1:]} or {full} "
                    f"but got {tuple(attn_mask.shape)}"
                )
            if attn_mask.ndim == 3:
                attn_mask = attn_mask.reshape((batch, self.num_heads, length, keys))
        if key_padding_mask is None or attn_mask is None:
            return attn_mask if key_padding_mask is None else key_padding_mask
        if key_padding_mask.dtype == _core.bool_ and attn_mask.dtype == _core.bool_:
            return _ops.logical_or(key_padding_mask, attn_mask)
        return _as_added(key_padding_mask, query.dtype) + _as_added(attn_mask, query.dtype)

    @staticmethod
    def _seen(hidden: Tensor | None) -> Tensor | None:
        if hidden is None or hidden.dtype != _core.bool_:
            return hidden
        return _ops.logical_not(hidden)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size, weight, bias = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        if weight is None:
            biases = (None, None, None) if bias is None else bias.split(size)
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            q, k, v = (
                _ops.linear(x, w, b)
                for x, w, b in zip((query, key, value), weights, biases, strict=True)
            )
            return q, k, v
        if query is key and key is value:
            q, k, v = _ops.linear(query, weight, bias).split(size, -1)
            return q, k, v
        if key is value:
            rest = None if bias is None else bias[size:]
            q = _ops.linear(query, weight[:size], None if bias is None else bias[:size])
            k, v = _ops.linear(key, weight[size:], rest).split(size, -1)
            return q, k, v
        biases = (None, None, None) if bias is None else bias.split(size)
        q, k, v = (
            _ops.linear(x, w, b)
            for x, w, b in zip((query, key, value), weight.split(size), biases, strict=True)
        )
        return q, k, v

    def _split(self, t: Tensor) -> Tensor:
        """(N, T, E) seen as (N, H, T, D)."""
        return t.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _append(
        self, k: Tensor, v: Tensor, hidden: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The learned key and value, and those of zeros, behind the others; no mask hides them."""
        batch = k.shape[0]
        if self.bias_k is not None and self.bias_v is not None:
            rows = (batch, self.num_heads, 1, self.head_dim)
            k = _ops.concat([k, self._split(self.bias_k).expand(rows)], 2)
            v = _ops.concat([v, self._split(self.bias_v).expand(rows)], 2)
        if self.add_zero_attn:
            zeros = _creation.zeros((batch, self.num_heads, 1, self.head_dim), dtype=k.dtype)
            k, v = _ops.concat([k, zeros], 2), _ops.concat([v, zeros], 2)
        if hidden is not None:
            extra = k.shape[2] - hidden.shape[-1]
            shape = (*hidden.shape[:-1], extra)
            hidden = _ops.concat([hidden, _creation.zeros(shape, dtype=hidden.dtype)], -1)
        return k, v, hidden

    def _explicit(
        self, q: Tensor, k: Tensor, v: Tensor, hidden: Tensor | None, p: float
    ) -> tuple[Tensor, Tensor]:
        scores = _ops.matmul(q * (1.0 / sqrt(self.head_dim)), k.transpose(-2, -1))
        if hidden is not None:
            scores = scores + _as_added(hidden, scores.dtype)
        weights = _ops.softmax(scores, -1)
        if p > 0.0:
            weights = _ops.dropout(weights, p, True)
        return _ops.matmul(weights, v), weights


class PositionalEncoding(Module):
    """Adds sines and cosines of the position to each embedding, then drops elements in training:
    ``x[t, 2 i] + sin(t / 10000^(2 i / d))`` and ``x[t, 2 i + 1] + cos(t / 10000^(2 i / d))``.

    Args:
        d_model: size of an embedding.
        dropout: probability of dropping an element.
        max_len: the longest sequence.
        batch_first: whether the batch is the first dimension rather than the second.

    Shapes: input and result ``(T, N, d_model)``, or ``(N, T, d_model)`` with ``batch_first``.

    Raises:
        ValueError: in forward: the sequence is longer than ``max_len`` or of another size.

    Source: Vaswani et al., 2017, section 3.5; guide, "Transformer Networks".
    """

    pe: Tensor

    def __init__(
        self, d_model: int, dropout: float = 0.1, max_len: int = 5000, batch_first: bool = False
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"[PositionalEncoding] expected dropout in [0, 1] but got {dropout}")
        self.d_model = d_model
        self.p = dropout
        self.max_len = max_len
        self.batch_first = batch_first
        self.register_buffer("pe", sinusoidal_positions(max_len, d_model), persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        axis = 1 if self.batch_first else 0
        shape = tuple(input.shape)
        if len(shape) != 3 or shape[2] != self.d_model or shape[axis] > self.max_len:
            raise ValueError(
                f"[PositionalEncoding] expected 3 dimensions, the last of size {self.d_model} and "
                f"at most {self.max_len} positions, but got shape {shape}"
            )
        table = self.pe[: shape[axis]].to(input.dtype)
        out = input + (table if self.batch_first else table.unsqueeze(1))
        return _ops.dropout(out, self.p, True) if self.training else out

    def extra_repr(self) -> str:
        return f"{self.d_model}, dropout={self.p}, max_len={self.max_len}"
