"""Linear's gradients in one call against the same gradients op by op, and against NumPy."""

from __future__ import annotations

import annx
import numpy as np
import pytest
from annx import _core, nn

ACTIVATIONS = ["none", "relu", "sigmoid", "tanh", "gelu", "gelu_tanh", "silu"]
SHAPES = [(7,), (5, 7), (2, 3, 7), (130, 7), (300, 33), (0, 7)]


def gradients(
    arrays: list[np.ndarray], seed: np.ndarray, activation: str, create_graph: bool
) -> list[np.ndarray]:
    x, w, b = (annx.tensor(a, requires_grad=True) for a in arrays)
    y = _core.ops.linear(x, w, b, activation=activation)
    grads = annx.autograd.grad((y * annx.tensor(seed)).sum(), [x, w, b], create_graph=create_graph)
    return [g.detach().numpy() for g in grads if g is not None]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_fused_and_unfused_agree(shape: tuple[int, ...], activation: str) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in (shape, (20, shape[-1]), (20,))]
    seed = rng.standard_normal((*shape[:-1], 20)).astype(np.float32)
    fused = gradients(arrays, seed, activation, create_graph=False)
    unfused = gradients(arrays, seed, activation, create_graph=True)
    np.testing.assert_array_equal(fused[0], unfused[0])
    np.testing.assert_array_equal(fused[1], unfused[1])
    # The sum over rows has its own order.
    np.testing.assert_allclose(fused[2], unfused[2], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_pieces_of_rows_agree(activation: str) -> None:
    """A large gradient is made and used a few rows at a time, on one thread or more."""
    rng = np.random.default_rng(4)
    shapes = ((1100, 9), (512, 9), (512,))
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    seed = rng.standard_normal((1100, 512)).astype(np.float32)
    threads = annx.get_num_threads()
    fused = gradients(arrays, seed, activation, create_graph=False)
    try:
        annx.set_num_threads(3)
        again = gradients(arrays, seed, activation, create_graph=False)
    finally:
        annx.set_num_threads(threads)
    unfused = gradients(arrays, seed, activation, create_graph=True)
    for one, other in zip(fused, again, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(fused[0], unfused[0])
    np.testing.assert_array_equal(fused[1], unfused[1])
    np.testing.assert_allclose(fused[2], unfused[2], rtol=1e-5, atol=1e-3)


def test_only_what_is_needed() -> None:
    rng = np.random.default_rng(2)
    x = annx.tensor(rng.standard_normal((6, 4)))
    w = annx.tensor(rng.standard_normal((3, 4)), requires_grad=True)
    _core.ops.linear(x, w, activation="tanh").sum().backward()
    assert x.grad is None
    y = np.tanh(x.numpy() @ w.detach().numpy().T)
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.numpy(), (1 - y * y).T @ x.numpy(), rtol=1e-12)


def test_strided_input_and_broadcast_gradient() -> None:
    rng = np.random.default_rng(3)
    x = annx.tensor(rng.standard_normal((4, 150)), requires_grad=True)
    layer = nn.Linear(4, 5).to(annx.float64)
    layer(x.transpose(0, 1)).sum().backward()
    ones = np.ones((150, 5))
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert layer.bias is not None
    assert layer.bias.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), (ones @ layer.weight.detach().numpy()).T, rtol=1e-12)
    np.testing.assert_allclose(layer.weight.grad.numpy(), ones.T @ x.detach().numpy().T, rtol=1e-9)
    np.testing.assert_array_equal(layer.bias.grad.numpy(), np.full(5, 150.0))


LAYERS = {
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "silu": nn.SiLU,
}


@pytest.mark.parametrize("activation", LAYERS)
def test_captured_step_folds_the_activations_gradient(activation: str) -> None:
    """The gradients of Linear and its activation are one call, with the bits of two.

    Those whose derivative shares its exponentials with the value keep it instead.
    """

    def gradients(capture: bool) -> tuple[list[bytes], str]:
        annx.manual_seed(3)
        net = nn.Sequential(
            nn.Linear(9, 24), LAYERS[activation](), nn.Linear(24, 17), LAYERS[activation]()
        )
        xs = [np.random.default_rng(i).standard_normal((150, 9)) for i in range(3)]

        def step(x: annx.Tensor) -> annx.Tensor:
            net.zero_grad()
            y = net(x)
            loss = (y * y).mean()
            loss.backward()
            return loss

        run = annx.jit(step) if capture else step
        bits = []
        for x in xs:
            bits.append(run(annx.tensor(x.astype(np.float32))).detach().numpy().tobytes())
            for p in net.parameters():
                assert p.grad is not None
                bits.append(p.grad.numpy().tobytes())
        return bits, "".join(p.explain() for p in run.programs) if capture else ""

    captured, text = gradients(True)
    assert captured == gradients(False)[0]
    if activation in ("gelu", "gelu_tanh", "silu"):
        assert "2 ops keep theirs for the gradient" in text
    else:
        assert "2 gradients of activations computed by linear's" in text
    assert f"{activation}_backward" not in text


def test_a_gradient_with_two_readers_stays() -> None:
    rng = np.random.default_rng(5)
    x = annx.tensor(rng.standard_normal((12, 6)).astype(np.float32))
    bias = annx.zeros(8, requires_grad=True)
    layer = nn.Linear(6, 8)

    def step(x: annx.Tensor) -> annx.Tensor:
        layer.zero_grad()
        bias.grad = None
        loss = ((layer(x) + bias).relu() * 2.0).sum()
        loss.backward()
        return loss

    captured = annx.jit(step)
    for run in (step, captured, captured):
        run(x)
        want = ((layer(x).detach() > 0).float() * 2.0).sum(0)
        assert layer.bias is not None
        assert layer.bias.grad is not None
        assert bias.grad is not None
        np.testing.assert_array_equal(layer.bias.grad.numpy(), want.numpy())
        np.testing.assert_array_equal(bias.grad.numpy(), want.numpy())


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_gradients_of_no_rows_are_zero(activation: str) -> None:
    full = annx.full((64, 64), 7.0)  # memory that is used again
    del full
    weight, bias = annx.rand(64, 64, requires_grad=True), annx.rand(64, requires_grad=True)
    x = annx.zeros(0, 64, requires_grad=True)
    _core.ops.linear(x, weight, bias, activation=activation).sum().backward()
    assert weight.grad is not None
    assert bias.grad is not None
    assert not weight.grad.numpy().any()
    assert not bias.grad.numpy().any()


@pytest.mark.parametrize(("inputs", "outputs"), [(7, 0), (0, 5), (0, 0)])
@pytest.mark.parametrize("rows", [(3,), (2, 3), (2, 0, 3)])
def test_layers_without_inputs_or_outputs(rows: tuple[int, ...], inputs: int, outputs: int) -> None:
    """-1 cannot say how many rows an empty matrix has."""
    x = annx.ones((*rows, inputs), requires_grad=True)
    w, b = annx.ones((outputs, inputs), requires_grad=True), annx.ones(outputs, requires_grad=True)
    for y in (_core.ops.linear(x, w, b), x @ w.transpose(0, 1)):
        for leaf in (x, w, b):
            leaf.grad = None
        y.sum().backward()
        assert y.shape == (*rows, outputs)
        assert x.grad is not None
        assert w.grad is not None
        assert (x.grad.shape, w.grad.shape) == (x.shape, w.shape)
        assert not np.any(x.grad.numpy() - outputs)
