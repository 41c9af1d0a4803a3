"""The loops over batches: training, evaluation, prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from annx import _core
from annx.autograd import enable_grad, no_grad
from annx.train._data import leaves, map_tree
from annx.train._interrupt import StepGuard
from annx.train._native import Stretch, fresh_places, in_stretches
from annx.train._parts import join, samples_in, split
from annx.train._step import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from annx.metrics import Metric
    from annx.optim import Optimizer
    from annx.optim.lr_scheduler import LRScheduler
    from annx.train._callback import CallbackList
    from annx.train._objective import Objective
    from annx.train._progress import Progress
    from annx.train._stream import Stream


class Compiled:
    """What ``compile`` was told."""

    def __init__(
        self,
        optimizer: Optimizer,
        objective: Objective,
        metrics: list[Metric],
        run_eagerly: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self.objective = objective
        self.metrics = metrics
        self.run_eagerly = run_eagerly
        # Captured steps by what they do, kept from one fit to the next.
        self.steps: dict[Any, Step] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Records belong to this model and process.
        return {**self.__dict__, "steps": {}}

    def training_step(self, model: Any, clip_grad_norm: float | None) -> Step:
        """(x, y, weight, part) -> (loss, prediction and target if there are metrics)."""
        found = self.steps.get(("train", clip_grad_norm))
        if found is not None:
            return found

        def train_step(x: Any, y: Any, weight: Any, part: int | None) -> Any:
            return _take_step(model, self, x, y, weight, part, clip_grad_norm)

        step = Step(train_step, model, self.optimizer, self.run_eagerly)
        self.steps["train", clip_grad_norm] = step
        return step

    def test_step(self, model: Any) -> Step:
        """(x, y, weight) -> (loss, prediction and target if there are metrics)."""
        found = self.steps.get("test")
        if found is not None:
            return found
        objective, watched = self.objective, bool(self.metrics)

        def test_step(x: Any, y: Any, weight: Any) -> Any:
            prediction = call_model(model, x)
            target = objective.fit_target(prediction, y)
            loss = objective(prediction, target, weight)
            return (loss, prediction, target) if watched else (loss,)

        step = self.steps["test"] = Step(test_step, model, None, self.run_eagerly)
        return step


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
        self._stretches = in_stretches(metrics)
        self.total = 0.0
        self.count = 0
        for metric in metrics:
            metric.reset()

    def update(self, loss: float, samples: int, *outputs: Any) -> None:
        self.total += loss * samples
        self.count += samples
        for metric in self.metrics:
            metric.update(*outputs)

    def run(self, stretch: Stretch) -> int:
        """Takes in what a native call runs by itself; returns the number of batches."""
        if not self._stretches:
            return 0
        stretch.total = self.total
        if self.metrics:
            done, rows = stretch.run(fresh_places, self._keep)
        else:
            done, rows = stretch.run(None, None)
        self.total = stretch.total
        self.count += rows
        return done

    def _keep(self, outputs: Any, size: int) -> None:
        _, prediction, target = outputs
        for metric in self.metrics:
            metric._update_batches(prediction, target, size)

    def logs(self) -> dict[str, float]:
        values = {"loss": self.total / self.count if self.count else float("nan")}
        for metric in self.metrics:
            values[metric.name] = float(metric.compute())
        return values


def _take_step(
    model: Any,
    compiled: Compiled,
    x: Any,
    y: Any,
    weight: Any,
    part: int | None,
    clip_grad_norm: float | None,
    check: Callable[[Any], None] | None = None,
) -> Any:
    """A step of training; with ``part`` over batches of so many rows, or over lists of batches.

    ``check`` looks at predictions, before anything is written.
    """
    objective, optimizer, watched = compiled.objective, compiled.optimizer, bool(compiled.metrics)
    optimizer.zero_grad()
    parts = [(x, y, weight)] if part is None else split(x, y, weight, part)
    samples = 0 if len(parts) == 1 else samples_in(x)
    losses, predictions, targets = [], [], []
    for x, y, weight in parts:
        prediction = call_model(model, x)
        target = objective.fit_target(prediction, y)
        if check is not None:
            check(prediction)
        loss = objective(prediction, target, weight)
        if samples:
            # The mean of the gradients, each weighed by its samples.
            loss = loss * (samples_in(x) / samples)
        loss.backward()
        losses.append(loss.detach())
        if watched:
            predictions.append(detached(prediction))
            targets.append(target)
    if clip_grad_norm is None:
        optimizer.step()
    else:
        optimizer._step_clipped(clip_grad_norm)
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return (total, join(predictions), join(targets)) if watched else (total,)


def train_epoch(
    model: Any,
    compiled: Compiled,
    stream: Stream,
    callbacks: CallbackList,
    progress: Progress,
    guard: StepGuard,
    bounds: tuple[int, int] | None,
    clip_grad_norm: float | None,
    part: int | None,
    schedule: LRScheduler | None,
    check: bool,
) -> dict[str, float]:
    """One epoch of training; returns its logs.

    Args:
        part: samples of a batch where a step takes several; None where it takes one.
        schedule: is stepped after every step.
        check: the first step looks at the data.
    """

    def look(prediction: Any) -> None:
        compiled.objective.check_scores(prediction)
        compiled.objective.check_classes(prediction, bounds)

    values = _Values(compiled.metrics)
    watched = callbacks.on_train_batches
    run = compiled.training_step(model, clip_grad_norm)
    run.begin()
    model.train()
    batches = stream.epoch()
    stretch = Stretch(run, batches, (part,), schedule)
    step = 0
    with enable_grad():
        while True:
            if not watched and not (check and step == 0):
                guard.busy = True
                done = values.run(stretch)
                guard.release()
                if done:
                    step += done
                    progress.batch(step, values.logs)
                    continue
            batch = next(batches, None)
            if batch is None:
                break
            x, y, weight = batch
            if watched:
                callbacks.call("on_train_batch_begin", step, {})
            guard.busy = True
            if check and step == 0:
                loss, *outputs = _take_step(
                    model, compiled, x, y, weight, part, clip_grad_norm, look
                )
            else:
                loss, *outputs = run(x, y, weight, part)
            values.update(loss.item(), samples_in(x), *outputs)
            if schedule is not None:
                schedule.step()
            guard.release()
            progress.batch(step + 1, values.logs)
            if watched:
                callbacks.call("on_train_batch_end", step, values.logs())
                if model.stop_training:
                    break
            step += 1
    return values.logs()


def evaluate_batches(
    model: Any,
    compiled: Compiled,
    stream: Stream,
    callbacks: CallbackList,
    progress: Progress | None,
    bounds: tuple[int, int] | None,
    check: bool = True,
) -> dict[str, float]:
    """Loss and metrics over all batches, without training."""
    objective = compiled.objective
    values = _Values(compiled.metrics)
    watched = callbacks.on_test_batches
    callbacks.call("on_test_begin", {})
    model.eval()
    run = compiled.test_step(model)
    run.begin()
    batches = stream.epoch()
    stretch = Stretch(run, batches)
    step = 0
    with no_grad():
        while True:
            done = 0 if watched or (check and step == 0) else values.run(stretch)
            if done:
                step += done
                if progress is not None:
                    progress.batch(step, values.logs)
                continue
            batch = next(batches, None)
            if batch is None:
                break
            x, y, weight = batch
            if watched:
                callbacks.call("on_test_batch_begin", step, {})
            if check and step == 0:
                prediction = call_model(model, x)
                target = objective.fit_target(prediction, y)
                objective.check_scores(prediction)
                objective.check_classes(prediction, bounds)
                loss = objective(prediction, target, weight)
                outputs = [prediction, target]
            else:
                loss, *outputs = run(x, y, weight)
            values.update(loss.item(), int(leaves(x)[0].shape[0]), *outputs)
            if progress is not None:
                progress.batch(step + 1, values.logs)
            if watched:
                callbacks.call("on_test_batch_end", step, values.logs())
            step += 1
    logs = values.logs()
    callbacks.call("on_test_end", logs)
    return logs


class Prediction:
    """The step of ``predict``, captured for batches of a shape that comes again."""

    _LEAST = 64

    def __init__(self, model: Any, eagerly: bool) -> None:
        self.step = Step(lambda x: call_model(model, x), model, None, eagerly)
        self._seen: set[Any] = set()

    def __reduce__(self) -> Any:
        # A copy of the model makes its own.
        return type(None), ()

    def __call__(self, model: Any, x: Any) -> Any:
        """The output for a batch."""
        shapes = tuple([tuple(leaf.shape) for leaf in leaves(x)])
        if shapes in self._seen:
            return self.step(x)
        if len(self._seen) == self._LEAST:
            self._seen.clear()
        self._seen.add(shapes)
        return call_model(model, x)


def predict_batches(
    model: Any,
    prediction: Prediction,
    stream: Stream,
    callbacks: CallbackList,
    progress: Progress,
    samples: int | None,
) -> Any:
    """The outputs for all batches, as arrays."""
    watched = callbacks.on_predict_batches
    callbacks.call("on_predict_begin", {})
    model.eval()
    prediction.step.begin()
    collector: _Collector | None = None
    batches = stream.epoch()
    stretch = Stretch(prediction.step, batches, sums=False)
    step = 0
    with no_grad():
        while True:
            if collector is not None and not watched and samples is not None:
                done, rows = stretch.run(collector.places, None)
                if done:
                    collector.skip(rows)
                    step += done
                    progress.batch(step, dict)
                    continue
            batch = next(batches, None)
            if batch is None:
                break
            if watched:
                callbacks.call("on_predict_batch_begin", step, {})
            output = prediction(model, batch[0])
            if collector is None:
                collector = _Collector(output, samples)
            collector.add(output)
            progress.batch(step + 1, dict)
            if watched:
                callbacks.call("on_predict_batch_end", step, {})
            step += 1
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

    def places(self, specs: list[Any], batches: int) -> list[Any] | None:
        """Tensors over the next rows, if the arrays can be written as they are."""
        if len(specs) != len(self._whole):
            return None
        out = []
        for whole, (shape, dtype) in zip(self._whole, specs, strict=True):
            if list(whole.shape[1:]) != shape[1:] or whole.dtype.name != dtype:
                return None
            out.append(_core.from_buffer(whole[self._at : self._at + batches * shape[0]], False))
        return out

    def skip(self, rows: int) -> None:
        """Leaves out rows that somebody else has written."""
        self._at += rows

    def result(self) -> Any:
        if self._samples is None:
            columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        else:
            columns = [whole[: self._at] for whole in self._whole]
        rest: Iterator[Any] = iter(columns)
        return map_tree(lambda leaf: next(rest), self._first)
