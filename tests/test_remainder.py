"""Quotients rounded down and their remainders: exact, for infinite divisors too."""

import annx
import numpy as np
import pytest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_numpy_to_the_bit(dtype: type) -> None:
    rng = np.random.default_rng(0)
    b = rng.uniform(0.01, 9, 20_000).astype(dtype) * rng.choice([-1, 1], 20_000).astype(dtype)
    times = rng.integers(-100_000, 100_000, b.size).astype(dtype)
    # Products that were rounded lie just below and above whole quotients.
    a = (times * b).astype(dtype)
    a[::3] += rng.normal(size=a[::3].size).astype(dtype)
    ours = annx.remainder(annx.tensor(a), annx.tensor(b)).numpy()
    np.testing.assert_array_equal(ours, np.remainder(a, b))
    down = annx.floor_divide(annx.tensor(a), annx.tensor(b)).numpy()
    np.testing.assert_array_equal(down, np.floor_divide(a, b))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_infinite_divisor_is_larger_than_any_number(dtype: type) -> None:
    values = np.array([0.0, 1.0, -1.0, 5.5, -5.5, 3e38, -3e38, 1e-40, np.nan], dtype)
    for divisor in (np.inf, -np.inf):
        b = np.full_like(values, divisor)
        ours = annx.remainder(annx.tensor(values), annx.tensor(b)).numpy()
        np.testing.assert_array_equal(ours, np.remainder(values, b))
        down = annx.floor_divide(annx.tensor(values), annx.tensor(b)).numpy()
        np.testing.assert_array_equal(down, np.floor_divide(values, b))


def test_infinite_numbers_and_zero_divisors_leave_no_remainder() -> None:
    a = annx.tensor([np.inf, -np.inf, np.inf, 1.0, 0.0])
    b = annx.tensor([2.0, np.inf, -np.inf, 0.0, 0.0])
    assert np.isnan(annx.remainder(a, b).numpy()).all()
