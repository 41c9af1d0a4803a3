"""Conversions between dtypes, value by value: by vectors, by what they leave, and at the ends."""

from __future__ import annotations

import annx
import numpy as np
import pytest
from annx import _core

NUMBERS = [
    *(0.0, -0.0, 0.4, 0.6, -0.9, 1.0, -1.5, 254.7, 255.5, 256.9, -3.0, 65504.0, 1e5, 1e-8),
    *(2.0**24 + 2, 2.0**31 - 1, 2.0**31 - 128, 2.0**31, -(2.0**31), -(2.0**31) - 1, 2.0**32 + 7),
    *(2.0**51 - 1, 2.0**51, -(2.0**51), 2.0**52 + 1, 2.0**53, 2.0**62, 2.0**63, -(2.0**63), 1e30),
    *(-1e30, 3.4e38, np.inf, -np.inf, np.nan),
]
WHOLE = [
    *(
        0,
        1,
        -1,
        2,
        127,
        255,
        256,
        -257,
        2**24 + 1,
        2**31 - 1,
        2**31,
        -(2**31),
        2**32 + 5,
        2**40 + 1,
    ),
    *(
        2**53,
        2**53 + 1,
        -(2**53) - 1,
        2**54 + 3,
        2**63 - 1,
        -(2**63),
        2**60 + 1,
        (1 << 54) + (1 << 30) + 1,
    ),
]


def cut(number: float) -> int:
    """Truncated, held within int64; 0 for NaN."""
    if np.isnan(number):
        return 0
    return (
        int(min(max(number, -(2.0**63)), 2.0**63))
        if abs(number) < 2.0**63
        else (2**63 - 1 if number > 0 else -(2**63))
    )


def low_bits(value: int, dtype: str) -> int:
    if dtype == "bool_":
        return int(value != 0)
    bits = np.dtype(dtype).itemsize * 8
    value &= 2**bits - 1
    return value - 2**bits if dtype != "uint8" and value >= 2 ** (bits - 1) else value


@pytest.mark.parametrize("count", [1, 7, 8, 16, 37, 100, 1500])
@pytest.mark.parametrize("to", ["int64", "int32", "uint8", "bool_"])
@pytest.mark.parametrize("source", ["float32", "float64", "float16", "bfloat16"])
def test_floats_to_integers(source: str, to: str, count: int) -> None:
    some = NUMBERS if count > 20 else NUMBERS[: count % 5 + 9]
    numbers = (some * (count // len(some) + 1))[:count]
    x = annx.tensor(numbers, dtype=annx.float64).to(getattr(annx, source))
    exact = x.to(annx.float64).numpy()
    y = x.to(getattr(annx, to)).numpy()
    if to == "bool_":
        assert y.tolist() == [bool(v != 0) for v in exact]
    else:
        assert y.tolist() == [low_bits(cut(v), to) for v in exact]


@pytest.mark.parametrize("count", [1, 5, 8, 16, 23, 100])
@pytest.mark.parametrize("to", ["float32", "float64", "int32", "uint8", "bool_"])
def test_int64_to_others(to: str, count: int) -> None:
    whole = (WHOLE * (count // len(WHOLE) + 1))[:count]
    y = annx.tensor(np.array(whole, np.int64)).to(getattr(annx, to)).numpy()
    if to.startswith("float"):
        # One rounding from the integer, as NumPy does.
        np.testing.assert_array_equal(y, np.array(whole, np.int64).astype(to))
    else:
        assert [int(v) for v in y] == [low_bits(v, to) for v in whole]


@pytest.mark.parametrize("source", ["int64", "int32", "uint8", "bool_", "float64"])
@pytest.mark.parametrize("to", ["float16", "bfloat16"])
def test_others_to_halves_pass_through_float32(source: str, to: str) -> None:
    values = np.array([0, 1, 3, 100, 255, 2049, 70000, -5] * 200, np.float64)
    x = annx.tensor(values).to(getattr(annx, source))
    direct = x.to(getattr(annx, to))
    stepwise = x.to(annx.float32).to(getattr(annx, to))
    assert (direct == stepwise).all().item()
    np.testing.assert_array_equal(
        direct.to(annx.float64).numpy(), direct.to(annx.float32).numpy().astype(np.float64)
    )


def test_every_target_converts_alike() -> None:
    numbers = annx.tensor(NUMBERS * 3, dtype=annx.float64)
    whole = annx.tensor(np.array(WHOLE * 3, np.int64))
    found = []
    before = _core.active_target()
    try:
        for target in _core.supported_targets():
            _core.set_target(target)
            found.append(
                [
                    t.to(getattr(annx, to)).to(annx.float64).numpy().tobytes()
                    for t in (numbers, numbers.to(annx.float32), whole, whole.to(annx.int32))
                    for to in ("float32", "float16", "int64", "int32", "uint8", "bool_")
                ]
            )
    finally:
        _core.set_target(before)
    assert all(f == found[0] for f in found)
