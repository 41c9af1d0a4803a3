"""``fit`` over several batches a step, and with schedules that step with the optimizer."""

from __future__ import annotations

from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim
from annx.nn import functional as F
from annx.optim import lr_scheduler
from annx.train import _native

RNG = np.random.default_rng(0)
X = RNG.standard_normal((203, 10)).astype(np.float32)
Y = RNG.integers(0, 3, 203)
W = np.abs(RNG.standard_normal(203)).astype(np.float32)


class Watch(annx.callbacks.Callback):
    """A hook of batches: every step comes back to Python."""

    def __init__(self) -> None:
        self.batches = 0
        self.rates: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches += 1
        self.rates.append(self.model.optimizer.param_groups[0]["lr"])


def network(norm: bool = True) -> nn.Sequential:
    annx.manual_seed(0)
    layers = [nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)]
    return nn.Sequential(*(layers if norm else layers[::2]))


def bits(model: nn.Module) -> list[bytes]:
    return [value.detach().numpy().tobytes() for value in model.state_dict().values()]


def trained(
    eagerly: bool = False, optimizer: Any = "adam", data: Any = (X, Y), **options: Any
) -> tuple[list[bytes], Any, nn.Sequential]:
    model = network()
    model.compile(optimizer, "cross_entropy", ["accuracy"], run_eagerly=eagerly)
    annx.manual_seed(1)
    options = {"epochs": 3, "batch_size": 8, "verbose": 0, **options}
    history = model.fit(*data, **options)
    return bits(model), history.history, model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"sample_weight": W},
        {"clip_grad_norm": 0.1},
        {"validation_split": 0.2, "shuffle": False},
        {"steps_per_epoch": 4},
        {"callbacks": [Watch()]},
    ],
)
def test_steps_over_several_batches_are_those_of_eager_code(options: dict[str, Any]) -> None:
    eager, expected, _ = trained(True, gradient_accumulation_steps=4, **options)
    native, history, model = trained(False, gradient_accumulation_steps=4, **options)
    assert native == eager
    assert history == expected
    text = annx.debug.explain(model)
    assert "runs eagerly" not in text
    assert text.count("= batch_norm_forward(t") >= 4


@pytest.mark.parametrize("weight", [None, W])
def test_a_step_is_that_of_a_loop_by_hand(weight: Any) -> None:
    model = network(False)
    model.compile(lambda p: optim.SGD(p, lr=0.5), "cross_entropy")
    annx.manual_seed(1)
    options = {"epochs": 2, "batch_size": 8, "verbose": 0, "shuffle": False}
    model.fit(X, Y, sample_weight=weight, gradient_accumulation_steps=4, **options)
    other = network(False)
    optimizer = optim.SGD(other.parameters(), lr=0.5)
    x, y = annx.tensor(X), annx.tensor(Y)
    for _ in range(2):
        for first in range(0, 203, 32):
            last = min(first + 32, 203)
            optimizer.zero_grad()
            for at in range(first, last, 8):
                end = min(at + 8, last)
                losses = F.cross_entropy(other(x[at:end]), y[at:end], reduction="none")
                if weight is not None:
                    losses = losses * annx.tensor(weight[at:end])
                (losses.mean() * ((end - at) / (last - first))).backward()
            optimizer.step()
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_without_batch_statistics_it_is_the_step_of_a_large_batch() -> None:
    models = []
    for size, several in ((32, 1), (8, 4)):
        model = network(False)
        model.compile(lambda p: optim.SGD(p, lr=0.5), "cross_entropy")
        annx.manual_seed(1)
        model.fit(X, Y, size, 3, verbose=0, gradient_accumulation_steps=several)
        models.append(model)
    for a, b in zip(*[m.parameters() for m in models], strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_source_of_batches_gives_the_same_steps() -> None:
    batches = [(X[at : at + 8], Y[at : at + 8]) for at in range(0, 203, 8)]
    arrays, history, _ = trained(gradient_accumulation_steps=4, shuffle=False)
    for eagerly in (False, True):
        watch = Watch()
        found, values, _ = trained(
            eagerly, data=(batches,), gradient_accumulation_steps=4, callbacks=[watch]
        )
        assert found == arrays
        assert values == history
        assert watch.batches == 3 * 7
    # Batches that do not fit below each other.
    odd = [(RNG.standard_normal((n, 10)).astype(np.float32), Y[:n]) for n in (8, 3, 5, 2, 9)]
    results = [
        trained(eagerly, data=(odd,), gradient_accumulation_steps=2)[0] for eagerly in (0, 1)
    ]
    assert results[0] == results[1]


SCHEDULES: dict[str, Any] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 5, 0.5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=100),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 30),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 4, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [3, 10], 0.1),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.1, 1.0, 20),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("several", [1, 3])
def test_schedules_step_with_the_optimizer(name: str, several: int) -> None:
    def optimizer(p: Any) -> Any:
        kind = optim.Adam if several == 1 else optim.SGD
        more = {} if several == 1 else {"momentum": 0.9}
        return kind([{"params": p[:2], "lr": 0.02}, {"params": p[2:]}], lr=0.01, **more)

    options = {
        "optimizer": optimizer,
        "lr_scheduler": SCHEDULES[name],
        "gradient_accumulation_steps": several,
    }
    eager = trained(True, **options)
    native = trained(False, **options)
    watched = trained(False, **options, callbacks=[watch := Watch()])
    assert native[:2] == eager[:2]
    assert watched[:2] == eager[:2]
    steps = 3 * -(-203 // (8 * several))
    by_hand = optim.SGD([nn.Parameter(annx.ones(1))], lr=0.02)
    if name == "OneCycleLR":
        by_hand.param_groups[0]["momentum"] = 0.9
    by_hand._stepped = True
    schedule = SCHEDULES[name](by_hand)
    rates = []
    for _ in range(steps):
        schedule.step()
        rates.append(by_hand.param_groups[0]["lr"])
    assert watch.rates == rates
    for model in (eager[2], native[2]):
        assert model.optimizer.param_groups[0]["lr"] == rates[-1]


def test_epochs_run_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []
    run = _native.Stretch.run

    def counted(self: Any, *args: Any) -> tuple[int, int]:
        done = run(self, *args)
        steps.append(done[0])
        return done

    monkeypatch.setattr(_native.Stretch, "run", counted)
    trained(gradient_accumulation_steps=4, lr_scheduler=SCHEDULES["StepLR"], clip_grad_norm=1.0)
    # All but the first step, two that are recorded and the shorter one of each epoch.
    assert sum(steps) == 3 * 6 - 3


def test_a_schedule_goes_on_from_fit_to_fit() -> None:
    model = network()
    model.compile(lambda p: optim.SGD(p, lr=0.01), "cross_entropy")
    schedule = lr_scheduler.StepLR(model.optimizer, 10, 0.5)
    for done in (26, 52):
        model.fit(X, Y, 8, verbose=0, lr_scheduler=schedule)
        assert schedule.last_epoch == done
    assert model.optimizer.param_groups[0]["lr"] == 0.01 * 0.5**5


def test_a_schedule_that_ends_is_told_at_its_step() -> None:
    results = []
    for eagerly in (True, False):
        model = network()
        model.compile("adam", "cross_entropy", run_eagerly=eagerly)
        annx.manual_seed(1)
        schedule = lr_scheduler.OneCycleLR(model.optimizer, 0.1, total_steps=40)
        with pytest.raises(ValueError, match="40"):
            model.fit(X, Y, 8, epochs=5, verbose=0, lr_scheduler=schedule)
        results.append((bits(model), schedule.last_epoch))
    assert results[0] == results[1]


def test_bad_arguments() -> None:
    model = network()
    model.compile("sgd", "cross_entropy")
    other = optim.SGD(network().parameters(), lr=0.1)
    plateau = lr_scheduler.ReduceLROnPlateau(model.optimizer)
    for options, kind, message in [
        ({"gradient_accumulation_steps": 0}, ValueError, "steps >= 1 but got 0"),
        ({"gradient_accumulation_steps": 1.5}, TypeError, "as an int but got 1.5"),
        ({"lr_scheduler": 3}, TypeError, "but got int"),
        ({"lr_scheduler": plateau}, TypeError, "needs no metric.*got ReduceLROnPlateau"),
        ({"lr_scheduler": lr_scheduler.StepLR(other, 1)}, ValueError, "of model.optimizer"),
    ]:
        with pytest.raises(kind, match=message):
            model.fit(X, Y, verbose=0, **options)
