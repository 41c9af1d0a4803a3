"""Attention and what belongs to it: positions, masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from annx import _core

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
