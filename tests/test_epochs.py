"""fit and evaluate run whole stretches of batches natively, with the bits of single eager steps."""

from __future__ import annotations

import copy
import pickle
import signal
import threading
from typing import Any

import annx
import numpy as np
import pytest
from annx import nn, optim
from annx._jit import _Entry
from annx.callbacks import Callback
from annx.train import _native


@pytest.fixture
def stretches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Batches of each native call."""
    seen: list[int] = []
    plain = _Entry.run_rows

    def spy(self: _Entry, loop: Any) -> None:
        try:
            plain(self, loop)
        finally:
            seen.append(loop.done)

    monkeypatch.setattr(_Entry, "run_rows", spy)
    monkeypatch.setattr(_native, "_SECONDS", 60.0)
    return seen


def data(n: int = 203) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6)).astype(np.float32)
    return x, (x.sum(1) > 0).astype(np.int64)


def network(outputs: int = 2) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, outputs)
    )


def bits(model: nn.Module) -> dict[str, bytes]:
    state = {k: v.numpy().tobytes() for k, v in model.state_dict().items()}
    for index, values in model.optimizer.state_dict()["state"].items():
        state.update({f"{index} {k}": v.numpy().tobytes() for k, v in values.items()})
    return state


def trained(eagerly: bool, optimizer: Any = "adam", **options: Any) -> list[Any]:
    annx.manual_seed(4)
    model = network()
    x, y = data()
    model.compile(optimizer, "cross_entropy", ["accuracy", "f1"], run_eagerly=eagerly)
    options = {"validation_data": data(70), "epochs": 4, "batch_size": 16, **options}
    history = model.fit(x, y, verbose=0, **options).history
    score = model.evaluate(x, y, verbose=0)
    return [history, score, bits(model), annx.get_rng_state()]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shuffle": False},
        {"clip_grad_norm": 0.3},
        {"class_weight": {0: 1.0, 1: 3.0}},
        {"sample_weight": np.linspace(0, 2, 203)},
        {"steps_per_epoch": 9},
        {"batch_size": 29},  # 7 whole batches and no more
        {"batch_size": 300},
    ],
    ids=lambda options: "-".join(options),
)
def test_native_epochs_have_the_bits_of_eager_ones(
    options: dict[str, Any], threads: int, stretches: list[int]
) -> None:
    before = annx.get_num_threads()
    annx.set_num_threads(threads)
    try:
        eager = trained(True, **options)
        assert not stretches
        assert trained(False, **options) == eager
    finally:
        annx.set_num_threads(before)
    if options.get("batch_size") != 300:
        assert max(stretches) > 3


OPTIMIZERS = {
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.5),
    "nadam": optim.NAdam,
    "radam": optim.RAdam,
    "amsgrad": lambda p: optim.Adam(p, amsgrad=True),
    "adagrad": lambda p: optim.Adagrad(p, lr_decay=0.01),
    "asgd": optim.ASGD,
    "groups": lambda p: optim.AdamW([{"params": p[:2], "lr": 0.1}, {"params": p[2:]}]),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_count_their_steps(name: str, stretches: list[int]) -> None:
    assert trained(False, OPTIMIZERS[name]) == trained(True, OPTIMIZERS[name])
    assert max(stretches) > 3


@pytest.mark.parametrize("metric", ["mse", "mae", "rmse"])
@pytest.mark.parametrize("features", [1, 3, 300])
def test_sums_of_metrics_keep_their_order(metric: str, features: int, stretches: list[int]) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((130, 6)).astype(np.float32)
    y = rng.standard_normal((130, features)).astype(np.float32)
    results = []
    for eagerly in (True, False):
        annx.manual_seed(0)
        model = network(features)
        model.compile("sgd", "mse", [metric], run_eagerly=eagerly)
        results.append(model.fit(x, y, epochs=3, batch_size=8, verbose=0).history)
    assert results[0] == results[1]
    assert max(stretches) == 16


def test_several_inputs_and_the_same_array_twice(stretches: list[int]) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 6)

        def forward(self, a: annx.Tensor, b: annx.Tensor) -> annx.Tensor:
            return self.layer(a) + b

    x, _ = data(160)
    for shuffle in (True, False):
        results = []
        for eagerly in (True, False):
            annx.manual_seed(0)
            model = Sum()
            model.compile("adam", "mse", ["mae"], run_eagerly=eagerly)
            model.fit({"a": x, "b": x[:, ::-1]}, x, epochs=3, shuffle=shuffle, verbose=0)
            results.append([model.history.history, bits(model)])
        assert results[0] == results[1]
    assert max(stretches) == 5


def test_batch_hooks_see_every_batch(stretches: list[int]) -> None:
    class Watch(Callback):
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.seen.append((batch, logs["loss"]))

    watch = Watch()
    trained(False, callbacks=[watch])
    assert [batch for batch, _ in watch.seen] == list(range(13)) * 4
    # Only evaluations ran natively.
    assert max(stretches) <= 12
    before = len(stretches)
    seen = watch.seen
    watch.seen = []
    trained(True, callbacks=[watch])
    assert watch.seen == seen
    assert len(stretches) == before


def test_metrics_of_ones_own_get_every_batch(stretches: list[int]) -> None:
    rows: list[int] = []

    def batch_mean(prediction: Any, target: Any) -> float:
        rows.append(len(target))
        return float(prediction.numpy().mean())

    x, y = data(100)
    model = network()
    model.compile("adam", "cross_entropy", [batch_mean])
    model.fit(x, y, epochs=3, batch_size=16, verbose=0)
    assert rows == [16, 16, 16, 16, 16, 16, 4] * 3
    assert not stretches


def test_a_rate_changed_between_epochs_is_used(stretches: list[int]) -> None:
    class Halve(Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.optimizer.param_groups[0]["lr"] *= 0.5

    assert trained(False, callbacks=[Halve()]) == trained(True, callbacks=[Halve()])
    assert max(stretches) > 3


def test_a_schedule_within_the_loss_is_stepped_by_python(stretches: list[int]) -> None:
    def run(eagerly: bool) -> list[Any]:
        annx.manual_seed(4)
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        schedule = optim.lr_scheduler.StepLR(optimizer, 2)
        optimizer._stepped = True

        def loss(prediction: Any, target: Any) -> Any:
            if model.training:
                schedule.step()
            return nn.functional.cross_entropy(prediction, target)

        model.compile(optimizer, loss, run_eagerly=eagerly)
        model.fit(*data(), epochs=3, verbose=0)
        return [bits(model), optimizer.param_groups[0]["lr"], schedule.last_epoch]

    assert run(False) == run(True)
    assert not stretches


def test_an_error_in_the_middle_leaves_whole_steps(stretches: list[int]) -> None:
    def run(eagerly: bool) -> list[Any]:
        annx.manual_seed(4)
        model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 2))
        x = np.random.default_rng(0).integers(0, 10, (96, 2))
        y = np.zeros(96, np.int64)
        model.compile("adam", "cross_entropy", run_eagerly=eagerly)
        model.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
        x[60, 1] = 10  # the eighth batch
        with pytest.raises(IndexError, match="embedding") as error:
            model.fit(x, y, batch_size=8, shuffle=False, epochs=2, verbose=0)
        model.fit(x[:32], y[:32], batch_size=8, verbose=0)
        return [bits(model), str(error.value)]

    assert run(False) == run(True)
    assert 6 in stretches  # the first batch is checked


def test_ctrl_c_waits_for_the_end_of_a_step(
    stretches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_native, "_SECONDS", 0.02)
    model = network()
    x, y = data(6400)
    model.compile("adam", "cross_entropy")
    model.fit(x, y, batch_size=8, epochs=2, verbose=0)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    # Where the tests run in the background the shell has had the signal ignored.
    before_test = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            model.fit(x, y, batch_size=8, epochs=100_000, verbose=0)
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before_test)
    steps = {v["step"].item() for v in model.optimizer.state_dict()["state"].values()}
    assert len(steps) == 1
    # Only the first step, which looks at the data, is eager: looking at the state changed nothing.
    before = sum(stretches)
    model.fit(x, y, batch_size=8, verbose=0)
    assert sum(stretches) - before == 799
    after = {v["step"].item() for v in model.optimizer.state_dict()["state"].values()}
    assert after == {steps.pop() + 800}


def test_predictions_of_a_stretch_are_bounded(
    stretches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_native, "_BYTES", 5 * (16 * 2 * 8 + 16 * 8))
    limited = trained(False)
    assert max(stretches) == 5
    monkeypatch.undo()
    assert limited == trained(False)


@pytest.mark.parametrize("outputs", ["one", "dict"])
def test_predict_runs_natively(outputs: str, stretches: list[int]) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = network(3)

        def forward(self, x: annx.Tensor) -> Any:
            y = self.layer(x)
            return y if outputs == "one" else {"y": y, "largest": y.argmax(1), "x": x}

    annx.manual_seed(0)
    model = Two()
    x, _ = data()
    found = [model.predict(x, batch_size=16, verbose=0) for _ in range(3)]
    assert stretches == [9, 11, 11]
    model.compile("adam", "cross_entropy", run_eagerly=True)
    expected = model.predict(x, batch_size=16, verbose=0)
    assert len(stretches) == 3
    for prediction in found:
        if outputs == "one":
            prediction, expected = {"y": prediction}, {"y": expected}
        for name, values in prediction.items():
            np.testing.assert_array_equal(values, expected[name])
            assert values.dtype == expected[name].dtype
        if outputs == "one":
            expected = expected["y"]


def test_predict_notices_new_weights_and_copies_its_model(stretches: list[int]) -> None:
    x, _ = data()
    model = network()
    first = model.predict(x, batch_size=16, verbose=0)
    other = copy.deepcopy(model)
    third = pickle.loads(pickle.dumps(model))
    model.load_state_dict({k: v * 2 for k, v in model.state_dict().items()})
    assert not np.array_equal(model.predict(x, batch_size=16, verbose=0), first)
    for same in (other, third):
        np.testing.assert_array_equal(same.predict(x, batch_size=16, verbose=0), first)
    assert len(stretches) == 4
    model[0].register_forward_hook(lambda module, inputs, output: output * 0)
    assert not np.ptp(model.predict(x, batch_size=16, verbose=0)[:, 0])
    assert len(stretches) == 4


def test_a_single_row_is_captured_when_it_comes_again() -> None:
    x, _ = data(4)
    model = network()
    every = model.predict(x, verbose=0)
    for _ in range(3):
        for row in range(4):
            np.testing.assert_array_equal(model.predict(x[row : row + 1], verbose=0)[0], every[row])
    assert [p.instructions()[0][0] for p in model._prediction.step.programs] == ["linear"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": 1}, "arrays"),
        ({"rows": 3}, "program's rows"),
        ({"batches": 9}, "program's rows"),
        ({"order": np.zeros(7, np.int64)}, "an order of 8 rows"),
        ({"order": np.full(8, 8, np.int64)}, r"rows in \[0, 8\)"),
        ({"kept": [None]}, "place for 0 results"),
    ],
)
def test_what_does_not_fit_the_program_is_refused(change: dict[str, Any], message: str) -> None:
    step = annx.jit(lambda x, y: (x * y).sum())
    step(annx.ones(4, 2), annx.ones(4, 2))
    columns = [annx.ones(8, change.get("rows", 2)) for _ in range(change.get("columns", 2))]
    order = change.get("order")
    loop = annx._core.RowLoop(
        columns,
        None if order is None else annx.tensor(order),
        0,
        4,
        change.get("batches", 2),
        [],
        True,
        change.get("kept", []),
        0.0,
        1.0,
    )
    with pytest.raises((ValueError, IndexError), match=message):
        step.programs[0].run_rows(loop)
    assert loop.done == 0
