"""Records of convolution."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from opinfo import OpInfo, Sample

ACTIVATIONS = {
    "none": lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "tanh": np.tanh,
    "silu": lambda y: y / (1 + np.exp(-y)),
}


def numbers(value: Any, dims: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * dims if len(values) == 1 else values


def convolution(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    transposed: bool = False,
    output_padding: Any = 0,
    groups: int = 1,
    activation: str = "none",
    winograd: str | None = None,
) -> Any:
    """Sums over taps of slices of the padded input; transposed, adds to slices of the output."""
    dims = x.ndim - 2
    s, p, d, e = (numbers(v, dims) for v in (stride, padding, dilation, output_padding))
    kernel = w.shape[2:]
    parts = []
    if transposed:
        full = [
            (n - 1) * a + b * (k - 1) + 1 + extra
            for n, a, b, k, extra in zip(x.shape[2:], s, d, kernel, e, strict=True)
        ]
        step = w.shape[0] // groups
        for g in range(groups):
            xg, wg = x[:, g * step : (g + 1) * step], w[g * step : (g + 1) * step]
            y = np.zeros((x.shape[0], w.shape[1], *full))
            for tap in np.ndindex(*kernel):
                at = tuple(
                    slice(t * b, t * b + (n - 1) * a + 1, a)
                    for t, b, n, a in zip(tap, d, x.shape[2:], s, strict=True)
                )
                y[(slice(None), slice(None), *at)] += np.einsum(
                    "nc...,ck->nk...", xg, wg[(slice(None), slice(None), *tap)]
                )
            parts.append(y)
        y = np.concatenate(parts, 1)
        cut = tuple(slice(q, m - q) for q, m in zip(p, full, strict=True))
        y = y[(slice(None), slice(None), *cut)]
    else:
        x = np.pad(x, [(0, 0), (0, 0)] + [(q, q) for q in p])
        size = [
            (n - b * (k - 1) - 1) // a + 1
            for n, b, k, a in zip(x.shape[2:], d, kernel, s, strict=True)
        ]
        fan, step = w.shape[1], w.shape[0] // groups
        for g in range(groups):
            xg, wg = x[:, g * fan : (g + 1) * fan], w[g * step : (g + 1) * step]
            y = np.zeros((x.shape[0], step, *size))
            for tap in np.ndindex(*kernel):
                at = tuple(
                    slice(t * b, t * b + (n - 1) * a + 1, a)
                    for t, b, n, a in zip(tap, d, size, s, strict=True)
                )
                y += np.einsum(
                    "nc...,kc->nk...",
                    xg[(slice(None), slice(None), *at)],
                    wg[(slice(None), slice(None), *tap)],
                )
            parts.append(y)
        y = np.concatenate(parts, 1)
    if bias is not None:
        y = y + bias.reshape((-1,) + (1,) * dims)
    return ACTIVATIONS[activation](y)


def samples(rng: np.random.Generator) -> list[Sample]:
    out: list[Sample] = []

    def add(
        n: int,
        channels: tuple[int, int, int],
        kernel: tuple[int, ...],
        size: tuple[int, ...],
        bias: bool = False,
        **kw: Any,
    ) -> None:
        c, k, groups = channels
        fan = (c, k // groups) if kw.get("transposed") else (k, c // groups)
        x, w = rng.standard_normal((n, c, *size)), rng.standard_normal((*fan, *kernel))
        args = (x, w, rng.standard_normal(k)) if bias else (x, w)
        out.append((args, {"groups": groups, **kw}))

    # Every combination on small images: dense, grouped and depthwise.
    grid = itertools.product(((3, 5, 1), (4, 6, 2), (3, 3, 3)), (1, 2), (0, 1), (1, 2))
    for channels, s, p, d in grid:
        for transposed in (False, True):
            kw = {"stride": s, "padding": (p, 0), "dilation": (1, d), "transposed": transposed}
            add(2, channels, (3, 2), (5, 6), bias=s == 2, **kw)
    add(2, (3, 4, 1), (1, 1), (4, 5), True)
    add(2, (4, 6, 2), (1, 1), (4, 5), True)
    add(2, (4, 6, 2), (1, 1), (4, 5), transposed=True)
    add(2, (3, 4, 1), (1, 1), (5, 5), stride=2)
    add(2, (3, 4, 1), (1, 1), (3, 3), stride=2, transposed=True, output_padding=1)
    add(1, (3, 4, 1), (2, 2), (3, 3), dilation=2, transposed=True, output_padding=(1, 0))
    # Winograd: even and odd sizes, borders of every width, panels that are not full.
    add(2, (16, 16, 1), (3, 3), (6, 8), True, padding=1)
    add(1, (17, 35, 1), (3, 3), (7, 5), padding=1)
    add(1, (16, 20, 1), (3, 3), (5, 5))
    add(1, (18, 16, 1), (3, 3), (6, 5), padding=(3, 2), transposed=True)
    add(1, (16, 16, 1), (3, 3), (3, 1), padding=(0, 1))
    # The same by F(4x4, 3x3): sizes that its tiles do not divide, and smaller than a tile.
    for size in ((9, 6), (4, 11)):
        add(2, (16, 19, 1), (3, 3), size, True, padding=1, winograd="f43")
    add(1, (17, 16, 1), (3, 3), (5, 8), winograd="f43")
    add(1, (18, 16, 1), (3, 3), (6, 5), padding=(2, 1), transposed=True, winograd="f43")
    add(1, (16, 33, 1), (3, 3), (3, 3), True, padding=2, activation="relu", winograd="f43")
    # Many rows and channels: more than one task, block of taps and piece of pixels.
    add(3, (5, 33, 1), (5, 5), (24, 24), True, padding=2)
    add(1, (40, 3, 1), (3, 3), (9, 9), stride=2, padding=1)
    add(2, (20, 20, 20), (3, 3), (12, 12), True, padding=1)
    add(1, (1, 4, 1), (3, 3), (40, 40), padding=1)
    # Depthwise: whole vectors of channels and a rest, strips of pixels and single ones, phases.
    for transposed in (False, True):
        add(2, (20, 20, 20), (3, 3), (5, 12), stride=2, padding=1, transposed=transposed)
        add(1, (17, 17, 17), (5, 3), (6, 9), True, stride=(1, 2), padding=2, transposed=transposed)
        add(1, (16, 16, 16), (2, 5), (4, 14), stride=3, dilation=(1, 2), transposed=transposed)
    add(1, (16, 16, 16), (3, 3), (2, 3), True, padding=3)
    add(1, (18, 18, 18), (2, 3, 3), (3, 4, 7), True, stride=(2, 1, 1), padding=1)
    # One and three dimensions.
    add(2, (3, 4, 1), (3,), (9,), True, stride=2, padding=1)
    add(2, (3, 4, 1), (3,), (5,), stride=2, transposed=True, output_padding=1)
    add(1, (4, 4, 4), (4,), (11,), padding=2)
    add(1, (2, 3, 1), (2, 3, 2), (4, 5, 4), True, stride=(1, 2, 1), padding=(1, 0, 1))
    add(1, (2, 3, 1), (2, 3, 2), (2, 3, 2), stride=(2, 1, 2), transposed=True)
    add(1, (16, 16, 1), (1, 3, 3), (2, 4, 4), padding=(0, 1, 1))
    add(0, (3, 4, 1), (3, 3), (5, 5))
    for activation in ACTIVATIONS:
        add(2, (3, 5, 1), (3, 3), (4, 4), True, activation=activation)
    add(1, (16, 16, 1), (3, 3), (4, 4), True, padding=1, activation="silu")
    add(1, (4, 4, 4), (3, 3), (4, 4), True, padding=1, activation="tanh")
    return out


X, W = np.ones((1, 4, 5, 5)), np.ones((6, 4, 3, 3))

RECORDS = [
    OpInfo(
        "convolution",
        convolution,
        samples,
        [
            ((np.ones((4, 5)), W), {}, ValueError, r"expected an input of shape \(N, C, \.\.\.\)"),
            ((X, np.ones((6, 4, 3))), {}, ValueError, r"expected a weight of 4 dimensions"),
            ((X, np.ones((6, 3, 3, 3))), {}, ValueError, r"expected an input of 3 channels"),
            ((X, W), {"groups": 5}, ValueError, r"expected an input of 20 channels"),
            ((X, W), {"groups": 0}, ValueError, r"expected groups >= 1"),
            ((X, np.ones((5, 2, 3, 3))), {"groups": 2}, ValueError, r"groups that divide 5"),
            ((X, W, np.ones(5)), {}, ValueError, r"expected bias of shape \(6,\)"),
            ((X, W), {"stride": 0}, ValueError, r"expected stride of at least 1"),
            ((X, W), {"winograd": "f63"}, ValueError, r"expected winograd 'f23' or 'f43'"),
            ((X, W), {"padding": -1}, ValueError, r"expected padding of at least 0"),
            ((X, W), {"dilation": (1, 2, 3)}, ValueError, r"expected 1 or 2 numbers for dilation"),
            ((X, W), {"dilation": 3}, ValueError, r"not smaller than the kernel"),
            ((X, W), {"output_padding": 1}, ValueError, r"output_padding 0 unless transposed"),
            (
                (np.ones((1, 6, 5, 5)), W),
                {"transposed": True, "stride": 2, "output_padding": 2},
                ValueError,
                r"output_padding smaller than stride or dilation",
            ),
            (
                (np.ones((1, 6, 1, 1)), W),
                {"transposed": True, "padding": 2},
                ValueError,
                r"an output of positive size",
            ),
            ((X, W), {"activation": "step"}, ValueError, r"expected activation none, relu"),
            ((X, np.ones((6, 4, 0, 3))), {}, ValueError, r"without empty dimensions"),
            (
                (np.ones((1, 4, 5, 5), np.int64), np.ones((6, 4, 3, 3), np.int64)),
                {},
                TypeError,
                r"expected a floating input",
            ),
        ],
        scale=64.0,
    ),
]
