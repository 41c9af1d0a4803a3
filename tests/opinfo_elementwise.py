"""Records of unary, activation and arithmetic ops."""

from __future__ import annotations

import math

import numpy as np
from opinfo import OpInfo

erf = np.vectorize(math.erf, otypes=[float])
erfc = np.vectorize(math.erfc, otypes=[float])


def sigmoid(x):
    return 0.5 * (1 + np.tanh(0.5 * x))


def softplus(x, beta=1.0, threshold=20.0):
    return np.where(x * beta > threshold, x, np.logaddexp(0, beta * x) / beta)


def unary_samples(low, high, avoid=None):
    """Shapes 0-d, empty, vectors around the lane counts, a transposed one; values off `avoid`."""

    def samples(rng):
        out = []
        for shape in [(), (0,), (3, 0), (1,), (7,), (17,), (33,), (2, 3, 5)]:
            x = rng.uniform(low, high, shape)
            if avoid is not None:
                for kink in avoid:
                    x = np.where(np.abs(x - kink) < 0.05, kink + 0.1, x)
            out.append(((np.asarray(x),), {}))
        out.append(((out[-1][0][0].transpose(2, 0, 1),), {}))
        return out

    return samples


def with_kwargs(samples, **kwargs):
    return lambda rng: samples(rng) + [(a, dict(kwargs)) for a, _ in samples(rng)]


WRONG_TYPE = (("text",), {}, TypeError, r"expected a Tensor but got str")


def unary(name, ref, low=-3.0, high=3.0, avoid=None, grad=True, scale=16.0, **kwargs):
    samples = unary_samples(low, high, avoid)
    if kwargs:
        samples = with_kwargs(samples, **kwargs)
    return OpInfo(name, ref, samples, [WRONG_TYPE], grad=grad, scale=scale)


def elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def gelu(x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


UNARY = [
    unary("neg", np.negative),
    unary("abs", np.abs, avoid=[0]),
    unary("sign", np.sign, avoid=[0]),
    unary("square", np.square),
    unary("reciprocal", lambda x: 1 / x, 0.3, 3),
    unary("sqrt", np.sqrt, 0.1, 9),
    unary("rsqrt", lambda x: 1 / np.sqrt(x), 0.1, 9),
    unary("exp", np.exp),
    unary("expm1", np.expm1),
    unary("log", np.log, 0.1, 9),
    unary("log1p", np.log1p, -0.8, 5),
    unary("log2", np.log2, 0.1, 9),
    unary("log10", np.log10, 0.1, 9),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("erf", erf),
    unary("floor", np.floor, avoid=[-2, -1, 0, 1, 2]),
    unary("ceil", np.ceil, avoid=[-2, -1, 0, 1, 2]),
    unary("trunc", np.trunc, avoid=[-2, -1, 0, 1, 2]),
    unary("round", np.round, avoid=[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]),
]

ACTIVATIONS = [
    unary("sigmoid", sigmoid),
    unary("tanh", np.tanh),
    unary("relu", lambda x: np.maximum(x, 0), avoid=[0]),
    unary("relu6", lambda x: np.clip(x, 0, 6), -3, 9, avoid=[0, 6]),
    unary(
        "leaky_relu",
        lambda x, negative_slope=0.01: np.where(x > 0, x, negative_slope * x),
        avoid=[0],
        negative_slope=0.2,
    ),
    unary("elu", elu, avoid=[0], alpha=0.7),
    unary("selu", lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772), avoid=[0]),
    unary(
        "celu",
        lambda x, alpha=1.0: np.where(x > 0, x, alpha * np.expm1(x / alpha)),
        avoid=[0],
        alpha=1.7,
    ),
    unary("silu", lambda x: x * sigmoid(x)),
    unary("ndtr", lambda x: 0.5 * erfc(-x / math.sqrt(2)), -12, 12),
    unary("gelu", gelu, approximate="tanh"),
    unary("gelu_erf", gelu),
    unary("gelu_tanh", lambda x: gelu(x, "tanh")),
    unary("softplus", softplus, -9, 30, avoid=[20, 30], beta=1.5, threshold=15.0),
    unary("log_sigmoid", lambda x: -np.logaddexp(0, -x), -30, 30),
    unary("softsign", lambda x: x / (1 + np.abs(x))),
    unary("mish", lambda x: x * np.tanh(np.logaddexp(0, x))),
    unary(
        "hardtanh",
        lambda x, min_val=-1.0, max_val=1.0: np.clip(x, min_val, max_val),
        avoid=[-1, 1, -2, 0.5],
        min_val=-2.0,
        max_val=0.5,
    ),
    unary("hardsigmoid", lambda x: np.clip(x + 3, 0, 6) / 6, -5, 5, avoid=[-3, 3]),
    unary("hardswish", lambda x: x * np.clip(x + 3, 0, 6) / 6, -5, 5, avoid=[-3, 3]),
    OpInfo(
        "prelu",
        lambda x, w: np.where(x > 0, x, x * (w if w.size == 1 or x.ndim < 2 else w[:, None])),
        lambda rng: [
            ((rng.standard_normal((2, 3, 4)) + 0.01, rng.uniform(0.1, 0.5, 3)), {}),
            ((rng.standard_normal((2, 3, 4)), rng.uniform(0.1, 0.5, 1)), {}),
            ((rng.standard_normal(5), rng.uniform(0.1, 0.5, 1)), {}),
        ],
        [((np.ones((2, 3)), np.ones(2)), {}, ValueError, r"\[prelu\] expected weight .* \(2,\)")],
    ),
]


def binary_samples(low=-3.0, high=3.0, apart=False, grad_safe=True):
    def samples(rng):
        out = []
        for a, b in [
            ((), ()),
            ((0,), (0,)),
            ((17,), (17,)),
            ((3, 5), (5,)),
            ((3, 1), (1, 4)),
            ((2, 3, 4), (3, 1)),
            ((), (33,)),
            ((300, 2), (1, 2)),
        ]:
            x, y = rng.uniform(low, high, a), rng.uniform(low, high, b)
            if apart:
                y = np.where(np.abs(y) < 0.3, 0.5, y)
            out.append(((np.asarray(x), np.asarray(y)), {}))
        out.append(((rng.uniform(low, high, (4, 3)).T, rng.uniform(0.5, high, (3, 4))), {}))
        return out

    return samples


BROADCAST = (
    (np.ones(3), np.ones(4)),
    {},
    ValueError,
    r"broadcast together but got \(3,\) and \(4,\)",
)


def binary(name, ref, samples=None, grad=True, scale=16.0):
    return OpInfo(name, ref, samples or binary_samples(), [BROADCAST], grad=grad, scale=scale)


def int_pairs(rng):
    a = rng.integers(-4, 5, (3, 4))
    b = rng.integers(-4, 5, (4,))
    special = np.array([np.nan, 1.0, -np.inf, np.inf])
    partner = np.array([1.0, np.nan, 1, 1])
    return [*binary_samples()(rng), ((a, b), {}), ((special, partner), {})]


def whole_pairs(low, high):
    """Floats away from the jumps, and integers of both signs."""
    a, b = np.array([7, -7, 7, -7, 6]), np.array([3, 3, -3, -3, -1])
    return lambda rng: [
        *binary_samples(low, high)(rng),
        ((a, b), {}),
        ((a.astype(np.int32), 4), {}),
    ]


ARITHMETIC = [
    binary("add", np.add, lambda rng: [*binary_samples()(rng), ((rng.integers(0, 9, 5), 2), {})]),
    binary("sub", np.subtract),
    binary("mul", np.multiply),
    binary("div", np.divide, binary_samples(apart=True), scale=32),
    binary("maximum", np.maximum),
    binary("minimum", np.minimum),
    binary("pow", np.power, binary_samples(0.3, 2.0)),
    binary("floor_divide", np.floor_divide, whole_pairs(0.7, 0.95), scale=32),
    binary("remainder", np.remainder, whole_pairs(0.7, 1.3), scale=64),
    *[
        binary(name, ref, int_pairs, grad=False)
        for name, ref in [
            ("eq", np.equal),
            ("ne", np.not_equal),
            ("lt", np.less),
            ("le", np.less_equal),
            ("gt", np.greater),
            ("ge", np.greater_equal),
            ("logical_and", np.logical_and),
            ("logical_or", np.logical_or),
            ("logical_xor", np.logical_xor),
        ]
    ],
    OpInfo(
        "where",
        np.where,
        lambda rng: [
            ((rng.random(19) > 0.5, rng.standard_normal(19), rng.standard_normal(19)), {}),
            ((rng.random((3, 1)) > 0.5, rng.standard_normal(4), rng.standard_normal(())), {}),
            ((rng.random((3, 2)) > 0.5, rng.standard_normal((3, 2)), 0.0), {}),
        ],
        [((np.ones(3), np.ones(3), np.ones(3)), {}, TypeError, r"\[where\] expected a bool cond")],
    ),
    OpInfo(
        "clamp",
        lambda x, min=None, max=None: np.clip(x, min, max),
        lambda rng: [
            ((rng.standard_normal((3, 7)),), {"min": -0.5, "max": 0.5}),
            ((rng.standard_normal(5),), {"min": 0.1}),
            ((rng.standard_normal(5),), {"max": 0.1}),
            ((rng.standard_normal(5), np.full(5, -0.2), np.full(5, 0.3)), {}),
        ],
        [((np.ones(3),), {}, ValueError, r"\[clamp\] expected min or max")],
    ),
]


def test_values(rng):
    return [
        ((np.array([0.0, 1.0, -np.inf, np.nan, np.inf, -2.0]),), {}),
        ((rng.standard_normal((0, 2)),), {}),
        ((np.asarray(rng.standard_normal(())),), {}),
    ]


TESTS = [
    OpInfo("logical_not", np.logical_not, test_values, [WRONG_TYPE], grad=False),
    OpInfo("isnan", np.isnan, test_values, [WRONG_TYPE], grad=False),
    OpInfo("isinf", np.isinf, test_values, [WRONG_TYPE], grad=False),
    OpInfo("isfinite", np.isfinite, test_values, [WRONG_TYPE], grad=False),
]

RECORDS = UNARY + ACTIVATIONS + ARITHMETIC + TESTS
