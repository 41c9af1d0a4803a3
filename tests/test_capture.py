"""A captured step gives the bits of the eager one, for every module, optimizer and schedule."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import annx
import numpy as np
import pytest
from annx import Tensor, nn, optim, pytree
from annx.nn import functional as F

STEPS = 10


def batches(shape: tuple[int, ...], steps: int = STEPS, seed: int = 0) -> list[annx.Tensor]:
    rng = np.random.default_rng(seed)
    return [annx.tensor(rng.standard_normal(shape).astype(np.float32)) for _ in range(steps)]


def bits(tree: Any) -> list[bytes]:
    return [
        leaf.detach().numpy().tobytes() if isinstance(leaf, annx.Tensor) else repr(leaf).encode()
        for leaf in annx.pytree.leaves(tree)
    ]


def state_bits(optimizer: optim.Optimizer) -> list[bytes]:
    return bits([list(s.values()) for s in optimizer.state_dict()["state"].values()])


def train(
    capture: bool,
    model: Callable[[], nn.Module],
    optimizer: Callable[[Any], optim.Optimizer],
    xs: list[annx.Tensor],
    schedule: Callable[[Any], Any] | None = None,
    clip: float | None = None,
) -> list[bytes]:
    """Losses, parameters, gradients and optimizer state of a training."""
    annx.manual_seed(7)
    net = model()
    opt = optimizer(net.parameters())
    sched = schedule(opt) if schedule else None

    def step(x: annx.Tensor) -> annx.Tensor:
        opt.zero_grad()
        out = net(x)
        loss = (out * out).mean() + (out * 0.3).sum()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        opt.step()
        if sched is not None:
            sched.step()
        return loss

    run = annx.jit(step) if capture else step
    losses = [run(x) for x in xs]
    if capture:
        shapes = {x.shape for x in xs}
        assert run.captures == len(shapes)
    grads = [p.grad for p in net.parameters()]
    return bits(losses) + bits(net.state_dict()) + bits(grads) + state_bits(opt)


def both(*args: Any, **kwargs: Any) -> None:
    assert train(True, *args, **kwargs) == train(False, *args, **kwargs)


ACTIVATIONS = [
    "ReLU LeakyReLU PReLU ELU SELU SiLU GELU Softplus Mish Hardswish Sigmoid Tanh".split(),
]

MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (5, 6)),
    "batch_norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8)), (5, 6)),
    "layer_norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8)), (5, 6)),
    "dropout": (lambda: nn.Sequential(nn.Linear(6, 64), nn.Dropout(0.4)), (5, 6)),
    "two_dropouts": (
        lambda: nn.Sequential(
            nn.Dropout(0.2), nn.Linear(6, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 3)
        ),
        (5, 6),
    ),
    "mlp": (
        lambda: nn.Sequential(
            nn.Linear(10, 64),
            nn.ReLU(),
            nn.BatchNorm1d(64),
            nn.Dropout(0.2),
            nn.Linear(64, 32),
            nn.GELU(),
            nn.Linear(32, 1),
        ),
        (32, 10),
    ),
    "flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Softmax(-1)), (4, 3, 4)),
    "log_softmax": (lambda: nn.Sequential(nn.Linear(6, 5), nn.LogSoftmax(-1)), (5, 6)),
    **{
        name: (
            lambda name=name: nn.Sequential(
                nn.Linear(6, 40), getattr(nn, name)(), nn.Linear(40, 3)
            ),
            (7, 6),
        )
        for name in ACTIVATIONS[0]
    },
}


class First(nn.Module):
    """The output of a recurrent layer without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: annx.Tensor) -> annx.Tensor:
        return self.layer(x)[0]


MODELS |= {
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3),
            nn.GroupNorm(4, 16),
            nn.Dropout2d(0.3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        ),
        (4, 3, 12, 12),
    ),
    "depthwise": (
        lambda: nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 16, 1)),
        (2, 8, 9, 9),
    ),
    "winograd": (lambda: nn.Conv2d(16, 16, 3, padding=1), (2, 16, 14, 14)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 5)),
    "lstm": (lambda: First(nn.LSTM(5, 7, 2, dropout=0.3, bidirectional=True)), (6, 3, 5)),
    "gru": (lambda: First(nn.GRU(5, 7)), (6, 3, 5)),
    "transformer": (
        lambda: nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True),
        (3, 9, 16),
    ),
    "rms_norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8)), (4, 6)),
}


@pytest.mark.parametrize("name", MODELS)
def test_modules(name: str) -> None:
    model, shape = MODELS[name]
    both(model, lambda p: optim.SGD(p, lr=0.05), batches(shape))


OPTIMIZERS: dict[str, Callable[[Any], optim.Optimizer]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "rmsprop": lambda p: optim.RMSprop(p, lr=0.01),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01),
    "nadam": lambda p: optim.NAdam(p, lr=0.01),
    "lion": lambda p: optim.Lion(p, lr=0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str) -> None:
    both(MODELS["mlp"][0], OPTIMIZERS[name], batches((32, 10)))


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "step": lambda o: optim.lr_scheduler.StepLR(o, 3, 0.5),
    "exponential": lambda o: optim.lr_scheduler.ExponentialLR(o, 0.9),
    "cosine": lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 10),
    "one_cycle": lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "lambda": lambda o: optim.lr_scheduler.LambdaLR(o, lambda k: 1.0 / (k + 1)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    both(
        MODELS["mlp"][0],
        lambda p: optim.Adam(p, lr=0.01),
        batches((32, 10)),
        schedule=SCHEDULES[name],
        clip=0.5,
    )


def test_a_shorter_last_batch_is_a_program_of_its_own() -> None:
    xs = batches((32, 10), 4) + batches((9, 10), 1) + batches((32, 10), 4, seed=1)
    both(MODELS["mlp"][0], lambda p: optim.Adam(p, lr=0.01), xs)


def test_gradients_accumulate_over_calls() -> None:
    def run(capture: bool) -> list[bytes]:
        annx.manual_seed(3)
        net = nn.Linear(4, 2)
        opt = optim.SGD(net.parameters(), lr=0.1)

        def micro(x: annx.Tensor) -> annx.Tensor:
            loss = net(x).square().mean()
            loss.backward()
            return loss

        update: Any = opt.step
        if capture:
            micro, update = annx.jit(micro), annx.jit(opt.step)
        out = []
        for k, x in enumerate(batches((3, 4), 12)):
            out.append(micro(x))
            if k % 3 == 2:
                update()
                opt.zero_grad()
        return bits(out) + bits(net.state_dict())

    assert run(True) == run(False)


def test_optimizer_alone_takes_gradients_made_outside() -> None:
    def run(capture: bool) -> list[bytes]:
        annx.manual_seed(3)
        net = nn.Linear(4, 2)
        opt = optim.Adam(net.parameters(), lr=0.1)
        update = annx.jit(opt.step) if capture else opt.step
        for x in batches((3, 4), 5):
            opt.zero_grad()
            net(x).square().mean().backward()
            update()
        return bits(net.state_dict()) + state_bits(opt)

    assert run(True) == run(False)


def test_gradients_of_captured_functions_are_captured() -> None:
    def f(w: dict[str, annx.Tensor], x: annx.Tensor, power: int) -> annx.Tensor:
        return ((x @ w["a"]).tanh() ** power).mean()

    w, x = {"a": annx.randn(4, 3)}, annx.randn(5, 4)
    captured = annx.jit(f, static_argnums=2, cache_size=3)
    for argnums in (0, 1, (0, 1)):
        plain, made = annx.value_and_grad(f, argnums), annx.value_and_grad(captured, argnums)
        for power in (2, 3, 2):
            for _ in range(2):
                for a, b in zip(
                    annx.pytree.flatten(made(w, x, power))[0],
                    annx.pytree.flatten(plain(w, x, power))[0],
                    strict=True,
                ):
                    np.testing.assert_array_equal(a.numpy(), b.numpy())
        assert made.captures == 2
    cube = annx.jit(lambda x: (x**3).sum())
    np.testing.assert_array_equal(annx.grad(cube)(x).numpy(), annx.grad(lambda x: (x**3).sum())(x))
    second = annx.grad(annx.grad(annx.jit(lambda x: x**3)))
    assert second(annx.tensor(2.0)).item() == second(annx.tensor(2.0)).item() == 12.0
    value, aux = annx.grad(annx.jit(lambda x: (x.sum(), x * 2)), has_aux=True)(x)
    np.testing.assert_array_equal(value.numpy(), np.ones((5, 4)))
    np.testing.assert_array_equal(aux.numpy(), 2 * x.numpy())


def test_grad_functions() -> None:
    def loss(params: dict[str, annx.Tensor], x: annx.Tensor) -> annx.Tensor:
        return annx.tanh(x @ params["w"] + params["b"]).square().sum()

    both_ = annx.value_and_grad(loss)
    captured = annx.jit(both_)
    for x in batches((3, 4), 4):
        params = {"w": batches((4, 2), 1, 5)[0] * x[0, 0], "b": annx.zeros(2)}
        assert bits(captured(params, x)) == bits(both_(params, x))
    assert captured.captures == 1


def test_second_derivatives() -> None:
    second = annx.grad(annx.grad(lambda x: annx.sin(x) * x))
    captured = annx.jit(second)
    for v in (0.3, 1.7, -2.0):
        x = annx.tensor(v)
        assert bits(captured(x)) == bits(second(x))


def test_inference_in_eval_mode() -> None:
    annx.manual_seed(0)
    net = MODELS["mlp"][0]()
    net(batches((32, 10), 1)[0])
    net.eval()
    forward = annx.jit(lambda x: net(x))
    with annx.no_grad():
        for x in batches((8, 10), 4):
            assert bits(forward(x)) == bits(net(x))
    assert forward.captures == 1


def test_trees_in_and_out() -> None:
    @annx.jit
    def f(tree: dict[str, Any], scale: float, *, flip: bool = False) -> dict[str, Any]:
        a, b = tree["a"], tree["b"][0]
        return {"sum": a + b * scale, "parts": (a, [b]), "flip": flip, "none": None}

    for k in range(3):
        a, b = np.full(3, k, np.float32), annx.ones(3)
        out = f({"a": a, "b": [b]}, 0.5 * k, flip=True)
        np.testing.assert_array_equal(out["sum"].numpy(), a + 0.5 * k)
        np.testing.assert_array_equal(out["parts"][0].numpy(), a)
        assert out["flip"] is True
        assert out["none"] is None
    assert f.captures == 1
    assert f({"a": a, "b": [b]}, 0.0, flip=False)["flip"] is False
    assert f.captures == 2


def test_a_float_varies_and_keeps_the_dtype_of_its_partner() -> None:
    f = annx.jit(lambda x, a: x * a + a)
    for dtype in (annx.float32, annx.float64):
        x = annx.tensor([1.5, -2.0], dtype=dtype)
        for a in (0.1, 0.7, 3.0):
            want = x * a + a
            got = f(x, a)
            assert got.dtype == dtype
            assert bits(got) == bits(want)
    assert f.captures == 2


def test_static_arguments_are_part_of_the_key() -> None:
    f = annx.jit(lambda x, n: x.reshape(n, -1), static_argnums=1)
    x = annx.arange(12.0)
    assert tuple(f(x, 3).shape) == (3, 4)
    assert tuple(f(x, 2).shape) == (2, 6)
    assert tuple(f(x, 3).shape) == (3, 4)
    assert f.captures == 2


def test_methods() -> None:
    class Scaler:
        def __init__(self, factor: float) -> None:
            self.factor = factor

        @annx.jit
        def scale(self, x: annx.Tensor) -> annx.Tensor:
            return x * self.factor

    one, two = Scaler(2.0), Scaler(3.0)
    x = annx.tensor([1.0, 2.0])
    assert one.scale(x).tolist() == [2.0, 4.0]
    assert two.scale(x).tolist() == [3.0, 6.0]
    assert one.scale(x + 1).tolist() == [4.0, 6.0]


def test_views_slices_and_strided_arguments() -> None:
    f = annx.jit(lambda x, y: (x.T @ y).reshape(-1)[1:] + x.T[0, 0])
    data = annx.tensor(np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32))
    for k in range(3):
        x, y = data[4 * k : 4 * k + 2], data[4 * k + 2 : 4 * k + 4]
        assert bits(f(x, y)) == bits((x.T @ y).reshape(-1)[1:] + x.T[0, 0])
    assert f.captures == 1
    turned = annx.tensor(np.arange(8.0, dtype=np.float32).reshape(4, 2)).T
    assert bits(f(turned, x)) == bits((turned.T @ x).reshape(-1)[1:] + turned.T[0, 0])


def test_random_numbers_continue_the_stream() -> None:
    def draw(x: annx.Tensor) -> annx.Tensor:
        mixed = x + annx.randn(4) + F.dropout(annx.rand(4), 0.5) + annx.bernoulli(annx.ones(4) / 2)
        return mixed[annx.randperm(4)] + annx.randint(0, 1000, (4,))

    captured = annx.jit(draw)
    x = annx.zeros(4)
    annx.manual_seed(11)
    want = [draw(x) for _ in range(4)] + [annx.randn(2)]
    annx.manual_seed(11)
    got = [captured(x) for _ in range(4)] + [annx.randn(2)]
    assert bits(want) == bits(got)


def test_losses() -> None:
    target = annx.tensor(np.array([1, 0, 3, 2, -100]))

    def run(capture: bool) -> list[bytes]:
        annx.manual_seed(0)
        net = nn.Linear(6, 4)
        opt = optim.AdamW(net.parameters(), lr=0.01)

        def step(x: annx.Tensor, y: annx.Tensor) -> annx.Tensor:
            opt.zero_grad()
            out = net(x)
            loss = F.cross_entropy(out, y, label_smoothing=0.1)
            loss = loss + F.binary_cross_entropy_with_logits(out, annx.sigmoid(out.detach()))
            loss = loss + F.smooth_l1_loss(out, out.detach() * 0.5)
            loss.backward()
            opt.step()
            return loss

        s = annx.jit(step) if capture else step
        return bits([s(x, target) for x in batches((5, 6))]) + bits(net.state_dict())

    assert run(True) == run(False)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_replay_does_not_depend_on_threads(threads: int) -> None:
    before = annx.num_threads()
    model, shape = MODELS["mlp"]
    try:
        annx.set_num_threads(threads)
        got = train(True, model, lambda p: optim.Adam(p), batches(shape))
    finally:
        annx.set_num_threads(before)
    assert got == train(False, model, lambda p: optim.Adam(p), batches(shape))


def test_fused_groups_and_broadcasting() -> None:
    def f(x: annx.Tensor, row: annx.Tensor, column: annx.Tensor) -> annx.Tensor:
        a = annx.exp(x * 0.1) + row
        b = annx.tanh(a) * column - 2.0
        c = annx.where(b > 0, a, b)
        return c * c + a.T.T

    captured = annx.jit(f)
    for rows in (1, 3, 700):
        x, row = batches((rows, 37), 1)[0], batches((37,), 1, 1)[0]
        column = batches((rows, 1), 1, 2)[0]
        for _ in range(2):
            assert bits(captured(x, row, column)) == bits(f(x, row, column))
    assert any("fused[" in p.explain() for p in captured.programs)


def test_nested_arguments_are_told_apart_by_their_structure() -> None:
    seen: list[Any] = []

    @annx.jit
    def total(*trees: Any) -> Tensor:
        seen.append(trees)
        out = annx.zeros(2)
        for i, leaf in enumerate(pytree.leaves(trees)):
            out = out + (i + 1) * leaf
        return out

    a, b = annx.tensor([1.0, 2.0]), annx.tensor([10.0, 20.0])
    calls: list[tuple[Any, ...]] = [
        (a, b),
        ((a, b),),
        ([a, b],),
        ([a], b),
        ({"x": a, "y": b},),
        ({"y": a, "x": b},),
        ({"x": a, "y": [b]},),
        ({"x": {"y": a}}, b),
        (None, a, b),
        (a, None, b),
        (a, b, ()),
        (a, b, {}),
        (OrderedDict(x=a, y=b),),
    ]
    for number, call in enumerate(calls, 1):
        for _ in range(2):
            np.testing.assert_array_equal(total(*call).numpy(), [21.0, 42.0])
        assert total.captures == len(seen) == number
    # Without arguments of another kind: one key for the same tensors, another for the same twice.
    np.testing.assert_array_equal(total({"x": a, "y": a}).numpy(), [3.0, 6.0])
    assert total.captures == len(calls) + 1


def test_a_captured_call_leaves_the_containers_of_its_caller_alone() -> None:
    @annx.jit
    def takes(batch: dict[str, Tensor], more: list[Tensor]) -> Tensor:
        more.append(batch.pop("x"))
        return more[0] + more[1]

    x, y = annx.tensor([1.0]), annx.tensor([2.0])
    batch, more = {"x": x}, [y]
    for _ in range(3):
        assert takes(batch, more).item() == 3.0
        assert batch == {"x": x}
        assert len(more) == 1


def test_arguments_nested_without_end_are_an_error() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        annx.jit(lambda tree: annx.zeros(1))(endless)


@pytest.mark.parametrize("dtype", [annx.float32, annx.float64, annx.float16], ids=str)
@pytest.mark.parametrize(
    "number",
    [
        lambda q: -q,
        lambda q: abs(-q),
        lambda q: q * 2,
        lambda q: 2 / q,
        lambda q: 1 - q,
        lambda q: q + q * q,
        lambda q: q**2,
        lambda q: q // 2,
        lambda q: q % 2,
        lambda q: -(1 - q) * 3,
    ],
)
def test_arithmetic_with_a_number_stays_out_of_promotion(
    number: Callable[[Any], Any], dtype: annx.dtype
) -> None:
    x = annx.tensor([0.3, -1.7, 2.5], dtype=dtype)

    def eager(x: Tensor, q: float) -> Tensor:
        return x * number(q) + annx.clamp(x, min=number(q))

    captured = annx.jit(eager)
    for q in (0.1, 0.1, 7.3, 2.0):
        expected, got = eager(x, q), captured(x, q)
        assert got.dtype == expected.dtype == dtype
        assert got.numpy().tobytes() == expected.numpy().tobytes()
    assert captured.captures == 1


@pytest.mark.parametrize("q", [0.0, 1.0, 2.0, 3.0, 0.5])
def test_the_gradient_of_a_varying_power_is_the_eager_one(q: float) -> None:
    def gradient(t: Tensor, q: float) -> Tensor:
        t = t.detach()
        t.requires_grad = True
        (t**q).sum().backward()
        assert t.grad is not None
        return t.grad

    rng = np.random.default_rng(3)
    values = np.abs(rng.integers(0, 2**62, 300_000).view(np.float64))
    x = annx.tensor(np.append(values[np.isfinite(values)], float.fromhex("0x1.7004ccdf642fdp-998")))
    captured = annx.jit(gradient)
    captured(x, 1.5)
    assert captured(x, q).numpy().tobytes() == gradient(x, q).numpy().tobytes()


def test_equal_keys_and_static_arguments_of_other_types_are_told_apart() -> None:
    a = annx.tensor([1.0])

    @annx.jit
    def first(tree: dict[Any, Any]) -> Tensor:
        (key,) = [k for k in tree if k is not None]
        leaf = annx.pytree.leaves(tree)[0]
        return leaf + (10.0 if key is True else 20.0 if type(key) is int else 30.0)

    for more in ({}, {None: 1.5}):
        for key, expected in ((True, 11.0), (1, 21.0), (1.0, 31.0), (True, 11.0)):
            assert first({key: a, **more}).item() == expected

    double = annx.jit(lambda x, n: x * (2.0 if n is True else 3.0), static_argnums=1)
    assert [double(a, n).item() for n in (True, 1, 1.0, True)] == [2.0, 3.0, 3.0, 2.0]
    named = annx.jit(lambda x, n: x * (2.0 if n is True else 3.0), static_argnames="n")
    assert [named(a, n=n).item() for n in (True, 1, 1.0, True)] == [2.0, 3.0, 3.0, 2.0]
