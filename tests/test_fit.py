"""compile, fit, evaluate, predict, summary, save and load."""

from __future__ import annotations

import copy
import io
import os
import signal
import sys

import annx
import numpy as np
import pytest
from annx import metrics, nn, optim
from annx.nn import functional as F
from annx.train._progress import Progress, choose, format_time
from annx.utils.data import DataLoader, TensorDataset


def blobs(n=103, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = rng.normal(size=(n, 4)) + 3.0 * np.eye(classes, 4)[y]
    return x, y


def mlp(outputs=3, inputs=4, last=None):
    layers = [nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, outputs)]
    return nn.Sequential(*layers, *([last] if last is not None else []))


def state(model):
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def same(one, two):
    return all(np.array_equal(one[name], two[name]) for name in one)


def by_hand(model, optimizer, x, y, epochs, batch, loss):
    """The loop that fit stands for, without shuffling."""
    history = []
    for _ in range(epochs):
        total = 0.0
        for start in range(0, len(x), batch):
            xb, yb = x[start : start + batch], y[start : start + batch]
            optimizer.zero_grad()
            value = loss(model(xb), yb)
            value.backward()
            optimizer.step()
            total += value.item() * len(xb)
        history.append(total / len(x))
    return history


def test_fit_equals_the_loop_by_hand():
    x, y = blobs()
    model = mlp()
    twin = copy.deepcopy(model)
    model.compile("adam", "cross_entropy")
    history = model.fit(x, y, epochs=3, shuffle=False, verbose=0)
    optimizer = optim.Adam(twin.parameters())
    xt, yt = annx.tensor(x, dtype="float32"), annx.tensor(y)
    expected = by_hand(twin, optimizer, xt, yt, 3, 32, F.cross_entropy)
    assert history.history["loss"] == expected
    assert same(state(model), state(twin))


def test_fit_learns_and_metrics_are_exact():
    annx.manual_seed(0)
    x, y = blobs(300)
    model = mlp()
    model.compile(lambda p: optim.Adam(p, lr=0.05), "cross_entropy", ["accuracy", "f1"])
    history = model.fit(x, y, epochs=20, verbose=0, validation_data=blobs(100, seed=1))
    assert set(history.history) == {
        "loss", "accuracy", "f1", "val_loss", "val_accuracy", "val_f1",
    }  # fmt: skip
    assert history.history["val_accuracy"][-1] > 0.85
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    output = model.predict(x)
    loss, accuracy, f1 = model.evaluate(x, y, batch_size=7, verbose=0)
    assert accuracy == metrics.accuracy(output, y)
    assert f1 == pytest.approx(metrics.f1_score(output, y))
    shares = np.exp(output - output.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    assert loss == pytest.approx(-np.log(shares[np.arange(len(y)), y]).mean(), rel=1e-5)
    named = model.evaluate(x, y, verbose=0, return_dict=True)
    assert named["accuracy"] == accuracy
    assert list(named) == ["loss", "accuracy", "f1"]


def test_same_seed_same_bits():
    x, y = blobs()

    def train(seed):
        annx.manual_seed(seed)
        model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        model.compile("sgd", "cross_entropy", ["accuracy"])
        history = model.fit(x, y, epochs=3, verbose=0)
        return state(model), history.history

    first, second, other = train(1), train(1), train(2)
    assert same(first[0], second[0])
    assert first[1] == second[1]
    assert not same(first[0], other[0])


@pytest.mark.parametrize("kind", ["dataset", "loader", "batches", "lists"])
def test_every_source_of_data_gives_the_same_training(kind):
    x, y = blobs(64)
    arrays = mlp()
    other = copy.deepcopy(arrays)
    arrays.compile("sgd", "cross_entropy")
    arrays.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
    dataset = TensorDataset(annx.tensor(x, dtype="float32"), annx.tensor(y))
    other.compile("sgd", "cross_entropy")
    options = {"epochs": 2, "shuffle": False, "verbose": 0}
    if kind == "dataset":
        other.fit(dataset, batch_size=16, **options)
    elif kind == "loader":
        other.fit(DataLoader(dataset, batch_size=16), **options)
    elif kind == "batches":
        other.fit([(x[i : i + 16], y[i : i + 16]) for i in range(0, 64, 16)], **options)
    else:
        other.fit(x.tolist(), y.tolist(), batch_size=16, **options)
    assert same(state(arrays), state(other))
    np.testing.assert_array_equal(arrays.predict(x), other.predict(DataLoader(dataset, 10)))


def test_several_inputs_by_order_and_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 1), nn.Linear(3, 1)

        def forward(self, a, b):
            return self.a(a) + self.b(b)

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 2)), rng.normal(size=(20, 3))
    y = a.sum(1) - b.sum(1)
    model = Two()
    twin = copy.deepcopy(model)
    for one, x in ((model, (a, b)), (twin, {"b": b, "a": a})):
        one.compile("sgd", "mse")
        one.fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert same(state(model), state(twin))
    assert model.predict((a, b)).shape == (20, 1)
    with pytest.raises(ValueError, match="x has 20 samples and x 19"):
        model.fit((a, b[:19]), y)


def test_weights_of_samples_and_classes():
    x, y = blobs(50)
    weight = np.linspace(0.0, 2.0, 50)
    classes = {1: 3.0, 2: 0.5}
    model = mlp()
    model.compile("sgd", "cross_entropy")
    output = model.predict(x)
    each = F.cross_entropy(annx.tensor(output), annx.tensor(y), reduction="none").numpy()
    loss = model.evaluate(x, y, batch_size=16, verbose=0, sample_weight=weight)
    assert loss == pytest.approx((weight * each).sum() / 50, rel=1e-5)
    factor = np.array([classes.get(int(label), 1.0) for label in y]) * weight
    frozen = optim.SGD(model.parameters(), lr=0.0)
    model.compile(frozen, nn.CrossEntropyLoss())
    history = model.fit(
        x, y, verbose=0, batch_size=16, sample_weight=weight, class_weight=classes,
        validation_split=0.2,
    )  # fmt: skip
    assert history.history["loss"][0] == pytest.approx((factor * each)[:40].sum() / 40, rel=1e-5)
    # As in Keras, classes are weighed in training only, samples in validation too.
    assert history.history["val_loss"][0] == pytest.approx(
        (weight * each)[40:].sum() / 10, rel=1e-5
    )


def test_weight_zero_leaves_a_sample_out():
    x, y = blobs(32)
    one, two = mlp(), mlp()
    two.load_state_dict(one.state_dict())
    bad = y.copy()
    bad[5] = (bad[5] + 1) % 3
    weight = np.ones(32)
    weight[5] = 0.0
    for model, target in ((one, y), (two, bad)):
        model.compile("sgd", "cross_entropy")
        model.fit(x, target, sample_weight=weight, shuffle=False, verbose=0)
    assert same(state(one), state(two))


@pytest.mark.parametrize(
    "loss",
    ["mse", "mae", "huber", "smooth_l1", nn.MSELoss(), lambda p, t: ((p - t) ** 2).mean()],
    ids=str,
)
def test_regression_losses(loss):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    y = x @ [1.0, -2.0, 0.5]
    model = mlp(1, 3)
    model.compile(lambda p: optim.Adam(p, lr=0.05), loss, ["mae"])
    target = y[:, None] if callable(loss) and not isinstance(loss, nn.Module) else y
    history = model.fit(x, target, epochs=15, verbose=0)
    assert history.history["mae"][-1] < 0.6 * history.history["mae"][0]


def test_a_missing_last_dimension_does_not_broadcast():
    x = np.random.default_rng(0).normal(size=(10, 3))
    y = x[:, 0]
    model = mlp(1, 3)
    model.compile("sgd", "mse", ["mse"])
    expected = np.mean((model.predict(x)[:, 0] - y) ** 2)
    loss, metric = model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert metric == pytest.approx(expected, rel=1e-5)


def test_losses_of_keras_take_probabilities():
    x, y = blobs(40)
    model = mlp(3, last=nn.Softmax(dim=-1))
    shares = model.predict(x).astype(np.float64)
    expected = -np.log(shares[np.arange(40), y]).mean()
    for loss, target in (
        ("sparse_categorical_crossentropy", y),
        ("categorical_crossentropy", np.eye(3)[y]),
    ):
        model.compile("sgd", loss, ["accuracy"])
        value, accuracy = model.evaluate(x, target, verbose=0)
        assert value == pytest.approx(expected, rel=1e-4)
        assert accuracy == np.mean(shares.argmax(1) == y)
    bare = mlp(3)
    bare.compile("sgd", "sparse_categorical_crossentropy")
    before = state(bare)
    with pytest.raises(ValueError, match=r"expected probabilities .* loss='cross_entropy'"):
        bare.fit(x * 100, y, verbose=0)
    assert same(state(bare), before)


@pytest.mark.parametrize(
    ("loss", "last"), [("bce_with_logits", None), ("binary_crossentropy", nn.Sigmoid())]
)
def test_binary(loss, last):
    x, y = blobs(100, classes=2)
    annx.manual_seed(0)
    model = mlp(1, last=last)
    model.compile(lambda p: optim.Adam(p, lr=0.05), loss, ["accuracy", "precision"])
    history = model.fit(x, y, epochs=15, verbose=0)
    output = model.predict(x)[:, 0]
    accuracy = model.evaluate(x, y, verbose=0)[1]
    assert accuracy == np.mean((output > (0.0 if last is None else 0.5)) == y)
    assert history.history["accuracy"][-1] > 0.9


def test_cross_entropy_over_sequences():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 3, 5)), rng.integers(0, 3, (6, 5))
    model = nn.Identity()
    model.scale = nn.Parameter(annx.ones(()))
    model.forward = lambda x: x * model.scale
    model.compile("sgd", "cross_entropy", ["accuracy"])
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert accuracy == np.mean(x.argmax(1) == y)
    expected = F.cross_entropy(annx.tensor(x), annx.tensor(y)).item()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_modes_are_put_back_and_evaluation_does_not_train():
    x, y = blobs(40)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.compile("sgd", "cross_entropy")
    model[1].eval()
    before = state(model)
    first = model.evaluate(x, y, verbose=0)
    np.testing.assert_array_equal(model.predict(x), model.predict(x, batch_size=7))
    assert model.evaluate(x, y, verbose=0) == first
    assert same(state(model), before)
    model.fit(x, y, verbose=0)
    assert [module.training for module in model] == [True, False, True, True]
    assert model.training


def test_steps_per_epoch_goes_around_the_data():
    x, y = blobs(40)
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, x):
            seen.append(x.detach().numpy()[:, 0].copy())
            return self.inner(x)

    model = Spy()
    model.compile("sgd", "cross_entropy")
    history = model.fit(x, y, batch_size=16, epochs=2, steps_per_epoch=4, shuffle=False, verbose=0)
    assert [len(batch) for batch in seen] == [16, 16, 8, 16, 16, 8, 16, 16]
    np.testing.assert_allclose(seen[3], x[:16, 0], rtol=1e-6)
    assert len(history.epoch) == 2

    def generator():
        for start in (0, 16):
            yield x[start : start + 16], y[start : start + 16]

    with pytest.raises(ValueError, match="the source is used up"):
        model.fit(generator(), epochs=2, verbose=0)


def test_validation_options():
    x, y = blobs(50)
    model = mlp()
    model.compile("sgd", "cross_entropy")
    history = model.fit(x, y, epochs=4, validation_split=0.2, validation_freq=2, verbose=0)
    assert len(history.history["loss"]) == 4
    assert len(history.history["val_loss"]) == 2
    expected = model.evaluate(x[40:], y[40:], verbose=0)
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-6)
    history = model.fit(x, y, epochs=5, initial_epoch=3, verbose=0)
    assert history.epoch == [3, 4]


def test_clip_grad_norm():
    x, y = blobs(32)
    model = mlp()
    before = state(model)
    model.compile(optim.SGD(model.parameters(), lr=1.0), "cross_entropy")
    model.fit(100 * x, y, clip_grad_norm=0.01, verbose=0)
    moved = np.sqrt(sum(((state(model)[k] - before[k]) ** 2).sum() for k in before))
    assert moved == pytest.approx(0.01, rel=1e-3)


def test_compile_errors():
    model = mlp()
    with pytest.raises(ValueError, match="did you mean 'adam'"):
        model.compile("adan", "mse")
    with pytest.raises(ValueError, match="did you mean 'cross_entropy'"):
        model.compile("adam", "cross_entropi")
    with pytest.raises(ValueError, match="did you mean 'accuracy'"):
        model.compile("adam", "mse", ["acuracy"])
    with pytest.raises(ValueError, match="over this model's parameters"):
        model.compile(optim.SGD(mlp().parameters(), lr=0.1), "mse")
    with pytest.raises(TypeError, match="callable from parameters"):
        model.compile(3, "mse")
    with pytest.raises(TypeError, match="to return an Optimizer but got int"):
        model.compile(lambda p: 1, "mse")
    with pytest.raises(TypeError, match="but got the class MSELoss"):
        model.compile("sgd", nn.MSELoss)
    with pytest.raises(ValueError, match="different names but got 'mae' twice"):
        model.compile("sgd", "mse", ["mae", "mae"])
    with pytest.raises(RuntimeError, match=r"call model\.compile"):
        model.fit(np.zeros((2, 4)), np.zeros(2))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x, y[:-1]), ValueError, "x has 40 samples and y 39"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "at least one sample"),
        (lambda x, y: (x, y + 1), ValueError, r"class indices in \[0, 3\) .* y holds 3"),
        (lambda x, y: (x, y - 1), ValueError, "y holds -1"),
        (lambda x, y: (x, y + 0.5), ValueError, "integer class indices .* got"),
        (lambda x, y: (x, np.where(y == 1, np.nan, y)), ValueError, "y without NaN but row"),
        (lambda x, y: (x.astype(str), y), TypeError, "x of numbers but got dtype <U"),
        (lambda x, y: (x, y.astype(object)), TypeError, "y of numbers but got dtype object"),
        (lambda x, y: (x, None), ValueError, "expected y, the targets"),
        (lambda x, y: (None, y), ValueError, "expected x"),
        (lambda x, y: (x, np.zeros((40, 5, 5), int)), ValueError, "integer class indices"),
        (lambda x, y: (3.0, 1), ValueError, "dimension of samples"),
    ],
)
def test_bad_data_changes_nothing(change, error, message):
    x, y = blobs(40)
    model = mlp()
    model.compile("sgd", "cross_entropy")
    before = state(model)
    with pytest.raises(error, match=message):
        model.fit(*change(x, y), epochs=2, verbose=0)
    assert same(state(model), before)
    assert model.training


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size as an int >= 1"),
        ({"epochs": -1}, ValueError, "epochs >= 0"),
        ({"verbose": 7}, ValueError, "verbose 'auto', 0, 1 or 2"),
        ({"validation_split": 1.5}, ValueError, "validation_split in"),
        ({"validation_split": 0.99}, ValueError, "samples on both sides"),
        ({"validation_data": (1, 2, 3, 4)}, ValueError, "got 4 parts"),
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight of shape \(40,\)"),
        ({"sample_weight": -np.ones(40)}, ValueError, "sample_weight >= 0"),
        ({"class_weight": [1, 2, 3]}, TypeError, "class_weight as a dict"),
        ({"class_weight": {0: -1.0}}, ValueError, "class_weight >= 0"),
        ({"clip_grad_norm": 0.0}, ValueError, "clip_grad_norm > 0"),
        ({"steps_per_epoch": 0}, ValueError, "at least 1 step"),
        ({"validation_split": 0.5, "validation_freq": 0}, ValueError, "validation_freq >= 1"),
    ],
)
def test_bad_arguments(options, error, message):
    x, y = blobs(40)
    model = mlp()
    model.compile("sgd", "cross_entropy")
    with pytest.raises(error, match=message):
        model.fit(x, y, **{"verbose": 0, **options})


def test_unweighable_loss():
    x, y = blobs(40)
    model = mlp()
    model.compile("sgd", lambda p, t: F.cross_entropy(p, t))
    with pytest.raises(ValueError, match="one loss per sample"):
        model.fit(x, y, sample_weight=np.ones(40), verbose=0)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"shaped as the model's output .* \(N, 3\)"):
        model.fit(x, np.zeros((40, 2)), verbose=0)


@pytest.fixture
def interruptible():
    """Python's own Ctrl-C, which a background job does not get from its shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_whole_steps():
    x, y = blobs(40)
    model, twin = mlp(), mlp()
    twin.load_state_dict(model.state_dict())

    class Interrupt(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:
                os.kill(os.getpid(), signal.SIGINT)
            return self.inner(x)

    wrapped = Interrupt(model)
    wrapped.compile(optim.Adam(model.parameters()), "cross_entropy")
    wrapped.eval()
    with pytest.raises(KeyboardInterrupt):
        wrapped.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0)
    assert wrapped.calls == 2  # the second step was finished, the third not begun
    assert not wrapped.training
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    optimizer = optim.Adam(twin.parameters())
    xt, yt = annx.tensor(x[:20], dtype="float32"), annx.tensor(y[:20])
    by_hand(twin, optimizer, xt, yt, 1, 10, F.cross_entropy)
    assert same(state(model), state(twin))
    assert wrapped.optimizer.state_dict()["state"][0]["step"].item() == 2.0


def test_float64_models_and_integer_inputs():
    x, y = blobs(20)
    model = mlp().double()
    model.compile("sgd", "cross_entropy")
    model.fit(x.astype(np.float32), y.astype(np.uint8), verbose=0)
    assert model.predict(x).dtype == np.float64
    words = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 1))
    words.compile("sgd", "mse")
    words.fit(np.random.default_rng(0).integers(0, 10, (12, 2)), np.zeros(12), verbose=0)
    assert words.predict([[1, 2], [3, 4]]).shape == (2, 1)


def test_several_outputs():
    class Split(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 2)

        def forward(self, x):
            return {"a": self.a(x), "b": self.b(x)}

    x = np.random.default_rng(0).normal(size=(20, 4))
    model = Split()

    def loss(prediction, target):
        return ((prediction["a"] - target["a"]) ** 2).mean() + prediction["b"].square().mean()

    model.compile("sgd", loss, [lambda prediction, target: prediction["b"].abs().max().item()])
    history = model.fit(x, {"a": x[:, :1]}, epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    outputs = model.predict(x, batch_size=8)
    assert {name: array.shape for name, array in outputs.items()} == {"a": (20, 1), "b": (20, 2)}


def test_save_load_summary(tmp_path):
    x, _ = blobs(20)
    model, twin = mlp(), mlp()
    model.save(tmp_path / "m.safetensors")
    twin.load(tmp_path / "m.safetensors")
    assert same(state(model), state(twin))
    lines = []
    model.summary(print_fn=lines.append)
    assert "Output shape" not in lines[0]
    model[0].weight.requires_grad_(False)
    model.predict(x)
    model.summary(print_fn=lines.append)
    assert "│ 0 (Linear)   │ (None, 8)    │      40 │" in lines[1]
    assert " Total params: 67 (268.00 B)" in lines[1]
    assert " Non-trainable params: 32 (128.00 B)" in lines[1]
    image = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Linear(12, 2))
    image.summary((3, 4), print_fn=lines.append)
    assert "(None, 12)" in lines[2]
    assert " Buffers: 25" in lines[2]
    assert image.training


def test_compiled_models_can_be_copied():
    x, y = blobs(20)
    model = mlp()
    model.compile("adam", "cross_entropy")
    model.fit(x, y, verbose=0, shuffle=False)
    twin = copy.deepcopy(model)
    for one in (model, twin):
        one.fit(x, y, verbose=0, shuffle=False)
    assert same(state(model), state(twin))
    assert twin.optimizer is not model.optimizer


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_output_modes(capsys, monkeypatch):
    x, y = blobs(40)
    model = mlp()
    model.compile("sgd", "cross_entropy", ["accuracy"])
    model.fit(x, y, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("Epoch 1/2 - 2/2 - ")
    assert " - loss: " in lines[0]
    assert " - accuracy: " in lines[0]
    model.fit(x, y, verbose=0)
    model.predict(x)
    assert capsys.readouterr().out == ""
    model.evaluate(x, y)
    assert capsys.readouterr().out.startswith("2/2 - ")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    assert choose("auto", terminal) == "bar"
    assert choose(2, terminal) == "line"
    monkeypatch.setattr(sys, "stdout", terminal)
    model.fit(x, y)
    monkeypatch.undo()
    text = terminal.getvalue()
    assert text.endswith("\x1b[K\n")
    assert "━━━━" in text
    assert "2/2" in text


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_bar_fits_the_terminal(columns, monkeypatch):
    import re

    monkeypatch.setenv("COLUMNS", str(columns))
    terminal = Terminal()
    progress = Progress("bar", 10, terminal)
    progress.begin("Epoch 1/2")
    progress._drawn = 0.0
    progress.batch(4, lambda: {"loss": 0.25, "accuracy": 0.5})
    progress.end({"loss": 0.25, "accuracy": 0.5, "val_loss": 1e-5})
    drawn = [re.sub(r"\x1b\[[0-9;]*[mK]", "", part) for part in terminal.getvalue().split("\r")]
    assert max(len(part.rstrip("\n")) for part in drawn) < columns
    if columns == 200:
        assert "loss 0.2500" in drawn[-1]
        assert "val_loss 1.0000e-05" in drawn[-1]
        assert "ETA" in drawn[-2]


def test_format_time():
    given = [0.0123, 2.149, 41.6, 185.0, 3723.0]
    assert [format_time(s) for s in given] == ["12ms", "2.1s", "42s", "3:05", "1:02:03"]
