"""Callbacks: Keras's semantics, on given logs and in ``fit``."""

from __future__ import annotations

import csv

import annx
import numpy as np
import pytest
from annx import callbacks as cb
from annx import nn, optim


class Model(nn.Module):
    """One weight, a plain loss."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(annx.zeros(1))

    def forward(self, x):
        return x * self.weight


def compiled(lr=1.0):
    model = Model()
    model.compile(optim.SGD(model.parameters(), lr=lr), "mse", ["mae"])
    return model


def drive(callback, logs_of_epochs, model=None):
    """Runs a callback over given logs as ``fit`` would; the weight is the epoch's number."""
    model = compiled() if model is None else model
    model.stop_training = False
    callback.set_model(model)
    callback.set_params({"epochs": len(logs_of_epochs), "validates": False})
    callback.on_train_begin({})
    ran = 0
    for epoch, logs in enumerate(logs_of_epochs):
        callback.on_epoch_begin(epoch, {})
        with annx.no_grad():
            model.weight.copy_(annx.tensor([float(epoch)]))
        callback.on_epoch_end(epoch, logs)
        ran += 1
        if model.stop_training:
            break
    callback.on_train_end({})
    return model, ran


def losses(*values, name="val_loss"):
    return [{name: value} for value in values]


def fit(model, *callbacks, epochs=3, **options):
    x = np.linspace(-1, 1, 8, dtype=np.float32)[:, None]
    options = {"verbose": 0, **options}
    return model.fit(x, 3 * x, batch_size=4, epochs=epochs, callbacks=list(callbacks), **options)


@pytest.mark.parametrize(
    ("options", "values", "epochs"),
    [
        ({}, (3, 2, 1, 2, 0), 4),
        ({"patience": 2}, (3, 2, 2.5, 2.5, 0), 4),
        ({"patience": 2}, (3, 2, 2.5, 1, 0), 5),
        ({"patience": 1, "min_delta": 0.5}, (3, 2.8, 2.7, 0), 2),
        ({"patience": 2, "baseline": 1.0}, (3, 2, 1.5, 1.2), 4),
        ({"patience": 3, "baseline": 1.0}, (3, 2, 0.5, 0.6, 0.7, 0.8, 0.9), 6),
        ({"start_from_epoch": 2}, (1, 2, 3, 4, 5), 4),
        ({"mode": "max", "patience": 1}, (1, 2, 1.5, 0), 3),
    ],
)
def test_early_stopping(options, values, epochs):
    _, ran = drive(cb.EarlyStopping(**options), losses(*values))
    assert ran == epochs


def test_early_stopping_restores_the_best_weights(capsys):
    callback = cb.EarlyStopping(patience=2, restore_best_weights=True, verbose=1)
    model, ran = drive(callback, losses(3, 1, 2, 2, 2))
    assert ran == 4
    assert model.weight.item() == 1.0
    assert capsys.readouterr().out == (
        "Epoch 4: early stopping\nRestoring model weights from the end of the best epoch: 2.\n"
    )
    # As Keras 3: also where the training was not stopped.
    model, ran = drive(cb.EarlyStopping(patience=9, restore_best_weights=True), losses(3, 1, 2))
    assert (model.weight.item(), ran) == (1.0, 3)


def test_early_stopping_can_be_used_again():
    callback = cb.EarlyStopping(patience=1)
    assert drive(callback, losses(1, 2, 3))[1] == 2
    assert drive(callback, losses(5, 4, 3))[1] == 3


def test_direction_goes_by_metric_and_name():
    rising = losses(1, 2, 3, name="val_accuracy")
    assert drive(cb.EarlyStopping("val_accuracy", patience=1), rising)[1] == 3
    assert drive(cb.EarlyStopping("val_mae"), losses(1, 2, 3, name="val_mae"))[1] == 2
    with pytest.raises(ValueError, match="mode='min' or 'max' for monitor 'score'"):
        drive(cb.EarlyStopping("score"), losses(1))
    with pytest.raises(ValueError, match="expected mode"):
        cb.EarlyStopping(mode="up")


def test_a_missing_value_warns_once():
    with pytest.warns(RuntimeWarning, match="expected 'val_loss' in the logs but got loss") as seen:
        _, ran = drive(cb.EarlyStopping(), losses(1, 2, 3, name="loss"))
    assert (ran, len(seen)) == (3, 1)


def test_reduce_lr_on_plateau(capsys):
    callback = cb.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=0.2, verbose=1, cooldown=1)
    logs = losses(1, 1, 1, 1, 1, 1, 1, 1, 1)
    drive(callback, logs)
    # Two bad epochs halve the rate; the epoch after counts for nothing.
    rates = [row["learning_rate"] for row in logs]
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]
    assert "Epoch 3: ReduceLROnPlateau reducing learning rate to 0.5." in capsys.readouterr().out
    with pytest.raises(ValueError, match="factor < 1"):
        cb.ReduceLROnPlateau(factor=1.0)


def test_reduce_lr_on_plateau_wants_more_than_min_delta():
    callback = cb.ReduceLROnPlateau("loss", factor=0.1, patience=1, min_delta=0.1)
    model, _ = drive(callback, losses(1, 0.95, name="loss"))
    assert model.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


def test_checkpoint_every_epoch_and_best_only(tmp_path, capsys):
    path = tmp_path / "runs" / "{epoch:02d}-{val_loss:.1f}.safetensors"
    drive(cb.ModelCheckpoint(path), losses(3, 1, 2))
    names = sorted(file.name for file in (tmp_path / "runs").iterdir())
    assert names == [f"{n}.safetensors" for n in ("01-3.0", "02-1.0", "03-2.0")]
    best = tmp_path / "best.safetensors"
    drive(cb.ModelCheckpoint(best, save_best_only=True, verbose=1), losses(3, 1, 2))
    model = Model()
    model.load(best)
    assert model.weight.item() == 1.0
    out = capsys.readouterr().out
    assert "Epoch 2: val_loss improved from 3.00000 to 1.00000" in out
    assert "Epoch 3: val_loss did not improve from 1.00000" in out
    never = tmp_path / "never.safetensors"
    callback = cb.ModelCheckpoint(never, save_best_only=True, initial_value_threshold=0.5)
    drive(callback, losses(3, 1, 2))
    assert not never.exists()
    with pytest.raises(KeyError, match="fields of the logs, val_loss"):
        drive(cb.ModelCheckpoint(tmp_path / "{acc}"), losses(1))
    with pytest.raises(ValueError, match="save_freq"):
        cb.ModelCheckpoint(best, save_freq="batch")


def test_checkpoint_every_few_batches(tmp_path):
    model = compiled(0.1)
    fit(model, cb.ModelCheckpoint(tmp_path / "{epoch}-{batch}.safetensors", save_freq=3))
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "2-1.safetensors",
        "3-2.safetensors",
    ]


def test_learning_rate_scheduler(capsys):
    model = compiled()
    history = fit(model, cb.LearningRateScheduler(lambda epoch, lr: lr * 0.5, verbose=1))
    assert history.history["learning_rate"] == [0.5, 0.25, 0.125]
    assert "Epoch 1: LearningRateScheduler setting learning rate to 0.5." in capsys.readouterr().out
    history = fit(model, cb.LearningRateScheduler(lambda epoch: 0.1 / (epoch + 1)), epochs=2)
    assert history.history["learning_rate"] == [0.1, 0.05]
    with pytest.raises(TypeError, match="return a number"):
        fit(model, cb.LearningRateScheduler(lambda epoch: None))


def test_csv_logger(tmp_path):
    path = tmp_path / "logs" / "log.csv"
    fit(compiled(0.1), cb.CSVLogger(path), epochs=2)
    fit(compiled(0.1), cb.CSVLogger(path, append=True), epochs=1)
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["epoch", "loss", "mae"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "0"]
    assert 0 < float(rows[2][1]) < float(rows[1][1])
    fit(compiled(0.1), cb.CSVLogger(path, separator=";"), validation_split=0.5, validation_freq=2)
    rows = list(csv.reader(path.read_text().splitlines(), delimiter=";"))
    assert rows[0] == ["epoch", "loss", "mae", "val_loss", "val_mae"]
    assert rows[1][3:] == ["NA", "NA"]
    assert float(rows[2][3]) > 0


def test_terminate_on_nan(capsys):
    model = compiled(1e30)
    history = fit(model, cb.TerminateOnNaN(), epochs=9)
    assert len(history.epoch) == 1
    assert "Invalid loss, terminating training" in capsys.readouterr().out


def test_hooks_are_called_in_order():
    calls = []
    hooks = [name for name in dir(cb.Callback) if name.startswith("on_") and "_batch_" in name]
    hooks += ["on_train_begin", "on_train_end", "on_epoch_begin", "on_epoch_end"]
    hooks += ["on_test_begin", "on_test_end"]
    hooks = [name for name in hooks if name not in ("on_batch_begin", "on_batch_end")]

    def record(name):
        return lambda *args: calls.append(name)

    model = compiled(0.1)
    recorder = cb.LambdaCallback(**{name: record(name) for name in hooks})
    fit(model, recorder, epochs=1, validation_split=0.5)
    assert calls == [
        "on_train_begin",
        "on_epoch_begin",
        "on_train_batch_begin",
        "on_train_batch_end",
        "on_test_begin",
        "on_test_batch_begin",
        "on_test_batch_end",
        "on_test_end",
        "on_epoch_end",
        "on_train_end",
    ]
    calls.clear()
    model.predict(np.zeros((2, 1)), callbacks=cb.LambdaCallback(on_predict_end=record("end")))
    assert calls == ["end"]
    with pytest.raises(TypeError, match="name of a hook but got 'on_lunch'"):
        cb.LambdaCallback(on_lunch=print)


def test_batch_logs_run_over_the_epoch():
    seen = []
    history = fit(
        compiled(0.1),
        cb.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append((batch, dict(logs)))),
        epochs=1,
    )
    assert [batch for batch, _ in seen] == [0, 1]
    assert seen[-1][1]["loss"] == history.history["loss"][0]


def test_old_names_of_batch_hooks():
    class Old(cb.Callback):
        count = 0

        def on_batch_end(self, batch, logs=None):
            self.count += 1

    callback = Old()
    fit(compiled(0.1), callback, epochs=2)
    assert callback.count == 4


def test_stop_training_within_an_epoch():
    class Stop(cb.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    seen = []
    counter = cb.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(batch))
    fit(compiled(0.1), Stop(), counter)
    assert seen == [0]


def test_history_and_list():
    model = compiled(0.1)
    history = fit(model)
    assert model.history is history
    assert history.epoch == [0, 1, 2]
    assert list(history.history) == ["loss", "mae"]
    assert history.params["epochs"] == 3
    with pytest.raises(TypeError, match="instances of Callback"):
        fit(model, cb.EarlyStopping)
