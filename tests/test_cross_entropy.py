"""Cross-entropy keeps its gradient from the forward pass: every way to ask for it is right."""

from __future__ import annotations

import itertools

import annx
import numpy as np
import pytest
from annx.nn import functional as F


def reference(
    x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, ignore: int, smoothing: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Loss of every row, its gradient, and what 'mean' divides by, in float64."""
    classes = x.shape[1]
    q = np.full(x.shape, smoothing / classes)
    kept = y != ignore
    q[kept, y[kept]] += 1 - smoothing
    w = np.ones(classes) if weight is None else weight
    q *= w
    q[~kept] = 0
    shifted = x - x.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    grad = np.exp(log_p) * q.sum(axis=1, keepdims=True) - q
    return -(q * log_p).sum(axis=1), grad, float(w[y[kept]].sum())


@pytest.mark.parametrize(
    ("shape", "reduction", "weighted", "smoothing"),
    list(
        itertools.product(
            [(1, 1), (3, 10), (33, 16), (17, 17), (5, 1000)],
            ["mean", "sum", "none"],
            [False, True],
            [0.0, 0.1],
        )
    ),
)
def test_gradient_kept_from_forward(
    shape: tuple[int, int], reduction: str, weighted: bool, smoothing: float
) -> None:
    rng = np.random.default_rng(shape[0] * 7 + shape[1])
    rows, classes = shape
    data = rng.normal(scale=3, size=shape).astype(np.float32)
    y = rng.integers(0, classes, rows)
    if rows > 2:
        y[1] = -100
    weight = rng.uniform(0.5, 2, classes).astype(np.float32) if weighted else None
    wide = None if weight is None else weight.astype(np.float64)
    loss, grad, divisor = reference(data.astype(np.float64), y, wide, -100, smoothing)
    scale = 1 / divisor if reduction == "mean" else 1.0
    expected = loss if reduction == "none" else loss.sum() * scale

    def run(x: annx.Tensor) -> annx.Tensor:
        w = None if weight is None else annx.tensor(weight)
        return F.cross_entropy(x, annx.tensor(y), w, reduction=reduction, label_smoothing=smoothing)

    x = annx.tensor(data, requires_grad=True)
    out = run(x)
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=2e-5, atol=2e-6)
    with annx.no_grad():
        assert run(x).numpy().tobytes() == out.detach().numpy().tobytes()
    seed = rng.normal(size=rows).astype(np.float32) if reduction == "none" else np.float32(1)
    rows_scale = np.reshape(seed, (-1, 1)) * scale
    if reduction == "none":
        out.backward(annx.tensor(seed))
    else:
        out.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), grad * rows_scale, rtol=2e-5, atol=1e-6)


def test_scaled_loss_and_two_passes() -> None:
    rng = np.random.default_rng(0)
    x = annx.tensor(rng.normal(size=(6, 4)).astype(np.float32), requires_grad=True)
    y = annx.tensor(rng.integers(0, 4, 6))
    loss = F.cross_entropy(x, y)
    (once,) = annx.autograd.grad(loss, [x], retain_graph=True)
    kept = once.numpy().copy()
    (scaled,) = annx.autograd.grad(loss * 3.0, [x], retain_graph=True)
    np.testing.assert_allclose(scaled.numpy(), 3 * kept, rtol=1e-6)
    (seeded,) = annx.autograd.grad(loss, [x], [annx.tensor(0.5)], retain_graph=True)
    np.testing.assert_allclose(seeded.numpy(), 0.5 * kept, rtol=1e-6)
    np.testing.assert_array_equal(once.numpy(), kept)
    loss.backward(retain_graph=True)
    loss.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 2 * kept, rtol=1e-6)


def test_hook_that_writes_into_the_seed() -> None:
    x = annx.tensor([[1.0, 2.0, 4.0]], requires_grad=True)
    y = annx.tensor([1])
    (plain,) = annx.autograd.grad(F.cross_entropy(x, y), [x])
    loss = F.cross_entropy(x, y)

    def double(grad: annx.Tensor) -> None:
        grad.fill_(2.0)

    loss.register_hook(double)
    loss.backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 2 * plain.numpy(), rtol=1e-6)


def test_every_row_ignored() -> None:
    x = annx.tensor(np.ones((3, 5), np.float32), requires_grad=True)
    loss = F.cross_entropy(x, annx.tensor([-100, -100, -100]))
    assert np.isnan(loss.item())
    loss.backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.zeros((3, 5), np.float32))


def test_logits_of_minus_infinity() -> None:
    data = np.array([[0.0, -np.inf, 1.0], [-200.0, 0.0, -87.5]], np.float32)
    x = annx.tensor(data, requires_grad=True)
    loss = F.cross_entropy(x, annx.tensor([2, 1]), reduction="sum")
    loss.backward()
    p = np.exp(data.astype(np.float64) - data.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    assert x.grad is not None
    np.testing.assert_allclose(loss.item(), -np.log(p[0, 2]) - np.log(p[1, 1]), rtol=1e-6)
    p[[0, 1], [2, 1]] -= 1
    np.testing.assert_allclose(x.grad.numpy(), p, rtol=1e-6, atol=1e-30)
