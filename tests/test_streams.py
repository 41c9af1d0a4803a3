"""Outputs stored past the caches, in two runs at once: every element, whatever the rows."""

from __future__ import annotations

import math
from typing import Any

import annx
import numpy as np
import pytest

# Just above 16 MiB of float32: even and odd, rows that fit lines and rows that do not.
LARGE = [
    ((4196411,), (4196411,)),
    ((4196411,), ()),
    ((4100, 1024), (1024,)),
    ((4097, 1040), (1040,)),
    ((4200, 1003), (1003,)),
    ((4200, 1003), (4200, 1)),
    ((33000, 130), (130,)),
    ((27, 400, 400), (27, 1, 400)),
    ((3, 1400001), (1400001,)),
    ((7, 3, 200, 1000), (3, 1, 1)),
]


def shifted(x: Any) -> Any:
    """x where no line begins."""
    memory = np.empty(x.size + 1, x.dtype)
    memory[1:] = x.reshape(-1)
    return memory[1:].reshape(x.shape)


@pytest.mark.parametrize(("shape", "other"), LARGE, ids=str)
def test_large_outputs_are_whole(shape: tuple[int, ...], other: tuple[int, ...]) -> None:
    rng = np.random.default_rng(math.prod(shape))
    x = shifted(rng.standard_normal(shape, dtype=np.float32))
    y = np.asarray(rng.standard_normal(other, dtype=np.float32))
    a, b = annx.from_numpy(x), annx.from_numpy(y)
    np.testing.assert_array_equal((a + b).numpy(), x + y)
    np.testing.assert_array_equal((b - a).numpy(), y - x)
    np.testing.assert_array_equal(annx.relu(a).numpy(), np.maximum(x, 0))
    np.testing.assert_array_equal(annx.clone(a).numpy(), x)


@pytest.mark.parametrize("name", ["square", "abs", "hardtanh", "relu"])
def test_gradients_of_rows_that_repeat(name: str) -> None:
    rng = np.random.default_rng(7)
    row = rng.standard_normal(1024, dtype=np.float32)
    weight = rng.standard_normal((4100, 1024), dtype=np.float32)
    x = annx.tensor(row)
    repeated = x.expand(4100, 1024).detach()
    repeated.requires_grad = True
    op = {"hardtanh": annx.nn.functional.hardtanh}.get(name) or getattr(annx, name)
    (op(repeated) * annx.tensor(weight)).sum().backward()
    slope = {
        "square": 2 * row, "abs": np.sign(row), "hardtanh": np.abs(row) < 1, "relu": row > 0,
    }[name]  # fmt: skip
    assert repeated.grad is not None
    np.testing.assert_allclose(repeated.grad.numpy(), weight * slope, rtol=1e-6)
