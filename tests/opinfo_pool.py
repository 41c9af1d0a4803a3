"""Records of the pooling ops."""

from __future__ import annotations

from typing import Any

import numpy as np
from opinfo import OpInfo, Sample
from opinfo_conv import numbers


def windows(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> Any:
    """Per dimension the lists of pixels (padding excluded), and their number with padding."""
    dims = x.ndim - 2
    k, p, d = (numbers(v, dims) for v in (kernel, padding, dilation))
    s = numbers(stride, dims) if stride not in ((), None) else k
    axes = []
    for i, n in enumerate(x.shape[2:]):
        span = d[i] * (k[i] - 1) + 1
        room = n + 2 * p[i] - span
        count = (-(-room // s[i]) if ceil else room // s[i]) + 1
        if ceil and (count - 1) * s[i] >= n + p[i]:
            count -= 1
        axis = []
        for o in range(count):
            start = o * s[i] - p[i]
            pixels = [start + t * d[i] for t in range(k[i])]
            whole = min(start + k[i], n + p[i]) - start
            axis.append(([j for j in pixels if 0 <= j < n], whole))
        axes.append(axis)
    return axes


def adaptive_windows(x: Any, output_size: Any) -> Any:
    axes = []
    for n, m in zip(x.shape[2:], numbers(output_size, x.ndim - 2), strict=True):
        spans = [range(o * n // m, -(-(o + 1) * n // m)) for o in range(m)]
        axes.append([(list(r), len(r)) for r in spans])
    return axes


def pooled(x: Any, axes: Any, function: Any) -> Any:
    """function(patch as (N, C, pixels), flat places of the pixels, pixels with padding)."""
    size = [len(axis) for axis in axes]
    out = None
    places = np.arange(int(np.prod(x.shape[2:]))).reshape(x.shape[2:])
    for at in np.ndindex(*size):
        lists = [axis[i][0] for axis, i in zip(axes, at, strict=True)]
        mesh = np.ix_(*lists)
        patch = x[(slice(None), slice(None), *mesh)]
        patch = patch.reshape(*x.shape[:2], places[mesh].size)
        whole = int(np.prod([axis[i][1] for axis, i in zip(axes, at, strict=True)]))
        value = function(patch, places[mesh].ravel(), whole)
        if out is None:
            out = np.zeros((*x.shape[:2], *size), value.dtype)
        out[(slice(None), slice(None), *at)] = value
    return np.zeros((*x.shape[:2], *size)) if out is None else out


def largest(patch: Any, _: Any, __: int) -> Any:
    return patch.max(-1) if patch.shape[-1] else np.full(patch.shape[:2], -np.inf)


def place(patch: Any, places: Any, _: int) -> Any:
    return places[np.argmax(patch, -1)]


def max_pool(
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    return pooled(x, windows(x, kernel, stride, padding, dilation, ceil_mode), largest)


def max_pool_with_indices(x: Any, *args: Any, **kwargs: Any) -> Any:
    padded = {"stride": (), "padding": 0, "dilation": 1, "ceil_mode": False, **kwargs}
    names = ("kernel", "stride", "padding", "dilation", "ceil_mode")
    padded.update(zip(names, args, strict=False))
    axes = windows(x, *(padded[n] for n in names))
    return pooled(x, axes, largest), pooled(x, axes, place)


def max_unpool(x: Any, indices: Any, output_size: Any) -> Any:
    size = numbers(output_size, x.ndim - 2)
    out = np.zeros((*x.shape[:2], int(np.prod(size))), x.dtype)
    for at in np.ndindex(*x.shape):
        out[(*at[:2], indices[at])] = x[at]
    return out.reshape(*x.shape[:2], *size)


def unpool_samples(rng: np.random.Generator) -> list[Sample]:
    def sample(shape: tuple[int, ...], places: int, size: Any) -> Sample:
        x = rng.standard_normal(shape)
        return (x, rng.integers(0, places, shape), size), {}

    out = [
        sample((2, 3, 4), 9, 9),  # several values meet in one place
        sample((2, 3, 2, 3), 35, (5, 7)),
        sample((1, 2, 2, 3, 2), 60, (3, 5, 4)),
        sample((0, 2, 2, 2), 16, 4),
        sample((1, 2, 3, 3), 4, 2),
    ]
    x = rng.standard_normal((2, 3, 6, 8))
    values, places = max_pool_with_indices(x, 2)
    out.append(((values, places, (6, 8)), {}))
    return out


def avg_pool(
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    def mean(patch: Any, _: Any, whole: int) -> Any:
        by = divisor_override or (whole if count_include_pad else patch.shape[-1])
        return patch.sum(-1) / by

    return pooled(x, windows(x, kernel, stride, padding, 1, ceil_mode), mean)


def max_samples(rng: np.random.Generator) -> list[Sample]:
    def x(*shape: int) -> Any:
        """Values that differ by more than the steps of the gradient checks."""
        return rng.permutation(int(np.prod(shape))).reshape(shape) / 16.0 - 2.0

    return [
        ((x(2, 3, 6, 6), 2), {}),
        ((x(2, 17, 5, 7), 3), {"stride": 2, "padding": 1}),
        ((x(1, 2, 7, 6), (3, 2)), {"stride": (2, 1), "padding": (1, 0), "ceil_mode": True}),
        ((x(1, 33, 8, 8), 2), {"stride": 3, "dilation": (2, 3)}),
        ((x(1, 2, 5, 5), 2), {"stride": 2, "ceil_mode": True, "padding": 1}),
        # Windows larger than the input.
        ((x(1, 2, 4, 5), (5, 3)), {"stride": (2, 3), "dilation": (1, 2), "ceil_mode": True}),
        ((x(1, 2, 5, 5), 3), {"stride": 1}),
        ((x(2, 3, 9), 3), {"stride": 2}),
        ((x(1, 2, 4, 5, 4), (2, 3, 2)), {"stride": (1, 2, 2), "padding": (1, 1, 0)}),
        ((x(3, 16, 40, 40), 2), {}),
        ((np.zeros((0, 3, 4, 4)), 2), {}),
    ]


def avg_samples(rng: np.random.Generator) -> list[Sample]:
    def x(*shape: int) -> Any:
        return rng.standard_normal(shape)

    return [
        ((x(2, 3, 6, 6), 2), {}),
        ((x(2, 17, 5, 7), 3), {"stride": 2, "padding": 1}),
        ((x(2, 3, 5, 7), 3), {"stride": 2, "padding": 1, "count_include_pad": False}),
        ((x(1, 2, 7, 6), (3, 2)), {"stride": (2, 1), "padding": (1, 0), "ceil_mode": True}),
        ((x(1, 2, 5, 5), 2), {"ceil_mode": True, "count_include_pad": False}),
        # A window larger than the input.
        ((x(1, 2, 3, 5), (6, 3)), {"stride": 2, "padding": 1, "ceil_mode": True}),
        ((x(1, 2, 5, 5), 3), {"stride": 1, "divisor_override": 5}),
        ((x(2, 3, 9), 3), {"stride": 2, "padding": 1}),
        ((x(1, 2, 4, 5, 4), (2, 3, 2)), {"stride": (1, 2, 2), "padding": (1, 1, 0)}),
        ((x(3, 16, 40, 40), 2), {}),
        ((x(0, 3, 4, 4), 2), {}),
    ]


def adaptive_samples(rng: np.random.Generator) -> list[Sample]:
    def x(*shape: int) -> Any:
        return rng.permutation(int(np.prod(shape))).reshape(shape) / 16.0 - 2.0

    return [
        ((x(2, 3, 6, 7), 3), {}),
        ((x(1, 17, 5, 7), (1, 4)), {}),
        ((x(2, 3, 4), 6), {}),
        ((x(1, 2, 3, 4, 5), (2, 4, 1)), {}),
        ((x(2, 16, 7, 7), 1), {}),
    ]


def resize(
    x: Any, size: Any, mode: str = "nearest", align: bool = False, *steps: float, **named: float
) -> Any:
    """Every dimension by a matrix of the shares that new positions take of the old ones."""
    given = [*steps, *(named.get(f"step{i}", 0.0) for i in range(len(steps) + 1, 4))]
    y = np.asarray(x)
    for i, new in enumerate(size):
        old = x.shape[i + 2]
        step = given[i] or old / new
        shares = np.zeros((new, old))
        for j in range(new):
            if mode == "linear":
                at = j * (old - 1) / max(new - 1, 1) if align else max((j + 0.5) * step - 0.5, 0.0)
                low = min(int(at), old - 1)
                shares[j, low] += 1 - (at - low)
                shares[j, min(low + 1, old - 1)] += at - low
            else:
                shares[j, min(int((j + 0.5 * (mode == "nearest-exact")) * step), old - 1)] = 1
        y = np.moveaxis(np.tensordot(shares, y, (1, i + 2)), 0, i + 2)
    return y


def resize_samples(rng: np.random.Generator) -> list[Sample]:
    def x(*shape: int) -> Any:
        return rng.standard_normal(shape)

    return [
        ((x(2, 3, 5), (10,)), {}),
        ((x(2, 3, 7), (3,), "nearest-exact"), {}),
        ((x(2, 3, 7), (4,), "linear"), {}),
        ((x(1, 2, 3, 5), (6, 10)), {}),
        ((x(1, 3, 5, 4), (3, 9), "linear"), {}),
        ((x(1, 3, 5, 4), (5, 9), "linear", True), {}),
        ((x(2, 2, 5, 4), (8, 4), "linear"), {}),
        ((x(1, 2, 5, 4), (5, 4), "linear"), {}),
        ((x(1, 2, 4, 4), (1, 6), "linear", True), {}),
        ((x(1, 2, 4, 4), (7, 6), "nearest", False, 0.6), {"step2": 0.7}),
        ((x(1, 2, 3, 2, 4), (2, 3, 5), "linear"), {}),
        ((x(1, 2, 3, 2, 4), (2, 2, 4), "linear"), {}),
        ((x(1, 2, 2, 3, 4), (3, 5, 4)), {}),
    ]


X = np.ones((1, 2, 4, 4))
WHOLE = np.ones((1, 2, 4, 4), np.int64)


def errors(op: str, dilated: bool) -> Any:
    found: Any = [
        ((np.ones((2, 3)), 2), {}, ValueError, r"expected an input of shape \(N, C, \.\.\.\)"),
        ((X, 0), {}, ValueError, r"expected kernel_size of at least 1"),
        ((X, (2, 2, 2)), {}, ValueError, r"expected 1 or 2 numbers for kernel_size"),
        ((X, 2), {"stride": 0}, ValueError, r"expected stride of at least 1"),
        ((X, 2), {"padding": 2}, ValueError, r"padding of at most half the kernel"),
        ((X, 5), {}, ValueError, r"not smaller than the kernel"),
        ((X, 6), {"stride": 2, "ceil_mode": True}, ValueError, r"not smaller than the kernel"),
        ((np.ones((1, 2, 0, 4)), 2), {}, ValueError, r"spatial dimensions that are not empty"),
        ((WHOLE, 2), {}, TypeError, rf"\[{op}\] expected a floating input"),
    ]
    if dilated:
        found.append(((X, 2), {"dilation": 0}, ValueError, r"expected dilation of at least 1"))
    else:
        found.append(((X, 2), {"divisor_override": 0}, ValueError, r"divisor_override that is not"))
    return found


def adaptive_errors(op: str) -> Any:
    return [
        ((X, (1, 2, 3)), {}, ValueError, r"expected 1 or 2 numbers for output_size"),
        ((X, -1), {}, ValueError, r"expected output_size of at least 0"),
        ((WHOLE, 2), {}, TypeError, rf"\[{op}\] expected a floating input"),
    ]


RECORDS = [
    OpInfo("max_pool", max_pool, max_samples, errors("max_pool", True)),
    OpInfo(
        "max_pool_with_indices",
        max_pool_with_indices,
        lambda rng: max_samples(rng)[:-1],
        errors("max_pool_with_indices", True),
    ),
    OpInfo(
        "max_unpool",
        max_unpool,
        unpool_samples,
        [
            ((np.ones((2, 3)), WHOLE, 4), {}, ValueError, r"expected an input of shape \(N, C"),
            ((X, X, 4), {}, TypeError, r"\[max_unpool\] expected integer indices"),
            ((X, WHOLE[:, :1], 4), {}, ValueError, r"expected indices of shape \(1, 2, 4, 4\)"),
            ((X, WHOLE, (4, 4, 4)), {}, ValueError, r"expected 1 or 2 numbers for output_size"),
            ((X, WHOLE, -1), {}, ValueError, r"expected output_size of at least 0"),
            ((X, 64 * WHOLE, 8), {}, IndexError, r"\[max_unpool\] .* below 64 but got 64"),
            ((X, -WHOLE, 8), {}, IndexError, r"of at least 0 and below 64 but got -1"),
            ((WHOLE, WHOLE, 4), {}, TypeError, r"\[max_unpool\] expected a floating input"),
        ],
    ),
    OpInfo("avg_pool", avg_pool, avg_samples, errors("avg_pool", False)),
    OpInfo(
        "adaptive_max_pool",
        lambda x, size: pooled(x, adaptive_windows(x, size), largest),
        adaptive_samples,
        adaptive_errors("adaptive_max_pool"),
    ),
    OpInfo(
        "adaptive_max_pool_with_indices",
        lambda x, size: (
            pooled(x, adaptive_windows(x, size), largest),
            pooled(x, adaptive_windows(x, size), place),
        ),
        adaptive_samples,
        adaptive_errors("adaptive_max_pool_with_indices"),
    ),
    OpInfo(
        "adaptive_avg_pool",
        lambda x, size: pooled(x, adaptive_windows(x, size), lambda patch, _, __: patch.mean(-1)),
        adaptive_samples,
        adaptive_errors("adaptive_avg_pool"),
    ),
    OpInfo(
        "resize",
        resize,
        resize_samples,
        [
            ((np.ones((2, 3)), (4,)), {}, ValueError, "an input of 3 to 5 dimensions"),
            ((X, (4,)), {}, ValueError, r"expected 2 sizes but got \(4,\)"),
            ((X, (4, 0)), {}, ValueError, "sizes of at least 1"),
            ((X, (4, 4), "cubic"), {}, ValueError, "mode nearest, nearest-exact or linear"),
            ((X, (4, 4), "nearest", False, -1.0), {}, ValueError, "steps between 0 and"),
            ((WHOLE, (4, 4), "linear"), {}, TypeError, "a floating input for mode 'linear'"),
        ],
    ),
]
