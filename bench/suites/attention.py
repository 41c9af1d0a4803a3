"""Scaled dot-product attention: forward, and forward with the gradients of query, key and value
(``_train``)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Contender, Problem, Suite, generator, module, normal

SUITE = Suite()
_MASKS = ("none", "causal", "bool")


def _reference(
    q: Array, k: Array, v: Array, seen: Array | None, g: Array, train: bool
) -> list[Array]:
    """Head by head with all weights written out, in float64."""
    scale = q.shape[-1] ** -0.5
    found: list[list[Array]] = []
    for heads in zip(*(a.reshape(-1, *a.shape[-2:]) for a in (q, k, v, g)), strict=True):
        hq, hk, hv, hg = (a.astype(np.float64) for a in heads)
        scores = hq @ hk.T * scale
        if seen is not None:
            scores[~seen] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        if not train:
            found.append([weights @ hv])
            continue
        by_weights = hg @ hv.T
        mean = (by_weights * weights).sum(-1, keepdims=True)
        by_scores = weights * (by_weights - mean) * scale
        found.append([by_scores @ hk, by_scores.T @ hq, weights.T @ hg])
    return [np.stack(parts).reshape(q.shape) for parts in zip(*found, strict=True)]


@SUITE.kind("sdpa", "sdpa_train")
def attention(case: Case) -> Problem:
    """``layout=bthd``: heads lie beside one another in memory, as a projection leaves them."""
    train = case.kind.endswith("_train")
    batch, heads = case.number("batch"), case.number("heads")
    steps, dim = case.number("steps"), case.number("dim")
    mask, layout = case.params.get("mask", "none"), case.params.get("layout", "bhtd")
    dropout = float(case.params.get("dropout", "0"))
    if mask not in _MASKS or layout not in ("bhtd", "bthd"):
        raise ValueError(f"{case.id}: expected mask among {', '.join(_MASKS)}, layout bhtd or bthd")
    rng = generator(case)
    size = (batch, heads, steps, dim)
    q, k, v, g = (normal(rng, *size) for _ in range(4))
    seen = None
    if mask == "causal":
        seen = np.tri(steps, dtype=bool)
    elif mask == "bool":
        seen = np.tri(steps, dtype=bool) | (rng.random((steps, steps)) < 0.5)

    def make(library: str) -> Contender:
        lib = module(library)

        def wrap(array: Array) -> Any:
            if layout == "bhtd":
                return lib.from_numpy(array)
            return lib.from_numpy(array.transpose(0, 2, 1, 3).copy()).transpose(1, 2)

        tq, tk, tv, tg = (wrap(a) for a in (q, k, v, g))
        attend = module(f"{library}.nn.functional").scaled_dot_product_attention
        given = lib.from_numpy(seen) if mask == "bool" else None
        call = partial(attend, tq, tk, tv, given, dropout, mask == "causal")
        if not train:
            return Contender(call)
        leaves = [t.requires_grad_() for t in (tq, tk, tv)]
        grad = module(f"{library}.autograd").grad
        return Contender(lambda: grad(call(), leaves, tg))

    pairs = steps * (steps + 1) / 2 if mask == "causal" else steps * steps
    return Problem(
        makers={name: partial(make, name) for name in ("annx", "torch")},
        # What dropout leaves differs from library to library.
        reference=None if dropout else lambda: _reference(q, k, v, seen, g, train),
        # Two products forward; five backward, of which one is the scores' again.
        flops=4.0 * batch * heads * dim * pairs * (3.5 if train else 1),
        bytes=4.0 * q.size * (8 if train else 4),
    )
