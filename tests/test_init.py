"""Initialisation: distributions, exact structures, errors, and bits that depend on the seed."""

from __future__ import annotations

import json
from math import erf, exp, pi, sqrt
from pathlib import Path

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import init

GAINS = json.loads((Path(__file__).parent / "goldens" / "nn" / "cases.json").read_text())["gains"]


@pytest.fixture(autouse=True)
def _seed():
    annx.manual_seed(1234)


def filled(function, shape, *args, dtype=annx.float32, **kwargs):
    tensor = annx.zeros(shape, dtype=dtype)
    assert function(tensor, *args, **kwargs) is tensor
    return tensor.numpy()


def assert_uniform(values, bound):
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.99 * bound
    quarters = np.histogram(values, bins=4, range=(-bound, bound))[0] / values.size
    assert np.abs(quarters - 0.25).max() < 4 * sqrt(0.25 * 0.75 / values.size)


def assert_normal(values, std, mean=0.0):
    z = (values.astype(np.float64) - mean) / std
    assert abs(z.mean()) < 4 / sqrt(z.size)
    assert abs(z.std() - 1.0) < 4 / sqrt(2 * z.size)
    for limit in (0.5, 1.0, 2.0):
        share = (1 + erf(limit / sqrt(2))) / 2
        assert abs((z < limit).mean() - share) < 4 * sqrt(share * (1 - share) / z.size)


@pytest.mark.parametrize(("name", "param", "expected"), GAINS)
def test_gains_are_pytorchs(name, param, expected):
    assert init.calculate_gain(name, param) == expected


def test_unknown_gain():
    with pytest.raises(ValueError, match=r"\[calculate_gain\] expected .* 'swoosh'"):
        init.calculate_gain("swoosh")


@pytest.mark.parametrize("dtype", [annx.float32, annx.float64])
def test_uniform_and_normal(dtype):
    values = filled(init.uniform_, (200, 100), -3.0, 5.0, dtype=dtype)
    assert_uniform(values - 1.0, 4.0)
    assert_normal(filled(init.normal_, (200, 100), 2.0, 0.5, dtype=dtype), 0.5, 2.0)


def test_constants():
    assert (filled(init.constant_, (3, 2), 0.75) == 0.75).all()
    assert (filled(init.ones_, (3, 2)) == 1).all()
    tensor = annx.ones((3, 2))
    assert (init.zeros_(tensor).numpy() == 0).all()
    assert (filled(init.eye_, (2, 3)) == np.eye(2, 3)).all()


SHAPE = (100, 40, 3)  # fan_in 120, fan_out 300


@pytest.mark.parametrize(
    ("function", "kwargs", "bound"),
    [
        (init.xavier_uniform_, {}, sqrt(6 / 420)),
        (init.xavier_uniform_, {"gain": 2.0}, 2 * sqrt(6 / 420)),
        (init.kaiming_uniform_, {}, sqrt(2) * sqrt(3 / 120)),
        (init.kaiming_uniform_, {"a": sqrt(5)}, 1 / sqrt(120)),
        (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "relu"}, sqrt(6 / 300)),
        (init.lecun_uniform_, {}, sqrt(3 / 120)),
    ],
)
def test_uniform_bounds(function, kwargs, bound):
    assert_uniform(filled(function, SHAPE, **kwargs), np.float32(bound))


@pytest.mark.parametrize(
    ("function", "kwargs", "std"),
    [
        (init.xavier_normal_, {}, sqrt(2 / 420)),
        (init.xavier_normal_, {"gain": 3.0}, 3 * sqrt(2 / 420)),
        (init.kaiming_normal_, {"nonlinearity": "relu"}, sqrt(2 / 120)),
        (init.kaiming_normal_, {"mode": "fan_out", "nonlinearity": "linear"}, sqrt(1 / 300)),
        (init.kaiming_normal_, {"a": 0.5}, sqrt(2 / 1.25) / sqrt(120)),
    ],
)
def test_normal_deviations(function, kwargs, std):
    assert_normal(filled(function, SHAPE, **kwargs), std)


def test_lecun_normal_has_the_right_variance_after_the_cut():
    values = filled(init.lecun_normal_, (300, 100))
    assert abs(values.std() * sqrt(100) - 1.0) < 0.02
    assert np.abs(values).max() <= 2 / sqrt(100) / 0.8796256


@pytest.mark.parametrize(
    ("mean", "std", "a", "b"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (1.0, 2.0, -1.0, 6.0),
        (0.0, 1.0, 2.0, 3.0),
        (0.0, 1.0, -4.0, float("inf")),
        (5.0, 0.5, -2.0, 4.0),
    ],
)
def test_trunc_normal(mean, std, a, b):
    values = filled(init.trunc_normal_, (200, 200), mean, std, a, b, dtype=annx.float64)
    assert a <= values.min()
    assert values.max() <= b
    low, high = (a - mean) / std, (b - mean) / std

    def density(z):
        return exp(-z * z / 2) / sqrt(2 * pi)

    def below(z):
        return (1 + erf(z / sqrt(2))) / 2

    mass = below(high) - below(low)
    expected = mean + std * (density(low) - density(high)) / mass
    assert abs(values.mean() - expected) < 4 * values.std() / sqrt(values.size)
    middle = (max(low, -9.0) + min(high, 9.0)) / 2
    share = (below(middle) - below(low)) / mass
    got = (values < mean + std * middle).mean()
    assert abs(got - share) < 4 * sqrt(share * (1 - share) / values.size) + 1e-9


def test_trunc_normal_inverts_erf_to_the_last_digits():
    levels = np.linspace(-0.9999, 0.9999, 2001)
    got = np.array([erf(x) for x in init._erfinv(annx.tensor(levels)).numpy()])
    assert np.abs(got - levels).max() < 1e-15


@pytest.mark.parametrize("shape", [(7, 7), (5, 9), (9, 5), (4, 3, 2), (100, 70), (65, 130)])
@pytest.mark.parametrize("dtype", [annx.float32, annx.float64])
def test_orthogonal(shape, dtype):
    values = filled(init.orthogonal_, shape, gain=2.0, dtype=dtype)
    q = values.reshape(shape[0], -1).astype(np.float64) / 2.0
    if q.shape[0] > q.shape[1]:
        q = q.T
    tolerance = 1e-13 if dtype == annx.float64 else 1e-6
    assert np.abs(q @ q.T - np.eye(len(q))).max() < tolerance


def test_orthogonal_is_uniform():
    # The trace of a uniform orthogonal 3x3 matrix has mean 0 and variance 1.
    traces = np.array([np.trace(filled(init.orthogonal_, (3, 3))) for _ in range(400)])
    assert abs(traces.mean()) < 4 / sqrt(400)
    assert 0.7 < traces.var() < 1.3


def test_sparse():
    values = filled(init.sparse_, (50, 40), sparsity=0.3, std=0.1)
    assert ((values == 0).sum(0) == 15).all()
    assert len({tuple(column) for column in (values == 0).T}) > 1
    assert_normal(values[values != 0], 0.1)
    assert ((filled(init.sparse_, (7, 3), sparsity=0.1) == 0).sum(0) == 1).all()


def test_dirac_passes_channels_through():
    values = filled(init.dirac_, (4, 3, 5))
    for out in range(4):
        for channel in range(3):
            expected = np.zeros(5)
            expected[2] = float(out == channel)
            assert (values[out, channel] == expected).all()
    grouped = filled(init.dirac_, (4, 2, 3, 3), groups=2)
    assert grouped.sum() == 4
    assert grouped[2, 0, 1, 1] == grouped[3, 1, 1, 1] == 1


ERRORS = [
    (lambda: init.xavier_uniform_(annx.ones((3,))), ValueError, r"\[xavier_uniform_\] .* got 1"),
    (lambda: init.kaiming_normal_(annx.ones((3,))), ValueError, r"\[kaiming_normal_\] .* got 1"),
    (lambda: init.kaiming_normal_(annx.ones((3, 3)), mode="fan"), ValueError, "'fan_out' but got"),
    (lambda: init.lecun_normal_(annx.ones((3,))), ValueError, r"\[lecun_normal_\]"),
    (lambda: init.orthogonal_(annx.ones((3,))), ValueError, r"\[orthogonal_\]"),
    (lambda: init.eye_(annx.ones((3,))), ValueError, r"\[eye_\] .* got 1"),
    (lambda: init.sparse_(annx.ones((3,)), 0.1), ValueError, r"\[sparse_\] .* got 1"),
    (lambda: init.sparse_(annx.ones((3, 3)), 1.1), ValueError, r"\[sparse_\] .* got 1.1"),
    (lambda: init.dirac_(annx.ones((3, 3))), ValueError, r"\[dirac_\] .* got 2"),
    (lambda: init.dirac_(annx.ones((3, 3, 3)), groups=2), ValueError, r"\[dirac_\] .* got 2"),
    (lambda: init.trunc_normal_(annx.ones((3,)), a=1.0, b=0.0), ValueError, "a < b"),
    (lambda: init.trunc_normal_(annx.ones((3,)), a=6.0, b=7.0), ValueError, "5 deviations"),
    (lambda: init.uniform_(annx.tensor([1, 2])), TypeError, r"\[uniform_\] expected a floating"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


FILLERS = [
    init.uniform_,
    init.normal_,
    init.trunc_normal_,
    init.xavier_uniform_,
    init.xavier_normal_,
    init.kaiming_uniform_,
    init.kaiming_normal_,
    init.lecun_uniform_,
    init.lecun_normal_,
    init.orthogonal_,
]


@pytest.mark.parametrize("function", FILLERS)
def test_values_depend_on_the_seed_alone(function):
    annx.manual_seed(5)
    first = filled(function, (40, 30))
    second = filled(function, (40, 30))
    annx.manual_seed(5)
    again = filled(function, (40, 30))
    assert (first == again).all()
    assert (first != second).any()


@pytest.mark.parametrize("function", FILLERS)
def test_parameters_are_filled_off_the_tape(function):
    weight = nn.Parameter(annx.zeros((4, 3)))
    function(weight)
    assert weight.requires_grad
    assert weight.is_leaf
    assert weight.grad is None
    assert (weight.detach().numpy() != 0).all()


def test_half_precision_takes_rounded_float32_values():
    annx.manual_seed(5)
    exact = filled(init.normal_, (30, 20))
    annx.manual_seed(5)
    half = filled(init.normal_, (30, 20), dtype=annx.float16)
    assert (half == exact.astype(np.float16)).all()
