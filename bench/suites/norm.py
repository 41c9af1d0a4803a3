"""Normalisation layers: forward, and forward with all gradients (``train``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..cases import Case
from ..problem import Array, Problem, Suite, generator, module, normal

SUITE = Suite()
_EPS = 1e-5


def _axes(kind: str, ndim: int) -> tuple[int, ...]:
    return (ndim - 1,) if kind == "layer_norm" else (0, *range(2, ndim))


def _forward(x: Array, w: Array, b: Array, axes: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """(result, normalised, 1 / deviation)."""
    mean = x.mean(axes, keepdims=True)
    scale = 1 / np.sqrt(x.var(axes, keepdims=True) + _EPS)
    unit = (x - mean) * scale
    return unit * w + b, unit, scale


def _backward(g: Array, unit: Array, scale: Array, w: Array, axes: tuple[int, ...]) -> Array:
    gw = g * w
    inner = gw - gw.mean(axes, keepdims=True) - unit * (gw * unit).mean(axes, keepdims=True)
    return np.asarray(inner * scale)


def _call(library: str, kind: str, tensors: Sequence[Any], state: Any) -> Callable[[], Any]:
    x, w, b = tensors
    functional = module(f"{library}.nn.functional")
    if kind == "layer_norm":
        shape, function = [x.shape[-1]], functional.layer_norm
        return lambda: function(x, shape, w, b, _EPS)
    norm, (mean, var) = functional.batch_norm, state
    return lambda: norm(x, mean, var, w, b, True, 0.1, _EPS)


@SUITE.kind("layer_norm", "batch_norm", "layer_norm_train", "batch_norm_train")
def norm(case: Case) -> Problem:
    kind, train = case.kind.removesuffix("_train"), case.kind.endswith("_train")
    rng = generator(case)
    shape = case.sizes("shape")
    features = shape[-1] if kind == "layer_norm" else shape[1]
    x, g = normal(rng, *shape), normal(rng, *shape)
    w, b = normal(rng, features), normal(rng, features)

    def make(library: str) -> Any:
        lib = module(library)
        tensors = [lib.from_numpy(a) for a in (x, w, b)]
        state = lib.zeros(features), lib.ones(features)
        if train:
            tensors = [t.requires_grad_() for t in tensors]
        forward = _call(library, kind, tensors, state)
        if not train:
            return forward
        out = lib.from_numpy(g)
        grad = lib._core.grad if library == "annx" else lib.autograd.grad
        return lambda: grad(forward(), tensors, out)

    def reference() -> list[Array]:
        axes = _axes(kind, x.ndim)
        wide = (1, features, *[1] * (x.ndim - 2)) if kind == "batch_norm" else (features,)
        weight, bias = w.astype(np.float64).reshape(wide), b.astype(np.float64).reshape(wide)
        y, unit, scale = _forward(x.astype(np.float64), weight, bias, axes)
        if not train:
            return [y]
        kept = tuple(i for i in range(x.ndim) if (i in axes) == (kind == "batch_norm"))
        gx = _backward(g.astype(np.float64), unit, scale, weight, axes)
        return [gx, (g * unit).sum(kept), g.sum(kept, dtype=np.float64)]

    passes = 5 if train else 2  # reads x and g twice, writes the gradient
    return Problem(
        makers={"annx": lambda: make("annx"), "torch": lambda: make("torch")},
        reference=reference,
        bytes=4.0 * x.size * passes,
        touched=4.0 * x.size * (3 if train else 2),
        flops=x.size * (16.0 if train else 8.0),
        tolerance=1e-3,
    )
