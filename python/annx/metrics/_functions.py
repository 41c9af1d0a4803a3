"""Measures over whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from annx.metrics._labels import count, labels, paired, scores

if TYPE_CHECKING:
    from annx.metrics._labels import Array


def _nonempty(op: str, size: int) -> None:
    if size == 0:
        raise ValueError(f"[{op}] expected at least one sample but got none")


def accuracy(prediction: Any, target: Any, threshold: float | None = None, axis: int = -1) -> float:
    """The share of right decisions.

    Args:
        prediction: scores ``(N, C)`` (or with the classes at ``axis``), binary scores ``(N,)`` or
            ``(N, 1)``, or labels ``(N,)``.
        target: labels ``(N,)`` or ``(N, 1)``, or one-hot ``(N, C)``.
        threshold: given, every element is a binary decision ``prediction > threshold``; without
            it 0.5 decides where there is one score per target.
        axis: dimension of the classes.

    Raises:
        ValueError: the shapes do not fit, or there is no sample.

    Source: guide, "Performance Evaluation".
    """
    p, t, _ = labels("accuracy", prediction, target, threshold, axis)
    _nonempty("accuracy", p.size)
    return float(np.count_nonzero(p == t) / p.size)


def _mean(op: str, prediction: Any, target: Any, power: int) -> float:
    p, t = paired(op, prediction, target)
    _nonempty(op, p.size)
    difference = np.abs(p - t)
    return float(np.mean(difference if power == 1 else difference * difference))


def mae(prediction: Any, target: Any) -> float:
    """Mean absolute error. Shapes equal, up to a last dimension of 1; else ValueError."""
    return _mean("mae", prediction, target, 1)


def mse(prediction: Any, target: Any) -> float:
    """Mean squared error. Shapes equal, up to a last dimension of 1; else ValueError."""
    return _mean("mse", prediction, target, 2)


def rmse(prediction: Any, target: Any) -> float:
    """Root of the mean squared error, in the units of the target."""
    return float(np.sqrt(_mean("rmse", prediction, target, 2)))


def confusion_matrix(prediction: Any, target: Any, num_classes: int | None = None) -> Array:
    """Counts of every pair of classes.

    Args:
        prediction, target: as for :func:`accuracy`.
        num_classes: size of the matrix; by default the number of scores, or what the labels need.

    Returns:
        int64 of shape ``(C, C)``: rows are true classes, columns predicted ones.

    Raises:
        ValueError: the shapes do not fit, or a label is out of range.
    """
    p, t, known = labels("confusion_matrix", prediction, target)
    return count("confusion_matrix", p, t, known if num_classes is None else num_classes)


def _scores(
    op: str, prediction: Any, target: Any, average: str, threshold: float | None
) -> tuple[float, float, float]:
    p, t, known = labels(op, prediction, target, threshold)
    _nonempty(op, p.size)
    return scores(count(op, p, t, known), average)


def precision(
    prediction: Any, target: Any, average: str = "auto", threshold: float | None = None
) -> float:
    """The share of right ones among those predicted to be of a class.

    Args:
        prediction, target, threshold: as for :func:`accuracy`.
        average: ``"binary"`` (class 1), ``"macro"`` (mean over the classes that occur),
            ``"micro"`` (all decisions together), or ``"auto"``: binary up to two classes, else
            macro. A class that was never predicted counts as 0.

    Raises:
        ValueError: the shapes do not fit, there is no sample, or ``average`` is unknown.
    """
    return _scores("precision", prediction, target, average, threshold)[0]


def recall(
    prediction: Any, target: Any, average: str = "auto", threshold: float | None = None
) -> float:
    """The share of those of a class that are found; arguments as for :func:`precision`."""
    return _scores("recall", prediction, target, average, threshold)[1]


def f1_score(
    prediction: Any, target: Any, average: str = "auto", threshold: float | None = None
) -> float:
    """The harmonic mean of precision and recall; arguments as for :func:`precision`."""
    return _scores("f1_score", prediction, target, average, threshold)[2]
