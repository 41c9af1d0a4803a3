"""Records of the reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import annx
import numpy as np
from opinfo import OpInfo, Sample

Arrays = list[Sample]


def axis(dim: Any) -> Any:
    return None if dim is None or dim == () else dim if isinstance(dim, int) else tuple(dim)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape)


def common(rng: np.random.Generator, empty: bool = True) -> Arrays:
    """Scalars, rows, columns, middles, several axes apart, long rows and tall columns."""
    samples: Arrays = [
        ((floats(rng),), {}),
        ((floats(rng, 1),), {"dim": 0}),
        ((floats(rng, 7),), {"keepdim": True}),
        ((floats(rng, 3, 5),), {"dim": 1}),
        ((floats(rng, 33, 70),), {"dim": -1, "keepdim": True}),
        ((floats(rng, 9, 19),), {"dim": 0}),
        ((floats(rng, 2, 3, 4),), {"dim": 1}),
        ((floats(rng, 2, 3, 4, 5),), {"dim": (0, 2)}),
        ((floats(rng, 2, 3, 4, 5),), {"dim": (3, -3), "keepdim": True}),
        ((floats(rng, 2, 1, 4),), {"dim": 1}),
        ((floats(rng, 2, 3),), {"dim": ()}),
        ((floats(rng, 1300),), {}),
        ((floats(rng, 530, 3),), {"dim": 0}),
    ]
    if empty:
        samples += [((floats(rng, 0),), {}), ((floats(rng, 0, 3),), {"dim": 0})]
    return [*samples, ((floats(rng, 0, 3),), {"dim": 1})]


def integers(rng: np.random.Generator, empty: bool = True) -> Arrays:
    samples: Arrays = [
        ((rng.integers(-9, 9, (3, 5)),), {"dim": 1}),
        ((rng.integers(-9, 9, (9, 4)).astype(np.int32),), {"dim": 0}),
        ((rng.integers(0, 9, (2, 3, 4)).astype(np.uint8),), {"dim": (0, 2)}),
        ((rng.random((3, 21)) < 0.5,), {"dim": -1, "keepdim": True}),
        ((rng.integers(-9, 9, ()),), {}),
    ]
    return samples + ([((rng.integers(-9, 9, 0),), {})] if empty else [])


def long_ones(rng: np.random.Generator) -> Arrays:
    """More than one piece: a long row, and columns taller than a piece."""
    return [((floats(rng, 2, 140_000),), {"dim": 1}), ((floats(rng, 70_000, 2),), {"dim": 0})]


def dim_error(name: str) -> list[Any]:
    x = np.ones((2, 3))
    return [
        ((x,), {"dim": 2}, IndexError, rf"\[{name}\] expected dim in \[-2, 1\] but got 2"),
        ((x,), {"dim": (0, -2)}, ValueError, rf"\[{name}\] expected distinct axes"),
    ]


def empty_error(name: str) -> list[Any]:
    x = np.ones((0, 3))
    return [((x,), {"dim": 0}, ValueError, rf"\[{name}\] expected at least one element")]


def sum_ref(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return x.sum(axis(dim), keepdims=keepdim, dtype=np.int64 if x.dtype.kind in "iub" else None)


def mean_ref(x: Any, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    return x.mean(axis(dim), keepdims=keepdim)


def spread(of: Callable[..., Any]) -> Callable[..., Any]:
    def ref(x: Any, dim: Any = None, correction: int = 1, keepdim: bool = False) -> Any:
        return of(x, axis(dim), ddof=correction, keepdims=keepdim)

    return ref


def spread_samples(rng: np.random.Generator) -> Arrays:
    plain = [s for s in common(rng, empty=False) if s[0][0].ndim > 1 and s[0][0].shape[-1] > 1]
    return [
        *(s for s in plain if s[1].get("dim") != 1 or s[0][0].shape[1] > 1),
        ((floats(rng, 4, 6) + 100,), {"dim": 1, "correction": 0}),
        ((floats(rng, 11),), {"correction": 3}),
        *long_ones(rng),
    ]


def reduce_ref(of: Callable[..., Any]) -> Callable[..., Any]:
    def ref(x: Any, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
        return of(x, axis=axis(dim), keepdims=keepdim)

    return ref


def extreme_samples(rng: np.random.Generator) -> Arrays:
    return [
        *common(rng, empty=False)[:-1],
        *integers(rng, empty=False),
        *long_ones(rng),
    ]


def with_positions(values: Callable[..., Any], at: Callable[..., Any]) -> Callable[..., Any]:
    def ref(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        if dim is None:
            return values(x, keepdims=keepdim)
        if x.ndim == 0:
            return x, np.zeros((), np.int64)
        return values(x, axis=dim, keepdims=keepdim), at(x, axis=dim, keepdims=keepdim)

    return ref


def one_dim_samples(rng: np.random.Generator) -> Arrays:
    """dim is one int, and always there."""
    return [
        ((floats(rng), 0), {}),
        ((floats(rng, 7), -1), {}),
        ((floats(rng, 3, 40), 1), {"keepdim": True}),
        ((floats(rng, 5, 3), 0), {}),
        ((floats(rng, 2, 6, 3), 1), {}),
        ((rng.integers(-9, 9, (4, 30)), 1), {}),
        ((rng.integers(-3, 3, (6, 5)).astype(np.int32), 0), {}),
        ((floats(rng, 0, 3), 1), {}),
    ]


def any_dim_samples(rng: np.random.Generator) -> Arrays:
    return [
        *one_dim_samples(rng),
        ((floats(rng),), {}),
        ((floats(rng, 3, 5),), {}),
        ((rng.integers(-9, 9, (4, 3)),), {"keepdim": True}),
    ]


def position_ref(at: Callable[..., Any]) -> Callable[..., Any]:
    def ref(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        return np.int64(0) if x.ndim == 0 else at(x, axis=dim, keepdims=keepdim)

    return ref


def position_samples(rng: np.random.Generator) -> Arrays:
    ties = rng.integers(0, 3, (5, 40)).astype(np.float64)
    nan = floats(rng, 3, 20)
    nan[1, [4, 17]] = np.nan
    return [
        *any_dim_samples(rng),
        ((ties, 1), {}),
        ((nan, 1), {}),
        ((nan, 0), {}),
        ((rng.random((3, 9)) < 0.5, 1), {}),
    ]


def prod_samples(rng: np.random.Generator) -> Arrays:
    zeros = floats(rng, 4, 3)
    zeros[1, 0] = zeros[2, 1] = zeros[2, 2] = 0
    return [
        ((floats(rng),), {}),
        ((floats(rng, 3, 5),), {"dim": 1}),
        ((floats(rng, 5, 3),), {"dim": 0, "keepdim": True}),
        ((floats(rng, 2, 3, 2, 2),), {"dim": (0, 2)}),
        ((zeros,), {"dim": 1}),
        ((zeros,), {}),
        ((rng.integers(-3, 3, (2, 4)),), {"dim": 1}),
        ((floats(rng, 0, 3),), {"dim": 0}),
    ]


def norm_ref(x: Any, p: float = 2.0, dim: Any = None, keepdim: bool = False) -> Any:
    size, over = np.abs(x), {"axis": axis(dim), "keepdims": keepdim}
    if p == np.inf:
        return size.max(**over) if x.size else np.zeros(size.sum(**over).shape)
    if p == -np.inf:
        return size.min(**over)
    if p == 0:
        return (size != 0).sum(**over).astype(x.dtype)
    return (size**p).sum(**over) ** (1 / p)


def norm_samples(rng: np.random.Generator) -> Arrays:
    samples: Arrays = [
        ((floats(rng, 2, 3, 4), p), {"dim": dim, "keepdim": p == 1})
        for p in (2.0, 1.0, np.inf, -np.inf, 0.0, 3.0, 0.5, -1.0)
        for dim in (None, 1, (0, 2))
    ]
    return [
        *samples,
        ((floats(rng),), {}),
        ((floats(rng, 0),), {}),
        ((floats(rng, 2, 40),), {"dim": 1}),
        ((floats(rng, 150_000),), {}),
    ]


def truth_samples(rng: np.random.Generator) -> Arrays:
    return [
        ((rng.random((3, 21)) < 0.9,), {"dim": 1}),
        ((rng.random((9, 4)) < 0.2,), {"dim": 0, "keepdim": True}),
        ((rng.integers(0, 2, (2, 3, 2)),), {"dim": (0, 2)}),
        ((np.array([0.0, np.nan, 1.0]),), {}),
        ((np.zeros((0, 3)),), {"dim": 0}),
        ((np.zeros(()),), {}),
    ]


def cumsum_samples(rng: np.random.Generator) -> Arrays:
    return [
        ((floats(rng), 0), {}),
        ((floats(rng, 9), 0), {}),
        ((floats(rng, 3, 5), 1), {}),
        ((floats(rng, 3, 5), -2), {}),
        ((floats(rng, 2, 3, 4), 1), {}),
        ((rng.integers(-9, 9, (2, 5)), 1), {}),
        ((rng.random((2, 5)) < 0.5, 0), {"dtype": annx.float32}),
        ((floats(rng, 0, 3), 0), {}),
    ]


def sum_samples(rng: np.random.Generator) -> Arrays:
    as_floats = ((rng.integers(-9, 9, (3, 5)),), {"dtype": annx.float32})
    return [*common(rng), *integers(rng), as_floats, *long_ones(rng)]


INTS = np.arange(6).reshape(2, 3)

RECORDS = [
    OpInfo("sum", sum_ref, sum_samples, dim_error("sum"), scale=64),
    OpInfo(
        "mean",
        mean_ref,
        lambda rng: [*common(rng, empty=False), *long_ones(rng)],
        [
            *dim_error("mean"),
            ((INTS,), {}, TypeError, r"\[mean\] expected a floating-point input or dtype"),
        ],
    ),
    OpInfo(
        "var",
        spread(np.var),
        spread_samples,
        [*dim_error("var"), ((INTS,), {}, TypeError, r"\[var\] expected a floating-point input")],
        scale=64,
    ),
    OpInfo("std", spread(np.std), spread_samples, dim_error("std"), scale=64),
    OpInfo(
        "amax",
        reduce_ref(np.max),
        extreme_samples,
        [*dim_error("amax"), *empty_error("amax")],
    ),
    OpInfo(
        "amin",
        reduce_ref(np.min),
        extreme_samples,
        [*dim_error("amin"), *empty_error("amin")],
    ),
    OpInfo(
        "max",
        with_positions(np.max, np.argmax),
        any_dim_samples,
        [((np.ones(0),), {}, ValueError, r"\[max\] expected at least one element")],
    ),
    OpInfo(
        "min",
        with_positions(np.min, np.argmin),
        any_dim_samples,
        [((np.ones(0),), {}, ValueError, r"\[min\] expected at least one element")],
    ),
    OpInfo("max_dim", with_positions(np.max, np.argmax), one_dim_samples, empty_error("max_dim")),
    OpInfo("min_dim", with_positions(np.min, np.argmin), one_dim_samples, empty_error("min_dim")),
    OpInfo("argmax", position_ref(np.argmax), position_samples, empty_error("argmax"), grad=False),
    OpInfo("argmin", position_ref(np.argmin), position_samples, empty_error("argmin"), grad=False),
    OpInfo(
        "prod",
        reduce_ref(np.prod),
        prod_samples,
        [
            *dim_error("prod"),
            ((INTS,), {"dtype": annx.bool_}, TypeError, r"\[prod\] expected dtype float32"),
        ],
    ),
    OpInfo(
        "norm",
        norm_ref,
        norm_samples,
        [((INTS,), {}, TypeError, r"\[norm\] expected a floating-point input")],
        scale=128,
    ),
    OpInfo("all", reduce_ref(np.all), truth_samples, dim_error("all"), grad=False),
    OpInfo("any", reduce_ref(np.any), truth_samples, dim_error("any"), grad=False),
    OpInfo(
        "count_nonzero",
        lambda x, dim=None, keepdim=False: np.count_nonzero(x, axis(dim), keepdims=keepdim),
        truth_samples,
        dim_error("count_nonzero"),
        grad=False,
    ),
    OpInfo(
        "cumsum",
        lambda x, dim, dtype=None: x * 1 if x.ndim == 0 else np.cumsum(x, dim),
        cumsum_samples,
        [((np.ones((2, 3)), 2), {}, IndexError, r"\[cumsum\] expected dim in")],
    ),
]
