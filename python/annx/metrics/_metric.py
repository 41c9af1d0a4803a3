"""Measures over a stream of batches: the value is that of all samples together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from annx.metrics._labels import count, labels, paired, scores

if TYPE_CHECKING:
    from annx.metrics._labels import Array


class Metric(ABC):
    """Base class: :meth:`update` takes in batches, :meth:`compute` gives the value so far.

    Attributes:
        name: key in the logs of ``fit``.
        higher_is_better: the direction callbacks look for; None if there is none.
    """

    higher_is_better: bool | None = None

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forgets all batches."""

    @abstractmethod
    def update(self, prediction: Any, target: Any) -> None:
        """Takes in a batch."""

    @abstractmethod
    def compute(self) -> float:
        """The value over all batches since the last reset; NaN if there was none."""

    def _update_batches(self, prediction: Any, target: Any, size: int) -> None:
        """As :meth:`update` for each ``size`` rows in turn; of the metrics of this file only."""
        self.update(prediction, target)

    def __call__(self, prediction: Any, target: Any) -> float:
        """Takes in a batch and gives the value over all so far."""
        self.update(prediction, target)
        return self.compute()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class _Mean(Metric):
    """A quotient of two sums, each kept in float64."""

    def reset(self) -> None:
        self._total = 0.0
        self._count = 0

    def _add_batches(self, values: Array, size: int) -> None:
        # A row is summed as it would be alone.
        for total in values.reshape(len(values) // size, -1).sum(axis=1).tolist():
            self._total += total
        self._count += values.size

    def compute(self) -> float:
        return self._total / self._count if self._count else float("nan")


class Accuracy(_Mean):
    """The share of right decisions: see :func:`annx.metrics.accuracy`."""

    higher_is_better = True

    def __init__(
        self, name: str = "accuracy", threshold: float | None = None, axis: int = -1
    ) -> None:
        self.threshold = threshold
        self.axis = axis
        super().__init__(name)

    def update(self, prediction: Any, target: Any) -> None:
        p, t, _ = labels(self.name, prediction, target, self.threshold, self.axis)
        self._total += int(np.count_nonzero(p == t))
        self._count += p.size


class MeanAbsoluteError(_Mean):
    """See :func:`annx.metrics.mae`."""

    higher_is_better = False

    def __init__(self, name: str = "mae") -> None:
        super().__init__(name)

    def update(self, prediction: Any, target: Any) -> None:
        p, t = paired(self.name, prediction, target)
        self._total += float(np.abs(p - t).sum())
        self._count += p.size

    def _update_batches(self, prediction: Any, target: Any, size: int) -> None:
        p, t = paired(self.name, prediction, target)
        self._add_batches(np.abs(p - t), size)


class MeanSquaredError(_Mean):
    """See :func:`annx.metrics.mse`."""

    higher_is_better = False

    def __init__(self, name: str = "mse") -> None:
        super().__init__(name)

    def update(self, prediction: Any, target: Any) -> None:
        p, t = paired(self.name, prediction, target)
        difference = (p - t).reshape(-1)
        self._total += float(np.square(difference).sum())
        self._count += p.size

    def _update_batches(self, prediction: Any, target: Any, size: int) -> None:
        p, t = paired(self.name, prediction, target)
        self._add_batches(np.square(p - t), size)


class RootMeanSquaredError(MeanSquaredError):
    """See :func:`annx.metrics.rmse`."""

    def __init__(self, name: str = "rmse") -> None:
        super().__init__(name)

    def compute(self) -> float:
        return sqrt(super().compute())


class _Confusion(Metric):
    """A value of the confusion matrix of all batches, which grows with the classes seen."""

    higher_is_better = True
    _PART = 0

    def __init__(self, name: str, average: str, threshold: float | None, axis: int) -> None:
        scores(np.zeros((1, 1)), average)  # raises for an unknown average
        self.average = average
        self.threshold = threshold
        self.axis = axis
        super().__init__(name)

    def reset(self) -> None:
        self._matrix: Array = np.zeros((0, 0), np.int64)

    def update(self, prediction: Any, target: Any) -> None:
        p, t, known = labels(self.name, prediction, target, self.threshold, self.axis)
        batch = count(self.name, p, t, known)
        size, old = len(batch), len(self._matrix)
        if size > old:
            self._matrix = np.pad(self._matrix, (0, size - old))
        self._matrix[:size, :size] += batch

    def compute(self) -> float:
        return scores(self._matrix, self.average)[self._PART] if len(self._matrix) else float("nan")


class Precision(_Confusion):
    """See :func:`annx.metrics.precision`."""

    def __init__(
        self,
        name: str = "precision",
        average: str = "auto",
        threshold: float | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name, average, threshold, axis)


class Recall(_Confusion):
    """See :func:`annx.metrics.recall`."""

    _PART = 1

    def __init__(
        self,
        name: str = "recall",
        average: str = "auto",
        threshold: float | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name, average, threshold, axis)


class F1Score(_Confusion):
    """See :func:`annx.metrics.f1_score`."""

    _PART = 2

    def __init__(
        self,
        name: str = "f1_score",
        average: str = "auto",
        threshold: float | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(name, average, threshold, axis)
