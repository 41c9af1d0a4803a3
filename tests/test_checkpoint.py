"""annx.checkpoint: the same bits for less memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import _core, nn, optim
from annx.nn import functional as F
from annx.utils.checkpoint import checkpoint, checkpoint_sequential


def x_of(*shape: int, seed: int = 0) -> annx.Tensor:
    data = np.random.default_rng(seed).standard_normal(shape)
    return annx.tensor(data.astype(np.float32))


def bits(tree: Any) -> list[bytes]:
    leaves = annx.pytree.leaves(tree)
    return [x.detach().numpy().tobytes() if isinstance(x, annx.Tensor) else x for x in leaves]


class Block(nn.Module):
    """A feed-forward block with dropout and a residual."""

    def __init__(self, width: int, p: float = 0.3) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.drop = nn.Dropout(p)

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        return x + self.drop(self.down(F.gelu(self.up(self.norm(x)))))


class Stack(nn.Module):
    def __init__(self, blocks: list[nn.Module], use: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.use = use

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.use else block(x)
        return x


STACKS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "feed_forward": (lambda: [Block(8) for _ in range(3)], (5, 8)),
    "transformer": (
        lambda: [
            nn.TransformerEncoderLayer(16, 4, 32, dropout=0.2, batch_first=True) for _ in range(2)
        ],
        (3, 7, 16),
    ),
    "convolution": (
        lambda: [
            nn.Sequential(
                nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.2)
            )
            for _ in range(3)
        ],
        (3, 4, 6, 6),
    ),
    "norms": (
        lambda: [
            nn.Sequential(
                nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
                nn.BatchNorm1d(4, momentum=None),
                nn.GroupNorm(2, 4),
                nn.Tanh(),
            )
        ],
        (3, 4, 9),
    ),
    "recurrent": (lambda: [First(nn.GRU(6, 6)), First(nn.LSTM(6, 6))], (5, 2, 6)),
}


class First(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        return self.layer(x)[0]


def train(name: str, use: bool, capture: bool) -> list[bytes]:
    annx.manual_seed(5)
    blocks, shape = STACKS[name]
    net = Stack(blocks(), use)
    opt = optim.Adam(net.parameters(), lr=0.01)

    def step(x: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        loss = (net(x * 1.5).square() + annx.rand(1)).mean()
        loss.backward()
        opt.step()
        return loss

    run = annx.jit(step) if capture else step
    losses = [run(x_of(*shape, seed=k)) for k in range(4)]
    if capture:
        assert run.captures == 1
    grads = [p.grad for p in net.parameters()]
    return [*bits([losses, net.state_dict(), grads]), repr(annx.get_rng_state()).encode()]


@pytest.mark.parametrize("name", STACKS)
def test_trainings_have_the_same_bits(name: str) -> None:
    plain = train(name, use=False, capture=False)
    assert train(name, use=True, capture=False) == plain
    assert train(name, use=True, capture=True) == plain


def test_fit_captures_it() -> None:
    def fit(use: bool) -> list[bytes]:
        annx.manual_seed(4)
        net = nn.Sequential(Stack([Block(8) for _ in range(2)], use), nn.Linear(8, 1))
        net.compile(optimizer="adam", loss="mse")
        net.fit(x_of(40, 8).numpy(), x_of(40, 1).numpy(), batch_size=8, epochs=3, verbose=0)
        assert net._compiled is not None
        assert all(step.reason is None for step in net._compiled.steps.values())
        return bits(net.state_dict())

    assert fit(True) == fit(False)


def gradients(function: Callable[..., Any], use: bool, *args: annx.Tensor) -> list[bytes]:
    annx.manual_seed(1)
    leaves = [a.detach().requires_grad_() for a in args]
    out = checkpoint(function, *leaves) if use else function(*leaves)
    out.sum().backward()
    return bits([out, *[leaf.grad for leaf in leaves]])


def test_functions_within_functions() -> None:
    def inner(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        return annx.tanh(x * y) * F.dropout(annx.exp(y * 0.1), 0.5)

    def middle(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        a = annx.sigmoid(x) * y
        b = checkpoint(inner, a, y)
        return checkpoint(inner, b, a * F.dropout(x, 0.2)) + b

    def outer(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        return checkpoint(middle, annx.sin(x), y) * checkpoint(middle, y, annx.cos(x))

    def plain(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
        def middle(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
            a = annx.sigmoid(x) * y
            b = inner(a, y)
            return inner(b, a * F.dropout(x, 0.2)) + b

        return middle(annx.sin(x), y) * middle(y, annx.cos(x))

    x, y = x_of(6, 5), x_of(6, 5, seed=1)
    assert gradients(outer, True, x, y) == gradients(plain, False, x, y)


def test_trees_keywords_and_values_that_need_no_gradient() -> None:
    def f(tree: dict[str, Any], *, scale: float, index: annx.Tensor) -> dict[str, Any]:
        a, b = tree["a"], tree["b"][0]
        return {"sum": (annx.exp(a) * scale)[index] + b, "parts": (a * b[0], index + 1), "n": 3}

    def run(use: bool) -> list[Any]:
        a, b = x_of(4).requires_grad_(), x_of(3, seed=1)
        index = annx.tensor([0, 2, 2])
        tree = {"a": a, "b": [b]}
        out = (
            checkpoint(f, tree, scale=0.5, index=index) if use else f(tree, scale=0.5, index=index)
        )
        (out["sum"].sum() + out["parts"][0].prod()).backward()
        return bits([out, a.grad])

    assert run(True) == run(False)


def test_gradients_of_higher_order() -> None:
    w = x_of(4, 4, seed=3)

    def f(x: annx.Tensor) -> annx.Tensor:
        return annx.tanh(annx.exp(annx.sin(x @ w)) * annx.softmax(x, -1))

    def run(g: Callable[..., annx.Tensor]) -> list[bytes]:
        x = x_of(3, 4).requires_grad_()
        (first,) = annx.autograd.grad(g(x).square().sum(), x, create_graph=True)
        (second,) = annx.autograd.grad(first.square().sum(), x, create_graph=True)
        second.sum().backward()
        return bits([first, second, x.grad])

    assert run(lambda x: checkpoint(f, x)) == run(f)
    nested = annx.grad(annx.grad(lambda x: checkpoint(lambda x: annx.sin(x) * x, x)))
    plain = annx.grad(annx.grad(lambda x: annx.sin(x) * x))
    assert bits(nested(annx.tensor(0.7))) == bits(plain(annx.tensor(0.7)))


def test_the_graph_may_be_kept() -> None:
    def run(use: bool) -> list[bytes]:
        annx.manual_seed(2)
        x = x_of(5, 8).requires_grad_()
        block = Block(8)
        loss = (checkpoint(block, x) if use else block(x)).square().sum()
        for _ in range(3):
            loss.backward(retain_graph=True)
        loss.backward()
        return bits([x.grad, *[p.grad for p in block.parameters()]])

    assert run(True) == run(False)


def test_a_gradient_inside_of_the_function() -> None:
    def f(x: annx.Tensor) -> annx.Tensor:
        y = annx.exp(annx.sin(x))
        (g,) = annx.autograd.grad(y.sum(), x, create_graph=True)
        return g.square() + F.dropout(y, 0.3)

    assert gradients(f, True, x_of(4)) == gradients(f, False, x_of(4))


def test_hooks_run_once_and_gradients_add_up() -> None:
    layer = nn.Linear(4, 4)
    seen: list[bytes] = []
    layer.weight.register_hook(lambda g: seen.append(g.numpy().tobytes()))
    x = x_of(3, 4)

    def f(x: annx.Tensor) -> annx.Tensor:
        return layer(annx.tanh(layer(x)))

    f(x).sum().backward()
    want = layer.weight.grad
    layer.weight.grad = None
    for _ in range(2):
        checkpoint(f, x).sum().backward()
    assert len(seen) == 3
    assert len(set(seen)) == 1
    np.testing.assert_array_equal(layer.weight.grad.numpy(), (want * 2).numpy())


def test_where_no_gradient_is_recorded_it_is_the_plain_call() -> None:
    calls: list[bool] = []

    def f(x: annx.Tensor) -> annx.Tensor:
        calls.append(annx.is_grad_enabled())
        return annx.exp(annx.exp(x))

    x = x_of(3).requires_grad_()
    with annx.no_grad():
        y = checkpoint(f, x)
    assert not y.requires_grad
    checkpoint(f, x_of(3))  # nothing to differentiate: nothing runs again
    assert calls == [False, True]
    checkpoint(f, x).sum().backward()
    assert calls == [False, True, True, True]


def test_the_second_run_may_draw_anew() -> None:
    masks: list[bytes] = []

    def f(x: annx.Tensor) -> annx.Tensor:
        y = F.dropout(annx.exp(x), 0.5)
        masks.append(y.detach().numpy().tobytes())
        return y * y

    for keep in (True, False):
        masks.clear()
        annx.manual_seed(0)
        checkpoint(f, annx.ones(64, requires_grad=True), preserve_rng_state=keep).sum().backward()
        assert (masks[0] == masks[1]) is keep


def test_random_numbers_of_captured_calls_and_seeds_inside() -> None:
    noise = annx.jit(lambda x: x + annx.randn(5))

    def f(x: annx.Tensor) -> annx.Tensor:
        annx.manual_seed(3)
        return annx.exp(x * noise(annx.zeros(5)) * annx.rand(5))

    for _ in range(2):
        assert gradients(f, True, x_of(5)) == gradients(f, False, x_of(5))
        drawn = annx.get_rng_state()
        assert drawn[0] == 3


def peak(run: Callable[[], Any]) -> int:
    run()
    _core.reset_peak_stats()
    before = _core.allocator_stats()["current_bytes"]
    run()
    return int(_core.allocator_stats()["peak_bytes"] - before)


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
@pytest.mark.parametrize("capture", [False, True])
def test_less_memory(kind: str, capture: bool) -> None:
    depth = 12

    def build(use: bool) -> Callable[[], Any]:
        annx.manual_seed(0)
        if kind == "mlp":
            blocks: list[nn.Module] = [Block(16) for _ in range(depth)]
            x = x_of(256, 16)
        else:
            blocks = [nn.TransformerEncoderLayer(16, 2, 64, batch_first=True) for _ in range(depth)]
            x = x_of(8, 32, 16)
        net = Stack(blocks, use)

        def step(x: annx.Tensor) -> annx.Tensor:
            loss = net(x).square().mean()
            for p in net.parameters():
                p.grad = None
            loss.backward()
            return loss

        run = annx.jit(step) if capture else step
        if capture:
            run(x)
            sizes[use] = run.programs[0].sizes()["arena_bytes"]
        return lambda: run(x)

    sizes: dict[bool, int] = {}
    plain, less = peak(build(False)), peak(build(True))
    if capture:
        assert sizes[True] < 0.35 * sizes[False]
    else:
        assert less < 0.5 * plain


def test_nested_checkpoints_take_less_memory_than_one_level() -> None:
    def chain(x: annx.Tensor, n: int) -> annx.Tensor:
        for _ in range(n):
            x = annx.sin(annx.exp(annx.tanh(x)))
        return x

    def halves(x: annx.Tensor, n: int) -> annx.Tensor:
        if n == 1:
            return chain(x, 1)
        return checkpoint(halves, checkpoint(halves, x, n // 2), n // 2)

    x = x_of(4096).requires_grad_()

    def run(f: Callable[..., annx.Tensor]) -> bytes:
        x.grad = None
        f(x, 32).sum().backward()
        return x.grad.numpy().tobytes()

    assert run(chain) == run(halves)
    plain, one = peak(lambda: run(chain)), peak(lambda: run(lambda x, n: checkpoint(chain, x, n)))
    nested = peak(lambda: run(halves))
    assert nested < 0.3 * one
    assert nested < 0.3 * plain


def test_sequential() -> None:
    net = nn.Sequential(*[nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(7)])
    calls = [0] * 7
    for k, layer in enumerate(net):
        layer.register_forward_hook(lambda *_, k=k: calls.__setitem__(k, calls[k] + 1))

    def run(f: Callable[[annx.Tensor], annx.Tensor]) -> list[bytes]:
        net.zero_grad()
        x = x_of(3, 6).requires_grad_()
        f(x).sum().backward()
        return bits([x.grad, *[p.grad for p in net.parameters()]])

    want = run(net)
    for segments, twice in ((1, 0), (2, 3), (3, 4), (7, 6)):
        calls[:] = [0] * 7
        assert run(lambda x, s=segments: checkpoint_sequential(net, s, x)) == want
        assert calls == [2] * twice + [1] * (7 - twice)
    assert run(lambda x: checkpoint_sequential(list(net), 3, x, use_reentrant=False)) == want
    with pytest.raises(ValueError, match="between 1 and 7, the number of functions, but got 8"):
        checkpoint_sequential(net, 8, x_of(3, 6))


def test_a_second_run_that_differs_is_an_error() -> None:
    runs: list[int] = []

    def swaps(x: annx.Tensor) -> annx.Tensor:
        runs.append(1)
        y = annx.exp(x)
        return annx.sin(y) if len(runs) % 2 else annx.cos(y)

    def grows(x: annx.Tensor) -> annx.Tensor:
        runs.append(1)
        y = annx.sin(annx.exp(x))
        return y if len(runs) % 2 else annx.exp(y)

    def shrinks(x: annx.Tensor) -> annx.Tensor:
        runs.append(1)
        y = annx.sin(annx.exp(x))
        return annx.exp(annx.sin(y)) if len(runs) % 2 else y

    def reshapes(x: annx.Tensor) -> annx.Tensor:
        runs.append(1)
        return annx.sin(annx.exp(x[: 2 + len(runs) % 2]))

    for f, what in (
        (swaps, "cos instead of sin"),
        (grows, "more ops"),
        (shrinks, "fewer ops"),
        (reshapes, r"shape .2.* instead of .3"),
    ):
        runs.clear()
        loss = checkpoint(f, x_of(3).requires_grad_()).sum()
        with pytest.raises(RuntimeError, match=rf"\[checkpoint\] expected the function .*{what}"):
            loss.backward()


def test_an_argument_written_to_is_an_error() -> None:
    x, scale = x_of(3).requires_grad_(), annx.ones(3)
    loss = checkpoint(lambda x, s: annx.sin(annx.exp(x + s)), x, scale).sum()
    scale.fill_(2.0)
    with pytest.raises(RuntimeError, match=r"\[checkpoint\] expected argument 1 to be unchanged"):
        loss.backward()


def test_an_error_in_the_second_run_comes_through() -> None:
    runs: list[int] = []

    def f(x: annx.Tensor) -> annx.Tensor:
        runs.append(1)
        if len(runs) == 2:
            raise KeyError("second")
        return annx.sin(annx.exp(x))

    x = x_of(3).requires_grad_()
    loss = checkpoint(f, x).sum()
    with pytest.raises(KeyError, match="second"):
        loss.backward(retain_graph=True)
    loss.backward()
    want = x_of(3).requires_grad_()
    annx.sin(annx.exp(want)).sum().backward()
    assert bits(x.grad) == bits(want.grad)


def test_no_function_is_an_error() -> None:
    with pytest.raises(TypeError, match=r"\[checkpoint\] expected a function but got int"):
        checkpoint(3, x_of(2))  # type: ignore[arg-type]


def test_nothing_is_kept_after_the_gradient() -> None:
    x = x_of(2, 4).requires_grad_()

    def run() -> tuple[annx.Tensor, weakref.ref[nn.Linear]]:
        layer = nn.Linear(4, 4)
        return checkpoint(lambda x: annx.tanh(layer(x)), x), weakref.ref(layer)

    y, layer = run()
    gc.collect()
    assert layer() is not None
    y.sum().backward()
    gc.collect()
    assert layer() is None
    assert y.requires_grad
