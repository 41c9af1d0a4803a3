"""Sums and products that move into the op which makes one of their operands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn
from annx.nn import functional as F

Step = Callable[[annx.Tensor], annx.Tensor]


def gradients_twice(
    layers: list[nn.Module], f: Step, x: np.ndarray[Any, Any], jit: bool
) -> tuple[list[bytes], list[str], str]:
    """Bits of values and gradients of three calls; names and text of the program."""
    leaves = [p for layer in layers for p in layer.parameters()]
    rng = np.random.default_rng(1)
    mask = annx.tensor(rng.standard_normal(x.shape).astype(x.dtype))

    def both(x: annx.Tensor) -> Any:
        for leaf in leaves:
            leaf.grad = None
        y = f(x)
        (y * mask[tuple(slice(n) for n in y.shape)]).sum().backward()
        return y.detach()

    step: Any = annx.jit(both) if jit else both
    annx.manual_seed(7)
    bits = []
    for call in range(3):
        y = step(annx.tensor(x + call))
        bits += [y.numpy().tobytes()] + [leaf.grad.numpy().tobytes() for leaf in leaves]
    lines = step.programs[-1].instructions() if jit else []
    return bits, [line[0] for line in lines], "\n".join(line[1] for line in lines)


def linear(inputs: int, outputs: int, dtype: Any, bias: bool = True) -> nn.Linear:
    return nn.Linear(
        inputs, outputs, bias=bias, dtype=annx.float32 if dtype == np.float32 else annx.float64
    )


def compare(
    layers: list[nn.Module], f: Step, x: np.ndarray[Any, Any], target: str
) -> tuple[list[str], str]:
    before = annx._core.active_target()
    try:
        annx._core.set_target("scalar")
        eager, _, _ = gradients_twice(layers, f, x, False)
        annx._core.set_target(target)
        bits, ops, text = gradients_twice(layers, f, x, True)
    finally:
        annx._core.set_target(before)
    assert bits == eager
    return ops, text


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 5), (3, 64), (2, 7, 33), (70, 100), (300, 128)])
def test_residuals(shape: tuple[int, ...], dtype: Any, target: str) -> None:
    annx.manual_seed(0)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    n = shape[-1]
    first, up, down = (
        linear(n, n, dtype),
        linear(n, 2 * n, dtype),
        linear(2 * n, n, dtype, bias=False),
    )

    def f(x: annx.Tensor) -> annx.Tensor:
        h = first(x)
        return h + down(F.gelu(up(h)))

    ops, text = compare([first, up, down], f, x, target)
    assert ops.count("linear_add") == 1
    # GELU's derivative is multiplied to one gradient, the residual's is added to the other.
    assert "'mul')" in text
    assert "'add')" in text


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_sums_after_an_activation(activation: str) -> None:
    annx.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((37, 50)).astype(np.float32)
    layer = linear(50, 50, np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        return x + getattr(F, activation)(layer(x))

    for target in annx._core.supported_targets():
        # Backward reads the activation's result, so the sum cannot take its place.
        ops, _ = compare([layer], f, x, target)
        assert "linear_add" not in ops


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("norm", ["LayerNorm", "RMSNorm"])
def test_gradients_that_meet_behind_a_norm(norm: str, target: str) -> None:
    annx.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((19, 50)).astype(np.float32)
    first, layer, scale = (
        linear(50, 50, np.float32),
        linear(50, 50, np.float32),
        getattr(nn, norm)(50),
    )

    def f(x: annx.Tensor) -> annx.Tensor:
        h = first(x)
        return h + layer(scale(h))

    ops, _ = compare([first, layer, scale], f, x, target)
    backward = "layer_norm_backward" if norm == "LayerNorm" else "rms_norm_backward"
    assert backward in ops
    assert "add" not in ops


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("shape", [(3, 5), (64, 33), (300, 257)])
def test_residuals_of_dropout(shape: tuple[int, int], target: str) -> None:
    annx.manual_seed(0)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    first, layer = linear(shape[1], shape[1], np.float32), linear(shape[1], shape[1], np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        h = first(x)
        return h + F.dropout(layer(h), 0.3)

    ops, _ = compare([first, layer], f, x, target)
    assert "dropout_mask_by_key" in ops
    assert "add" not in ops


@pytest.mark.parametrize("kind", ["broadcast", "read twice", "later", "itself", "transposed"])
def test_other_sums_stay(kind: str) -> None:
    annx.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((24, 24)).astype(np.float32)
    layer, other = linear(24, 24, np.float32), linear(24, 24, np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        y = layer(x)
        if kind == "broadcast":
            return y + x[:1]
        if kind == "read twice":
            return (y + x) * annx.sin(y)
        if kind == "later":
            # Both terms are made by products: the later one takes the sum.
            return y + other(annx.sin(y.detach()) + x)
        return y + y if kind == "itself" else x.transpose(0, 1) + y

    ops, _ = compare([layer, other][: 1 + (kind == "later")], f, x, annx._core.active_target())
    assert ops.count("linear_add") == (kind == "later")


def test_what_is_written_meanwhile_is_read_before() -> None:
    """A sum with a parameter stays where it is when the parameter changes within the call."""
    annx.manual_seed(0)
    layer = linear(8, 8, np.float32)
    shift = nn.Parameter(annx.tensor(np.ones((4, 8), np.float32)))
    optimizer = annx.optim.SGD([shift, *layer.parameters()], lr=0.5)
    x = annx.tensor(np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32))

    def call() -> annx.Tensor:
        optimizer.zero_grad()
        loss = ((layer(x) + shift) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    start = {k: v.numpy().copy() for k, v in layer.state_dict().items()}
    eager = [call().numpy().tobytes() for _ in range(4)]
    layer.load_state_dict({k: annx.tensor(v) for k, v in start.items()})
    with annx.no_grad():
        shift.copy_(annx.tensor(np.ones((4, 8), np.float32)))
    step = annx.jit(call)
    assert [step().numpy().tobytes() for _ in range(4)] == eager
