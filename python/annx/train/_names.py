"""Finds what a name given to ``compile`` stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from annx.train._objective import Objective

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from annx.metrics import Metric
    from annx.optim import Optimizer

_OPTIMIZERS = {
    "adadelta": "Adadelta",
    "adagrad": "Adagrad",
    "adam": "Adam",
    "adamax": "Adamax",
    "adamw": "AdamW",
    "lion": "Lion",
    "nadam": "NAdam",
    "radam": "RAdam",
    "rmsprop": "RMSprop",
    "sgd": "SGD",
}

_METRICS = {
    "accuracy": "Accuracy",
    "acc": "Accuracy",
    "binary_accuracy": "Accuracy",
    "categorical_accuracy": "Accuracy",
    "sparse_categorical_accuracy": "Accuracy",
    "mae": "MeanAbsoluteError",
    "mean_absolute_error": "MeanAbsoluteError",
    "mse": "MeanSquaredError",
    "mean_squared_error": "MeanSquaredError",
    "rmse": "RootMeanSquaredError",
    "root_mean_squared_error": "RootMeanSquaredError",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1Score",
    "f1_score": "F1Score",
}


def unknown_name(what: str, name: str, known: Mapping[str, Any]) -> ValueError:
    """The error for a name that is not known, with the nearest one that is."""
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return ValueError(
        f"[compile] expected {what} to be one of {', '.join(known)} but got {name!r}{hint}"
    )


def find_optimizer(optimizer: Any, parameters: list[Any]) -> Optimizer:
    """An optimizer over ``parameters``.

    Args:
        optimizer: a name, an optimizer that is bound already, or a callable parameters ->
            optimizer, such as a class.
        parameters: those of the model.

    Raises:
        ValueError: the name is unknown, or an optimizer holds none of the parameters.
        TypeError: ``optimizer`` is none of these, or returns something else.
    """
    from annx import optim

    if isinstance(optimizer, str):
        if optimizer.lower() not in _OPTIMIZERS:
            raise unknown_name("optimizer", optimizer, _OPTIMIZERS)
        optimizer = getattr(optim, _OPTIMIZERS[optimizer.lower()])
    if not isinstance(optimizer, optim.Optimizer):
        if not callable(optimizer):
            raise TypeError(
                "[compile] expected optimizer as a name, an Optimizer or a callable from "
                f"parameters to one but got {type(optimizer).__name__}"
            )
        optimizer = optimizer(parameters)
        if not isinstance(optimizer, optim.Optimizer):
            raise TypeError(
                "[compile] expected the optimizer callable to return an Optimizer but got "
                f"{type(optimizer).__name__}"
            )
    own = {id(parameter) for parameter in parameters}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            "[compile] expected an optimizer over this model's parameters but got one over "
            "others; make it from model.parameters() of the same model"
        )
    return optimizer


class _FunctionMetric:
    """A callable as a metric: the mean over batches, weighted by their samples."""

    higher_is_better: bool | None = None

    def __init__(self, name: str, function: Callable[[Any, Any], Any]) -> None:
        self.name = name
        self.function = function
        self.reset()

    def reset(self) -> None:
        self._total = 0.0
        self._count = 0

    def update(self, prediction: Any, target: Any) -> None:
        import numpy as np

        from annx.metrics._labels import as_array

        value = as_array(self.function(prediction, target))
        first = next(iter(target.values())) if isinstance(target, dict) else target
        samples = len(first[0] if isinstance(first, (tuple, list)) else first)
        self._total += float(np.mean(value)) * samples
        self._count += samples

    def compute(self) -> float:
        return self._total / self._count if self._count else float("nan")


def find_metrics(metrics: Any, objective: Objective) -> list[Metric]:
    """Metrics, each with a name of its own.

    Args:
        metrics: None, or one of or a list of names, Metric objects (or classes) and callables
            (prediction, target) -> value.
        objective: the loss; it tells where the classes are and what a score means.

    Raises:
        ValueError: a name is unknown, or appears twice.
        TypeError: an entry is none of these.
    """
    from annx import metrics as library

    if metrics is None:
        metrics = []
    if not isinstance(metrics, (list, tuple)):
        metrics = [metrics]
    found: list[Any] = []
    for metric in metrics:
        if isinstance(metric, type) and issubclass(metric, library.Metric):
            metric = metric()  # type: ignore[call-arg]
        if isinstance(metric, str):
            if metric not in _METRICS:
                raise unknown_name("a metric", metric, _METRICS)
            kind = getattr(library, _METRICS[metric])
            if issubclass(kind, (library.MeanAbsoluteError, library.MeanSquaredError)):
                found.append(kind(metric))
                continue
            threshold = objective.threshold
            if metric == "binary_accuracy" and threshold is None:
                threshold = 0.5
            found.append(kind(metric, threshold=threshold, axis=objective.axis))
        elif isinstance(metric, library.Metric):
            found.append(metric)
        elif callable(metric):
            found.append(_FunctionMetric(getattr(metric, "__name__", "metric"), metric))
        else:
            raise TypeError(
                "[compile] expected metrics as names, Metrics or callables but got "
                f"{type(metric).__name__}"
            )
    names = [metric.name for metric in found]
    for name in names:
        if name == "loss":
            raise ValueError("[compile] expected a metric of another name than 'loss'")
        if names.count(name) > 1:
            raise ValueError(
                f"[compile] expected metrics of different names but got {name!r} twice"
            )
    return found
