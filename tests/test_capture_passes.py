"""Passes over captured calls: what they change in a program, and that the bits stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import functional as F


def names(step: Any) -> list[str]:
    return [line[0] for line in step.programs[-1].instructions()]


def text(step: Any) -> str:
    return "\n".join(line[1] for line in step.programs[-1].instructions())


def gradient_twice(
    f: Callable[[annx.Tensor], annx.Tensor], x: np.ndarray[Any, Any], jit: bool
) -> tuple[list[bytes], Any]:
    """Value and gradient of three calls, of which the last two are replays with ``jit``."""

    def both(x: annx.Tensor) -> Any:
        return annx.value_and_grad(lambda x: f(x).sum())(x)

    step = annx.jit(both) if jit else both
    annx.manual_seed(3)
    bits = []
    for _ in range(3):
        value, grad = step(annx.tensor(x))
        bits += [value.numpy().tobytes(), grad.numpy().tobytes()]
    return bits, step


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("shape", [(1,), (15,), (3, 7), (64, 33), (300, 257)])
def test_dropout_masks_are_drawn_once(shape: tuple[int, ...], target: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        return annx.sin(F.dropout(annx.tanh(F.dropout(x, 0.3) * 2.0), 0.6))

    before = annx._core.active_target()
    try:
        annx._core.set_target("scalar")
        eager, _ = gradient_twice(f, x, False)
        annx._core.set_target(target)
        bits, step = gradient_twice(f, x, True)
    finally:
        annx._core.set_target(before)
    assert bits == eager
    if x.size > 100:
        assert len(set(bits)) == 6
    assert names(step).count("dropout_mask_by_key") == 2
    assert "dropout_by_key" not in names(step)
    assert text(step).count("dropout_kept") == 2


@pytest.mark.parametrize("kind", ["float64", "transposed", "alone"])
def test_other_dropouts_stay(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((8, 6))

    def f(x: annx.Tensor) -> annx.Tensor:
        if kind == "transposed":
            # The gradient comes in the layout of the transposed input.
            return F.dropout(x.float().t() * 1.5, 0.5) * 2.0
        if kind == "alone":
            return F.dropout(x.detach().float(), 0.5) * x.float()
        return annx.sin(F.dropout(x, 0.5))

    eager, _ = gradient_twice(f, x, False)
    bits, step = gradient_twice(f, x, True)
    assert bits == eager
    assert "dropout_by_key" in names(step)


def test_numbers_are_computed_once() -> None:
    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        positions = annx.arange(5, dtype=annx.float32) * 2.0 + 1.0
        return x + positions

    for k in range(3):
        np.testing.assert_array_equal(f(annx.full((5,), float(k))), np.arange(5) * 2 + 1 + k)
    assert names(f) == ["add"]


def test_the_start_of_a_gradient_is_known() -> None:
    layer = nn.Linear(3, 2)

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        layer.zero_grad()
        loss = (layer(x) ** 2).mean()
        loss.backward()
        return loss

    x = annx.tensor(np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32))
    step(x)
    step(x)
    captured = layer.weight.grad.numpy().copy()
    assert not {"full", "div"} & set(names(step))
    layer.zero_grad()
    (layer(x) ** 2).mean().backward()
    np.testing.assert_array_equal(layer.weight.grad, captured)


def test_memory_that_others_know_is_read_anew() -> None:
    array = np.ones(3, np.float32)
    held = annx.from_numpy(array)

    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        return x + held * 2.0

    np.testing.assert_array_equal(f(annx.zeros(3)), [2, 2, 2])
    array[:] = 5
    np.testing.assert_array_equal(f(annx.zeros(3)), [10, 10, 10])


def test_large_constants_and_random_numbers_are_made_by_every_replay() -> None:
    @annx.jit
    def f(x: annx.Tensor) -> annx.Tensor:
        return x * annx.zeros(1 << 19) + annx.rand(1 << 19)

    a, b = f(annx.zeros(1)), f(annx.zeros(1))
    assert not np.array_equal(a, b)
    assert "full" in names(f)
    assert "random_uniform" in names(f)
