"""Record of scaled_dot_product_attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from opinfo import OpInfo, Sample, fixed

NAME = "scaled_dot_product_attention"


def reference(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """The weights in full, as the formula says; dropout only where it is 0 or 1."""
    if enable_gqa:
        key = key.repeat(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat(query.shape[-3] // value.shape[-3], -3)
    if scale is None:
        scale = 1 / np.sqrt(query.shape[-1])
    scores = (query @ np.swapaxes(key, -1, -2)) * scale
    if is_causal:
        attn_mask = np.tril(np.ones(scores.shape[-2:], bool))
    if attn_mask is not None:
        if attn_mask.dtype == bool:
            attn_mask = np.where(attn_mask, 0.0, -np.inf)
        scores = scores + attn_mask
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isinf(top), 0, top))
    total = weights.sum(-1, keepdims=True)
    weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return (weights if dropout_p == 0 else 0 * weights) @ value


def samples(rng: np.random.Generator) -> list[Sample]:
    def qkv(
        lead: tuple[int, ...], queries: int, keys: int, dim: int, value_dim: int = 0
    ) -> tuple[Any, Any, Any]:
        return (
            rng.standard_normal((*lead, queries, dim)),
            rng.standard_normal((*lead, keys, dim)),
            rng.standard_normal((*lead, keys, value_dim or dim)),
        )

    def bools(*shape: int) -> Any:
        return rng.random(shape) < 0.6

    def numbers(*shape: int) -> Any:
        return rng.standard_normal(shape)

    hidden = bools(6, 6)
    hidden[2] = False
    infinite = np.where(bools(2, 1, 6, 6), 0.0, -np.inf)
    infinite[0, 0, 3] = -np.inf
    out: list[Sample] = [
        (qkv((2, 3), 5, 7, 4), {}),
        (qkv((1, 2), 1, 1, 1), {}),
        (qkv((2,), 9, 17, 16, 3), {"scale": 0.3}),
        (qkv((), 33, 20, 7), {}),
        (qkv((2, 1, 2), 3, 4, 5), {}),
        (qkv((1, 2), 16, 16, 8), {"is_causal": True}),
        (qkv((1, 1), 70, 70, 5, 18), {"is_causal": True}),
        (qkv((2, 1), 3, 9, 4), {"is_causal": True}),
        (qkv((2, 1), 9, 3, 4), {"is_causal": True}),
        (qkv((1, 1), 65, 130, 33), {}),
        (qkv((1, 1), 150, 600, 3), {"is_causal": True}),
        (qkv((1, 1), 5, 1100, 2), {"attn_mask": bools(1100)}),
        ((*qkv((2, 2), 6, 6, 4), hidden), {}),
        ((*qkv((2, 2), 6, 6, 4), bools(2, 1, 1, 6)), {}),
        ((*qkv((2, 2), 6, 6, 4), numbers(6, 6)), {}),
        ((*qkv((2, 2), 6, 6, 4), fixed(infinite)), {}),
        ((*qkv((1, 1), 35, 140, 3), numbers(1, 1, 35, 140)), {}),
        ((*qkv((1, 1), 35, 140, 3), bools(35, 140)), {}),
        ((*qkv((2,), 4, 5, 3), numbers(2, 4, 5)), {}),
        ((numbers(1, 4, 5, 3), numbers(1, 2, 6, 3), numbers(1, 2, 6, 4)), {"enable_gqa": True}),
        (
            (numbers(2, 6, 20, 3), numbers(2, 1, 20, 3), numbers(2, 1, 20, 3)),
            {"enable_gqa": True, "is_causal": True},
        ),
        ((numbers(2, 3, 4, 5), numbers(1, 3, 6, 5), numbers(3, 6, 2)), {}),
        ((4 * numbers(1, 1, 8, 16), 4 * numbers(1, 1, 40, 16), numbers(1, 1, 40, 2)), {}),
        (qkv((1, 2), 5, 7, 4), {"dropout_p": 1.0}),
    ]
    empty = [((0, 2), 3, 4, 5), ((2, 2), 0, 4, 5), ((2, 2), 3, 0, 5), ((2, 2), 3, 4, 0)]
    return [*out, *((qkv(*shape), {}) for shape in empty)]


def packed(
    x: Any,
    num_heads: int,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
) -> Any:
    batch, time, width = x.shape
    parts = x.reshape(batch, time, 3, num_heads, width // 3 // num_heads).transpose(2, 0, 3, 1, 4)
    out = reference(*parts, attn_mask, dropout_p, is_causal)
    return out.swapaxes(1, 2).reshape(batch, time, width // 3)


def packed_samples(rng: np.random.Generator) -> list[Sample]:
    def numbers(*shape: int) -> Any:
        return rng.standard_normal(shape)

    return [
        ((numbers(2, 5, 12), 2), {}),
        ((numbers(1, 20, 54), 3), {"is_causal": True}),
        ((numbers(2, 70, 6), 1), {"is_causal": True}),
        ((numbers(2, 6, 24), 4, rng.random((2, 1, 1, 6)) < 0.7), {}),
        ((numbers(2, 6, 24), 4, numbers(4, 6, 6)), {}),
        ((numbers(0, 6, 12), 2), {}),
        ((numbers(2, 0, 12), 2), {}),
    ]


ONES = np.ones((1, 2, 3, 4))
ROWS = np.ones((1, 3, 12))
RECORDS = [
    OpInfo(
        "packed_attention",
        packed,
        packed_samples,
        [
            (
                (ROWS.astype(int), 2),
                {},
                TypeError,
                r"\[packed_attention\] expected a floating input",
            ),
            ((ONES, 2), {}, ValueError, r"\(B, T, 3 E\) but got shape \(1, 2, 3, 4\)"),
            ((ROWS, 3), {}, ValueError, "that 3 . num_heads divides but got"),
            ((ROWS, 2), {"dropout_p": -0.5}, ValueError, r"dropout_p in \[0, 1\]"),
            ((ROWS, 2, np.ones((3, 2), bool)), {}, ValueError, "attn_mask to broadcast to"),
        ],
    ),
    OpInfo(
        NAME,
        reference,
        samples,
        [
            ((ONES, ONES, np.arange(24).reshape(1, 2, 3, 4)), {}, TypeError, "one floating dtype"),
            ((ONES, np.ones((1, 2, 3, 5)), ONES), {}, ValueError, "same last dimension but got"),
            ((ONES, ONES, np.ones((1, 2, 5, 4))), {}, ValueError, "as many keys as values but got"),
            ((ONES[0, 0, 0], ONES, ONES), {}, ValueError, "at least 2 dimensions but got"),
            ((ONES, np.ones((1, 3, 3, 4)), ONES), {}, ValueError, rf"\[{NAME}\] expected shapes"),
            (
                (ONES, ONES, ONES, np.ones((2, 3), bool)),
                {},
                ValueError,
                r"attn_mask to broadcast to \(1, 2, 3, 3\) but got shape \(2, 3\)",
            ),
            ((ONES, ONES, ONES, np.ones((3, 3), int)), {}, TypeError, "attn_mask to be bool or"),
            (
                (ONES, ONES, ONES, np.ones((3, 3), bool)),
                {"is_causal": True},
                ValueError,
                "no attn_mask together with is_causal",
            ),
            ((ONES, ONES, ONES), {"dropout_p": 1.5}, ValueError, r"dropout_p in \[0, 1\]"),
            (
                (np.ones((1, 3, 3, 4)), ONES, ONES),
                {"enable_gqa": True},
                ValueError,
                "a multiple of those of key and value but got 3, 2 and 2",
            ),
        ],
    ),
]
