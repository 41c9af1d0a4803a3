"""Ways that some shapes and values take: each gives what the long way gives."""

from __future__ import annotations

import math
from collections.abc import Callable

import annx
import numpy as np
import pytest
from annx import _core
from annx.nn import functional

ops = _core.ops
RNG = np.random.default_rng(5)


def assert_same(got: annx.Tensor, want: annx.Tensor) -> None:
    a, b = got.detach().numpy(), want.detach().numpy()
    np.testing.assert_array_equal(a, b)
    number = ~np.isnan(a)
    np.testing.assert_array_equal(np.signbit(a[number]), np.signbit(b[number]))


def test_a_power_of_two_is_a_product_eager_and_captured() -> None:
    x = RNG.standard_normal((7, 33)).astype(np.float32)
    x[0, :4] = [np.inf, -np.inf, np.nan, -0.0]
    assert np.array_equal((annx.tensor(x) ** 2).numpy(), x * x, equal_nan=True)
    step = annx.jit(lambda t: (t**2.0).sum(1))
    want = (annx.tensor(x) ** 2.0).sum(1).numpy()
    for _ in range(3):
        assert np.array_equal(step(annx.tensor(x)).numpy(), want, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("exponent", [2, 3, 0.5])
def test_powers_by_a_number_or_a_tensor_of_it_agree(dtype: type, exponent: float) -> None:
    x = RNG.standard_normal(40000).astype(dtype)
    x[:7] = [np.inf, -np.inf, np.nan, -0.0, 0.0, 1e-42, 3e38]
    t = annx.from_numpy(x).requires_grad_()
    filled = annx.from_numpy(np.full(x.shape, exponent, dtype))
    assert_same(ops.pow(t, filled), t**exponent)
    ops.pow(t, filled).sum().backward()
    want, t.grad = t.grad, None
    (t**exponent).sum().backward()
    assert t.grad is not None
    assert want is not None
    assert_same(t.grad, want)
    t = t.detach()
    step = annx.jit(lambda t, p: t**p)
    for p in (exponent, 2.5, exponent, exponent):  # a number that varies is not known
        assert_same(step(t, p), t**p)


def test_cubes_and_roots_are_those_of_numpy() -> None:
    x = np.array([-2.0, -0.0, 0.0, 0.5, 3.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal((annx.tensor(x) ** 3).numpy(), x * x * x)
    want = [math.nan if v == -2 else math.pow(v, 0.5) for v in x]  # as C99 has it
    got = (annx.tensor(x) ** 0.5).numpy()
    np.testing.assert_array_equal(got, want)
    assert not np.signbit(got[1:-1]).any()
    assert (annx.tensor([2, 3]) ** 3).tolist() == [8.0, 27.0]
    assert (annx.tensor([1.5]).to(annx.bfloat16) ** 3).dtype == annx.bfloat16
    t = annx.tensor([0.5, -2.0], requires_grad=True)
    (first,) = annx.autograd.grad((t**3).sum(), [t], create_graph=True)
    (second,) = annx.autograd.grad(first.sum(), [t])
    assert (first.tolist(), second.tolist()) == ([0.75, 12.0], [3.0, -12.0])


def test_the_gradient_of_a_power_of_two() -> None:
    x = annx.tensor([1.5, -2.0, 0.0], requires_grad=True)
    (x**2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, -4.0, 0.0]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("n", [1, 2, 31])
def test_rows_of_running_sums_do_not_depend_on_their_neighbours(rows: int, n: int) -> None:
    x = RNG.standard_normal((rows, n)).astype(np.float32)
    whole = ops.cumsum(annx.tensor(x), 1).numpy()
    want = np.cumsum(x.astype(np.float64), 1).astype(np.float32)
    assert np.array_equal(whole, want)
    for r in range(rows):
        assert np.array_equal(ops.cumsum(annx.tensor(x[r]), 0).numpy(), want[r])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_conversions_of_halves_by_any_length(dtype: str) -> None:
    kind = getattr(annx, dtype)
    bits = np.arange(65536, dtype=np.uint32)
    if dtype == "float16":
        wide = bits.astype(np.uint16).view(np.float16).astype(np.float32)
    else:
        wide = (bits << 16).view(np.float32)
    with np.errstate(all="ignore"):
        wide = np.concatenate([wide, np.nextafter(wide, np.float32(9)), wide * np.float32(1.0009)])
    whole = annx.tensor(wide).to(kind).to(annx.float32).numpy()
    for n in (1, 2, 15, 16, 17, 33):
        part = annx.tensor(wide[-n:]).to(kind).to(annx.float32).numpy()
        assert np.array_equal(part, whole[-n:], equal_nan=True)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            want = wide.astype(np.float16).astype(np.float32)
        assert np.array_equal(whole, want, equal_nan=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
@pytest.mark.parametrize("diagonal", [-9, -3, -1, 0, 1, 4, 9])
def test_triangles_of_any_dtype(dtype: type, diagonal: int) -> None:
    x = (RNG.standard_normal((2, 4, 6)) * 9).astype(dtype)
    t = annx.from_numpy(x)
    assert np.array_equal(ops.tril(t, diagonal).numpy(), np.tril(x, diagonal))
    assert np.array_equal(ops.triu(t, diagonal).numpy(), np.triu(x, diagonal))
    assert ops.tril(t, diagonal).numpy().dtype == x.dtype


@pytest.mark.parametrize(
    ("start", "end", "step"), [(0, 9, 1), (5, -7, -3), (2**53 - 2, 2**53, 1), (0.5, 4, 0.75)]
)
def test_arange_counts_as_double_does(start: float, end: float, step: float) -> None:
    want = start + np.arange(np.ceil((end - start) / step)) * step
    for kind, name in ((annx.float32, np.float32), (annx.int64, np.int64)):
        got = ops.arange(start, end, step, dtype=kind).numpy()
        assert np.array_equal(got, want.astype(name))


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -1.0, 257.0])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 100])
def test_fills_of_any_size(value: float, n: int) -> None:
    for kind in ("float32", "float64", "float16", "int64", "int32"):
        got = ops.full([n], value, dtype=getattr(annx, kind)).numpy()
        want = np.full(n, value, kind)
        assert got.tobytes() == want.tobytes()


def test_logic_of_bytes_that_are_not_one() -> None:
    a = np.array([0, 1, 0, 1, 0] * 9, bool)
    b = np.roll(a, 1)
    x, y = annx.from_numpy(a), annx.from_numpy(b)
    assert np.array_equal(ops.logical_xor(x, y).numpy(), a ^ b)
    assert np.array_equal(ops.logical_not(x).numpy(), ~a)
    assert np.array_equal((x + y).numpy(), a | b)
    assert np.array_equal(ops.maximum(x, y).numpy(), a | b)


def test_large_outputs_are_the_small_ones() -> None:
    """From 16 MiB on stores go past the caches and blocks are huge pages."""
    x = RNG.standard_normal((1 << 22) + 33).astype(np.float32)
    t = annx.from_numpy(x)
    assert np.array_equal((t + t).numpy(), x + x)
    assert np.array_equal(t.relu().numpy(), np.maximum(x, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_pass_gives_the_bits_of_its_parts(dtype: str) -> None:
    def draw() -> annx.Tensor:
        return annx.from_numpy(RNG.standard_normal((5, 67)).astype(dtype))

    x, y, z = draw(), draw(), draw()
    column = draw()[:, :1]
    low, high = ops.minimum(y, z), ops.maximum(y, z)
    pairs = [
        (ops.lerp(x, y, z), x + z * (y - x)),
        (ops.lerp(x, column, 0.3), x + 0.3 * (column - x)),
        (ops.addcmul(x, y, z, value=0.7), x + (y * z) * 0.7),
        (ops.addcdiv(x, y, z, value=0.7), x + (y / z) * 0.7),
        (ops.clamp(x, low, high), ops.minimum(ops.maximum(x, low), high)),
        (ops.clamp(x, -0.5, 0.5), ops.minimum(ops.maximum(x, -0.5), 0.5)),
    ]
    for got, want in pairs:
        assert got.numpy().tobytes() == want.numpy().tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_has_the_bits_of_its_parts(dtype: type) -> None:
    rng = np.random.default_rng(3)
    # Around log(sqrt(2) - 1), where the logarithm takes another branch, and where nothing is left.
    edges = [0, -0.0, 0.88137, 0.8813736, 0.88138, 17, 88, 104, 746, np.inf, np.nan]
    values = np.concatenate([edges, rng.uniform(0, 3, 5000), rng.uniform(0, 120, 1000)])
    x = annx.from_numpy(np.concatenate([values, -values]).astype(dtype))
    tail = annx.log1p(annx.exp(-abs(x)))
    np.testing.assert_array_equal(
        functional.logsigmoid(x).numpy(), (annx.clamp(x, max=0) - tail).numpy()
    )
    zero = annx.zeros_like(x)
    loss = functional.binary_cross_entropy_with_logits(x, zero, reduction="none")
    finite = np.isfinite(x.numpy())
    np.testing.assert_array_equal(
        loss.numpy()[finite], (annx.clamp(x, min=0) + tail).numpy()[finite]
    )
    wide = x.numpy().astype(np.longdouble)
    reference = np.maximum(wide, 0) + np.log1p(np.exp(-np.abs(wide)))
    np.testing.assert_allclose(
        functional.softplus(x, threshold=1000).numpy(),
        reference,
        rtol=4 * np.finfo(dtype).eps,
        atol=np.finfo(dtype).smallest_subnormal,
    )


def test_gradients_of_clamp_are_shared_at_its_ends() -> None:
    x = annx.tensor([-1.0, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    low, high = annx.tensor(0.0, requires_grad=True), annx.tensor(1.0, requires_grad=True)
    one = ops.clamp(x, low, high)
    one.backward(annx.ones(5))
    assert x.grad is not None
    assert low.grad is not None
    assert high.grad is not None
    assert x.grad.tolist() == [0.0, 0.5, 1.0, 0.5, 0.0]
    assert (low.grad.item(), high.grad.item()) == (1.5, 1.5)


def test_numbers_that_are_not_finite() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 3.4e38, -0.0] * 7, np.float32)
    t = annx.tensor(x)
    assert np.array_equal(ops.isfinite(t).numpy(), np.isfinite(x))
    assert np.array_equal(ops.isinf(t).numpy(), np.isinf(x))
    want = np.nan_to_num(x, nan=1.0, neginf=-2.0)
    assert np.array_equal(ops.nan_to_num(t, 1.0, neginf=-2.0).numpy(), want)


@pytest.mark.parametrize("shape", [(3, 300, 70), (2, 3, 5), (1, 4, 1), (64, 64, 4)])
def test_elementwise_of_operands_that_lie_across(shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    y = RNG.standard_normal(shape[::-1]).astype(np.float32)
    a, b = annx.from_numpy(x), annx.from_numpy(y)
    assert np.array_equal((a + b.permute(2, 1, 0)).numpy(), x + y.transpose(2, 1, 0))
    flipped = ops.flip(a, [0, 2]) - a[:, :1]
    assert np.array_equal(flipped.numpy(), x[::-1, :, ::-1] - x[:, :1])
    joined = ops.concat([a, b.permute(2, 1, 0), a[:, ::2], a.flip([1])], 1)
    want = np.concatenate([x, y.transpose(2, 1, 0), x[:, ::2], x[:, ::-1]], 1)
    assert np.array_equal(joined.numpy(), want)


@pytest.mark.parametrize("n", [1, 7, 63, 64, 65, 200])
def test_all_and_any_of_rows(n: int) -> None:
    x = np.ones((3, n), bool)
    x[1, n - 1] = False
    assert ops.all(annx.from_numpy(x), 1).tolist() == [True, False, True]
    assert ops.any(annx.from_numpy(~x), 1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("clamp", lambda t: (t(3), t(4), t(3))),
        ("lerp", lambda t: (t(3), t(4), t(3))),
        ("addcmul", lambda t: (t(3), t(4), t(3))),
        ("addcdiv", lambda t: (t(3), t(3), t(4))),
    ],
)
def test_one_pass_speaks_of_the_op_that_was_called(
    name: str, arguments: Callable[[Callable[[int], annx.Tensor]], tuple[annx.Tensor, ...]]
) -> None:
    with pytest.raises(ValueError, match=rf"\[{name}\] expected shapes that broadcast"):
        getattr(annx, name)(*arguments(annx.ones))


def test_clamp_promotes_its_limits() -> None:
    x = annx.tensor([70000.0, -1.0])
    low, high = annx.tensor([0.0], dtype=annx.float16), annx.tensor([1e5])
    for y in (annx.clamp(x, low, high), annx.clamp(x, low), annx.clamp(x, max=high)):
        assert y.dtype == annx.float32
    np.testing.assert_array_equal(annx.clamp(x, low, high).numpy(), [70000.0, 0.0])


OPERANDS_OF_ONE = {
    "add": annx.add, "sub": annx.sub, "mul": annx.mul, "div": annx.div, "pow": annx.pow,
    "maximum": annx.maximum, "minimum": annx.minimum, "floor_divide": annx.floor_divide,
    "remainder": annx.remainder,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERANDS_OF_ONE)
@pytest.mark.parametrize("columns", [257, 1024, 5000])
def test_a_column_and_a_number_have_the_bits_of_whole_operands(name: str, columns: int) -> None:
    op, rng = OPERANDS_OF_ONE[name], np.random.default_rng(0)
    x = rng.standard_normal((7, columns)).astype(np.float32)
    x[:, ::11] = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, 2.0], np.float32)[:, None]
    column = np.array([0.5, -2.0, np.nan, 0.0, np.inf, 3.0, -0.0], np.float32)[:, None]
    for a, b in [(x, column), (x.T.copy().T, column), (x[:, ::2], column), (column, x)]:
        whole = [annx.tensor(np.ascontiguousarray(v)) for v in np.broadcast_arrays(a, b)]
        got = op(annx.from_numpy(a), annx.from_numpy(b))
        assert_same(got, op(*whole))
        for number in (2.5, -0.0, float("nan")):
            want = op(annx.from_numpy(a), annx.full(a.shape, number))
            assert_same(op(annx.from_numpy(a), number), want)


def test_clamp_by_numbers_and_columns() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 700)).astype(np.float32)
    x[:, 3] = np.nan
    low, high = np.sort(rng.standard_normal((2, 5, 1)).astype(np.float32), axis=0)
    for a, b in [(low, high), (low, 0.25), (-0.5, 0.25), (-0.5, high), (0.5, -0.5)]:
        bounds = [v if isinstance(v, float) else annx.tensor(v) for v in (a, b)]
        got = annx.clamp(annx.tensor(x), *bounds).numpy()
        np.testing.assert_array_equal(got, np.minimum(np.maximum(x, a), b))
