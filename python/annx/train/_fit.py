"""``compile``, ``fit``, ``evaluate`` and ``predict``: what every module can do, as in Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from annx.metrics import Metric
    from annx.nn import Module
    from annx.optim import Optimizer
    from annx.optim.lr_scheduler import LRScheduler
    from annx.train._callback import History
    from annx.train._data import Batches
    from annx.train._loop import Compiled, Prediction


class Trainable:
    """Training by ``fit``, mixed into ``annx.nn.Module``.

    Data, wherever ``x`` and ``y`` stand: arrays, Tensors or lists of numbers with a dimension of
    samples first; a tuple of them for several inputs, given to ``forward`` in order, or a dict,
    given by name; or as ``x`` alone a ``Dataset``, a ``DataLoader`` or an iterable of batches
    ``(x, y)`` or ``(x, y, sample_weight)``. Floats are brought to the dtype of the parameters,
    integer targets of a classification to int64.

    Attributes:
        optimizer: the optimizer, once compiled.
        history: the record of the last ``fit``.
        stop_training: a callback sets it to end the training.
    """

    if TYPE_CHECKING:
        optimizer: Optimizer

    stop_training: bool = False
    _compiled: Compiled | None = None
    _prediction: Prediction | None = None
    _sample_shape: Any = None
    _sample_dtype: Any = None

    def compile(
        self,
        optimizer: str | Optimizer | Callable[[list[Any]], Optimizer],
        loss: Any,
        metrics: Any = None,
        run_eagerly: bool = False,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"`` with the defaults of ``annx.optim``; an
                optimizer over this model's parameters; or a callable parameters -> optimizer.
            loss: a name, a loss module, or a callable (prediction, target) -> scalar Tensor.
                PyTorch's names take what PyTorch's losses take (``"cross_entropy"`` and
                ``"bce_with_logits"``: logits), Keras's what Keras's take
                (``"sparse_categorical_crossentropy"``, ``"categorical_crossentropy"`` and
                ``"binary_crossentropy"``: probabilities).
            metrics: names (``"accuracy"``, ``"mae"``, ``"mse"``, ``"rmse"``, ``"precision"``,
                ``"recall"``, ``"f1"``), ``annx.metrics.Metric`` objects, or callables
                (prediction, target) -> value. Metrics are exact over an epoch; the values of a
                callable are averaged over batches by their number of samples.
            run_eagerly: run every step as ordinary Python instead of capturing it (see ``annx.jit``
                and ``annx.debug.explain``): for a ``forward`` with side effects or for debugging.

        Raises:
            ValueError: a name is unknown, or the optimizer holds none of the parameters.
            TypeError: an argument is of the wrong kind.
        """
        from annx.train._loop import Compiled
        from annx.train._names import find_metrics, find_optimizer
        from annx.train._objective import Objective

        model = cast("Module", self)
        objective = Objective(loss)
        found = find_metrics(metrics, objective)
        chosen = find_optimizer(optimizer, list(model.parameters()))
        compiled = Compiled(chosen, objective, found, run_eagerly)
        # Past Module.__setattr__: a loss module is no layer of the model.
        self.__dict__["_compiled"] = compiled
        self.__dict__["_prediction"] = None
        self.__dict__["optimizer"] = compiled.optimizer

    @property
    def metrics(self) -> list[Metric]:
        """The metrics given to :meth:`compile`."""
        return [] if self._compiled is None else self._compiled.metrics

    def _need_compiled(self, op: str) -> Compiled:
        if self._compiled is None:
            raise RuntimeError(
                f"[{op}] expected a compiled model but got none; call model.compile(optimizer, "
                "loss) first"
            )
        return self._compiled

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Iterable[Any] | Any | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: dict[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Iterable[int] = 1,
        *,
        clip_grad_norm: float | None = None,
        gradient_accumulation_steps: int = 1,
        lr_scheduler: LRScheduler | Callable[[Optimizer], LRScheduler] | None = None,
    ) -> History:
        """Trains the model.

        With weights the loss of a batch is ``sum(w_i * l_i) / N`` over its N samples, as in Keras,
        where ``w_i`` is the sample's weight times that of its class; metrics are not weighted. The
        loss of an epoch is the mean over its samples, whatever the batches.

        Args:
            x: inputs, or a source of batches: see the class.
            y: targets; None if ``x`` gives them.
            batch_size: samples per step, 32 by default; the last batch may be smaller. For arrays
                and Datasets.
            epochs: index of the epoch to end before, counted from 0.
            verbose: ``"auto"`` and 1: a live bar on a terminal, else a line per epoch; 2: a line
                per epoch; 0: nothing.
            callbacks: see ``annx.callbacks``.
            validation_split: share of the samples, taken from the end before shuffling, on which
                the model is evaluated instead of trained.
            validation_data: ``(x, y)`` or ``(x, y, sample_weight)``, or a source of batches;
                evaluated after an epoch. Takes the place of ``validation_split``.
            shuffle: visit the samples in an order drawn anew for each epoch from the stream that
                ``annx.manual_seed`` restarts. For arrays and Datasets.
            class_weight: class -> weight; 1 for classes left out.
            sample_weight: a weight per sample, ``(N,)``.
            initial_epoch: index of the first epoch, to go on with a training.
            steps_per_epoch: batches per epoch; the data goes on, or around, from one epoch to the
                next.
            validation_steps: batches of an evaluation.
            validation_batch_size: samples per batch of an evaluation; ``batch_size`` by default.
            validation_freq: evaluate every so many epochs, or after these epochs (from 1).
            clip_grad_norm: bound of the norm of all gradients of a step.
            gradient_accumulation_steps: batches that a step of the optimizer takes. Its gradient is
                the mean of theirs, weighed by their samples; the last step of an epoch may take
                fewer. What counts steps (``steps_per_epoch``, the bar, hooks of batches) counts
                those of the optimizer.
            lr_scheduler: a schedule of ``model.optimizer``, or a callable optimizer -> schedule,
                that is stepped after every step of the optimizer. Rates are worked out some steps
                ahead, on a copy of the schedule: a function of a ``LambdaLR`` is called more than
                once for a step and may depend on its argument only. For rates by the epoch see
                ``annx.callbacks``.

        Returns:
            The history: ``history.history["loss"]`` has a value per epoch, and so have the metrics
            and, with ``val_`` before the name, the values of validation.

        Raises:
            RuntimeError: the model is not compiled.
            TypeError: data is not made of numbers, or of an unknown kind.
            ValueError: data is empty, lengths differ, targets hold NaN or do not fit loss and
                outputs, or an argument is out of range. No weight has changed then, unless a
                source of batches gives bad data later on.
        """
        from annx.train._callback import CallbackList
        from annx.train._interrupt import StepGuard
        from annx.train._loop import Modes, evaluate_batches, train_epoch
        from annx.train._progress import Progress, choose
        from annx.train._stream import Stream

        compiled = self._need_compiled("fit")
        if x is None:
            raise ValueError("[fit] expected x but got None")
        size = _batch_size("fit", batch_size)
        _check_arguments(epochs, initial_epoch, clip_grad_norm, validation_freq)
        several = _check_several(gradient_accumulation_steps)
        batches, bounds, held_out = self._batches(
            "fit",
            x,
            y,
            sample_weight,
            class_weight,
            size * several,
            shuffle,
            validation_split if validation_data is None else 0.0,
        )
        # Arrays and Datasets give all samples of a step at once, other sources a list of batches.
        at_once = several == 1 or batches.samples is not None
        stream = Stream(batches, steps_per_epoch, 1 if at_once else several)
        part = None if several == 1 else size
        schedule = _schedule(lr_scheduler, compiled.optimizer)
        validation: Batches | None = held_out
        validation_bounds = bounds
        validation_size = (
            size if validation_batch_size is None else _batch_size("fit", validation_batch_size)
        )
        if validation_data is not None:
            validation, validation_bounds = self._validation(validation_data, validation_size)
        elif held_out is not None:
            held_out.resize(validation_size)
        steps = batches.steps if steps_per_epoch is None else steps_per_epoch
        if steps is not None and steps_per_epoch is None and not at_once:
            steps = -(-steps // several)
        mode = choose(verbose, _stdout())
        progress = Progress(mode, steps)
        handlers = CallbackList(
            callbacks,
            model=cast("Module", self),
            add_history=True,
            verbose=0 if mode == "none" else 1,
            epochs=epochs,
            steps=steps,
            validates=validation is not None,
        )
        self.__dict__["history"] = handlers.history
        self.__dict__["stop_training"] = False
        modes = Modes(self)
        logs: dict[str, Any] = {}
        validated = False
        try:
            with StepGuard() as guard:
                handlers.call("on_train_begin", {})
                for epoch in range(initial_epoch, epochs):
                    handlers.call("on_epoch_begin", epoch, {})
                    progress.begin(f"Epoch {epoch + 1:>{len(str(epochs))}}/{epochs}")
                    logs = dict(
                        train_epoch(
                            self,
                            compiled,
                            stream,
                            handlers,
                            progress,
                            guard,
                            bounds,
                            clip_grad_norm,
                            part,
                            schedule,
                            check=epoch == initial_epoch,
                        )
                    )
                    if validation is not None and _validates(epoch, validation_freq):
                        values = evaluate_batches(
                            self,
                            compiled,
                            Stream(validation, validation_steps),
                            handlers,
                            None,
                            validation_bounds,
                            check=not validated,
                        )
                        validated = True
                        logs.update({f"val_{name}": value for name, value in values.items()})
                    progress.end(logs)
                    handlers.call("on_epoch_end", epoch, logs)
                    if self.stop_training:
                        break
                handlers.call("on_train_end", logs)
        finally:
            progress.close()
            modes.restore()
        return handlers.history

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Iterable[Any] | Any | None = None,
        return_dict: bool = False,
    ) -> Any:
        """Loss and metrics over data, in evaluation mode and without gradients.

        Args:
            x, y, batch_size, sample_weight: as for :meth:`fit`.
            verbose: as for :meth:`fit`.
            steps: batches to evaluate; all by default.
            callbacks: called around the evaluation and its batches.
            return_dict: return a dict by name.

        Returns:
            The loss; with metrics a list of the loss and their values, in the order given to
            :meth:`compile`; or a dict.

        Raises:
            As :meth:`fit`.
        """
        from annx.train._callback import CallbackList
        from annx.train._loop import Modes, evaluate_batches
        from annx.train._progress import Progress, choose
        from annx.train._stream import Stream

        compiled = self._need_compiled("evaluate")
        if x is None:
            raise ValueError("[evaluate] expected x but got None")
        size = _batch_size("evaluate", batch_size)
        batches, bounds, _ = self._batches("evaluate", x, y, sample_weight, None, size, False, 0.0)
        count = batches.steps if steps is None else steps
        mode = choose(verbose, _stdout())
        progress = Progress(mode, count)
        handlers = CallbackList(
            callbacks, model=cast("Module", self), verbose=0 if mode == "none" else 1, steps=count
        )
        modes = Modes(self)
        try:
            progress.begin("")
            stream = Stream(batches, steps)
            logs = evaluate_batches(self, compiled, stream, handlers, progress, bounds)
            progress.end(logs)
        finally:
            progress.close()
            modes.restore()
        if return_dict:
            return logs
        values = list(logs.values())
        return values if len(values) > 1 else values[0]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Iterable[Any] | Any | None = None,
    ) -> Any:
        """The outputs for data, in evaluation mode and without gradients.

        The model need not be compiled.

        Args:
            x: inputs, or a source of batches of which targets are left aside.
            batch_size: samples per batch, 32 by default.
            verbose: as for :meth:`fit`; ``"auto"`` prints nothing outside of a terminal.
            steps: batches to predict; all by default.
            callbacks: called around the prediction and its batches.

        Returns:
            A NumPy array with a row per sample, or a tuple or dict of them.

        Raises:
            TypeError, ValueError: as :meth:`fit`.
        """
        from annx.train._callback import CallbackList
        from annx.train._data import Batches, Place, Rows, is_arrays
        from annx.train._loop import Modes, Prediction, predict_batches
        from annx.train._progress import Progress, choose
        from annx.train._stream import Stream

        size = _batch_size("predict", batch_size)
        place = Place(self)
        if is_arrays(x):
            inputs = place.tree("predict", "x", x)
            self._remember(inputs)
            x = Rows("predict", inputs, None, None)
        batches = Batches("predict", x, place, size)
        count = batches.steps if steps is None else steps
        mode = choose(verbose, _stdout(), quiet=True)
        progress = Progress(mode, count)
        handlers = CallbackList(
            callbacks, model=cast("Module", self), verbose=0 if mode == "none" else 1, steps=count
        )
        modes = Modes(self)
        try:
            progress.begin("")
            samples = batches.samples if steps is None else None
            prediction = self._prediction
            if prediction is None:
                eagerly = self._compiled is not None and self._compiled.run_eagerly
                prediction = Prediction(self, eagerly)
                self.__dict__["_prediction"] = prediction
            stream = Stream(batches, steps)
            outputs = predict_batches(self, prediction, stream, handlers, progress, samples)
            progress.end({})
        finally:
            progress.close()
            modes.restore()
        return outputs

    def summary(
        self,
        input_shape: Any = None,
        dtype: Any = None,
        print_fn: Callable[[str], Any] | None = None,
    ) -> None:
        """Prints a table of the layers with their output shapes and numbers of parameters.

        Args:
            input_shape: shape of a sample, without the batch: ``(64,)``; a tuple of shapes or a
                dict for several inputs. By default that of the data last seen; without any, the
                table has no shapes.
            dtype: of the inputs.
            print_fn: called with the text instead of ``print``.
        """
        from annx.train._summary import summary_text

        if input_shape is None:
            input_shape = self._sample_shape
            dtype = self._sample_dtype if dtype is None else dtype
        text = summary_text(cast("Module", self), input_shape, dtype)
        (print if print_fn is None else print_fn)(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Saves parameters and buffers as a safetensors file: see ``annx.io.save_state``."""
        from annx.io import save_state

        save_state(cast("Module", self), path)

    def load(self, path: str | os.PathLike[str], strict: bool = True) -> Any:
        """Loads what :meth:`save` wrote: see ``annx.io.load_state``."""
        from annx.io import load_state

        return load_state(cast("Module", self), path, strict)

    def _remember(self, inputs: Any) -> None:
        """Keeps the shape of a sample, for the summary."""
        from annx.train._data import leaves
        from annx.train._summary import sample_shapes

        self.__dict__["_sample_shape"] = sample_shapes(inputs)
        self.__dict__["_sample_dtype"] = leaves(inputs)[0].dtype

    def _batches(
        self,
        op: str,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: dict[int, float] | None,
        batch_size: int,
        shuffle: bool,
        split: float,
    ) -> tuple[Batches, tuple[int, int] | None, Batches | None]:
        """Batches of the data, the range of class indices, and batches held out for validation."""
        from annx.train._data import (
            Batches,
            Place,
            Rows,
            class_bounds,
            is_arrays,
            prepare_target,
            sample_weights,
        )

        place, objective = Place(self), self._need_compiled(op).objective
        if y is None and not is_arrays(x):
            if split or sample_weight is not None:
                what = "validation_split" if split else "sample_weight"
                raise ValueError(f"[{op}] expected arrays with {what} but got batches")
            batches = Batches(op, x, place, batch_size, shuffle, objective, class_weight)
            return batches, None, None
        if y is None and isinstance(x, list) and x and isinstance(x[0], tuple):
            return Batches(op, x, place, batch_size, False, objective, class_weight), None, None
        if y is None:
            raise ValueError(f"[{op}] expected y, the targets, but got None")
        inputs = place.tree(op, "x", x)
        targets = prepare_target(op, y, objective, place)
        Rows(op, inputs, targets, None)  # lengths first: weights are checked against them
        weight = sample_weights(op, targets, sample_weight, None, place)
        rows = held_rows = Rows(op, inputs, targets, weight)
        if class_weight is not None:
            # As in Keras, classes are weighed in training only.
            weight = sample_weights(op, targets, sample_weight, class_weight, place)
            rows = Rows(op, inputs, targets, weight)
        self._remember(inputs)
        bounds = class_bounds(targets, objective)
        held_out = None
        if split:
            rows, _ = rows.split(op, split)
            _, last = held_rows.split(op, split)
            held_out = Batches(op, last, place, batch_size, False, objective)
        return Batches(op, rows, place, batch_size, shuffle, objective), bounds, held_out

    def _validation(self, data: Any, batch_size: int) -> tuple[Batches, tuple[int, int] | None]:
        x, y, weight = data, None, None
        if isinstance(data, (tuple, list)):
            if not 2 <= len(data) <= 3:
                raise ValueError(
                    "[fit] expected validation_data as (x, y) or (x, y, sample_weight) but got "
                    f"{len(data)} parts"
                )
            x, y, weight = (*data, None)[:3]
        batches, bounds, _ = self._batches("fit", x, y, weight, None, batch_size, False, 0.0)
        return batches, bounds


def _stdout() -> Any:
    import sys

    return sys.stdout


def _batch_size(op: str, batch_size: int | None) -> int:
    from annx.utils.data._sampler import check_batch_size

    if batch_size is None:
        return 32
    check_batch_size(op, batch_size)
    return batch_size


def _check_arguments(
    epochs: int,
    initial_epoch: int,
    clip_grad_norm: float | None,
    validation_freq: int | Iterable[int],
) -> None:
    if isinstance(validation_freq, int) and validation_freq < 1:
        raise ValueError(f"[fit] expected validation_freq >= 1 but got {validation_freq}")
    if epochs < 0 or initial_epoch < 0:
        raise ValueError(
            "[fit] expected epochs >= 0 and initial_epoch >= 0 but got "
            f"{epochs} and {initial_epoch}"
        )
    if clip_grad_norm is not None and not clip_grad_norm > 0:
        raise ValueError(f"[fit] expected clip_grad_norm > 0 but got {clip_grad_norm}")


def _check_several(several: int) -> int:
    if isinstance(several, bool) or not isinstance(several, int):
        raise TypeError(f"[fit] expected gradient_accumulation_steps as an int but got {several!r}")
    if several < 1:
        raise ValueError(f"[fit] expected gradient_accumulation_steps >= 1 but got {several}")
    return several


def _schedule(given: Any, optimizer: Any) -> LRScheduler | None:
    from annx.optim.lr_scheduler import LRScheduler

    if given is None:
        return None
    schedule = given
    if not isinstance(given, LRScheduler) and callable(given):
        schedule = given(optimizer)
    if not isinstance(schedule, LRScheduler):
        raise TypeError(
            "[fit] expected lr_scheduler as a schedule that needs no metric, or as a callable "
            f"optimizer -> schedule, but got {type(schedule).__name__}"
        )
    if schedule.optimizer is not optimizer:
        raise ValueError(
            "[fit] expected lr_scheduler to be of model.optimizer but it is of another"
        )
    return schedule


def _validates(epoch: int, frequency: int | Iterable[int]) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency
