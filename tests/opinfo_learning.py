"""Records of matmul, linear, losses, random and optimizer ops."""

from __future__ import annotations

import math

import numpy as np
from opinfo import OpInfo, fixed
from opinfo_elementwise import gelu, sigmoid


def arrays(*shape_lists):
    return lambda rng: [
        (tuple(rng.standard_normal(s) for s in shapes), kwargs) for shapes, kwargs in shape_lists
    ]


ACTIVATIONS = {
    "none": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "gelu": gelu,
    "gelu_tanh": lambda z: gelu(z, "tanh"),
    "silu": lambda z: z * sigmoid(z),
}


def linear(x, w, b=None, activation="none"):
    z = x @ w.T
    return ACTIVATIONS[activation](z if b is None else z + b)


PRODUCTS = [
    OpInfo(
        "matmul",
        np.matmul,
        lambda rng: [
            *arrays(
                ([(3, 4), (4, 5)], {}),
                ([(7,), (7,)], {}),
                ([(7,), (7, 3)], {}),
                ([(3, 7), (7,)], {}),
                ([(2, 3, 4), (4, 5)], {}),
                ([(2, 1, 3, 4), (5, 4, 2)], {}),
                ([(2, 3, 2, 3, 4), (2, 1, 1, 4, 2)], {}),
                ([(0, 4), (4, 5)], {}),
                ([(3, 0), (0, 5)], {}),
                ([(33, 65), (65, 17)], {}),
            )(rng),
            ((rng.standard_normal((4, 3)).T, rng.standard_normal((5, 4)).T), {}),
            ((rng.integers(-5, 5, (3, 4)), rng.integers(-5, 5, (4, 2))), {}),
        ],
        [
            (
                (np.ones((2, 3)), np.ones((4, 5))),
                {},
                ValueError,
                r"\[matmul\] .*\(2, 3\) and \(4, 5\)",
            ),
            ((np.ones(()), np.ones(3)), {}, ValueError, r"at least one dimension"),
        ],
        scale=128,
    ),
    OpInfo(
        "linear",
        linear,
        lambda rng: (
            [
                ((rng.standard_normal(s), rng.standard_normal((5, 4)), b), {"activation": name})
                for s in [(3, 4), (2, 3, 4), (4,), (0, 4)]
                for b in [rng.standard_normal(5)]
                for name in ACTIVATIONS
            ]
            + arrays(([(3, 4), (5, 4)], {}))(rng)
        ),
        [
            (
                (np.ones((2, 3)), np.ones((4, 5))),
                {},
                ValueError,
                r"\[linear\] expected input of shape \(\.\.\., 5\)",
            ),
            (
                (np.ones((2, 5)), np.ones((4, 5)), np.ones(3)),
                {},
                ValueError,
                r"bias of shape \(4,\)",
            ),
            ((np.ones((2, 5)), np.ones((4, 5))), {"activation": "rellu"}, ValueError, r"'rellu'"),
        ],
        scale=128,
    ),
]


def reduced(rows, reduction):
    return {"none": lambda v: v, "mean": np.mean, "sum": np.sum}[reduction](rows)


def pair(name, rows, extra=(), samples=None, scale=32.0):
    """A loss of two arrays of one shape."""

    def ref(a, b, *args, reduction="mean", **kwargs):
        return reduced(rows(a, b, *args, **kwargs), reduction)

    def default(rng):
        return [
            ((rng.standard_normal(s), rng.standard_normal(s)), {"reduction": r, **k})
            for s in [(4, 5), (17,), ()]
            for r in ("mean", "sum", "none")
            for k in ({}, *extra)
        ]

    errors = [
        (
            (np.ones((3, 1)), np.ones(3)),
            {},
            ValueError,
            rf"\[{name}\] expected input and target of one shape",
        ),
        (
            (np.ones(3), np.ones(3)),
            {"reduction": "avg"},
            ValueError,
            r"'none', 'mean' or 'sum' but got 'avg'",
        ),
    ]
    return OpInfo(name, ref, samples or default, errors, scale=scale)


def huber(a, b, delta=1.0):
    d = np.abs(a - b)
    return np.where(d <= delta, 0.5 * d * d, delta * (d - 0.5 * delta))


def smooth_l1(a, b, beta=1.0):
    d = np.abs(a - b)
    return d if beta == 0 else np.where(d < beta, 0.5 * d * d / beta, d - 0.5 * beta)


def unit_pairs(rng):
    return [
        ((rng.uniform(0.05, 0.95, s), rng.uniform(0, 1, s)), {"reduction": r})
        for s in [(4, 5), (17,)]
        for r in ("mean", "sum", "none")
    ]


def bce(a, b, weight=None):
    rows = -(b * np.log(a) + (1 - b) * np.log1p(-a))
    return rows if weight is None else rows * weight


def bce_logits(x, z, weight=None, pos_weight=None):
    scale = 1.0 if pos_weight is None else pos_weight
    rows = (1 - z) * np.logaddexp(0, x) + scale * z * np.logaddexp(0, -x)
    return rows if weight is None else rows * weight


def logit_pairs(rng):
    return [
        ((rng.standard_normal((4, 5)) * 3, rng.uniform(0, 1, (4, 5)), w, p), {"reduction": r})
        for w in (None, rng.uniform(0.5, 2, 5))
        for p in (None, rng.uniform(0.5, 2, 5))
        for r in ("mean", "sum", "none")
    ]


def kl(a, b, reduction="mean", log_target=False):
    rows = np.exp(b) * (b - a) if log_target else b * (np.log(b) - a)
    return rows.sum() / a.shape[0] if reduction == "batchmean" else reduced(rows, reduction)


def log_softmax(x, axis=1):
    m = x.max(axis, keepdims=True)
    return x - m - np.log(np.exp(x - m).sum(axis, keepdims=True))


def cross_entropy(x, t, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    lone = x.ndim == 1
    if lone:
        x, t = x[None], t[None]
    classes = x.shape[1]
    logp = np.moveaxis(log_softmax(x), 1, -1)
    w = np.ones(classes) if weight is None else weight
    if t.dtype.kind == "f":
        p = np.moveaxis(t, 1, -1)
        keep, norm = np.ones(p.shape[:-1]), None
    else:
        keep = (t != ignore_index).astype(float)
        safe = np.where(t == ignore_index, 0, t)
        p = np.eye(classes)[safe]
        norm = (keep * w[safe]).sum()
    p = p * (1 - label_smoothing) + label_smoothing / classes
    rows = -(w * p * logp).sum(-1) * keep
    if reduction == "none":
        return rows[0] if lone else rows
    total = rows.sum()
    if reduction == "sum":
        return total
    return total / (rows.size if norm is None else norm)


def nll(x, t, weight=None, ignore_index=-100, reduction="mean"):
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else weight
    keep = (t != ignore_index).astype(float)
    safe = np.where(t == ignore_index, 0, t)
    rows = -np.take_along_axis(x, safe[:, None], 1)[:, 0] * w[safe] * keep
    if reduction == "none":
        return rows
    return rows.sum() if reduction == "sum" else rows.sum() / (keep * w[safe]).sum()


def entropy_samples(rng):
    out = []
    for reduction in ("mean", "sum", "none"):
        for smoothing in (0.0, 0.1):
            for weight in (None, fixed(rng.uniform(0.5, 2, 7))):
                k = {"reduction": reduction, "label_smoothing": smoothing, "weight": weight}
                x = rng.standard_normal((5, 7)) * 3
                p = rng.uniform(0, 1, (5, 7))
                out.append(((x, np.array([0, 6, 3, -100, 2])), k))
                out.append(((x, p), k))
    out.append(((rng.standard_normal(19), np.array(3)), {}))
    out.append(((rng.standard_normal((2, 3, 4)), rng.integers(0, 3, (2, 4))), {}))
    out.append(((rng.standard_normal((3, 40)) + 1e4, np.array([0, 39, 17])), {}))
    return out


def nll_samples(rng):
    x = log_softmax(rng.standard_normal((5, 7)))
    t = np.array([0, 6, 3, -100, 2])
    return [
        ((x, t), {"reduction": r, "weight": w})
        for r in ("mean", "sum", "none")
        for w in (None, fixed(rng.uniform(0.5, 2, 7)))
    ]


LOSSES = [
    pair("mse_loss", lambda a, b: (a - b) ** 2),
    pair("l1_loss", lambda a, b: np.abs(a - b)),
    pair("huber_loss", huber, extra=({"delta": 0.4},)),
    pair("smooth_l1_loss", smooth_l1, extra=({"beta": 0.4}, {"beta": 0.0})),
    pair("binary_cross_entropy", bce, samples=unit_pairs),
    pair("binary_cross_entropy_with_logits", bce_logits, samples=logit_pairs),
    OpInfo(
        "kl_div",
        kl,
        lambda rng: (
            [
                (
                    (
                        log_softmax(rng.standard_normal((4, 5))),
                        np.exp(log_softmax(rng.standard_normal((4, 5)))),
                    ),
                    {"reduction": r},
                )
                for r in ("mean", "sum", "none", "batchmean")
            ]
            + [
                (
                    (
                        log_softmax(rng.standard_normal((4, 5))),
                        log_softmax(rng.standard_normal((4, 5))),
                    ),
                    {"reduction": "sum", "log_target": True},
                )
            ]
        ),
        [
            (
                (np.ones(3), np.ones(4)),
                {},
                ValueError,
                r"\[kl_div\] expected input and target of one shape",
            )
        ],
        scale=32,
    ),
    OpInfo(
        "cross_entropy",
        cross_entropy,
        entropy_samples,
        [
            (
                (np.ones((2, 3)), np.array([0, 3])),
                {},
                IndexError,
                r"class indices in \[0, 2\] but got 3 at position 1",
            ),
            ((np.ones((2, 3)), np.array([0])), {}, ValueError, r"class indices of shape \(2,\)"),
            (
                (np.ones((2, 3)), np.ones((2, 4))),
                {},
                ValueError,
                r"probabilities of shape \(2, 3\)",
            ),
            (
                (np.ones((2, 3)), np.array([0, 1]), np.ones(2)),
                {},
                ValueError,
                r"weight of shape \(3,\)",
            ),
            (
                (np.ones((2, 3)), np.array([0, 1])),
                {"label_smoothing": 2.0},
                ValueError,
                r"label_smoothing in \[0, 1\]",
            ),
        ],
        scale=64,
    ),
    OpInfo(
        "nll_loss",
        nll,
        nll_samples,
        [
            (
                (np.ones((2, 3)), np.array([0, -1])),
                {},
                IndexError,
                r"\[0, 2\] but got -1 at position 1",
            )
        ],
        scale=32,
    ),
]

RANDOM = [
    OpInfo(
        "rand",
        None,
        lambda rng: [((3, 70), {}), (((),), {}), ((0,), {}), ((5,), {"dtype": "float64"})],
        [((2,), {"dtype": "int64"}, TypeError, r"\[rand\] expected a floating dtype")],
        grad=False,
    ),
    OpInfo(
        "randn",
        None,
        lambda rng: [((3, 70), {}), ((5,), {"dtype": "float64"}), ((5,), {"dtype": "bfloat16"})][
            :2
        ],
        [((2,), {"dtype": "int64"}, TypeError, r"\[randn\] expected a floating dtype")],
        grad=False,
    ),
    OpInfo(
        "randint",
        None,
        lambda rng: [((-3, 9, (4, 30)), {})],
        [((3, 3, (2,)), {}, ValueError, r"\[randint\] expected low < high")],
        grad=False,
    ),
    OpInfo(
        "randperm",
        None,
        lambda rng: [((100,), {}), ((0,), {})],
        [((-1,), {}, ValueError, r"\[randperm\] expected n >= 0")],
        grad=False,
    ),
    OpInfo("bernoulli", None, lambda rng: [((rng.random((3, 40)),), {})], grad=False),
    OpInfo(
        "dropout",
        lambda x, p=0.5, training=True: x,
        lambda rng: [
            ((rng.standard_normal((3, 40)),), {"training": False}),
            ((rng.standard_normal(9), 0.0), {}),
        ],
        [
            ((np.ones(3), 1.5), {}, ValueError, r"\[dropout\] expected p in \[0, 1\] but got 1.5"),
            ((np.array([1, 2]),), {}, TypeError, r"expected a floating input"),
        ],
    ),
]


def sgd_samples(rng):
    hyper = np.array([0.1, 0.9, 0.0, 0.01, 1.0, 0.0, 0.0, 1.0])
    lists = [[rng.standard_normal(s) for s in [(3, 5), (7,)]] for _ in range(3)]
    return [((*lists, hyper), {})]


def adam_samples(rng):
    hyper = np.array([0.01, 0.9, 0.999, 1e-8, 0.1, 1.0, 0.0, 3.0, 1.0])
    lists = [[rng.uniform(0.1, 1, s) for s in [(3, 5), (40,)]] for _ in range(4)]
    return [((*lists, hyper), {})]


# float32 parameters go with a float64 hyper tensor, which the sweep would narrow: the values of
# both steps are tested in test_optim.py; here they stand for errors and completeness.
OPTIM = [
    OpInfo(
        "sgd_step_",
        None,
        lambda rng: [],
        [
            (
                ([np.ones(3)], [np.ones(4)], [np.ones(3)], np.ones(8)),
                {},
                ValueError,
                r"\[sgd_step_\] expected",
            )
        ],
        grad=False,
    ),
    OpInfo(
        "adam_step_",
        None,
        lambda rng: [],
        [(([np.ones(3)], [np.ones(3)], [], [], np.ones(9)), {}, ValueError, r"lists of 1 tensors")],
        grad=False,
    ),
    OpInfo(
        "optimizer_step_",
        None,
        lambda rng: [],
        [
            (
                ([np.ones(3)], [np.ones(3)], [], np.ones(12), "adagrad"),
                {},
                ValueError,
                r"\[optimizer_step_\] expected 1 gradients and 1 states for rule 'adagrad'",
            ),
            (
                ([np.ones(3)], [np.ones(3)], [np.ones(3)], np.ones(12), "adagrid"),
                {},
                ValueError,
                r"\[optimizer_step_\] expected the name of a rule but got 'adagrid'",
            ),
        ],
        grad=False,
    ),
    OpInfo(
        "clip_scale_",
        None,
        lambda rng: [],
        [((np.ones(2), 1.0, [np.ones(3)], 1), {}, ValueError, r"expected a float32 norm of one")],
        grad=False,
    ),
    OpInfo(
        "global_norm",
        lambda xs: np.float64(math.sqrt(sum((x**2).sum() for x in xs))),
        lambda rng: [(([rng.standard_normal((3, 5)), rng.standard_normal(70)],), {})],
        [(([np.array([1, 2])],), {}, TypeError, r"\[global_norm\] expected float32 or float64")],
        grad=False,
    ),
]

RECORDS = PRODUCTS + LOSSES + RANDOM + OPTIM
