"""The base of callbacks, the list that calls them, and the record of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from annx.nn import Module

Logs: TypeAlias = "dict[str, Any] | None"


class Callback:
    """Base class of callbacks, with Keras's hooks: define those you need.

    ``logs`` holds the values so far: ``loss`` and the metrics, at the end of an epoch those of
    validation too, with ``val_`` before the name. Epochs and batches are counted from 0.

    Attributes:
        model: the module that is trained; ``model.stop_training = True`` ends the training after
            the epoch (within an epoch: after the batch).
        params: ``{"verbose": …, "epochs": …, "steps": …}``.
    """

    model: Module
    params: dict[str, Any]

    def set_model(self, model: Module) -> None:
        """Called before the first hook."""
        self.model = model

    def set_params(self, params: dict[str, Any]) -> None:
        """Called before the first hook."""
        self.params = params

    def on_train_begin(self, logs: Logs = None) -> None:
        """Before the first epoch."""

    def on_train_end(self, logs: Logs = None) -> None:
        """After the last epoch; ``logs`` are those of its end."""

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Before the first batch of an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """After validation. What is added to ``logs`` enters the history."""

    def on_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Another name of :meth:`on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Another name of :meth:`on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a step."""
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a step; ``logs`` are the values over the epoch so far."""
        self.on_batch_end(batch, logs)

    def on_test_begin(self, logs: Logs = None) -> None:
        """Before an evaluation, that of validation included."""

    def on_test_end(self, logs: Logs = None) -> None:
        """After an evaluation."""

    def on_test_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of an evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a batch of an evaluation."""

    def on_predict_begin(self, logs: Logs = None) -> None:
        """Before a prediction."""

    def on_predict_end(self, logs: Logs = None) -> None:
        """After a prediction."""

    def on_predict_batch_begin(self, batch: int, logs: Logs = None) -> None:
        """Before a batch of a prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs = None) -> None:
        """After a batch of a prediction."""


class History(Callback):
    """Records the logs of every epoch; ``fit`` returns it.

    Attributes:
        epoch: indices of the epochs.
        history: name -> list with a value per epoch.
    """

    def __init__(self) -> None:
        self.epoch: list[int] = []
        self.history: dict[str, list[Any]] = {}

    def on_train_begin(self, logs: Logs = None) -> None:
        self.epoch = []
        self.history = {}

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)

    def __repr__(self) -> str:
        return f"History(epochs={len(self.epoch)}, keys={list(self.history)})"


# The hooks of single batches: where no callback defines one, a loop need not gather its logs.
_BATCH_HOOKS = {
    "train": ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end"),
    "test": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}


def _defines(callback: Callback, hooks: tuple[str, ...]) -> bool:
    def own(hook: str) -> bool:
        found = getattr(callback, hook, None)
        return getattr(found, "__func__", found) is not getattr(Callback, hook)

    return any(own(hook) for hook in hooks)


class CallbackList:
    """Calls a hook of several callbacks, in order.

    Args:
        callbacks: Callbacks; any object with the hooks will do, such as one written for Keras.
        model: handed to each with ``set_model``.
        add_history: add a :class:`History` if there is none.
        params: handed to each with ``set_params``.

    Raises:
        TypeError: one is a class instead of an instance, or no callback.
    """

    def __init__(
        self,
        callbacks: Iterable[Any] | Any | None = None,
        model: Module | None = None,
        add_history: bool = False,
        **params: Any,
    ) -> None:
        if callbacks is None:
            callbacks = []
        elif not isinstance(callbacks, (list, tuple)):
            callbacks = [callbacks]
        self.callbacks: list[Any] = list(callbacks)
        for callback in self.callbacks:
            if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
                raise TypeError(f"[callbacks] expected instances of Callback but got {callback!r}")
        found = [callback for callback in self.callbacks if isinstance(callback, History)]
        self.history = found[0] if found else History()
        if add_history and not found:
            # Last, so that it records what the others add to the logs.
            self.callbacks.append(self.history)
        self.on_train_batches = any(_defines(c, _BATCH_HOOKS["train"]) for c in self.callbacks)
        self.on_test_batches = any(_defines(c, _BATCH_HOOKS["test"]) for c in self.callbacks)
        self.on_predict_batches = any(_defines(c, _BATCH_HOOKS["predict"]) for c in self.callbacks)
        for callback in self.callbacks:
            if model is not None:
                callback.set_model(model)
            callback.set_params(params)

    def call(self, hook: str, *args: Any) -> None:
        """Calls the hook of that name of each callback."""
        for callback in self.callbacks:
            getattr(callback, hook)(*args)
