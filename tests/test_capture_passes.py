"""Passes over captured calls: what they change in a program, and that the bits stay."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
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


def captured_on(
    target: str, f: Callable[[annx.Tensor], annx.Tensor], x: np.ndarray[Any, Any]
) -> tuple[list[bytes], Any]:
    """``gradient_twice`` captured on a target, with the bits of eager calls on the scalar one."""
    before = annx._core.active_target()
    try:
        annx._core.set_target("scalar")
        eager, _ = gradient_twice(f, x, False)
        annx._core.set_target(target)
        bits, step = gradient_twice(f, x, True)
    finally:
        annx._core.set_target(before)
    assert bits == eager
    return bits, step


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("shape", [(1,), (15,), (3, 7), (64, 33), (300, 257)])
def test_dropout_masks_are_drawn_once(shape: tuple[int, ...], target: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        return annx.sin(F.dropout(annx.tanh(F.dropout(x, 0.3) * 2.0), 0.6))

    bits, step = captured_on(target, f, x)
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


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("kind", ["none", "tanh", "silu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_are_computed_with_the_value(kind: str, dtype: Any, target: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((67, 33)) * 4).astype(dtype)
    x[0, :9] = [0.0, -0.0, np.inf, -np.inf, 30, -30, 1e-30, -1e-40, 13.3]
    scale = annx.tensor(rng.standard_normal((67, 33)).astype(dtype))

    def f(x: annx.Tensor) -> annx.Tensor:
        h = x * 1.5
        return (F.silu(h) if kind == "silu" else F.gelu(h, approximate=kind)) * scale

    _, step = captured_on(target, f, x)
    name = {"none": "gelu_erf", "tanh": "gelu_tanh", "silu": "silu"}[kind]
    assert f"{name}_and_derivative" in names(step)
    assert f"{name}_backward" not in text(step)


@pytest.mark.parametrize("kind", ["read again", "an argument", "forward"])
def test_other_activations_stay(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((9, 20)).astype(np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        h = x if kind == "an argument" else x * 1.5
        if kind == "forward":
            return F.gelu(h.detach()) + x
        return F.gelu(h) * (h if kind == "read again" else x)

    eager, _ = gradient_twice(f, x, False)
    bits, step = gradient_twice(f, x, True)
    assert bits == eager
    assert "gelu_erf_and_derivative" not in text(step)


@pytest.mark.parametrize("target", annx._core.supported_targets())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_of_logits_computes_its_derivative(
    reduction: str, dtype: Any, target: str
) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((67, 33)) * 4).astype(dtype)
    x[0, :7] = [0.0, -0.0, np.inf, 90, -90, 1e-30, -1e-40]
    labels = annx.tensor(rng.random((67, 33)).astype(dtype))

    def f(x: annx.Tensor) -> annx.Tensor:
        return F.binary_cross_entropy_with_logits(x * 1.5, labels, reduction=reduction)

    _, step = captured_on(target, f, x)
    assert "bce_logits_loss_and_derivative" in names(step)
    assert "bce_logits_loss_backward" not in text(step)


@pytest.mark.parametrize("kind", ["broadcast", "labels learn", "read again"])
def test_other_losses_of_logits_stay(kind: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 20)).astype(np.float32)
    labels = annx.tensor(rng.random((1 if kind == "broadcast" else 9, 20)).astype(np.float32))

    def f(x: annx.Tensor) -> annx.Tensor:
        h = x * 1.5
        target = annx.sigmoid(h) if kind == "labels learn" else labels.expand(9, 20)
        loss = F.binary_cross_entropy_with_logits(h, target, reduction="none")
        return loss * h if kind == "read again" else loss

    eager, _ = gradient_twice(f, x, False)
    bits, step = gradient_twice(f, x, True)
    assert bits == eager
    assert "bce_logits_loss_and_derivative" not in text(step)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_gradients_of_slices_are_written_side_by_side(dim: int, dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((6, 12, 9)).astype(dtype)

    def f(x: annx.Tensor) -> annx.Tensor:
        a, b, c = annx.chunk(x * 2.0, 3, dim)
        # A gradient of -0 becomes 0 where zeros are added to it.
        return a * b.transpose(0, 1).exp().transpose(0, 1) + c * (annx.sin(a.detach()) * -0.0)

    eager, _ = gradient_twice(f, x, False)
    bits, step = gradient_twice(f, x, True)
    assert bits == eager
    assert "slices_backward" in names(step)
    assert "slice_backward" not in names(step)


@pytest.mark.parametrize("kind", ["gap", "overlap", "step", "twice", "many", "with others"])
def test_slices_of_other_kinds(kind: str) -> None:
    x = np.random.default_rng(0).standard_normal((5, 24)).astype(np.float32)

    def f(x: annx.Tensor) -> annx.Tensor:
        h = annx.tanh(x)
        if kind == "gap":
            return h[:, 2:7].sin() * h[:, 9:14]
        if kind == "overlap":
            return h[:, 2:7] * h[:, 6:11]
        if kind == "step":
            return h[:, 0:10:2] * h[:, 10:15].sin()
        if kind == "twice":
            return h[:, 2:7] * h[:, 2:7]
        if kind == "many":
            y = h[:, 0:2].sin()
            for k in range(1, 12):
                y = y * h[:, 2 * k : 2 * k + 2]
            return y
        return h[:, :12].sin() * h[:, 12:] * h.sum(1, keepdim=True)

    eager, _ = gradient_twice(f, x, False)
    bits, step = gradient_twice(f, x, True)
    assert bits == eager
    joined = "slices_backward" in text(step)
    assert joined == (kind in ("gap", "many"))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kind", ["time", "heads", "shared", "zero", "along time", "gap", "read again", "another op"]
)
def test_gradients_are_made_where_they_stand_side_by_side(kind: str, dtype: Any) -> None:
    batch, steps, heads, width = 2, 37, 4, 5
    wide = 7 if kind == "gap" else 3
    shape = (batch, steps, wide * heads * width)
    if kind in ("heads", "along time"):
        shape = (batch, heads, 3 * steps, width)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)

    def f(x: annx.Tensor) -> annx.Tensor:
        y = x * 2.0
        if kind in ("heads", "along time"):
            parts = y.chunk(3, 2)
        else:
            sizes = [heads, heads, heads] if kind != "shared" else [8, 2, 2]
            ends = np.cumsum([0, *sizes]) * width
            views = [y[..., int(a) : int(b)] for a, b in pairwise(ends)]
            parts = [v.reshape(batch, steps, -1, width).transpose(1, 2) for v in views]
        q, k, v = parts
        more = q * q if kind == "read again" else 0.0
        if kind == "another op":
            k = k.exp()
        scale = -0.5 if kind == "zero" else None
        z = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=kind == "shared"
        )
        # Zeros times a negative scale are -0, to which autograd adds zeros.
        return z * 0.0 if kind == "zero" else z.sin() + more

    eager, _ = gradient_twice(f, x, False)
    bits, step = gradient_twice(f, x, True)
    assert bits == eager
    stays = kind in ("gap", "read again", "another op")
    assert ("slices_backward" in text(step)) == stays


ACTIVATIONS: dict[str, Callable[[annx.Tensor], annx.Tensor]] = {
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "tanh": F.tanh,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}
# What makes the activation's input, and the shape that it takes.
HOSTS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "pointwise": (lambda: nn.Conv2d(6, 19, 1), (3, 6, 7, 5)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, groups=6), (3, 6, 7, 5)),
    "winograd": (lambda: nn.Conv2d(16, 32, 3, padding=1), (2, 16, 9, 8)),
    "strided": (lambda: nn.Conv1d(5, 9, 3, stride=2, bias=False), (4, 5, 21)),
    "volume": (lambda: nn.Conv3d(3, 4, 2, groups=1), (2, 3, 4, 5, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(6, 5, 3, stride=2), (2, 6, 5, 4)),
    "transposed in groups": (lambda: nn.ConvTranspose2d(6, 4, 2, groups=2), (2, 6, 5, 4)),
    "batch norm": (lambda: nn.BatchNorm2d(5), (3, 5, 6, 7)),
    "batch norm of rows": (lambda: nn.BatchNorm1d(21), (40, 21)),
    "batch norm, evaluated": (lambda: nn.BatchNorm1d(21).eval(), (40, 21)),
    "group norm": (lambda: nn.GroupNorm(2, 6), (3, 6, 5, 3)),
    "instance norm": (lambda: nn.InstanceNorm1d(3, track_running_stats=True), (2, 3, 33)),
    "layer norm": (lambda: nn.LayerNorm(33), (700, 33)),
    "rms norm": (lambda: nn.RMSNorm(33), (7, 33)),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_are_computed_by_what_makes_their_input(host: str, dtype: Any) -> None:
    make, shape = HOSTS[host]
    module = make().to(annx.as_tensor(np.zeros(1, dtype)).dtype)
    # Row-major and channels-last memory; values that clamp, and ones that are no numbers.
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    rest = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    odd = x.copy()
    odd[-1].flat[0], odd[0].flat[-1] = np.nan, np.inf
    last = annx.tensor(rest).permute(0, len(shape) - 1, *range(1, len(shape) - 1))
    before = annx._core.active_target()
    for name, activation in ACTIVATIONS.items():
        for given in (annx.tensor(x), last, annx.tensor(odd)):
            bits, missing = set(), set()
            for target in annx._core.supported_targets():
                annx._core.set_target(target)
                try:
                    step = annx.jit(lambda x, f=activation: f(module(x)).detach())
                    for call in (lambda x, f=activation: f(module(x)).detach(), step, step):
                        y = call(given).numpy()
                        bits.add(np.where(np.isnan(y), dtype(0), y).tobytes())
                        missing.add(np.isnan(y).tobytes())
                finally:
                    annx._core.set_target(before)
            assert len(bits) == len(missing) == 1, name
            assert f"'{name}'" in text(step), name


@pytest.mark.parametrize("host", HOSTS)
def test_their_gradients_keep_their_bits(host: str) -> None:
    make, shape = HOSTS[host]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for jit in (False, True):
        annx.manual_seed(0)
        module = make()
        f, step = gradient_twice(lambda x, m=module: F.relu(m(x)), x, jit)
        results.append((f, [b.numpy().tobytes() for b in module.buffers()]))
    assert results[0] == results[1]
    assert "'relu'" in text(step)


def test_an_input_that_is_read_again_stays() -> None:
    module = nn.Conv2d(3, 4, 3)

    @annx.jit
    def step(x: annx.Tensor) -> annx.Tensor:
        y = module(x)
        return (F.relu(y) + y.amax(1, keepdim=True)).detach()

    x = annx.randn(2, 3, 6, 6)
    assert step(x).numpy().tobytes() == step(x).numpy().tobytes()
    assert "'relu'" not in text(step)
