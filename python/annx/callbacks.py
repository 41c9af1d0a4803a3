"""Callbacks for ``fit``, with Keras's names, arguments and meaning."""

from __future__ import annotations

import os
import warnings
from math import inf, isinf, isnan
from typing import TYPE_CHECKING, Any

from annx.train._callback import Callback as Callback
from annx.train._callback import CallbackList as CallbackList
from annx.train._callback import History as History

if TYPE_CHECKING:
    from collections.abc import Callable

    from annx.train._callback import Logs

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "ReduceLROnPlateau",
    "TerminateOnNaN",
]

# Endings of names of values that grow when a model gets better, and that shrink.
_RISING = ("acc", "accuracy", "auc", "precision", "recall", "f1", "f1_score", "r2")
_FALLING = ("loss", "error", "mse", "mae", "rmse", "entropy", "crossentropy", "perplexity")


class _Monitor(Callback):
    """What callbacks share that watch one value of the logs."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ValueError(
                f"[{type(self).__name__}] expected mode 'auto', 'min' or 'max' but got {mode!r}"
            )
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best: float = inf
        self._rising: bool | None = None
        self._warned = False

    @property
    def rising(self) -> bool:
        """Whether a larger value is a better one."""
        if self._rising is None:
            self._rising = self.mode == "max" if self.mode != "auto" else self._guess()
        return self._rising

    def _guess(self) -> bool:
        name = self.monitor.removeprefix("val_")
        for metric in getattr(self.model, "metrics", None) or ():
            if metric.name == name and metric.higher_is_better is not None:
                return bool(metric.higher_is_better)
        if name.endswith(_RISING):
            return True
        if name.endswith(_FALLING):
            return False
        raise ValueError(
            f"[{type(self).__name__}] expected mode='min' or 'max' for monitor {self.monitor!r}, "
            "whose better direction is not known, but got 'auto'"
        )

    def reset_best(self, start: float | None = None) -> None:
        """The value that the first one is compared with."""
        self.best = (-inf if self.rising else inf) if start is None else start

    def value(self, logs: Logs) -> float | None:
        """The watched value, or None with a warning, given once per training."""
        logs = logs or {}
        current = logs.get(self.monitor)
        if current is None:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"[{type(self).__name__}] expected {self.monitor!r} in the logs but got "
                    f"{', '.join(logs)}; it does nothing in such epochs",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return None
        return float(current)

    def improves(self, current: float, reference: float) -> bool:
        """Whether ``current`` is better than ``reference`` by more than ``min_delta``."""
        if self.rising:
            return current - self.min_delta > reference
        return current + self.min_delta < reference


class EarlyStopping(_Monitor):
    """Ends the training when a value has stopped improving.

    Args:
        monitor: name of the value.
        min_delta: a smaller change is no improvement.
        patience: epochs without improvement until training ends.
        verbose: 1 prints a line when it acts.
        mode: ``"min"``, ``"max"`` or ``"auto"``, which goes by the metric or its name.
        baseline: patience is restored only by values better than this.
        restore_best_weights: at the end, return to the weights (and buffers) of the best epoch.
        start_from_epoch: epochs before the first one that counts.

    Raises:
        ValueError: ``mode`` is unknown, or ``"auto"`` for a name that does not tell.

    Source: ``keras.callbacks.EarlyStopping``; guide, "Early Stopping".
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._restart()

    def _restart(self) -> None:
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best_weights: dict[str, Any] | None = None
        self._warned = False

    def on_train_begin(self, logs: Logs = None) -> None:
        self._restart()
        self.reset_best()

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        current = self.value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)
        self.wait += 1
        if self.improves(current, self.best):
            self.best = current
            self.best_epoch = epoch
            if self.restore_best_weights:
                self._keep(epoch)
            if self.baseline is None or self.improves(current, self.baseline):
                self.wait = 0
            return
        if self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _keep(self, epoch: int) -> None:
        self.best_epoch = epoch
        state = self.model.state_dict()
        self.best_weights = {name: tensor.detach().clone() for name, tensor in state.items()}

    def on_train_end(self, logs: Logs = None) -> None:
        if self.stopped_epoch > 0 and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}."
                )
            self.model.load_state_dict(self.best_weights)


class ReduceLROnPlateau(_Monitor):
    """Multiplies the learning rates by ``factor`` when a value has stopped improving.

    The first group's rate enters the logs as ``learning_rate``.

    Args:
        monitor: name of the value.
        factor: below 1.
        patience: epochs without improvement until the rate falls.
        verbose: 1 prints a line when it acts.
        mode: as for :class:`EarlyStopping`.
        min_delta: a smaller change is no improvement.
        cooldown: epochs after a reduction in which nothing is counted.
        min_lr: lower bound of the rates.

    Raises:
        ValueError: ``factor`` is not below 1, or ``mode`` is unknown.

    Source: ``keras.callbacks.ReduceLROnPlateau``.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if factor >= 1.0:
            raise ValueError(f"[ReduceLROnPlateau] expected factor < 1 but got {factor}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.cooldown_counter = 0
        self.wait = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self.cooldown_counter = 0
        self.wait = 0
        self._warned = False
        self.reset_best()

    def in_cooldown(self) -> bool:
        """Whether epochs are not counted now."""
        return self.cooldown_counter > 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        groups = self.model.optimizer.param_groups
        if logs is not None:
            logs["learning_rate"] = float(groups[0]["lr"])
        current = self.value(logs)
        if current is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(current, self.best):
            self.best = current
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and any(float(g["lr"]) > self.min_lr for g in groups):
                self._reduce(epoch, groups)

    def _reduce(self, epoch: int, groups: list[dict[str, Any]]) -> None:
        for group in groups:
            old = float(group["lr"])
            if old > self.min_lr:
                group["lr"] = max(old * self.factor, self.min_lr)
        if self.verbose:
            print(
                f"Epoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {groups[0]['lr']}."
            )
        self.cooldown_counter = self.cooldown
        self.wait = 0


class ModelCheckpoint(_Monitor):
    """Saves the model, at the end of every epoch, every so many batches, or when it is best.

    Args:
        filepath: file name; fields such as ``{epoch:02d}`` and ``{val_loss:.3f}`` are filled in.
            Missing folders are made.
        monitor: name of the value that decides what is best.
        verbose: 1 prints a line when it acts.
        save_best_only: save only when the value has improved.
        save_weights_only: taken for compatibility; a file holds parameters and buffers.
        mode: as for :class:`EarlyStopping`.
        save_freq: ``"epoch"``, or a number of batches.
        initial_value_threshold: the value to be improved on first.

    Raises:
        ValueError: ``mode`` or ``save_freq`` is unknown.
        KeyError: ``filepath`` has a field that is not in the logs.

    Source: ``keras.callbacks.ModelCheckpoint``.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise ValueError(
                f"[ModelCheckpoint] expected save_freq 'epoch' or an int >= 1 but got {save_freq!r}"
            )
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.initial_value_threshold = initial_value_threshold
        self._started = False
        self._epoch = 0
        self._batches = 0

    def on_train_begin(self, logs: Logs = None) -> None:
        self._warned = False
        # The best value lives through several trainings, as in Keras.
        if self.save_best_only and not self._started:
            self._started = True
            self.reset_best(self.initial_value_threshold)

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            return
        self._batches += 1
        if self._batches >= int(self.save_freq):
            self._batches = 0
            self._save(logs, batch=batch + 1)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if self.save_freq == "epoch":
            self._save(logs)

    def _save(self, logs: Logs, **fields: int) -> None:
        path = self._path(logs, **fields)
        if not self._wanted(logs, path):
            return
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        self.model.save(path)

    def _path(self, logs: Logs, **fields: int) -> str:
        try:
            return self.filepath.format(**{"epoch": self._epoch + 1, **fields, **(logs or {})})
        except KeyError as error:
            raise KeyError(
                f"[ModelCheckpoint] expected fields of the logs, {', '.join(logs or {})}, in "
                f"filepath but got {error} in {self.filepath!r}"
            ) from None

    def _wanted(self, logs: Logs, path: str) -> bool:
        if not self.save_best_only:
            self._say(f"saving model to {path}")
            return True
        current = self.value(logs)
        if current is None:
            return False
        if not self.improves(current, self.best):
            self._say(f"{self.monitor} did not improve from {self.best:.5f}")
            return False
        self._say(
            f"{self.monitor} improved from {self.best:.5f} to {current:.5f}, saving model to {path}"
        )
        self.best = current
        return True

    def _say(self, text: str) -> None:
        if self.verbose:
            print(f"Epoch {self._epoch + 1}: {text}")


class LearningRateScheduler(Callback):
    """Sets the learning rates at the start of each epoch by a function.

    Args:
        schedule: ``(epoch, lr) -> lr`` or ``(epoch) -> lr``; ``lr`` is the first group's rate. All
            groups get the result.
        verbose: 1 prints a line per epoch.

    Raises:
        TypeError: what ``schedule`` returns is not a number.

    Source: ``keras.callbacks.LearningRateScheduler``.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose
        self._takes_lr = _positional_arguments(schedule) != 1

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        groups = self.model.optimizer.param_groups
        lr = float(groups[0]["lr"])
        rate: Any = self.schedule(epoch, lr) if self._takes_lr else self.schedule(epoch)
        try:
            rate = float(rate)
        except (TypeError, ValueError):
            raise TypeError(
                f"[LearningRateScheduler] expected schedule to return a number but got {rate!r}"
            ) from None
        for group in groups:
            group["lr"] = rate
        if self.verbose:
            print(f"Epoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.param_groups[0]["lr"])


def _positional_arguments(function: Callable[..., Any]) -> int | None:
    """Required positional arguments, or None where that cannot be told."""
    import inspect

    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in kinds for p in parameters)


class LambdaCallback(Callback):
    """A callback made of functions.

    Args:
        on_epoch_begin, on_epoch_end: ``(epoch, logs)``.
        on_train_begin, on_train_end: ``(logs)``.
        on_train_batch_begin, on_train_batch_end: ``(batch, logs)``.
        hooks: other hooks of :class:`Callback` by name.

    Raises:
        TypeError: a name is not that of a hook.

    Source: ``keras.callbacks.LambdaCallback``.
    """

    def __init__(
        self,
        on_epoch_begin: Callable[[int, Logs], Any] | None = None,
        on_epoch_end: Callable[[int, Logs], Any] | None = None,
        on_train_begin: Callable[[Logs], Any] | None = None,
        on_train_end: Callable[[Logs], Any] | None = None,
        on_train_batch_begin: Callable[[int, Logs], Any] | None = None,
        on_train_batch_end: Callable[[int, Logs], Any] | None = None,
        **hooks: Callable[..., Any],
    ) -> None:
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **hooks,
        }
        for name, function in given.items():
            if not name.startswith("on_") or not hasattr(Callback, name):
                raise TypeError(f"[LambdaCallback] expected the name of a hook but got {name!r}")
            if function is not None:
                setattr(self, name, function)


class CSVLogger(Callback):
    """Writes the logs of every epoch as a line of a CSV file.

    Columns are ``epoch`` (from 0) and the names of the logs of the first epoch, sorted, with those
    of validation where validation is not done in that epoch; a missing value is ``NA``.

    Args:
        filename: the file; missing folders are made.
        separator: between values.
        append: add to the file instead of writing it anew.

    Source: ``keras.callbacks.CSVLogger``.
    """

    def __init__(
        self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False
    ) -> None:
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._keys: list[str] | None = None
        self._fresh = True

    def on_train_begin(self, logs: Logs = None) -> None:
        self._keys = None
        folder = os.path.dirname(self.filename)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(self.filename, "a" if self.append else "w", encoding="utf-8") as file:
            self._fresh = file.tell() == 0

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        import csv

        logs = logs or {}
        # Opened for each line, so that nothing is lost and nothing stays open if training breaks.
        with open(self.filename, "a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if self._keys is None:
                self._keys = self._columns(logs)
                if self._fresh:
                    writer.writerow(["epoch", *self._keys])
            writer.writerow([epoch, *(logs.get(key, "NA") for key in self._keys)])

    def _columns(self, logs: dict[str, Any]) -> list[str]:
        keys = sorted(logs)
        if self.params.get("validates") and not any(key.startswith("val_") for key in keys):
            keys += [f"val_{key}" for key in keys if key != "learning_rate"]
        return keys


class TerminateOnNaN(Callback):
    """Ends the training when the loss is NaN or infinite.

    Source: ``keras.callbacks.TerminateOnNaN``.
    """

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and (isnan(loss) or isinf(loss)):
            print(f"Batch {batch}: Invalid loss, terminating training")
            self.model.stop_training = True
