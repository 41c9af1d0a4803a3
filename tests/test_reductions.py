"""Corners of reductions, softmax and normalisation that the sweeps over records do not reach."""

from __future__ import annotations

import annx
import numpy as np
import pytest
from annx import _core
from annx.nn import functional as F

ops = _core.ops
NAN, INF = np.nan, np.inf


def values(t):
    return np.asarray(t.detach().numpy())


def gradient(f, array):
    x = annx.tensor(np.asarray(array, np.float64), requires_grad=True)
    f(x).sum().backward()
    return values(x.grad)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 5, 16, 17, 100])
def test_nan_wins_wherever_it_stands(dtype, n):
    for at in {0, n // 2, n - 1}:
        row = np.linspace(-1, 1, n)
        row[at] = NAN
        both = annx.tensor(np.stack([row, row]).astype(dtype))
        for op in (ops.amax, ops.amin):
            assert np.isnan(values(op(both, 1))).all()
            assert np.isnan(values(op(both.transpose(0, 1), 0))).all()
            np.testing.assert_array_equal(np.isnan(values(op(both, 0))), np.arange(n) == at)
        assert values(ops.argmax(both, 1)).tolist() == [at, at]
        assert values(ops.argmin(both, 1)).tolist() == [at, at]


def test_infinities_are_ordinary_extremes():
    x = annx.tensor(np.array([[-INF, -INF], [INF, 1.0]], np.float32))
    assert values(ops.amax(x, 1)).tolist() == [-INF, INF]
    assert values(ops.amin(x, 1)).tolist() == [-INF, 1.0]


def test_equal_extremes_share_the_gradient_and_pairs_choose_the_first():
    x = [[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0]]
    np.testing.assert_array_equal(
        gradient(lambda t: ops.amax(t, 1), x), [[0, 0.5, 0.5, 0], [0.25] * 4]
    )
    np.testing.assert_array_equal(gradient(ops.max, x), [[0] * 4, [0.25] * 4])
    np.testing.assert_array_equal(
        gradient(lambda t: ops.max(t, 1)[0], x), [[0, 1, 0, 0], [1, 0, 0, 0]]
    )


@pytest.mark.parametrize("p", [2.0, 1.0, 3.0, 1.5, 0.5, INF])
def test_norm_of_zeros_has_a_finite_gradient(p):
    got = gradient(lambda t: ops.norm(t, p, 1), np.zeros((2, 3)))
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got, 0)


def test_std_of_a_constant_has_gradient_zero():
    np.testing.assert_array_equal(gradient(lambda t: ops.std(t, 1), np.ones((2, 3))), 0)


def test_norm_neither_overflows_nor_vanishes_in_float32():
    for size in (1e30, 1e-30):
        x = annx.full((3, 4), size)
        np.testing.assert_allclose(values(ops.norm(x)), size * np.sqrt(12), rtol=1e-6)


def test_float32_sums_stay_accurate():
    x = np.full(1_000_000, 0.1, np.float32)
    exact = x.astype(np.float64).sum()
    assert abs(values(ops.sum(annx.tensor(x))) / exact - 1) < 1e-6
    columns = annx.tensor(x.reshape(-1, 10))
    np.testing.assert_allclose(values(ops.sum(columns, 0)), exact / 10, rtol=1e-6)


@pytest.mark.parametrize("op", [ops.sum, ops.mean, ops.var, ops.amax, ops.prod])
def test_results_do_not_depend_on_strides(op):
    base = np.random.default_rng(0).standard_normal((7, 40, 3)).astype(np.float32)
    x = annx.tensor(base)
    moved = x.permute(2, 0, 1)
    packed = annx.tensor(np.ascontiguousarray(base.transpose(2, 0, 1)))
    for dim in (0, 1, 2, (0, 2)):
        assert values(op(moved, dim)).tobytes() == values(op(packed, dim)).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 5, 3, 5), (2, 40, 9, 7), (1, 33, 65, 64), (2, 3, 50)])
def test_sums_over_pixels_do_not_depend_on_the_layout(shape, dtype):
    packed = np.random.default_rng(1).standard_normal(shape).astype(dtype)
    spatial = tuple(range(2, len(shape)))
    last = np.ascontiguousarray(np.moveaxis(packed, 1, -1))
    x = annx.tensor(last).permute((0, len(shape) - 1, *range(1, len(shape) - 1)))
    whole = annx.tensor(packed)
    for op in (ops.sum, ops.mean, ops.amax, ops.amin, ops.any, ops.all):
        for dim in (spatial, (0, *spatial), 1, spatial[-1], None):
            assert values(op(x, dim)).tobytes() == values(op(whole, dim)).tobytes()
    np.testing.assert_allclose(values(ops.mean(x, spatial)), packed.mean(spatial), atol=1e-5)
    counts = annx.tensor((packed * 10).astype(np.int64)).contiguous()
    np.testing.assert_array_equal(
        values(ops.sum(counts.permute(1, 0, *spatial), 0)), values(counts).sum(1)
    )


def test_extremes_do_not_depend_on_the_order():
    quiet, other = np.float32(NAN), np.array(0x7FC01234, np.int32).view(np.float32)
    rows = np.array([[0.0, -0.0], [-0.0, 0.0], [-0.0, -0.0], [quiet, other], [other, quiet]])
    x = annx.tensor(rows.astype(np.float32))
    for op in (ops.amax, ops.amin):
        got = values(op(x, 1))
        assert got.tobytes() == values(op(x.transpose(0, 1), 0)).tobytes()
        assert got.tobytes() == np.array([0, 0, 0, NAN, NAN], np.float32).tobytes()


@pytest.mark.parametrize("n", [0, 1, 15, 64, 4097, 200_000])
def test_dot_adds_up_accurately(n):
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal((2, n)).astype(np.float32)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    size = np.abs(a.astype(np.float64)) @ np.abs(b.astype(np.float64))
    x, y = annx.tensor(a, requires_grad=True), annx.tensor(b, requires_grad=True)
    product = annx.dot(x, y)
    assert abs(values(product) - exact) <= 1e-6 * size
    apart = annx.tensor(np.stack([a, a], 1))[:, 0]
    assert values(annx.dot(apart, y)).tobytes() == values(product).tobytes()
    (product * 3.0).backward()
    np.testing.assert_array_equal(values(x.grad), np.float32(3) * b)
    np.testing.assert_array_equal(values(y.grad), np.float32(3) * a)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_an_average_over_all_pixels_is_a_mean(dims):
    x = np.random.default_rng(2).standard_normal((2, 3, 4, 5, 6)[: dims + 2])
    average = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[dims - 1]
    adaptive = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[dims - 1]
    axes = tuple(range(2, dims + 2))
    for pool in (lambda t: adaptive(t, 1), lambda t: average(t, x.shape[2:])):
        t = annx.tensor(x, requires_grad=True)
        y = pool(t)
        np.testing.assert_allclose(values(y), x.mean(axes, keepdims=True), rtol=1e-12)
        weights = np.arange(6.0).reshape(y.shape)
        (y * annx.tensor(weights)).sum().backward()
        wanted = np.broadcast_to(weights / np.prod(x.shape[2:]), x.shape)
        np.testing.assert_allclose(values(t.grad), wanted, rtol=1e-12)


@pytest.mark.parametrize("n", [3, 16, 40])
def test_softmax_of_rows_without_a_maximum(n):
    row = np.zeros(n, np.float32)
    cases = [np.full(n, -INF), np.where(np.arange(n) == n - 1, NAN, row)]
    cases.append(np.where(np.arange(n) == 1, INF, row))
    x = annx.tensor(np.stack([row, *cases]).astype(np.float32))
    for op in (ops.softmax, ops.log_softmax):
        for got in (values(op(x, 1)), values(op(x.transpose(0, 1), 0)).T):
            assert np.isfinite(got[0]).all()
            assert np.isnan(got[1:]).all()
    half_masked = annx.tensor(np.array([[0.0, -INF, 0.0]], np.float32))
    assert values(ops.softmax(half_masked, 1)).tolist() == [[0.5, 0.0, 0.5]]


def test_logsumexp_of_infinities():
    x = [[-INF, -INF], [INF, 1.0], [NAN, 1.0], [0.0, -INF]]
    got = values(ops.logsumexp(annx.tensor(np.array(x)), 1))
    np.testing.assert_array_equal(got, [-INF, INF, NAN, 0.0])
    slope = gradient(lambda t: ops.logsumexp(t, 1), [x[0], x[3]])
    np.testing.assert_array_equal(slope, [[0, 0], [1, 0]])


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5)])
def test_batch_norm_updates_running_statistics_in_place(shape):
    x = np.random.default_rng(1).standard_normal(shape)
    axes = (0, *range(2, len(shape)))
    mean, var = annx.tensor(np.full(3, 2.0)), annx.tensor(np.full(3, 4.0))
    ops.batch_norm(annx.tensor(x), mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(values(mean), 0.75 * 2 + 0.25 * x.mean(axes), rtol=1e-12)
    np.testing.assert_allclose(values(var), 0.75 * 4 + 0.25 * x.var(axes, ddof=1), rtol=1e-12)
    before = values(mean).copy(), values(var).copy()
    ops.batch_norm(annx.tensor(x), mean, var, training=False)
    np.testing.assert_array_equal(values(mean), before[0])
    np.testing.assert_array_equal(values(var), before[1])


@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_batch_norm_of_halves_keeps_their_dtype(half):
    x = annx.tensor(np.random.default_rng(2).standard_normal((8, 3)).astype(np.float32)).to(half)
    mean, var = annx.zeros(3).to(half), annx.ones(3).to(half)
    y = ops.batch_norm(x, mean, var, training=True)
    assert str(y.dtype) == str(mean.dtype) == str(x.dtype)
    expected = 0.1 * values(x.float()).mean(0)
    np.testing.assert_allclose(values(mean.float()), expected, atol=2e-3)
    wide = annx.zeros(3), annx.ones(3)
    assert str(ops.batch_norm(x, *wide, training=True).dtype) == str(x.dtype)
    assert (values(wide[0]) != 0).all()


def test_float64_powers_keep_their_exponent():
    x = gradient(lambda t: t ** (1 / 3), [2.0])
    np.testing.assert_allclose(x, 2 ** (1 / 3 - 1) / 3, rtol=1e-14)
