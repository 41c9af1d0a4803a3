"""Records of conversion, creation, shape and indexing ops."""

from __future__ import annotations

import numpy as np
from opinfo import OpInfo


def of(*cases):
    """Samples from (shape, args, kwargs) rows: one float array of each shape, then the args."""

    def samples(rng):
        return [((rng.standard_normal(s), *args), kwargs) for s, args, kwargs in cases]

    return samples


def flat(ref):
    """A reference whose trailing positional ints stand for a tuple."""
    return lambda x, *n: ref(x, n[0] if len(n) == 1 and isinstance(n[0], tuple) else n)


def pad(x, pads, value=0.0, mode="constant"):
    width = [(0, 0)] * x.ndim
    crop = [slice(None)] * x.ndim
    for i in range(len(pads) // 2):
        d = x.ndim - 1 - i
        left, right = pads[2 * i], pads[2 * i + 1]
        width[d] = (max(left, 0), max(right, 0))
        crop[d] = slice(max(-left, 0), x.shape[d] - max(-right, 0))
    if mode == "constant":
        return np.pad(x[tuple(crop)], width, constant_values=value)
    # Negative sizes crop the padded dimension.
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    x = np.pad(x, width, mode=names[mode])
    for d, (cut, (left, _)) in enumerate(zip(crop, width, strict=True)):
        stop = None if cut.stop is None else cut.stop + left + width[d][1]
        x = x[(slice(None),) * d + (slice(cut.start, stop),)]
    return x


def expand(x, sizes):
    lead = len(sizes) - x.ndim
    return np.broadcast_to(x, [x.shape[i - lead] if s == -1 else s for i, s in enumerate(sizes)])


def split(x, size, dim=0):
    if isinstance(size, tuple):
        return np.split(x, np.cumsum(size)[:-1], dim)
    return np.split(x, range(size, x.shape[dim], size), dim)


def squeeze(x, dim=None):
    if dim is None:
        return np.squeeze(x)
    dims = tuple(d for d in np.atleast_1d(dim) if x.shape[d] == 1)
    return np.squeeze(x, dims)


VIEWS = [
    OpInfo(
        "view",
        flat(np.reshape),
        of(((6, 4), (2, 12), {}), ((6, 4), (-1,), {}), ((), (1, 1), {}), ((0, 3), (3, 0), {})),
        [
            ((np.ones((2, 3)), 7), {}, ValueError, r"\[view\] expected a shape of 6 elements"),
            ((np.ones((2, 3)), -1, -1), {}, ValueError, r"at most one -1"),
        ],
    ),
    OpInfo(
        "reshape",
        flat(np.reshape),
        lambda rng: [
            *of(((6, 4), (2, 12), {}), ((6, 4), ((3, -1),), {}))(rng),
            ((rng.standard_normal((6, 4)).T, 8, 3), {}),
        ],
        [((np.ones((2, 3)), 4, -1), {}, ValueError, r"\[reshape\] expected a shape of 6")],
    ),
    OpInfo(
        "flatten",
        lambda x, start_dim=0, end_dim=-1: x.reshape(
            x.shape[:start_dim]
            + (-1,)
            + (x.shape[end_dim + 1 :] if end_dim not in (-1, x.ndim - 1) else ())
        ),
        of(((2, 3, 4), (), {}), ((2, 3, 4), (1,), {}), ((2, 3, 4, 5), (1, 2), {}), ((), (), {})),
        [((np.ones((2, 3)), 1, 0), {}, ValueError, r"start_dim <= end_dim")],
    ),
    OpInfo(
        "unflatten",
        lambda x, dim, sizes: x.reshape(x.shape[:dim] + tuple(sizes) + x.shape[dim + 1 :]),
        of(((6, 4), (0, (2, 3)), {}), ((3, 8), (1, (2, 4)), {})),
        [((np.ones((6, 4)), 0, (4, 2)), {}, ValueError, r"sizes that multiply to 6")],
    ),
    OpInfo(
        "permute",
        flat(np.transpose),
        of(((2, 3, 4), (2, 0, 1), {}), ((2, 3), ((1, 0),), {}), ((2, 3, 4), (-1, 0, 1), {})),
        [
            ((np.ones((2, 3)), 0), {}, ValueError, r"\[permute\] expected 2 dims"),
            ((np.ones((2, 3)), 0, 0), {}, ValueError, r"each dim once"),
        ],
    ),
    OpInfo(
        "transpose",
        np.swapaxes,
        of(((2, 3, 4), (0, 2), {}), ((2, 3), (-1, -2), {})),
        [((np.ones((2, 3)), 0, 2), {}, IndexError, r"\[transpose\] expected dim in \[-2, 1\]")],
    ),
    OpInfo(
        "movedim",
        np.moveaxis,
        of(((2, 3, 4), (0, 2), {}), ((2, 3, 4), (-1, 0), {})),
        [((np.ones((2, 3)), 0, 5), {}, IndexError, r"got 5")],
    ),
    OpInfo(
        "expand",
        flat(expand),
        of(((3, 1), (3, 4), {}), ((1, 4), (2, -1, 4), {}), ((), (2, 2), {}), ((1,), (0,), {})),
        [((np.ones((2, 3)), 4, 3), {}, ValueError, r"\[expand\] expected sizes that \(2, 3\)")],
    ),
    OpInfo(
        "slice",
        lambda x, dim, start, stop, step=1: x[(slice(None),) * dim + (slice(start, stop, step),)],
        of(
            ((7, 3), (0, 1, 6, 2), {}),
            ((7, 3), (1, -2, 100), {}),
            ((7, 3), (0, 5, 1, -2), {}),
            ((7, 3), (0, 5, 2), {}),
        ),
        [((np.ones((2, 3)), 0, 0, 1, 0), {}, ValueError, r"non-zero step")],
    ),
    OpInfo(
        "select",
        lambda x, dim, index: np.take(x, index, dim),
        of(((7, 3), (0, 2), {}), ((7, 3), (1, -1), {})),
        [((np.ones((2, 3)), 0, 2), {}, IndexError, r"\[select\] expected an index in \[-2, 1\]")],
    ),
    OpInfo(
        "unsqueeze",
        np.expand_dims,
        of(((2, 3), (0,), {}), ((2, 3), (-1,), {}), ((), (0,), {})),
        [((np.ones((2, 3)), 4), {}, IndexError, r"\[unsqueeze\] expected dim in")],
    ),
    OpInfo(
        "squeeze",
        squeeze,
        of(((2, 1, 3, 1), (), {}), ((2, 1, 3, 1), (1,), {}), ((2, 1), (0,), {})),
        [((np.ones((2, 3)), 4), {}, IndexError, r"\[squeeze\] expected dim in")],
    ),
]

ONE_SHAPE = [((np.ones((2, 3)), np.ones((3, 3))), {}, TypeError, r"expected")]


def pairs(*cases):
    return lambda rng: [
        (([rng.standard_normal(s) for s in shapes],), kwargs) for shapes, kwargs in cases
    ]


JOINS = [
    OpInfo(
        "concat",
        lambda xs, dim=0: np.concatenate(xs, dim),
        pairs(
            ([(2, 3), (4, 3)], {}),
            ([(2, 3), (2, 1), (2, 2)], {"dim": 1}),
            ([(2, 0), (2, 2)], {"dim": -1}),
            ([(1, 2)] * 9, {}),
        ),
        [
            (([np.ones((2, 3)), np.ones((2, 4))],), {}, ValueError, r"\[concat\] .* dim 0 only"),
            (([],), {}, ValueError, r"at least one tensor"),
        ],
    ),
    OpInfo(
        "stack",
        lambda xs, dim=0: np.stack(xs, dim),
        pairs(([(2, 3)] * 3, {}), ([(2, 3)] * 2, {"dim": 2}), ([()] * 4, {})),
        [(([np.ones(2), np.ones(3)],), {}, ValueError, r"\[stack\] expected tensors of one shape")],
    ),
    OpInfo(
        "split",
        split,
        of(((7, 2), (3,), {}), ((7, 2), ((3, 4),), {}), ((2, 6), (2, 1), {})),
        [
            ((np.ones(7), (3, 3)), {}, ValueError, r"\[split\] expected sizes that sum to 7"),
            ((np.ones(7), 0), {}, ValueError, r"positive split size"),
        ],
    ),
    OpInfo(
        "chunk",
        lambda x, n, dim=0: split(x, -(-x.shape[dim] // n), dim),
        of(((7, 2), (3,), {}), ((2, 6), (2, 1), {})),
        [((np.ones(7), 0), {}, ValueError, r"\[chunk\] expected chunks > 0")],
    ),
    OpInfo(
        "unbind",
        lambda x, dim=0: [np.take(x, i, dim) for i in range(x.shape[dim])],
        of(((3, 2), (), {}), ((3, 2), (1,), {})),
        [((np.ones(()),), {}, ValueError, r"\[unbind\] expected at least one dimension")],
    ),
    OpInfo(
        "flip",
        flat(np.flip),
        of(((3, 4), (0,), {}), ((3, 4, 2), ((0, -1),), {})),
        [((np.ones((2, 2)), 0, 0), {}, ValueError, r"\[flip\] expected each dim once")],
    ),
    OpInfo(
        "pad",
        pad,
        of(
            ((3, 4), ((1, 2),), {}),
            ((3, 4), ((1, 2, -1, 3), 2.0), {}),
            ((2,), ((0, 0),), {}),
            ((2, 3, 5), ((0, 0, 1, 2), 1.5), {}),
            ((2, 40), ((17, 30, 0, 1), -1.0), {}),
            ((3, 4), ((3, 2, 2, 1),), {"mode": "reflect"}),
            ((2, 3, 4), ((3, -1, 5, 4),), {"mode": "replicate"}),
            ((2, 3, 20), ((20, 3, 0, 0, 1, 0),), {"mode": "circular"}),
            ((2, 3, 4, 2), ((0, 0, 2, 1, 1, 2),), {"mode": "reflect"}),
        ),
        [
            ((np.ones(3), (3, 0)), {"mode": "reflect"}, ValueError, "at most 2 for mode 'reflect'"),
            ((np.ones(3), (0, 4)), {"mode": "circular"}, ValueError, r"dimension 0 .*\(0, 4\)"),
            ((np.ones(0), (1, 0)), {"mode": "replicate"}, ValueError, "at most 0 for mode"),
            ((np.ones(3), (1, 0)), {"mode": "wrap"}, ValueError, "expected mode constant"),
            ((np.ones(3), (1,)), {}, ValueError, r"\[pad\] expected \(left, right\) pairs"),
            ((np.ones(3), (-2, -2)), {}, ValueError, r"non-negative sizes"),
        ],
    ),
    OpInfo(
        "repeat",
        flat(np.tile),
        of(((3, 4), (2, 1), {}), ((3, 4), (2, 1, 3), {}), ((3,), (0,), {})),
        [((np.ones((3, 3)), 2), {}, ValueError, r"\[repeat\] expected at least 2 repeats")],
    ),
    OpInfo("contiguous", lambda x: x, lambda rng: [((rng.standard_normal((4, 3)).T,), {})]),
    OpInfo("clone", lambda x: x, of(((3, 4), (), {}), ((0,), (), {}))),
    OpInfo(
        "channels_last",
        lambda x: x,
        of(((2, 3, 4, 5), (), {}), ((1, 17, 9), (), {}), ((2, 0, 3), (), {})),
        [((np.ones((2, 3)),), {}, ValueError, r"\[channels_last\] expected an input of shape")],
    ),
    OpInfo(
        "cast",
        lambda x, dtype: x.astype(dtype),
        lambda rng: [
            ((rng.uniform(-9, 9, (3, 5)), "int64"), {}),
            ((rng.uniform(-9, 9, (3, 5)), "int32"), {}),
            ((rng.standard_normal((3, 5)), "float64"), {}),
            ((rng.integers(-5, 5, 6), "float64"), {}),
            ((rng.integers(-1, 2, 6), "bool"), {}),
        ],
        [((np.ones(3), "float31"), {}, TypeError, r"argument 'dtype': expected a dtype")],
        float32=False,
    ),
]

CREATION = [
    OpInfo(
        "full",
        lambda size, value, dtype: np.full(size, value, dtype),
        lambda rng: [
            (((2, 3), 1.5), {"dtype": "float64"}),
            (((), 2.0), {"dtype": "int64"}),
            (((0, 3), 0.0), {"dtype": "bool"}),
        ],
        [(((-1,), 0.0), {}, ValueError, r"non-negative sizes")],
        grad=False,
        float32=False,
    ),
    OpInfo(
        "arange",
        lambda a, b, c, dtype: np.arange(a, b, c, dtype),
        lambda rng: [((0, 7, 2), {"dtype": "int64"}), ((1.0, 0.0, -0.25), {"dtype": "float64"})],
        [((0.0, 1.0, 0.0), {}, ValueError, r"\[arange\] expected .* non-zero step")],
        grad=False,
        float32=False,
    ),
    OpInfo(
        "linspace",
        lambda a, b, n, dtype=None: np.linspace(a, b, n).astype(dtype or np.float32),
        lambda rng: [
            ((0.0, 1.0, 5), {"dtype": "float64"}),
            ((-2.5, 7.0, 9001), {"dtype": "float64"}),
            ((3.0, -1.0, 1), {"dtype": "float64"}),
            ((0.0, 1.0, 0), {"dtype": "float64"}),
            ((0.0, 9.0, 4), {"dtype": "int64"}),
        ],
        [((0.0, 1.0, -1), {}, ValueError, r"\[linspace\] expected steps >= 0")],
        grad=False,
        float32=False,
    ),
    OpInfo(
        "eye",
        lambda n, m=None, dtype=None: np.eye(n, m, dtype=dtype),
        lambda rng: [((3,), {"dtype": "float64"}), ((2, 4), {"dtype": "int64"})],
        [((-1,), {}, ValueError, r"non-negative sizes")],
        grad=False,
        float32=False,
    ),
]


def index_ref(x, arrays, dims):
    key = [slice(None)] * x.ndim
    for d, a in zip(dims, arrays, strict=True):
        key[d] = a
    return x[tuple(key)]


def scatter_ref(x, dim, index, src):
    out = x.copy()
    for at in np.ndindex(index.shape):
        to = list(at)
        to[dim] = index[at]
        out[tuple(to)] += src[at]
    return out


def sort_ref(x, dim=-1, descending=False):
    order = np.argsort(-x if descending else x, dim, kind="stable")
    return np.take_along_axis(x, order, dim), order


def topk_ref(x, k, dim=-1, largest=True):
    values, order = sort_ref(x, dim, largest)
    keep = (slice(None),) * (dim % x.ndim) + (slice(0, k),)
    return values[keep], order[keep]


BAD_INDEX = r"expected indices in \[-3, 2\] but got 3"
FLOAT_INDEX = r"expected integer (arrays as )?indices"

INDEXING = [
    OpInfo(
        "index",
        index_ref,
        lambda rng: [
            ((rng.standard_normal((5, 4, 3)), [np.array([0, 2, 2])], (1,)), {}),
            (
                (rng.standard_normal((5, 4, 3)), [np.array([[0], [4]]), np.array([1, -1])], (0, 1)),
                {},
            ),
            ((rng.standard_normal((5, 4, 3)), [np.array([0, 1]), np.array([1, 1])], (0, 2)), {}),
            ((rng.standard_normal(6), [np.zeros((0,), np.int64)], (0,)), {}),
        ],
        [
            ((np.ones(3), [np.array([3])], (0,)), {}, IndexError, BAD_INDEX),
            ((np.ones(3), [np.ones(2)], (0,)), {}, TypeError, FLOAT_INDEX),
        ],
    ),
    OpInfo(
        "index_select",
        lambda x, dim, index: np.take(x, index, dim),
        lambda rng: [((rng.standard_normal((5, 4)), 1, np.array([3, 0, 0])), {})],
        [((np.ones(3), 0, np.array([[1]])), {}, ValueError, r"one-dimensional index")],
    ),
    OpInfo(
        "embedding",
        lambda w, i: w[i],
        lambda rng: [
            ((rng.standard_normal((5, 3)), np.array([[0, 4], [4, 1]])), {}),
            ((rng.standard_normal((5, 3)), np.zeros((0,), np.int64)), {}),
        ],
        [
            (
                (np.ones((3, 2)), np.array([3])),
                {},
                IndexError,
                r"\[embedding\] .* \[0, 2\] but got 3",
            ),
            ((np.ones(3), np.array([1])), {}, ValueError, r"weight of shape"),
        ],
    ),
    OpInfo(
        "gather",
        lambda x, dim, index: np.take_along_axis(x[: index.shape[0]] if dim else x, index, dim),
        lambda rng: [
            ((rng.standard_normal((4, 5)), 1, rng.integers(0, 5, (4, 3))), {}),
            ((rng.standard_normal((4, 5)), 0, rng.integers(0, 4, (2, 5))), {}),
        ],
        [
            ((np.ones((3, 3)), 0, np.array([[3]])), {}, IndexError, BAD_INDEX),
            ((np.ones((3, 3)), 0, np.array([1])), {}, ValueError, r"index of 2 dimensions"),
        ],
    ),
    OpInfo(
        "scatter_add",
        scatter_ref,
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
        ],
        [((np.ones(3), 0, np.array([3]), np.ones(1)), {}, IndexError, BAD_INDEX)],
    ),
    OpInfo(
        "one_hot",
        lambda i, num_classes=-1: np.eye(
            num_classes if num_classes > 0 else i.max() + 1, dtype=np.int64
        )[i],
        lambda rng: [((np.array([[0, 2], [1, 1]]),), {}), ((np.array([0, 2]), 5), {})],
        [((np.array([3]), 3), {}, IndexError, r"\[one_hot\] expected classes below 3 but got 3")],
        grad=False,
    ),
    OpInfo(
        "nonzero",
        lambda x: np.argwhere(x),
        lambda rng: [((rng.integers(0, 2, (3, 4)),), {}), ((np.zeros((2, 0)),), {})],
        grad=False,
    ),
    OpInfo(
        "masked_select",
        lambda x, m: np.broadcast_to(x, np.broadcast_shapes(x.shape, m.shape))[
            np.broadcast_to(m, np.broadcast_shapes(x.shape, m.shape))
        ],
        lambda rng: [
            ((rng.standard_normal((3, 4)), rng.random((3, 4)) > 0.5), {}),
            ((rng.standard_normal((3, 4)), np.array([True, False, True, True])), {}),
        ],
        [((np.ones(3), np.ones(3)), {}, TypeError, r"expected a bool mask")],
    ),
    OpInfo(
        "masked_fill",
        lambda x, m, v: np.where(m, v, x),
        lambda rng: [((rng.standard_normal((3, 4)), rng.random((3, 4)) > 0.5, -9.0), {})],
        [((np.ones(3), np.ones(3), 0.0), {}, TypeError, r"expected a bool mask")],
    ),
    OpInfo(
        "tril",
        np.tril,
        of(((4, 5), (), {}), ((2, 3, 3), (1,), {}), ((4, 4), (-2,), {})),
        [((np.ones(3),), {}, ValueError, r"at least two dimensions")],
    ),
    OpInfo(
        "triu",
        np.triu,
        of(((4, 5), (), {}), ((2, 3, 3), (1,), {}), ((4, 4), (-2,), {})),
        [((np.ones(3),), {}, ValueError, r"at least two dimensions")],
    ),
    OpInfo(
        "sort",
        sort_ref,
        lambda rng: [
            *of(((4, 7), (), {}), ((4, 7), (0, True), {}), ((0, 3), (), {}))(rng),
            ((rng.integers(0, 3, (2, 9)),), {}),
        ],
        [((np.ones(3), 1), {}, IndexError, r"\[sort\] expected dim")],
    ),
    OpInfo(
        "argsort",
        lambda *a, **k: sort_ref(*a, **k)[1],
        of(((4, 7), (), {}), ((4, 7), (0, True), {})),
        [((np.ones(3), 1), {}, IndexError, r"expected dim")],
        grad=False,
    ),
    OpInfo(
        "topk",
        topk_ref,
        of(((4, 7), (3,), {}), ((4, 7), (2, 0), {}), ((4, 7), (2,), {"largest": False})),
        [((np.ones(3), 4), {}, ValueError, r"\[topk\] expected k in \[0, 3\] but got 4")],
    ),
]

RECORDS = VIEWS + JOINS + CREATION + INDEXING
