"""Attention and what belongs to it: positions, masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from annx import _core, _creation

if TYPE_CHECKING:
    from annx._core import Tensor

_ops = _core.ops


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(scale * query key^T + attn_mask) value``, tile by tile: the weights are never
    formed as a whole, forward or backward.

    Args:
        query: what asks, ``(..., L, E)``; with four dimensions the second is that of the heads.
        key: what is asked, ``(..., S, E)``.
        value: what is mixed, ``(..., S, Ev)``.
        attn_mask: broadcasts to ``(..., L, S)``. Bool: True where a key takes part. Floating: added
            to the scores; it gets a gradient, at the cost of forming the weights backward.
        dropout_p: the probability of dropping a weight. Always applied: pass 0 in evaluation.
        is_causal: query i sees keys 0 to i only.
        scale: ``1 / sqrt(E)`` if left out.
        enable_gqa: key and value have fewer heads (dimension -3), each shared by as many
            neighbouring query heads.

    Returns:
        ``(..., L, Ev)``. A query that sees no key gives 0. The heads' memory lies as
        ``(B, L, H, Ev)``, so ``transpose(1, 2)`` and a reshape to ``(B, L, H * Ev)`` copy nothing.

    Raises:
        ValueError: shapes do not fit, ``dropout_p`` is not between 0 and 1, or there is a mask
            together with ``is_causal``.
        TypeError: dtypes are not floating, not alike, or the mask is of integers.

    Source: Vaswani et al., 2017; Dao et al., 2022 (FlashAttention); guide, "Attention Mechanisms".
    """
    return _ops.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa
    )


def sinusoidal_positions(length: int, dim: int, base: float = 10000.0) -> Tensor:
    """Sines and cosines of positions 0 to ``length - 1``, as a table ``(length, dim)``.

    Columns ``2 i`` and ``2 i + 1`` hold ``sin`` and ``cos`` of ``t / base^(2 i / dim)``.

    Raises:
        ValueError: a size is negative.

    Source: Vaswani et al., 2017, section 3.5.
    """
    if length < 0 or dim < 0:
        raise ValueError(
            f"[sinusoidal_positions] expected sizes >= 0 but got length={length}, dim={dim}"
        )
    columns = np.arange(dim)
    angles = np.arange(length)[:, None] / base ** ((columns - columns % 2) / max(1, dim))
    table = np.where(columns % 2 == 0, np.sin(angles), np.cos(angles))
    return _creation.tensor(table.astype(np.float32))


def rotary_embedding(input: Tensor, offset: int = 0, base: float = 10000.0) -> Tensor:
    """Turns each pair of elements ``i`` and ``i + D / 2`` by the angle ``t / base^(2 i / D)``, so
    that the product of a query and a key depends on how far apart they are.

    Args:
        input: queries or keys, ``(..., T, D)`` with an even D.
        offset: the position of the first of the T.
        base: the longest wavelength is ``2 pi base``.

    Returns:
        A tensor like ``input``.

    Raises:
        ValueError: D is odd or ``input`` has fewer than 2 dimensions.

    Source: Su et al., 2021 (RoFormer); pairs as in GPT-NeoX.
    """
    if input.ndim < 2 or input.shape[-1] % 2 != 0:
        raise ValueError(
            "[rotary_embedding] expected a shape (..., T, D) with an even D "
            f"but got {tuple(input.shape)}"
        )
    time, dim = input.shape[-2:]
    half = dim // 2
    rates = base ** (-np.arange(half) / max(1, half))
    angles = np.arange(offset, offset + time)[:, None] * rates
    cosine = _creation.tensor(np.cos(angles), dtype=input.dtype)
    sine = _creation.tensor(np.sin(angles), dtype=input.dtype)
    first, second = input.split(half, -1) if half else (input, input)
    return _ops.concat([first * cosine - second * sine, second * cosine + first * sine], -1)
