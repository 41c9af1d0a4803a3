"""Records of products by name, einsum, rearrangements, running products and their relatives."""

from __future__ import annotations

import numpy as np
from opinfo import OpInfo
from opinfo_elementwise import unary
from opinfo_shape import flat, of


def arrays(*cases):
    """Samples from (shapes, kwargs) rows: one float array of each shape."""
    return lambda rng: [
        (tuple(rng.standard_normal(s) for s in shapes), kwargs) for shapes, kwargs in cases
    ]


def ones(*shapes):
    return tuple(np.ones(s) for s in shapes)


def blend(product):
    return lambda x, a, b, beta=1.0, alpha=1.0: beta * x + alpha * product(a, b)


PRODUCTS = [
    OpInfo(
        "dot",
        np.dot,
        arrays(([(5,), (5,)], {}), ([(0,), (0,)], {}), ([(70,), (70,)], {})),
        [
            (ones((2, 2), 2), {}, ValueError, r"\[dot\] expected a vector as input"),
            (ones(2, 3), {}, ValueError, r"\[dot\] expected inner sizes to agree"),
        ],
    ),
    OpInfo(
        "outer",
        np.outer,
        arrays(([(5,), (3,)], {}), ([(0,), (3,)], {})),
        [(ones((2, 2), 2), {}, ValueError, r"\[outer\] expected a vector as input")],
    ),
    OpInfo(
        "mv",
        np.matmul,
        arrays(([(3, 4), (4,)], {})),
        [(ones((2, 3), 2), {}, ValueError, r"\[mv\] expected inner sizes .*\(2, 3\) and \(2,\)")],
    ),
    OpInfo(
        "mm",
        np.matmul,
        arrays(([(3, 4), (4, 5)], {})),
        [(ones((2, 3), (3,)), {}, ValueError, r"\[mm\] expected a matrix as mat2")],
    ),
    OpInfo(
        "bmm",
        np.matmul,
        arrays(([(2, 3, 4), (2, 4, 5)], {})),
        [
            (ones((2, 3, 4), (3, 4, 5)), {}, ValueError, r"\[bmm\] expected equal batch sizes"),
            (ones((3, 4), (4, 5)), {}, ValueError, r"\[bmm\] expected three dimensions"),
        ],
    ),
    OpInfo(
        "addmm",
        blend(np.matmul),
        arrays(
            ([(5,), (3, 4), (4, 5)], {}),
            ([(3, 5), (3, 4), (4, 5)], {"beta": 0.5, "alpha": -2.0}),
        ),
        [(ones((4, 3, 5), (3, 4), (4, 5)), {}, ValueError, r"\[addmm\] expected an input that")],
    ),
    OpInfo(
        "addmv",
        blend(np.matmul),
        arrays(([(3,), (3, 4), (4,)], {"beta": 2.0})),
        [(ones(3, (3, 4), 3), {}, ValueError, r"\[addmv\] expected inner sizes to agree")],
    ),
    OpInfo(
        "baddbmm",
        blend(np.matmul),
        arrays(([(2, 3, 5), (2, 3, 4), (2, 4, 5)], {"alpha": 0.5})),
        [(ones(3, (3, 4), (4, 3)), {}, ValueError, r"\[baddbmm\] expected three dimensions")],
    ),
    OpInfo(
        "einsum",
        lambda equation, operands: np.einsum(equation, *operands),
        lambda rng: [
            ((equation, [rng.standard_normal(s) for s in shapes]), {})
            for equation, *shapes in (
                ("ij,jk->ik", (3, 4), (4, 5)),
                ("ij,jk", (3, 4), (4, 5)),
                ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
                ("ij->ji", (3, 4)),
                ("ij->", (3, 4)),
                ("ii->i", (4, 4)),
                ("ii", (4, 4)),
                ("iij->ij", (3, 3, 2)),
                ("i,i->i", (4,), (4,)),
                ("i,j->ij", (4,), (3,)),
                ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
                ("...ij,jk->ik...", (2, 3, 4), (4, 5)),
                ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
                ("i,ij,j->", (3,), (3, 4), (4,)),
                ("ab , bc, cd -> da", (2, 3), (3, 4), (4, 2)),
                ("bn,anm,bm->ba", (2, 3), (4, 3, 5), (2, 5)),
                ("ij,kj->", (3, 4), (2, 4)),
            )
        ],
        [
            (("ij,jk", [np.ones((2, 3))]), {}, ValueError, r"\[einsum\] expected one operand"),
            (("ij", [np.ones(3)]), {}, ValueError, r"\[einsum\] expected operand 0 with the dim"),
            (
                ("ij,jk", [np.ones((2, 3)), np.ones((4, 2))]),
                {},
                ValueError,
                r"\[einsum\] expected size 3 along dim 0 by 'ij,jk' but got shape \(4, 2\)",
            ),
            (("ij->k", [np.ones((2, 3))]), {}, ValueError, r"each label of the result once"),
            (("i1->i", [np.ones((2, 3))]), {}, ValueError, r"expected letters"),
        ],
    ),
]


def diagonal_samples(rng):
    return of(
        ((4, 5), (), {}),
        ((4, 5), (2,), {}),
        ((4, 5), (-3,), {}),
        ((4, 5), (9,), {}),
        ((2, 4, 3), (1,), {"dim1": 2, "dim2": 0}),
        ((0, 3), (), {}),
    )(rng)


def repeat_interleave(x, repeats, dim=None):
    return np.repeat(x, repeats, dim)


REARRANGED = [
    OpInfo(
        "diagonal",
        lambda x, offset=0, dim1=0, dim2=1: np.diagonal(x, offset, dim1, dim2),
        diagonal_samples,
        [
            (ones(3), {}, ValueError, r"\[diagonal\] expected at least two dimensions"),
            ((np.ones((3, 3)), 0, 1, -1), {}, ValueError, r"two different dims"),
        ],
    ),
    OpInfo(
        "diag",
        np.diag,
        of(((4,), (), {}), ((3,), (-2,), {}), ((4, 5), (1,), {})),
        [(ones((2, 2, 2)), {}, ValueError, r"\[diag\] expected one or two dimensions")],
    ),
    OpInfo(
        "trace",
        np.trace,
        of(((4, 3), (), {})),
        [(ones(3), {}, ValueError, r"\[trace\] expected a matrix")],
    ),
    OpInfo(
        "roll",
        np.roll,
        of(
            ((3, 4), (1,), {}),
            ((3, 4), (-5, 1), {}),
            ((3, 4), ((1, 2), (0, 1)), {}),
            ((0, 4), (2, 0), {}),
        ),
        [
            ((np.ones((2, 2)), (1, 2)), {}, ValueError, r"\[roll\] expected one shift without"),
            ((np.ones((2, 2)), (1, 2), 0), {}, ValueError, r"\[roll\] expected one shift per dim"),
        ],
    ),
    OpInfo(
        "tile",
        flat(np.tile),
        of(((3, 4), (2, 1), {}), ((3, 4), (2,), {}), ((3,), (2, 2), {}), ((3,), (0,), {})),
        [((np.ones(3), -1), {}, ValueError, r"\[tile\] expected dims >= 0")],
    ),
    OpInfo(
        "repeat_interleave",
        repeat_interleave,
        of(
            ((3, 4), (2,), {}),
            ((3, 4), (3, 1), {}),
            ((3, 4), (np.array([2, 0, 1]), 0), {}),
            ((3, 4), (0, 0), {}),
        ),
        [
            ((np.ones(3), np.array([1, 2])), {}, ValueError, r"expected 3 repeats"),
            ((np.ones(3), -1), {}, ValueError, r"\[repeat_interleave\] expected .* but got -1"),
            ((np.ones(3), 1.5), {}, ValueError, r"expected repeats as an int"),
            ((np.ones(3), np.array([1, -1, 1])), {}, ValueError, r"repeats >= 0 but got -1"),
        ],
    ),
    OpInfo(
        "meshgrid",
        lambda xs, indexing="ij": np.meshgrid(*xs, indexing=indexing),
        lambda rng: [
            (([rng.standard_normal(n) for n in sizes], *rest), {})
            for sizes, rest in (((2, 3), ()), ((2, 3, 4), ("xy",)), ((3,), ("xy",)))
        ],
        [
            (([np.ones(2)], "yx"), {}, ValueError, r"\[meshgrid\] expected indexing 'ij' or 'xy'"),
            (([np.ones((2, 2))],), {}, ValueError, r"tensors of one dimension"),
        ],
    ),
]


def with_zeros(rng):
    x = rng.standard_normal((3, 6))
    x[0, 2] = x[1, 0] = x[1, 4] = 0
    return [((x, 1), {}), ((x, 0), {})]


def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    # The largest number of the dtype the op computes in, which the sample names.
    return np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


SPECIAL = np.array([1.0, np.nan, np.inf, -np.inf, -2.0])

RUNNING = [
    OpInfo(
        "cumprod",
        lambda x, dim, dtype=None: np.cumprod(x, dim),
        lambda rng: [
            *of(((4, 5), (0,), {}), ((2, 3, 4), (1,), {}), ((0, 3), (1,), {}))(rng),
            *with_zeros(rng),
            ((rng.integers(1, 4, (3, 4)), 1), {}),
        ],
        [((np.ones(3), 1), {}, IndexError, r"\[cumprod\] expected dim")],
    ),
    OpInfo(
        "diff",
        lambda x, n=1, dim=-1, **joined: np.diff(x, n, dim, **joined),
        lambda rng: [
            *of(((4, 5), (), {}), ((4, 5), (2, 0), {}), ((3,), (5,), {}), ((3,), (0,), {}))(rng),
            (
                (rng.standard_normal((2, 3)),),
                {"prepend": rng.standard_normal((2, 1)), "append": rng.standard_normal((2, 2))},
            ),
            ((rng.random(6) > 0.5,), {}),
        ],
        [((np.ones(3), -1), {}, ValueError, r"\[diff\] expected n >= 0 but got -1")],
    ),
    OpInfo(
        "lerp",
        lambda a, b, w: a + w * (b - a),
        lambda rng: [
            ((rng.standard_normal((3, 4)), rng.standard_normal((3, 4)), 0.3), {}),
            ((rng.standard_normal((3, 4)), rng.standard_normal(4), rng.random((3, 1))), {}),
        ],
        [(ones(2, 3, 1), {}, ValueError, r"broadcast")],
    ),
    OpInfo(
        "addcmul",
        lambda x, a, b, value=1.0: x + value * a * b,
        arrays(([(3, 4), (4,), (3, 1)], {"value": -0.5}), ([(3,), (3,), (3,)], {})),
        [(ones(2, 3, 1), {}, ValueError, r"broadcast")],
    ),
    OpInfo(
        "addcdiv",
        lambda x, a, b, value=1.0: x + value * a / b,
        lambda rng: [
            ((rng.standard_normal((3, 4)), rng.standard_normal(4), rng.uniform(1, 2, (3, 1))), {}),
            ((rng.standard_normal(3), rng.standard_normal(3), rng.uniform(1, 2, 3)), {"value": 2}),
        ],
        [(ones(2, 3, 1), {}, ValueError, r"broadcast")],
    ),
    OpInfo(
        "nan_to_num",
        nan_to_num,
        lambda rng: [
            ((SPECIAL,), {"posinf": 9.0, "neginf": -9.0}),
            ((SPECIAL, 7.0, 1.0), {"neginf": 0.0}),
            ((rng.standard_normal((2, 3)),), {}),
            ((rng.integers(0, 5, 4),), {}),
        ],
        [(("text",), {}, TypeError, r"expected a Tensor but got str")],
    ),
    OpInfo(
        "isclose",
        np.isclose,
        lambda rng: [
            ((np.array([1.0, 1.0, 2.0]), np.array([1.0, 1.000001, 2.1])), {}),
            ((SPECIAL, SPECIAL), {"equal_nan": True}),
            ((SPECIAL, SPECIAL), {}),
            ((np.array([np.inf]), np.array([1.0])), {}),
            ((np.array([1.0]), np.array([np.inf])), {}),
            ((np.array([100, 100]), np.array([101, 100])), {"rtol": 0.1}),
            ((np.array([100, 100]), np.array([101, 100])), {}),
        ],
        [((*ones(2, 2), -1.0), {}, ValueError, r"\[isclose\] expected rtol and atol >= 0")],
        grad=False,
    ),
]


def softshrink(x, lambd=0.5):
    return np.sign(x) * np.maximum(np.abs(x) - lambd, 0)


KINKS = [-1.0, -0.5, 0.5, 1.0]

SHRINKING = [
    unary(
        "hardshrink",
        lambda x, lambd=0.5: np.where(np.abs(x) > lambd, x, 0),
        avoid=KINKS,
        lambd=1.0,
    ),
    unary("softshrink", softshrink, avoid=KINKS, lambd=1.0),
]

RECORDS = PRODUCTS + REARRANGED + RUNNING + SHRINKING
