"""sort and topk against NumPy's stable argsort, over every way that a line is put in order."""

from __future__ import annotations

from typing import Any

import annx
import numpy as np
import pytest

DTYPES = ("float32", "float64", "int64", "int32", "uint8")
# Around the sizes where blocks, merging and the width of digits change.
SIZES = (1, 2, 3, 7, 8, 9, 17, 33, 64, 65, 128, 129, 200, 513, 1000, 4097)
KINDS = ("plain", "few", "sorted", "reversed", "special")


def order(x: Any, dim: int, descending: bool) -> Any:
    """Positions in stable order, NaN as the largest."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    backwards = np.argsort(np.flip(x, dim), axis=dim, kind="stable")
    return x.shape[dim] - 1 - np.flip(backwards, dim)


def values(dtype: str, size: int, kind: str) -> Any:
    rng = np.random.default_rng([size, KINDS.index(kind), DTYPES.index(dtype)])
    x = rng.standard_normal((3, size)) * 50
    if kind == "few":
        x = np.round(x / 40)
    elif kind in ("sorted", "reversed"):
        x = np.sort(x, 1) * (1 if kind == "sorted" else -1)
    if dtype.startswith("float"):
        x = x.astype(dtype)
        if kind == "special":
            for value in (np.nan, -0.0, 0.0, np.inf, -np.inf, -np.nan, np.finfo(dtype).tiny / 4):
                x[rng.random(x.shape) < 0.2] = value
        return x
    if dtype == "uint8":
        return np.abs(x).astype(dtype)
    ends = np.iinfo(dtype)
    if kind == "plain":
        return rng.integers(ends.min, ends.max, x.shape, dtype)
    x = x.astype(dtype)
    if kind == "special":
        x[rng.random(x.shape) < 0.2] = ends.min
        x[rng.random(x.shape) < 0.2] = ends.max
    return x


def check(pair: Any, x: Any, expected: Any, dim: int) -> None:
    got, positions = pair
    np.testing.assert_array_equal(positions.numpy(), expected)
    # Bytes: a NaN keeps its payload and a zero its sign.
    assert got.numpy().tobytes() == np.take_along_axis(x, expected, dim).tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_order_is_stable_and_exact(dtype: str, kind: str) -> None:
    for size in SIZES:
        rows = values(dtype, size, kind)
        for x, dim in ((rows, 1), (np.ascontiguousarray(rows.T), 0)):
            tensor = annx.from_numpy(x)
            for descending in (False, True):
                expected = order(x, dim, descending)
                check(annx.sort(tensor, dim, descending), x, expected, dim)
                for k in {0, 1, 5, 16, 17, size // 3, size // 2, size - 1, size}:
                    if k <= size:
                        first = np.take(expected, range(k), dim)
                        check(annx.topk(tensor, k, dim, descending), x, first, dim)


@pytest.mark.parametrize("dtype", ["float64", "int64"])
@pytest.mark.parametrize("outlier", [False, True])
def test_long_keys_that_agree_in_their_upper_half(dtype: str, outlier: bool) -> None:
    rng = np.random.default_rng(3)
    shape = (2, 6000)
    x = rng.integers(0, 900, shape) + (rng.integers(0, 3, shape) << 40)
    x[0, 7] += int(outlier) << 62
    y = x if dtype == "int64" else 1 + (x & 0xFFFF) * 2.0**-52
    if dtype == "float64" and outlier:
        y[0, 7] = -1e300
    check(annx.sort(annx.from_numpy(y)), y, order(y, 1, False), 1)


def test_lines_that_no_cache_holds() -> None:
    rng = np.random.default_rng(4)
    for dtype in ("float32", "float64"):
        x = rng.standard_normal(600_000).astype(dtype)
        check(annx.sort(annx.from_numpy(x)), x, order(x, 0, False), 0)
        tensor = annx.from_numpy(x)
        check(annx.topk(tensor, 3000), x, order(x, 0, True)[:3000], 0)


def test_threads_do_not_change_the_order() -> None:
    x = annx.from_numpy(np.round(np.random.default_rng(5).standard_normal((400, 300)) * 3))
    before = annx.num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            annx.set_num_threads(threads)
            results.append([t.numpy().tobytes() for t in (*annx.sort(x), *annx.topk(x, 7, 0))])
    finally:
        annx.set_num_threads(before)
    assert results[0] == results[1] == results[2]
