"""Records of softmax, log_softmax and logsumexp."""

from __future__ import annotations

from typing import Any

import numpy as np
from opinfo import OpInfo, Sample


def softmax(x: Any, dim: int) -> Any:
    if x.ndim == 0:
        return np.ones(())
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    return e / e.sum(dim, keepdims=True)


def log_softmax(x: Any, dim: int) -> Any:
    if x.ndim == 0:
        return np.zeros(())
    shifted = x - x.max(dim, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))


def logsumexp(x: Any, dim: Any, keepdim: bool = False) -> Any:
    if x.ndim == 0:
        return x
    axes = dim if isinstance(dim, int) else tuple(dim)
    top = x.max(axes, keepdims=True)
    top = np.where(np.isinf(top), 0, top)
    y = np.log(np.exp(x - top).sum(axes, keepdims=True)) + top
    return y if keepdim else y.squeeze(axes)


def samples(rng: np.random.Generator) -> list[Sample]:
    shapes = [((), 0), ((1,), 0), ((4, 10), 1), ((3, 16), -1), ((2, 17), 1), ((3, 130), 1)]
    shapes += [((7, 5), 0), ((3, 4, 5), 1), ((2, 70, 3), 1), ((2, 3, 150), 1), ((5, 9000), 1)]
    shapes += [((0, 3), 1), ((3, 0), 1), ((2, 0), 0)]
    out: list[Sample] = [((3 * rng.standard_normal(s), dim), {}) for s, dim in shapes]
    far = rng.standard_normal((3, 6))
    far[0] += 1000
    far[1] -= 1000
    return [*out, ((far, 1), {}), ((far, 0), {})]


def logsumexp_samples(rng: np.random.Generator) -> list[Sample]:
    out: list[Sample] = [
        ((rng.standard_normal(()), 0), {}),
        ((rng.standard_normal((4, 10)), 1), {}),
        ((rng.standard_normal((4, 10)), 0), {"keepdim": True}),
        ((rng.standard_normal((2, 3, 4)), (0, 2)), {}),
        ((rng.standard_normal((2, 5000)) * 5, -1), {}),
        ((rng.standard_normal((0, 3)), 1), {}),
    ]
    big = rng.standard_normal((3, 6))
    big[0] += 1000
    return [*out, ((big, 1), {})]


def errors(name: str) -> list[Any]:
    x = np.ones((2, 3))
    return [
        ((x, 2), {}, IndexError, rf"\[{name}\] expected dim in \[-2, 1\] but got 2"),
        ((x,), {}, TypeError, rf"\[{name}\] missing argument 'dim'"),
    ]


INTS = np.arange(6).reshape(2, 3)

RECORDS = [
    OpInfo(
        "softmax",
        softmax,
        samples,
        [*errors("softmax"), ((INTS, 1), {}, TypeError, "expected a floating-point input")],
    ),
    OpInfo("log_softmax", log_softmax, samples, errors("log_softmax")),
    OpInfo("logsumexp", logsumexp, logsumexp_samples, errors("logsumexp")),
]
