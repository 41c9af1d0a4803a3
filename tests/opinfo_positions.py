"""Records of writes at positions, and of counting and searching."""

from __future__ import annotations

import numpy as np
from opinfo import OpInfo
from opinfo_shape import of


def put(x, indices, values, accumulate=False):
    out = x.copy()
    if accumulate:
        np.add.at(out, tuple(indices), values)
    else:
        out[tuple(indices)] = values
    return out


def along(write):
    def ref(x, dim, index, source, **kwargs):
        out = np.moveaxis(x.copy(), dim, 0)
        source = np.asarray(source)
        for k, i in enumerate(index):
            write(out, i, np.moveaxis(source, dim, 0)[k] if source.ndim else source, **kwargs)
        return np.moveaxis(out, 0, dim)

    return ref


def add_at(out, i, v, alpha=1.0):
    out[i] += alpha * v


def set_at(out, i, v):
    out[i] = v


def scatter(x, dim, index, src):
    out = x.copy()
    for at in np.ndindex(index.shape):
        to = list(at)
        to[dim] = index[at]
        out[tuple(to)] = src[at] if np.ndim(src) else src
    return out


def masked_scatter(x, mask, source):
    mask = np.broadcast_to(mask, x.shape)
    out = x.copy()
    out[mask] = source.ravel()[: mask.sum()]
    return out


WRITES = [
    OpInfo(
        "scatter",
        scatter,
        lambda rng: [
            (
                (
                    rng.standard_normal((4, 5)),
                    1,
                    rng.integers(0, 5, (4, 6)),
                    rng.standard_normal((4, 6)),
                ),
                {},
            ),
            (
                (
                    rng.standard_normal((4, 5)),
                    0,
                    rng.integers(0, 4, (2, 3)),
                    rng.standard_normal((3, 5)),
                ),
                {},
            ),
            ((rng.standard_normal((4, 5)), 1, rng.integers(0, 5, (4, 1)), 2.5), {}),
            ((rng.integers(0, 9, (4, 5)), -1, rng.integers(0, 5, (4, 1)), 7), {}),
        ],
        [
            (
                (np.ones(3), 0, np.array([3]), 1.0),
                {},
                IndexError,
                r"\[scatter\] expected indices in \[-3, 2\] but got 3",
            ),
            ((np.ones(3), 0, np.array([1]), np.ones(0)), {}, ValueError, r"at least as large"),
            ((np.ones(3), 0, np.array([1]), np.array([1])), {}, TypeError, r"src of dtype float32"),
        ],
    ),
    OpInfo(
        "index_put",
        put,
        lambda rng: [
            ((rng.standard_normal((5, 4)), [np.array([0, 2, 2])], rng.standard_normal((3, 4))), {}),
            (
                (
                    rng.standard_normal((5, 4)),
                    [np.array([0, 2, 2]), np.array([1, 3, 3])],
                    rng.standard_normal(3),
                ),
                {"accumulate": True},
            ),
            (
                (
                    rng.standard_normal((5, 4)),
                    [np.array([[0], [4]]), np.array([1, -1])],
                    rng.standard_normal((2, 1)),
                ),
                {},
            ),
            ((rng.standard_normal((5, 4)), [rng.random((5, 4)) > 0.5], 2.0), {}),
            ((rng.standard_normal((5, 4)), [rng.random(5) > 0.5], rng.standard_normal(4)), {}),
            ((rng.integers(0, 9, 5), [np.array([1, 1])], 3), {"accumulate": True}),
        ],
        [
            (
                (np.ones(3), [np.array([3])], 1.0),
                {},
                IndexError,
                r"\[index_put\] expected indices in \[-3, 2\] but got 3",
            ),
            ((np.ones(3), [], 1.0), {}, ValueError, r"at least one index array"),
            ((np.ones(3), [np.ones(2)], 1.0), {}, TypeError, r"expected integer or bool indices"),
            (
                (np.ones(3), [np.array([0, 1])], np.ones(3)),
                {},
                ValueError,
                r"\[index_put\] expected shapes that broadcast together",
            ),
            (
                (np.ones(3), [np.array([0]), np.array([0])], 1.0),
                {},
                IndexError,
                r"at most 1 index arrays",
            ),
            ((np.ones(3), [np.array([True])], 1.0), {}, IndexError, r"a mask that fits"),
        ],
    ),
    OpInfo(
        "index_add",
        along(add_at),
        lambda rng: [
            (
                (rng.standard_normal((5, 4)), 0, np.array([4, 0, 4]), rng.standard_normal((3, 4))),
                {"alpha": -2.0},
            ),
            ((rng.standard_normal((2, 4)), 1, np.array([1, 1]), rng.standard_normal((2, 2))), {}),
        ],
        [
            (
                (np.ones((5, 4)), 0, np.array([1]), np.ones(4)),
                {},
                ValueError,
                r"\[index_add\] expected source of shape \(1, 4\) but got \(4,\)",
            ),
            (
                (np.ones((5, 4)), 0, np.array([[1]]), np.ones((1, 4))),
                {},
                ValueError,
                r"\[index_add\] expected a one-dimensional index",
            ),
        ],
    ),
    OpInfo(
        "index_copy",
        along(set_at),
        lambda rng: [
            ((rng.standard_normal((5, 4)), 0, np.array([4, 0]), rng.standard_normal((2, 4))), {}),
            ((rng.standard_normal((2, 4)), 1, np.array([1, 1]), rng.standard_normal((2, 2))), {}),
        ],
        [
            (
                (np.ones(3), 0, np.array([3]), np.ones(1)),
                {},
                IndexError,
                r"\[index_copy\] expected indices",
            )
        ],
    ),
    OpInfo(
        "index_fill",
        along(set_at),
        lambda rng: [((rng.standard_normal((2, 4)), 1, np.array([1, 3]), -1.5), {})],
        [
            (
                (np.ones(3), 0, np.array([1]), np.ones(1)),
                {},
                ValueError,
                r"\[index_fill\] expected a number as value",
            )
        ],
    ),
    OpInfo(
        "masked_scatter",
        masked_scatter,
        lambda rng: [
            ((rng.standard_normal((3, 4)), rng.random((3, 4)) > 0.5, rng.standard_normal(12)), {}),
            (
                (
                    rng.standard_normal((3, 4)),
                    np.array([True, False, True, False]),
                    rng.standard_normal((2, 4)),
                ),
                {},
            ),
        ],
        [
            (
                (np.ones(3), np.array([True, True, False]), np.ones(1)),
                {},
                ValueError,
                r"\[masked_scatter\] expected a source of at least 2 elements",
            ),
            ((np.ones(3), np.ones(3), np.ones(3)), {}, TypeError, r"expected a bool mask"),
        ],
    ),
    OpInfo(
        "take",
        lambda x, i: np.take(x, i),
        lambda rng: [((rng.standard_normal((3, 4)), np.array([[0, 11], [-1, 5]])), {})],
        [((np.ones(3), np.array([3])), {}, IndexError, r"expected indices in \[-3, 2\] but got 3")],
    ),
    OpInfo(
        "take_along_dim",
        lambda x, i, dim=None: (
            np.take_along_axis(x, i, dim) if dim is not None else x.ravel()[i.ravel()]
        ),
        lambda rng: [
            ((rng.standard_normal((3, 4)), rng.integers(0, 4, (3, 2))), {"dim": 1}),
            ((rng.standard_normal((3, 4)), rng.integers(0, 3, (2, 1))), {"dim": 0}),
            ((rng.standard_normal((3, 4)), np.array([3, 11])), {}),
        ],
        [
            (
                (np.ones((3, 3)), np.array([1]), 0),
                {},
                ValueError,
                r"\[take_along_dim\] expected indices of 2 dimensions",
            )
        ],
    ),
]


def unique(x, sorted=True, return_inverse=False, return_counts=False):
    v, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    out = [v]
    if return_inverse:
        out.append(inverse.reshape(x.shape))
    if return_counts:
        out.append(counts)
    return out if len(out) > 1 else v


def searchsorted(s, v, right=False):
    side = "right" if right else "left"
    if s.ndim == 1:
        return np.searchsorted(s, v, side)
    rows = [np.searchsorted(a, b, side) for a, b in zip(s, v, strict=True)]
    return np.array(rows).reshape(v.shape)


def median(x, dim=None, keepdim=False):
    if dim is None:
        return np.sort(x, None)[(x.size - 1) // 2]
    return kth(x, (x.shape[dim] + 1) // 2, dim, keepdim)


def kth(x, k, dim=-1, keepdim=False):
    order = np.take(np.argsort(x, dim, kind="stable"), [k - 1], dim)
    values = np.take_along_axis(x, order, dim)
    return (values, order) if keepdim else (values.squeeze(dim), order.squeeze(dim))


COUNTING = [
    OpInfo(
        "unique",
        unique,
        lambda rng: [
            ((rng.integers(0, 5, (3, 4)),), {}),
            ((rng.integers(0, 5, (3, 4)),), {"return_inverse": True}),
            ((rng.integers(0, 3, 9).astype(float),), {"return_counts": True}),
            ((rng.integers(0, 3, 9),), {"return_inverse": True, "return_counts": True}),
            ((np.zeros((0,)),), {}),
            ((rng.integers(0, 2, 5) > 0,), {}),
        ],
        grad=False,
    ),
    OpInfo(
        "bincount",
        lambda x, w=None, minlength=0: np.bincount(x, w, minlength),
        lambda rng: [
            ((np.array([1, 4, 1]),), {}),
            ((np.array([1, 4, 1]), None, 8), {}),
            ((np.array([1, 4, 1]), rng.standard_normal(3)), {}),
            ((np.zeros(0, np.int64),), {}),
        ],
        [
            ((np.array([-1]),), {}, ValueError, r"\[bincount\] expected values >= 0 but got -1"),
            ((np.ones(3),), {}, TypeError, r"expected integer indices"),
            ((np.array([1]), np.ones(2)), {}, ValueError, r"expected weights of shape \(1,\)"),
        ],
    ),
    OpInfo(
        "searchsorted",
        searchsorted,
        lambda rng: [
            ((np.sort(rng.standard_normal(9)), rng.standard_normal((2, 3))), {}),
            ((np.array([1, 1, 3, 3]), np.array([0, 1, 2, 3, 4])), {"right": True}),
            ((np.sort(rng.standard_normal((2, 5))), rng.standard_normal((2, 3))), {}),
            ((np.array([1.0, 2.0]), np.array([np.nan, 1.0])), {}),
        ],
        [
            ((np.ones((2, 3)), np.ones((3, 3))), {}, ValueError, r"\[searchsorted\] expected a"),
            ((np.ones(()), np.ones(3)), {}, ValueError, r"at least one dimension"),
        ],
        grad=False,
    ),
    OpInfo(
        "bucketize",
        lambda x, b, right=False: searchsorted(b, x, right),
        lambda rng: [((rng.standard_normal((2, 3)), np.array([-1.0, 0.0, 1.0])), {})],
        [((np.ones(3), np.ones((2, 2))), {}, ValueError, r"boundaries of one dimension")],
        grad=False,
    ),
    OpInfo(
        "kthvalue",
        kth,
        of(((4, 7), (3,), {}), ((4, 7), (2, 0), {}), ((4, 7), (1,), {"keepdim": True})),
        [((np.ones(3), 4), {}, ValueError, r"\[kthvalue\] expected k in \[1, 3\] but got 4")],
    ),
    OpInfo(
        "median",
        median,
        of(((4, 7), (), {}), ((4, 6), (1,), {}), ((4, 7), (0, True), {})),
        [((np.ones(0),), {}, ValueError, r"\[median\] expected at least one element")],
    ),
]

RECORDS = WRITES + COUNTING
