"""The loops over batches: training, evaluation, prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from annx.autograd import enable_grad, no_grad
from annx.train._data import leaves, map_tree
from annx.train._interrupt import StepGuard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from annx.metrics import Metric
    from annx.optim import Optimizer
    from annx.train._callback import CallbackList
    from annx.train._data import Stream
    from annx.train._objective import Objective
    from annx.train._progress import Progress


class Compiled:
    """What ``compile`` was told."""

    def __init__(self, optimizer: Optimizer, objective: Objective, metrics: list[Metric]) -> None:
        self.optimizer = optimizer
        self.objective = objective
        self.metrics = metrics


def call_model(model: Any, x: Any) -> Any:
    """A tuple becomes several arguments, a dict arguments by name."""
    if isinstance(x, tuple):
        return model(*x)
    return model(**x) if isinstance(x, dict) else model(x)


def detached(tree: Any) -> Any:
    """A prediction without its graph."""
    return map_tree(lambda leaf: leaf.detach(), tree)


class Modes:
    """Puts every module back into the mode it had: training or not."""

    def __init__(self, model: Any) -> None:
        self._modes = [(module, module.training) for module in model.modules()]

    def restore(self) -> None:
        """Sets the modes found at the start."""
        for module, training in self._modes:
            module.training = training


class _Values:
    """Loss and metrics over the samples so far."""

    def __init__(self, metrics: list[Metric]) -> None:
        self.metrics = metrics
        self.total = 0.0
        self.count = 0
        for metric in metrics:
            metric.reset()

    def update(self, loss: float, samples: int, prediction: Any, target: Any) -> None:
        self.total += loss * samples
        self.count += samples
        if self.metrics:
            prediction = detached(prediction)
            for metric in self.metrics:
                metric.update(prediction, target)

    def logs(self) -> dict[str, float]:
        values = {"loss": self.total / self.count if self.count else float("nan")}
        for metric in self.metrics:
            values[metric.name] = float(metric.compute())
        return values


def train_epoch(
    model: Any,
    compiled: Compiled,
    stream: Stream,
    callbacks: CallbackList,
    progress: Progress,
    guard: StepGuard,
    bounds: tuple[int, int] | None,
    clip_grad_norm: float | None,
) -> dict[str, float]:
    """One epoch of training; returns its logs."""
    from annx.nn.utils import clip_grad_norm_

    objective, optimizer = compiled.objective, compiled.optimizer
    values = _Values(compiled.metrics)
    watched = callbacks.on_train_batches
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    model.train()
    with enable_grad():
        for step, (x, y, weight) in enumerate(stream.epoch()):
            if watched:
                callbacks.call("on_train_batch_begin", step, {})
            guard.busy = True
            optimizer.zero_grad()
            prediction = call_model(model, x)
            target = objective.fit_target(prediction, y)
            if step == 0:
                objective.check_scores(prediction)
                objective.check_classes(prediction, bounds)
            loss = objective(prediction, target, weight)
            loss.backward()
            if clip_grad_norm is not None:
                clip_grad_norm_(parameters, clip_grad_norm)
            optimizer.step()
            values.update(loss.item(), int(leaves(x)[0].shape[0]), prediction, target)
            guard.release()
            progress.batch(step + 1, values.logs)
            if watched:
                callbacks.call("on_train_batch_end", step, values.logs())
                if model.stop_training:
                    break
    return values.logs()


def evaluate_batches(
    model: Any,
    compiled: Compiled,
    stream: Stream,
    callbacks: CallbackList,
    progress: Progress | None,
    bounds: tuple[int, int] | None,
) -> dict[str, float]:
    """Loss and metrics over all batches, without training."""
    objective = compiled.objective
    values = _Values(compiled.metrics)
    watched = callbacks.on_test_batches
    callbacks.call("on_test_begin", {})
    model.eval()
    with no_grad():
        for step, (x, y, weight) in enumerate(stream.epoch()):
            if watched:
                callbacks.call("on_test_batch_begin", step, {})
            prediction = call_model(model, x)
            target = objective.fit_target(prediction, y)
            if step == 0:
                objective.check_scores(prediction)
                objective.check_classes(prediction, bounds)
            loss = objective(prediction, target, weight)
            values.update(loss.item(), int(leaves(x)[0].shape[0]), prediction, target)
            if progress is not None:
                progress.batch(step + 1, values.logs)
            if watched:
                callbacks.call("on_test_batch_end", step, values.logs())
    logs = values.logs()
    callbacks.call("on_test_end", logs)
    return logs


def predict_batches(
    model: Any, stream: Stream, callbacks: CallbackList, progress: Progress, samples: int | None
) -> Any:
    """The outputs for all batches, as arrays."""
    watched = callbacks.on_predict_batches
    callbacks.call("on_predict_begin", {})
    model.eval()
    collector: _Collector | None = None
    with no_grad():
        for step, (x, _, _) in enumerate(stream.epoch()):
            if watched:
                callbacks.call("on_predict_batch_begin", step, {})
            output = call_model(model, x)
            if collector is None:
                collector = _Collector(output, samples)
            collector.add(output)
            progress.batch(step + 1, dict)
            if watched:
                callbacks.call("on_predict_batch_end", step, {})
    callbacks.call("on_predict_end", {})
    assert collector is not None  # a stream gives at least one batch
    return collector.result()


class _Collector:
    """Puts the outputs of batches together, written once where their number is known."""

    def __init__(self, first: Any, samples: int | None) -> None:
        self._first = first
        self._samples = samples
        self._at = 0
        self._whole: list[Any] = []
        self._parts: list[list[Any]] = []

    def add(self, output: Any) -> None:
        arrays = [leaf.detach().cpu().numpy() for leaf in leaves(output)]
        if self._samples is None:
            self._parts.append([array.copy() for array in arrays])
            return
        if not self._whole:
            self._whole = [
                np.empty((self._samples, *array.shape[1:]), array.dtype) for array in arrays
            ]
        rows = len(arrays[0])
        for whole, array in zip(self._whole, arrays, strict=True):
            whole[self._at : self._at + rows] = array
        self._at += rows

    def result(self) -> Any:
        if self._samples is None:
            columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        else:
            columns = [whole[: self._at] for whole in self._whole]
        rest: Iterator[Any] = iter(columns)
        return map_tree(lambda leaf: next(rest), self._first)
